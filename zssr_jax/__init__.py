"""zssr_jax: zero-shot super-resolution in JAX.

Conventions, said once for the whole package. An image is float32 `[H, W, C]`
with values in [0, 1] and any number of channels. A blur kernel is float32
`[h, w]`, sums to 1 and follows the convention of `zssr_jax.degradation`.
A scale is a number or a pair (y, x) of output per input pixels.
"""

from zssr_jax.config import Config
from zssr_jax.models.starts import load_start
from zssr_jax.training.loop import History, Progress
from zssr_jax.zssr import Result, train_image

__all__ = [
  'Config',
  'History',
  'Progress',
  'Result',
  'load_start',
  'train_image',
]
