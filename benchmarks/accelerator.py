"""What an accelerator makes of ZSSR: one image's training, and all of B100.

  python benchmarks/accelerator.py [--output=out/accelerator]
      [--parts=train,fast,b100] [--steps=3000] [--repeats=5] [--images=100]
      [--config.FIELD=VALUE ...]

train  for float32 as it is, and for the shorter formats that the device
       multiplies float32 in when it may (`jax_default_matmul_precision`: TF32
       or bfloat16): seconds for so many published iterations of one 240x160
       image, compiled before; the operations a second, and their share of those
       of a large matrix product in that format; PSNR of the bundled example
       after these iterations, so that a format that costs quality shows
fast   seconds of `fast` for such an image, from array to array: the first,
       compilation included, and the mean of those that follow
b100   seconds of `bin/eval_all` on B100 x2 with the published network,
       ensemble, back-projection, judging and start-up included, in a process of
       its own: two images at a time on one device, one each on several; and
       their mean PSNR. --config.FIELD is for this part

Wanted of an H200: 3000 iterations in 2 s, an image by `fast` in 0.5 s, 100
images in 150 s. What docs/results/speed.md has is a model of all three.

Each part's results are appended to OUTPUT/rows.jsonl as soon as they are there,
those of B100's images copied to OUTPUT/b100.jsonl, and OUTPUT/table.md is made
of all lines, so the parts can be run one by one. It runs on a CPU too: pass
small numbers. The compiler's flags are in the rows, so that a run with others,
XLA_FLAGS=--xla_gpu_enable_command_buffer=+WHILE,+CONDITIONAL say, can be told
apart: with these a GPU takes the branches of a step itself, where otherwise it
asks the host.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

# Or this process would take most of the memory from that of bin/eval_all.
os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')

import ceiling
import jax
import numpy as np

from zssr_jax import Config, load_config, stages, train_image
from zssr_jax.data import image_io
from zssr_jax.ops import metrics

_ROOT = pathlib.Path(__file__).parents[1]
_FORMATS = ('float32', 'tensorfloat32', 'bfloat16')
_SHAPE = (160, 240, 3)


def read(file: pathlib.Path) -> list[dict[str, Any]]:
  """Reads a file of rows."""
  return [json.loads(line) for line in file.read_text().splitlines()]


def train_rate(steps: int) -> tuple[float, float]:
  """Seconds of so many published iterations, and their operations a second."""
  image = np.random.default_rng(0).random(_SHAPE, np.float32)
  config = Config(max_steps=steps, min_steps=steps, copies=1, back_projection=0)
  for _ in range(2):  # the first one compiles
    seconds = train_image(image, 2, config=config).seconds['train']
  ((_, side, _),) = stages.plan_stages(image.shape, 2, config)
  step = ceiling.operations(ceiling.channels(shuffle=False), side**2)
  return seconds, steps * step / seconds


def example_psnr(steps: int) -> float:
  """PSNR on the bundled example with its own kernel."""
  folder = _ROOT / 'examples'
  lr, hr = (
    image_io.read_image(folder / f'astronaut_{name}.png')
    for name in ('lr', 'hr')
  )
  kernel = np.load(folder / 'astronaut_kernel.npy')
  config = Config(max_steps=steps, schedule='cosine')
  result = train_image(lr, 2, kernel=kernel, config=config)
  return metrics.score(result.image, hr, 2)[0]


def train(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
  """Times the published training in each format."""
  # A product that is too small does not fill a GPU.
  side = 2048 if jax.default_backend() == 'cpu' else 8192
  for name in _FORMATS:
    with jax.default_matmul_precision(name):
      limit = ceiling.matrix_rate(side)
      seconds, rate = train_rate(options.steps)
      psnr = example_psnr(options.steps)
    yield {
      'format': name,
      'steps': options.steps,
      'seconds': seconds,
      'tflops': rate / 1e12,
      'matrix_tflops': limit / 1e12,
      'share': rate / limit,
      'psnr': psnr,
    }


def fast(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
  """Times `fast` on images of one size."""
  config = load_config('fast')
  seconds = []
  for seed in range(options.repeats + 1):
    image = np.random.default_rng(seed).random(_SHAPE, np.float32)
    begin = time.perf_counter()
    train_image(image, 2, config=config)
    seconds.append(time.perf_counter() - begin)
  yield {
    'first_seconds': seconds[0],
    'seconds': float(np.mean(seconds[1:])),
    'longest': max(seconds[1:]),
    'repeats': options.repeats,
  }


def b100(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
  """Times bin/eval_all on B100, everything included."""
  with tempfile.TemporaryDirectory() as folder:
    begin = time.perf_counter()
    subprocess.run(
      [
        sys.executable,
        str(_ROOT / 'bin/eval_all'),
        '--datasets=B100',
        '--methods=zssr',
        '--config=ideal',
        f'--limit={options.images}',
        f'--devices={jax.device_count()}',
        f'--in_flight={2 if jax.device_count() == 1 else 1}',
        f'--output={folder}',
        *options.extra,
      ],
      check=True,
    )
    seconds = time.perf_counter() - begin
    rows = pathlib.Path(folder) / 'rows.jsonl'
    shutil.copy(rows, options.output / 'b100.jsonl')
    scores = [row['psnr'] for row in read(rows)]
  yield {
    'images': len(scores),
    'seconds': seconds,
    'psnr': float(np.mean(scores)),
    'extra': options.extra,
  }


PARTS = {'train': train, 'fast': fast, 'b100': b100}


def write_table(rows: list[dict[str, Any]]) -> str:
  """Writes rows as a table in Markdown."""
  lines = [
    '| device | part | seconds | |',
    '|---|---|---|---|',
  ]
  for row in rows:
    if row['part'] == 'train':
      what = f'{row["steps"]} iterations, {row["format"]}'
      more = (
        f'{row["tflops"]:.2f} TFLOP/s, {100 * row["share"]:.0f}% of'
        f' {row["matrix_tflops"]:.1f}; example {row["psnr"]:.2f} dB'
      )
    elif row['part'] == 'fast':
      what = f'an image by `fast`, mean of {row["repeats"]}'
      more = f'the first {row["first_seconds"]:.1f} s'
    else:
      what = f'B100 ×2, {row["images"]} images'
      more = f'{row["psnr"]:.2f} dB'
    more += f'; `{row["xla_flags"]}`' if row['xla_flags'] else ''
    lines.append(
      f'| {row["device"]} | {what} | {row["seconds"]:.2f} | {more} |'
    )
  return '\n'.join(lines) + '\n'


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__.splitlines()[0], allow_abbrev=False
  )
  parser.add_argument('--output', type=pathlib.Path, default='out/accelerator')
  parser.add_argument('--parts', default=','.join(PARTS))
  parser.add_argument('--steps', type=int, default=3000)
  parser.add_argument('--repeats', type=int, default=5)
  parser.add_argument('--images', type=int, default=100)
  options, options.extra = parser.parse_known_args()
  parts = options.parts.split(',')
  if unknown := set(parts) - set(PARTS):
    parser.error(f'--parts: {", ".join(sorted(unknown))}; {", ".join(PARTS)}')
  if odd := [text for text in options.extra if '--config.' not in text]:
    parser.error(f'unknown: {" ".join(odd)}')
  options.output.mkdir(parents=True, exist_ok=True)
  file = options.output / 'rows.jsonl'
  for part in parts:
    for row in PARTS[part](options):
      known = {
        'part': part,
        'device': jax.devices()[0].device_kind,
        'devices': jax.device_count(),
        'jax': jax.__version__,
        'xla_flags': os.environ.get('XLA_FLAGS', ''),
      }
      with file.open('a') as out:
        out.write(json.dumps(known | row) + '\n')
      print(write_table([known | row]).splitlines()[-1], flush=True)
  (options.output / 'table.md').write_text(write_table(read(file)))


if __name__ == '__main__':
  main()
