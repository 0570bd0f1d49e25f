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
