"""What an accelerator makes of ZSSR: one image's training, and all of B100.

  python benchmarks/accelerator.py [--json] [--steps=3000] [--images=100]
      [--config.FIELD=VALUE ...]

For float32 as it is, and for the shorter formats that the device multiplies
float32 in when it may (`jax_default_matmul_precision`: TF32 or bfloat16):

  train   seconds for so many published iterations of one 240x160 image (a crop
          of 120 a step), compiled before; the operations a second, and their
          share of those of a large matrix product in that format
  psnr    of the bundled example after these iterations, so that a format that
          costs quality shows

Then `bin/eval_all` on B100 x2 with the published network, ensemble and back-
projection included, in a process of its own: seconds for so many images, two at
a time on one device, one each on several. Wanted of an H200: 3000 iterations in
2 s, 100 images in 150 s. It runs on a CPU too: pass small numbers.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import ceiling
import jax
import numpy as np

from zssr_jax import Config, stages, train_image
from zssr_jax.data import image_io
from zssr_jax.ops import metrics

_ROOT = pathlib.Path(__file__).parents[1]
_FORMATS = ('float32', 'tensorfloat32', 'bfloat16')


def train_rate(steps: int) -> tuple[float, float]:
  """Seconds of so many published iterations, and their operations a second."""
  image = np.random.default_rng(0).random((160, 240, 3), np.float32)
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


def evaluate(images: int, extra: list[str]) -> float:
  """Seconds of bin/eval_all on B100, everything included."""
  with tempfile.TemporaryDirectory() as folder:
    begin = time.perf_counter()
    subprocess.run(
      [
        sys.executable,
        str(_ROOT / 'bin/eval_all'),
        '--datasets=B100',
        '--methods=zssr',
        '--config=ideal',
        f'--limit={images}',
        f'--devices={jax.device_count()}',
        f'--in_flight={2 if jax.device_count() == 1 else 1}',
        f'--output={folder}',
        *extra,
      ],
      check=True,
    )
    return time.perf_counter() - begin


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--json', action='store_true')
  parser.add_argument('--steps', type=int, default=3000)
  parser.add_argument('--images', type=int, default=100)
  options, extra = parser.parse_known_args()
  device = jax.devices()[0]
  side = 2048 if device.platform == 'cpu' else 8192
  report: dict = {'device': device.device_kind, 'jax': jax.__version__}
  for name in _FORMATS:
    with jax.default_matmul_precision(name):
      limit = ceiling.matrix_rate(side)
      seconds, rate = train_rate(options.steps)
      psnr = example_psnr(options.steps)
    report[name] = {
      'matrix_tflops': limit / 1e12,
      'train_seconds': seconds,
      'train_tflops': rate / 1e12,
      'share': rate / limit,
      'psnr': psnr,
    }
    if not options.json:
      print(
        f'{name:13s} {options.steps} iterations {seconds:7.1f} s'
        f'  {rate / 1e12:6.2f} TFLOP/s, {100 * rate / limit:.0f}% of'
        f' {limit / 1e12:.1f}  example {psnr:.2f} dB',
        flush=True,
      )
  if options.images:
    report['b100_seconds'] = evaluate(options.images, extra)
    if not options.json:
      print(f'B100 x2, {options.images} images: {report["b100_seconds"]:.0f} s')
  if options.json:
    print(json.dumps(report))


if __name__ == '__main__':
  main()
