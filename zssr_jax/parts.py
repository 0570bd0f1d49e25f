"""Parts of an image that stand for the whole where the whole is too large."""

from __future__ import annotations

import math

import numpy as np

# Parts begin at multiples of this, so that a JPEG's blocks stay where they are.
_CELL = 16

Part = tuple[slice, slice]


def busiest(
  image: np.ndarray, shape: tuple[int, int], count: int = 1
) -> list[Part]:
  """Finds the parts of an image that have most structure.

  Args:
    image: `[h, w, C]`.
    shape: of a part, rows and columns; an image that has fewer gives smaller
      parts.
    count: of parts, at most; they do not overlap.

  Returns:
    At least one (rows, columns), the busiest first.
  """
  sides = [min(n, m) for n, m in zip(shape, image.shape[:2], strict=True)]
  steps = [max(n // 4 // _CELL, 1) * _CELL for n in sides]
  energy = _energy(image, steps)
  cells = [-(-n // step) for n, step in zip(sides, steps, strict=True)]
  sums = np.pad(energy, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
  rows, columns = (
    max((n - m) // step, 0) + 1
    for n, m, step in zip(image.shape[:2], sides, steps, strict=True)
  )
  top, left = np.indices((rows, columns))
  below = np.minimum(top + cells[0], energy.shape[0])
  right = np.minimum(left + cells[1], energy.shape[1])
  found = sums[below, right] - sums[top, right] - sums[below, left]
  found = found + sums[top, left]
  parts: list[Part] = []
  while len(parts) < count and (found >= 0).any():
    y, x = np.unravel_index(int(found.argmax()), found.shape)
    start = int(y) * steps[0], int(x) * steps[1]
    parts.append(
      (
        slice(start[0], start[0] + sides[0]),
        slice(start[1], start[1] + sides[1]),
      )
    )
    found[
      max(y - cells[0] + 1, 0) : y + cells[0],
      max(x - cells[1] + 1, 0) : x + cells[1],
    ] = -1
  return parts


def _energy(image: np.ndarray, steps: list[int]) -> np.ndarray:
  """Sums the differences between neighbouring pixels, cell by cell."""
  height, width = image.shape[:2]
  lines = []
  for start in range(0, height, steps[0]):  # a band at a time, for the memory
    grey = image[start : start + steps[0] + 1].mean(2)
    change = np.abs(np.diff(grey, axis=1)).sum(0)
    change = np.append(change, 0) + np.abs(np.diff(grey, axis=0)).sum(0)
    lines.append(np.add.reduceat(change, np.arange(0, width, steps[1])))
  return np.asarray(lines, np.float64)


def window(image: np.ndarray, pixels: int) -> np.ndarray:
  """Returns an image, or the busiest part of one that has more pixels.

  Args:
    image: `[h, w, C]`.
    pixels: of the part, at most.
  """
  height, width = image.shape[:2]
  if height * width <= pixels:
    return image
  # As square as the image allows.
  rows = min(height, max(math.isqrt(pixels), pixels // width))
  return image[busiest(image, (rows, pixels // rows))[0]]
