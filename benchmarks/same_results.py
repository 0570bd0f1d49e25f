"""Compares what two checkouts make of the same images, byte for byte.

  python benchmarks/same_results.py --before=../other_checkout
  python benchmarks/same_results.py --before=../other --cases=fast,joint

Runs bin/main.py of both checkouts, seeded and shortened, on two images, one
in colour and one in grey of odd sides, and compares the pictures, the kernels
and the curves of the training. Each run has one core (`taskset`), since the
last bits of a result depend on whether there is one core or more. Prints a
line a run; the exit code is 0 when all are the same. A result that is there
already in --work is not made again, so an interrupted comparison goes on.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Shortened, so that all of them together take minutes.
CASES = {
  'fast': ['--config=fast', '--config.start_steps=40'],
  'random': [
    '--config=fast',
    '--config.start=random',
    '--config.max_steps=40',
  ],
  'nonideal': ['--config=nonideal', '--config.max_steps=40'],
  'given': [
    '--config=nonideal',
    '--kernel=gaussian:1.4,0.9,30deg',
    '--config.max_steps=40',
  ],
  'real': ['--config=real', '--config.max_steps=30'],
  'gradual': ['--config=gradual', '--config.max_steps=15'],
  'hybrid_loss': ['--config=hybrid_loss', '--config.max_steps=8'],
  'joint': ['--config=nonideal', '--kernel=joint', '--config.max_steps=40'],
  'vdsr_backbone': ['--config=vdsr_backbone', '--config.max_steps=8'],
  'ideal': ['--config=ideal', '--config.max_steps=15'],
}


def make_inputs(folder: pathlib.Path) -> list[pathlib.Path]:
  """The bundled photo, and a grey part of its ground truth."""
  folder.mkdir(parents=True, exist_ok=True)
  examples = ROOT / 'examples'
  colour, grey = folder / 'colour.png', folder / 'grey.png'
  with Image.open(examples / 'astronaut_lr.png') as image:
    image.save(colour)
  with Image.open(examples / 'astronaut_hr.png') as image:
    image.convert('L').crop((30, 20, 127, 111)).save(grey)
  return [colour, grey]


def run(
  checkout: pathlib.Path,
  image: pathlib.Path,
  flags: list[str],
  output: pathlib.Path,
  python: str,
) -> None:
  """Super-resolves one image by one checkout, unless that has been done."""
  if (output / f'{image.stem}_x2.json').is_file():
    return
  # The checkout's own package, whatever the environment has installed.
  environment = {**os.environ, 'PYTHONPATH': str(checkout)}
  done = subprocess.run(
    ['taskset', '-c', '0', python, str(checkout / 'bin' / 'main.py')]
    + [f'--input={image}', f'--output={output}', '--seed=7', *flags],
    capture_output=True,
    text=True,
    env=environment,
    cwd=checkout,
  )
  if done.returncode:
    sys.exit(f'{checkout}: {image.name} {flags}: {done.stderr}')


def differences(
  image: pathlib.Path, before: pathlib.Path, after: pathlib.Path
) -> list[str]:
  """What differs between two runs on an image, in words."""
  found = []
  for name in (f'{image.stem}_x2.png', f'{image.stem}_x2_kernel.npy'):
    a, b = before / name, after / name
    if a.is_file() != b.is_file():
      found.append(f'{name} is there only once')
    elif a.is_file() and a.read_bytes() != b.read_bytes():
      load = np.load if name.endswith('npy') else _pixels
      one, other = load(a), load(b)
      if one.shape != other.shape:
        found.append(f'{name} {one.shape} and {other.shape}')
      elif (one != other).any():
        gap = np.abs(one.astype(float) - other.astype(float))
        found.append(f'{name} by up to {gap.max():.3g}')
  records = [
    json.loads((folder / f'{image.stem}_x2.json').read_text())
    for folder in (before, after)
  ]
  curves = [record['history'] for record in records]
  for name in curves[0]:
    if curves[0][name] != curves[1].get(name):
      found.append(f'history.{name}')
  if records[0]['steps'] != records[1]['steps']:
    found.append('steps')
  return found


def _pixels(path: pathlib.Path) -> np.ndarray:
  with Image.open(path) as image:
    return np.asarray(image)


def main() -> int:
  """Compares all cases and returns the exit code."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--before', type=pathlib.Path, required=True)
  parser.add_argument('--after', type=pathlib.Path, default=ROOT)
  parser.add_argument(
    '--work', type=pathlib.Path, default=ROOT / 'out' / 'same'
  )
  parser.add_argument('--cases', default=','.join(CASES))
  parser.add_argument('--python', default=sys.executable)
  options = parser.parse_args()
  inputs = make_inputs(options.work)
  worst = 0
  for case in options.cases.split(','):
    outputs = []
    for name in ('before', 'after'):
      checkout = getattr(options, name).resolve()
      outputs.append(options.work.resolve() / name / case)
      for image in inputs:
        run(checkout, image.resolve(), CASES[case], outputs[-1], options.python)
    for image in inputs:
      found = differences(image, *outputs)
      print(
        f'{case:14} {image.stem:7} {"; ".join(found) or "same"}', flush=True
      )
      worst |= bool(found)
  return worst


if __name__ == '__main__':
  sys.exit(main())
