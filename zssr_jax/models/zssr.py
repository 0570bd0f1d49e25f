"""The image-specific networks (ZSSR section 3.1).

Every super-resolving module is called as `module(lr, interpolated)` with `lr`
`[N, h, w, C]` and `interpolated`, its cubic upscale `[N, H, W, C]`, and
returns `[N, H, W, C]`: the interpolated image plus a learned residual. A
module uses what it needs, so all are interchangeable.
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from zssr_jax.models import conv
from zssr_jax.ops import resize


def _small_normal(gain: float):
  """Normal initialiser of variance `gain / fan_in`."""
  return nn.initializers.variance_scaling(gain, 'fan_in', 'normal')


class Conv(nn.Module):
  """3x3 convolution without bias, zero padding. `[N,H,W,I] -> [N,H,W,O]`."""

  features: int
  gain: float = 1.0

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Applies the convolution."""
    shape = (3, 3, x.shape[-1], self.features)
    return conv.conv2d(x, self.param('kernel', _small_normal(self.gain), shape))


class Body(nn.Module):
  """`depth` convolutions with ReLU between them. `[N,H,W,C] -> [N,H,W,O]`.

  The last layer starts at a tenth of the others' variance or less, so that
  training begins near the interpolated image.
  """

  features: int
  depth: int = 8
  width: int = 64
  gain: float = 1.0

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Applies the layers."""
    for _ in range(self.depth - 1):
      x = nn.relu(Conv(self.width, self.gain)(x))
    return Conv(self.features, min(self.gain, 0.1))(x)


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


class PixelShuffle(nn.Module):
  """The same depth at LR resolution, with a pixel shuffle at the end.

  Attributes:
    scale: upsampling factors (y, x). One between whole numbers shuffles to
      the next whole one; the residual is then reduced by antialiased cubic
      resizing.
    depth: convolution layers.
    width: hidden channels.
    gain: variance of the initial weights times their fan-in.
  """

  scale: tuple[float, float] = (2.0, 2.0)
  depth: int = 8
  width: int = 64
  gain: float = 1.0

  @nn.compact
  def __call__(self, lr: jax.Array, interpolated: jax.Array) -> jax.Array:
    """Super-resolves; see the module's docstring for the shapes."""
    channels = interpolated.shape[-1]
    y, x = (math.ceil(s - 1e-9) for s in self.scale)
    body = Body(channels * y * x, self.depth, self.width, self.gain)
    residual = depth_to_space(body(lr), y, x)
    if (y, x) != self.scale:
      reduce = (self.scale[0] / y, self.scale[1] / x)
      shape = (interpolated.shape[1], interpolated.shape[2])
      residual = jax.vmap(
        lambda image: resize.imresize(image, reduce, shape=shape)
      )(residual)
    return interpolated + residual


def depth_to_space(x: jax.Array, y: int, x_factor: int) -> jax.Array:
  """Pixel shuffle, channel order (y, x, C): `[N,h,w,y*x*C] -> [N,hy,wx,C]`."""
  n, h, w, depth = x.shape
  channels = depth // (y * x_factor)
  x = x.reshape(n, h, w, y, x_factor, channels)
  x = jnp.transpose(x, (0, 1, 3, 2, 4, 5))
  return x.reshape(n, h * y, w * x_factor, channels)
