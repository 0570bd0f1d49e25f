"""Networks that work at LR resolution and upsample at the end.

Layers at LR resolution cost `y x` times less than those of the published
network. Both modules are called, and add a learned residual to the
interpolated image, as `models.zssr` says; they differ in the last layer:

  PixelShuffle  a convolution to `y x C` channels, which are then spread over
                the HR pixels (Shi et al., CVPR 2016)
  Transposed    a transposed convolution of stride (y, x), whose kernel reaches
                the two nearest LR pixels along each axis (Long et al., CVPR
                2015)

A scale between whole numbers upsamples to the next whole one; the residual is
then reduced by antialiased cubic resizing, in training and at test alike.
Neither starts with a checkerboard: on a flat image each has a flat residual.
"""

from __future__ import annotations

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax.models import network, zssr
from zssr_jax.ops import conv, resize


class PixelShuffle(nn.Module):
  """Sub-pixel convolution at the end.

  Initialised without checkerboard: the weights of all sub-pixels begin equal
  (ICNR; Aitken et al. 2017).

  Attributes:
    scale: upsampling factors (y, x).
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
    """Super-resolves; see `models.zssr` for the shapes."""
    y, x = _whole(self.scale)
    features = interpolated.shape[-1] * y * x
    body = zssr.Body(features, self.depth, self.width, self.gain, y * x)
    return _add(interpolated, depth_to_space(body(lr), y, x), self.scale)


class Transposed(nn.Module):
  """Transposed convolution at the end, the last of `depth` layers.

  Attributes: as those of `PixelShuffle`.
  """

  scale: tuple[float, float] = (2.0, 2.0)
  depth: int = 8
  width: int = 64
  gain: float = 1.0

  @nn.compact
  def __call__(self, lr: jax.Array, interpolated: jax.Array) -> jax.Array:
    """Super-resolves; see `models.zssr` for the shapes."""
    features = lr
    for _ in range(self.depth - 1):
      features = nn.relu(zssr.Conv(self.width, self.gain)(features))
    up = TransposedConv(
      interpolated.shape[-1],
      _whole(self.scale),
      min(self.gain, zssr.LAST_GAIN),
    )
    return _add(interpolated, up(features), self.scale)


class TransposedConv(nn.Module):
  """Transposed convolution without bias. `[N,h,w,I] -> [N,hy,wx,O]`.

  `out[s i - p + t] += in[i] w[t]` along each axis, with `k = 2 s - s % 2`
  taps t from 0 and `p = ceil((s - 1) / 2)`: centred, for even s exactly. The
  initial weights are one random number for each pair of channels, shaped like
  linear interpolation, so that every output pixel gets the same total.

  Attributes:
    features: output channels O.
    stride: s, whole factors (y, x).
    gain: variance of the initial random numbers times I.
  """

  features: int
  stride: tuple[int, int]
  gain: float = 1.0

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Applies the convolution."""
    sides = [2 * s - s % 2 for s in self.stride]

    def init(key, shape):
      normal = nn.initializers.variance_scaling(self.gain, 'fan_in', 'normal')
      mixed = normal(key, (1, 1, *shape[2:]))
      rows, columns = (_triangle(side) for side in shape[:2])
      return jnp.asarray(np.outer(rows, columns)[..., None, None]) * mixed

    weights = self.param('kernel', init, (*sides, x.shape[-1], self.features))
    for axis, (side, s) in enumerate(zip(sides, self.stride, strict=True)):
      weights = _by_sub_pixel(weights, axis, side, s)
    # [3, sy, 3, sx, I, O]: a 3x3 convolution to all sub-pixels at once. It
    # has a fast gradient, and 9/4 the multiplications.
    weights = weights.transpose(0, 2, 4, 1, 3, 5)
    weights = weights.reshape(3, 3, x.shape[-1], -1)
    return depth_to_space(conv.conv2d(x, weights), *self.stride)


def _triangle(side: int) -> np.ndarray:
  """Weights `[side]` of linear interpolation, 1 for each sub-pixel in sum."""
  factor = (side + 1) // 2
  distance = np.abs(np.arange(side, dtype=np.float32) - (side - 1) / 2)
  return 1 - distance / factor


def _by_sub_pixel(
  weights: jax.Array, axis: int, side: int, s: int
) -> jax.Array:
  """Splits taps of a transposed convolution into (3 neighbours, s sub-pixels).

  Args:
    weights: the taps along `2 axis`, where that of earlier axes is split.
    axis: 0 for rows, 1 for columns.
    side: number of taps.
    s: stride.
  """
  # Tap t reaches sub-pixel r of the LR pixel d further on: t - p = s d + r.
  before = s - math.ceil((s - 1) / 2)
  place = 2 * axis
  padding = [(0, 0)] * weights.ndim
  padding[place] = (before, 3 * s - side - before)
  weights = jnp.pad(weights, padding)
  shape = weights.shape
  weights = weights.reshape(*shape[:place], 3, s, *shape[place + 1 :])
  # Seen from the output, the neighbour that reaches forward lies behind.
  return jnp.flip(weights, place)


def depth_to_space(x: jax.Array, y: int, x_factor: int) -> jax.Array:
  """Pixel shuffle, channel order (y, x, C): `[N,h,w,y*x*C] -> [N,hy,wx,C]`."""
  n, h, w, depth = x.shape
  channels = depth // (y * x_factor)
  x = x.reshape(n, h, w, y, x_factor, channels)
  x = jnp.transpose(x, (0, 1, 3, 2, 4, 5))
  return x.reshape(n, h * y, w * x_factor, channels)


def _whole(scale: tuple[float, float]) -> tuple[int, int]:
  y, x = (math.ceil(s - 1e-9) for s in scale)
  return y, x


def _add(
  interpolated: jax.Array, residual: jax.Array, scale: tuple[float, float]
) -> jax.Array:
  """Adds a residual at the next whole scale, reduced where that is larger."""
  whole = _whole(scale)
  if whole != scale:
    reduce = (scale[0] / whole[0], scale[1] / whole[1])
    count, height, width, channels = residual.shape
    # As channels of one image: vmap does not go with what is transposed.
    images = residual.transpose(1, 2, 0, 3).reshape(height, width, -1)
    shape = (interpolated.shape[1], interpolated.shape[2])
    images = resize.imresize(images, reduce, shape=shape, transposed=True)
    residual = images.reshape(*shape, count, channels).transpose(2, 0, 1, 3)
  return interpolated + residual


PIXEL_SHUFFLE = network.Network(
  make=PixelShuffle, color='any', reach=lambda depth: depth, at_lr=True
)
TRANSPOSED = dataclasses.replace(PIXEL_SHUFFLE, make=Transposed)
