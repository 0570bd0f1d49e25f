"""The blur undone at the input's own resolution, before the network.

A network that looks some ten pixels far cannot undo a blur that is as wide,
and fathers that are blurred hold nothing fine to learn from. So where a kernel
is known the input goes through a linear filter first, which makes of it, as
far as noise allows, what bicubic downscaling would have made of the sharp
scene. The network is trained on sons that went through the same filter, and
mends what the filter leaves: ringing, coloured noise, what has folded.

The filter is Wiener's (1949), the best linear one for a scene of power `S(g)`:

  W(f) = sum_m S(g_m) B(g_m) K*(g_m) / (sum_m S(g_m) |K(g_m)|^2 + N)

over the shifts m that subsampling folds onto f, `g_m = (f + m) / s`, for the
kernel's transfer function K, bicubic downscaling's B, and the power N of what
is not the scene's. To |K|^2 of a kernel in doubt the power of its error is
added (`Degradation.doubt`). Scenes have `S(g) = A / |g|^2` (Field 1987), A as
the input has it at coarse frequencies.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from zssr_jax import blur_kernels
from zssr_jax.degradation import Degradation
from zssr_jax.kernel_estimation import spectrum

SIDE = 61  # of a filter, input pixels
_GRID = 128  # frequencies along an axis
# Of the scene's own power, counted as noise: it bounds the filter where K has
# zeros, which would ring further than SIDE.
_FLOOR = 1e-3
_COARSE = 0.04, 0.12  # where A is measured, cycles an input pixel
_LEAST_TRANSFER = 0.1  # of |K|^2 where A is measured
_FINE = 16  # points an HR pixel, by which B is integrated


def filter_of(degradation: Degradation, image: np.ndarray) -> np.ndarray | None:
  """Returns the filter for an image whose kernel is known.

  Args:
    degradation: what happened to it; its scale, kernel and errors count.
    image: `[h, w, C]` in [0, 1], the degraded one.

  Returns:
    float32 `[SIDE, SIDE]`, sums to 1, for `Degradation.shown`; None where there
    is no kernel, the image is flat, or nothing is known of how large the errors
    are.
  """
  noise = degradation.replace(doubt=None).error_std(image) ** 2
  if degradation.kernel is None or not math.isfinite(noise):
    return None
  doubt = float(degradation.doubt or 0.0)
  f = np.fft.fftfreq(_GRID)
  above, below, scene = 0.0, 0.0, 0.0
  for g, blur, shrink in _folds(degradation, f):
    power = 1 / np.maximum(g, 1 / _GRID) ** 2
    above = above + power * shrink * blur.conj()
    below = below + power * (doubt + (1 - doubt) * abs(blur) ** 2)
    scene = scene + power * shrink**2
  level = _level(degradation, image, noise)
  if not level:
    return None
  below = level * (below + _FLOOR * scene) + noise
  taps = np.fft.fftshift(np.fft.fft2(level * above / below))
  middle = slice((_GRID - SIDE + 1) // 2, (_GRID + SIDE + 1) // 2)
  # To nought over the last quarter, lest the cut rings.
  edge = np.minimum(1, 4 * (1 - abs(np.linspace(-1, 1, SIDE + 2)[1:-1])))
  taps = taps.real[middle, middle] * np.outer(edge, edge)
  return (taps / taps.sum()).astype(np.float32)


def _folds(degradation: Degradation, f: np.ndarray):
  """Yields `|g|` in cycles an input pixel, K and B for every shift."""
  kernel = np.asarray(degradation.kernel, np.float64)
  scales = degradation.scale
  center = blur_kernels.aligned_center(kernel.shape, scales)
  waves, shrinks, frequencies = [], [], []
  for size, middle, scale in zip(kernel.shape, center, scales, strict=True):
    reach = range(-math.ceil(scale / 2), math.ceil(scale / 2) + 1)
    g = np.stack([(f + m) / scale for m in reach])
    inside = (-0.5 <= g) & (g < 0.5)
    offset = np.arange(size) - middle
    wave = np.exp(2j * np.pi * g[..., None] * offset) * inside[..., None]
    waves.append(wave)
    shrinks.append(_bicubic(g * scale))
    frequencies.append(g * scale)
  for i, j in itertools.product(*(range(len(w)) for w in waves)):
    g = np.hypot(frequencies[0][i][:, None], frequencies[1][j])
    blur = waves[0][i] @ kernel @ waves[1][j].T
    yield g, blur, np.outer(shrinks[0][i], shrinks[1][j])


def _bicubic(f: np.ndarray) -> np.ndarray:
  """The transfer function of the cubic kernel; `f` in cycles an input pixel."""
  x = (np.arange(2 * _FINE) + 0.5) / _FINE
  near = 1.5 * x**3 - 2.5 * x**2 + 1
  far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
  taps = np.where(x < 1, near, far)
  taps /= taps.sum()
  return np.cos(2 * np.pi * f[..., None] * x) @ taps


def _level(degradation: Degradation, image: np.ndarray, noise: float) -> float:
  """Measures A: the scene's power times the frequency's square."""
  window = min(spectrum.WINDOW, *image.shape[:2])
  power = spectrum.spectrum(image, window)
  f = np.fft.fftfreq(window)
  transfer = sum(abs(blur) ** 2 for _, blur, _ in _folds(degradation, f))
  g = np.hypot(f[:, None], f)
  coarse = (g >= _COARSE[0]) & (g <= max(_COARSE[1], 1 / window))
  scene = np.maximum(power - noise, 0) / np.maximum(transfer, _LEAST_TRANSFER)
  return float((scene * g**2)[coarse].mean())
