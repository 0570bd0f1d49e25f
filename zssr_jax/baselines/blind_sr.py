"""Blind super-resolution by recurring patches (BlindSR).

Michaeli and Irani, "Nonparametric Blind Super-Resolution", ICCV 2013: it finds
the kernel under which the image's patches recur across scales, then
super-resolves by the image's own patches with that kernel (section 5, after
Glasner et al., ICCV 2009). For the second part see `self_ex_sr`.
"""

from __future__ import annotations

import jax
import numpy as np

from zssr_jax.baselines import self_ex_sr
from zssr_jax.degradation import Degradation
from zssr_jax.kernel_estimation import estimate as estimation
from zssr_jax.ops import resize
from zssr_jax.ops.resize import Scale

_SCALES = 2, 3, 4  # that the kernel can be estimated for
# An estimate is often too wide, and back-projection with it overshoots: on
# four images of B100, Gaussian x2, it had 28.9 dB after 5 a step, 28.2 after 20
# (with the estimates of before d6f2499; today's are narrower).
_BACK_PROJECTIONS = 5


def upscale(lr: np.ndarray, scale: Scale) -> np.ndarray:
  """Super-resolves with the kernel that the image itself tells.

  Args:
    lr: `[h, w, C]` in [0, 1].
    scale: upscaling factor or pair (y, x), from 1. The kernel is bicubic
      at others than 2, 3 and 4, and where none is found.

  Returns:
    float32 `[ceil(h y), ceil(w x), C]` in [0, 1]; see
    `self_ex_sr.super_resolve`, also for the errors raised.
  """
  lr = np.asarray(lr, np.float32)
  kernel = estimate(lr, scale)
  if kernel is None:
    return self_ex_sr.upscale(lr, scale)
  return self_ex_sr.super_resolve(
    lr, Degradation(scale, kernel), back_projections=_BACK_PROJECTIONS
  )


def estimate(lr: np.ndarray, scale: Scale) -> np.ndarray | None:
  """Estimates the kernel of `[h, w, C]`; None, bicubic, if none is found."""
  scales = resize.scale_pair(scale)
  if lr.ndim != 3 or scales[0] != scales[1] or scales[0] not in _SCALES:
    return None
  found = estimation.estimate(lr, scale, 'recurrence', jax.random.key(0))
  return found.kernel
