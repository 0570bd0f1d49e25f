"""How steep an image's steepest edges are: what no wide blur leaves.

The spectrum of a photo that is soft by itself, out of focus but for its
subject, is like that of a shaken one. But the subject's edges are sharp, and
after a shake none is.
"""

from __future__ import annotations

import numpy as np
import scipy  # loads its parts when they are first used

_REACH = 7  # pixels, within which an edge rises
_LEAST_RISE = 0.2  # of an edge that counts
_FEWEST = 50  # edges along an axis
_STEEPEST = 0.995  # quantile


def steepness(image: np.ndarray) -> float:
  """Returns what share of their height the steepest edges rise in one pixel.

  Photos that were only shrunk have 0.68 to 1 (100 photos of BSDS300 train,
  with noise of 3 % as well), 95 of 100 with camera shake less than 0.66.

  Args:
    image: `[H, W, C]` in [0, 1].

  Returns:
    The smaller one of both axes, in (0, 1]; NaN where there are no edges.
  """
  grey = np.asarray(image, np.float32).mean(2)
  steepest = []
  for axis in (0, 1):
    lines = np.moveaxis(grey, axis, 0)
    size = (_REACH, 1)
    rise = scipy.ndimage.maximum_filter(lines, size)
    rise -= scipy.ndimage.minimum_filter(lines, size)
    rise = np.maximum(rise[:-1], rise[1:])
    edges = rise > _LEAST_RISE
    if edges.sum() >= _FEWEST:
      shares = abs(np.diff(lines, axis=0))[edges] / rise[edges]
      steepest.append(float(np.quantile(shares, _STEEPEST)))
  return min(steepest, default=np.nan)
