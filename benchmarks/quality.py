"""Scores a config on a benchmark data set, one JSON row an image.

  python benchmarks/quality.py --config=configs/ideal.py --dataset=Set5 \
    --scale=2 --output=docs/results/set5_x2_ideal.jsonl [--names=baby,bird]

Rows are appended as images finish, and images that have a row with the same
config, seed and scale are not run again, so a killed run continues where it
stopped. Ends with a table of all rows of the file and their mean.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from pathlib import Path

import jax
from absl import app, flags
from ml_collections import config_flags

from zssr_jax import Config, train_image
from zssr_jax.command_line import flow
from zssr_jax.data import datasets, image_io
from zssr_jax.ops import metrics, resize

_CONFIG = config_flags.DEFINE_config_file('config', 'configs/ideal.py')
_DATA = flags.DEFINE_string('data', None, 'Data root; else ZSSR_JAX_DATA.')
_DATASET = flags.DEFINE_string('dataset', 'Set5', 'Folder of the data root.')
_NAMES = flags.DEFINE_list('names', [], 'These images only.')
_SCALE = flags.DEFINE_integer('scale', 2, 'Upscaling factor.')
_SEED = flags.DEFINE_integer('seed', 0, 'Random seed.')
_OUTPUT = flags.DEFINE_string('output', None, 'File of rows.', required=True)


def commit() -> str:
  """The checkout's commit, with a plus when there are changes."""
  text = subprocess.run(
    ['git', 'describe', '--always', '--dirty=+'],
    capture_output=True,
    text=True,
    cwd=Path(__file__).parent,
  ).stdout.strip()
  return text or 'unknown'


def run_image(pair: datasets.Pair, config: Config, key: dict) -> dict:
  """Trains on one image and returns its row."""
  if pair.lr is None:
    raise app.UsageError(f'{pair.name}: no low-resolution image')
  lr, hr = image_io.read_image(pair.lr), image_io.read_image(pair.hr)
  kernel = None if pair.kernel is None else image_io.read_kernel(pair.kernel)
  begin = time.perf_counter()
  result = train_image(
    lr,
    key['scale'],
    kernel=kernel,
    config=config,
    key=jax.random.key(key['seed']),
  )
  seconds = time.perf_counter() - begin
  psnr, ssim = metrics.score(result.image, hr, key['scale'])
  bicubic = metrics.score(resize.imresize(lr, key['scale']), hr, key['scale'])
  return {
    **key,
    'psnr': round(psnr, 4),
    'ssim': round(ssim, 5),
    'bicubic_psnr': round(bicubic[0], 4),
    'bicubic_ssim': round(bicubic[1], 5),
    'seconds': round(seconds, 1),
    'steps': sum(stage[2] for stage in result.history.stages),
    'drops': result.history.drops,
    'rollbacks': result.history.rollbacks,
    'phases': {k: round(v, 1) for k, v in result.seconds.items()},
    'commit': commit(),
    'jax': importlib.metadata.version('jax'),
    # A run pinned to one core by taskset says so.
    'device': f'{jax.devices()[0].device_kind},'
    f' {len(os.sched_getaffinity(0))} cores, {platform.machine()}',
    'config': dataclasses.asdict(config),
  }


def main(_) -> None:
  flow.use_compile_cache()
  config = Config(**_CONFIG.value.to_dict())
  root = datasets.data_root(_DATA.value)
  if root is None:
    raise app.UsageError('no data: pass --data or set ZSSR_JAX_DATA')
  output = Path(_OUTPUT.value)
  output.parent.mkdir(parents=True, exist_ok=True)
  output.touch()
  settings = json.loads(json.dumps(dataclasses.asdict(config)))
  for pair in datasets.pairs(root, _DATASET.value, _SCALE.value):
    if _NAMES.value and pair.name not in _NAMES.value:
      continue
    key = {
      'dataset': _DATASET.value,
      'image': pair.name,
      'scale': _SCALE.value,
      'seed': _SEED.value,
    }
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    if any(
      row['config'] == settings and key.items() <= row.items() for row in rows
    ):
      continue
    row = run_image(pair, config, key)
    with output.open('a') as file:
      file.write(json.dumps(row) + '\n')
    print(
      f'{row["image"]:12s} x{row["scale"]} {row["psnr"]:.2f}'
      f' / {row["ssim"]:.4f} ({row["bicubic_psnr"]:.2f}) {row["seconds"]} s',
      flush=True,
    )
  rows = [json.loads(line) for line in output.read_text().splitlines()]
  print('\n| image | seed | PSNR / SSIM | bicubic | steps | s |')
  print('|---|---|---|---|---|---|')
  for row in rows:
    print(
      f'| {row["image"]} x{row["scale"]} | {row["seed"]}'
      f' | {row["psnr"]:.2f} / {row["ssim"]:.4f}'
      f' | {row["bicubic_psnr"]:.2f} / {row["bicubic_ssim"]:.4f}'
      f' | {row["steps"]} | {row["seconds"]:.0f} |'
    )
  if rows:
    mean = {
      name: sum(row[name] for row in rows) / len(rows)
      for name in ('psnr', 'ssim', 'bicubic_psnr', 'bicubic_ssim', 'seconds')
    }
    print(
      f'| **mean of {len(rows)}** | | {mean["psnr"]:.2f} / {mean["ssim"]:.4f}'
      f' | {mean["bicubic_psnr"]:.2f} / {mean["bicubic_ssim"]:.4f}'
      f' | | {mean["seconds"]:.0f} |'
    )


if __name__ == '__main__':
  app.run(main)
