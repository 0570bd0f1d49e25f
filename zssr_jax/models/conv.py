"""A 3x3 convolution whose weight gradient is fast on CPU.

XLA's own weight gradient treats one of the two activations as a huge
convolution kernel, which on CPU runs at a third of the speed of the forward
pass or less, and far slower on some channel counts and inside loops, where
XLA leaves it in a layout that has no fast path (docs/results/speed.md). A sum
of matrix products over small blocks is nearly as fast as the forward pass.
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
  rows = max(1, min(height, _BLOCK // width))
  blocks = -(-height // rows)
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


@jax.custom_vjp
def conv2d(x: jax.Array, w: jax.Array) -> jax.Array:
  """Stride-1 convolution with zero padding, output as large as the input.

  Args:
    x: `[N, H, W, I]`.
    w: `[side, side, I, O]`, odd side.

  Returns:
    `[N, H, W, O]`.
  """
  return lax.conv_general_dilated(x, w, (1, 1), 'SAME', dimension_numbers=_NHWC)


def _forward(x, w):
  return conv2d(x, w), (x, w)


def _backward(saved, g):
  x, w = saved
  mirrored = jnp.flip(w, (0, 1)).swapaxes(2, 3)

  def autodiff(x, g):
    return jax.linear_transpose(lambda w: conv2d.fun(x, w), w)(g)[0]

  w_gradient = lax.platform_dependent(
    x, g, cpu=lambda x, g: weight_gradient(x, g, w.shape[0]), default=autodiff
  )
  return conv2d.fun(g, mirrored), w_gradient


conv2d.defvjp(_forward, _backward)
