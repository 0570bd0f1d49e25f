"""How well the noise of an image is found that was put there.

  python benchmarks/noise_recovery.py [--half=odd] [--count=50]

Photos of BSDS300_train, those of odd (or even) place in the order of their
names, made smaller by bicubic interpolation or blurred (Gaussian of 1.5) and
then halved, with noise of each kind, drawn by seed, rounded to 8 bits. Prints
for each kind the ratio of the level found to the true one, which includes the
rounding: its median and the 10th and 90th of 100, how many lie within 15 and
20 %, how many variances within 30 %, and the kinds found (w white, p shot, s
speckle). Photos without noise: the levels themselves, of 255. Many a photo
has grain of its own, which counts as an error here.
"""

from __future__ import annotations

import argparse
import collections
import io
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from zssr_jax.data import datasets
from zssr_jax.kernel_estimation import noise
from zssr_jax.ops import color, resize


class Kind(NamedTuple):
  """What is done to a photo."""

  factor: float  # that it is made smaller by
  blur: float = 0.0  # standard deviation before that, pixels
  white: float = 0.0  # standard deviation, of 255
  shot: float = 0.0
  speckle: float = 0.0
  quality: int | None = None  # JPEG


_SMALLER = {'halved': Kind(2), 'blurred': Kind(2, 1.5)}
_NOISE = {f'white {s}': {'white': s} for s in (1, 2, 4, 8, 13)} | {
  'speckle 0.05': {'speckle': 0.05},
  'Poisson 200': {'shot': 1 / 200},
  'Poisson 1000': {'shot': 1 / 1000},
  'white 2, Poisson 500': {'white': 2, 'shot': 1 / 500},
}
KINDS = (
  {'halved': Kind(2), 'third': Kind(3), 'blurred': Kind(2, 1.5)}
  | {f'halved, JPEG {q}': Kind(2, quality=q) for q in (30, 60, 85, 95)}
  | {
    f'{name}, {what}': smaller._replace(**values)
    for what, values in _NOISE.items()
    for name, smaller in _SMALLER.items()
  }
)


def draw(photo: np.ndarray, kind: Kind, seed: int) -> tuple[np.ndarray, float]:
  """Makes the image in [0, 1], and the variance of its noise (mean)."""
  if kind.blur:
    photo = ndimage.gaussian_filter(photo, (kind.blur, kind.blur, 0))
  clean = np.clip(resize.imresize(photo, (1 / kind.factor,) * 2), 0, 1)
  added = noise.Noise(kind.white / 255, kind.shot, kind.speckle, 0.0)
  variance = added.variance(clean)
  normal = np.random.default_rng(seed).standard_normal(clean.shape)
  pixels = color.to_uint8(clean + np.sqrt(variance) * normal)
  if kind.quality:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, 'JPEG', quality=kind.quality)
    with Image.open(stream) as image:
      pixels = np.asarray(image)
  return pixels / 255, float(variance.mean() + 1 / 12 / 255**2)


def line(name: str, kind: Kind, photos: dict[str, np.ndarray]) -> str:
  """A line of the table."""
  levels, truths, kinds = [], [], collections.Counter[str]()
  for photo_name, photo in photos.items():
    seed = zlib.crc32(f'{name} {photo_name}'.encode())
    image, variance = draw(photo, kind, seed)
    found = noise.noise_model(image)
    levels.append(found.level(image))
    truths.append(np.sqrt(variance))
    terms = zip('wps', (found.std, found.shot, found.speckle), strict=True)
    kinds[''.join(letter for letter, term in terms if term) or '-'] += 1
  level, truth = np.array(levels), np.array(truths)
  common = ' '.join(f'{k}:{n}' for k, n in kinds.most_common())
  if not (kind.white or kind.shot or kind.speckle):
    low, middle, high = np.quantile(255 * level, (0.1, 0.5, 0.9))
    return (
      f'| {name} | level {middle:.2f} | {low:.2f} to {high:.2f}, worst'
      f' {255 * level.max():.2f} | | | | {common} |'
    )
  ratio = level / truth
  low, middle, high = np.quantile(ratio, (0.1, 0.5, 0.9))
  return (
    f'| {name} | {middle:.2f} | {low:.2f} to {high:.2f}'
    f' | {np.mean(abs(ratio - 1) < 0.15):.0%}'
    f' | {np.mean(abs(ratio - 1) < 0.2):.0%}'
    f' | {np.mean(abs(ratio**2 - 1) < 0.3):.0%} | {common} |'
  )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--half', choices=('even', 'odd'), default='odd')
  parser.add_argument('--count', type=int, default=50)
  options = parser.parse_args()
  root = datasets.data_root()
  if root is None:
    parser.error('no data: set ZSSR_JAX_DATA')
  files = sorted((root / 'BSDS300_train').glob('*.jpg'))
  photos = {}
  for file in files[options.half == 'odd' :: 2][: options.count]:
    with Image.open(file) as image:
      photos[file.stem] = np.asarray(image.convert('RGB')) / 255
  print('| photo | median | 8 of 10 | 15 % | 20 % | variance 30 % | kinds |')
  print('|---|---|---|---|---|---|---|')
  for name, kind in KINDS.items():
    print(line(name, kind, photos), flush=True)


if __name__ == '__main__':
  main()
