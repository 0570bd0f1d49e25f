"""How a training run went, drawn as SVG that follows the page's colours.

Written by hand rather than with matplotlib: the lines take their colours from
the style sheet, so they fit light and dark pages, and stretch with the page
while the labels, which are HTML, keep their size on a phone.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from zssr_jax.training.history import History

_BINS = 200  # points of a drawn line; more would fall on the same pixels
_SIZE = 1000  # side of the drawing's coordinate system
_LOG_FROM = 5.0  # ratio of greatest to least from which the axis is logarithmic
# A part of the loss below this share of the whole is not drawn: an axis long
# enough for it would flatten the rest.
_LEAST_PART = 1e-3
_PART_COLORS = 4  # in the style sheet
_SUPERSCRIPTS = str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹')


class _Axis(NamedTuple):
  low: float
  high: float
  log: bool

  def place(self, values: np.ndarray) -> np.ndarray:
    """Maps values to 0 (bottom) ... 1 (top)."""
    low, high = self.low, self.high
    if self.log:
      values, low, high = np.log(values), math.log(low), math.log(high)
    return (values - low) / (high - low)


def format_number(value: float, *, least: float = 1e-3) -> str:
  """Formats a number in a few characters: `0.02`, `3·10⁻⁴`, `2·10⁶`.

  Args:
    value: any finite number.
    least: smallest magnitude written without a power of ten.
  """
  if value == 0 or least <= abs(value) < 1e5:
    text = f'{value:.3g}' if abs(value) < 1000 else f'{value:.0f}'
    return text.replace('-', '−')
  mantissa, exponent = f'{value:.2e}'.split('e')
  mantissa = mantissa.rstrip('0').rstrip('.').replace('-', '−')
  power = '10' + str(int(exponent)).translate(_SUPERSCRIPTS)
  return power if mantissa == '1' else f'{mantissa}·{power}'


def _bins(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
  """Returns `[4, k]`, k <= _BINS: mean step, median, least and greatest."""
  parts = min(len(steps), _BINS)
  pairs = zip(
    np.array_split(steps, parts), np.array_split(values, parts), strict=True
  )
  return np.array(
    [(x.mean(), np.median(y), y.min(), y.max()) for x, y in pairs]
  ).T


def _make_axis(values: np.ndarray) -> _Axis:
  """Chooses an axis for values that are all finite."""
  low, high = float(values.min()), float(values.max())
  if low > 0 and high / low >= _LOG_FROM:
    margin = (high / low) ** 0.05
    return _Axis(low / margin, high * margin, True)
  # What hardly changes is not blown up to fill the axis.
  margin = max(0.05 * (high - low), 0.02 * abs(high)) or 1.0
  return _Axis(low - margin, high + margin, False)


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
  """Returns up to `most` round numbers in [low, high]."""
  rough = (high - low) / most
  power = 10.0 ** math.floor(math.log10(rough))
  step = power * next(f for f in (1, 2, 5, 10) if f * power >= rough)
  first = math.ceil(low / step)
  return [n * step for n in range(first, math.floor(high / step) + 1)]


def _ticks(axis: _Axis) -> list[float]:
  if not axis.log:
    return _linear_ticks(axis.low, axis.high, 4)
  powers = range(
    math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1
  )
  # The sparsest choice that still leaves three labels, else the densest.
  for digits, stride in (((1,), 3), ((1,), 2), ((1,), 1), ((1, 3), 1)):
    ticks = [d * 10.0**p for p in powers[::stride] for d in digits]
    ticks = [t for t in ticks if axis.low <= t <= axis.high]
    if len(ticks) >= 3:
      return ticks
  ticks = [d * 10.0**p for p in powers for d in (1, 2, 5)]
  return [t for t in ticks if axis.low <= t <= axis.high]


def _path(x: np.ndarray, y: np.ndarray) -> str:
  """Returns the data of a path through points given in 0 ... 1, y upwards."""
  points = np.stack([x, 1 - y], axis=1) * _SIZE
  return 'M' + 'L'.join(f'{a:.0f} {b:.0f}' for a, b in points)


def _verticals(places: list[float], name: str) -> str:
  if not places:
    return ''
  data = ''.join(f'M{p * _SIZE:.0f} 0V{_SIZE}' for p in places)
  return f'<path class="{name}" d="{data}"/>'


def _trend(
  steps: np.ndarray, values: np.ndarray, total: int
) -> tuple[np.ndarray, ...] | None:
  """The finite values in bins; None where there are none.

  Returns:
    Place in 0 ... 1, median, least and greatest of each bin, at least two.
  """
  good = np.isfinite(values)
  if not (total and good.any()):
    return None
  bins = _bins(
    np.asarray(steps, np.float64)[good], np.asarray(values, np.float64)[good]
  )
  if bins.shape[1] == 1:  # a path of one point is invisible
    bins = bins.repeat(2, axis=1)
    bins[0] = 0, total
  return (bins[0] / total, *bins[1:])


def _draw_parts(
  axis: _Axis, parts: Mapping[str, tuple[np.ndarray, ...]]
) -> list[str]:
  drawn = []
  for number, (x, middle, *_) in enumerate(parts.values()):
    seen = middle >= axis.low
    if seen.any():
      path = _path(x[seen], axis.place(middle[seen]))
      drawn.append(f'<path class="part p{number % _PART_COLORS}" d="{path}"/>')
  return drawn


def _labels(axis: _Axis, ticks: list[float], history: History) -> list[str]:
  """The numbers along the axes, and those of the stages."""
  total = len(history.loss)
  # Either all labels are written with powers or none.
  plain = 1.0 if axis.log and min(ticks) < 1e-3 else 1e-3
  labels = [
    f'<span class="y" style="top:{100 * (1 - h):.1f}%">'
    f'{format_number(t, least=plain)}</span>'
    for t, h in zip(ticks, axis.place(np.array(ticks)), strict=True)
  ]
  labels += [
    f'<span class="x" style="left:{100 * t / total:.1f}%">{t:.0f}</span>'
    for t in _linear_ticks(0, total, 4)
    if t == int(t)
  ]
  ends = _ends(history)
  if len(history.stages) > 1:
    labels += [
      f'<span class="n" style="left:{50 * (a + b):.1f}%">{number}</span>'
      for number, (a, b) in enumerate(zip(ends[:-1], ends[1:], strict=True), 1)
    ]
  return labels


def _ends(history: History) -> np.ndarray:
  """Where stages begin and end, in 0 ... 1."""
  steps = [stage[2] for stage in history.stages]
  return np.cumsum((0, *steps)) / len(history.loss)


def _chart(
  name: str,
  steps: np.ndarray,
  values: np.ndarray,
  history: History,
  parts: Mapping[str, tuple[np.ndarray, ...]] | None = None,
) -> str:
  """Draws one quantity over the steps; empty without any finite value.

  Args:
    name: of the quantity.
    steps: `[m]`, where its values lie.
    values: `[m]`.
    history: the run.
    parts: trends of what the quantity is the sum of, by their names.
  """
  total = len(history.loss)
  trend = _trend(steps, values, total)
  if trend is None:
    return ''
  x, middle, least, greatest = trend
  parts = parts or {}
  floor = _LEAST_PART * least.min() if least.min() > 0 else -math.inf
  medians = [part[1][part[1] >= floor] for part in parts.values()]
  axis = _make_axis(np.concatenate([least, greatest, *medians]))
  ticks = _ticks(axis)
  grid = ''.join(
    f'M0 {(1 - h) * _SIZE:.0f}H{_SIZE}' for h in axis.place(np.array(ticks))
  )
  drawing = [f'<path class="grid" d="{grid}"/>']
  if (least < greatest).any():
    top, bottom = axis.place(greatest), axis.place(least)
    outline = _path(np.append(x, x[::-1]), np.append(top, bottom[::-1]))
    drawing.append(f'<path class="band" d="{outline}Z"/>')
  drawing += [
    _verticals([float(e) for e in _ends(history)[1:-1]], 'stage'),
    _verticals([d / total for d in history.drops], 'drop'),
    *_draw_parts(axis, parts),
    f'<path class="line" d="{_path(x, axis.place(middle))}"/>',
  ]
  first, last = format_number(middle[0]), format_number(middle[-1])
  change = first if first == last else f'{first} → {last}'
  said = f'{name} over {total} steps: {change}'
  return (
    f'<figure class="chart"><figcaption>{name} <small>{change}</small>'
    f'</figcaption><div class="plot"><svg viewBox="0 0 {_SIZE} {_SIZE}"'
    f' preserveAspectRatio="none" role="img" aria-label="{html.escape(said)}">'
    f'{"".join(drawing)}</svg>{"".join(_labels(axis, ticks, history))}</div>'
    '</figure>'
  )


def _key(history: History, parts: Mapping[str, object]) -> str:
  """Says what the lines mean."""
  key = ['Over training steps.']
  if len(history.loss) > _BINS:
    each_bin = math.ceil(len(history.loss) / _BINS)
    key.append(
      '<span><i class="k line"></i>median and <i class="k band"></i>range of'
      f' {each_bin} steps</span>'
    )
  for number, name in enumerate(parts):
    key.append(
      f'<span><i class="k part p{number % _PART_COLORS}"></i>'
      f'{html.escape(name)}, part of the loss</span>'
    )
  if len(history.stages) > 1:
    key.append(
      '<span><i class="k stage"></i>next stage or network, numbered</span>'
    )
  if history.drops:
    key.append('<span><i class="k drop"></i>drop of the learning rate</span>')
  return f'<p class="key">{" ".join(key)}</p>'


def draw_curves(history: History) -> str:
  """Draws loss, reconstruction error and learning rate over the steps.

  An axis is logarithmic where the values span a factor of 5 or more. Curves
  of more than 200 points are drawn as the median of each bin of steps, before
  a band from its least to its greatest value. Values that are not finite are
  left out. Where the loss is a sum, its parts are drawn below it, as far as
  they reach a thousandth of the least loss.

  Args:
    history: the run.

  Returns:
    HTML; empty when there is nothing to draw, as for a run of no steps.
  """
  total = len(history.loss)
  each = np.arange(total) + 0.5
  parts = {}
  if len(history.losses) > 1:  # a single one is the loss itself
    for name, values in history.losses.items():
      trend = _trend(each, values, total)
      if trend is not None:
        parts[name] = trend
  drawn = [
    _chart('Loss', each, history.loss, history, parts),
    _chart('Reconstruction MSE', history.error_steps, history.error, history),
    _chart('Learning rate', each, history.learning_rate, history),
  ]
  if not any(drawn):
    return ''
  return f'<div class="charts">{"".join(drawn)}</div>{_key(history, parts)}'
