"""What `auto` makes of blurs between and beyond its families.

  python benchmarks/generalised_gaussians.py [--count=8]

Photos of BSDS300 train, x2, are blurred by isotropic generalised Gaussians
exp(-(r / a)^p) of a standard deviation of 1.2 to 2.4 HR pixels: p = 1 has a
peak and long tails, p = 2 is the Gaussian, p = 4 is flat with a soft edge.
Prints a Markdown table: by p how often each kind was found, and in the mean the
gain over bicubic of `auto` and of `auto` told the kernel, in dB.
"""

from __future__ import annotations

import argparse
import collections

import numpy as np
from PIL import Image

import zssr_jax
from zssr_jax import blur_kernels, presets
from zssr_jax.data import datasets
from zssr_jax.degradation import Degradation
from zssr_jax.evaluation.judge import Judge
from zssr_jax.weights import starts

_SIDE = 41  # taps
_FINE = 8  # points a tap, along an axis


def kernel_of(power: float, std: float) -> np.ndarray:
  """Returns the kernel `[_SIDE, _SIDE]` for x2, sums to 1.

  Args:
    power: p.
    std: along an axis, HR pixels.
  """
  center = blur_kernels.aligned_center((_SIDE, _SIDE), 2)[0]
  fine = (np.arange(_SIDE * _FINE) + 0.5) / _FINE - 0.5 - center
  radius = np.hypot(fine[:, None], fine)
  # The width by which the variance is right, measured on the same points.
  shape = np.exp(-(radius**power))
  width = std / np.sqrt((shape * fine**2).sum() / shape.sum())
  for _ in range(20):
    shape = np.exp(-((radius / width) ** power))
    width *= std / np.sqrt((shape * fine**2).sum() / shape.sum())
  taps = shape.reshape(_SIDE, _FINE, _SIDE, _FINE).sum((1, 3))
  return (taps / taps.sum()).astype(np.float32)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--count', type=int, default=8)
  options = parser.parse_args()
  root = datasets.data_root()
  assert root is not None, 'needs the test images'
  photos = sorted((root / 'BSDS300_train').glob('*.jpg'))
  photos = photos[:: max(len(photos) // options.count, 1)]
  config = presets.load_config('auto')
  start = starts.load_start('transferred', 2)
  print(
    '| p | found | auto | told the kernel | worst by which it falls short |'
  )
  print('|---|---|---|---|---|')
  for power in (1.0, 2.0, 4.0):
    found, gains = collections.Counter(), []
    for number, path in enumerate(photos[: options.count]):
      hr = np.asarray(Image.open(path).convert('RGB'), np.float32) / 255
      hr = hr[: hr.shape[0] // 2 * 2, : hr.shape[1] // 2 * 2]
      kernel = kernel_of(power, 1.2 + 0.4 * (number % 4))
      lr = np.asarray(Degradation(2, kernel=kernel).down(hr)).clip(0, 1)
      lr = (np.round(255 * lr) / 255).astype(np.float32)
      judge = Judge(lr, hr, 2)
      bicubic = judge.score(judge.bicubic).psnr
      row = []
      for told in (None, kernel):
        result = zssr_jax.train_image(
          lr, 2, config=config, start=start, kernel=told
        )
        row.append(judge.score(result.image).psnr - bicubic)
        if told is None:
          assert result.diagnosis is not None
          fit = result.diagnosis.fit
          blurred = result.degradation.kernel is not None
          kind = fit.family.name if fit and blurred else 'none'
          found[kind if not result.diagnosis.unexplained else 'other'] += 1
      gains.append(row)
    mean = np.mean(gains, 0)
    short = max(told - own for own, told in gains)
    kinds = ', '.join(f'{kind} {n}' for kind, n in found.most_common())
    print(
      f'| {power:g} | {kinds} | {mean[0]:+.2f} | {mean[1]:+.2f} |'
      f' {short:.2f} |',
      flush=True,
    )


if __name__ == '__main__':
  main()
