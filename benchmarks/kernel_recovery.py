"""How well each estimator finds a kernel it is not told.

  python benchmarks/kernel_recovery.py [--scale=2] [--count=50] [--set=B100]
    [--methods=estimate,recurrence,kernelgan] [--output=FILE.jsonl]

The first COUNT images of a set, each blurred with a random anisotropic
Gaussian (the degradation `gaussian` of bin/eval_all, drawn by seed and name).
Prints for each method the mean correlation with the true kernel, both
centred, the share of images above 0.9, the error of the variances along the
axes, and the seconds an image takes after the first. `constant` is the same
round Gaussian for all, of the draws' mean variance: what knowing nothing but
the kind of draw gives. With --output each result is appended as it comes, and
what is there already is not made again.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import time

import jax
import numpy as np

from zssr_jax import blur_kernels, registry
from zssr_jax.data import datasets
from zssr_jax.evaluation import cases


def constant(image, scale, key):
  """The same kernel for every image: variances of scale**2 / 2."""
  return blur_kernels.gaussian_kernel((scale**2 / 2, scale**2 / 2), 0.0, scale)


# Without `joint`, which needs the training: see the rows of bin/eval_all.
ESTIMATORS = {
  name: estimator.function
  for name, estimator in registry.ESTIMATORS.items()
  if not estimator.learnt_along
} | {'constant': constant}


def _covariance(kernel: np.ndarray) -> np.ndarray:
  """(yy, yx, xx)."""
  kernel = np.asarray(kernel, np.float64)
  center = blur_kernels.center_of_mass(kernel)
  y, x = (np.arange(n) - c for n, c in zip(kernel.shape, center, strict=True))
  return np.array([kernel.sum(1) @ y**2, y @ kernel @ x, kernel.sum(0) @ x**2])


def measure(case: cases.Case, method: str) -> dict:
  """One image by one method."""
  image = case.load().lr
  begin = time.perf_counter()
  kernel = ESTIMATORS[method](image, case.scale, jax.random.key(0))
  seconds = time.perf_counter() - begin
  assert case.kernel is not None
  error = _covariance(kernel) - _covariance(case.kernel)
  return {
    'method': method,
    'image': case.image,
    'scale': case.scale,
    'correlation': round(
      blur_kernels.kernel_correlation(case.kernel, kernel, case.scale), 4
    ),
    'error': [round(float(e), 4) for e in error],
    'seconds': round(seconds, 2),
  }


def table(rows: list[dict]) -> str:
  """Markdown, a line a method."""
  lines = [
    '| method | images | mean correlation | above 0.9 | RMS error of the'
    ' variances, HR pixels² | s an image |',
    '|---|---|---|---|---|---|',
  ]
  for method in ESTIMATORS:
    mine = [row for row in rows if row['method'] == method]
    if not mine:
      continue
    correlation = np.array([row['correlation'] for row in mine])
    error = np.array([row['error'] for row in mine])[:, [0, 2]]
    seconds = np.median([row['seconds'] for row in mine[1:] or mine])
    lines.append(
      f'| {method} | {len(mine)} | {correlation.mean():.3f}'
      f' | {(correlation > 0.9).mean():.0%}'
      f' | {np.sqrt((error**2).mean()):.2f} | {seconds:.2g} |'
    )
  return '\n'.join(lines)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--scale', type=int, default=2)
  parser.add_argument('--count', type=int, default=50)
  parser.add_argument('--set', default='B100')
  parser.add_argument('--methods', default='constant,estimate,recurrence')
  parser.add_argument('--output', type=pathlib.Path)
  options = parser.parse_args()
  rows = []
  if options.output and options.output.exists():
    rows = [json.loads(r) for r in options.output.read_text().splitlines()]
  done = {(row['method'], row['image'], row['scale']) for row in rows}
  found = cases.find_cases(
    datasets.data_root(),
    options.set,
    float(options.scale),
    'gaussian',
    seed=0,
    limit=options.count,
  )
  for method in options.methods.split(','):
    for case in found:
      if (method, case.image, case.scale) in done:
        continue
      row = measure(case, method)
      rows.append(row)
      if options.output:
        with options.output.open('a') as file:
          file.write(json.dumps(row) + '\n')
  print(table([row for row in rows if row['scale'] == options.scale]))


if __name__ == '__main__':
  main()
