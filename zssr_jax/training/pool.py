"""The pool of HR fathers and the random draw of a training pair.

Fathers are the input, its smaller versions and, in a gradual run, earlier
results (ZSSR sections 3.1 and 3.3). They are padded into one array so that a
draw is a few dynamic slices inside jit. A draw depends on the fathers alone,
never on how far the array is padded, and never returns padding.
"""

from __future__ import annotations

import fractions
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax import parts
from zssr_jax.config import Config
from zssr_jax.ops import dihedral, resize

# Padded sides are multiples of this, so that few shapes are ever compiled: one
# for all images whose crop is not the full one.
BUCKET = 256
# Father slots are padded to multiples of this for the same reason.
_SLOTS = 8
_PART = 256  # side of a part of a large image, pixels; at least


class Pool(NamedTuple):
  """HR fathers on the device; slots past the last father have weight 0."""

  images: jax.Array  # float32 [F, H, W, C], [0, 1], zero padded
  sizes: jax.Array  # int32 [F, 2], rows and columns in use
  ratios: jax.Array  # float32 [F], side relative to the input's
  weights: jax.Array  # float32 [F], probability of the draw, sums to 1


def crop_side(
  shape: Sequence[int], scale: tuple[float, float], config: Config
) -> int:
  """Returns the side of the square crop from a father of `shape`, in pixels.

  It is `config.crop`, or of a father for which that is too large the largest
  of a few sides within `config.crop_fraction` of its shorter side, so that
  images of nearly one size share their programs; and then as much of it as both
  factors divide into whole sons.

  Raises:
    ValueError: when the input is too small to train on at this scale.
  """
  step = math.lcm(
    *(fractions.Fraction(s).limit_denominator(16).numerator for s in scale)
  )
  shorter = min(shape[:2])
  limit = min(config.crop, max(math.floor(shorter * config.crop_fraction), 8))

  def whole(side: int) -> int:
    return side // step * step if step <= side else side

  def is_enough(side: int) -> bool:
    return side >= 8 and side / max(scale) >= 4

  side = whole(limit)
  if limit < config.crop and is_enough(rounded := whole(_round_down(limit))):
    side = rounded
  if not is_enough(side) or side > shorter:
    raise ValueError(
      f'an image of {shape[0]}x{shape[1]} pixels is too small to be trained on'
      f' at scale {max(scale):g}: its shorter side needs at least'
      f' {max(8, math.ceil(4 * max(scale)))} pixels'
    )
  return side


def crops_of(scale: tuple[float, float], config: Config) -> int:
  """Returns how many crops a step takes.

  It is `config.batch`, or for 0 as many as have together about the pixels, at
  the son's resolution, of one crop at scale 2: sons of larger factors are
  smaller, and more of them cost no more.

  Args:
    scale: of the result, (y, x).
    config: gives the batch.
  """
  return config.batch or max(1, round(scale[0] * scale[1] / 4))


def _round_down(side: int) -> int:
  """Rounds a side of 8 or more down to one of four an octave.

  These are 8, 16, 24, and so on up to 64, then 80, 96, 112, 128, 160, ...
  """
  step = max(8, 1 << (side.bit_length() - 3))
  return side // step * step


def choose_parts(image: np.ndarray, config: Config) -> tuple[parts.Part, ...]:
  """Chooses what of an image the fathers are made of.

  Args:
    image: `[H, W, C]`.
    config: gives `pool`, the megapixels of all fathers, their scales and the
      crop.

  Returns:
    The whole, or of a large image the parts with most structure, as many as
    the pool has room for and each large enough for the crop.
  """
  count = 1 + math.floor(
    math.log(config.min_father_scale * (1 - 1e-6))
    / math.log(config.father_step)
  )
  share = sum(config.father_step ** (2 * k) for k in range(count))
  room = config.pool * 1e6 / share
  height, width = image.shape[:2]
  if height * width <= room:
    return ((slice(0, height), slice(0, width)),)
  # The smallest father holds a crop.
  side = max(_PART, math.ceil(config.crop / config.min_father_scale))
  most = max(1, int(room / side**2))
  return tuple(parts.busiest(image, (side, side), most))


def make_fathers(
  image: np.ndarray, side: int, config: Config
) -> list[np.ndarray]:
  """Makes smaller versions of an image, none smaller than a crop.

  Args:
    image: `[H, W, C]` in [0, 1].
    side: crop side in pixels.
    config: gives `father_step` and `min_father_scale`.

  Returns:
    float32 `[h, w, C]` in [0, 1]: the image, then antialiased cubic versions,
    each smaller than the one before.
  """
  fathers = [np.asarray(image, np.float32)]
  scale = config.father_step
  while scale >= config.min_father_scale * (1 - 1e-6):
    if min(resize.scaled_shape(image.shape, scale)) < side:
      break
    smaller = resize.imresize(fathers[0], scale)
    fathers.append(np.clip(smaller, 0.0, 1.0))
    scale *= config.father_step
  return fathers


def make_pool(
  fathers: Sequence[np.ndarray], reference: Sequence[int], exponent: float = 1.0
) -> Pool:
  """Pads fathers into a `Pool`.

  Args:
    fathers: images `[h, w, C]` in [0, 1].
    reference: shape of the input; a father's weight is its side ratio (the
      root of the ratio of areas) to it, raised to `exponent`.
    exponent: 1 is the paper's size ratio.
  """

  def bucket(n: int, step: int) -> int:
    return -(-n // step) * step

  count = bucket(len(fathers), _SLOTS)
  rows = bucket(max(f.shape[0] for f in fathers), BUCKET)
  columns = bucket(max(f.shape[1] for f in fathers), BUCKET)
  images = np.zeros((count, rows, columns, fathers[0].shape[2]), np.float32)
  sizes = np.ones((count, 2), np.int32)
  ratios = np.ones(count, np.float32)
  weights = np.zeros(count, np.float32)
  for slot, father in enumerate(fathers):
    images[slot, : father.shape[0], : father.shape[1]] = father
    sizes[slot] = father.shape[:2]
    area = father.shape[0] * father.shape[1] / (reference[0] * reference[1])
    ratios[slot] = math.sqrt(area)
    weights[slot] = ratios[slot] ** exponent
  placed: Any = images, sizes, ratios, weights / weights.sum()
  return Pool(*jax.device_put(placed))


def pad_pool(pool: Pool, slots: int, side: int) -> Pool:
  """Pads a pool to `slots` fathers of `side` x `side` pixels; draws stay."""
  count, rows, columns = pool.images.shape[:3]
  more = slots - count
  return Pool(
    jnp.pad(
      pool.images,
      ((0, more), (0, side - rows), (0, side - columns), (0, 0)),
    ),
    jnp.pad(pool.sizes, ((0, more), (0, 0)), constant_values=1),
    jnp.pad(pool.ratios, (0, more), constant_values=1),
    jnp.pad(pool.weights, (0, more)),
  )


def draw_father(key: jax.Array, pool: Pool) -> jax.Array:
  """Draws the index of a father, int32, with probability `pool.weights`."""
  # The inverse of the distribution needs one number, whatever the padding.
  point = jax.random.uniform(key)
  # Comparing all is one kernel on a GPU, a binary search nineteen more.
  index = jnp.searchsorted(
    jnp.cumsum(pool.weights), point, side='right', method='compare_all'
  )
  last = jnp.sum(pool.weights > 0) - 1
  return jnp.minimum(index, last).astype(jnp.int32)


def draw_crop(
  key: jax.Array,
  pool: Pool,
  *,
  side: int,
  dihedrals: bool = True,
  affine: float = 0.0,
  affine_min_scale: float = 0.5,
  affine_aspect_std: float = 0.25,
  affine_shear_std: float = 0.1,
) -> jax.Array:
  """Draws one augmented father crop (ZSSR section 3.1).

  Args:
    key: random key.
    pool: the fathers.
    side: side of the crop in pixels; no father in use is smaller.
    dihedrals: apply one of the 8 symmetries at random.
    affine: share of draws that are affine warps instead of plain crops.
    affine_min_scale: the warp's scale is uniform between this and 1.
    affine_aspect_std: spread of the difference between its axes' scales.
    affine_shear_std: spread of its shear.

  Returns:
    `[side, side, C]` in [0, 1].
  """
  father_key, place_key, turn_key, choice_key, warp_key = jax.random.split(
    key, 5
  )

  def plain() -> jax.Array:
    index = draw_father(father_key, pool)
    room = pool.sizes[index] - side + 1
    spot = jax.random.uniform(place_key, (2,))
    corner = (spot * room.astype(spot.dtype)).astype(jnp.int32)
    corner = jnp.minimum(corner, room - 1)
    crop = jax.lax.dynamic_slice(
      pool.images,
      (index, corner[0], corner[1], 0),
      (1, side, side, pool.images.shape[3]),
    )[0]
    if not dihedrals:
      return crop
    turn = jax.random.randint(turn_key, (), 0, dihedral.COUNT)
    return dihedral.random_dihedral(crop, turn)

  if not affine:
    return plain()
  index, corner, matrix, fits = _draw_warp(
    warp_key, pool, side, affine_min_scale, affine_aspect_std, affine_shear_std
  )
  chosen = jax.random.uniform(choice_key) < affine
  return jax.lax.cond(
    chosen & fits,
    lambda: _warp(pool.images[index], corner, matrix, side),
    plain,
  )


def _draw_warp(key, pool: Pool, side: int, min_scale, aspect_std, shear_std):
  """Draws a random affine warp that stays inside one father.

  The father is the largest whose pixels the warp never steps over, so that
  reading it needs no low-pass filter. When the warped crop does not fit into
  it, or no father is small enough, the warp is refused.

  Returns:
    Father index, the crop's centre in that father (y, x), the step matrix
    `[2, 2]` from crop to father pixels, and whether the warp fits.
  """
  keys = jax.random.split(key, 6)
  scale = jax.random.uniform(keys[0], minval=min_scale, maxval=1.0)
  aspect = jnp.clip(aspect_std * jax.random.normal(keys[1]), -0.5, 0.5)
  shear = shear_std * jax.random.normal(keys[2])
  angle = jax.random.uniform(keys[3], maxval=2 * math.pi)
  mirror = jnp.where(jax.random.bernoulli(keys[4]), 1.0, -1.0)
  sin, cos = jnp.sin(angle), jnp.cos(angle)
  rotate = jnp.array([[cos, -sin], [sin, cos]])
  skew = jnp.array([[1.0, 0.0], [0.0, 1.0]]).at[0, 1].set(shear)
  stretch = jnp.array([(1 + aspect / 2) / scale, mirror * (1 - aspect / 2)])
  stretch = stretch.at[1].divide(scale)
  # Elementwise, since a 2x2 product must not lose precision on accelerators.
  step = jnp.sum(rotate[:, :, None] * (skew * stretch[None, :])[None], axis=1)
  norm = jnp.sum(step**2)
  determinant = step[0, 0] * step[1, 1] - step[0, 1] * step[1, 0]
  spread = jnp.sqrt(jnp.maximum(norm**2 / 4 - determinant**2, 0.0))
  largest = jnp.sqrt(norm / 2 + spread)
  # 6% of overstep keeps the next father in the list in play.
  usable = (pool.weights > 0) & (pool.ratios * largest <= 1.06)
  index = jnp.argmax(jnp.where(usable, pool.ratios, -1.0))
  matrix = step * pool.ratios[index]
  reach = jnp.sum(jnp.abs(matrix), axis=1) * (side - 1) / 2 + 2
  size = pool.sizes[index].astype(jnp.float32)
  room = size - 1 - 2 * reach
  spot = jax.random.uniform(keys[5], (2,))
  center = reach + spot * room
  return index, center, matrix, jnp.any(usable) & jnp.all(room >= 0)


def _warp(image: jax.Array, center, matrix, side: int) -> jax.Array:
  """Reads `[side, side, C]` off an image by cubic interpolation."""
  offset = jnp.arange(side, dtype=image.dtype) - (side - 1) / 2
  y = center[0] + matrix[0, 0] * offset[:, None] + matrix[0, 1] * offset[None]
  x = center[1] + matrix[1, 0] * offset[:, None] + matrix[1, 1] * offset[None]
  low_y, low_x = jnp.floor(y), jnp.floor(x)
  taps_y = resize.cubic_taps(y - low_y)
  taps_x = resize.cubic_taps(x - low_x)
  low_y, low_x = low_y.astype(jnp.int32), low_x.astype(jnp.int32)
  out = jnp.zeros((), image.dtype)
  for i in range(4):
    for j in range(4):
      weight = taps_y[i] * taps_x[j]
      out = out + weight[..., None] * image[low_y + i - 1, low_x + j - 1]
  return jnp.clip(out, 0.0, 1.0)
