"""Aligned LR and HR patches of many images, drawn on the device.

All images lie in one uint8 array, one below the other, cut to a multiple of
every scale. So do the LR images that MATLAB's bicubic makes of them, one array
a scale. A patch is a gather: place and transform are data, and one program
draws them all. Patches keep away from the images' edges, so that neither the
blur nor the cubic upscale of a patch meets a border that the image does not
have there. With random kernels a patch is blurred as it is drawn, by a kernel
of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax import blur_kernels, degradation
from zssr_jax.ops import color as color_lib
from zssr_jax.ops import resize

# LR pixels on either side that the cubic upscale of a patch reads.
_REACH = 2
# Points a side at which a Gaussian is read within one pixel.
_FINE = 4
# Share of bicubic patches by the name of what makes LR patches.
KERNELS = {'bicubic': 1.0, 'gaussian': 0.0, 'mixed': 0.25}


class Plan(NamedTuple):
  """What is drawn; hashable."""

  scales: tuple[int, ...]  # one of them for each patch, all equally likely
  side: int  # of the HR patch, pixels; a multiple of every scale
  color: str  # 'rgb', or 'y': the luma that is scored, not rounded
  kernels: str = 'bicubic'  # one of KERNELS


class Corpus(NamedTuple):
  """The images, and where they lie."""

  hr: jax.Array  # uint8 [rows, columns, 3]
  lr: tuple[jax.Array, ...]  # uint8 [rows / s, columns / s, 3], one a scale
  top: jax.Array  # int32 [N], first row of each image
  shape: jax.Array  # int32 [N, 2], its rows and columns
  share: jax.Array  # float32 [N], its share of the area, summed up to it


class Batch(NamedTuple):
  """Patches in [0, 1]; C is 3, or 1 for 'y'."""

  lr: jax.Array  # float32 [B, side / s, side / s, C]; see `draw`
  interpolated: jax.Array  # float32 [B, side, side, C], cubic upscale of it
  hr: jax.Array  # float32 [B, side, side, C]


def unit_of(scales: Sequence[int]) -> int:
  """Returns the HR pixels in whose multiples patches are placed."""
  return math.lcm(*scales)


def margin_of(plan: Plan) -> int:
  """Returns the HR pixels that a patch needs around it, whole units."""
  unit, scale = unit_of(plan.scales), max(plan.scales)
  need = _REACH * scale
  if plan.kernels != 'bicubic':
    need += kernel_side(scale) // 2
  return -(-need // unit) * unit


def make_corpus(images: Sequence[np.ndarray], plan: Plan) -> Corpus:
  """Lays images out for drawing; runs on the host.

  Args:
    images: uint8 `[H, W, C]`, C = 1 or 3. Those too small for a patch and its
      margin are left out.
    plan: what is to be drawn.

  Raises:
    ValueError: when none is large enough.
  """
  unit, need = unit_of(plan.scales), plan.side + 2 * margin_of(plan)
  kept = []
  for image in images:
    rows, columns = (n // unit * unit for n in image.shape[:2])
    if min(rows, columns) >= need:
      cut = image[:rows, :columns]
      kept.append(np.broadcast_to(cut, (rows, columns, 3)))
  if not kept:
    raise ValueError(
      f'none of {len(images)} images has the {need} pixels a side that a patch'
      ' and its margin take'
    )
  shape = np.array([image.shape[:2] for image in kept])
  area = np.cumsum(shape.prod(1) / shape.prod(1).sum())
  width = shape[:, 1].max()

  def stack(parts, width):
    padding = [(0, 0), (0, 0), (0, 0)]
    rows = []
    for part in parts:
      padding[1] = (0, width - part.shape[1])
      rows.append(np.pad(part, padding))
    return jnp.asarray(np.concatenate(rows))

  return Corpus(
    hr=stack(kept, width),
    lr=tuple(
      stack([resize.imresize(image, 1 / s) for image in kept], width // s)
      for s in plan.scales
    ),
    top=jnp.asarray(np.cumsum(shape[:, 0]) - shape[:, 0], jnp.int32),
    shape=jnp.asarray(shape, jnp.int32),
    share=jnp.asarray(area, jnp.float32),
  )


class _Place(NamedTuple):
  """Where patches are: image, corner, transform."""

  top: jax.Array  # int32 [B], row in `Corpus.hr`
  left: jax.Array  # int32 [B]
  turn: jax.Array  # int32 [B], one of eight: swap axes 1, mirror y 2, x 4


def _draw_places(keys: jax.Array, corpus: Corpus, plan: Plan) -> _Place:
  unit, margin = unit_of(plan.scales), margin_of(plan)
  spot = jax.vmap(lambda key: jax.random.uniform(key, (4,)))(keys)
  image = jnp.searchsorted(corpus.share, spot[:, 0])
  image = jnp.minimum(image, corpus.share.shape[0] - 1)
  room = (corpus.shape[image] - (plan.side + 2 * margin)) // unit + 1
  corner = (spot[:, 1:3] * room.astype(jnp.float32)).astype(jnp.int32)
  # The product may be rounded up to the room itself.
  corner = margin + unit * jnp.minimum(corner, room - 1)
  turn = (spot[:, 3] * 8).astype(jnp.int32)
  return _Place(corpus.top[image] + corner[:, 0], corner[:, 1], turn)


def _cut(
  pixels: jax.Array, place: _Place, side: int, margin: int, divisor: int
) -> jax.Array:
  """Reads transformed squares `[B, side + 2 margin, ..., 3]` in [0, 1].

  Args:
    pixels: uint8 `[rows, columns, 3]`.
    place: of the patches, in HR pixels.
    side: of a patch, in pixels of this array.
    margin: around it, likewise.
    divisor: HR pixels per pixel of this array.
  """
  size = side + 2 * margin
  index = jnp.arange(size)
  y, x = index[None, :, None], index[None, None, :]
  turn = place.turn[:, None, None]
  y, x = (
    jnp.where(turn & 1 == 1, x, y),
    jnp.where(turn & 1 == 1, y, x),
  )
  y = jnp.where(turn & 2 == 2, size - 1 - y, y)
  x = jnp.where(turn & 4 == 4, size - 1 - x, x)
  top = place.top[:, None, None] // divisor - margin
  left = place.left[:, None, None] // divisor - margin
  cut = pixels.at[top + y, left + x].get(mode='promise_in_bounds')
  return cut.astype(jnp.float32) / 255


def _to_color(rgb: jax.Array, color: str) -> jax.Array:
  return rgb if color == 'rgb' else color_lib.studio_luma(rgb)


def _upscale(lr: jax.Array, scale: int) -> jax.Array:
  """Upscales patches by cubic interpolation, without their margin `_REACH`."""
  size = lr.shape[1]
  whole = resize.resize_matrix(size, size * scale, float(scale))
  matrix = jnp.asarray(whole[scale * _REACH : -scale * _REACH], lr.dtype)
  precision = jax.lax.Precision.HIGHEST
  up = jnp.einsum('ah,nhwc->nawc', matrix, lr, precision=precision)
  return jnp.einsum('bw,nawc->nabc', matrix, up, precision=precision)


def kernel_side(scale: int) -> int:
  """Counts the taps a side of a scale's kernels, as `blur_kernels` does."""
  return blur_kernels.gaussian_side(scale, scale)


def draw_kernels(keys: jax.Array, scale: int) -> jax.Array:
  """Draws aligned anisotropic Gaussians, as the tables' `gaussian` has them.

  The variances along both axes are U(0, scale^2) in HR pixels squared, the
  angle is any; see `blur_kernels.gaussian_kernel`.

  Args:
    keys: `[B]`.
    scale: of the kernels.

  Returns:
    float32 `[B, n, n]`, each of sum 1, with n = `kernel_side(scale)`.
  """
  size = kernel_side(scale)
  center = blur_kernels.aligned_center((size, size), scale)[0]
  fine = (np.arange(size * _FINE) + 0.5) / _FINE - 0.5 - center
  y, x = (jnp.asarray(f, jnp.float32) for f in (fine[:, None], fine[None]))
  index = np.arange(size)
  # It reaches as far on either side: cut askew, it would be off centre.
  near = np.abs(index - center) < size - 0.5 - center
  inside = jnp.asarray(np.outer(near, near), jnp.float32)

  def draw_one(key):
    drawn = jax.random.uniform(key, (3,))
    # Without a fine step's variance the fine grid could miss it.
    first, second = drawn[:2] * scale**2 + 1 / (12 * _FINE**2)
    cos, sin = jnp.cos(jnp.pi * drawn[2]), jnp.sin(jnp.pi * drawn[2])
    along, across = cos * x + sin * y, cos * y - sin * x
    density = jnp.exp(-0.5 * (along**2 / first + across**2 / second))
    kernel = density.reshape(size, _FINE, size, _FINE).sum((1, 3)) * inside
    return kernel / kernel.sum()

  return jax.vmap(draw_one)(keys)


def _blur(hr: jax.Array, kernels: jax.Array, scale: int) -> jax.Array:
  """Correlates patches, each with its own kernel, at every scale-th pixel.

  Args:
    hr: `[B, S, S, C]`.
    kernels: `[B, n, n]`.
    scale: step.

  Returns:
    `[B, (S - n) // scale + 1, ..., C]` rounded to 8 bits.
  """

  def blur_one(patch, kernel):
    return degradation.correlate(patch, kernel, (scale, scale))

  def one_by_one(hr, kernels):
    return jax.lax.map(lambda pair: blur_one(*pair), (hr, kernels))

  # On CPU a convolution in groups has no fast path.
  low = jax.lax.platform_dependent(
    hr, kernels, cpu=one_by_one, default=jax.vmap(blur_one)
  )
  return jnp.floor(jnp.clip(low, 0, 1) * 255 + 0.5) / 255


def _blur_to(
  wide: jax.Array, margin: int, keys: jax.Array, side: int, scale: int
) -> jax.Array:
  """Makes blurred LR patches with `_REACH` pixels around them.

  Args:
    wide: HR patches `[B, side + 2 margin, ..., C]`.
    margin: HR pixels around them.
    keys: of the kernels, `[B]`.
    side: of the patches without the margin.
    scale: of the LR patches.
  """
  kernels = draw_kernels(keys, scale)
  taps = kernels.shape[1]
  # LR pixel i sees HR pixels from scale * i - taps // 2 on.
  first = margin - scale * _REACH - taps // 2
  last = first + side + scale * (2 * _REACH - 1) + taps
  return _blur(wide[:, first:last, first:last], kernels, scale)


def draw(
  keys: jax.Array,
  corpus: Corpus,
  plan: Plan,
  kernel_keys: jax.Array | None = None,
) -> Batch:
  """Draws a patch a key; runs inside jit.

  An image is drawn by its area, then a place in it, one of the eight
  transforms, and the scale. With several scales there is no one shape of LR
  patches, and `lr` of the batch holds the interpolated ones.

  Args:
    keys: random keys `[B]`.
    corpus: from `make_corpus` with the same plan.
    plan: what to draw.
    kernel_keys: keys `[B]` that decide the kernels; equal ones make equal
      kernels. By default every patch has its own.
  """
  place = _draw_places(keys, corpus, plan)
  if kernel_keys is None:
    kernel_keys = jax.vmap(lambda key: jax.random.fold_in(key, 2))(keys)
  share = KERNELS[plan.kernels]
  margin = margin_of(plan) if share < 1 else 0
  wide = _cut(corpus.hr, place, plan.side, margin, 1)
  inner = slice(margin, margin + plan.side)
  hr = _to_color(wide[:, inner, inner], plan.color)
  pick = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 1)))
  chance = pick(kernel_keys).reshape(-1, 1, 1, 1)
  lows, ups = [], []
  for pixels, scale in zip(corpus.lr, plan.scales, strict=True):
    if share > 0:
      low = _cut(pixels, place, plan.side // scale, _REACH, scale)
    if share < 1:
      blurred = _blur_to(wide, margin, kernel_keys, plan.side, scale)
      low = jnp.where(chance < share, low, blurred) if share > 0 else blurred
    low = _to_color(low, plan.color)
    ups.append(_upscale(low, scale))
    lows.append(low[:, _REACH:-_REACH, _REACH:-_REACH])
  if len(ups) == 1:
    return Batch(lows[0], ups[0], hr)
  chosen = jax.vmap(
    lambda key: jax.random.randint(jax.random.fold_in(key, 1), (), 0, len(ups))
  )(keys)
  chosen = chosen.reshape(-1, 1, 1, 1)
  up = jnp.select([chosen == i for i in range(len(ups))], ups)
  return Batch(up, up, hr)
