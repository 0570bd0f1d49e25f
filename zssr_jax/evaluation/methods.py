"""The methods of the tables, by name.

A method is any callable `(lr, scale, kernel) -> sr` with a name: `lr` float
`[h, w, C]` in [0, 1], the result of `ceil(scale * lr)` pixels in [0, 1]. The
kernel is the true one where a config asks for it; these methods are blind, or
blind to blur, and get None. Networks trained on many images need weights. The
exceptions train on the image, with a config and a seed, several images at a
time: `zssr`, whose config the user names, and the variants, which bring the
shipped config of their name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from zssr_jax import registry
from zssr_jax.baselines import blind_sr, interpolation, self_ex_sr

Upscale = Callable[[np.ndarray, float, np.ndarray | None], np.ndarray]

ZSSR = 'zssr'
VARIANTS = (
  'pixel_shuffle',
  'transposed',
  'vdsr_backbone',
  'transferred',
  'mzsr',
  'hybrid_loss',
)


class Method(NamedTuple):
  """An entry of the registry."""

  upscale: Upscale | None = None
  keeps_image: bool = True  # too slow to make again, or worth a report's place
  # A family of `registry.families`, whose weights make the `upscale`.
  network: str | None = None
  ensemble: bool = False  # of the network's results

  @property
  def trains(self) -> bool:
    """Whether it trains on the image: it is `train_image` with a config."""
    return self.upscale is None and self.network is None


def _of_networks() -> dict[str, Method]:
  """The networks that are trained on many images."""
  found = {}
  for family, sizes in registry.families().items():
    found[family] = Method(network=family)
    if registry.EXTERNAL[sizes[0]].ensemble:
      found[f'{family}_plus'] = Method(network=family, ensemble=True)
  return found


REGISTRY: dict[str, Method] = {
  'nearest': Method(interpolation.nearest, keeps_image=False),
  'bilinear': Method(interpolation.bilinear, keeps_image=False),
  'bicubic': Method(interpolation.bicubic, keeps_image=False),
  'lanczos': Method(interpolation.lanczos, keeps_image=False),
  **_of_networks(),
  'self_ex_sr': Method(self_ex_sr.upscale),
  'blind_sr': Method(blind_sr.upscale),
  ZSSR: Method(),
  **{name: Method() for name in VARIANTS},
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
