"""8-bit rounding and the luma that super-resolution is scored on.

Written with operators alone, so NumPy stays NumPy and JAX stays JAX.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any  # np.ndarray or jax.Array, in and out alike


def to_uint8(image: Array) -> Array:
  """Rounds `[H, ...]` float in [0, 1] to uint8, half up; clips the rest.

  uint8 input is returned as it is. `floor(255 x + 0.5)` and not `round`:
  halves go up, as MATLAB has it, and not to the even neighbour.
  """
  if image.dtype == 'uint8':
    return image
  if not isinstance(image, np.ndarray):
    return (image.clip(0.0, 1.0) * 255.0 + 0.5).astype('uint8')
  out = np.empty(image.shape, np.uint8)
  for row in range(len(image)):  # all at once would take much memory
    # In float64 the product is exact, and so is what counts as a half.
    scaled = np.floor(np.asarray(image[row], np.float64) * 255 + 0.5)
    out[row] = np.clip(scaled, 0, 255)
  return out


def luma(image: Array) -> Array:
  """The Y that the published tables score, from an 8-bit image.

  For RGB it is MATLAB's `rgb2ycbcr`: studio range, 16 to 235, itself rounded
  to 8 bits. A grey image is its own Y, full range.

  Args:
    image: uint8 `[..., 3]` or `[..., 1]`.

  Returns:
    uint8 `[..., 1]`.

  Raises:
    ValueError: for another type or number of channels.
  """
  if image.dtype != 'uint8':
    raise ValueError(f'luma needs 8-bit pixels, not {image.dtype}')
  channels = image.shape[-1]
  if channels == 1:
    return image
  if channels != 3:
    raise ValueError(f'luma needs 1 or 3 channels, not {channels}')
  r, g, b = (image[..., i : i + 1].astype('int32') for i in range(3))
  # The coefficients have three decimals: in thousandths of a grey level the
  # sum is a whole number below 2**26, and its rounding exact.
  milli = 65481 * r + 128553 * g + 24966 * b
  return (16 + (milli + 127500) // 255000).astype('uint8')


def studio_luma(image: Array) -> Array:
  """Y in studio range as a fraction of 255, of unrounded pixels.

  Args:
    image: float `[..., 3]` in [0, 1], or `[..., 1]`, which counts as three
      equal channels (unlike in `luma`).

  Returns:
    `[..., 1]` of the same type, 16/255 for black and 235/255 for white.

  Raises:
    ValueError: for another number of channels.
  """
  channels = image.shape[-1]
  if channels == 1:
    return (16 + 219 * image) / 255
  if channels != 3:
    raise ValueError(f'luma needs 1 or 3 channels, not {channels}')
  r, g, b = (image[..., i : i + 1] for i in range(3))
  return (16 + 65.481 * r + 128.553 * g + 24.966 * b) / 255
