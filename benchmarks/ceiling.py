"""What a machine can do, and what a training step cannot do without."""

from __future__ import annotations

import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp


def channels(shuffle: bool, width: int = 64, depth: int = 8) -> list[int]:
  """Channels before, between and behind the convolutions, x2 in colour.

  Args:
    shuffle: whether the network is the one at LR resolution.
    width: of the hidden layers.
    depth: number of convolutions.
  """
  return [3, *[width] * (depth - 1), 12 if shuffle else 3]


def weights(maps: Sequence[int]) -> list[int]:
  """Weights of each 3x3 convolution between such channels."""
  return [9 * i * o for i, o in zip(maps, maps[1:], strict=False)]


def operations(maps: Sequence[int], pixels: int) -> float:
  """Operations of a step on so many pixels: forward and two gradients."""
  layers = weights(maps)
  # Two gradients a layer, but no one asks for the first input's.
  return 2 * pixels * (3 * sum(layers) - layers[0])


def least(shuffle: bool, side: int) -> dict[str, float]:
  """Operations and bytes that a step of one crop cannot do without.

  The bytes are those of each layer's input and output, once forward and twice
  backward, and of the optimizer's state.

  Args:
    shuffle: as in `channels`.
    side: of the father crop, pixels.
  """
  maps = channels(shuffle)
  pixels = (side // 2 if shuffle else side) ** 2
  seen = sum(maps[:-1]) + sum(maps[1:])
  moved = 4 * (3 * seen * pixels + 7 * sum(weights(maps)))
  return {'operations': operations(maps, pixels), 'bytes': moved}


def matrix_rate(side: int) -> float:
  """Operations a second of a product of two matrices of this side."""
  a = jnp.ones((side, side))
  product = jax.jit(lambda a: a @ a)
  jax.block_until_ready(product(a))
  times = []
  for _ in range(5):
    begin = time.perf_counter()
    jax.block_until_ready(product(a))
    times.append(time.perf_counter() - begin)
  return 2 * side**3 / min(times)
