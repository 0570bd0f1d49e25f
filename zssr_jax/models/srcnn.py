"""SRCNN (Dong et al., TPAMI 2016): three layers on the interpolated image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import numpy as np

from zssr_jax.models import layers, network


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


def _columns(layer: str) -> Callable[[np.ndarray], np.ndarray]:
  """Lays out a kernel of the authors' MATLAB files.

  There a patch is a column, its pixels column by column. The first layer is
  `[patch, O]`, the second `[I, patch, O]`, the third `[I, patch]`.
  """

  def lay_out(array: np.ndarray) -> np.ndarray:
    if layer == '1' and array.ndim == 2:
      array = array[None]
    elif layer == '3' and array.ndim == 2:
      array = array[..., None]
    side = math.isqrt(array.shape[1]) if array.ndim == 3 else 0
    if not side or side**2 != array.shape[1]:
      raise ValueError('no kernels of SRCNN')
    inputs, _, outputs = array.shape
    array = array.reshape(inputs, side, side, outputs)  # [I, x, y, O]
    return array.transpose(2, 1, 0, 3)

  return lay_out


_PARTS = {'features.0': 1, 'map.0': 2, 'reconstruction': 3}
_PUBLISHED = network.Published(
  rules=(
    (
      r'(conv[123])\.(weight|bias)',
      lambda m: network.torch_place(m[1], m[2]),
    ),
    (
      r'(features\.0|map\.0|reconstruction)\.(weight|bias)',
      lambda m: network.torch_place(f'conv{_PARTS[m[1]]}', m[2]),
    ),
    (r'weights_conv([123])', lambda m: (f'conv{m[1]}/kernel', _columns(m[1]))),
    (r'biases_conv([123])', lambda m: (f'conv{m[1]}/bias', network.bias)),
  ),
  file='weights/srcnn_915_x3_chxy95.npz',
  file_scale=3,
)
SRCNN_915 = network.Network(
  make=lambda scale, **_: Srcnn(),
  color='y',
  reach=lambda _: 6,
  any_scale=True,
  tile=512,
  published=_PUBLISHED,
)
SRCNN_955 = dataclasses.replace(
  SRCNN_915,
  make=lambda scale, **_: Srcnn(kernels=(9, 5, 5)),
  reach=lambda _: 8,
  published=dataclasses.replace(_PUBLISHED, file=''),
)
