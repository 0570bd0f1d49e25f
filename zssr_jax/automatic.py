"""How `auto` trains, once it is known what happened to an image."""

from __future__ import annotations

import numpy as np

from zssr_jax import presets
from zssr_jax.config import ROUNDING, Config
from zssr_jax.degradation import Degradation

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
  if sons.noise_std is not None and float(sons.noise_std) > _NOISY:
    kinds.append('noisy')
  if sons.jpeg is not None:
    kinds.append('JPEG')
  return (
    f'{config.max_steps} steps from a {begin} start with'
    f' {", ".join(kinds) or "bicubic"} sons'
  )


def settle(config: Config, found: Degradation) -> tuple[Config, Degradation]:
  """Returns the config to train by, and the degradation of the sons.

  Args:
    config: in force; what it has other than the preset `auto` stays.
    found: what happened to the image.
  """
  noise_std = float(found.noise_std or 0.0)
  clean = found.kernel is None and found.jpeg is None and noise_std <= _NOISY
  if not clean:
    noise_std = np.clip(noise_std, ROUNDING, _MOST_NOISE)
    return config, found.replace(noise_std=np.float32(noise_std))
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
