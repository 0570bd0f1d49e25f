"""PSNR and SSIM by the protocol of the published super-resolution tables.

`score` is the protocol, from two RGB images to two numbers; `psnr` and `ssim`
are dm_pix's, compiled once per image size.
"""

from __future__ import annotations

import math

import dm_pix
import jax
import numpy as np
from jax.typing import ArrayLike

from zssr_jax.ops import color
from zssr_jax.ops.resize import Scale

SSIM_WINDOW = 11  # pixels; the 'valid' SSIM needs at least that many per side


@jax.jit
def psnr(a: jax.Array, b: jax.Array) -> jax.Array:
  """Returns the PSNR in dB, peak 1, of two float `[H, W, C]`.

  Identical images have no error and score infinity.
  """
  return dm_pix.psnr(a, b)


@jax.jit
def ssim(a: jax.Array, b: jax.Array) -> jax.Array:
  """Returns the SSIM, at most 1, of two float `[H, W, C]` in [0, 1].

  It has an 11x11 Gaussian window of sigma 1.5, K 0.01 and 0.03, and no padding
  ('valid').
  """
  # dm_pix adds a float to an arange, which the strict mode of tests forbids.
  with jax.numpy_dtype_promotion('standard'):
    return dm_pix.ssim(a, b, filter_size=SSIM_WINDOW)


def common_size(a: int, b: int, scale: float) -> int:
  """Counts the pixels of an axis that are scored: what whole LR pixels cover.

  Args:
    a: pixels of one image.
    b: pixels of the other.
    scale: HR pixels per LR pixel.

  Returns:
    The largest multiple of `scale` in both, rounded down to whole pixels
    where the scale is no integer.
  """
  # The slack keeps 99 / 1.1 = 89.99... from losing its last pixel.
  lr_pixels = math.floor(min(a, b) / scale + 1e-6)
  return min(a, b, math.floor(lr_pixels * scale + 1e-6))


def scored_luma(
  sr: ArrayLike, hr: ArrayLike, scale: Scale
) -> tuple[np.ndarray, np.ndarray]:
  """Returns what the protocol compares of a result and its ground truth.

  Both are rounded to 8 bits, cut at the bottom and right to a common size that
  is a multiple of the scale, reduced to 8-bit Y (`color.luma`), and lose
  `ceil(scale)` pixels on every side.

  Args:
    sr: the result, `[H, W, C]`, float in [0, 1] or uint8; C is 1 or 3.
    hr: the ground truth, likewise. It may be larger or smaller by what a
      scale that does not divide the size leaves over, at most `ceil(scale)`.
    scale: HR pixels per LR pixel, a number or a pair (y, x).

  Returns:
    Both as uint8 `[h, w, 1]`.

  Raises:
    ValueError: for images that do not belong together, or that are smaller
      than the SSIM window after shaving.
  """
  sr, hr = np.asarray(sr), np.asarray(hr)
  if sr.ndim != 3 or hr.ndim != 3 or sr.shape[2] != hr.shape[2]:
    raise ValueError(
      f'cannot score an image {sr.shape} against a reference {hr.shape}'
    )
  scales = scale if isinstance(scale, (tuple, list)) else (scale, scale)
  window = []
  for axis, s in enumerate(scales):
    a, b = sr.shape[axis], hr.shape[axis]
    shave = math.ceil(s)
    if abs(a - b) > shave:
      raise ValueError(
        f'the sizes of the image {sr.shape} and of its reference {hr.shape}'
        f' differ by more than {shave} pixels'
      )
    size = common_size(a, b, s)
    if size - 2 * shave < SSIM_WINDOW:
      raise ValueError(
        f'an image of {sr.shape} is too small to score at scale {s:g}'
      )
    window.append(slice(shave, size - shave))
  y, x = window
  return (
    color.luma(color.to_uint8(sr[y, x])),
    color.luma(color.to_uint8(hr[y, x])),
  )


def score(sr: ArrayLike, hr: ArrayLike, scale: Scale) -> tuple[float, float]:
  """Scores a result against its ground truth by PSNR and SSIM.

  Args:
    sr: the result; see `scored_luma`, also for the errors raised.
    hr: the ground truth.
    scale: HR pixels per LR pixel, a number or a pair (y, x).

  Returns:
    PSNR in dB with peak 255, infinite where the two agree everywhere, and
    SSIM.
  """
  a, b = (y.astype(np.float32) / 255 for y in scored_luma(sr, hr, scale))
  return float(psnr(a, b)), float(ssim(a, b))
