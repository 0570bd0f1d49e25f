"""From a trained network to the final image (ZSSR section 3.1).

The network runs on geometric copies of the input in tiles of fixed size, each
output is corrected by back-projection, their median (or mean) is taken and
corrected again. Or, what is more than the paper has, that median (or mean)
alone is corrected, by least squares.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from fractions import Fraction

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax.config import Config
from zssr_jax.degradation import Degradation
from zssr_jax.ops import dihedral, resize

# Copies of the output are back-projected together up to this many values.
_TOGETHER = 1 << 24
# Output pixels that a network sees in one call, by backend. A CPU gains nothing
# from copies beside each other, for they push each other out of its cache.
_AT_ONCE = {'cpu': 0}
_AT_ONCE_DEFAULT = 1 << 22
_TINY = 1e-20  # a sum of squares that divides nothing
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
  """Returns the fewest input pixels (y, x) that make whole output pixels.

  Input and output grids line up at multiples of them. It is None where there
  are none up to 100 pixels (every scale of two decimals has them).
  """
  y, x = (Fraction(s).limit_denominator(100) for s in scale)
  if abs(y - scale[0]) > 1e-9 or abs(x - scale[1]) > 1e-9:
    return None
  return y.denominator, x.denominator


def _spans(size: int, unit: int, tile: int, halo: int):
  """Lists the tiles of an axis: from, to, and from, to of what is kept."""
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
  """Runs `upscale_tiled` on geometric copies of one image; turns them back.

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
  # As `_spans` has it: a far reach widens the tiles.
  sides = [min(n, max(tile, 2 * halo + 8)) for n in lr.shape[:2]]
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


@functools.partial(jax.jit, static_argnames='iterations')
def back_project(
  sr: jax.Array, lr: jax.Array, degradation: Degradation, *, iterations: int
) -> jax.Array:
  """Makes `sr` explain `lr`: `sr += up(lr - down(sr))`, clipped, repeated.

  Args:
    sr: `[H, W, C]` in [0, 1].
    lr: `[h, w, C]`.
    degradation: that made `lr`.
    iterations: how often.

  Returns:
    `[H, W, C]` in [0, 1].
  """

  def once(_, sr):
    rest = degradation.unexplained(sr, lr)
    rest = jnp.zeros_like(lr).at[: rest.shape[0], : rest.shape[1]].set(rest)
    return jnp.clip(sr + degradation.up(rest, sr.shape), 0.0, 1.0)

  return jax.lax.fori_loop(0, iterations, once, sr)


@functools.partial(jax.jit, static_argnames='iterations')
def least_squares(
  sr: jax.Array,
  lr: jax.Array,
  degradation: Degradation,
  level: float | jax.Array,
  *,
  iterations: int,
) -> jax.Array:
  """Makes `sr` explain `lr` as far as noise allows, by conjugate gradients.

  That is CGLS (Hestenes and Stiefel 1952) on `min |down(sr + d) - lr|^2` from
  `d = 0`, channel by channel, stopped when the root mean square of what is
  unexplained falls to that of the errors in `lr` (the discrepancy principle of
  Morozov 1966). Unlike back-projection it converges with any kernel, and what
  is unexplained never grows.

  Args:
    sr: `[H, W, C]` in [0, 1].
    lr: `[h, w, C]`.
    degradation: that made `lr`.
    level: of the errors in `lr`, as `Degradation.error_std` tells; 0: to the
      end.
    iterations: at most.

  Returns:
    `[H, W, C]` in [0, 1].
  """

  def unfinished(state):
    number, _, rest, _, norm = state
    channels = (_by_channel(rest) > most) & (norm > _TINY)
    return (number < iterations) & jnp.any(channels)

  def once(state):
    number, change, rest, direction, norm = state
    seen = degradation.explained(direction, lr.shape)
    power = _by_channel(seen)
    goes_on = (_by_channel(rest) > most) & (power > _TINY)
    step = jnp.where(goes_on, norm / jnp.maximum(power, _TINY), 0.0)
    rest = rest - step * seen
    slope = degradation.adjoint(rest, sr.shape)
    new_norm = _by_channel(slope)
    turned = slope + new_norm / jnp.maximum(norm, _TINY) * direction
    return number + 1, change + step * direction, rest, turned, new_norm

  rest = degradation.unexplained(sr, lr)
  slope = degradation.adjoint(rest, sr.shape)
  most = level**2 * rest.shape[0] * rest.shape[1]
  state = (0, jnp.zeros_like(sr), rest, slope, _by_channel(slope))
  change = jax.lax.while_loop(unfinished, once, state)[1]
  return jnp.clip(sr + change, 0.0, 1.0)


def _by_channel(image: jax.Array) -> jax.Array:
  """The sum of squares of every channel, `[1, 1, C]`."""
  return jnp.sum(image**2, (0, 1), keepdims=True)


def super_resolve(
  model: nn.Module,
  params,
  image: np.ndarray,
  degradation: Degradation,
  config: Config,
  *,
  reach: int,
) -> np.ndarray:
  """Applies a trained network to the input.

  Args:
    model: a super-resolving module.
    params: its parameters.
    image: `[h, w, C]` in [0, 1].
    degradation: that the network was trained to undo.
    config: ensemble, back-projection, tile size.
    reach: how many input pixels away the network's layers look at most.

  Returns:
    float32 `[ceil(h y), ceil(w x), C]` in [0, 1].
  """
  image = np.asarray(image, np.float32)
  shown = np.asarray(degradation.shown(image))
  outputs = _ensemble(model, params, shown, degradation, config, reach)
  correct = functools.partial(_correct, image, degradation, config)
  if len(outputs) == 1:
    return correct(outputs[0])
  if config.consistency != 'back_projection':
    pass  # a correction of the ensemble is almost that of its copies
  elif outputs[0].size * len(outputs) <= _TOGETHER:
    together = correct(np.concatenate(outputs, axis=2))
    outputs = np.split(together, len(outputs), axis=2)
  else:
    outputs = [correct(out) for out in outputs]
  combine = np.median if config.ensemble == 'median' else np.mean
  return correct(combine(np.stack(outputs), axis=0))


def _ensemble(
  model: nn.Module,
  params,
  image: np.ndarray,
  degradation: Degradation,
  config: Config,
  reach: int,
) -> list[np.ndarray]:
  """Applies the network to the input and its geometric copies."""
  scale = degradation.scale
  members = degradation.symmetries() if config.self_ensemble else (0,)
  units = units_of(scale)
  padded = image
  if units is None:
    # Mirrored, the image would meet another sampling grid.
    members = tuple(k for k in members if k in _UNMIRRORED)
  else:
    padding = [(0, -image.shape[axis] % units[axis]) for axis in (0, 1)]
    padded = np.pad(image, (*padding, (0, 0)), mode='edge')
  outputs = upscale_copies(
    model,
    params,
    padded,
    degradation.up(padded),
    members,
    scale=scale,
    tile=config.tile,
    # 4 pixels more than the layers reach, for a resize inside the model.
    halo=reach + 4,
  )
  rows, columns = resize.scaled_shape(image.shape, scale)
  return [out[:rows, :columns] for out in outputs]


def _correct(
  image: np.ndarray, degradation: Degradation, config: Config, sr: np.ndarray
) -> np.ndarray:
  """Makes a result explain the input, or several that ride along as channels.

  Args:
    image: the input, `[h, w, C]`.
    degradation: that made it.
    config: says how.
    sr: `[H, W, n C]`.
  """
  if config.back_projection == 0 or config.consistency == 'none':
    return sr
  steps = config.back_projection
  if config.consistency == 'least_squares':
    level = degradation.error_std(image)
    made = least_squares(sr, image, degradation, level, iterations=steps)
  else:
    image = np.tile(image, (1, 1, sr.shape[2] // image.shape[2]))
    made = back_project(sr, image, degradation, iterations=steps)
  return np.asarray(made)
