"""The blur kernel from the power spectrum of the blurred image.

The power spectrum of a sharp photo falls off as `A(theta) |g|^(-2 a)`, with
`a` near 1 (Field 1987; Ruderman 1994), over all scales alike. Blur multiplies
it by `|K(g)|^2`, subsampling folds it, noise adds a floor:

  S_lr(f) = sum_m A(theta_m) |g_m|^(-2 a) |K(g_m)|^2 + N,   g_m = (f + m) / s

over the shifts m that fold onto f. Fitted to the image's own windowed
periodogram, with a Gaussian K, that gives the kernel's covariance: what falls
off steeper than the scene's own power law, and in which direction. Nothing is
learned; the only prior is that `a` lies near 1.

Compare Michaeli and Irani (`patch_recurrence`), who find the kernel that maps
the image's coarse patches on its fine ones: patches of an image that is itself
blurred, whereas this estimates the blur between the image and a sharp scene.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import numpy as np
import scipy.optimize

from zssr_jax import blur_kernels
from zssr_jax.kernel_estimation import noise
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
_MIN_STD = 0.03  # of the Gaussian, HR pixels
# A kernel a little too narrow costs some sharpness, one a little too wide
# brings halos: decibels for the same error (docs/kernels.md).
_CAUTION = 0.78
_WIDEST = 3.0  # standard deviation of the Gaussian, LR pixels


class Fit(NamedTuple):
  """The model that explains a spectrum best."""

  covariance: np.ndarray  # [2, 2] of the kernel in (y, x), HR pixels squared
  precision: np.ndarray  # [3, 3], of (yy, yx, xx) of the covariance
  decay: float  # a
  noise: float  # standard deviation of the white part, image units
  misfit: float  # RMS residual of the log spectrum


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


def fit(power: np.ndarray, scale: Scale, *, noise_std: float = 0.0) -> Fit:
  """Fits the model of this module to a power spectrum.

  Args:
    power: `[n, n]` of an image in [0, 1], from `spectrum`.
    scale: number or pair (y, x), how much finer the sharp image is sampled.
    noise_std: of the image, as far as known, in image units; the fit starts
      there.
  """
  folds = _Folds(power.shape[0], resize.scale_pair(scale))
  log_power = np.log(power.ravel()[folds.chosen] + 1e-13)
  # Rounding to 8 bits leaves 1/12, and averaging the channels less of it.
  floor = math.log(0.3 / 12 / 255**2 + noise_std**2)

  def residuals(p: np.ndarray) -> np.ndarray:
    priors = [
      (p[1] - _DECAY) / _DECAY_STD,
      (p[2] - floor) / _NOISE_STD,
      *(p[6:] / _ANGULAR_STD),
    ]
    return np.concatenate([(log_power - folds.model(p)) / _SCATTER, priors])

  level = float(log_power.mean()) - 5
  width = 0.6 * math.sqrt(math.prod(resize.scale_pair(scale)))
  start = np.zeros(6 + 2 * _HARMONICS)
  start[:6] = level, _DECAY, floor, width, 0, width
  limit = np.full(len(start), np.inf)
  limit[3:6] = _WIDEST * max(resize.scale_pair(scale))
  found = scipy.optimize.least_squares(
    residuals, start, bounds=(-limit, limit), x_scale='jac', max_nfev=60
  )
  p, data = found.x, found.fun[: len(log_power)]
  # The fit's covariance, priors included, tells how far to trust it.
  hessian = found.jac.T @ found.jac
  spread = np.linalg.pinv(hessian)[3:6, 3:6]
  # From the triangular root (a, b, c) to (yy, yx, xx) = (aa, ab, bb + cc).
  a, b, c = p[3:6]
  change = np.array([[2 * a, 0, 0], [b, a, 0], [0, 2 * b, 2 * c]])
  precision = np.linalg.pinv(change @ spread @ change.T)
  return Fit(
    covariance=_covariance(p),
    precision=precision,
    decay=float(p[1]),
    noise=math.exp(p[2] / 2),
    misfit=float(np.sqrt(np.mean(data**2))) * _SCATTER,
  )


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
  return kernel_of(fit(spectrum(image), scale, noise_std=level), scale)


def kernel_of(found: Fit, scale: Scale) -> np.ndarray:
  """Returns the kernel that `estimate` makes of a fit for the same scale."""
  return blur_kernels.gaussian_of(_CAUTION * found.covariance, scale)


def _covariance(p: np.ndarray) -> np.ndarray:
  root = np.array([[p[3], 0.0], [p[4], p[5]]])
  return root @ root.T + np.eye(2) * _MIN_STD**2


class _Folds:
  """The frequencies in use and those that fold onto them."""

  def __init__(self, window: int, scales: tuple[float, float]):
    f = np.fft.fftfreq(window)
    y, x = (a.ravel() for a in np.meshgrid(f, f, indexing='ij'))
    # A real image's spectrum is symmetric: half of it says all.
    half = (x > 0) | ((x == 0) & (y > 0))
    inside = (np.abs(y) < 0.5) & (np.abs(x) < 0.5)
    radius = np.hypot(y, x)
    self.chosen = np.flatnonzero(
      half & inside & (radius > _LOWEST) & (radius < 0.5)
    )
    y, x = y[self.chosen], x[self.chosen]
    reach = [range(-math.ceil(s / 2), math.ceil(s / 2) + 1) for s in scales]
    shifts = [(i, j) for i in reach[0] for j in reach[1]]
    self._y = np.stack([(y + i) / scales[0] for i, _ in shifts])
    self._x = np.stack([(x + j) / scales[1] for _, j in shifts])
    keep = (np.abs(self._y) <= 0.5) & (np.abs(self._x) <= 0.5)
    # Rows of shifts that never fall into the sharp image's band are dropped.
    rows = keep.any(1)
    self._y, self._x, keep = self._y[rows], self._x[rows], keep[rows]
    self._out = np.where(keep, 0.0, -np.inf)
    self._log_radius = np.log(np.hypot(self._y, self._x))
    theta = np.arctan2(self._y, self._x)
    self._angular = np.stack(
      [
        wave(2 * (q + 1) * theta)
        for q in range(_HARMONICS)
        for wave in (np.cos, np.sin)
      ]
    )

  def model(self, p: np.ndarray) -> np.ndarray:
    """Returns the log of `S_lr` at the frequencies in use.

    Args:
      p: level, a, log N, the triangular root of the covariance (3), the
        coefficients of log A(theta).
    """
    covariance = _covariance(p)
    exponent = covariance[0, 0] * self._y**2 + covariance[1, 1] * self._x**2
    exponent += 2 * covariance[0, 1] * self._y * self._x
    log_power = p[0] - 2 * p[1] * self._log_radius
    log_power += np.tensordot(p[6:], self._angular, 1)
    log_power += self._out - 4 * math.pi**2 * exponent
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
