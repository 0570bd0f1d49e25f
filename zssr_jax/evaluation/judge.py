"""How near a result comes to the ground truth, and bicubic beside it."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from zssr_jax.baselines import interpolation
from zssr_jax.ops import metrics
from zssr_jax.ops.resize import Scale


class Scores(NamedTuple):
  """PSNR in dB and SSIM of a result and of bicubic interpolation."""

  psnr: float  # infinite where nothing differs
  ssim: float
  bicubic_psnr: float
  bicubic_ssim: float


class Judge:
  """Scores the results of one image by the protocol of the tables.

  That is `ops.metrics.score`; bicubic is MATLAB's, of 8-bit pixels.
  """

  def __init__(
    self,
    lr: np.ndarray,
    hr: np.ndarray,
    scale: Scale,
    bicubic_score: tuple[float, float] | None = None,
  ):
    """Scores bicubic, so that what cannot be scored is refused at once.

    Args:
      lr: the input `[h, w, C]` in [0, 1].
      hr: its ground truth, as `metrics.scored_luma` takes it.
      scale: HR pixels per LR pixel, a number or a pair (y, x).
      bicubic_score: another judge's of the same image, to save the time.

    Raises:
      ValueError: for a ground truth that does not belong to the input, or is
        too small to score.
    """
    self._lr = lr
    self._hr = hr
    self._scale = scale
    self.bicubic_score = bicubic_score or metrics.score(self.bicubic, hr, scale)

  @functools.cached_property
  def bicubic(self) -> np.ndarray:
    """The input, interpolated: float32 `[H, W, C]`, multiples of 1/255."""
    return interpolation.bicubic(self._lr, self._scale)

  def score(self, image: np.ndarray) -> Scores:
    """Scores a result.

    Args:
      image: `[H, W, C]` in [0, 1].

    Raises:
      ValueError: when it is not of the ground truth's size and channels.
    """
    psnr, ssim = metrics.score(image, self._hr, self._scale)
    return Scores(psnr, ssim, *self.bicubic_score)
