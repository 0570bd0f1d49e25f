"""From a trained network to the final image (ZSSR section 3.1).

The network runs on geometric copies of the input in tiles of fixed size, each
output is corrected by back-projection, their median is taken and corrected
again.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from fractions import Fraction

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax import degradation
from zssr_jax.config import Config
from zssr_jax.ops import dihedral, resize

# Copies of the output are back-projected together up to this many values.
_TOGETHER = 1 << 24


@functools.lru_cache(maxsize=64)
def _make_apply(model: nn.Module) -> Callable[..., jax.Array]:
  """The jitted `apply(params, lr [h, w, C], interpolated [H, W, C])`."""

  def apply(params, lr, interpolated):
    out = model.apply({'params': params}, lr[None], interpolated[None])
    return jnp.clip(out[0], 0.0, 1.0)

  return jax.jit(apply)


def _starts(size: int, tile: int, step: int) -> list[int]:
  """Tile origins: multiples of `step`, flush with both ends of `size`."""
  if size <= tile:
    return [0]
  return [*range(0, size - tile, step), size - tile]


def upscale_tiled(
  model: nn.Module,
  params,
  lr: np.ndarray,
  interpolated: np.ndarray,
  *,
  scale: tuple[float, float],
  tile: int,
  halo: int,
) -> np.ndarray:
  """Runs the network over `lr` in tiles; equals one run over the whole.

  Tiles overlap by twice the halo, the network's reach, and only what the halo
  shields is kept, except at the image's own edges, where zero padding belongs
  to the method. Every tile has the same shape, so nothing compiles per image
  size; an image smaller than a tile runs at its own size.

  Args:
    model: a super-resolving module.
    params: its parameters.
    lr: `[h, w, C]`.
    interpolated: `[H, W, C]`, cubic upscale of `lr`.
    scale: factors (y, x).
    tile: tile side in input pixels, more than twice the halo.
    halo: reach of the network in input pixels.

  Returns:
    float32 `[H, W, C]` in [0, 1].
  """
  apply = _make_apply(model)
  # Tiles must begin where input and output pixels line up.
  units = [Fraction(s).limit_denominator(64).denominator for s in scale]
  exact = all(
    abs(s * u - round(s * u)) < 1e-9 for s, u in zip(scale, units, strict=True)
  )
  if not exact or max(lr.shape[:2]) <= tile:
    return np.asarray(apply(params, lr, interpolated))
  out = np.empty(interpolated.shape, np.float32)
  spans = []
  for axis in (0, 1):
    unit, size = units[axis], lr.shape[axis]
    # The last tile ends at the last whole unit or one unit on, with the image
    # extended to it below; a side that fits runs as it is.
    side = min(-(-tile // unit) * unit, size)
    step = (side - 2 * halo) // unit * unit
    if side == size or size % unit == 0:
      starts = _starts(size, side, step)
    else:
      starts = [*range(0, size - side, step)]
      starts.append((size - side) // unit * unit)
    axis_spans = []
    for i, start in enumerate(starts):
      last = i == len(starts) - 1
      stop = size if last else start + side
      keep_from = 0 if i == 0 else start + halo
      keep_to = size if last else stop - halo
      axis_spans.append((start, stop, keep_from, keep_to))
    spans.append(axis_spans)

  def to_hr(position: int, axis: int) -> int:
    if position == lr.shape[axis]:
      return interpolated.shape[axis]
    return math.floor(position * scale[axis] + 1e-9)

  for y0, y1, keep_y0, keep_y1 in spans[0]:
    for x0, x1, keep_x0, keep_x1 in spans[1]:
      hr_y, hr_x = to_hr(y0, 0), to_hr(x0, 1)
      result = np.asarray(
        apply(
          params,
          lr[y0:y1, x0:x1],
          interpolated[hr_y : to_hr(y1, 0), hr_x : to_hr(x1, 1)],
        )
      )
      rows = slice(to_hr(keep_y0, 0), to_hr(keep_y1, 0))
      columns = slice(to_hr(keep_x0, 1), to_hr(keep_x1, 1))
      out[rows, columns] = result[
        rows.start - hr_y : rows.stop - hr_y,
        columns.start - hr_x : columns.stop - hr_x,
      ]
  return out


@functools.partial(jax.jit, static_argnames=('scale', 'iterations', 'border'))
def back_project(
  sr: jax.Array,
  lr: jax.Array,
  kernel: jax.Array | None = None,
  *,
  scale: tuple[float, float],
  iterations: int,
  border: str = 'replicate',
) -> jax.Array:
  """Makes `sr` explain `lr`: `sr += up(lr - down(sr))`, clipped, repeated.

  Args:
    sr: `[H, W, C]` in [0, 1].
    lr: `[h, w, C]`.
    kernel: the training kernel `[h, w]`, or None for bicubic.
    scale: factors (y, x).
    iterations: how often.
    border: as in `degradation.downscale`.

  Returns:
    `[H, W, C]` in [0, 1].
  """

  def once(_, sr):
    down = degradation.downscale(sr, scale, kernel, border=border)
    # Where the scale does not divide the size, `down` may have a row less
    # than the input (kernel) or one more (bicubic).
    rows = min(down.shape[0], lr.shape[0])
    columns = min(down.shape[1], lr.shape[1])
    difference = lr[:rows, :columns] - down[:rows, :columns]
    difference = jnp.zeros_like(lr).at[:rows, :columns].set(difference)
    up = resize.imresize(difference, scale, shape=sr.shape[:2], border=border)
    return jnp.clip(sr + up, 0.0, 1.0)

  return jax.lax.fori_loop(0, iterations, once, sr)


def ensemble_members(
  kernel: np.ndarray | None, scale: tuple[float, float]
) -> tuple[int, ...]:
  """The dihedral transforms under which the degradation stays the same.

  Averaging over a transform is sound only if the transformed input was made
  by the degradation the network was trained on. Bicubic allows all eight; a
  kernel those that leave it, placed on the grid of the father, unchanged.

  Args:
    kernel: `[h, w]` or None for bicubic.
    scale: factors (y, x); different factors rule out transposing.

  Returns:
    Transform numbers of `ops.dihedral`, beginning with 0.
  """
  candidates = list(range(dihedral.COUNT))
  if scale[0] != scale[1]:
    candidates = [k for k in candidates if k % 2 == 0]
  if kernel is None:
    return tuple(candidates)
  kernel = np.asarray(kernel, np.float64)
  # A square canvas whose middle is the centre that shifts nothing, at twice
  # the resolution because that centre may lie between two taps.
  center = degradation.aligned_center(kernel.shape, scale)
  doubled = [round(2 * c) for c in center]
  if any(abs(2 * c - d) > 1e-6 for c, d in zip(center, doubled, strict=True)):
    return (0,)
  reach = 2 * max(kernel.shape) + max(doubled)
  canvas = np.zeros((2 * reach + 1, 2 * reach + 1))
  rows = 2 * np.arange(kernel.shape[0]) - doubled[0] + reach
  columns = 2 * np.arange(kernel.shape[1]) - doubled[1] + reach
  canvas[np.ix_(rows, columns)] = kernel
  tolerance = 1e-3 * np.abs(canvas).max()
  return tuple(
    k
    for k in candidates
    if np.abs(dihedral.dihedral(canvas, k) - canvas).max() <= tolerance
  )


def super_resolve(
  model: nn.Module,
  params,
  image: np.ndarray,
  *,
  scale: tuple[float, float],
  kernel: np.ndarray | None = None,
  config: Config,
) -> np.ndarray:
  """Applies a trained network to the input.

  Args:
    model: a super-resolving module.
    params: its parameters.
    image: `[h, w, C]` in [0, 1].
    scale: factors (y, x).
    kernel: the training kernel, or None for bicubic.
    config: ensemble, back-projection, tile size.

  Returns:
    float32 `[ceil(h y), ceil(w x), C]` in [0, 1].
  """
  image = np.asarray(image, np.float32)
  interpolated = resize.imresize(image, scale, border=config.border)
  alone = not config.self_ensemble
  members = (0,) if alone else ensemble_members(kernel, scale)
  # 4 pixels more than the layers reach, for a resize inside the model.
  halo = config.depth + 4
  outputs = []
  for k in members:
    transposed = k % 2 == 1
    out = upscale_tiled(
      model,
      params,
      np.ascontiguousarray(dihedral.dihedral(image, k)),
      np.ascontiguousarray(dihedral.dihedral(interpolated, k)),
      scale=scale[::-1] if transposed else scale,
      tile=max(config.tile, 2 * halo + 8),
      halo=halo,
    )
    outputs.append(dihedral.undo_dihedral(out, k))

  def correct(sr: np.ndarray) -> np.ndarray:
    # Copies ride along as channels.
    copies = sr.shape[2] // image.shape[2]
    if config.back_projection == 0:
      return sr
    return np.asarray(
      back_project(
        sr,
        np.tile(image, (1, 1, copies)),
        kernel,
        scale=scale,
        iterations=config.back_projection,
        border=config.border,
      )
    )

  if len(outputs) == 1:
    return correct(outputs[0])
  if outputs[0].size * len(outputs) <= _TOGETHER:
    together = correct(np.concatenate(outputs, axis=2))
    outputs = np.split(together, len(outputs), axis=2)
  else:
    outputs = [correct(out) for out in outputs]
  return correct(np.median(np.stack(outputs), axis=0))
