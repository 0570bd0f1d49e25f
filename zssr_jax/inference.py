"""From a trained network to the final image (ZSSR section 3.1).

The network runs on geometric copies of the input in tiles of fixed size, each
output is corrected by back-projection, their median (or mean) is taken and
corrected again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from fractions import Fraction

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax import blur_kernels, degradation, registry
from zssr_jax.config import Config
from zssr_jax.ops import dihedral, resize

# Copies of the output are back-projected together up to this many values.
_TOGETHER = 1 << 24
# Output pixels that a network sees in one call, by backend. A CPU gains nothing
# from copies beside each other, for they push each other out of its cache.
_AT_ONCE = {'cpu': 0}
_AT_ONCE_DEFAULT = 1 << 22
# The transforms that keep the first pixel first: identity and transposing.
_UNMIRRORED = (0, 5)


@functools.lru_cache(maxsize=64)
def _make_apply(model: nn.Module) -> Callable[..., jax.Array]:
  """The jitted `apply(params, lr [N, h, w, C], interpolated [N, H, W, C])`."""

  def apply(params, lr, interpolated):
    out = model.apply({'params': params}, lr, interpolated)
    return jnp.clip(jnp.asarray(out), 0.0, 1.0)

  return jax.jit(apply)


def units_of(scale: tuple[float, float]) -> tuple[int, int] | None:
  """Fewest input pixels (y, x) that make whole output pixels.

  Input and output grids line up at multiples of them. None where there are
  none up to 100 pixels (every scale of two decimals has them).
  """
  y, x = (Fraction(s).limit_denominator(100) for s in scale)
  if abs(y - scale[0]) > 1e-9 or abs(x - scale[1]) > 1e-9:
    return None
  return y.denominator, x.denominator


def _spans(size: int, unit: int, tile: int, halo: int):
  """Tiles along one axis: from, to, and from, to of what is kept of each."""
  halo = -(-halo // unit) * unit
  # Whatever the tile, some of each is kept, in whole units.
  side = -(-max(tile, 2 * halo + 8) // unit) * unit
  if size <= side:
    return [(0, size, 0, size)]
  step = (side - 2 * halo) // unit * unit
  starts = [*range(0, size - side, step), size - side]
  return [
    (
      start,
      start + side,
      start + halo if i else 0,
      size if start + side == size else start + side - halo,
    )
    for i, start in enumerate(starts)
  ]


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
  """Runs the network over images in tiles; equals one run over the whole.

  Tiles overlap by twice the halo, the network's reach, and only what the halo
  shields is kept, except at the image's own edges, where zero padding belongs
  to the method. Every tile has the same shape, so nothing compiles per image
  size; an image smaller than a tile runs at its own size.

  Args:
    model: a super-resolving module.
    params: its parameters.
    lr: `[N, h, w, C]`; in more than one tile only where h and w are multiples
      of `units_of(scale)`.
    interpolated: `[N, H, W, C]`, cubic upscale of `lr`.
    scale: factors (y, x).
    tile: tile side in input pixels; larger where the halo leaves no room.
    halo: reach of the network in input pixels.

  Returns:
    float32 `[N, H, W, C]` in [0, 1].
  """
  apply = _make_apply(model)
  units = units_of(scale)
  if units is None or lr.shape[1] % units[0] or lr.shape[2] % units[1]:
    return np.asarray(apply(params, lr, interpolated))
  out = np.empty(interpolated.shape, np.float32)

  def hr(start: int, stop: int, axis: int, offset: int = 0) -> slice:
    ends = (round((n - offset) * scale[axis]) for n in (start, stop))
    return slice(*ends)

  for y0, y1, keep_y0, keep_y1 in _spans(lr.shape[1], units[0], tile, halo):
    for x0, x1, keep_x0, keep_x1 in _spans(lr.shape[2], units[1], tile, halo):
      tile_out = apply(
        params,
        lr[:, y0:y1, x0:x1],
        interpolated[:, hr(y0, y1, 0), hr(x0, x1, 1)],
      )
      out[:, hr(keep_y0, keep_y1, 0), hr(keep_x0, keep_x1, 1)] = np.asarray(
        tile_out
      )[:, hr(keep_y0, keep_y1, 0, y0), hr(keep_x0, keep_x1, 1, x0)]
  return out


def upscale_copies(
  model: nn.Module,
  params,
  lr: np.ndarray,
  interpolated: np.ndarray,
  members: Sequence[int],
  *,
  scale: tuple[float, float],
  tile: int,
  halo: int,
) -> list[np.ndarray]:
  """`upscale_tiled` of geometric copies of one image, turned back.

  Copies of one shape go through the network together, as far as
  `_AT_ONCE` allows; many small calls would leave a GPU idle.

  Args:
    model: a super-resolving module.
    params: its parameters.
    lr: `[h, w, C]`.
    interpolated: `[H, W, C]`.
    members: transform numbers of `ops.dihedral`; those that transpose only
      where both factors are the same.
    scale: factors (y, x).
    tile: as in `upscale_tiled`.
    halo: as in `upscale_tiled`.

  Returns:
    float32 `[H, W, C]` in [0, 1], one a member, in their order.
  """
  sides = [min(n, tile) for n in lr.shape[:2]]
  pixels = round(sides[0] * scale[0] * sides[1] * scale[1])
  budget = _AT_ONCE.get(jax.default_backend(), _AT_ONCE_DEFAULT)
  most = max(1, budget // max(pixels, 1))
  outputs: dict[int, np.ndarray] = {}
  for transposed in (0, 1):
    alike = [k for k in members if k % 2 == transposed]
    for first in range(0, len(alike), most):
      group = alike[first : first + most]
      out = upscale_tiled(
        model,
        params,
        np.stack([dihedral.dihedral(lr, k) for k in group]),
        np.stack([dihedral.dihedral(interpolated, k) for k in group]),
        scale=scale,
        tile=tile,
        halo=halo,
      )
      for k, copy in zip(group, out, strict=True):
        outputs[k] = dihedral.undo_dihedral(copy, k)
  return [outputs[k] for k in members]


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
  center = blur_kernels.aligned_center(kernel.shape, scale)
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
  members = ensemble_members(kernel, scale) if config.self_ensemble else (0,)
  shape = resize.scaled_shape(image.shape, scale)
  units = units_of(scale)
  padded = image
  if units is None:
    # Mirrored, the image would meet another sampling grid.
    members = tuple(k for k in members if k in _UNMIRRORED)
  else:
    padding = [(0, -image.shape[axis] % units[axis]) for axis in (0, 1)]
    padded = np.pad(image, (*padding, (0, 0)), mode='edge')
  interpolated = resize.imresize(padded, scale, border=config.border)
  # 4 pixels more than the layers reach, for a resize inside the model.
  halo = registry.NETWORKS[config.model].reach(config.depth) + 4
  outputs = upscale_copies(
    model,
    params,
    padded,
    interpolated,
    members,
    scale=scale,
    tile=config.tile,
    halo=halo,
  )
  outputs = [out[: shape[0], : shape[1]] for out in outputs]

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
  combine = np.median if config.ensemble == 'median' else np.mean
  return correct(combine(np.stack(outputs), axis=0))
