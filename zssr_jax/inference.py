"""From a trained network to the final image (ZSSR section 3.1).

The network runs on geometric copies of the input, each output is corrected by
back-projection, their median is taken and corrected again. Beyond the paper:
of a mean, and by least squares, only the ensemble is corrected.

All of that is done block by block of the input, each with a margin as wide as
anything reaches, so that memory does not grow with the image. Within a block
the network runs in tiles of fixed size.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from fractions import Fraction
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax import parts
from zssr_jax.config import Config
from zssr_jax.degradation import Degradation
from zssr_jax.ops import conv, dihedral, resize

# Side of a block, output pixels, about, at most. Smaller ones waste more on
# margins, larger ones memory.
_BLOCK = 1400
# Side of the part of a large image that is tried first, input pixels.
_TRIAL = 256
# Output pixels that a network sees in one call, by backend. A CPU gains nothing
# from copies beside each other, for they push each other out of its cache.
_AT_ONCE = {'cpu': 0}
_AT_ONCE_DEFAULT = 1 << 22
# Samples of a result up to which NumPy corrects it.
_ON_HOST = 1 << 20
_TINY = 1e-20  # a sum of squares that divides nothing
# The transforms that keep the first pixel first: identity and transposing.
_UNMIRRORED = (0, 5)
# Within so many input pixels a correction dies away to less than 1e-5, that of
# a kernel by as many more as its side; lines of motion reach furthest.
_BICUBIC_REACH, _KERNEL_REACH = 8, 24
# Copies of images of up to so many pixels, where a config leaves it open.
_COPIES = (1_000_000, 8), (4_000_000, 4), (math.inf, 2)
# Of each number of copies the best (`benchmarks/copies.py`): 24 photos of B100
# had 31.77 dB by two, 31.79 by four or eight; by one 31.71 to 31.73.
_PREFERRED = {1: (0,), 2: (4, 6), 4: (2, 3, 4, 6), 8: ()}

Array = TypeVar('Array', np.ndarray, jax.Array)


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


class Span(NamedTuple):
  """A tile's place on an axis, and what of it is kept; input pixels."""

  start: int
  stop: int
  keep_start: int
  keep_stop: int


def _spans(size: int, unit: int, tile: int, halo: int) -> list[Span]:
  """Divides an axis into tiles of one size; what they keep does not overlap."""
  halo = -(-halo // unit) * unit
  # Whatever the tile, some of each is kept, in whole units.
  side = -(-max(tile, 2 * halo + 8) // unit) * unit
  if size <= side:
    return [Span(0, size, 0, size)]
  step = (side - 2 * halo) // unit * unit
  # The last one begins on a unit, too, and may be longer by less than one.
  starts = [*range(0, size - side, step), (size - side) // unit * unit]
  spans: list[Span] = []
  for start in starts:
    is_last = start == starts[-1]
    stop = size if is_last else start + side
    kept = spans[-1].keep_stop if spans else 0
    spans.append(Span(start, stop, kept, size if is_last else stop - halo))
  return spans


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

  # What a thread sees as its default device is its own.
  device = jax.config.jax_default_device  # type: ignore[attr-defined]

  def run(place: tuple[Span, Span]) -> None:
    y, x = place
    with jax.default_device(device):
      tile_out = apply(
        params,
        lr[:, y.start : y.stop, x.start : x.stop],
        interpolated[:, hr(y.start, y.stop, 0), hr(x.start, x.stop, 1)],
      )
    kept = (y.keep_start, y.keep_stop, 0), (x.keep_start, x.keep_stop, 1)
    out[:, hr(*kept[0]), hr(*kept[1])] = np.asarray(tile_out)[
      :, hr(*kept[0], y.start), hr(*kept[1], x.start)
    ]

  places = itertools.product(
    _spans(lr.shape[1], units[0], tile, halo),
    _spans(lr.shape[2], units[1], tile, halo),
  )
  # A CPU's cores are busier with a tile each than with one tile together.
  on_cpu = jax.default_backend() == 'cpu'
  with futures.ThreadPoolExecutor(conv.cores() if on_cpu else 1) as pool:
    list(pool.map(run, places))
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


def back_project(
  sr: Array, lr: Array, degradation: Degradation, *, iterations: int
) -> Array:
  """Makes `sr` explain `lr`: `sr += up(lr - down(sr))`, clipped, repeated.

  A small NumPy image without a kernel stays on the host: it takes less time
  than compiling for its size.

  Args:
    sr: `[H, W, C]` in [0, 1].
    lr: `[h, w, C]`, an array of the same library.
    degradation: that made `lr`.
    iterations: how often.

  Returns:
    `[H, W, C]` in [0, 1], NumPy where it stayed on the host, else JAX.
  """
  is_small = isinstance(sr, np.ndarray) and sr.size <= _ON_HOST
  if not is_small or degradation.kernel is not None:
    return _back_project(sr, lr, degradation, iterations=iterations)
  for _ in range(iterations):
    sr = _explain_more(sr, lr, degradation)
  return sr


@functools.partial(jax.jit, static_argnames='iterations')
def _back_project(sr, lr, degradation, *, iterations: int) -> jax.Array:
  return jax.lax.fori_loop(
    0, iterations, lambda _, sr: _explain_more(sr, lr, degradation), sr
  )


def _explain_more(sr: Array, lr: Array, degradation: Degradation) -> Array:
  """Takes a step of back-projection."""
  xp: Any = np if isinstance(sr, np.ndarray) else jnp
  rest = degradation.unexplained(sr, lr)
  missing = [(0, n - m) for n, m in zip(lr.shape, rest.shape, strict=True)]
  change = degradation.up(xp.pad(rest, missing), sr.shape)
  return xp.clip(sr + change, 0.0, 1.0)


def settle(config: Config, shape: tuple[int, ...]) -> Config:
  """Returns a config that says how many copies an image of `shape` gets."""
  if config.copies:
    return config
  pixels = shape[0] * shape[1]
  copies = next(n for most, n in _COPIES if pixels <= most)
  return config.replace(copies=copies)


class Steps(NamedTuple):
  """How conjugate gradients went: that repeats them elsewhere, piece by piece.

  Attributes:
    length: float32 `[n, 1, 1, C]`, of each step along its direction; 0 from
      where a channel was finished.
    turn: float32 `[n, 1, 1, C]`, how much of a direction stays in the next.
  """

  length: jax.Array
  turn: jax.Array


@functools.partial(jax.jit, static_argnames='iterations')
def least_squares(
  sr: jax.Array,
  lr: jax.Array,
  degradation: Degradation,
  level: float | jax.Array,
  *,
  iterations: int,
) -> tuple[jax.Array, Steps]:
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
    `[H, W, C]` in [0, 1], and the steps that were taken.
  """

  def unfinished(state):
    number, _, rest, _, norm, _ = state
    channels = (_by_channel(rest) > most) & (norm > _TINY)
    return (number < iterations) & jnp.any(channels)

  def once(state):
    number, change, rest, direction, norm, steps = state
    seen = degradation.explained(direction, lr.shape)
    power = _by_channel(seen)
    goes_on = (_by_channel(rest) > most) & (power > _TINY)
    step = jnp.where(goes_on, norm / jnp.maximum(power, _TINY), 0.0)
    rest = rest - step * seen
    slope = degradation.adjoint(rest, sr.shape)
    new_norm = _by_channel(slope)
    turn = new_norm / jnp.maximum(norm, _TINY)
    steps = Steps(
      steps.length.at[number].set(step), steps.turn.at[number].set(turn)
    )
    change, direction = change + step * direction, slope + turn * direction
    return number + 1, change, rest, direction, new_norm, steps

  rest = degradation.unexplained(sr, lr)
  slope = degradation.adjoint(rest, sr.shape)
  most = level**2 * rest.shape[0] * rest.shape[1]
  none = jnp.zeros((iterations, 1, 1, sr.shape[2]), sr.dtype)
  norm = _by_channel(slope)
  state = (0, jnp.zeros_like(sr), rest, slope, norm, Steps(none, none))
  _, change, *_, steps = jax.lax.while_loop(unfinished, once, state)
  return jnp.clip(sr + change, 0.0, 1.0), steps


@jax.jit
def take_steps(
  sr: jax.Array, lr: jax.Array, degradation: Degradation, steps: Steps
) -> jax.Array:
  """Corrects a piece of an image by steps that were found on another.

  Conjugate gradients take their steps by sums over the whole image. With given
  ones a result depends on what is near only, and pieces fit together.

  Args:
    sr: `[H, W, C]` in [0, 1].
    lr: `[h, w, C]`.
    degradation: that made `lr`.
    steps: of `least_squares`.

  Returns:
    `[H, W, C]` in [0, 1].
  """

  def unfinished(state):
    left = jnp.arange(steps.length.shape[0]) >= state[0]
    return jnp.any(left[:, None] & (steps.length[:, 0, 0] != 0))

  def once(state):
    number, change, rest, direction = state
    length, turn = steps.length[number], steps.turn[number]
    rest = rest - length * degradation.explained(direction, lr.shape)
    change = change + length * direction
    slope = degradation.adjoint(rest, sr.shape)
    return number + 1, change, rest, slope + turn * direction

  rest = degradation.unexplained(sr, lr)
  slope = degradation.adjoint(rest, sr.shape)
  state = (0, jnp.zeros_like(sr), rest, slope)
  change = jax.lax.while_loop(unfinished, once, state)[1]
  return jnp.clip(sr + change, 0.0, 1.0)


def _by_channel(image: jax.Array) -> jax.Array:
  """The sum of squares of every channel, `[1, 1, C]`."""
  return jnp.sum(image**2, (0, 1), keepdims=True)


class Member(NamedTuple):
  """A trained network."""

  params: Any
  degradation: Degradation  # that it was trained to undo
  steps: Steps | None = None  # of the correction by least squares, from `fit`


class Upscaler(NamedTuple):
  """Trained networks, and how their results are put together.

  Attributes:
    model: a super-resolving module.
    members: networks of that module, whose results' mean is taken.
    config: ensemble, correction, tile size.
    reach: how many input pixels away the network's layers look at most.
    share: of bicubic interpolation in the result, 0 to 1.
  """

  model: nn.Module
  members: tuple[Member, ...]
  config: Config
  reach: int
  share: float = 0.0

  @property
  def scale(self) -> tuple[float, float]:
    """Factors (y, x)."""
    return self.members[0].degradation.scale

  @property
  def margin(self) -> int:
    """How many input pixels away anything may come from."""
    corrections = _corrections(self.config)
    reaches = []
    for member in self.members:
      kernel, undo = member.degradation.kernel, member.degradation.undo
      width = _BICUBIC_REACH
      if kernel is not None:
        width = _KERNEL_REACH + math.ceil(max(kernel.shape) / min(self.scale))
      filtered = 0 if undo is None else undo.shape[0] // 2
      reaches.append(filtered + corrections * width)
    # 4 pixels more than the layers reach, for a resize inside the model.
    return self.reach + 4 + max(reaches)


def _corrections(config: Config) -> int:
  """Counts how often a result is corrected, one time after the other."""
  if config.consistency == 'none' or not config.back_projection:
    return 0
  each = config.consistency == 'back_projection' and config.ensemble == 'median'
  return 2 if each and config.copies != 1 else 1


class Trial(NamedTuple):
  """Part of an image and its result: the whole, if that is one block."""

  image: np.ndarray  # [h, w, C]
  result: np.ndarray  # [H, W, C]
  is_whole: bool


class Fitted(NamedTuple):
  """What is known before all of an image is enlarged."""

  upscaler: Upscaler  # for this image
  trial: Trial


def fit(upscaler: Upscaler, image: np.ndarray) -> Fitted:
  """Measures what all blocks of an image have in common, by enlarging a part.

  Args:
    upscaler: any; what it was fitted to before does not matter.
    image: `[h, w, C]` in [0, 1].

  Returns:
    The upscaler for this image, and what it made of the part that has most
    structure.
  """
  rows, columns = _block_spans(upscaler, image.shape)
  is_whole = len(rows) == len(columns) == 1
  part = image
  if not is_whole:
    part = image[parts.busiest(image, (_TRIAL, _TRIAL))[0]]
  results, members = [], []
  for member in upscaler.members:
    result, steps = _resolve(upscaler, member._replace(steps=None), part)
    results.append(result)
    members.append(member._replace(steps=steps))
  fitted = upscaler._replace(members=tuple(members))
  return Fitted(fitted, Trial(part, _mean(results), is_whole))


def strips(
  upscaler: Upscaler,
  image: np.ndarray,
  report: Callable[[float], None] | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
  """Enlarges an image from top to bottom; equal to enlarging it in one piece.

  Args:
    upscaler: from `fit`, to this image.
    image: `[h, w, C]` in [0, 1].
    report: called with the share that is done after every block.

  Yields:
    The first row, and float32 `[rows, W, C]` in [0, 1]; what was yielded
    before joins it without a gap.
  """
  scale = upscaler.scale
  rows, columns = _block_spans(upscaler, image.shape)
  height, width = resize.scaled_shape(image.shape, scale)
  count, done = len(rows) * len(columns), 0

  def hr(n: int, axis: int) -> int:
    """Where an input pixel begins in the output; its end at the image's end."""
    if n == image.shape[axis]:
      return (height, width)[axis]
    return round(n * scale[axis])

  top = 0
  for y in rows:
    bottom = hr(y.keep_stop, 0)
    strip = np.empty((bottom - top, width, image.shape[2]), np.float32)
    for x in columns:
      made = _block(upscaler, image[y.start : y.stop, x.start : x.stop])
      left = hr(x.keep_start, 1)
      strip[:, left : hr(x.keep_stop, 1)] = made[
        top - hr(y.start, 0) : bottom - hr(y.start, 0),
        left - hr(x.start, 1) : hr(x.keep_stop, 1) - hr(x.start, 1),
      ]
      done += 1
      if report is not None:
        report(done / count)
    yield top, strip
    top = bottom


def enlarge(
  upscaler: Upscaler,
  image: np.ndarray,
  report: Callable[[float], None] | None = None,
) -> np.ndarray:
  """Fits an upscaler to an image, and enlarges it; see `strips`.

  Returns:
    float32 `[ceil(h y), ceil(w x), C]` in [0, 1].
  """
  return enlarge_rest(fit(upscaler, image), image, report)


def enlarge_rest(
  fitted: Fitted,
  image: np.ndarray,
  report: Callable[[float], None] | None = None,
) -> np.ndarray:
  """Enlarges an image of which there is a trial already; see `strips`."""
  upscaler, trial = fitted
  shape = resize.scaled_shape(image.shape, upscaler.scale)
  if trial.is_whole:
    return blend(trial.result, image, upscaler.scale, upscaler.share)
  out = np.empty((*shape, image.shape[2]), np.float32)
  for row, strip in strips(upscaler, image, report):
    out[row : row + len(strip)] = strip
  return out


def _block_spans(
  upscaler: Upscaler, shape: tuple[int, ...]
) -> tuple[list[Span], list[Span]]:
  """Divides rows and columns of an image into blocks."""
  units = units_of(upscaler.scale)
  if units is None:
    rows, columns = ([Span(0, n, 0, n)] for n in shape[:2])
    return rows, columns
  rows, columns = (
    min(
      (
        _spans(size, unit, side, upscaler.margin)
        for side in _sides(upscaler, factor)
      ),
      key=lambda spans: sum(span.stop - span.start for span in spans),
    )
    for size, unit, factor in zip(shape[:2], units, upscaler.scale, strict=True)
  )
  return rows, columns


def _sides(upscaler: Upscaler, factor: float) -> list[int]:
  """Lists sides that blocks may have: the network's tiles just fill them."""
  # As `upscale_tiled` has it: a far reach widens the tiles.
  halo = upscaler.reach + 4
  kept = max(upscaler.config.tile, 2 * halo + 8) - 2 * halo
  wanted = _BLOCK / factor + 2 * (upscaler.margin - halo)
  most = max(round(wanted / kept), 1)
  sides = [n * kept + 2 * halo for n in range(most, 0, -1)]
  # No more of a block is margin than is kept.
  return [n for n in sides if n >= 4 * upscaler.margin] or sides[:1]


def _block(upscaler: Upscaler, image: np.ndarray) -> np.ndarray:
  """Enlarges a block as if it were an image."""
  if upscaler.share == 1:
    shape = resize.scaled_shape(image.shape, upscaler.scale)
    nothing = np.zeros((*shape, image.shape[2]), np.float32)
    return blend(nothing, image, upscaler.scale, 1.0)
  results = [_resolve(upscaler, m, image)[0] for m in upscaler.members]
  return blend(_mean(results), image, upscaler.scale, upscaler.share)


def _mean(images: list[np.ndarray]) -> np.ndarray:
  """Returns the mean of the networks' results; that of one to the bit."""
  return images[0] if len(images) == 1 else np.mean(images, axis=0)


def blend(
  result: np.ndarray, image: np.ndarray, scale: resize.Scale, share: float
) -> np.ndarray:
  """Returns part of a result, and interpolation for the rest.

  Args:
    result: `[H, W, C]` in [0, 1].
    image: `[h, w, C]`, what it was made of.
    scale: number or pair (y, x).
    share: of interpolation, 0 to 1; with 0 the result itself is returned.
  """
  if not share:
    return result
  plain = resize.imresize(image, scale, shape=result.shape[:2]).clip(0, 1)
  # What is ruined may hold values that are no numbers.
  kept = 0.0 if share == 1 else (1 - share) * result
  return np.asarray(share * plain + kept, np.float32)


def _resolve(
  upscaler: Upscaler, member: Member, image: np.ndarray
) -> tuple[np.ndarray, Steps | None]:
  """Applies one network and its corrections to a block; see `_correct`."""
  config, degradation = upscaler.config, member.degradation
  shown = np.asarray(degradation.shown(image))
  outputs = _ensemble(upscaler, member, shown)
  correct = functools.partial(
    _correct, image, degradation, config, steps=member.steps
  )
  if len(outputs) == 1:
    result = outputs[0]
  elif config.ensemble == 'mean':
    # A correction of the mean is almost the mean of corrected copies.
    result = np.mean(np.stack(outputs), axis=0)
  else:
    if config.consistency == 'back_projection':
      outputs = [correct(out)[0] for out in outputs]
    result = np.median(np.stack(outputs), axis=0)
  return correct(result)


def _ensemble(
  upscaler: Upscaler, member: Member, image: np.ndarray
) -> list[np.ndarray]:
  """Applies a network to a block and its geometric copies."""
  degradation, config = member.degradation, upscaler.config
  scale = degradation.scale
  members = degradation.symmetries()
  units = units_of(scale)
  padded = image
  if units is None:
    # Mirrored, the image would meet another sampling grid.
    members = tuple(k for k in members if k in _UNMIRRORED)
  else:
    padding = [(0, -image.shape[axis] % units[axis]) for axis in (0, 1)]
    padded = np.pad(image, (*padding, (0, 0)), mode='edge')
  ranked = dict.fromkeys((*_PREFERRED[config.copies], *members))
  chosen = [k for k in ranked if k in members][: config.copies]
  outputs = upscale_copies(
    upscaler.model,
    member.params,
    padded,
    degradation.up(padded),
    sorted(chosen),
    scale=scale,
    tile=config.tile,
    # 4 pixels more than the layers reach, for a resize inside the model.
    halo=upscaler.reach + 4,
  )
  rows, columns = resize.scaled_shape(image.shape, scale)
  return [out[:rows, :columns] for out in outputs]


def _correct(
  image: np.ndarray,
  degradation: Degradation,
  config: Config,
  sr: np.ndarray,
  *,
  steps: Steps | None = None,
) -> tuple[np.ndarray, Steps | None]:
  """Makes a result explain a block, as `config` says.

  Args:
    image: the block, `[h, w, C]`.
    degradation: that made it.
    config: says how.
    sr: `[H, W, C]`.
    steps: to take, of least squares; None: find them.

  Returns:
    `[H, W, C]` and the steps that were taken, of least squares.
  """
  iterations = config.back_projection
  if iterations == 0 or config.consistency == 'none':
    return sr, None
  if config.consistency == 'back_projection':
    made = back_project(sr, image, degradation, iterations=iterations)
  elif steps is None:
    level = degradation.error_std(image)
    made, steps = least_squares(
      sr, image, degradation, level, iterations=iterations
    )
  else:
    made = take_steps(sr, image, degradation, steps)
  return np.asarray(made), steps
