"""What JPEG compression took from an image, as far as its pixels tell.

The original coefficients of a frequency are taken for Laplacian, with a scale
of its own in each of four groups of blocks, from smooth to textured; the scale
is fitted to the quantised ones by maximum likelihood. Where all or nearly all
of them are zero, it is that of the lower frequencies, extrapolated.
NumPy, host only.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from zssr_jax.kernel_estimation import compression
from zssr_jax.ops import jpeg

_SIDE = 1024  # pixels of the image that are looked at, from the middle
_GROUPS = 4
_FEW = 5  # coefficients other than zero, below which a scale is extrapolated
_SLOPE = -2.0  # of the scales over frequency, both in logarithms
_SLOPE_WEIGHT = 20.0
_ROUNDING = 1 / 12  # variance, in grey levels
# Of the chroma's detail that averaging took: the share that interpolation does
# not bring back.
_AVERAGED = 0.7
# Variance of white noise after linear interpolation to twice as many samples.
_INTERPOLATED = 0.625
# Squares of the weights of Cb and Cr in R, G and B, averaged over the three.
_CB_IN_RGB = (1.772**2 + 0.344**2) / 3
_CR_IN_RGB = (1.402**2 + 0.714**2) / 3


@dataclasses.dataclass(frozen=True)
class Loss:
  """What the quantiser did to the luma.

  Attributes:
    variance: of the error, float `[8, 8]`, `[vertical, horizontal frequency]`,
      of an orthonormal DCT in image units (1 is white), so that its mean is
      that over the pixels.
    kept: share of the coefficients that are not zero, `[8, 8]`. A frequency
      with next to none was emptied: what it held is lost, and its emptiness
      tells nothing of the image.
  """

  variance: np.ndarray
  kept: np.ndarray


def luma_loss(
  image: np.ndarray, some: jpeg.Jpeg, offset: tuple[int, int] = (0, 0)
) -> Loss:
  """Estimates what compression did to the luma of an image.

  Args:
    image: `[H, W, C]` in [0, 1], compressed. Of C = 3 it is Y, otherwise the
      mean over the channels.
    some: how it was compressed.
    offset: (y, x) of the first block's corner.
  """
  levels = compression.middle(image, offset, _SIDE)
  steps = np.asarray(some.tables[0], np.float64).ravel()
  if levels.shape[-1] == 3:
    spectra = compression.transformed(compression.ycc(levels)[0])
  else:
    planes = np.moveaxis(levels, -1, 0)
    spectra = np.concatenate([compression.transformed(p) for p in planes])
  kept = np.round(spectra / steps) != 0
  share = kept.mean(0) if len(kept) else np.ones(steps.size)
  variance = _variances(spectra, steps) / 255**2
  shape = (jpeg.BLOCK, jpeg.BLOCK)
  return Loss(variance.reshape(shape), share.reshape(shape))


def error_std(
  image: np.ndarray, some: jpeg.Jpeg, offset: tuple[int, int] = (0, 0)
) -> float:
  """Estimates the RMS error that compression left in an image.

  Args:
    image: `[H, W, C]` in [0, 1], compressed. C = 3 is RGB; otherwise every
      channel was compressed like a luma.
    some: how it was compressed.
    offset: (y, x) of the first block's corner.

  Returns:
    Root mean square over pixels and channels, in image units, the rounding to
    8 bits included.
  """
  luma = float(luma_loss(image, some, offset).variance.mean()) * 255**2
  total = luma + _ROUNDING
  if image.shape[-1] == 3:
    levels = compression.middle(image, offset, _SIDE)
    y, cb, cr = compression.ycc(levels)
    for plane, weight in ((cb, _CB_IN_RGB), (cr, _CR_IN_RGB)):
      total += weight * _chroma_variance(plane, y, some)
  return float(np.sqrt(total)) / 255


def _chroma_variance(
  plane: np.ndarray, luma: np.ndarray, some: jpeg.Jpeg
) -> float:
  """Variance of a chroma plane's error, in grey levels squared."""
  sampling = some.sampling
  small = _averaged(plane, sampling)
  steps = np.asarray(some.tables[1], np.float64).ravel()
  variance = float(_variances(compression.transformed(small), steps).mean())
  variance *= _INTERPOLATED ** sum(factor == 2 for factor in sampling)
  if sampling != (1, 1):
    # As much detail as the luma has, in the ratio that both have one octave
    # coarser, where the chroma still has its own.
    coarse = [_averaged(p, sampling) for p in (plane, luma)]
    ratio = _detail(coarse[0], (2, 2)) / max(_detail(coarse[1], (2, 2)), 1e-6)
    variance += _AVERAGED * ratio * _detail(luma, sampling)
  return variance + _ROUNDING


def _averaged(plane: np.ndarray, factors: tuple[int, int]) -> np.ndarray:
  """Means of `[H, W]` over whole cells of (y, x) pixels."""
  rows, columns = (
    n // factor for n, factor in zip(plane.shape, factors, strict=True)
  )
  cells = plane[: rows * factors[0], : columns * factors[1]]
  return cells.reshape(rows, factors[0], columns, factors[1]).mean((1, 3))


def _detail(plane: np.ndarray, factors: tuple[int, int]) -> float:
  """Variance within cells of (y, x) pixels; 0 where there is none."""
  if plane.shape[0] < factors[0] or plane.shape[1] < factors[1]:
    return 0.0
  means = np.kron(_averaged(plane, factors), np.ones(factors))
  return float(
    ((plane[: means.shape[0], : means.shape[1]] - means) ** 2).mean()
  )


def _variances(spectra: np.ndarray, steps: np.ndarray) -> np.ndarray:
  """Variance of the quantiser's error: `[64]`, grey levels squared.

  Args:
    spectra: quantised coefficients `[N, 64]`.
    steps: `[64]`.
  """
  if len(spectra) == 0:
    return steps**2 / 12
  sizes = np.abs(np.round(spectra / steps))
  texture = (sizes[:, 1:] > 0).sum(1) + 1e-3 * sizes[:, 1:].sum(1)
  order = np.argsort(texture, kind='stable')
  total = np.zeros(steps.size)
  for group in np.array_split(order, _GROUPS):
    if len(group):
      total += len(group) * _error(_scale(sizes[group], steps), steps)
  variances = total / len(spectra)
  variances[0] = steps[0] ** 2 / 12  # means are spread evenly
  return variances


def _scale(sizes: np.ndarray, steps: np.ndarray) -> np.ndarray:
  """Fits Laplacians to `|coefficient| / step`, `[N, 64]`; scales `[64]`.

  Maximum likelihood (Price and Rabbani, "Biased reconstruction for JPEG
  decoding", IEEE SPL 1999).
  """
  count = len(sizes)
  other = (sizes > 0).sum(0)
  total = sizes.sum(0)
  half = count - other
  slope = 2 * count + 4 * total
  root = half**2 - (2 * other - 4 * total) * slope
  ratio = np.clip((np.sqrt(root) - half) / slope, 1e-12, 1 - 1e-6)
  scale = -steps / (2 * np.log(ratio))
  clear = other >= _FEW
  clear[0] = True
  grid = np.mgrid[: jpeg.BLOCK, : jpeg.BLOCK]
  radius = np.log(np.hypot(*grid).ravel().clip(1))
  weight = np.minimum(other, 100) * clear
  weight[0] = 0
  # A larger scale would have left a coefficient or more.
  most = steps / (2 * np.log(max(count, 2)))
  if weight.sum() > 0:
    level = np.log(scale)
    x = radius - np.average(radius, weights=weight)
    y = level - np.average(level, weights=weight)
    top = (weight * x * y).sum() + _SLOPE_WEIGHT * _SLOPE
    fall = top / ((weight * x * x).sum() + _SLOPE_WEIGHT)
    expected = np.exp(level - y + fall * x)
  else:
    expected = most[1] * np.exp(_SLOPE * radius)
  expected = np.minimum(expected, most)
  return np.where(clear, scale, expected)


def _error(scale: np.ndarray, steps: np.ndarray) -> np.ndarray:
  """Mean squared error of rounding Laplacians to multiples of steps."""
  x = steps / (2 * np.maximum(scale, steps / 200))
  scale = steps / (2 * x)
  zero = np.exp(-x)  # probability of another bin than that around zero
  inner = 2 * scale**2 - zero * (steps**2 / 4 + steps * scale + 2 * scale**2)
  outer = 2 * scale**2 + steps**2 / 4 - steps * scale / np.tanh(x)
  return inner + zero * outer
