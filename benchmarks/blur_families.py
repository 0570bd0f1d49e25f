"""How often the kind of a blur is told, and how well its size.

  python benchmarks/blur_families.py [--dataset=B100] [--count=100]

Photos are degraded as `bin/eval_all --degradation` has it (x2, seed 0) and
diagnosed; nothing is trained. Prints a Markdown table: by degradation the share
of photos in which the right kind was found, of discs from radius 2.5 and lines
from length 7 on also the share of sizes within 5 %.
"""

from __future__ import annotations

import argparse

import numpy as np

from zssr_jax.data import datasets, image_io
from zssr_jax.evaluation import protocols
from zssr_jax.kernel_estimation import diagnosis
from zssr_jax.ops import color

KINDS = ('ideal', 'gaussian', 'disc', 'line', 'shake')
CONDITIONS = ('', '-noise1', '-jpeg85')
_LEAST = {'disc': 2.5, 'line': 7.0}
_SIZE = {'disc': 'radius', 'line': 'length'}


def name_of(found: diagnosis.Diagnosis) -> str:
  """What a diagnosis says, in the words of the test sets."""
  if found.unexplained or found.degradation.doubt is not None:
    return 'shake'
  if found.fit is None or found.degradation.kernel is None:
    return 'ideal'
  return found.fit.family.name


def size_error(found: diagnosis.Diagnosis, kind: str, true: float) -> float:
  """The relative error of a radius or length; infinite for another kind."""
  if name_of(found) != kind:
    return np.inf
  assert found.fit is not None
  return abs(float(np.linalg.norm(found.fit.parameters[1:])) / true - 1)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--dataset', default='B100')
  parser.add_argument('--count', type=int, default=100)
  options = parser.parse_args()
  root = datasets.data_root()
  assert root is not None, 'needs the test images'
  pairs = datasets.pairs(root, options.dataset, 2)[: options.count]
  print(
    '| degradation | photos | kind found | large enough | size within 5 % |'
  )
  print('|---|---|---|---|---|')
  for kind in KINDS:
    for condition in CONDITIONS:
      right, sizes = [], []
      for pair in pairs:
        hr = color.to_uint8(image_io.read_image(pair.hr))
        made = protocols.degrade(
          kind + condition, hr, 2, image_name=pair.name, seed=0, data=root
        )
        image = made.lr.astype(np.float32) / 255
        found = diagnosis.estimate_degradation(image, 2)
        right.append(name_of(found) == kind)
        true = made.details.get(_SIZE.get(kind, ''), 0)
        if kind in _LEAST and true >= _LEAST[kind]:
          sizes.append(size_error(found, kind, true) <= 0.05)
      share = f'{np.mean(sizes):.0%}' if sizes else ''
      print(
        f'| {kind}{condition} | {len(right)} | {np.mean(right):.0%} |'
        f' {len(sizes) or ""} | {share} |',
        flush=True,
      )


if __name__ == '__main__':
  main()
