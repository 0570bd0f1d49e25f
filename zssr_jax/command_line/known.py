"""What --kernel, --noise and --jpeg say of all inputs of a run."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import numpy as np

from zssr_jax import blur_kernels
from zssr_jax.command_line.arguments import (
  AUTO,
  GAUSSIAN,
  NO_JPEG,
  WORDS,
  Options,
)
from zssr_jax.data import image_io, kernel_io
from zssr_jax.degradation import Degradation
from zssr_jax.errors import InputError
from zssr_jax.ops import jpeg
from zssr_jax.ops.resize import Scale

# Widest Gaussian, as a multiple of the scale: four pixels of the input.
_WIDEST = 4


def load_known(options: Options, scale: Scale) -> Degradation:
  """Returns what --noise and --jpeg say of all inputs.

  Args:
    options: the flags.
    scale: of the degradation.

  Raises:
    InputError: for a value out of range, or a file that is no JPEG.
  """
  noise_std, tables = None, None
  if options.noise is not None and options.noise != AUTO:
    noise_std = np.float32(_parse_noise(options.noise) / 255)
  if options.jpeg is not None and options.jpeg not in (AUTO, NO_JPEG):
    tables = _load_jpeg(options.jpeg)
  return Degradation(scale, noise_std=noise_std, jpeg=tables)


def _parse_noise(text: str) -> float:
  """Reads a standard deviation in grey levels."""
  try:
    std = float(text)
  except ValueError:
    std = math.nan
  if not 0 <= std <= 255:
    raise InputError(
      f'--noise={text}: must be {AUTO}, or a standard deviation in grey levels'
      ' from 0 to 255'
    )
  return std


def _load_jpeg(text: str) -> jpeg.Jpeg:
  """Reads a quality, or the tables of a file."""
  quality: float | None = None
  with contextlib.suppress(ValueError):
    quality = float(text)
  if quality is not None:
    if not 1 <= quality <= 100:
      raise InputError(f'--jpeg={text}: must be a quality from 1 to 100')
    return jpeg.of_quality(quality)
  if not text or (text.isalpha() and not Path(text).exists()):
    raise InputError(
      f'--jpeg={text}: no such file, nor {AUTO}, {NO_JPEG} or a quality from'
      ' 1 to 100'
    )
  found = image_io.read_jpeg(text)
  if found is None:
    raise InputError(
      f'{text}: not a JPEG file, so it has no tables for --jpeg; name one that'
      ' is, or a quality from 1 to 100'
    )
  return found


def load_kernel(text: str, scale: Scale) -> np.ndarray:
  """Returns the kernel that --kernel gives: a file's or a Gaussian.

  Args:
    text: `FILE`, `FILE:INDEX` (see `kernel_io.read_kernel`) or `gaussian:...`
      (see `parse_gaussian`).
    scale: the scale that the kernel is for.

  Raises:
    InputError: when there is no such kernel.
  """
  if text.startswith(GAUSSIAN):
    return parse_gaussian(text, scale)
  if text.isalpha() and not Path(text).exists():  # a word, misspelt
    raise InputError(
      f'--kernel={text}: no such file, nor one of {", ".join(WORDS)},'
      f' {GAUSSIAN}STD'
    )
  return kernel_io.read_kernel(text)


def parse_gaussian(text: str, scale: Scale) -> np.ndarray:
  """Reads 'gaussian:STD' or 'gaussian:STD,STD,ANGLE'.

  The standard deviations, along the two axes of the Gaussian, are in pixels
  of the result; the angle is in degrees from the x axis, towards growing y,
  to the first axis, with 'deg' behind it or not.

  Args:
    text: such as 'gaussian:1.6', 'gaussian:2.0,1.0' or 'gaussian:2,1,30deg'.
    scale: the scale that the kernel is for.

  Returns:
    float32 `[n, n]`, see `blur_kernels.gaussian_kernel`.

  Raises:
    InputError: for other text, standard deviations that are not above 0 and
      at most four times the scale, or a scale that differs between the axes.
  """
  if isinstance(scale, tuple):
    raise InputError(
      f'--kernel={text}: is for a scale that is the same on both axes, not'
      f' {scale[0]:g},{scale[1]:g}; pass a kernel file'
    )
  try:
    parts = text.removeprefix(GAUSSIAN).split(',')
    if len(parts) > 3:
      raise ValueError
    first, second = float(parts[0]), float(parts[min(len(parts) - 1, 1)])
    turn = parts[2].strip().removesuffix('deg') if len(parts) == 3 else '0'
    angle = math.radians(float(turn))
    low, high = min(first, second), max(first, second)
    if not (0 < low <= high <= _WIDEST * scale and math.isfinite(angle)):
      raise ValueError
  except ValueError:
    raise InputError(
      f'--kernel={text}: must be {GAUSSIAN}STD or {GAUSSIAN}STD,STD,ANGLE with'
      f' 0 < STD <= {_WIDEST * scale:g} in pixels of the result, ANGLE in'
      ' degrees'
    ) from None
  return blur_kernels.gaussian_kernel((first**2, second**2), angle, scale)
