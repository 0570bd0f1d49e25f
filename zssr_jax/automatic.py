"""How `auto` trains, once it is known what happened to an image."""

from __future__ import annotations

import numpy as np

from zssr_jax import presets
from zssr_jax.config import ROUNDING, Config
from zssr_jax.degradation import Degradation
from zssr_jax.kernel_estimation.diagnosis import Diagnosis

_MOST_NOISE = 0.1  # on the sons
# Noise of the input from which sons get more of it than rounding leaves.
_NOISY = 0.8 / 255
# What is taken from `fast` where the image was shrunk by bicubic and that is
# all that happened to it.
_OF_FAST = ('losses', 'start_steps', 'start_rate', 'warmup')


def is_clean(degradation: Degradation) -> bool:
  """Whether bicubic downscaling is all that happened to an image."""
  noisy = float(degradation.noise_std or 0.0) > _NOISY
  return degradation.kernel is None and degradation.jpeg is None and not noisy


def of_sons(found: Degradation) -> Degradation:
  """Returns the degradation that sons are made with.

  Args:
    found: the input's.
  """
  if is_clean(found):
    return found.replace(noise_std=None, shot=None, speckle=None)
  noise_std = np.clip(float(found.noise_std or 0.0), ROUNDING, _MOST_NOISE)
  return found.replace(noise_std=np.float32(noise_std))


def settle(config: Config, found: Diagnosis) -> Config:
  """Returns the config that an image is trained by.

  Args:
    config: with kernel `auto`; what it has other than the preset `auto`
      stays.
    found: what happened to the image.
  """
  if not is_clean(found.degradation):
    return config
  auto, fast = (
    presets.PRESETS['auto'].in_force,
    presets.PRESETS['fast'].in_force,
  )
  changes = {
    name: getattr(fast, name)
    for name in ('losses', 'max_steps', 'learning_rate', 'warmup')
    if getattr(config, name) == getattr(auto, name)
  }
  return config.replace(**changes)
