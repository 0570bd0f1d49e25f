"""Which geometric copies of an image are worth most, of each number of them.

  python benchmarks/copies.py [--dataset=B100] [--count=30] [--scale=2]

Each image is trained on by configs/fast.py, and its network enlarges all eight
copies. Of every choice of 1, 2 and 4 of them, and of all 8, the mean is
corrected and scored. Prints a Markdown table: of each number the mean PSNR over
images of the three best choices and of the worst, by transforms of
`ops.dihedral`.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np

import zssr_jax
from zssr_jax import inference, presets, registry, stages
from zssr_jax.data import datasets, image_io
from zssr_jax.degradation import Degradation
from zssr_jax.evaluation.judge import Judge
from zssr_jax.ops import dihedral
from zssr_jax.weights import starts


def scores_of(lr: np.ndarray, hr: np.ndarray, scale: int) -> dict:
  """Returns the PSNR of every choice of copies."""
  config = presets.load_config('fast')
  start = starts.load_start('transferred', scale)
  trained = zssr_jax.train_image(
    lr, scale, config=config.replace(copies=1), start=start
  )
  network = registry.MODELS[config.model]
  config = config.replace(copies=8)
  model = stages.make_model(network, (float(scale),) * 2, config)
  member = inference.Member(trained.params, Degradation(scale))
  reach = network.reach(config.depth)
  upscaler = inference.Upscaler(model, (member,), config, reach)
  copies = inference._ensemble(upscaler, member, lr)
  judge = Judge(lr, hr, scale)
  found = {}
  for count in (1, 2, 4, 8):
    for chosen in itertools.combinations(range(dihedral.COUNT), count):
      mean = np.mean([copies[k] for k in chosen], axis=0)
      made = inference.back_project(
        mean, lr, member.degradation, iterations=config.back_projection
      )
      found[chosen] = judge.score(np.asarray(made)).psnr
  return found


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--dataset', default='B100')
  parser.add_argument('--count', type=int, default=30)
  parser.add_argument('--scale', type=int, default=2)
  options = parser.parse_args()
  root = datasets.data_root()
  assert root is not None, 'needs the test images'
  pairs = datasets.pairs(root, options.dataset, options.scale)
  rows = [
    scores_of(
      image_io.read_image(pair.lr), image_io.read_image(pair.hr), options.scale
    )
    for pair in pairs[: options.count]
  ]
  means = {chosen: np.mean([row[chosen] for row in rows]) for chosen in rows[0]}
  print(f'{options.dataset} x{options.scale}, {len(rows)} images\n')
  print('| copies | best | second | third | worst |')
  print('|---|---|---|---|---|')
  for count in (1, 2, 4, 8):
    ranked = sorted(
      (c for c in means if len(c) == count), key=means.__getitem__, reverse=True
    )
    shown = [*ranked[:3], ranked[-1]] if len(ranked) > 1 else ranked
    cells = [f'{" ".join(map(str, c))}: {means[c]:.3f}' for c in shown]
    print(f'| {count} | {" | ".join(cells)} |')


if __name__ == '__main__':
  main()
