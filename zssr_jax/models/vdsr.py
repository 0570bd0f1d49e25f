"""VDSR (Kim et al., CVPR 2016): a deep residual of the interpolated image."""

from __future__ import annotations

import flax.linen as nn
import jax

from zssr_jax.models import network, zssr


class Vdsr(nn.Module):
  """Adds what `depth` 3x3 convolutions without biases make of the image.

  Called as `module(lr, interpolated)`, see `models.zssr`; made for luma in
  studio range. One set of weights serves several scales. 664,704 weights.

  Attributes:
    depth: convolutions.
    width: channels between them.
  """

  depth: int = 20
  width: int = 64

  @nn.compact
  def __call__(self, lr: jax.Array, interpolated: jax.Array) -> jax.Array:
    """Super-resolves `[N, H, W, C]`; the output has as many channels."""
    del lr
    x = interpolated
    for i in range(1, self.depth):
      # He's variance: a lower one fades away over twenty layers.
      x = nn.relu(zssr.Conv(self.width, 2.0, name=f'conv{i:02}')(x))
    # A small start, so that training begins near the interpolated image.
    last = zssr.Conv(interpolated.shape[-1], 0.1, name=f'conv{self.depth:02}')
    return interpolated + last(x)


NETWORK = network.Network(
  make=lambda scale, **_: Vdsr(),
  color='y',
  reach=lambda _: Vdsr.depth,
  any_scale=True,
  tile=512,
  published=network.Published(
    rules=(
      (
        r'conv(\d\d)_weight_OIHW',
        lambda m: (f'conv{m[1]}/kernel', network.oihw),
      ),
      # twtygqyy's names.
      (r'input\.weight', lambda m: network.torch_place('conv01', 'weight')),
      (
        r'residual_layer\.(\d+)\.conv\.(weight)',
        lambda m: network.torch_place(f'conv{int(m[1]) + 2:02}', m[2]),
      ),
      (r'output\.weight', lambda m: network.torch_place('conv20', 'weight')),
    ),
    file='weights/vdsr_twtygqyy.npz',
  ),
)
