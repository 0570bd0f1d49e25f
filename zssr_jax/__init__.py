"""zssr_jax: zero-shot super-resolution in JAX.

Conventions, said once for the whole package. An image is float32 `[H, W, C]`
with values in [0, 1] and any number of channels. A blur kernel is float32
`[h, w]`, sums to 1 and follows the convention of `zssr_jax.degradation`.
A scale is a number or a pair (y, x) of output per input pixels.
"""

import importlib
from typing import TYPE_CHECKING, Any

from zssr_jax._version import __version__

if TYPE_CHECKING:
  from zssr_jax.config import Config
  from zssr_jax.degradation import Degradation
  from zssr_jax.kernel_estimation.diagnosis import estimate_degradation
  from zssr_jax.photos import (
    Enlarged,
    Upscaler,
    load_upscaler,
    super_resolve,
  )
  from zssr_jax.presets import load_config
  from zssr_jax.super_resolution import Result, train_image
  from zssr_jax.training.history import History
  from zssr_jax.training.loop import Progress
  from zssr_jax.weights.starts import load_start

# Where each public name is. They are imported when they are first asked for:
# JAX takes a second or two, which a command with a wrong flag need not wait.
_HOMES = {
  'Config': 'config',
  'Degradation': 'degradation',
  'Enlarged': 'photos',
  'History': 'training.history',
  'Progress': 'training.loop',
  'Result': 'super_resolution',
  'Upscaler': 'photos',
  'estimate_degradation': 'kernel_estimation.diagnosis',
  'load_config': 'presets',
  'load_start': 'weights.starts',
  'load_upscaler': 'photos',
  'super_resolve': 'photos',
  'train_image': 'super_resolution',
}

__all__ = [
  'Config',
  'Degradation',
  'Enlarged',
  'History',
  'Progress',
  'Result',
  'Upscaler',
  '__version__',
  'estimate_degradation',
  'load_config',
  'load_start',
  'load_upscaler',
  'super_resolve',
  'train_image',
]


def __getattr__(name: str) -> Any:
  """Imports a public name when it is first used (PEP 562)."""
  if name not in _HOMES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  value = getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)
  globals()[name] = value
  return value


def __dir__() -> list[str]:
  """Lists the public names, imported or not."""
  return sorted({*globals(), *__all__})
