"""How `auto` trains, once it is known what happened to an image.

And whether what came of it may be shown: a wrong kernel makes halos and
stripes, that is gradients that the image has nowhere.
"""

from __future__ import annotations

import numpy as np

from zssr_jax import presets
from zssr_jax.config import Config
from zssr_jax.degradation import Degradation
from zssr_jax.kernel_estimation.diagnosis import Diagnosis
from zssr_jax.ops import resize
from zssr_jax.ops.resize import Scale
from zssr_jax.units import MOST_NOISE, ROUNDING

# Mean gradient of a result over that of bicubic interpolation from which it is
# no sharper picture of the same thing: 2.7 to 8.3 where a wrong kernel had
# ruined one, at most 2.66 where none had.
_TOO_SHARP = 2.7
# ... where the image is blurred beyond doubt: true kernels reached 3.9 without
# harm.
_TOO_SHARP_OF_BLURRED = 5.0
# How much of interpolation is left in the result for a JPEG that is not
# blurred, by the error that compression made, of 255. With a quarter the result
# is nearer to the truth than interpolation not only by PSNR, of which it costs
# 0.05 dB, but by LPIPS, too: it is less smooth.
_OF_JPEG = (1.5, 2.5), (0.0, 0.25)
# Noise of the input from which sons get more of it than rounding leaves.
_NOISY = 0.8 / 255


def describe(config: Config, sons: Degradation) -> str:
  """Says in a few words how an image is trained.

  Args:
    config: from `settle`.
    sons: from `settle`.
  """
  begin = 'random' if config.start == 'random' else 'trained'
  kinds = []
  if sons.kernel is not None:
    kinds.append('blurred')
  if _is_noisy(sons):
    kinds.append('noisy')
  if sons.jpeg is not None:
    kinds.append('JPEG')
  return (
    f'{config.max_steps} steps from a {begin} start with'
    f' {", ".join(kinds) or "bicubic"} sons'
  )


def _is_noisy(found: Degradation) -> bool:
  if found.shot is not None or found.speckle is not None:
    return True
  return float(found.noise_std or 0.0) > _NOISY


def is_clean(found: Degradation) -> bool:
  """Whether bicubic downscaling is all that is known to have happened."""
  return found.kernel is None and found.jpeg is None and not _is_noisy(found)


def settle(config: Config, found: Degradation) -> tuple[Config, Degradation]:
  """Returns the config to train by, and the degradation of the sons.

  Args:
    config: in force; what it has other than the preset `auto` stays.
    found: what happened to the image.
  """
  if not is_clean(found):
    std = np.clip(float(found.noise_std or 0.0), ROUNDING, MOST_NOISE)
    return config, found.replace(noise_std=np.float32(std))
  auto, fast = (
    Config(start=config.start, **training).in_force
    for training in (presets.TRAINING_OF_AUTO, presets.TRAINING_OF_FAST)
  )
  changes = {
    # In force, a start's own steps and rate are the steps and the rate.
    name: getattr(fast, name)
    for name in presets.TRAINING_OF_AUTO.keys() - presets.OF_START.values()
    if getattr(config, name) == getattr(auto, name)
  }
  sons = found.replace(noise_std=None, shot=None, speckle=None)
  return config.replace(**changes), sons


def is_ruined(
  result: np.ndarray, image: np.ndarray, scale: Scale, found: Diagnosis
) -> bool:
  """Judges a result without the truth.

  Args:
    result: `[H, W, C]` in [0, 1].
    image: `[h, w, C]`, the input.
    scale: number or pair (y, x).
    found: what happened to the image.

  Returns:
    Whether the result holds edges that the input has nowhere, or values that
    are no numbers.
  """
  if not np.isfinite(result).all():
    return True
  plain = resize.imresize(image, scale, shape=result.shape[:2])
  most = _TOO_SHARP_OF_BLURRED if found.sure else _TOO_SHARP
  return _gradient(result) > most * max(_gradient(plain), 1e-4)


def share_of_interpolation(
  result: np.ndarray, image: np.ndarray, scale: Scale, found: Diagnosis
) -> float:
  """Tells how much of a result has to be interpolation, 0 to 1.

  Where nothing explains the blur, a network that was trained as if there were
  none does as little good as harm, and half of both: half is interpolation's.
  Of a JPEG that is not blurred a quarter is. A ruined result is replaced by
  interpolation.

  Args:
    result: `[H, W, C]` in [0, 1].
    image: `[h, w, C]`, the input.
    scale: number or pair (y, x).
    found: what happened to the image.
  """
  if is_ruined(result, image, scale, found):
    return 1.0
  degradation = found.degradation
  if found.unexplained and is_clean(degradation):
    return 0.5
  jpeg = degradation.jpeg
  if jpeg is None or jpeg.error_std is None or degradation.kernel is not None:
    return 0.0
  return float(np.interp(255 * float(jpeg.error_std), *_OF_JPEG))


def _gradient(image: np.ndarray) -> float:
  grey = np.asarray(image, np.float64).mean(2)
  down, across = np.diff(grey, axis=0), np.diff(grey, axis=1)
  return float(np.hypot(down[:, :-1], across[:-1]).mean())
