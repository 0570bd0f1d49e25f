"""Blur kernels from files, and pictures of them; host only.

Kernels are published as MATLAB files of every version, one a file or many:
as a matrix, a cell, a stack or a field of a struct. What is wrong with a file
raises `InputError`, one line that names the file and the remedy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zssr_jax.data import files, image_io, matlab, names, numpy_files
from zssr_jax.errors import InputError

_NAMES = ('Kernel', 'kernel', 'kernels')
# Longest list of variables in a message.
_SHOWN = 12


def read_kernel(path: str | os.PathLike[str]) -> np.ndarray:
  """Reads a blur kernel.

  It is used as given, neither flipped nor centred nor cropped: only cast to
  float32 and, when its sum is off 1 by more than 1e-6, divided by its sum,
  since blurring must not change the brightness (so an image file or an
  unscaled array will do). Negative taps stay, as a bicubic kernel needs them.

  Args:
    path: `.mat` (any version), `.npy`, `.npz` or a greyscale image. The
      kernel is the variable `Kernel`, `kernel` or `kernels`, or else the only
      one that can be a kernel, be it in a struct. Of several, in a cell or a
      stack `[h, w, n]` or `[n, h, w]`, `FILE:INDEX` chooses one, counted from
      0 (cells in MATLAB's order); a file of that very name goes first.

  Returns:
    float32 `[h, w]`, sums to 1.

  Raises:
    InputError: when the file is missing or damaged, holds no kernel or
      several with none chosen, or one that is not 2-D, is not finite or has
      no positive sum.
  """
  path, index = _split_index(Path(path))
  kernels = _kernels_in(_load(path), path)
  if index is None and len(kernels) > 1:
    raise InputError(
      f'{path}: holds {len(kernels)} kernels; choose one, {path}:0 to'
      f' {path}:{len(kernels) - 1}'
    )
  if index is not None and index >= len(kernels):
    has = (
      f'{len(kernels)} kernels, {path}:0 to {path}:{len(kernels) - 1}'
      if len(kernels) > 1
      else f'{len(kernels)} kernel'
    )
    raise InputError(f'{path}:{index}: the file holds {has}')
  return _normalise(kernels[index or 0], path)


def picture(kernel: np.ndarray) -> np.ndarray:
  """Draws a kernel: black for 0 and below, white for its largest tap.

  Args:
    kernel: `[h, w]`.

  Returns:
    float32 `[h', w', 1]` in [0, 1], every tap a square of pixels, the longer
    side at most 256 unless the kernel is larger itself.
  """
  zoom = max(256 // max(kernel.shape), 1)
  shades = np.clip(kernel / max(float(np.max(kernel)), 1e-12), 0, 1)
  return np.kron(shades, np.ones((zoom, zoom)))[..., None].astype(np.float32)


def _split_index(path: Path) -> tuple[Path, int | None]:
  """Splits FILE:INDEX, unless a file has that name."""
  name, colon, text = str(path).rpartition(':')
  if not colon or path.exists():
    return path, None
  if re.fullmatch('[0-9]{1,9}', text):
    return Path(name), int(text)
  if Path(name).is_file():
    raise InputError(
      f'{path}: no such file, nor is {text!r} the number, from 0, of a kernel'
      f' in {name}'
    )
  return path, None


def _load(path: Path) -> Any:
  """Returns whatever the file holds in the place of a kernel, unchecked."""
  content = files.read_bytes(path)
  suffix = path.suffix.lower()
  if suffix == '.mat':
    return _pick(matlab.read_variables(path, content), path)
  if suffix in ('.npy', '.npz'):
    try:
      # Told by what is in it, as numpy.load does.
      if not content.startswith(b'PK'):
        return numpy_files.read_npy(content)
      arrays = numpy_files.read_npz(content)
    except Exception:  # text, a pickle, a cut or corrupted archive
      raise InputError(
        f'{path}: not a whole NumPy file of numbers; save it with numpy.save'
      ) from None
    return _pick(arrays, path)
  if suffix in names.IMAGE_SUFFIXES:
    image = image_io.read_image(path)
    if np.ptp(image, axis=-1).any():
      raise InputError(f'{path}: a kernel image must be greyscale')
    return image[..., 0]
  raise InputError(f'{path}: a kernel must be a .mat, .npy, .npz or image file')


def _is_matrix(value: Any) -> bool:
  """Whether a value can be a kernel, or several, by its kind and size."""
  if not isinstance(value, np.ndarray):
    return False
  if value.dtype == object:
    return value.size > 0 and all(
      _is_matrix(matlab.unwrap(v)) for v in value.flat
    )
  sides = sorted(value.shape)
  return value.dtype.kind in 'fiub' and len(sides) > 1 and sides[-2] > 1


def _pick(variables: Mapping[str, Any], path: Path) -> Any:
  """Returns the variable that is named like a kernel, or the only matrix."""
  values = dict(matlab.flatten(variables))
  for wanted in _NAMES:
    named = [v for n, v in values.items() if n.split('.')[-1] == wanted]
    if len(named) == 1:
      return named[0]
  matrices = [name for name, value in values.items() if _is_matrix(value)]
  if len(matrices) == 1:
    return values[matrices[0]]
  if len(values) == 1:  # a row of numbers, perhaps
    return next(iter(values.values()))
  found = ', '.join(list(values)[:_SHOWN]) or 'nothing'
  more = ', ...' if len(values) > _SHOWN else ''
  raise InputError(
    f'{path}: no variable Kernel, kernel or kernels; found {found}{more}'
  )


def _kernels_in(value: Any, path: Path) -> list[np.ndarray]:
  """Returns the kernels, each `[h, w]`, of a matrix, a stack or a cell."""
  value = matlab.unwrap(value)
  if isinstance(value, np.ndarray) and value.dtype == object and value.size:
    return [k for v in value.ravel('F') for k in _kernels_in(v, path)]
  kind = getattr(value, 'dtype', type(value).__name__)
  shape = getattr(value, 'shape', '')
  if isinstance(value, np.ndarray) and value.dtype.kind in 'fiub':
    if value.ndim > 2:
      value = np.squeeze(value)
    if value.ndim == 2 and value.size:
      return [value]
    if value.ndim == 3 and value.size:
      return list(np.moveaxis(value, _stack_axis(value, path), 0))
  raise InputError(
    f'{path}: a kernel must be a 2-D array of real numbers, not {kind} {shape}'
  )


def _stack_axis(stack: np.ndarray, path: Path) -> int:
  """Tells `[h, w, n]` from `[n, h, w]`, by square kernels or sums of 1."""
  height, width, depth = stack.shape
  square = {0: width == depth, 2: height == width}
  with np.errstate(all='ignore'):
    sums = {0: stack.sum((1, 2)), 2: stack.sum((0, 1))}
  ones = {axis: np.allclose(sums[axis], 1, atol=1e-3) for axis in sums}
  for fits in (square, ones):
    if fits[0] != fits[2]:
      return 0 if fits[0] else 2
  raise InputError(
    f'{path}: cannot tell which axis of {stack.shape} counts the kernels; save'
    ' one as a file of its own'
  )


def _is_extreme(kernel: np.ndarray) -> bool:
  """Whether sums over a kernel could leave the range of floats."""
  most = float(np.abs(kernel).max())
  return not 1e-100 < most < 1e100


def _normalise(kernel: np.ndarray, path: Path) -> np.ndarray:
  """Returns a kernel `[h, w]` as float32 that sums to 1."""
  with np.errstate(invalid='ignore'):  # a NaN of another kind is one, too
    kernel = kernel.astype(np.float64)
  if not np.isfinite(kernel).all():
    raise InputError(f'{path}: the kernel holds NaN or infinite values')
  if not kernel.any():
    raise InputError(f'{path}: the kernel is all zero')
  # So that no sum overflows or is lost, whatever the unit.
  kernel = kernel / np.abs(kernel).max() if _is_extreme(kernel) else kernel
  total = kernel.sum()
  # Taps that cancel (an edge filter) sum to rounding errors, not to a blur.
  if total < 1e-3 * np.abs(kernel).sum():
    raise InputError(
      f'{path}: the kernel sums to {total:.3g}; a blur kernel needs a'
      ' positive sum'
    )
  if abs(total - 1) > 1e-6:
    kernel = kernel / total
  return kernel.astype(np.float32)
