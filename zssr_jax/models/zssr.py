"""The image-specific network of the paper (ZSSR section 3.1).

Every super-resolving module is called as `module(lr, interpolated)` with `lr`
`[N, h, w, C]` and `interpolated`, its cubic upscale `[N, H, W, C]`, and
returns `[N, H, W, C]`: the interpolated image plus a learned residual. A
module uses what it needs, so all are interchangeable.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from zssr_jax.models import network
from zssr_jax.ops import conv

# The last layer starts at a tenth of the others' variance, or less, so that
# training begins near the interpolated image.
LAST_GAIN = 0.1


class Conv(nn.Module):
  """3x3 convolution without bias, zero padding. `[N,H,W,I] -> [N,H,W,O]`.

  Attributes:
    features: output channels O.
    gain: variance of the initial weights times their fan-in.
    copies: the initial weights of the first `O / copies` output channels are
      repeated that many times.
  """

  features: int
  gain: float = 1.0
  copies: int = 1

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Applies the convolution."""

    def init(key, shape):
      normal = nn.initializers.variance_scaling(self.gain, 'fan_in', 'normal')
      first = normal(key, (*shape[:3], shape[3] // self.copies))
      return jnp.tile(first, (1, 1, 1, self.copies))

    shape = (3, 3, x.shape[-1], self.features)
    return conv.conv2d(x, self.param('kernel', init, shape))


class Body(nn.Module):
  """`depth` convolutions with ReLU between them. `[N,H,W,C] -> [N,H,W,O]`."""

  features: int
  depth: int = 8
  width: int = 64
  gain: float = 1.0
  copies: int = 1  # of the last layer's initial weights, see `Conv`

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Applies the layers."""
    for _ in range(self.depth - 1):
      x = nn.relu(Conv(self.width, self.gain)(x))
    return Conv(self.features, min(self.gain, LAST_GAIN), self.copies)(x)


class Zssr(nn.Module):
  """The published network: works at output resolution. 224,640 weights."""

  depth: int = 8
  width: int = 64
  gain: float = 1.0

  @nn.compact
  def __call__(self, lr: jax.Array, interpolated: jax.Array) -> jax.Array:
    """Super-resolves; see the module's docstring for the shapes."""
    del lr
    channels = interpolated.shape[-1]
    body = Body(channels, self.depth, self.width, self.gain)
    return interpolated + body(interpolated)


NETWORK = network.Network(
  make=lambda scale, **size: Zssr(**size),
  color='any',
  reach=lambda depth: depth,
  any_scale=True,
)
