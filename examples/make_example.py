"""Makes the bundled example: a photo, its blurred half-size copy, the kernel.

  .venv/bin/python examples/make_example.py

The degradation is written out in float64 NumPy rather than taken from the
package, so that the example stays what it is when the package changes, and
comes out the same on every machine. The tests compare the two.
"""

from __future__ import annotations

import pathlib

import numpy as np
from PIL import Image
from skimage import data

FOLDER = pathlib.Path(__file__).parent
SCALE = 2
# The face, the collar ring and the embroidered patches: 344x288 pixels.
ROWS, COLUMNS = slice(80, 424), slice(96, 384)
SIZE = 15  # taps per side
VARIANCES = (3.0, 0.8)  # along the kernel's long and short axis, pixels^2
ANGLE = 30  # degrees of the long axis against the rows' direction


def make_kernel() -> np.ndarray:
  """An anisotropic Gaussian, float32 `[15, 15]`, that shifts nothing.

  Its centre is `size // 2 + (scale - 1) / 2` = 7.5; the first row and column
  stay empty, so that the support is symmetric about it.
  """
  angle = np.deg2rad(ANGLE)
  along_x, along_y = np.cos(angle), np.sin(angle)
  offset = np.arange(SIZE) - (SIZE // 2 + (SCALE - 1) / 2)
  y, x = offset[:, None], offset[None, :]
  long, short = x * along_x + y * along_y, y * along_x - x * along_y
  kernel = np.exp(-0.5 * (long**2 / VARIANCES[0] + short**2 / VARIANCES[1]))
  kernel[0], kernel[:, 0] = 0, 0
  return (kernel / kernel.sum()).astype(np.float32)


def degrade(hr: np.ndarray, kernel: np.ndarray) -> np.ndarray:
  """`lr[i, j] = sum_uv kernel[u, v] hr[2 i + u - 7, 2 j + v - 7]`, uint8.

  Args:
    hr: uint8 `[H, W, C]`, H and W even; it is mirrored at its borders.
    kernel: `[15, 15]`.

  Returns:
    uint8 `[H / 2, W / 2, C]`.
  """
  center = SIZE // 2
  padded = np.pad(
    hr.astype(np.float64), ((center,) * 2, (center,) * 2, (0, 0)), 'symmetric'
  )
  rows, columns = hr.shape[:2]
  lr = np.zeros((rows // SCALE, columns // SCALE, hr.shape[2]))
  for u in range(SIZE):
    for v in range(SIZE):
      shifted = padded[u : u + rows, v : v + columns]
      lr += float(kernel[u, v]) * shifted[::SCALE, ::SCALE]
  return np.clip(np.floor(lr + 0.5), 0, 255).astype(np.uint8)


def make_example() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns the LR image, the HR image (both uint8) and the kernel."""
  hr = data.astronaut()[ROWS, COLUMNS]
  kernel = make_kernel()
  return degrade(hr, kernel), hr, kernel


def main() -> None:
  """Writes the three files beside this script."""
  lr, hr, kernel = make_example()
  Image.fromarray(lr).save(FOLDER / 'astronaut_lr.png', optimize=True)
  Image.fromarray(hr).save(FOLDER / 'astronaut_hr.png', optimize=True)
  np.save(FOLDER / 'astronaut_kernel.npy', kernel)


if __name__ == '__main__':
  main()
