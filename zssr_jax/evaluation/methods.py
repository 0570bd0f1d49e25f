"""The methods of the tables, by name.

A method is any callable `(lr, scale, kernel) -> sr` with a name: `lr` float
`[h, w, C]` in [0, 1], `kernel` the true one or None, the result of
`ceil(scale * lr)` pixels in [0, 1]. The exceptions train, with a config and a
seed, several images at a time: `zssr`, whose config the user names, and the
variants, which bring the shipped config of their name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from zssr_jax.baselines import interpolation

Upscale = Callable[[np.ndarray, float, np.ndarray | None], np.ndarray]

ZSSR = 'zssr'
VARIANTS = (
  'pixel_shuffle',
  'transposed',
  'vdsr_backbone',
  'transferred',
  'hybrid_loss',
)


class Method(NamedTuple):
  """An entry of the registry."""

  upscale: Upscale | None  # None: `train_image`
  keeps_image: bool  # too cheap to make again, or worth a place in a report


REGISTRY: dict[str, Method] = {
  'nearest': Method(interpolation.nearest, False),
  'bilinear': Method(interpolation.bilinear, False),
  'bicubic': Method(interpolation.bicubic, False),
  ZSSR: Method(None, True),
  **{name: Method(None, True) for name in VARIANTS},
}


def find(name: str) -> Method:
  """Looks a method up.

  Raises:
    ValueError: for an unknown name; it lists the known ones.
  """
  if name not in REGISTRY:
    raise ValueError(
      f'unknown method {name!r}; there are: {", ".join(REGISTRY)}'
    )
  return REGISTRY[name]
