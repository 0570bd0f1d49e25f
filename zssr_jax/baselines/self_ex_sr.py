"""Super-resolution from transformed patches of the image itself (SelfExSR).

Huang, Singh and Ahuja, "Single Image Super-Resolution from Transformed
Self-Exemplars", CVPR 2015. The image grows in steps of about 2^(1/3). At each
step the interpolated image is compared, patch by patch, with what smaller
versions of the input look like after the same shrinking and interpolation;
the patches of the sharp versions take its place, and back-projection makes
the result explain the input.

Patches are found by PatchMatch over position, size of the smaller version and
an affine map (rotation, scale, shear; section 3.2). The perspective of planes
and the detection of their vanishing points (section 3.1), which help on
facades, are left out. The work is done on luma; the colours are interpolated.

Other than published, three searches vote, good matches more than bad ones, and
the interpolated image votes along, so that what has no match stays as it is.
With a twentieth of that last vote Set5 x3 loses 0.16 dB.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax import inference
from zssr_jax.baselines import interpolation
from zssr_jax.degradation import Degradation
from zssr_jax.ops import color, resize
from zssr_jax.ops.resize import Scale

_STEP = 2 ** (1 / 3)  # growth of a step, and between the smaller versions
_VERSIONS = 6  # of the input, itself among them
_LEAST_VERSION = 16  # pixels of the shorter side
_LEAST_SIDE = 8  # below, the image is interpolated
_PATCH = 5
_SIGMA = 3.0  # of a patch's Gaussian weights
_FINE = 3  # samples a pixel at which the versions are read
_ROTATION = math.pi / 4
_SCALE = 0.1  # of the affine map, in natural logarithm, from 0
_SHEAR = 0.05
_BIAS = 0.25  # by how much a patch may be brighter than its match
_ITERATIONS = 8  # of PatchMatch
_SOFTNESS = 3e-3  # by so much more squared error a vote is e times lighter
_DOUBT = 0.2  # vote of the interpolated image, relative to good matches
_RESTARTS = 3  # of PatchMatch, whose votes are averaged
_BACK_PROJECTIONS = 20  # per step

# The weights of a patch's rows, and of its columns.
Window = tuple[float, ...]


class Level(NamedTuple):
  """Where a smaller version of the input lies in the flat arrays."""

  start: int
  rows: int
  columns: int


class Field(NamedTuple):
  """Where the patch around each pixel has its match; all `[H, W]`."""

  level: jax.Array  # int32, of `Level`
  y: jax.Array  # centre, in pixels of the level
  x: jax.Array
  angle: jax.Array  # radians
  scale: jax.Array  # natural logarithm of the pixels of the level a pixel
  shear: jax.Array


def upscale(lr: np.ndarray, scale: Scale) -> np.ndarray:
  """Calls `super_resolve` for an image shrunk by bicubic, as tables want it."""
  return super_resolve(lr, Degradation(scale))


def super_resolve(
  lr: np.ndarray,
  degradation: Degradation,
  *,
  back_projections: int = _BACK_PROJECTIONS,
) -> np.ndarray:
  """Super-resolves by transformed patches of the image itself.

  Args:
    lr: `[h, w, C]` in [0, 1].
    degradation: that made `lr`; its noise does not count.
    back_projections: after each step; fewer make less of a kernel.

  Returns:
    float32 `[ceil(h y), ceil(w x), C]` in [0, 1], always the same for the
    same arguments. An image with a side below 8 pixels is interpolated.

  Raises:
    ValueError: for an image that is not `[h, w, C]` or a scale below 1.
  """
  lr = np.asarray(lr, np.float32)
  if lr.ndim != 3:
    raise ValueError(f'an image is [h, w, C], not {lr.shape}')
  scale = degradation.scale
  if min(scale) < 1:
    raise ValueError(f'scale must be at least 1, not {scale!r}')
  if min(lr.shape[:2]) < _LEAST_SIDE or max(scale) == 1:
    return interpolation.bicubic(lr, scale)
  luma = _luma(lr)
  larger = _grow(luma, degradation, back_projections)
  interpolated = resize.imresize(lr, scale)
  # What is added to all channels alike changes the luma by just that.
  out = interpolated + (larger - _luma(interpolated))
  return np.clip(out, 0, 1).astype(np.float32)


def _luma(image: np.ndarray) -> np.ndarray:
  """Full-range luma `[h, w, 1]`; the mean where there are not 3 channels."""
  if image.shape[2] != 3:
    return image.mean(2, keepdims=True)
  return (255 * color.studio_luma(image) - 16) / 219


def _grow(
  luma: np.ndarray, degradation: Degradation, back_projections: int
) -> np.ndarray:
  """Upscales `[h, w, 1]` in equal steps of about `_STEP`."""
  scales = degradation.scale
  field = None
  count = max(1, round(math.log(max(scales)) / math.log(_STEP)))
  image = luma
  reached = (1.0, 1.0)
  for step in range(1, count + 1):
    aim = scales
    if step < count:
      aim = (scales[0] ** (step / count), scales[1] ** (step / count))
    here = degradation.at(aim)
    factor = (aim[0] / reached[0], aim[1] / reached[1])
    shape = resize.scaled_shape(luma.shape, aim)
    target = resize.imresize(image, factor, shape=shape)
    # Only the input has the kernel's blur; what comes after it is meant to be
    # sharp, as if shrunk by bicubic.
    shrinking = Degradation(factor, here.kernel if step == 1 else None)
    found, field = _replace(target[..., 0], luma, shrinking, field, step)
    image = np.asarray(
      inference.back_project(
        found[..., None],
        jnp.asarray(luma),
        here,
        iterations=back_projections,
      )
    )
    reached = aim
  return image


def _replace(
  target: np.ndarray,
  luma: np.ndarray,
  shrinking: Degradation,
  earlier: Field | None,
  seed: int,
) -> tuple[jax.Array, Field]:
  """Exchanges the patches of an interpolated image for sharp ones.

  Args:
    target: `[H, W]`, interpolated.
    luma: the input `[h, w, 1]`.
    shrinking: by the factor of the interpolation.
    earlier: the field of the step before.
    seed: of the search.

  Returns:
    `[H, W]`, and the field.
  """
  blurry, sharp, levels = make_source(luma, shrinking)
  image = jnp.asarray(target)
  rows, columns = image.shape
  window = make_window(_PATCH, _SIGMA)
  if earlier is None:
    start = same_place((rows, columns), levels)
  else:
    start = carry_over(earlier, (rows, columns), levels)
  results = []
  for restart in range(_RESTARTS):
    field, cost, bias = search(
      image,
      blurry,
      start,
      jax.random.key(seed * 1000 + restart),
      levels=levels,
      window=window,
      iterations=_ITERATIONS,
    )
    results.append(
      vote(image, sharp, field, cost, bias, levels=levels, window=window)
    )
  return sum(results, jnp.zeros_like(image)) / _RESTARTS, field


def make_window(side: int, sigma: float) -> Window:
  """Returns the Gaussian weights of a patch's rows, and of its columns."""
  offset = range(-(side // 2), side // 2 + 1)
  weights = [math.exp(-(at**2) / (2 * sigma**2)) for at in offset]
  return tuple(weight / sum(weights) for weight in weights)


def _margin() -> int:
  """Pixels by which a transformed patch may leave its level."""
  reach = math.hypot(_PATCH // 2, _PATCH // 2)
  return math.ceil(reach * math.exp(_SCALE) * (1 + _SHEAR)) + 1


def make_source(
  luma: np.ndarray, shrinking: Degradation
) -> tuple[jax.Array, jax.Array, tuple[Level, ...]]:
  """Makes the pairs of blurry and sharp images that patches come from.

  Args:
    luma: the input, `[h, w, 1]`.
    shrinking: by the factor that the target was interpolated by.

  Returns:
    The blurry versions and the sharp ones, each with `_FINE` samples a pixel
    and a margin, one behind the other in a flat array; and where they lie.
  """
  blurry: list[np.ndarray] = []
  sharp: list[np.ndarray] = []
  levels: list[Level] = []
  start = 0
  for index in range(_VERSIONS):
    ratio = _STEP**-index
    shape = round(luma.shape[0] * ratio), round(luma.shape[1] * ratio)
    if index and min(shape) < _LEAST_VERSION:
      break
    version = resize.imresize(luma, ratio, shape=shape) if index else luma
    small = shrinking.down(jnp.asarray(version))
    again = resize.imresize(np.asarray(small), shrinking.scale, shape=shape)
    for image, images in ((again, blurry), (version, sharp)):
      fine = resize.imresize(
        image, _FINE, shape=(_FINE * shape[0], _FINE * shape[1])
      )
      fine = np.pad(fine[..., 0], _FINE * _margin(), mode='edge')
      images.append(fine.ravel())
    levels.append(Level(start, *shape))
    start += fine.size
  return (
    jnp.asarray(np.concatenate(blurry)),
    jnp.asarray(np.concatenate(sharp)),
    tuple(levels),
  )


def _matrix(field: Field) -> tuple[jax.Array, ...]:
  """The affine map's (yy, yx, xy, xx): scale times rotation times shear."""
  size = jnp.exp(field.scale)
  cos, sin = size * jnp.cos(field.angle), size * jnp.sin(field.angle)
  shear = field.shear
  return cos, cos * shear + sin, -sin, cos - sin * shear


def _columns_of(
  levels: tuple[Level, ...], level: jax.Array
) -> tuple[jax.Array, ...]:
  """Start, rows and columns of the level of each pixel, int32."""
  return tuple(
    jnp.asarray(np.asarray(column, np.int32))[level]
    for column in zip(*levels, strict=True)
  )


def _reader(field: Field, levels: tuple[Level, ...]):
  """Returns `index(y, x)`: where the match of a patch's pixel lies, int32."""
  start, _, columns = _columns_of(levels, field.level)
  width = _FINE * (columns + 2 * _margin())
  center = [_FINE * (at + (0.5 + _margin())) for at in (field.y, field.x)]
  matrix = [_FINE * m for m in _matrix(field)]
  # Without it all of this is computed again for every pixel of the patch.
  (y, x), (yy, yx, xy, xx), start, width = jax.lax.optimization_barrier(
    (center, matrix, start, width)
  )

  def index(row: jax.Array, dx: int) -> jax.Array:
    dy = row.astype(jnp.float32)
    at_y = (y + yy * dy + yx * dx).astype(jnp.int32)
    at_x = (x + xy * dy + xx * dx).astype(jnp.int32)
    return start + at_y * width + at_x

  return index


def _read(flat: jax.Array, index: jax.Array) -> jax.Array:
  return flat.at[index].get(mode='promise_in_bounds')


def compare(
  target: jax.Array,
  blurry: jax.Array,
  field: Field,
  *,
  levels: tuple[Level, ...],
  window: Window,
) -> tuple[jax.Array, jax.Array]:
  """Compares each pixel's patch with its match.

  Args:
    target: `[H, W]`.
    blurry: of `make_source`.
    field: the matches.
    levels: of `make_source`.
    window: of `make_window`.

  Returns:
    The weighted mean of the squared differences that the bias leaves, and the
    bias: what is to be added to the match. Both `[H, W]`.
  """
  rows, columns = target.shape
  reach = len(window) // 2
  weights = jnp.asarray(window, jnp.float32)
  padded = jnp.pad(target, reach, mode='edge')
  index = _reader(field, levels)

  def row(dy, sums):
    # One row of the patch: all rows unrolled take long to compile.
    strip = jax.lax.dynamic_slice_in_dim(padded, reach + dy, rows)
    mean, square = sums
    for dx in range(-reach, reach + 1):
      here = strip[:, reach + dx : reach + dx + columns]
      difference = here - _read(blurry, index(dy, dx))
      weight = weights[reach + dy] * window[reach + dx]
      mean += weight * difference
      square += weight * difference**2
    return mean, square

  zero = jnp.zeros_like(target)
  mean, square = jax.lax.fori_loop(-reach, reach + 1, row, (zero, zero))
  bias = jnp.clip(mean, -_BIAS, _BIAS)
  return jnp.maximum(square - 2 * mean * bias + bias**2, 0), bias


def _inside(field: Field, levels: tuple[Level, ...]) -> Field:
  """Brings the matches back into their levels and the maps into range."""
  _, rows, columns = _columns_of(levels, field.level)
  return Field(
    field.level,
    jnp.clip(field.y, 0.0, (rows - 1).astype(jnp.float32)),
    jnp.clip(field.x, 0.0, (columns - 1).astype(jnp.float32)),
    jnp.clip(field.angle, -_ROTATION, _ROTATION),
    jnp.clip(field.scale, 0.0, _SCALE),
    jnp.clip(field.shear, -_SHEAR, _SHEAR),
  )


def same_place(shape: tuple[int, int], levels: tuple[Level, ...]) -> Field:
  """The field `shape` whose matches lie at the same place of the input."""
  places = [
    (jnp.arange(n, dtype=jnp.float32) + 0.5) * (m / n) - 0.5
    for n, m in zip(shape, levels[0][1:], strict=True)
  ]
  zero = jnp.zeros(shape, jnp.float32)
  return Field(
    zero.astype(jnp.int32),
    jnp.broadcast_to(places[0][:, None], shape),
    jnp.broadcast_to(places[1][None], shape),
    zero,
    zero,
    zero,
  )


@functools.partial(jax.jit, static_argnames=('shape', 'levels'))
def carry_over(
  field: Field, shape: tuple[int, int], levels: tuple[Level, ...]
) -> Field:
  """Makes the field of a step into a start for the next, of `shape`.

  The same content has its match in the next larger version of the input.
  """
  places = [
    (jnp.arange(n, dtype=jnp.float32) + 0.5) * (m / n) - 0.5
    for n, m in zip(shape, field.y.shape, strict=True)
  ]
  nearest = [
    jnp.clip(jnp.round(place), 0, m - 1)
    for place, m in zip(places, field.y.shape, strict=True)
  ]
  from_y, from_x = (at.astype(jnp.int32) for at in nearest)
  field = Field(*(part[from_y[:, None], from_x[None]] for part in field))
  dy = (places[0] - nearest[0])[:, None]
  dx = (places[1] - nearest[1])[None]
  yy, yx, xy, xx = _matrix(field)
  level = jnp.maximum(field.level - 1, 0)
  _, rows, columns = _columns_of(levels, field.level)
  _, new_rows, new_columns = _columns_of(levels, level)
  return field._replace(
    level=level,
    y=(field.y + yy * dy + yx * dx + 0.5) * (new_rows / rows) - 0.5,
    x=(field.x + xy * dy + xx * dx + 0.5) * (new_columns / columns) - 0.5,
  )


def _schedule(level: Level, iterations: int) -> np.ndarray:
  """What each step of the search tries.

  Args:
    level: the largest.
    iterations: of PatchMatch.

  Returns:
    float32 `[steps, 5]`: the neighbour (y, x) whose match is tried, the radius
    of a random offset in pixels, that of the affine map as a share of its
    range, and whether the level is drawn, too.
  """
  steps: list[tuple[float, ...]] = [(0, 0, 0, 0, 0)]  # as it is
  for iteration in range(iterations):
    for jump in (2 + 2 * (iteration % 2), 1):
      for y, x in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        steps.append((y * jump, x * jump, 0, 0, 0))
    radius = max(level.rows, level.columns) / (1 + iteration % 2)
    coarse = True
    while radius > 0.5:
      steps.append((0, 0, radius, 1 if coarse else 0.25, coarse))
      radius /= 3
      coarse = not coarse
    steps.append((0, 0, 0.5, 0.15, 0))
    steps.append((0, 0, 0.34, 0, 0))
  return np.asarray(steps, np.float32)


@functools.partial(jax.jit, static_argnames=('levels', 'window', 'iterations'))
def search(
  target: jax.Array,
  blurry: jax.Array,
  start: Field,
  key: jax.Array,
  *,
  levels: tuple[Level, ...],
  window: Window,
  iterations: int,
) -> tuple[Field, jax.Array, jax.Array]:
  """Looks for the best match of every patch (PatchMatch).

  All patches take each step together: either the match of a neighbour, moved
  along its map, or the own one changed at random is kept where it is better.

  Args:
    target: `[H, W]`.
    blurry: of `make_source`.
    start: the field to begin with.
    key: of the random changes.
    levels: of `make_source`.
    window: of `make_window`.
    iterations: each of 8 neighbours and some ten random changes.

  Returns:
    The field, and its cost and bias as in `compare`.
  """
  shape = target.shape

  def draw(key: jax.Array) -> jax.Array:
    bits = jax.random.bits(key, (3, *shape), jnp.uint32)
    halves = jnp.concatenate([bits >> 16, bits & 0xFFFF])
    return halves.astype(jnp.float32) * (2 / 65535) - 1

  def step(carry, what):
    field, cost, bias, key = carry
    y, x, radius, change, any_level = what
    key, now = jax.random.split(key)
    random = jax.lax.cond(
      radius > 0, draw, lambda _: jnp.zeros((6, *shape), jnp.float32), now
    )
    shift = (y.astype(jnp.int32), x.astype(jnp.int32))
    other = Field(*(jnp.roll(part, shift, (0, 1)) for part in field))
    yy, yx, xy, xx = _matrix(other)
    _, rows, columns = _columns_of(levels, other.level)
    drawn = ((random[5] + 1) * (0.5 * len(levels))).astype(jnp.int32)
    drawn = jnp.minimum(drawn, len(levels) - 1)
    level = jnp.where(any_level > 0, drawn, other.level)
    _, new_rows, new_columns = _columns_of(levels, level)
    at_y = other.y + yy * y + yx * x + 0.5
    at_x = other.x + xy * y + xx * x + 0.5
    tried = Field(
      level,
      at_y * (new_rows / rows) - 0.5 + radius * random[0],
      at_x * (new_columns / columns) - 0.5 + radius * random[1],
      other.angle + change * _ROTATION * random[2],
      other.scale + change * _SCALE * random[3],
      other.shear + change * _SHEAR * random[4],
    )
    tried = _inside(tried, levels)
    its_cost, its_bias = compare(
      target, blurry, tried, levels=levels, window=window
    )
    better = its_cost < cost
    kept = [
      jnp.where(better, new, old)
      for new, old in zip(
        (*tried, its_cost, its_bias), (*field, cost, bias), strict=True
      )
    ]
    return (Field(*kept[:-2]), kept[-2], kept[-1], key), None

  cost = jnp.full(shape, jnp.inf, jnp.float32)  # until the first step
  schedule = jnp.asarray(_schedule(levels[0], iterations))
  carry = (start, cost, jnp.zeros(shape, jnp.float32), key)
  carry, _ = jax.lax.scan(step, carry, schedule)
  return carry[:3]


@functools.partial(jax.jit, static_argnames=('levels', 'window'))
def vote(
  target: jax.Array,
  sharp: jax.Array,
  field: Field,
  cost: jax.Array,
  bias: jax.Array,
  *,
  levels: tuple[Level, ...],
  window: Window,
) -> jax.Array:
  """Averages the sharp versions of all matches, where they overlap.

  Args:
    target: `[H, W]`; counts a little, for where nothing matches.
    sharp: of `make_source`.
    field: the matches of the patches around `[H, W]` pixels.
    cost: of `search`; a good match counts more.
    bias: of `search`, added to the match.
    levels: of `make_source`.
    window: of `make_window`.

  Returns:
    `[H, W]`.
  """
  rows, columns = cost.shape
  reach = len(window) // 2
  weights = jnp.asarray(window, jnp.float32)
  trust = jnp.exp(-cost / _SOFTNESS)
  index = _reader(field, levels)

  def row(dy, sums):
    strips = [jnp.zeros((rows, columns + 2 * reach), jnp.float32)] * 2
    for dx in range(-reach, reach + 1):
      weight = weights[reach + dy] * window[reach + dx] * trust
      value = _read(sharp, index(dy, dx)) + bias
      here = slice(reach + dx, reach + dx + columns)
      strips[0] = strips[0].at[:, here].add(weight * value)
      strips[1] = strips[1].at[:, here].add(weight)
    return tuple(
      jax.lax.dynamic_update_slice_in_dim(
        old,
        jax.lax.dynamic_slice_in_dim(old, reach + dy, rows) + strip,
        reach + dy,
        0,
      )
      for old, strip in zip(sums, strips, strict=True)
    )

  zero = jnp.zeros((rows + 2 * reach, columns + 2 * reach), jnp.float32)
  total, heavy = jax.lax.fori_loop(-reach, reach + 1, row, (zero, zero))
  inside = (slice(reach, reach + rows), slice(reach, reach + columns))
  return (total[inside] + _DOUBT * target) / (heavy[inside] + _DOUBT)
