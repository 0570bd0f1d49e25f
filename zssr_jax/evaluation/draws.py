"""The blur kernels that test sets draw, one for each image.

Every function takes the scales (y, x) and a random generator, and returns an
aligned kernel, float32 `[h, w]` that sums to 1, in the convention of
`zssr_jax.degradation`, and what was drawn, fit for JSON.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal

from zssr_jax import blur_kernels
from zssr_jax.data import kernel_io
from zssr_jax.errors import InputError
from zssr_jax.ops import dihedral

Details = dict[str, Any]
Scales = tuple[float, float]

# Camera shake, in the folder `kernels` of the data root: the eight that Levin
# et al. measured, and two synthetic paths. (The other motion kernels of
# kernels_12.mat are two of the eight again.)
_SHAKES = (
  *(f'kair/Levin09.mat:{i}' for i in range(8)),
  *(f'kair/kernels_12.mat:{i}' for i in (10, 11)),
)


def gaussian(
  scales: Scales, rng: np.random.Generator
) -> tuple[np.ndarray, Details]:
  """An anisotropic Gaussian: variances U(0, s^2), angle U(0, pi)."""
  scale = _one_scale(scales, 'a Gaussian')
  first, second = (rng.uniform(0, 1, 2) * scale**2).tolist()
  angle = rng.uniform(0, math.pi)
  kernel = blur_kernels.gaussian_kernel((first, second), angle, scale)
  return kernel, {'eigenvalues': [first, second], 'angle': angle}


def div2krk(
  scales: Scales, rng: np.random.Generator
) -> tuple[np.ndarray, Details]:
  """A Gaussian with changed taps, as in the DIV2KRK set; scales 2 and 4."""
  if scales not in ((2.0, 2.0), (4.0, 4.0)):
    raise ValueError(f'div2krk is made for scales 2 and 4, not {scales}')
  first, second = rng.uniform(0.6, 5, 2).tolist()
  angle = rng.uniform(0, math.pi)
  center = blur_kernels.aligned_center((11, 11), 2)[0]
  offset = np.arange(11) - center
  kernel = blur_kernels.gaussian_density(offset, offset, (first, second), angle)
  kernel *= rng.uniform(0.75, 1.25, kernel.shape)
  kernel /= kernel.sum()
  if scales[0] == 4:
    # Twice in a row is once with the kernel and its copy of doubled spacing.
    spaced = np.zeros((21, 21))
    spaced[::2, ::2] = kernel
    kernel = scipy.signal.convolve2d(kernel, spaced)
  return kernel.astype(np.float32), {
    'eigenvalues': [first, second],
    'angle': angle,
  }


def disc(
  scales: Scales, rng: np.random.Generator
) -> tuple[np.ndarray, Details]:
  """Defocus: at x2 of radius U(1.5, 4), blurred by a std of U(0.3, 0.7)."""
  scale = _one_scale(scales, 'a disc')
  radius = rng.uniform(1.5, 4) * scale / 2
  std = rng.uniform(0.3, 0.7) * scale / 2
  kernel = blur_kernels.disc_kernel(radius, std, scale)
  return kernel, {'radius': radius, 'gaussian_std': std}


def line(
  scales: Scales, rng: np.random.Generator
) -> tuple[np.ndarray, Details]:
  """Motion: at x2 of length U(4, 14), angle U(0, pi), std U(0.3, 0.7)."""
  scale = _one_scale(scales, 'a line')
  length = rng.uniform(4, 14) * scale / 2
  angle = rng.uniform(0, math.pi)
  std = rng.uniform(0.3, 0.7) * scale / 2
  kernel = blur_kernels.line_kernel(length, angle, std, scale)
  return kernel, {'length': length, 'angle': angle, 'gaussian_std': std}


def shake(
  scales: Scales, rng: np.random.Generator, data: Path | None
) -> tuple[np.ndarray, Details]:
  """One of ten kernels of camera shake, in one of the eight symmetries.

  They are taken for kernels at x2: used as they are from there on, only
  centred, and shrunk along for smaller scales.

  Raises:
    InputError: where the data root is missing or lacks the files.
  """
  name = _SHAKES[rng.integers(len(_SHAKES))]
  symmetry = int(rng.integers(dihedral.COUNT))
  kernel = dihedral.dihedral(_read_shake(name, data), symmetry)
  given = (max(scales[0], 2.0), max(scales[1], 2.0))
  kernel = blur_kernels.resample_kernel(kernel, given, scales, center=True)
  return kernel, {'file': f'kernels/{name}', 'symmetry': symmetry}


def check_shakes(data: Path | None) -> None:
  """Reads all the kernels of `shake`, to stop a run before it starts.

  Raises:
    InputError: where the data root is missing or lacks the files.
  """
  for name in _SHAKES:
    _read_shake(name, data)


def _read_shake(name: str, data: Path | None) -> np.ndarray:
  if data is None or not (data / 'kernels').is_dir():
    where = 'there is no data root' if data is None else f'{data} has none'
    raise InputError(
      f'camera shake needs the folder kernels of the data root, but {where};'
      ' pass --data=FOLDER or set ZSSR_JAX_DATA'
    )
  return kernel_io.read_kernel(data / 'kernels' / name)


def _one_scale(scales: Scales, what: str) -> float:
  if scales[1] != scales[0]:
    raise ValueError(
      f'{what} kernel needs the same scale on both axes, not {scales}'
    )
  return scales[0]
