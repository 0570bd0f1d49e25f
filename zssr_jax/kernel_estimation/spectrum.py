"""The blur kernel from the power spectrum of the blurred image.

The power spectrum of a sharp photo falls off as `A(theta) |g|^(-2 a)`, with
`a` near 1 (Field 1987; Ruderman 1994), over all scales alike. Blur multiplies
it by `|K(g)|^2`, subsampling folds it, noise adds a floor:

  S_lr(f) = sum_m A(theta_m) |g_m|^(-2 a) |K(g_m)|^2 + N,   g_m = (f + m) / s

over the shifts m that fold onto f. Fitted to the image's own windowed
periodogram, with a K of one of the `families`, that gives the kernel: a
Gaussian's covariance by what falls off steeper than the scene's own power law,
and in which direction; the size of a disc or a line by the zeros of K. Nothing
is learned; the only prior is that `a` lies near 1.

Compare Michaeli and Irani (`patch_recurrence`), who find the kernel that maps
the image's coarse patches on its fine ones: patches of an image that is itself
blurred, whereas this estimates the blur between the image and a sharp scene.
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import jax
import numpy as np
import scipy  # loads its parts when they are first used

from zssr_jax.kernel_estimation import families, noise
from zssr_jax.kernel_estimation.estimator import Estimator
from zssr_jax.ops import resize
from zssr_jax.ops.resize import Scale

# Side of the windows of the periodogram, LR pixels.
WINDOW = 48
# Cycles per LR pixel; below, a window's taper smears the steep spectrum.
_LOWEST = 0.05
_MAX_WINDOWS = 4096
# Standard deviations of the priors, in units of the log spectrum's scatter.
_DECAY, _DECAY_STD = 1.0, 0.1  # of `a`
_ANGULAR_STD = 0.5  # of the coefficients of log A(theta)
_NOISE_STD = 2.0  # of log N about what rounding to 8 bits leaves
_SCATTER = 3.0  # of the log spectrum about the model, one standard deviation
_HARMONICS = 2  # of log A(theta): cos and sin of 2 theta and 4 theta
_COMMON = 3 + 2 * _HARMONICS  # parameters that all families have
# Of several starts, all go on for so many evaluations on half of the data, and
# so many of them to the end.
_TRIAL, _FINALISTS = 10, 2


# Ratio of the power of coarse structure to the noise's below which there is
# nothing to be measured; 1 for white noise.
LEAST_STRUCTURE = 30.0
LEAST_SIDE = 64  # pixels of an image, to tell a kernel by
_COARSE = 0.1  # cycles a pixel


class Fit(NamedTuple):
  """The model that explains a spectrum best."""

  family: families.Family
  parameters: np.ndarray  # of the family
  precision: np.ndarray  # [n, n], theirs
  decay: float  # a
  noise: float  # standard deviation of the white part, image units
  misfit: float  # RMS residual of the log spectrum, where noise hides it not
  cost: float  # half the sum of squares, priors included
  told: float  # share of the frequencies that neither noise nor `lost` hides

  @property
  def covariance(self) -> np.ndarray:
    """Of a Gaussian kernel: `[2, 2]` in (y, x), HR pixels squared."""
    return families.covariance_of(self.parameters)

  @property
  def covariance_precision(self) -> np.ndarray:
    """Of a Gaussian kernel: the precision of its (yy, yx, xx), `[3, 3]`."""
    spread = np.linalg.pinv(self.precision)
    return np.linalg.pinv(families.covariance_spread(self.parameters, spread))


def spectrum(image: np.ndarray, window: int = WINDOW) -> np.ndarray:
  """Power spectrum: the mean periodogram of overlapping Hann windows.

  Args:
    image: `[H, W, C]`, no side shorter than `window`; the channels are
      averaged first.
    window: side of the windows in pixels.

  Returns:
    `[window, window]`, in the order of `numpy.fft.fft2`; white noise of
    standard deviation sigma adds sigma**2 to each entry.
  """
  grey = np.asarray(image, np.float64).mean(2)
  taper = np.hanning(window + 2)[1:-1]
  taper = np.outer(taper, taper)
  hop = window // 4
  while math.prod((n - window) // hop + 1 for n in grey.shape) > _MAX_WINDOWS:
    hop *= 2
  total, count = np.zeros((window, window)), 0
  view = np.lib.stride_tricks.sliding_window_view(grey, (window, window))
  for row in view[::hop]:
    patches = row[::hop]
    mean = (patches * taper).sum((1, 2)) / taper.sum()
    patches = (patches - mean[:, None, None]) * taper
    total += (np.abs(np.fft.fft2(patches)) ** 2).sum(0)
    count += len(patches)
  return total / (count * (taper**2).sum())


def structure(power: np.ndarray, noise_std: float) -> float:
  """Returns the power of coarse structure, relative to the noise's.

  Args:
    power: from `spectrum`.
    noise_std: of the image, in image units.
  """
  frequency = np.fft.fftfreq(len(power))
  radius = np.hypot(frequency[:, None], frequency[None])
  coarse = power[(radius > 0) & (radius <= _COARSE)].mean()
  # Rounding to 8 bits is noise, too.
  return float(coarse / (noise_std**2 + 1 / 12 / 255**2))


def fit(
  power: np.ndarray,
  scale: Scale,
  family: families.Family = families.GAUSSIAN,
  *,
  noise_std: float = 0.0,
  lost: np.ndarray | None = None,
) -> Fit:
  """Fits the model of this module to a power spectrum.

  Args:
    power: `[n, n]` of an image in [0, 1], from `spectrum`.
    scale: number or pair (y, x), how much finer the sharp image is sampled.
    family: that the kernel is of.
    noise_std: of the image, as far as known, in image units; the fit starts
      there.
    lost: bool `[n, n]`, which frequencies say nothing.
  """
  problem = _Problem(power, resize.scale_pair(scale), family, noise_std, lost)
  starts = problem.starts()
  if len(starts) > _FINALISTS:
    half = problem.thinned()
    trials = [half.solve(start, _TRIAL) for start in starts]
    trials.sort(key=lambda found: found.cost)
    starts = [found.x for found in trials[:_FINALISTS]]
  found = min((problem.solve(s, 60) for s in starts), key=lambda f: f.cost)
  p, data = found.x, found.fun[: problem.count]
  told = problem.told(p)
  # The fit's covariance, priors included, tells how far to trust it.
  spread = np.linalg.pinv(found.jac.T @ found.jac)[_COMMON:, _COMMON:]
  return Fit(
    family=family,
    parameters=p[_COMMON:],
    precision=np.linalg.pinv(spread),
    decay=float(p[1]),
    noise=math.exp(p[2] / 2),
    misfit=float(np.sqrt(np.mean(data[told if told.any() else ...] ** 2)))
    * _SCATTER,
    cost=float(found.cost),
    told=float(told.sum()) / problem.possible,
  )


class _Problem:
  """Least squares of the log spectrum, for one family.

  The parameters are the level, a, log N and the coefficients of log A(theta),
  `_COMMON` in all, then those of the family.
  """

  def __init__(
    self,
    power: np.ndarray,
    scales: tuple[float, float],
    family: families.Family,
    noise_std: float,
    lost: np.ndarray | None,
  ):
    self._family, self._scales = family, scales
    self._folds = _Folds(power.shape[0], scales, lost)
    self._log_power = np.log(power.ravel()[self._folds.chosen] + 1e-13)
    # Rounding to 8 bits leaves 1/12, and averaging the channels less of it.
    self._floor = math.log(0.3 / 12 / 255**2 + noise_std**2)
    # The transfer function, which stays where a family has no parameters.
    self._transfer: np.ndarray | None = None

  @property
  def count(self) -> int:
    """How many residuals are of data; those of priors follow."""
    return len(self._log_power)

  @property
  def possible(self) -> int:
    """How many frequencies an image without noise or compression has."""
    return self._folds.possible

  def thinned(self) -> _Problem:
    """Returns it with half of the data, which weighs as much."""
    other = copy.copy(self)
    other._folds = self._folds[::2]
    other._log_power = self._log_power[::2]
    other._transfer = None
    return other

  def told(self, p: np.ndarray) -> np.ndarray:
    """Tells where the measured power is at least twice the noise's."""
    return self._log_power > p[2] + math.log(2)

  def starts(self) -> list[np.ndarray]:
    level = float(self._log_power.mean()) - 5
    common = [level, _DECAY, self._floor, *[0.0] * (2 * _HARMONICS)]
    return [
      np.asarray([*common, *own]) for own in self._family.starts(self._scales)
    ]

  def solve(self, start: np.ndarray, evaluations: int):
    limit = np.full(len(start), np.inf)
    limit[_COMMON:] = self._family.limits(self._scales)
    return scipy.optimize.least_squares(
      self._residuals,
      start,
      bounds=(-limit, limit),
      x_scale='jac',
      max_nfev=evaluations,
    )

  def _residuals(self, p: np.ndarray) -> np.ndarray:
    if len(p) > _COMMON or self._transfer is None:
      self._transfer = self._family.log_transfer(
        p[_COMMON:], self._folds.y, self._folds.x, self._scales
      )
    model = self._folds.model(p, self._transfer)
    priors = [
      (p[1] - _DECAY) / _DECAY_STD,
      (p[2] - self._floor) / _NOISE_STD,
      *(p[3:_COMMON] / _ANGULAR_STD),
    ]
    return np.concatenate([(self._log_power - model) / _SCATTER, priors])


def estimate(
  image: np.ndarray, scale: Scale, key: jax.Array | None = None
) -> np.ndarray:
  """Estimates a Gaussian kernel from the image's power spectrum.

  Args:
    image: `[H, W, C]` in [0, 1], no side shorter than `WINDOW`.
    scale: number or pair (y, x), at least 1.
    key: unused; nothing here is random.

  Returns:
    float32 `[h, w]`, non-negative, sums to 1, centred.

  Raises:
    ValueError: for an image smaller than `WINDOW`.
  """
  del key
  if min(image.shape[:2]) < WINDOW:
    raise ValueError(
      f'a spectrum needs an image of at least {WINDOW}x{WINDOW} pixels, not'
      f' {image.shape[0]}x{image.shape[1]}'
    )
  level = noise.noise_level(image.mean(2, keepdims=True))
  kernel = kernel_of(fit(spectrum(image), scale, noise_std=level), scale)
  assert kernel is not None  # a Gaussian is one
  return kernel


def kernel_of(
  found: Fit, scale: Scale, caution: float = 1.0
) -> np.ndarray | None:
  """Returns the kernel that a fit for the same scale stands for.

  It is somewhat narrower than the fit's.

  Args:
    found: the fit.
    scale: as in `fit`.
    caution: by how many standard deviations.

  Returns:
    float32 `[h, w]`; None, which means bicubic, for the family `none`.
  """
  return found.family.kernel(
    found.parameters,
    np.linalg.pinv(found.precision),
    caution,
    resize.scale_pair(scale),
  )


class _Folds:
  """The frequencies in use and those that fold onto them."""

  def __init__(
    self,
    window: int,
    scales: tuple[float, float],
    lost: np.ndarray | None,
  ):
    f = np.fft.fftfreq(window)
    y, x = (a.ravel() for a in np.meshgrid(f, f, indexing='ij'))
    # A real image's spectrum is symmetric: half of it says all.
    half = (x > 0) | ((x == 0) & (y > 0))
    inside = (np.abs(y) < 0.5) & (np.abs(x) < 0.5)
    radius = np.hypot(y, x)
    use = half & inside & (radius > _LOWEST) & (radius < 0.5)
    self.possible = int(use.sum())
    if lost is not None:
      use &= ~lost.ravel()
    self.chosen = np.flatnonzero(use)
    y, x = y[self.chosen], x[self.chosen]
    reach = [range(-math.ceil(s / 2), math.ceil(s / 2) + 1) for s in scales]
    shifts = [(i, j) for i in reach[0] for j in reach[1]]
    self.y = np.stack([(y + i) / scales[0] for i, _ in shifts])
    self.x = np.stack([(x + j) / scales[1] for _, j in shifts])
    keep = (np.abs(self.y) <= 0.5) & (np.abs(self.x) <= 0.5)
    # Rows of shifts that never fall into the sharp image's band are dropped.
    rows = keep.any(1)
    self.y, self.x, keep = self.y[rows], self.x[rows], keep[rows]
    self._out = np.where(keep, 0.0, -np.inf)
    self._log_radius = np.log(np.hypot(self.y, self.x))
    theta = np.arctan2(self.y, self.x)
    self._angular = np.stack(
      [
        wave(2 * (q + 1) * theta)
        for q in range(_HARMONICS)
        for wave in (np.cos, np.sin)
      ]
    )

  def __getitem__(self, part: slice) -> _Folds:
    """Returns a part of the frequencies."""
    other = copy.copy(self)
    other.chosen = self.chosen[part]
    for name in ('y', 'x', '_out', '_log_radius', '_angular'):
      setattr(other, name, getattr(self, name)[..., part])
    return other

  def model(self, p: np.ndarray, log_transfer: np.ndarray) -> np.ndarray:
    """Returns the log of `S_lr` at the frequencies in use.

    Args:
      p: level, a, log N, the coefficients of log A(theta); more is unused.
      log_transfer: `log |K|^2` at `y`, `x`.
    """
    log_power = p[0] - 2 * p[1] * self._log_radius
    log_power += np.tensordot(p[3:_COMMON], self._angular, 1)
    log_power += self._out + log_transfer
    top = np.maximum(log_power.max(0), p[2])
    return top + np.log(np.exp(log_power - top).sum(0) + np.exp(p[2] - top))


ESTIMATOR = Estimator(
  estimate, 'kernel estimated', 'estimated kernel', of_fit=kernel_of
)
# Where the joint optimisation starts (`training.joint_kernel`).
JOINT = Estimator(
  estimate,
  'kernel learned along',
  'kernel estimated jointly',
  of_fit=kernel_of,
  learnt_along=True,
)
