"""zssr_jax: zero-shot super-resolution in JAX.

Conventions, said once for the whole package. An image is float32 `[H, W, C]`
with values in [0, 1] and any number of channels. A blur kernel is float32
`[h, w]`, sums to 1 and follows the convention of `zssr_jax.degradation`.
A scale is a number or a pair (y, x) of output per input pixels.
"""

from zssr_jax._version import __version__
from zssr_jax.config import Config
from zssr_jax.degradation import Degradation
from zssr_jax.kernel_estimation.diagnosis import estimate_degradation
from zssr_jax.presets import load_config
from zssr_jax.super_resolution import Result, train_image
from zssr_jax.training.history import History
from zssr_jax.training.loop import Progress
from zssr_jax.weights.starts import load_start

__all__ = [
  'Config',
  'Degradation',
  'History',
  'Progress',
  'Result',
  'load_config',
  '__version__',
  'estimate_degradation',
  'load_start',
  'train_image',
]
