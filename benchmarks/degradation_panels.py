"""Draws what `auto` makes of degraded photos beside bicubic and the truth.

  python benchmarks/degradation_panels.py [--before=CHECKOUT]

Each row of docs/pictures/degradations.jpg is a photo of B100, degraded as
`bin/eval_all --degradation` has it (seed 0), x2: bicubic interpolation, with
--before the default config of an earlier checkout, `auto`, and the original.
Below every picture stands its PSNR.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zssr_jax.data import datasets, image_io
from zssr_jax.evaluation import protocols
from zssr_jax.evaluation.judge import Judge
from zssr_jax.ops import color
from zssr_jax.report.side_by_side import find_detail

ROOT = Path(__file__).resolve().parents[1]
CASES = (
  ('101085', 'gaussian'),
  ('119082', 'gaussian-noise'),
  ('148026', 'disc'),
  ('108005', 'disc-noise'),
  ('21077', 'line'),
  ('253027', 'line-noise'),
  ('38082', 'shake'),
  ('69015', 'shake-jpeg'),
  ('148089', 'ideal'),
  ('296059', 'ideal-noise'),
  ('291000', 'ideal-jpeg'),
  ('223061', 'ideal-jpeg-crop'),
)
_CROP = 104  # HR pixels a side
_ZOOM = 2
_TEXT = 15


def run(checkout: Path, image: Path, output: Path) -> np.ndarray:
  """Super-resolves a file by a checkout's bin/main.py with its defaults."""
  subprocess.run(
    [
      sys.executable,
      checkout / 'bin' / 'main.py',
      f'--input={image}',
      f'--output={output}',
    ],
    check=True,
    stdout=subprocess.DEVNULL,
    env={**os.environ, 'PYTHONPATH': str(checkout)},
  )
  return image_io.read_image(output / f'{image.stem}_x2.png')


def panels(name: str, kind: str, before: Path | None, folder: Path):
  """Returns `(label, image)` of the columns of a photo."""
  root = datasets.data_root()
  assert root is not None
  pair = next(p for p in datasets.pairs(root, 'B100', 2) if p.name == name)
  hr = color.to_uint8(image_io.read_image(pair.hr))
  made = protocols.degrade(kind, hr, 2, image_name=name, seed=0, data=root)
  y, x = made.corner
  rows, columns = (2 * n for n in made.lr.shape[:2])
  truth = hr[y : y + rows, x : x + columns].astype(np.float32) / 255
  path = folder / f'{name}.png'
  if made.jpeg is None:
    Image.fromarray(made.lr).save(path)
  else:
    path = path.with_suffix('.jpg')
    # As the protocol does, so that the file's pixels are those of `made.lr`.
    quality = made.details['quality']
    plain = protocols.degrade(
      kind.removesuffix('-jpeg'), hr, 2, image_name=name, seed=0, data=root
    )
    Image.fromarray(plain.lr).save(path, quality=quality)
  lr = image_io.read_image(path)
  judge = Judge(lr, truth, 2)
  columns = [('bicubic', judge.bicubic)]
  for label, checkout in (('before', before), ('auto', ROOT)):
    if checkout is None:
      continue
    columns.append((label, run(checkout, path, folder / label)))
  told = [
    (f'{label} {judge.score(image).psnr:.2f} dB', image)
    for label, image in columns
  ]
  record = json.loads((folder / 'auto' / f'{path.stem}_x2.json').read_text())
  print(name, kind, [label for label, _ in told], record['degradation']['blur'])
  return [*told, (f'{name}, {kind}', truth)]


def row_of(columns) -> Image.Image:
  """Draws a row: the same detail of all, enlarged."""
  top, left, side = find_detail(columns[-2][1], columns[0][1], side=_CROP)
  width = _CROP * _ZOOM
  size = (len(columns) * (width + 8), width + _TEXT + 12)
  row = Image.new('RGB', size, 'white')
  draw = ImageDraw.Draw(row)
  font = ImageFont.load_default(_TEXT)
  for i, (label, image) in enumerate(columns):
    part = color.to_uint8(image[top : top + side, left : left + side])
    picture = Image.fromarray(part).resize(
      (width, width), Image.Resampling.NEAREST
    )
    row.paste(picture, (i * (width + 8), 0))
    draw.text((i * (width + 8), width + 2), label, 'black', font)
  return row


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--before', type=Path)
  parser.add_argument('--output', type=Path, default=ROOT / 'docs' / 'pictures')
  options = parser.parse_args()
  rows = []
  for name, kind in CASES:
    with tempfile.TemporaryDirectory() as folder:
      rows.append(row_of(panels(name, kind, options.before, Path(folder))))
  sheet = Image.new(
    'RGB', (rows[0].width, sum(r.height for r in rows)), 'white'
  )
  for i, row in enumerate(rows):
    sheet.paste(row, (0, i * row.height))
  options.output.mkdir(parents=True, exist_ok=True)
  sheet.save(options.output / 'degradations.jpg', quality=88)


if __name__ == '__main__':
  main()
