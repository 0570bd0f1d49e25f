"""Families of blur kernels, by their transfer functions.

What blurs a photo is an optical or sampling blur, which a Gaussian describes,
and, often, one thing more: a lens out of focus (a disc) or a straight motion of
camera or scene (a line). Those two have zeros in their transfer function,
by which the spectrum of the image tells their size. An image that was shrunk
by a well-made program, or is sharp to the pixel, has no blur beyond that.

A transfer function `K(g)` is given by `log |K|^2`, `g` in cycles per HR pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy  # loads its parts when they are first used

from zssr_jax import blur_kernels
from zssr_jax.ops import resize

_LEAST_STD = 0.03  # of a Gaussian, HR pixels
_WIDEST = 3.0  # standard deviation of a Gaussian, LR pixels
_LARGEST = 5.0  # radius of a disc, LR pixels
_LONGEST = 12.0  # line, LR pixels
# Power that is left at a zero of a disc or line: scenes are not flat, and
# windows smear the spectrum.
_ZERO = 3e-4
# Cost by which a kernel must explain the spectrum better than none. Of 50 sharp
# photos shrunk by bicubic the worst reached 4.8; 50 blurred by a Gaussian of
# 1.2 had 6.0 to 37.
_BLURRED = 5.5
# A kernel a little too narrow costs some sharpness, one a little too wide
# brings halos: decibels for the same error. So the variance that is used is so
# much of the estimate, less so many of its standard deviations.
_SHARE, _DEVIATIONS, _LEAST_SHARE = 0.9, 1.0, 0.3
_TAPS_VARIANCE = 1 / 12  # of a tap, which stands for a pixel

Scales = tuple[float, float]
Parameters = np.ndarray


class Family(NamedTuple):
  """Kernels of one shape.

  Attributes:
    name: in messages.
    log_transfer: `(parameters, y, x, scales) -> log |K|^2`, for frequencies
      `y` and `x` of any shape.
    starts: `scales ->` parameters that a fit may start from.
    limits: `scales ->` largest absolute values of the parameters.
    kernel: `(parameters, spread, caution, scales) -> [h, w]`, a centred kernel
      that is narrower than the parameters say, the more so the larger their
      covariance `spread` `[n, n]` and `caution`; None: bicubic.
    words: `parameters ->` what a user is told.
    price: what it must gain in the cost of a fit, above none, to be believed.
  """

  name: str
  log_transfer: Callable[..., np.ndarray]
  starts: Callable[[Scales], list[list[float]]]
  limits: Callable[[Scales], list[float]]
  kernel: Callable[[Parameters, np.ndarray, float, Scales], np.ndarray | None]
  words: Callable[[Parameters], str]
  price: float


def covariance_of(root: Parameters) -> np.ndarray:
  """Returns the covariance `[2, 2]` in (y, x) of a triangular root (a, b, c).

  Args:
    root: HR pixels; the covariance is `[[aa, ab], [ab, bb + cc]]` and a
      little more on the diagonal.
  """
  matrix = np.array([[root[0], 0.0], [root[1], root[2]]])
  return matrix @ matrix.T + np.eye(2) * _LEAST_STD**2


def covariance_spread(root: Parameters, spread: np.ndarray) -> np.ndarray:
  """Returns the covariance `[3, 3]` of a covariance's (yy, yx, xx).

  Args:
    root: as in `covariance_of`.
    spread: the covariance `[3, 3]` of the root's estimate.
  """
  a, b, c = root
  change = np.array([[2 * a, 0, 0], [b, a, 0], [0, 2 * b, 2 * c]])
  return change @ spread @ change.T


def _mean_scale(scales: Scales) -> float:
  return math.sqrt(math.prod(scales))


def _gaussian(p: Parameters, y, x, scales: Scales) -> np.ndarray:
  del scales
  c = covariance_of(p)
  exponent = c[0, 0] * y**2 + c[1, 1] * x**2 + 2 * c[0, 1] * y * x
  return -4 * math.pi**2 * exponent


def _isotropic(std: float, y, x) -> np.ndarray:
  return -4 * math.pi**2 * (std**2 + _LEAST_STD**2) * (y**2 + x**2)


def _disc(p: Parameters, y, x, scales: Scales) -> np.ndarray:
  del scales
  z = np.maximum(2 * math.pi * abs(p[1]) * np.hypot(y, x), 1e-6)
  airy = 2 * scipy.special.j1(z) / z
  return np.log(airy**2 + _ZERO) + _isotropic(p[0], y, x)


def _line(p: Parameters, y, x, scales: Scales) -> np.ndarray:
  del scales
  sinc = np.sinc(p[1] * y + p[2] * x)
  return np.log(sinc**2 + _ZERO) + _isotropic(p[0], y, x)


def _none(p: Parameters, y, x, scales: Scales) -> np.ndarray:
  del p
  return _log_cubic(y, scales[0]) + _log_cubic(x, scales[1])


def _log_cubic(frequency: np.ndarray, scale: float) -> np.ndarray:
  """`log |K|^2` along an axis of antialiased cubic downscaling."""
  reach = math.ceil(2 * scale) + 1
  total = np.zeros_like(frequency)
  # Between whole scales the taps change from pixel to pixel: the mean power.
  phases = [0.0] if scale == int(scale) else np.arange(8) / 8
  for phase in phases:
    place = np.arange(-reach, reach + 1) + phase + (scale - 1) / 2 % 1
    taps = resize.cubic(place / scale)
    wave = np.exp(-2j * math.pi * frequency[..., None] * place)
    total += abs(wave @ (taps / taps.sum())) ** 2
  return np.log(total / len(phases) + 1e-7)


def _narrowed(variance: float, std: float, caution: float) -> float:
  """Returns a variance that the truth hardly falls short of.

  Args:
    variance: of a kernel along an axis.
    std: standard deviation of that estimate.
    caution: how many of these are subtracted.
  """
  return max(_SHARE * variance - caution * std, _LEAST_SHARE * variance)


def _gaussian_kernel(
  p: Parameters, spread: np.ndarray, caution: float, scales: Scales
) -> np.ndarray:
  spread = covariance_spread(p, spread)
  values, axes = np.linalg.eigh(covariance_of(p))
  for i, (y, x) in enumerate(axes.T):
    weights = np.array([y * y, 2 * y * x, x * x])
    # Rounding may turn a variance of nothing negative.
    std = math.sqrt(max(weights @ spread @ weights, 0.0))
    values[i] = _narrowed(values[i], std, caution)
  return blur_kernels.gaussian_of(axes * values @ axes.T, scales)


def _optics(p: Parameters, spread: np.ndarray, caution: float) -> float:
  """The standard deviation of the Gaussian that goes with a disc or a line."""
  variance = p[0] ** 2 + _LEAST_STD**2
  std = 2 * abs(p[0]) * math.sqrt(max(spread[0, 0], 0.0))
  variance = _narrowed(variance, std, caution)
  return math.sqrt(max(variance - _TAPS_VARIANCE, 0.0))


def _gaussian_words(p: Parameters) -> str:
  second, first = np.sqrt(np.linalg.eigvalsh(covariance_of(p)))
  return f'Gaussian blur of {first:.1f} x {second:.1f} pixels'


def _disc_kernel(
  p: Parameters, spread: np.ndarray, caution: float, scales: Scales
) -> np.ndarray:
  radius, std = abs(float(p[1])), math.sqrt(max(spread[1, 1], 0.0))
  return blur_kernels.disc_kernel(
    max(radius - std, radius / 2), _optics(p, spread, caution), scales
  )


def _line_kernel(
  p: Parameters, spread: np.ndarray, caution: float, scales: Scales
) -> np.ndarray:
  length, angle = math.hypot(p[1], p[2]), math.atan2(p[1], p[2])
  along = np.array([math.sin(angle), math.cos(angle)])
  std = math.sqrt(max(along @ spread[1:, 1:] @ along, 0.0))
  return blur_kernels.line_kernel(
    max(length - std, length / 2), angle, _optics(p, spread, caution), scales
  )


def _line_starts(scales: Scales) -> list[list[float]]:
  s = _mean_scale(scales)
  return [
    [0.4 * s, length * s * math.sin(angle), length * s * math.cos(angle)]
    for length in (2.5, 4.5, 7.0)
    for angle in np.arange(6) * math.pi / 6
  ]


NONE = Family(
  'none',
  _none,
  lambda scales: [[]],
  lambda scales: [],
  lambda p, spread, caution, scales: None,
  lambda p: 'no blur beyond bicubic',
  0.0,
)
GAUSSIAN = Family(
  'gaussian',
  _gaussian,
  lambda scales: [[0.6 * _mean_scale(scales), 0, 0.6 * _mean_scale(scales)]],
  lambda scales: [_WIDEST * max(scales)] * 3,
  _gaussian_kernel,
  _gaussian_words,
  _BLURRED,
)
DISC = Family(
  'disc',
  _disc,
  lambda scales: [
    [0.4 * _mean_scale(scales), radius * _mean_scale(scales)]
    for radius in (0.8, 1.3, 2.0, 3.0)
  ],
  lambda scales: [_WIDEST * max(scales), _LARGEST * max(scales)],
  _disc_kernel,
  lambda p: f'defocus of radius {abs(p[1]):.1f} pixels',
  _BLURRED + 0.6,
)
LINE = Family(
  'line',
  _line,
  _line_starts,
  lambda scales: [_WIDEST * max(scales), *[_LONGEST * max(scales)] * 2],
  _line_kernel,
  lambda p: (
    f'motion of {math.hypot(p[1], p[2]):.1f} pixels at'
    f' {math.degrees(math.atan2(p[1], p[2])) % 180:.0f} degrees'
  ),
  _BLURRED + 1.0,
)


def of_kernel(name: str, kernel: np.ndarray, doubt: float) -> Family:
  """Returns the family that has one kernel and no parameters.

  Args:
    name: its name, in words as well.
    kernel: `[h, w]`, sums to 1.
    doubt: about it, as `Degradation.doubt`.
  """
  memo: list[tuple[np.ndarray, np.ndarray]] = []

  def log_transfer(p, y, x, scales):
    del p, scales
    for frequencies, known in memo:
      if frequencies is y:  # a fit asks for the same ones again and again
        return known
    waves = [
      np.exp(-2j * math.pi * f[..., None] * np.arange(size))
      for f, size in zip((y, x), kernel.shape, strict=True)
    ]
    transfer = ((waves[0] @ kernel) * waves[1]).sum(-1)
    power = (1 - doubt) * abs(transfer) ** 2 + doubt
    memo.append((y, np.log(power + _ZERO)))
    return memo[-1][1]

  return Family(
    name,
    log_transfer,
    lambda scales: [[]],
    lambda scales: [],
    lambda p, spread, caution, scales: kernel,
    lambda p: name,
    0.0,
  )


FAMILIES = {f.name: f for f in (NONE, GAUSSIAN, DISC, LINE)}
