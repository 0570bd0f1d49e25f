"""What noise an image has, from the image alone.

White noise is equally strong at all frequencies; texture grows weaker towards
the highest ones. In small patches the energy C of the highest frequencies is
therefore

  C = N + r (B - N)

where N is the variance of the noise, B the energy of somewhat lower
frequencies and r < 1 a ratio that the patches of an image more or less share
(patches are scaled copies of one texture: Portilla et al., "Image Denoising
Using Scale Mixtures of Gaussians", IEEE TIP 2003). Patches of much and of
little texture thus lie on a line through (N, N), which tells noise from
texture even where no patch is flat.

Patches are grouped by intensity and by the energy of other coefficients than
those of B and C, so that chance does not select quiet patches. N is a
polynomial of the intensity with coefficients that are not negative (Foi et
al., "Practical Poissonian-Gaussian Noise Modeling and Fitting for
Single-Image Raw-Data", IEEE TIP 2008).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy  # loads its parts when they are first used

_SIDE = 8  # of a patch
_SMALL_SIDE = 4  # ... of an image with few
_FEW = 2000  # patches that the larger side needs
_LEAST = 16  # patches of a group
_MOST = 60_000  # patches that are looked at, all channels together
_BINS = 8  # of the intensity, of equal patch numbers
# Bounds of the groups of a bin, the least texture first.
_SHARES = (0, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5, 1)

_RATIOS = np.linspace(0, 0.8, 11)  # r of the line
_RATIO, _RATIO_SPREAD = 0.2, 0.2  # as photos have it
_UNLIKE = 0.3  # texture that is not that of the line, as a share of r (B - N)
_UNEVEN = 0.02  # ... and of N
_OUTLIER = 9.0  # squared standard errors above which texture is suspected
_ROUNDS = 5
# Which powers of the intensity the variance has, the simplest first, and what
# twice the log-likelihood must gain for each.
_KINDS = ((0,), (1,), (2,), (0, 1), (0, 2), (0, 1, 2))
_COST_OF_TERM = 8.0
_COST_OF_SIGNAL = 30.0  # where it need not be, it is texture that grows with x


class Noise(NamedTuple):
  """Noise that is independent from pixel to pixel; 1 is white.

  At the clean intensity x its variance is
  `std**2 + shot * x + (speckle * x)**2`.
  """

  std: float  # of the part that does not depend on x
  shot: float  # 1 / photons of white (Poisson)
  speckle: float  # relative to x
  spread: float  # standard error of `level`; infinite where nothing is known

  def variance(self, intensity: np.ndarray) -> np.ndarray:
    """Variance at intensities, any shape, in [0, 1]."""
    return self.std**2 + self.shot * intensity + (self.speckle * intensity) ** 2

  def level(self, image: np.ndarray) -> float:
    """Root mean square of the noise over an image, any shape, in [0, 1]."""
    mean = np.mean(image, dtype=np.float64)
    square = np.mean(np.square(image), dtype=np.float64)
    return math.sqrt(self.std**2 + self.shot * mean + self.speckle**2 * square)


class _Groups(NamedTuple):
  """Means over groups of patches, each `[G]`, and their errors."""

  powers: np.ndarray  # [G, 3]: 1, intensity, its square
  lower: np.ndarray  # B
  upper: np.ndarray  # C
  covariance: np.ndarray  # [G, 2, 2] of (B, C)


class _Fit(NamedTuple):
  cost: float  # minus twice the log of the likelihood
  factors: np.ndarray  # [3], of the powers of the intensity
  covariance: np.ndarray  # [3, 3] of these


def noise_model(image: np.ndarray) -> Noise:
  """Finds the noise of an image: white, shot noise, speckle or a mixture.

  The simplest kind that explains the image is taken. Rounding to 8 bits counts
  as noise (0.29 of 255), and so does the grain that a photo has of its own.
  Patches with a pixel at 0 or 1, where noise is cut off, are left out. Large
  images are sampled. Deterministic.

  Measured by benchmarks/noise_recovery.py on 50 BSDS300 training images (every
  other one; the constants were chosen on the rest; 160x240, 8 bits). Level
  found against true level:

  - Halved by bicubic interpolation: of white noise of 1, 2, 4, 8 and 13 of 255
    84, 96, 98, 100 and 100% lie within 20%, the median is 1.05 to 1.00. The
    variance of speckle of 0.05 is within 30% in 94%, that of Poisson noise of
    1000 photons in 90%; 98 of these 100 are found to depend on the intensity.
  - Blurred (1.5 pixels) and halved: 8 of 10 lie within 6%.
  - Without noise: median 0.40 of 255, where rounding is 0.29; 9 of 10 below
    0.9, the worst 1.24 (2.3 in images made three times smaller). JPEG of
    quality 30 to 85: at most 0.5; of 95 at most 1.9.

  The worst are all texture: where nothing is flat, texture may pass for noise
  (on the rest: 4.7 of 255), and `spread` does not always say so.

  Args:
    image: `[H, W, C]` in [0, 1]. The channels are taken to have the same
      noise; where they have not, the result lies between.

  Returns:
    A `Noise`. It is 0 of infinite spread where a side has fewer than 4 pixels
    or too few pixels lie between 0 and 1.

  Raises:
    ValueError: unless the image is `[H, W, C]`, not empty, of finite values.
  """
  image = np.asarray(image)
  if image.ndim != 3 or 0 in image.shape:
    raise ValueError(f'an image is [H, W, C], not {image.shape}')
  if not np.isfinite(image).all():
    raise ValueError('the image holds NaN or infinite values')
  if (image == image[..., :1]).all():
    image = image[..., :1]  # grey, whose copies tell nothing more
  groups = _groups(image)
  if groups is None:
    return Noise(0.0, 0.0, 0.0, math.inf)
  best, least = None, math.inf
  for kind in _KINDS:
    fits = _fits(groups, kind)
    cost = min(fit.cost for fit in fits) + _COST_OF_TERM * len(kind)
    cost += _COST_OF_SIGNAL * (kind != (0,))
    if cost < least:
      best, least = fits, cost
  assert best is not None
  return _average(best, groups.powers.mean(0))


def noise_level(image: np.ndarray) -> float:
  """Estimates the root mean square of the noise of an image.

  Args:
    image: as for `noise_model`, which says how good the estimate is.

  Returns:
    The level in image units (1 is white), the root mean square over pixels and
    channels; 0 where nothing can be told.

  Raises:
    ValueError: as `noise_model`.
  """
  return noise_model(image).level(image)


def _groups(image: np.ndarray) -> _Groups | None:
  """Groups the patches of `[H, W, C]`; None where there are too few."""
  height, width, channels = image.shape
  side = _SIDE
  if (height - side + 1) * (width - side + 1) < _FEW or min(
    height, width
  ) < 2 * side:
    side = _SMALL_SIDE
  if min(height, width) < side:
    return None
  windows = np.lib.stride_tricks.sliding_window_view(
    image, (side, side), (0, 1)
  )
  count = windows.shape[0] * windows.shape[1] * channels
  step = math.ceil(math.sqrt(count / _MOST))
  if step > 2:
    step |= 1  # An even one would read few phases of JPEG's grid.
  patches = windows[::step, ::step].reshape(-1, side * side)
  patches = patches.astype(np.float32)
  whole = (patches.min(1) > 0) & (patches.max(1) < 1)
  if whole.sum() < 2 * _LEAST:
    return None
  mean = patches.mean(1, keepdims=True)
  # Patches overlap, so that they tell less than as many independent ones.
  share = min(1.0, 2 * step**2 / side**2)
  energy = ((patches - mean) @ _transform(side).T) ** 2
  rows: list[tuple] = []
  for parity in (0, 1):
    texture, lower, upper = _bands(side, parity)
    # All channels of a place are judged together.
    order = (energy @ texture).reshape(-1, channels).mean(1).repeat(channels)
    rows += _rows(
      mean[whole, 0].astype(np.float64),
      order[whole],
      (energy[whole] @ np.stack([lower, upper], 1)).astype(np.float64),
      share,
    )
  return _Groups(*(np.array(column) for column in zip(*rows, strict=True)))


def _rows(
  mean: np.ndarray, texture: np.ndarray, energy: np.ndarray, share: float
) -> list[tuple]:
  """Forms `_Groups`' rows of the patches' intensity, texture and (B, C)."""
  rows: list[tuple] = []
  bins = min(_BINS, max(1, len(mean) // (16 * _LEAST)))
  for part in np.array_split(np.argsort(mean, kind='stable'), bins):
    part = part[np.argsort(texture[part], kind='stable')]
    bounds = [0]
    for end in (round(s * len(part)) for s in _SHARES[1:]):
      if end - bounds[-1] >= _LEAST:
        bounds.append(end)
    for begin, end in zip(bounds[:-1], bounds[1:], strict=True):
      group = part[begin:end]
      x, both = mean[group], energy[group]
      rows.append(
        (
          (1.0, x.mean(), np.mean(x**2)),
          *both.mean(0),
          np.cov(both.T) / max(1.0, share * len(group)),
        )
      )
  return rows


def _transform(side: int) -> np.ndarray:
  """The 2-D cosine transform of flattened patches, `[side**2, side**2]`."""
  one = scipy.fft.dct(np.eye(side), axis=0, norm='ortho')
  return np.kron(one, one).astype(np.float32)


def _bands(side: int, parity: int) -> tuple[np.ndarray, ...]:
  """Weights of coefficients, `[side**2]`: texture, and the means B and C.

  B and C are made of every other coefficient, like the fields of a colour of a
  chess board, and the texture is told by the others: they lie as close to C
  as to B. Were it told by low frequencies, patches found to have little of it
  would have relatively much of the highest.
  """
  v, u = np.mgrid[:side, :side]
  order = u + v
  own = order % 2 == parity
  corner = np.minimum(u, v) >= 5 * side // 8
  upper = own & corner
  lower = own & ~corner & (order >= 0.75 * side) & (order <= 1.25 * side)
  texture = np.where(~own & (order >= 2), order**2.0, 0)
  return tuple(
    (weight / weight.sum()).ravel().astype(np.float32)
    for weight in (texture, lower, upper)
  )


def _fits(groups: _Groups, kind: tuple[int, ...]) -> list[_Fit]:
  """Fits the variance of the noise, once for every ratio of the line."""
  powers = groups.powers[:, kind]
  noise = np.full(len(powers), np.quantile(groups.upper, 0.1))
  fits = []
  for ratio in _RATIOS:
    direction = np.array([-ratio, 1.0])
    sampling = direction @ groups.covariance @ direction
    value = groups.upper - ratio * groups.lower
    weight = np.ones(len(powers))
    for _ in range(_ROUNDS):
      unlike = _UNLIKE * max(ratio, 0.05) * np.maximum(groups.lower - noise, 0)
      variance = sampling + unlike**2 + (_UNEVEN * noise) ** 2 + 1e-16
      scale = weight / np.sqrt(variance)
      design = (1 - ratio) * powers * scale[:, None]
      factors, _ = scipy.optimize.nnls(design, value * scale)
      noise = powers @ factors
      rest = value - (1 - ratio) * noise
      # Only texture, which adds, makes outliers.
      excess = np.maximum(rest, 0) ** 2 / variance / _OUTLIER
      weight = 1 / np.sqrt(1 + excess)
    loss = np.where(
      rest > 0, _OUTLIER * np.log1p(excess), rest**2 / variance
    ) + np.log(variance)
    cost = loss.sum() + ((ratio - _RATIO) / _RATIO_SPREAD) ** 2
    every, covariance = np.zeros(3), np.zeros((3, 3))
    every[list(kind)] = factors
    covariance[np.ix_(kind, kind)] = np.linalg.pinv(design.T @ design)
    fits.append(_Fit(float(cost), every, covariance))
  return fits


def _average(fits: list[_Fit], powers: np.ndarray) -> Noise:
  """Weighs fits by likelihood; `powers` are the image's mean ones, `[3]`."""
  cost = np.array([fit.cost for fit in fits])
  weight = np.exp((cost.min() - cost) / 2)
  weight /= weight.sum()
  factors = weight @ np.array([fit.factors for fit in fits])
  means = np.array([fit.factors @ powers for fit in fits])
  errors = np.array([powers @ fit.covariance @ powers for fit in fits])
  mean = weight @ means
  error = np.sqrt(weight @ ((means - mean) ** 2 + errors))
  return Noise(
    std=math.sqrt(factors[0]),
    shot=float(factors[1]),
    speckle=math.sqrt(factors[2]),
    spread=math.sqrt(mean + error) - math.sqrt(mean),
  )
