"""Measures how soon small images of several sizes start in one process.

  python benchmarks/small_images.py
  python benchmarks/small_images.py --config=auto --sizes=120x100,131x97
  python benchmarks/small_images.py --cache=/tmp/cache   # kept between runs

Prints for each image the seconds from the call to the first steps of training
and to the result, and how much was traced, lowered and compiled: all of it, and
up to the first steps. With --verbose each program that took 50 ms, by name.
Without --cache nothing is compiled beforehand.
"""

import argparse
import collections
import os
import tempfile
import time

import numpy as np

_PARTS = {
  '/jax/core/compile/jaxpr_trace_duration': 'trace',
  '/jax/core/compile/jaxpr_to_mlir_module_duration': 'lower',
  '/jax/core/compile/backend_compile_duration': 'compile',
}


class Count:
  """Collects what JAX says of its programs."""

  def __init__(self):
    self.seconds = collections.Counter()
    self.programs = []  # (part, name, seconds)

  def __call__(self, event, seconds, **facts):
    if event in _PARTS:
      part = _PARTS[event]
      self.seconds[part] += seconds
      self.programs.append((part, facts.get('fun_name', '?'), seconds))

  def __str__(self):
    compiled = sum(part == 'compile' for part, *_ in self.programs)
    parts = ', '.join(
      f'{part} {self.seconds[part]:.2f}' for part in _PARTS.values()
    )
    return f'{compiled} programs ({parts} s)'


def crops(sizes, root):
  """Yields parts of the bundled photo."""
  from PIL import Image

  with Image.open(root / 'examples' / 'astronaut_hr.png') as photo:
    pixels = np.asarray(photo.convert('RGB'), np.float32) / 255
  for rows, columns in sizes:
    yield pixels[40 : 40 + rows, 60 : 60 + columns]


def main():
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  parser.add_argument('--config', default='fast')
  parser.add_argument(
    '--sizes', default='120x100,131x97,90x140,64x64,250x200', help='HxW,...'
  )
  parser.add_argument('--cache', help='folder of compiled programs')
  parser.add_argument('--verbose', action='store_true')
  flags = parser.parse_args()
  sizes = [tuple(map(int, s.split('x'))) for s in flags.sizes.split(',')]
  cache = flags.cache or tempfile.mkdtemp()
  os.environ['JAX_COMPILATION_CACHE_DIR'] = cache
  os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
  begin = time.perf_counter()
  import pathlib

  import jax

  import zssr_jax

  config, start = (
    zssr_jax.load_config(flags.config),
    zssr_jax.load_start('transferred', 2),
  )
  train_image = zssr_jax.train_image
  print(f'imported in {time.perf_counter() - begin:.2f} s')
  root = pathlib.Path(__file__).resolve().parents[1]
  current = Count()
  jax.monitoring.register_event_duration_secs_listener(
    lambda *args, **facts: current(*args, **facts)
  )
  for image in crops(sizes, root):
    current, first = Count(), []
    begin = time.perf_counter()

    def report(progress, begin=begin, first=first, count=current):
      if progress.step and not first:
        first.extend([time.perf_counter() - begin, str(count)])

    result = train_image(image, 2, config=config, start=start, progress=report)
    seconds = time.perf_counter() - begin
    print(f'{image.shape[0]}x{image.shape[1]}')
    print(f'  first steps after {first[0]:.2f} s: {first[1]}')
    print(f'  result after {seconds:.2f} s: {current}')
    print(
      f'  phases: { ({k: round(s, 2) for k, s in result.seconds.items()}) }'
    )
    if flags.verbose:
      for part, name, took in current.programs:
        if took >= 0.05:
          print(f'    {part:8}{took:6.2f}  {name}')


if __name__ == '__main__':
  main()
