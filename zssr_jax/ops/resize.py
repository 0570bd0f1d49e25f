"""MATLAB's imresize: separable resampling with antialiasing.

Each sample of an axis is a sum of a few samples of the input, weighted by the
stretched interpolation kernel. The weights depend on sizes and scale alone, so
they are made by numpy once and are constants inside jit. NumPy input stays on
the host (float64 inside; tap by tap, or by sparse products where it is large).
JAX input runs on the device, by polyphase sums: where the weights repeat every
p samples, as those of a scale p / q do, p samples at a time are sums over a few
pieces of q samples.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # loads its parts when they are first used

# The longest period of weights that is made use of. Beyond, an axis takes a
# product with a dense matrix of up to so many entries, or goes tap by tap.
_MOST_PHASES = 12
_DENSE_LIMIT = 1 << 21
# Samples of an image, and taps, up to which the host goes tap by tap; more of
# them SciPy adds up in another order.
_FEW_SAMPLES, _FEW_TAPS = 1 << 18, 16

Array = TypeVar('Array', np.ndarray, jax.Array)
# Output per input pixels: a number, or a pair (y, x).
Scale = float | tuple[float, float]


def cubic(x: np.ndarray) -> np.ndarray:
  """Returns the cubic kernel (a = -0.5) at any distances, in samples."""
  x = np.abs(x)
  near = (1.5 * x - 2.5) * x * x + 1
  far = ((-0.5 * x + 2.5) * x - 4) * x + 2
  return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def cubic_taps(t: Array) -> list[Array]:
  """Cubic weights of the 4 samples around a place at fraction `t` (a = -0.5).

  Args:
    t: any shape, in [0, 1): how far past the second sample the place lies.
  """
  return [
    ((-0.5 * t + 1) * t - 0.5) * t,
    (1.5 * t - 2.5) * t * t + 1,
    ((-1.5 * t + 2) * t + 0.5) * t,
    (0.5 * t - 0.5) * t * t,
  ]


def _lanczos(x: np.ndarray) -> np.ndarray:
  return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


def _linear(x: np.ndarray) -> np.ndarray:
  return np.maximum(0.0, 1 - np.abs(x))


def _box(x: np.ndarray) -> np.ndarray:
  return ((x >= -0.5) & (x < 0.5)).astype(np.float64)


_METHODS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
  'lanczos': (_lanczos, 6),
  'cubic': (cubic, 4),
  'linear': (_linear, 2),
  'nearest': (_box, 1),
}

# What lies beyond an end, and its name in numpy.
_PAD_MODES = {'replicate': 'edge', 'symmetric': 'symmetric'}


@functools.lru_cache(maxsize=256)
def _taps(
  out_size: int, scale: float, method: str, antialias: bool
) -> tuple[np.ndarray, np.ndarray]:
  """Weights of output samples on an axis without ends; see `resize_taps`.

  Returns:
    Positions int64 `[out_size]` of each one's first source sample, which may
    lie beyond the ends, and weights float64 `[out_size, taps]`.
  """
  kernel, width = _METHODS[method]
  stretch = min(scale, 1.0) if antialias and method != 'nearest' else 1.0
  support = width / stretch
  # One-based positions, as in MATLAB: the floor below then breaks ties alike.
  center = np.arange(1, out_size + 1) / scale + 0.5 * (1 - 1 / scale)
  left = np.floor(center - support / 2)
  position = left[:, None] + np.arange(math.ceil(support) + 2)
  weight = stretch * kernel(stretch * (center[:, None] - position))
  weight /= weight.sum(axis=1, keepdims=True)
  used = np.flatnonzero(np.any(weight != 0, axis=0))
  first, last = used[0], used[-1] + 1
  return position[:, first].astype(np.int64) - 1, weight[:, first:last]


def resize_taps(
  size: int,
  out_size: int,
  scale: float,
  method: str = 'cubic',
  antialias: bool = True,
  border: str = 'replicate',
) -> tuple[np.ndarray, np.ndarray]:
  """Returns source positions and weights of an axis's output samples.

  Args:
    size: input samples.
    out_size: output samples.
    scale: output samples per input sample; fixes the sampling grid, so that
      `out_size` may differ from `ceil(size * scale)`.
    method: 'lanczos' (MATLAB's lanczos3), 'cubic' (a = -0.5), 'linear' or
      'nearest'.
    antialias: stretch the kernel by `1 / scale` when shrinking; never for
      'nearest', as in MATLAB.
    border: 'replicate' clamps positions (older MATLAB), 'symmetric' mirrors
      them about the outer edge of the border sample (newer MATLAB).

  Returns:
    Positions int32 `[out_size, taps]` and weights float64
    `[out_size, taps]`, each row summing to 1.

  Raises:
    ValueError: for an unknown method or border, or an empty axis.
  """
  _check_options(size, out_size, method, border)
  start, weight = _taps(out_size, scale, method, antialias)
  return _within(start, weight.shape[1], size, border), weight


def _check_options(size: int, out_size: int, method: str, border: str) -> None:
  """Raises ValueError as `resize_taps` says."""
  if method not in _METHODS:
    raise ValueError(f'method must be one of {", ".join(_METHODS)}: {method!r}')
  if border not in _PAD_MODES:
    raise ValueError(f"border must be 'replicate' or 'symmetric': {border!r}")
  if size < 1 or out_size < 1:
    raise ValueError(f'cannot resize {size} samples to {out_size}')


def _within(start: np.ndarray, taps: int, size: int, border: str) -> np.ndarray:
  """Positions int32 `[n, taps]` from `start` on, led back inside."""
  index = start[:, None] + np.arange(taps)
  if border == 'replicate':
    index = np.clip(index, 0, size - 1)
  else:
    index = np.mod(index, 2 * size)
    index = np.where(index < size, index, 2 * size - 1 - index)
  return index.astype(np.int32)


@functools.lru_cache(maxsize=256)
def _merged_taps(*args) -> tuple[np.ndarray, np.ndarray]:
  """`resize_taps` by position, with the weights of one position added up.

  Returns:
    Positions `[taps, out_size]`, weights `[taps, out_size]`; as a sparse matrix
    has them, filled up by the last position with weight 0.
  """
  index, weight = resize_taps(*args)
  order = np.argsort(index, axis=1, kind='stable')
  index = np.take_along_axis(index, order, 1)
  weight = np.take_along_axis(weight, order, 1)
  place = np.cumsum(np.diff(index, axis=1, prepend=-1) != 0, axis=1) - 1
  rows = np.arange(len(index))[:, None]
  merged = np.zeros_like(weight)
  np.add.at(merged, (rows, place), weight)
  positions = np.repeat(index[:, -1:], index.shape[1], axis=1)
  positions[rows, place] = index
  return positions.T, merged.T


@functools.lru_cache(maxsize=256)
def _sparse_weights(*args) -> scipy.sparse.csr_matrix:
  index, weight = resize_taps(*args)
  rows = np.repeat(np.arange(args[1]), index.shape[1])
  return scipy.sparse.csr_matrix(
    (weight.ravel(), (rows, index.ravel())), shape=(args[1], args[0])
  )


def resize_matrix(*args, **kwargs) -> np.ndarray:
  """Returns the weights, float64 `[out_size, size]`; see `resize_taps`."""
  signature = (*args, *kwargs.values())
  return _sparse_weights(*signature).toarray()


def _resize_axis_host(x: np.ndarray, axis: int, *args) -> np.ndarray:
  if x.size <= _FEW_SAMPLES and len(_merged_taps(*args)[0]) <= _FEW_TAPS:
    # To the bit what a sparse product gives, without a tenth of a second for
    # importing it.
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    out: np.ndarray = np.zeros(())
    for index, weight in zip(*_merged_taps(*args), strict=True):
      out = out + np.take(x, index, axis) * weight.reshape(shape)
    return out
  weights = _sparse_weights(*args)
  x = np.moveaxis(x, axis, 0)
  out = weights @ x.reshape(x.shape[0], -1)
  return np.moveaxis(out.reshape(weights.shape[0], *x.shape[1:]), 0, axis)


@functools.partial(jax.jit, static_argnums=range(1, 8))
def _resize_axis_device(
  x, axis, out_size, scale, method, antialias, border, transposed
) -> jax.Array:
  # Compiled as one outside of jit, too: it is dozens of small operations.
  taps = _taps(out_size, scale, method, antialias)
  return sample_axis(x, axis, *taps, border, transposed=transposed)


def sample_axis(
  x: jax.Array,
  axis: int,
  start: np.ndarray,
  weight: np.ndarray,
  border: str = 'replicate',
  *,
  transposed: bool = False,
) -> jax.Array:
  """Returns weighted sums of neighbouring samples of an axis; inside jit.

  Args:
    x: `[H, W, C]`.
    axis: 0 or 1.
    start: `[n]`, where each sum begins; may lie beyond the ends.
    weight: `[n, taps]`.
    border: what lies beyond the ends, as in `resize_taps`.
    transposed: whether it is about to be transposed, which then compiles and
      runs several times as fast, but does not go with `jax.vmap`.

  Returns:
    `[n, W, C]` or `[H, n, C]`, of x's type.
  """
  period = _period(start, weight)
  if period is None:
    return _irregular(x, axis, start, weight, border)
  count, taps = weight.shape
  phases, step = period
  groups = -(-count // phases)
  begin, weight = start[:phases] - start[0], weight[:phases]
  first, least = int(start[0]), int(begin.min())
  # Sum r of group m takes sample t of piece m + j, of `step` samples, by
  # `table[j, r, t]`.
  pieces = -(-(int(begin.max()) - least + taps) // step)
  table = np.zeros((phases, pieces * step))
  for row, offset in enumerate(begin - least):
    table[row, offset : offset + taps] = weight[row]
  table = table.reshape(phases, pieces, step).transpose(1, 0, 2)
  low, high = first + least, first + least + (groups + pieces - 1) * step
  pads = [(0, 0)] * x.ndim
  pads[axis] = (max(0, -low), max(0, high - x.shape[axis]))
  padded = jnp.pad(x, pads, mode=_PAD_MODES[border])
  low, high = low + pads[axis][0], high + pads[axis][0]
  padded = jax.lax.slice_in_dim(padded, low, high, axis=axis)
  shape = (*x.shape[:axis], -1, step, *x.shape[axis + 1 :])
  divided = padded.reshape(shape)
  if transposed:
    out = jax.custom_derivatives.linear_call(
      lambda _, x: _sum_pieces(x, axis, table, groups),
      lambda _, out: _sum_pieces_back(out, axis, table),
      (),
      divided,
    )
  else:
    out = _sum_pieces(divided, axis, table, groups)
  shape = (*x.shape[:axis], groups * phases, *x.shape[axis + 1 :])
  return jax.lax.slice_in_dim(out.reshape(shape), 0, count, 1, axis)


def _sum_pieces(
  x: jax.Array, axis: int, table: np.ndarray, groups: int
) -> jax.Array:
  """Sums neighbouring pieces by a table.

  Args:
    x: the axis divided into pieces, `[..., groups + J - 1, q, ...]`.
    axis: of the pieces.
    table: `[J, p, q]`.
    groups: how many sums of `p`.

  Returns:
    `[..., groups, p, ...]`.
  """
  shape = (*(1,) * (axis + 1), -1, *(1,) * (x.ndim - axis - 2))
  total = jnp.zeros((), x.dtype)
  for j, weights in enumerate(table):
    part = jax.lax.slice_in_dim(x, j, j + groups, axis=axis)
    for t in np.flatnonzero(weights.any(0)).tolist():
      column = jnp.asarray(weights[:, t].reshape(shape), x.dtype)
      sample = jax.lax.slice_in_dim(part, t, t + 1, axis=axis + 1)
      total = total + sample * column
  return total


def _sum_pieces_back(out: jax.Array, axis: int, table: np.ndarray) -> jax.Array:
  """Applies the transpose of `_sum_pieces`, which is such a sum itself."""
  pads = [(0, 0)] * out.ndim
  pads[axis] = (len(table) - 1, len(table) - 1)
  groups = out.shape[axis] + len(table) - 1
  back = table[::-1].transpose(0, 2, 1)
  return _sum_pieces(jnp.pad(out, pads), axis, back, groups)


def _period(start: np.ndarray, weight: np.ndarray) -> tuple[int, int] | None:
  """After how many sums the weights repeat, and how far on; None: too many."""
  count, taps = weight.shape
  for phases in range(1, min(_MOST_PHASES + 1, count)):
    steps = start[phases:] - start[:-phases]
    change = abs(weight[phases:] - weight[:-phases]).max()
    if (steps == steps[0]).all() and change < 1e-9 and steps[0] > 0:
      return phases, int(steps[0])
  return None


def _irregular(
  x: jax.Array, axis: int, start: np.ndarray, weight: np.ndarray, border: str
) -> jax.Array:
  """Computes `sample_axis` whatever the weights: by a matrix or tap by tap."""
  size = x.shape[axis]
  index = _within(start, weight.shape[1], size, border)
  if size * len(start) <= _DENSE_LIMIT:
    matrix = np.zeros((len(start), size))
    np.add.at(matrix, (np.arange(len(start))[:, None], index), weight)
    return jnp.einsum(
      'ah,hwc->awc' if axis == 0 else 'aw,hwc->hac',
      jnp.asarray(matrix, x.dtype),
      x,
      precision=jax.lax.Precision.HIGHEST,
    )
  shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
  out = jnp.zeros((), x.dtype)
  for tap in range(index.shape[1]):
    picked = jnp.take(x, jnp.asarray(index[:, tap]), axis=axis)
    out = out + picked * jnp.asarray(weight[:, tap].reshape(shape), x.dtype)
  return out


def scale_pair(scale: Scale) -> tuple[float, float]:
  """Returns `scale` as a pair (y, x) of floats.

  Raises:
    ValueError: when it is not positive and finite, or no pair.
  """
  y, x = scale if isinstance(scale, (tuple, list)) else (scale, scale)
  pair = float(y), float(x)
  if not all(s > 0 and math.isfinite(s) for s in pair):
    raise ValueError(f'scale must be positive and finite: {scale!r}')
  return pair


def scaled_shape(shape: tuple[int, ...], scale: Scale) -> tuple[int, int]:
  """Rows and columns of an image of `shape` resized by `scale`: the ceiling.

  A relative slack of 1e-9 keeps a product that is a whole number in exact
  arithmetic (30 * 1.1) from being rounded up to the next one.
  """
  y, x = scale_pair(scale)
  return (
    math.ceil(shape[0] * y * (1 - 1e-9)),
    math.ceil(shape[1] * x * (1 - 1e-9)),
  )


def imresize(
  image: Array,
  scale: Scale,
  *,
  shape: tuple[int, int] | None = None,
  method: str = 'cubic',
  antialias: bool = True,
  border: str = 'replicate',
  transposed: bool = False,
) -> Array:
  """Resizes an image as MATLAB's imresize does.

  Args:
    image: `[H, W, C]`. float: any range, not clipped. NumPy uint8: the result
      is rounded (half up) and clipped to uint8 after each of the two passes,
      as MATLAB does for uint8 images.
    scale: output pixels per input pixel, a number or a pair (y, x).
    shape: output rows and columns, by default `scaled_shape`.
    method: 'lanczos', 'cubic', 'linear' or 'nearest'.
    antialias: low-pass before shrinking.
    border: 'replicate' (older MATLAB) or 'symmetric' (newer MATLAB).
    transposed: of JAX input, see `sample_axis`.

  Returns:
    `[rows, columns, C]`, NumPy for NumPy and JAX for JAX, same dtype.

  Raises:
    ValueError: for an image that is not `[H, W, C]` or bad options.
  """
  if image.ndim != 3:
    raise ValueError(f'an image is [H, W, C], not {image.shape}')
  scales = scale_pair(scale)
  out_shape = scaled_shape(image.shape, scales) if shape is None else shape
  # MATLAB shrinks the axis with the smaller scale first; rows when equal.
  order = (0, 1) if scales[0] <= scales[1] else (1, 0)
  on_host = isinstance(image, np.ndarray)
  out: Any = image.astype(np.float64) if on_host else image
  for axis in order:
    size, out_size = image.shape[axis], int(out_shape[axis])
    args = (size, out_size, scales[axis], method, antialias, border)
    if scales[axis] == 1 and size == out_size:
      continue
    if not on_host:
      _check_options(size, out_size, method, border)
      out = _resize_axis_device(
        out, axis, out_size, scales[axis], method, antialias, border, transposed
      )
      continue
    out = _resize_axis_host(out, axis, *args)
    if image.dtype == np.uint8:
      out = np.clip(np.floor(out + 0.5), 0, 255)
  return out.astype(image.dtype) if on_host else out
