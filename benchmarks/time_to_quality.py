"""PSNR against seconds: our configs and a PyTorch loop of the published one.

  python benchmarks/time_to_quality.py [--cores 1 2] [--before=CHECKOUT]
  python benchmarks/time_to_quality.py --images bird 253 --families fast
  python benchmarks/time_to_quality.py --report

Set5 and four photos of BSDS300 train (ZSSR_JAX_DATA). Ours are whole runs of
`train_image` by `FAMILIES`, each its own, compiled before. PyTorch trains the
published network by the published settings (a 128x128 crop a step, Adam at
1e-3, the plateau schedule; ensemble by the median and back-projection at the
end) and is stopped and judged at several steps; its seconds are those of the
training so far and of that inference. One thing at a time.

Each image has a process of its own, held to so many cores before JAX starts;
with --before=CHECKOUT one with the package of that checkout goes first. What
they measure are lines of OUTPUT.jsonl; a second start makes only those that
are missing, also where the settings of a family have changed. --report makes
OUTPUT.md and OUTPUT.png of the lines alone. Linux only; needs the `bench`
extra.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ceiling
import jax
import jax.numpy as jnp
import numpy as np
import quality_curves

import zssr_jax
from zssr_jax import Config, load_config, load_start, super_resolution
from zssr_jax.data import datasets, image_io
from zssr_jax.evaluation import code, rows
from zssr_jax.ops import color, conv, metrics, resize
from zssr_jax.training import loop

Row = dict[str, Any]


class Family(NamedTuple):
  """Configs from quick to slow: a preset with other numbers of steps."""

  preset: str
  changes: dict[str, Any]
  steps: tuple[int | None, ...]  # of each stage; None: as many as the preset


_FROM_RANDOM = 50, 100, 200, 400, 800
_ADAM = {'start': 'random', 'optimizer': 'adam', 'learning_rate': 3e-3}
_MUON = {'start': 'random', 'optimizer': 'muon'}
FAMILIES = {
  'fast': Family('fast', {}, (0, 20, 50, 100, 200)),
  'fast, random start, Adam': Family('fast', _ADAM, _FROM_RANDOM),
  'fast, random start, Muon': Family('fast', _MUON, _FROM_RANDOM),
  'balanced': Family('balanced', {}, (50, 100, None)),
  'gradual': Family('gradual', {}, (50, 100, None)),
  'best': Family('best', {}, (None,)),
}
SLOW = 'gradual', 'best'  # only with --slow
PYTORCH = 'PyTorch, published settings'
PYTORCH_STEPS = 50, 100, 200, 400, 800, 1200, 2000, 3000
# Of the sorted photos of BSDS300 train.
PHOTOS = 10, 60, 110, 160
SECONDS = 1, 3, 10, 30, 60, 120  # at which the results are compared
# What tells one measurement from another.
_KEY = ('cores', 'image', 'scale', 'family', 'seed', 'steps', 'config')


class Task(NamedTuple):
  """What a process measures."""

  image: str  # its name in `image_files`
  scale: int
  seed: int
  families: list[str]
  most: int  # steps of PyTorch's loop, at most
  output: str  # the file of lines
  before: str | None  # the checkout whose package is measured; None: our own

  @property
  def checkout(self) -> Path:
    """Where the package must lie."""
    return Path(self.before or Path(__file__).parents[1]).resolve()


def image_files(root: Path, scale: int) -> dict[str, datasets.Pair]:
  """Files of the test images by name; those of photos have no LR image."""
  photos = datasets.pairs(root, 'BSDS300_train', scale, with_lr=False)
  return {
    **{f'Set5 {p.name}': p for p in datasets.pairs(root, 'Set5', scale)},
    **{f'BSDS300 {photos[i].name}': photos[i] for i in PHOTOS},
  }


def read_pair(pair: datasets.Pair, scale: int) -> tuple[np.ndarray, np.ndarray]:
  """Reads the LR and the HR image; makes the LR image where there is none."""
  hr = image_io.read_image(pair.hr)
  if pair.lr is not None:
    return image_io.read_image(pair.lr), hr
  height, width = (n // 12 * 12 for n in hr.shape[:2])
  hr = hr[:height, :width]
  lr = color.to_uint8(resize.imresize(hr.astype(np.float64), 1 / scale))
  return lr.astype(np.float32) / 255, hr


def configs_of(family: Family) -> list[Config]:
  """Returns a family's configs, which differ in `max_steps` alone.

  Raises:
    ValueError: for a preset or a value that the package does not have.
    TypeError: for a field that it does not have.
  """
  own = load_config(family.preset, **family.changes).in_force.max_steps
  steps = dict.fromkeys(own if n is None else n for n in family.steps)
  return [
    load_config(family.preset, **family.changes, max_steps=n).in_force
    for n in steps
  ]


def settings_of(config: Config) -> dict[str, Any]:
  """What a config has other than the default, but for its steps, as JSON."""
  changed = {
    field.name: getattr(config, field.name)
    for field in dataclasses.fields(config)
    if getattr(config, field.name) != field.default
    and field.name != 'max_steps'
  }
  return json.loads(json.dumps(changed))


def key_of(row: Row) -> str:
  """A text that is the same for measurements of the same thing."""
  return json.dumps([row[name] for name in _KEY], sort_keys=True)


@functools.cache
def machine() -> str:
  """Names the processor."""
  try:
    lines = Path('/proc/cpuinfo').read_text().splitlines()
  except OSError:
    lines = []
  names = [s.partition(':')[2].strip() for s in lines if 'model name' in s]
  return names[0] if names else platform.machine()


def warm_up(lr: np.ndarray, scale: int, config: Config, start: Any) -> None:
  """Compiles all programs of a run; each stage is one chunk of steps long."""
  run = super_resolution.run_image(lr, scale, config=config, start=start)
  last = jnp.asarray(max(config.max_steps - 1, 0), jnp.int32)
  trained: Any = None
  while True:
    try:
      job = run.send(trained)
    except StopIteration:
      return
    trained = loop.train(job._replace(state=job.state._replace(step=last)))


def run_ours(
  lr: np.ndarray, scale: int, config: Config, seed: int
) -> tuple[np.ndarray, Row]:
  """Returns a run's result and what it took."""
  start = load_start(config.start, scale)
  warm_up(lr, scale, config, start)
  begin = time.perf_counter()
  result = super_resolution.train_image(
    lr, scale, config=config, start=start, key=jax.random.key(seed)
  )
  seconds = time.perf_counter() - begin
  return result.image, {'train': result.seconds['train'], 'seconds': seconds}


def run_pytorch(
  lr: np.ndarray, scale: int, steps: Iterable[int], seed: int
) -> Iterator[tuple[np.ndarray, Row]]:
  """Yields the loop's result after each of some steps, and what it took.

  What has ended by itself is the same however many steps more it may take.
  """
  import torch
  import torch_network

  torch.set_num_threads(conv.cores())
  first = torch_network.Published(lr, scale, seed)  # as ours, not the first
  first.train(10)
  first.result()
  published = torch_network.Published(lr, scale, seed)
  image, taken = None, 0.0
  for count in steps:
    if image is None or not published.ended:
      published.train(count)
      begin = time.perf_counter()
      image = published.result()
      taken = published.seconds + time.perf_counter() - begin
    cost = {'train': published.seconds, 'seconds': taken}
    yield image, {**cost, 'torch': torch.__version__}


def plan(task: Task) -> list[tuple[Row, Config | None]]:
  """Lists what is asked of an image, leaving out what the package lacks.

  Returns:
    Rows without results and their configs, None for PyTorch's loop.
  """
  facts = {'image': task.image, 'scale': task.scale, 'seed': task.seed}
  facts['cores'] = conv.cores()
  suffix = quality_curves.BEFORE if task.before else ''
  planned: list[tuple[Row, Config | None]] = []
  for name in task.families:
    facts['family'] = name + suffix
    if name == PYTORCH:
      if not task.before:
        steps = [n for n in PYTORCH_STEPS if n <= task.most]
        planned += [(facts | {'steps': n, 'config': None}, None) for n in steps]
      continue
    try:
      configs = configs_of(FAMILIES[name])
    except (TypeError, ValueError) as error:
      print(f'{facts["family"]} is left out: {error}', flush=True)
      continue
    for config in configs:
      own = {'steps': config.max_steps, 'config': settings_of(config)}
      planned.append((facts | own, config))
  return planned


def work(task: Task) -> None:
  """Measures what is missing of an image, in the process for it."""
  assert Path(zssr_jax.__file__).resolve().is_relative_to(task.checkout)
  path, root, scale = Path(task.output), datasets.data_root(), task.scale
  assert root is not None
  have = {key_of(row) for row in read_lines(path)}
  planned = plan(task)
  missing = [(r, config) for r, config in planned if key_of(r) not in have]
  if not missing:
    return
  facts: Row = {'gflops': round(ceiling.matrix_rate(2048) / 1e9, 1)}
  facts |= {'machine': machine(), 'commit': code.commit()}
  lr, hr = read_pair(image_files(root, scale)[task.image], scale)
  bicubic, _ = metrics.score(resize.imresize(lr, scale), hr, scale)
  facts |= {'jax': jax.__version__, 'bicubic': bicubic}

  def keep(row: Row, result: np.ndarray, cost: Row) -> None:
    psnr, ssim = metrics.score(result, hr, scale)
    append(path, row | cost | {'psnr': psnr, 'ssim': ssim} | facts)

  for row, config in missing:
    if config is not None:
      keep(row, *run_ours(lr, scale, config, task.seed))
  theirs = [row for row, config in missing if config is None]
  if theirs:
    steps = [row['steps'] for row in theirs]
    runs = run_pytorch(lr, scale, steps, task.seed)
    for row, made in zip(theirs, runs, strict=True):
      keep(row, *made)


def read_lines(path: Path) -> list[Row]:
  """Reads the lines that there are; a last one that was cut short is not."""
  return rows.read_rows(path) if path.exists() else []


def append(path: Path, row: Row) -> None:
  """Adds a line and prints it in short; numbers have as many digits as help."""
  digits = {'train': 3, 'seconds': 3, 'psnr': 4, 'ssim': 5, 'bicubic': 4}
  row = row | {name: round(row[name], n) for name, n in digits.items()}
  with path.open('ab+') as file:
    file.seek(0)
    file.truncate(file.read().rfind(b'\n') + 1)  # what a killed run left
    file.write(json.dumps(row).encode() + b'\n')
  print(
    f'cores: {row["cores"]}  {row["image"]}  {row["family"]}'
    f'  {row["steps"]} steps  {row["seconds"]:.2f} s  {row["psnr"]:.2f} dB',
    flush=True,
  )


def measure(options: argparse.Namespace, images: list[str]) -> None:
  """Starts a process for each count of cores, image and checkout."""
  allowed = sorted(os.sched_getaffinity(0))
  befores = [None] if options.before is None else [options.before, None]
  for cores, image, before in itertools.product(options.cores, images, befores):
    task = Task(
      image,
      options.scale,
      options.seed,
      options.families,
      options.torch_steps,
      f'{options.output}.jsonl',
      before,
    )
    paths = [str(task.checkout), *os.environ.get('PYTHONPATH', '').split(':')]
    os.sched_setaffinity(0, allowed[:cores])  # which the process inherits
    subprocess.run(
      [sys.executable, __file__, f'--task={json.dumps(task)}'],
      env={**os.environ, 'PYTHONPATH': ':'.join(filter(None, paths))},
      check=True,
    )
  os.sched_setaffinity(0, allowed)


def report(output: str, scale: int) -> None:
  """Makes tables and plot of the lines.

  Raises:
    SystemExit: where there are none of this scale.
  """
  suffixes = quality_curves.BEFORE, ''
  order = [n + suffix for n in [*FAMILIES, PYTORCH] for suffix in suffixes]
  lines = quality_curves.current(read_lines(Path(f'{output}.jsonl')), scale)
  lines = [row for row in lines if row['family'] in order]
  if not lines:
    raise SystemExit(f'{output}.jsonl has no line of scale {scale}')
  lines.sort(key=lambda row: order.index(row['family']))
  plot = Path(f'{output}.png')
  page = quality_curves.page(lines, SECONDS, PYTORCH, plot.name)
  Path(f'{output}.md').write_text(page)
  print(page)
  quality_curves.draw(lines, SECONDS, PYTORCH, plot)


def _among(parts: list[str], known: Iterable[str]) -> list[str]:
  """Those of some names that have one of the parts in them; all for none."""
  return [n for n in known if not parts or any(part in n for part in parts)]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  parser.add_argument('--cores', type=int, nargs='+', default=[1, 2])
  parser.add_argument('--images', nargs='+', default=[], help='parts of names')
  parser.add_argument('--families', nargs='+', default=[], help='the same')
  parser.add_argument('--slow', action='store_true', help='gradual, best too')
  parser.add_argument('--scale', type=int, choices=(2, 3, 4), default=2)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--torch-steps', type=int, default=3000)
  parser.add_argument('--before', help='another checkout')
  parser.add_argument('--output', default='docs/results/time_to_quality')
  parser.add_argument('--report', action='store_true', help='measure nothing')
  parser.add_argument('--task', type=json.loads, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.task:
    work(Task(*options.task))
    return
  if not options.report:
    root = datasets.data_root()
    if root is None:
      parser.error('no data: set ZSSR_JAX_DATA')
    if max(options.cores) > conv.cores():
      parser.error(f'there are {conv.cores()} cores')
    images = _among(options.images, image_files(root, options.scale))
    known = [n for n in FAMILIES if options.slow or n not in SLOW]
    options.families = _among(options.families, [*known, PYTORCH])
    if not images or not options.families:
      parser.error('no image or family of such a name')
    Path(options.output).parent.mkdir(parents=True, exist_ok=True)
    measure(options, images)
  report(options.output, options.scale)


if __name__ == '__main__':
  main()
