"""SRCNN (Dong et al., TPAMI 2016): three layers on the interpolated image."""

from __future__ import annotations

import flax.linen as nn
import jax

from zssr_jax.models import layers


class Srcnn(nn.Module):
  """Refines the interpolated image; made for luma in studio range.

  Called as `module(lr, interpolated)`, see `models.zssr`. There is no
  residual: the published weights make the image itself. Every layer repeats
  its border pixels, as the published MATLAB code does; with zeros Set5 x3
  loses 6 dB.

  Attributes:
    kernels: sides of the three kernels. 9-1-5 has 8,032 weights and 97 biases,
      9-5-5 has 57,184.
    features: channels between the layers.
  """

  kernels: tuple[int, int, int] = (9, 1, 5)
  features: tuple[int, int] = (64, 32)

  @nn.compact
  def __call__(self, lr: jax.Array, interpolated: jax.Array) -> jax.Array:
    """Super-resolves `[N, H, W, C]`; the output has as many channels."""
    del lr
    x = interpolated
    widths = (*self.features, interpolated.shape[-1])
    for i, (side, width) in enumerate(zip(self.kernels, widths, strict=True)):
      last = i == len(widths) - 1
      x = layers.Convolution(
        width,
        side,
        gain=1.0 if last else 2.0,  # no ReLU follows
        replicate=True,
        name=f'conv{i + 1}',
      )(x)
      if not last:
        x = nn.relu(x)
    return x
