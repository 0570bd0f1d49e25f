"""Seconds and memory of bin/main.py by the size of the photo.

  python benchmarks/scale.py [--megapixels 0.25 1 4 12] [--flags=--config=fast]
  python benchmarks/scale.py --megapixels 100 --tiff --flags='--preview'

Photos are mosaics of BSDS300 train, JPEGs of 8 bits or, with --tiff, TIFFs of
16, x2. Each run is a process of its own; with --before=CHECKOUT one of that
checkout follows it, with --before-flags where its flags differ. Prints a
Markdown table of medians over --repeat runs: the seconds of the whole process,
those of training and enlarging, and the most memory that it held. Before it
stands at what rate matrix products go, on which convolutions rest.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ceiling
import numpy as np
import tifffile
from PIL import Image

from zssr_jax.data import datasets
from zssr_jax.ops import conv

ROOT = Path(__file__).resolve().parents[1]
_PATCH = 320, 480  # rows and columns of a photo in the mosaic


def mosaic(height: int, width: int, folder: Path) -> np.ndarray:
  """Returns uint8 `[height, width, 3]`, photos beside each other."""
  paths = sorted(folder.glob('*.jpg'))
  out = np.empty((height, width, 3), np.uint8)
  number = 0
  for top in range(0, height, _PATCH[0]):
    for left in range(0, width, _PATCH[1]):
      photo = np.asarray(Image.open(paths[number % len(paths)]).convert('RGB'))
      if photo.shape[0] > photo.shape[1]:
        photo = photo.transpose(1, 0, 2)
      place = out[top : top + _PATCH[0], left : left + _PATCH[1]]
      place[:] = photo[: place.shape[0], : place.shape[1]]
      number += 7
  return out


def write(path: Path, megapixels: float, folder: Path) -> None:
  """Writes a photo of so many megapixels, 4 by 3."""
  height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
  image = mosaic(height, round(height * 4 / 3), folder)
  if path.suffix == '.jpg':
    Image.fromarray(image).save(path, quality=92)
    return
  tifffile.imwrite(path, image.astype(np.uint16) * 257, photometric='rgb')


def run(
  checkout: Path, photo: Path, output: Path, flags: list[str]
) -> tuple[float, float, float, float]:
  """Runs a checkout's bin/main.py; returns three seconds, and gigabytes.

  Raises:
    RuntimeError: if the run failed.
  """
  begin = time.perf_counter()
  process = subprocess.Popen(
    [
      sys.executable,
      str(checkout / 'bin' / 'main.py'),
      f'--input={photo}',
      f'--output={output}',
      *flags,
    ],
    env={**os.environ, 'PYTHONPATH': str(checkout)},
  )
  _, status, usage = os.wait4(process.pid, 0)
  seconds = time.perf_counter() - begin
  if status:
    raise RuntimeError(f'{checkout}/bin/main.py ended with {status}')
  (record,) = output.glob('*.json')
  parts = json.loads(record.read_text())['seconds']
  memory = usage.ru_maxrss * 1024 / 1e9
  return seconds, parts['train'], parts['infer'], memory


def measure(photo: Path, options: argparse.Namespace) -> dict[str, str]:
  """Returns a row's cells by the name of the code, medians of some runs."""
  codes = {'this': (ROOT, options.flags)}
  if options.before is not None:
    codes['before'] = options.before, options.before_flags or options.flags
  runs: dict[str, list[tuple[float, ...]]] = {name: [] for name in codes}
  for number in range(options.repeat):
    for name, (checkout, flags) in codes.items():
      output = photo.parent / f'{name}{number}'
      runs[name].append(run(checkout, photo, output, flags.split()))
      shutil.rmtree(output)
  cells = {}
  for name, rows in runs.items():
    seconds, train, infer, memory = np.median(rows, axis=0)
    cells[name] = f'{seconds:.1f} | {train:.1f} | {infer:.1f} | {memory:.2f}'
  return cells


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument(
    '--megapixels', type=float, nargs='+', default=[0.25, 1, 4, 12]
  )
  parser.add_argument('--tiff', action='store_true')
  parser.add_argument('--flags', default='--config=fast')
  parser.add_argument('--repeat', type=int, default=3)
  parser.add_argument('--before', type=Path)
  parser.add_argument('--before-flags')
  options = parser.parse_args()
  root = datasets.data_root()
  assert root is not None, 'needs the test images'
  rate = ceiling.matrix_rate(2048) / 1e9
  print(f'{conv.cores()} cores, matrix products at {rate:.0f} GFLOP/s\n')
  print('| megapixels | code | seconds | training | enlarging | memory, GB |')
  print('|---|---|---|---|---|---|')
  for megapixels in options.megapixels:
    with tempfile.TemporaryDirectory() as name:
      photo = Path(name) / ('photo.tif' if options.tiff else 'photo.jpg')
      write(photo, megapixels, root / 'BSDS300_train')
      for label, cells in measure(photo, options).items():
        print(f'| {megapixels:g} | {label} | {cells} |', flush=True)


if __name__ == '__main__':
  main()
