"""A convolution that is fast on CPU, its gradients above all.

3x3 kernels between many channels go by Winograd's minimal filtering (Lavin and
Gray, CVPR 2016): tiles of 4x4 results cost 36 products in place of 144, for the
result and for both gradients. All of it, the changes of basis as well, is
written as matrix products, which XLA shares between cores and does as fast
inside loops as outside.

Elsewhere the forward pass is XLA's. XLA's own weight gradient treats one of
the two activations as a huge convolution kernel, which on CPU runs at a third
of the speed of the forward pass or less, and far slower on some channel counts
and inside loops, where XLA leaves it in a layout that has no fast path
(docs/results/speed.md). A sum of matrix products over small blocks is nearly as
fast as the forward pass. Other backends keep autodiff.
"""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_NHWC = ('NHWC', 'HWIO', 'NHWC')


def cores() -> int:
  """Counts the cores that this process may use; `taskset` may leave it few."""
  try:
    return len(os.sched_getaffinity(0))
  except AttributeError:  # not on macOS
    return os.cpu_count() or 1


# Pixels of a block. On one core they are as many as let the shifted copies, 64
# channels and 3x3 of them, fit the L2 cache; several cores share each product,
# and a small one costs them more to share than it saves.
_BLOCK = 256 if cores() == 1 else 1024
# Rows of the product up to which a convolution is faster.
_FEW = 9
# Side of a kernel above which so many shifts take too long to compile.
_WIDE = 5
# Channels from which tiles pay, and pixels up to which they do: their three
# copies of 2.25 times a larger map leave the cache.
_TILED_CHANNELS = 32
_TILED_PIXELS = 2**15
# Where the polynomials of a tile are evaluated, the last point at infinity. The
# usual 0, 1, -1, 2, -2 have twice the rounding error.
_POINTS = (0, 0.75, -0.75, 1.5, -1.5)


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
  # Blocks of rows, all alike.
  blocks = -(-height // max(1, min(height, _BLOCK // width)))
  rows = -(-height // blocks)
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


def _bases() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Changes of basis of tiles, of weights and of results, by Toom and Cook.

  The product of two polynomials, of 3 and of 4 coefficients, is that of their
  values at six points; a correlation is its transpose. With matrices `t`, `w`
  and `r` for one axis, six numbers correlated with three are
  `r @ ((w @ three) * (t @ six))`. Returned are their Kronecker products, for
  both axes: `[36, 36]`, `[36, 9]`, `[16, 36]`.
  """

  def values(coefficients: int) -> np.ndarray:
    at_infinity = np.eye(coefficients)[-1:]
    return np.vstack([np.vander(_POINTS, coefficients, True), at_infinity])

  tiles, weights, results = (
    np.kron(m, m).astype(np.float32)
    for m in (np.linalg.inv(values(6)).T, values(3), values(4).T)
  )
  return tiles, weights, results


_TILES, _WEIGHTS, _RESULTS = _bases()


def _change(basis: np.ndarray, x: jax.Array) -> jax.Array:
  """Changes the basis of what the first axes of x hold, `[rows, ...]`."""
  return jnp.asarray(basis) @ x.reshape(basis.shape[1], -1)


def _grid(shape: tuple[int, ...]) -> tuple[int, int]:
  """Counts the rows and columns of 4x4 tiles that cover `[N, H, W, C]`."""
  return -(-shape[1] // 4), -(-shape[2] // 4)


def _split(x: jax.Array, rows: int, columns: int, before: int = 0) -> jax.Array:
  """Cuts `[N, H, W, C]` into 4x4 pieces `[4, 4, N, rows, columns, C]`.

  Zeros fill what is missing, `before` of them above and on the left.
  """
  count, height, width, channels = x.shape
  down = (before, 4 * rows - height - before)
  right = (before, 4 * columns - width - before)
  x = jnp.pad(x, ((0, 0), down, right, (0, 0)))
  x = x.reshape(count, rows, 4, columns, 4, channels)
  return x.transpose(2, 4, 0, 1, 3, 5)


def _join(pieces: jax.Array) -> jax.Array:
  """Joins what `_split` takes apart, zeros included."""
  _, _, count, rows, columns, channels = pieces.shape
  x = pieces.transpose(2, 3, 0, 4, 1, 5)
  return x.reshape(count, 4 * rows, 4 * columns, channels)


def _tile(x: jax.Array) -> jax.Array:
  """Evaluates the overlapping 6x6 tiles of an image: `[36, tiles, C]`."""
  rows, columns = _grid(x.shape)
  pieces = _split(x, rows + 1, columns + 1, before=1)
  # The last two of six are the first two of the next piece. These are four
  # large copies; 36 strided slices take twice as long.
  above, below = pieces[:, :, :, :rows], pieces[:2, :, :, 1:]
  tiles = jnp.concatenate(
    [
      jnp.concatenate([half[..., :columns, :], half[:, :2, ..., 1:, :]], 1)
      for half in (above, below)
    ]
  )
  return _change(_TILES, tiles).reshape(36, -1, x.shape[3])


def _tile_transposed(tiles: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """The transpose of `_tile`, for an image of `shape`."""
  count, height, width, channels = shape
  tiles = _change(_TILES.T, tiles).reshape(6, 6, count, *_grid(shape), channels)

  def place(part, down, right):
    missing = [(0, 4 - side) for side in part.shape[:2]]
    space = [(0, 0), (down, 1 - down), (right, 1 - right), (0, 0)]
    return jnp.pad(part, missing + space)

  pieces = (
    place(tiles[:4, :4], 0, 0)
    + place(tiles[4:, :4], 1, 0)
    + place(tiles[:4, 4:], 0, 1)
    + place(tiles[4:, 4:], 1, 1)
  )
  return _join(pieces)[:, 1 : height + 1, 1 : width + 1]


def _tile_weights(w: jax.Array) -> jax.Array:
  """Evaluates 3x3 weights: `[36, I, O]`."""
  return _change(_WEIGHTS, w).reshape(36, *w.shape[2:])


def tiled(x: jax.Array, w: jax.Array) -> jax.Array:
  """`conv2d` of 3x3 weights by Winograd's tiles."""
  count, height, width, _ = x.shape
  products = jnp.einsum('ktc,kco->kto', _tile(x), _tile_weights(w))
  pieces = _change(_RESULTS, products).reshape(4, 4, count, *_grid(x.shape), -1)
  return _join(pieces)[:, :height, :width]


def tiled_gradients(
  x: jax.Array, w: jax.Array, g: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Gradients of `tiled` with respect to input and weights.

  They are its transposes, step by step. The tiles of x are made again rather
  than kept, which takes as long as fetching them.

  Args:
    x: input `[N, H, W, I]`.
    w: `[3, 3, I, O]`.
    g: gradient of the output `[N, H, W, O]`.

  Returns:
    `[N, H, W, I]` and `[3, 3, I, O]`.
  """
  pieces = _split(g, *_grid(g.shape))
  products = _change(_RESULTS.T, pieces).reshape(36, -1, g.shape[3])
  tiles = jnp.einsum('kto,kco->ktc', products, _tile_weights(w))
  weights = jnp.einsum('ktc,kto->kco', _tile(x), products)
  return (
    _tile_transposed(tiles, x.shape),
    _change(_WEIGHTS.T, weights).reshape(w.shape),
  )


def _is_tiled(x: jax.Array, w: jax.Array) -> bool:
  return (
    w.shape[:2] == (3, 3)
    and min(w.shape[2:]) >= _TILED_CHANNELS
    and x.shape[0] * x.shape[1] * x.shape[2] <= _TILED_PIXELS
    and x.dtype == w.dtype == jnp.float32
  )


@jax.custom_vjp
def conv2d(x: jax.Array, w: jax.Array) -> jax.Array:
  """Stride-1 convolution with zero padding, output as large as the input.

  Args:
    x: `[N, H, W, I]`.
    w: `[side, side, I, O]`, odd side.

  Returns:
    `[N, H, W, O]`.
  """
  if not _is_tiled(x, w):
    return plain(x, w)
  return lax.platform_dependent(x, w, cpu=tiled, default=plain)


def _forward(x, w):
  return conv2d(x, w), (x, w)


def _backward(saved, g):
  x, w = saved

  def autodiff(x, w, g):
    return jax.vjp(plain, x, w)[1](g)

  def blocks(x, w, g):
    mirrored = jnp.flip(w, (0, 1)).swapaxes(2, 3)
    return plain(g, mirrored), weight_gradient(x, g, w.shape[0])

  on_cpu = tiled_gradients if _is_tiled(x, w) else blocks
  return lax.platform_dependent(x, w, g, cpu=on_cpu, default=autodiff)


conv2d.defvjp(_forward, _backward)
