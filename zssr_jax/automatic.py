"""How `auto` trains, once it is known what happened to an image.

And whether what came of it may be shown: a wrong kernel makes halos and
stripes, that is gradients that the image has nowhere.
"""

from __future__ import annotations

import numpy as np

from zssr_jax import presets
from zssr_jax.config import ROUNDING, Config
from zssr_jax.degradation import Degradation
from zssr_jax.ops import resize
from zssr_jax.ops.resize import Scale

# Mean gradient of a result over that of bicubic interpolation from which it is
# no sharper picture of the same thing: 2.7 to 8.3 where a wrong kernel had
# ruined one, at most 2.66 where none had.
_TOO_SHARP = 2.7
_MOST_NOISE = 0.1  # on the sons
# Noise of the input from which sons get more of it than rounding leaves.
_NOISY = 0.8 / 255
# What is taken from `fast` where the image was shrunk by bicubic and that is
# all that happened to it.
_OF_FAST = ('crop', 'max_steps', 'learning_rate', 'warmup')


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


def settle(config: Config, found: Degradation) -> tuple[Config, Degradation]:
  """Returns the config to train by, and the degradation of the sons.

  Args:
    config: in force; what it has other than the preset `auto` stays.
    found: what happened to the image.
  """
  clean = found.kernel is None and found.jpeg is None and not _is_noisy(found)
  if not clean:
    std = np.clip(float(found.noise_std or 0.0), ROUNDING, _MOST_NOISE)
    return config, found.replace(noise_std=np.float32(std))
  auto, fast = (
    presets.PRESETS[name].replace(start=config.start).in_force
    for name in ('auto', 'fast')
  )
  changes = {
    name: getattr(fast, name)
    for name in _OF_FAST
    if getattr(config, name) == getattr(auto, name)
  }
  sons = found.replace(noise_std=None, shot=None, speckle=None)
  return config.replace(**changes), sons


def is_ruined(result: np.ndarray, image: np.ndarray, scale: Scale) -> bool:
  """Judges a result without the truth.

  Args:
    result: `[H, W, C]` in [0, 1].
    image: `[h, w, C]`, the input.
    scale: number or pair (y, x).

  Returns:
    Whether the result holds edges that the input has nowhere, or values that
    are no numbers.
  """
  if not np.isfinite(result).all():
    return True
  plain = resize.imresize(image, scale, shape=result.shape[:2])
  return _gradient(result) > _TOO_SHARP * max(_gradient(plain), 1e-4)


def _gradient(image: np.ndarray) -> float:
  grey = np.asarray(image, np.float64).mean(2)
  down, across = np.diff(grey, axis=0), np.diff(grey, axis=1)
  return float(np.hypot(down[:, :-1], across[:-1]).mean())
