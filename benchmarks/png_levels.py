"""Seconds and megabytes of a large PNG, by the level of its compression.

  python benchmarks/png_levels.py

The image is what a photo of 12 megapixels becomes at x2: a mosaic of BSDS300
train, enlarged by bicubic interpolation.
"""

from __future__ import annotations

import io
import time

import scale
from PIL import Image

from zssr_jax.data import datasets


def main() -> None:
  root = datasets.data_root()
  assert root is not None, 'needs the test images'
  mosaic = scale.mosaic(3000, 4000, root / 'BSDS300_train')
  image = Image.fromarray(mosaic).resize((8000, 6000), Image.Resampling.BICUBIC)
  print('| level | seconds | megabytes |\n|---|---|---|')
  for level in (6, 4, 3, 2, 1):
    begin = time.perf_counter()
    stream = io.BytesIO()
    image.save(stream, 'PNG', compress_level=level)
    seconds = time.perf_counter() - begin
    size = len(stream.getvalue()) / 1e6
    print(f'| {level} | {seconds:.1f} | {size:.1f} |', flush=True)


if __name__ == '__main__':
  main()
