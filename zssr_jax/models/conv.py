"""A 3x3 convolution that is fast on CPU, its weight gradient above all.

XLA's own weight gradient treats one of the two activations as a huge
convolution kernel, which on CPU runs at a third of the speed of the forward
pass or less, and far slower on some channel counts and inside loops, where
XLA leaves it in a layout that has no fast path (docs/results/speed.md). A sum
of matrix products over small blocks is nearly as fast as the forward pass.
Small maps are convolved by products, too, where there are cores to share them.
Other backends keep autodiff.
"""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp
from jax import lax

_NHWC = ('NHWC', 'HWIO', 'NHWC')


def cores() -> int:
  """Cores that this process may use; `taskset` may leave it few."""
  try:
    return len(os.sched_getaffinity(0))
  except AttributeError:  # not on macOS
    return os.cpu_count() or 1


# Pixels of a block. On one core as many as let the shifted copies, 64 channels
# and 3x3 of them, fit the L2 cache; several cores share each product, and a
# small one costs them more to share than it saves.
_BLOCK = 256 if cores() == 1 else 1024
# Rows of the product up to which a convolution is faster.
_FEW = 9
# Side of a kernel above which so many shifts take too long to compile.
_WIDE = 5
# XLA leaves the convolution of a small map to one of several cores. Side of
# maps, and channels, where products that they share in its place are faster,
# for one map (1.3 times at 64x64) as for many (1.2 for 16 of 48x48); pixels of
# a block of them.
_SHARED_SIDES = (40, 72)
_SHARED_CHANNELS = (48, 64)
_SHARED_BLOCK = 2048


def _blocks(height: int, width: int, pixels: int) -> tuple[int, int]:
  """Rows of a block of up to so many pixels, all alike, and how many blocks."""
  blocks = -(-height // max(1, min(height, pixels // width)))
  return -(-height // blocks), blocks


def weight_gradient(x: jax.Array, g: jax.Array, side: int) -> jax.Array:
  """Gradient of `conv2d` with respect to its weights.

  Args:
    x: input `[N, H, W, I]`.
    g: gradient of the output `[N, H, W, O]`.
    side: side of the kernel, odd.

  Returns:
    `[side, side, I, O]`.
  """
  # Of the two activations the one with fewer channels is shifted about, which
  # copies less; exchanging the two mirrors the result.
  swap = x.shape[-1] > g.shape[-1]
  if swap:
    x, g = g, x
  if x.shape[-1] * side**2 <= _FEW or side > _WIDE:
    out = _correlate(x, g, side)
  else:
    out = _multiply(x, g, side)
  return jnp.flip(out, (0, 1)).swapaxes(2, 3) if swap else out


def _correlate(x: jax.Array, g: jax.Array, side: int) -> jax.Array:
  """`weight_gradient` as one convolution of x by g."""
  pad = (side // 2, side // 2)
  out = lax.conv_general_dilated(
    # Channels become the batch and the batch the channels.
    x.transpose(3, 1, 2, 0),
    g.transpose(1, 2, 0, 3),
    (1, 1),
    (pad, pad),
    dimension_numbers=_NHWC,
  )
  return out.transpose(1, 2, 0, 3)


def _multiply(x: jax.Array, g: jax.Array, side: int) -> jax.Array:
  """`weight_gradient` as a sum of matrix products over blocks of rows.

  The shifted copies of a block stay in the cache; those of a whole image do
  not, and then copying takes longer than multiplying.
  """
  count, height, width, channels = x.shape
  pad = side // 2
  rows, blocks = _blocks(height, width, _BLOCK)
  rest = blocks * rows - height
  # Pixels last: a product whose sum runs over the first axis is slow.
  x = jnp.pad(x, ((0, 0), (pad, pad + rest), (pad, pad), (0, 0)))
  x = x.transpose(0, 1, 3, 2)
  g = jnp.pad(g, ((0, 0), (0, rest), (0, 0), (0, 0)))

  def add(index, total):
    image, row = index // blocks, index % blocks * rows
    part = lax.dynamic_slice(
      x,
      (image, row, 0, 0),
      (1, rows + 2 * pad, channels, width + 2 * pad),
    )[0]
    shifted = [
      part[i : i + rows, :, j : j + width].transpose(1, 0, 2)
      for i in range(side)
      for j in range(side)
    ]
    shifts = jnp.stack(shifted).reshape(-1, rows * width)
    slope = lax.dynamic_slice(
      g, (image, row, 0, 0), (1, rows, width, g.shape[-1])
    )
    return total + shifts @ slope.reshape(rows * width, -1)

  zero = jnp.zeros((side * side * channels, g.shape[-1]), g.dtype)
  total = lax.fori_loop(0, count * blocks, add, zero)
  return total.reshape(side, side, channels, -1)


def plain(x: jax.Array, w: jax.Array) -> jax.Array:
  """`conv2d` as XLA has it."""
  return lax.conv_general_dilated(x, w, (1, 1), 'SAME', dimension_numbers=_NHWC)


def _shared(x: jax.Array, w: jax.Array) -> jax.Array:
  """`conv2d` of small maps, as products that all cores share.

  Block by block of rows, so that it stays in the cache: each pixel times every
  tap, in one product, then for each pixel the sum of what is its neighbours'.
  """
  count, height, width, channels = x.shape
  side = w.shape[0]
  pad = side // 2
  rows, blocks = _blocks(height, width, _SHARED_BLOCK)
  rest = blocks * rows - height
  x = jnp.pad(x, ((0, 0), (pad, pad + rest), (pad, pad), (0, 0)))
  taps = w.transpose(2, 0, 1, 3).reshape(channels, -1)

  def put(index, out):
    image, row = index // blocks, index % blocks * rows
    part = lax.dynamic_slice(
      x,
      (image, row, 0, 0),
      (1, rows + 2 * pad, width + 2 * pad, channels),
    )
    products = part.reshape(-1, channels) @ taps
    products = products.reshape(*part.shape[:3], side, side, -1)
    sums = sum(
      products[:, i : i + rows, j : j + width, i, j]
      for i in range(side)
      for j in range(side)
    )
    return lax.dynamic_update_slice(out, sums, (image, row, 0, 0))

  zero = jnp.zeros((count, height + rest, width, w.shape[3]), x.dtype)
  # A loop, too, keeps XLA from making the sums once more in the backward pass.
  return lax.fori_loop(0, count * blocks, put, zero)[:, :height]


def _convolve(x: jax.Array, w: jax.Array) -> jax.Array:
  """`conv2d` without its gradient."""
  low, high = _SHARED_SIDES
  shared = (
    # Each device is to have several.
    cores() > jax.local_device_count()
    and w.shape[0] == 3
    and low**2 <= x.shape[1] * x.shape[2] <= high**2
    and min(w.shape[2:]) >= _SHARED_CHANNELS[0]
    and max(w.shape[2:]) <= _SHARED_CHANNELS[1]
  )
  if not shared:
    return plain(x, w)
  return lax.platform_dependent(x, w, cpu=_shared, default=plain)


@jax.custom_vjp
def conv2d(x: jax.Array, w: jax.Array) -> jax.Array:
  """Stride-1 convolution with zero padding, output as large as the input.

  Args:
    x: `[N, H, W, I]`.
    w: `[side, side, I, O]`, odd side.

  Returns:
    `[N, H, W, O]`.
  """
  return _convolve(x, w)


def _forward(x, w):
  return conv2d(x, w), (x, w)


def _backward(saved, g):
  x, w = saved
  mirrored = jnp.flip(w, (0, 1)).swapaxes(2, 3)

  def autodiff(x, g):
    return jax.linear_transpose(lambda w: plain(x, w), w)(g)[0]

  w_gradient = lax.platform_dependent(
    x, g, cpu=lambda x, g: weight_gradient(x, g, w.shape[0]), default=autodiff
  )
  return _convolve(g, mirrored), w_gradient


conv2d.defvjp(_forward, _backward)
