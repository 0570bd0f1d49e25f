"""Blur kernels from the image alone, and whether they are to be trusted.

`estimate` runs an `estimator.Estimator` by its name and guards it: whatever
the image, it returns a kernel that does no harm, or none, and says so.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import numpy as np

from zssr_jax import blur_kernels, errors, registry
from zssr_jax.kernel_estimation import noise, spectrum
from zssr_jax.ops import resize
from zssr_jax.ops.resize import Scale

_WIDEST = 1.6  # standard deviation along the wider axis, LR pixels
_AGREEMENT = 0.9  # of the two halves; less earns a warning
_MISFIT = 1.0  # of the log spectrum, natural units; photos: 0.2 to 0.5


class Estimate(NamedTuple):
  """The kernel found in an image, and how far it is to be trusted."""

  kernel: np.ndarray | None  # float32 [h, w]; None: fell back to bicubic
  method: str  # a name of `registry.ESTIMATORS`
  agreement: float  # correlation of two halves' estimates; NaN: not measured
  warning: str | None  # one line
  fit: spectrum.Fit | None = None  # of the image's spectrum


def estimate(
  image: np.ndarray,
  scale: Scale,
  method: str = 'estimate',
  key: jax.Array | None = None,
) -> Estimate:
  """Estimates the blur kernel of an image.

  Args:
    image: `[H, W, C]` in [0, 1].
    scale: number or pair (y, x).
    method: a name of `registry.ESTIMATORS`.
    key: random key, by default `jax.random.key(0)`.

  Returns:
    An `Estimate`. Its kernel is None, which means bicubic, when the image is
    too small, flat or nothing but noise, when the method finds none, or when
    the kernel comes out larger than the image or wider than any photo's; the
    warning says which.

  Raises:
    ValueError: for an unknown method, or a scale it is not made for.
  """
  estimator = registry.ESTIMATORS[method]
  scales = resize.scale_pair(scale)
  side = min(image.shape[:2])
  if side < spectrum.LEAST_SIDE:
    return _none(
      method,
      f'{image.shape[0]}x{image.shape[1]} pixels are too few to estimate a'
      f' kernel from, which takes {spectrum.LEAST_SIDE}x{spectrum.LEAST_SIDE}',
    )
  power = spectrum.spectrum(image)
  level = noise.noise_level(image.mean(2, keepdims=True))
  if spectrum.structure(power, level) < spectrum.LEAST_STRUCTURE:
    return _none(method, 'the image is flat, or nothing but noise')
  fit = spectrum.fit(power, scales, noise_std=level)
  key = jax.random.key(0) if key is None else key
  try:
    if estimator.of_fit is not None:
      kernel = estimator.of_fit(fit, scales)
    else:
      kernel = estimator.function(image, scale, key)
  except errors.NoKernelError as error:
    return _none(method, str(error))
  assert kernel is not None
  if any(k > n for k, n in zip(kernel.shape, image.shape[:2], strict=True)):
    return _none(
      method,
      f'the estimate ({kernel.shape[0]}x{kernel.shape[1]}) is larger than the'
      f' image ({image.shape[0]}x{image.shape[1]})',
    )
  widest = blur_kernels.kernel_width(kernel)[0] / max(scales)
  if widest > _WIDEST:
    return _none(
      method,
      f'the estimate is a blur of {widest:.1f} pixels of the input, wider than'
      ' that of any photo',
    )
  agreement = _agreement(image, scales)
  warning = None
  if fit.misfit > _MISFIT:
    warning = 'its spectrum is not that of a photo; the kernel may be wrong'
  elif agreement < _AGREEMENT:
    warning = (
      f'the two halves of the image disagree about the kernel ({agreement:.2f}'
      ' correlation); it may be wrong'
    )
  return Estimate(kernel, method, agreement, warning, fit)


def _none(method: str, reason: str) -> Estimate:
  warning = f'{reason}; bicubic is assumed instead of an estimated kernel'
  return Estimate(None, method, math.nan, warning)


def _agreement(image: np.ndarray, scales: tuple[float, float]) -> float:
  """Correlates the kernels that the spectra of the two halves tell.

  The spectra serve whatever the method was, for this says how well the image
  determines its kernel.
  """
  axis = int(np.argmax(image.shape[:2]))
  halves = np.array_split(image, 2, axis)
  if min(min(half.shape[:2]) for half in halves) < spectrum.WINDOW:
    return math.nan
  first, second = (spectrum.estimate(half, scales) for half in halves)
  return blur_kernels.kernel_correlation(first, second, scales)
