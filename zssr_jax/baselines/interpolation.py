"""Nearest, bilinear, bicubic and Lanczos interpolation, as MATLAB does them.

Each is `upscale(lr, scale) -> sr`, the contract of the evaluation's methods.
They round like MATLAB's imresize of a uint8 image, by which the published
numbers were made.
"""

from __future__ import annotations

import numpy as np

from zssr_jax.ops import color, resize
from zssr_jax.ops.resize import Scale


def _upscale(lr: np.ndarray, scale: Scale, method: str) -> np.ndarray:
  pixels = color.to_uint8(lr)
  larger = resize.imresize(pixels, scale, method=method)
  return np.asarray(larger, np.float32) / np.float32(255)


def nearest(lr: np.ndarray, scale: Scale) -> np.ndarray:
  """Repeats pixels.

  Args:
    lr: `[h, w, C]` in [0, 1].
    scale: upscaling factor or pair (y, x).

  Returns:
    float32 `[ceil(h y), ceil(w x), C]`, whole multiples of 1/255.
  """
  return _upscale(lr, scale, 'nearest')


def bilinear(lr: np.ndarray, scale: Scale) -> np.ndarray:
  """Interpolates linearly; see `nearest`."""
  return _upscale(lr, scale, 'linear')


def bicubic(lr: np.ndarray, scale: Scale) -> np.ndarray:
  """Interpolates with the cubic of a = -1/2; see `nearest`."""
  return _upscale(lr, scale, 'cubic')


def lanczos(lr: np.ndarray, scale: Scale) -> np.ndarray:
  """Interpolates with the windowed sinc of three lobes; see `nearest`."""
  return _upscale(lr, scale, 'lanczos')
