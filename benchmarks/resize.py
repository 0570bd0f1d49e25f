"""Milliseconds of resizing on the device, against products with dense matrices.

  python benchmarks/resize.py [--sides 64 128 256 512] [--scale=2]

RGB images of so many pixels a side are enlarged by the cubic kernel, shrunk
back with antialiasing, and the transpose of shrinking is applied, compiled
each. The dense one multiplies both axes by `resize.resize_matrix`. The least of
five runs counts. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax.degradation import Degradation
from zssr_jax.ops import resize


def milliseconds(apply: Callable, x: jax.Array) -> float:
  """The least time of five of a compiled function."""
  apply = jax.jit(apply)
  apply(x).block_until_ready()
  times = []
  for _ in range(5):
    begin = time.perf_counter()
    apply(x).block_until_ready()
    times.append(time.perf_counter() - begin)
  return 1e3 * min(times)


def dense(size: int, out_size: int, scale: float) -> Callable:
  """Resizes both axes by one matrix."""
  matrix = jnp.asarray(resize.resize_matrix(size, out_size, scale), jnp.float32)

  def apply(x: jax.Array) -> jax.Array:
    precision = jax.lax.Precision.HIGHEST
    rows = jnp.einsum('ah,hwc->awc', matrix, x, precision=precision)
    return jnp.einsum('aw,hwc->hac', matrix, rows, precision=precision)

  return apply


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument(
    '--sides', type=int, nargs='+', default=[64, 128, 256, 512]
  )
  parser.add_argument('--scale', type=int, default=2)
  options = parser.parse_args()
  print('| side | up | dense | down | dense | transpose of down |')
  print('|---|---|---|---|---|---|')
  rng = np.random.default_rng(0)
  for side in options.sides:
    scale, large = options.scale, side * options.scale
    small, wide = (
      jnp.asarray(rng.uniform(size=(n, n, 3)), jnp.float32)
      for n in (side, large)
    )
    shrink = Degradation(scale)
    cells = (
      milliseconds(lambda x, s=scale: resize.imresize(x, s), small),
      milliseconds(dense(side, large, scale), small),
      milliseconds(shrink.down, wide),
      milliseconds(dense(large, side, 1 / scale), wide),
      milliseconds(lambda x, d=shrink, s=wide.shape: d.adjoint(x, s), small),
    )
    print(f'| {side} | {" | ".join(f"{c:.2f}" for c in cells)} |', flush=True)


if __name__ == '__main__':
  main()
