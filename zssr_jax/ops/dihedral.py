"""The eight symmetries of the square: right-angle rotations and mirrors.

Transform `k` in 0..7 mirrors left-right first when `k >= 4`, then rotates by
`k % 4` quarter turns counter-clockwise.
"""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

COUNT = 8

Array = TypeVar('Array', np.ndarray, jax.Array)


def dihedral(image: Array, k: int) -> Array:
  """Applies transform `k` to `[H, W, ...]`; odd `k` swaps H and W."""
  xp = np if isinstance(image, np.ndarray) else jnp
  if k >= 4:
    image = xp.flip(image, 1)
  return xp.rot90(image, k % 4)


def undo_dihedral(image: Array, k: int) -> Array:
  """Inverts `dihedral(image, k)`."""
  xp = np if isinstance(image, np.ndarray) else jnp
  image = xp.rot90(image, -k % 4)
  return xp.flip(image, 1) if k >= 4 else image


def random_dihedral(image: jax.Array, k: jax.Array) -> jax.Array:
  """Applies a traced transform `k`, int32 scalar, to a square `[S, S, C]`.

  Raises:
    ValueError: for an image that is not square.
  """
  if image.shape[0] != image.shape[1]:
    raise ValueError(f'a traced transform needs a square: {image.shape}')
  branches = [lambda x, k=k: dihedral(x, k) for k in range(COUNT)]
  return jax.lax.switch(k, branches, image)
