"""A convolution that is fast on CPU, its gradients above all.

3x3 kernels between many channels go by Winograd's minimal filtering (Lavin and
Gray, CVPR 2016): tiles of 4x4 results cost 36 products in place of 144, for the
result and for both gradients. The changes of basis are sums of a few maps, one
axis after the other, which XLA fuses: as matrix products they would be nearly
as much work as the products they serve.

Elsewhere the forward pass is XLA's. XLA's own weight gradient treats one of
the two activations as a huge convolution kernel, which on CPU runs at a third
of the speed of the forward pass or less, and far slower on some channel counts
and inside loops, where XLA leaves it in a layout that has no fast path
(docs/results/speed.md). A sum of matrix products over small blocks is nearly as
fast as the forward pass. Other backends keep autodiff.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence

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
# A factor of a change of basis below which it is a zero, rounded.
_NEGLIGIBLE = 1e-9


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
  values at six points; a correlation is its transpose. With what is returned,
  `[6, 6]`, `[6, 3]` and `[4, 6]`, six numbers correlated with three are
  `results @ ((weights @ three) * (tiles @ six))`, along each axis.
  """

  def values(coefficients: int) -> np.ndarray:
    at_infinity = np.eye(coefficients)[-1:]
    return np.vstack([np.vander(_POINTS, coefficients, True), at_infinity])

  return np.linalg.inv(values(6)).T, values(3), values(4).T


_TILES, _WEIGHTS, _RESULTS = _bases()
_WEIGHTS_2D = np.kron(_WEIGHTS, _WEIGHTS).astype(np.float32)


def _change(basis: np.ndarray, parts: Sequence[jax.Array]) -> list[jax.Array]:
  """Returns `basis @ parts`, sum by sum, for parts that are maps."""
  return [
    functools.reduce(
      jnp.add,
      (
        part if factor == 1 else np.float32(factor) * part
        for factor, part in zip(row, parts, strict=True)
        if abs(factor) > _NEGLIGIBLE
      ),
    )
    for row in basis
  ]


def _grid(shape: tuple[int, ...]) -> tuple[int, int]:
  """Counts the rows and columns of 4x4 tiles that cover `[N, H, W, C]`."""
  return -(-shape[1] // 4), -(-shape[2] // 4)


def _split(x: jax.Array, rows: int, columns: int, before: int = 0) -> jax.Array:
  """Cuts `[N, H, W, C]` into 4x4 pieces `[N, rows, 4, columns, 4, C]`.

  Zeros fill what is missing, `before` of them above and on the left.
  """
  count, height, width, channels = x.shape
  down = (before, 4 * rows - height - before)
  right = (before, 4 * columns - width - before)
  x = jnp.pad(x, ((0, 0), down, right, (0, 0)))
  return x.reshape(count, rows, 4, columns, 4, channels)


def _tile(x: jax.Array) -> jax.Array:
  """Evaluates the overlapping 6x6 tiles of an image: `[36, tiles, C]`."""
  rows, columns = _grid(x.shape)
  pieces = _split(x, rows + 1, columns + 1, before=1)
  # The last two of six are the first two of the next piece.
  six = [pieces[:, :rows, i] for i in range(4)]
  six += [pieces[:, 1:, i] for i in range(2)]
  tall = jnp.stack(_change(_TILES, six))
  six = [tall[..., :columns, i, :] for i in range(4)]
  six += [tall[..., 1:, i, :] for i in range(2)]
  return jnp.stack(_change(_TILES, six), 1).reshape(36, -1, x.shape[3])


def _tile_transposed(tiles: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """The transpose of `_tile`, for an image of `shape`."""
  count, height, width, channels = shape
  rows, columns = _grid(shape)
  tiles = tiles.reshape(6, 6, count, rows, columns, channels)

  def add(six: list[jax.Array], axis: int) -> list[jax.Array]:
    """Adds the last two of each six to the first two of the next."""

    def place(x: jax.Array, before: int) -> jax.Array:
      padding = [(0, 0)] * x.ndim
      padding[axis] = (before, 1 - before)
      return jnp.pad(x, padding)

    first = [place(six[i], 0) + place(six[4 + i], 1) for i in range(2)]
    return first + [place(x, 0) for x in six[2:4]]

  six = _change(_TILES.T, [tiles[:, i] for i in range(6)])
  tall = jnp.stack(add(six, axis=3), 4)  # [6, N, rows, columns + 1, 4, C]
  pieces = jnp.stack(add(_change(_TILES.T, list(tall)), axis=1), 2)
  x = pieces.reshape(count, 4 * rows + 4, 4 * columns + 4, channels)
  return x[:, 1 : height + 1, 1 : width + 1]


def _tile_weights(w: jax.Array) -> jax.Array:
  """Evaluates 3x3 weights: `[36, I, O]`."""
  values = jnp.asarray(_WEIGHTS_2D) @ w.reshape(9, -1)
  return values.reshape(36, *w.shape[2:])


def _results(products: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Makes the results of tiles, `[36, tiles, O]`, for an image of `shape`."""
  count, height, width, _ = shape
  rows, columns = _grid(shape)
  products = products.reshape(6, 6, count, rows, columns, -1)
  flat = jnp.stack(_change(_RESULTS, [products[:, i] for i in range(6)]), -2)
  pieces = jnp.stack(_change(_RESULTS, list(flat)), 2)
  x = pieces.reshape(count, 4 * rows, 4 * columns, -1)
  return x[:, :height, :width]


def _results_transposed(g: jax.Array) -> jax.Array:
  """The transpose of `_results`: `[36, tiles, O]`."""
  pieces = _split(g, *_grid(g.shape))
  tall = jnp.stack(_change(_RESULTS.T, [pieces[:, :, i] for i in range(4)]))
  four = [tall[..., i, :] for i in range(4)]
  return jnp.stack(_change(_RESULTS.T, four), 1).reshape(36, -1, g.shape[3])


def tiled(x: jax.Array, w: jax.Array) -> jax.Array:
  """`conv2d` of 3x3 weights by Winograd's tiles."""
  products = jnp.einsum('ktc,kco->kto', _tile(x), _tile_weights(w))
  return _results(products, x.shape)


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
  products = _results_transposed(g)
  tiles = jnp.einsum('kto,kco->ktc', products, _tile_weights(w))
  weights = jnp.einsum('ktc,kto->kco', _tile(x), products)
  weights = jnp.asarray(_WEIGHTS_2D.T) @ weights.reshape(36, -1)
  return _tile_transposed(tiles, x.shape), weights.reshape(w.shape)


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
