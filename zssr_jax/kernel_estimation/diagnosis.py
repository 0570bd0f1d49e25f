"""What happened to an image: compression, noise and blur, in this order.

Each is found with what was found before it in mind: quantisation empties high
frequencies, which looks like blur, so it is looked for first, in pixels, too,
whose file says nothing of it; noise hides where the spectrum ends, so its level
is taken into the fit of the spectrum. For blur the hypotheses are none beyond
bicubic downscaling, and the `families`; the more a hypothesis says, the more it
must explain to be believed. Where no family explains the spectrum, as after
camera shake, and the steepest edges (`edges`) do not speak against it, a
network finds the kernel (`learned`) and how far it is in doubt.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy  # loads its parts when they are first used

from zssr_jax import blur_kernels, checks
from zssr_jax.degradation import Degradation
from zssr_jax.kernel_estimation import (
  compression,
  compression_error,
  edges,
  families,
  noise,
  spectrum,
)
from zssr_jax.ops import jpeg as jpeg_lib
from zssr_jax.ops.jpeg import BLOCK, Jpeg
from zssr_jax.ops.resize import Scale

# RMS residual of the log spectrum above which no family explains it: photos
# 0.2 to 0.44, camera shake 0.54 to 0.8.
_UNEXPLAINED = 0.48
# ... unless it explains so much that the misfit is the scene's own: so much,
# the more the larger the misfit. On photos of BSDS300 train simple blurs with a
# misfit of 0.55 to 0.74 explained 77 to 174, shakes with 0.62 to 0.93 33 to 59.
_BLURRED_FOR_SURE, _BY_MISFIT = 40.0, 100.0
# The misfit above which the network for shake is asked, as it is where none
# seems best: a shake with 0.47 that was taken for a Gaussian lost 6.7 dB.
_HARDLY_EXPLAINED = 0.44
# What blur must explain, where no family explains the image, for it to be
# shaken: unblurred photos 0 to 4.7, of 100 shaken ones all but 20 above 8.
_SHAKEN = 8.0
# Pixels of an image that may be shaken: unblurred crops of 80 x 80, soft and of
# few edges, lost 6 and 8 dB.
_FEWEST_SHAKEN = 128 * 128
# Steepness of edges (`edges`) from which an image was not shaken, whatever its
# spectrum says: a soft photo that was taken for shaken lost 8.8 dB ...
_TOO_STEEP = 0.67
# ... and up to which it was, whatever blur explains of the spectrum. (On shaken
# photos of BSDS300 train whose spectra did not tell the network's kernel gained
# 0.2 to 5.1 dB.) Compression makes edges less steep, too, so this is not for
# JPEGs: by edges below 0.52 alone a defocused one lost 1.3 dB.
_FLAT = 0.6
# What the network's kernel must explain more than none, and its relative doubt
# from which it need not. Unblurred photos 1.4 to 9.7, doubts of 0.3 to 0.9;
# shaken ones mostly 13 to 78, or doubts above 1.
_BACKED, _HARMLESS = 12.0, 1.0
# A doubt from which its kernel is of no use if it explains less than none: the
# two such photos of B100 gained 0.2 and -0.9 dB by it.
_USELESS = 3.0
# Squared distance of two kernels over the doubt, up to which they are alike:
# right ones of a family 0.1 to 0.5, wrong ones from 0.7 ...
_AGREED = 0.6
# ... but for Gaussians, for which shakes are taken: their cost over that of the
# network's kernel. Right ones had 0.25 to 0.9, shakes that were like the
# network's kernel from 1.01 (36 of 60 shaken photos were taken for Gaussians).
_BETTER = 0.95
# Standard deviations by which a kernel is narrowed, over what it explains.
_CAUTION = (10.0, 30.0), (2.5, 1.0)
# A frequency tells something where its power is this many times that of the
# error of quantisation.
_ABOVE_QUANTISATION = 4.0
_LEAST_TOLD = 0.2  # share of the frequencies, in the price of a hypothesis
_FAINT = 1 / 255  # noise whose kind does not matter
_FEWEST = 150  # frequencies that tell a kernel
_UNKNOWN = 'blur unknown'
_SIDES = 16  # kernels are padded to a few sizes, so that programs are shared


class Candidate(NamedTuple):
  """A hypothesis about the blur."""

  name: str
  cost: float  # of its fit, its price included, above the best one's
  misfit: float  # RMS residual of the log spectrum
  words: str  # its parameters


class Diagnosis(NamedTuple):
  """What was found, and why.

  Attributes:
    degradation: its kernel None where bicubic downscaling explains the image,
      or nothing does.
    candidates: for the blur, the best first; empty where it was given or the
      image is not fit to tell.
    blur: the blur in words: 'defocus, radius 2.9'.
    reason: why no kernel was looked for, or none is used; None if not so.
    fit: the chosen one, None if there is none.
    sure: whether the image is blurred beyond doubt, or a kernel was given.
  """

  degradation: Degradation
  candidates: tuple[Candidate, ...]
  blur: str
  reason: str | None
  fit: spectrum.Fit | None
  sure: bool = False

  @property
  def unexplained(self) -> bool:
    """Whether the image is blurred in a way that no hypothesis explains."""
    return bool(self.candidates) and self.reason is not None

  @property
  def confidence(self) -> float:
    """How sure the kind of blur is, 0 to 1; NaN where there is none of them.

    It is the share of the likelihood that the best candidate has. Residuals are
    weighed with thrice their scatter, for neighbouring frequencies err alike.
    """
    if not self.candidates or self.degradation.doubt is not None:
      return math.nan
    return float(1 / sum(math.exp(-c.cost) for c in self.candidates))

  def __str__(self) -> str:
    """What was found, in one line."""
    return describe(self.degradation, self.blur)


def describe(degradation: Degradation, blur: str) -> str:
  """Says in one line what happened to an image."""
  words = []
  if degradation.jpeg is not None:
    words.append(f'JPEG quality {jpeg_lib.quality_of(degradation.jpeg)}')
  words.append(blur)
  words.append(_noise_words(degradation))
  return ', '.join(words)


def _noise_words(degradation: Degradation) -> str:
  std, shot, speckle = (
    float(v or 0.0)
    for v in (degradation.noise_std, degradation.shot, degradation.speckle)
  )
  words = [f'noise {255 * std:.1f}/255'] if std or not shot + speckle else []
  if shot:
    words.append(f'shot noise of {1 / shot:.0f} photons')
  if speckle:
    words.append(f'speckle of {100 * speckle:.1f} %')
  return ' and '.join(words)


def estimate_degradation(
  image: np.ndarray,
  scale: Scale = 2,
  *,
  known: Degradation | None = None,
  blurred: bool = True,
  compressed: bool = True,
  shaken: bool = True,
) -> Diagnosis:
  """Estimates what happened to an image.

  Args:
    image: `[H, W, C]` in [0, 1]; `[H, W]` counts as one channel.
    scale: number or pair (y, x), HR pixels per pixel of the image.
    known: what is known of it; its parts that are not None are kept.
    blurred: whether there may be blur beyond bicubic downscaling.
    compressed: whether traces of compression are looked for in the pixels.
    shaken: whether a network that was trained on other images looks for the
      kernel where no family explains the blur.

  Returns:
    A `Diagnosis`.

  Raises:
    ValueError: for an image or scale that cannot be used.
  """
  image, scale = checks.check_image(image), checks.check_scale(scale)
  known = Degradation(scale) if known is None else known
  found = known.replace(scale=scale)
  offset = (0, 0)
  large = min(image.shape[:2]) >= spectrum.LEAST_SIDE // 2
  if found.jpeg is None and compressed and large:
    traces = compression.find(image)
    if traces is not None:
      offset, found = traces.offset, found.replace(jpeg=traces.jpeg)
  found = with_error(image, found, offset)
  if found.noise_std is None and found.shot is None and found.speckle is None:
    found = _with_noise(image, found)
  if found.kernel is not None:
    return Diagnosis(found, (), 'kernel given', None, None, True)
  if not blurred:
    return Diagnosis(found, (), 'bicubic assumed', None, None)
  return _blur(image, found, offset, shaken)


def with_error(
  image: np.ndarray, found: Degradation, offset: tuple[int, int] = (0, 0)
) -> Degradation:
  """Adds how far the compression changed an image, if it is not yet known.

  Args:
    image: `[H, W, C]` in [0, 1], the compressed one.
    found: how it was degraded.
    offset: (y, x) of the first block's corner.
  """
  if found.jpeg is None or found.jpeg.error_std is not None:
    return found
  error = compression_error.error_std(image, found.jpeg, offset)
  jpeg = dataclasses.replace(found.jpeg, error_std=np.float32(error))
  return found.replace(jpeg=jpeg)


def _with_noise(image: np.ndarray, found: Degradation) -> Degradation:
  """Measures the noise; what is uncertain of it is not believed."""
  made = noise.noise_model(image)
  level = made.level(image)
  share = max(0.0, 1 - made.spread / level) if level else 0.0
  if share * level < _FAINT:
    return found.replace(noise_std=np.float32(share * level))
  return found.replace(
    noise_std=np.float32(share * made.std),
    shot=np.float32(share**2 * made.shot) if made.shot else None,
    speckle=np.float32(share * made.speckle) if made.speckle else None,
  )


def _blur(
  image: np.ndarray,
  found: Degradation,
  offset: tuple[int, int],
  shaken: bool,
) -> Diagnosis:
  """Finds the kernel of an image whose noise and compression are known."""

  def none(reason):
    return Diagnosis(found, (), _UNKNOWN, reason, None)

  side = min(image.shape[:2])
  if side < spectrum.LEAST_SIDE:
    return none(
      f'a kernel needs {spectrum.LEAST_SIDE}x{spectrum.LEAST_SIDE} pixels'
    )
  power = spectrum.spectrum(image)
  # Of the mean over the channels, which is what the spectrum is of.
  std = noise.noise_level(image.mean(2, keepdims=True))
  if spectrum.structure(power, std) < spectrum.LEAST_STRUCTURE:
    return none('the image is flat, or nothing but noise')
  lost = _lost(image, power, found.jpeg, offset)
  if lost is not None and (~lost).sum() < 2 * _FEWEST:
    return none('compression has left too little to tell blur by')

  def fit(family):
    return spectrum.fit(power, found.scale, family, noise_std=std, lost=lost)

  return _choose(image, found, fit, shaken)


def _choose(
  image: np.ndarray,
  found: Degradation,
  fit: Callable[[families.Family], spectrum.Fit],
  shaken: bool,
) -> Diagnosis:
  """Chooses among the families, the network, and no kernel at all."""
  fits = [fit(family) for family in families.FAMILIES.values()]
  candidates, best = _rank(fits)
  gain = _gain(fits)
  misfit = min(fit.misfit for fit in fits)
  beyond = misfit - _UNEXPLAINED
  sure = gain >= _BLURRED_FOR_SURE + _BY_MISFIT * max(beyond, 0.0)
  # A photo that is soft by itself looks like one that was slightly blurred.
  caution = float(np.interp(gain, *_CAUTION))
  simple = _with_kernel(
    found, spectrum.kernel_of(best, found.scale, caution), image
  )
  explained = best.family is not families.NONE and misfit <= _HARDLY_EXPLAINED
  large = math.prod(image.shape[:2]) >= _FEWEST_SHAKEN
  may_be = shaken and large and not explained
  seen = _seen(image, found) if may_be else False
  if seen or (seen is None and gain >= _SHAKEN):
    shake, cost = _with_shake(found, image, fit, fits, bool(seen))
    alike = best.family is not families.GAUSSIAN or best.cost <= _BETTER * cost
    simply = (sure or beyond <= 0) and alike and _agree(simple, shake)
    if shake is not None and not simply:
      return Diagnosis(shake, candidates, 'camera shake', None, None)
  if beyond > 0 and not sure:
    reason = 'no simple blur explains the image'
    return Diagnosis(found, candidates, _UNKNOWN, reason, best)
  if best.family is families.NONE:
    return Diagnosis(found, candidates, 'no blur beyond bicubic', None, best)
  if simple is None:
    reason = 'the blur is wider than the image'
    return Diagnosis(found, candidates, _UNKNOWN, reason, best)
  words = best.family.words(best.parameters)
  return Diagnosis(simple, candidates, words, None, best, sure)


def _with_kernel(
  found: Degradation, kernel: np.ndarray | None, image: np.ndarray
) -> Degradation | None:
  """Adds a kernel, if there is one and the image is large enough."""
  kernel = None if kernel is None else _padded(kernel, image.shape)
  return None if kernel is None else found.replace(kernel=kernel)


def _seen(image: np.ndarray, found: Degradation) -> bool | None:
  """Whether the edges show that an image is blurred; None: they do not tell."""
  steep = edges.steepness(image)
  if steep >= _TOO_STEEP:
    return False
  return True if steep < _FLAT and found.jpeg is None else None


def _with_shake(
  found: Degradation,
  image: np.ndarray,
  fit: Callable[[families.Family], spectrum.Fit],
  fits: list[spectrum.Fit],
  seen: bool,
) -> tuple[Degradation | None, float]:
  """Adds the kernel that the network finds, and how far it is in doubt.

  Unless the blur has been seen in the edges, the spectrum, of which the network
  knows nothing, must be explained better by its kernel than by none, or it must
  be so much in doubt that it can do little. Where it is hardly more than a
  guess, the spectrum must not speak against it in any case.

  Returns:
    The degradation, None if the kernel is not to be used; and what the fit of
    the kernel costs, taken for right or for as wrong as it may be.
  """
  # Not at the top: few images need its network.
  from zssr_jax.kernel_estimation import learned

  shake = learned.find(image, found.scale)
  doubtful = _with_kernel(
    found.replace(doubt=np.float32(shake.doubt)), shake.kernel, image
  )
  wrong, right = (
    fit(families.of_kernel('camera shake', shake.kernel, error)).cost
    for error in (shake.error, 0.0)
  )
  cost = min(wrong, right)
  if doubtful is None:
    return None, cost
  explained, doubt = _none_of(fits) - wrong, doubtful.relative_doubt
  against = explained < 0 and doubt >= _USELESS
  backed = explained >= _BACKED * _told(fits) or doubt >= _HARMLESS
  return (doubtful if not against and (seen or backed) else None), cost


def _agree(simple: Degradation | None, shake: Degradation | None) -> bool:
  """Whether the network's kernel may well be that of a simple blur."""
  if simple is None or shake is None:
    return False
  a, b = (np.asarray(found.at(1).kernel) for found in (simple, shake))
  shape = (max(a.shape[0], b.shape[0]), max(a.shape[1], b.shape[1]))
  a, b = (
    np.asarray(blur_kernels.pad_kernel(jnp.asarray(k), shape)) for k in (a, b)
  )
  return float(np.square(a - b).sum()) <= _AGREED * float(shake.doubt)


def _rank(
  fits: list[spectrum.Fit],
) -> tuple[tuple[Candidate, ...], spectrum.Fit]:
  """Orders hypotheses by cost and price.

  The price falls with the frequencies that are left to tell: what makes a soft
  photo look blurred adds up over all of them.
  """
  told = _told(fits)
  costs = [fit.cost + told * fit.family.price for fit in fits]
  order = np.argsort(costs)
  best = fits[order[0]]
  candidates = tuple(
    Candidate(
      fits[i].family.name,
      float(costs[i] - costs[order[0]]),
      fits[i].misfit,
      fits[i].family.words(fits[i].parameters),
    )
    for i in order
  )
  return candidates, best


def _gain(fits: list[spectrum.Fit]) -> float:
  """What blur explains more than none, over the share that tells."""
  return (_none_of(fits) - min(f.cost for f in fits)) / _told(fits)


def _none_of(fits: list[spectrum.Fit]) -> float:
  return next(f.cost for f in fits if f.family is families.NONE)


def _told(fits: list[spectrum.Fit]) -> float:
  """The share of the frequencies that tell something, by the Gaussian fit."""
  told = next(f.told for f in fits if f.family is families.GAUSSIAN)
  return max(told, _LEAST_TOLD)


def _lost(
  image: np.ndarray,
  power: np.ndarray,
  jpeg: Jpeg | None,
  offset: tuple[int, int],
) -> np.ndarray | None:
  """Tells which frequencies quantisation has emptied, or filled with error."""
  if jpeg is None:
    return None
  error = compression_error.luma_loss(image, jpeg, offset).variance
  # The DCT's frequency u is u / 16 cycles a pixel.
  place = abs(np.fft.fftfreq(len(power))) * 2 * BLOCK
  error = np.exp(
    scipy.ndimage.map_coordinates(
      np.log(error),
      np.meshgrid(place, place, indexing='ij'),
      order=1,
      mode='nearest',
    )
  )
  return power < _ABOVE_QUANTISATION * error


def _padded(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
  """Pads a kernel to one of a few sizes, if the image is large enough."""
  side = max(kernel.shape)
  if side > min(shape[:2]):
    return None
  wanted = -(-(side - 3) // _SIDES) * _SIDES + 3
  side = min(wanted, min(shape[:2]))
  return np.asarray(blur_kernels.pad_kernel(jnp.asarray(kernel), (side, side)))
