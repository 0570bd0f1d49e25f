"""Everything that goes by a name in a config, a line each.

The file that a line points to holds all that the rest must know of the thing.
It is imported when the name is looked up, so the names themselves, which a
command line and `Config` check, cost nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any


class Registry(Mapping[str, Any]):
  """A mapping from names to things that are imported when looked up."""

  def __init__(self, kind: str, places: Mapping[str, str]):
    """Takes down where things are.

    Args:
      kind: what they are, for messages: 'network'.
      places: 'module:ATTRIBUTE' in this package by name.
    """
    self._kind = kind
    self._places = dict(places)

  def __getitem__(self, name: str) -> Any:
    """Returns what goes by a name.

    Raises:
      ValueError: for an unknown name; it lists the known ones.
    """
    if name not in self._places:
      raise ValueError(
        f'unknown {self._kind} {name!r}; there are: {", ".join(self)}'
      )
    module, _, attribute = self._places[name].partition(':')
    return getattr(importlib.import_module(f'zssr_jax.{module}'), attribute)

  def place(self, name: str) -> str:
    """Where a thing is: 'zssr_jax.module:ATTRIBUTE'."""
    return f'zssr_jax.{self._places[name]}'

  def __contains__(self, name: object) -> bool:
    return name in self._places

  def __iter__(self) -> Iterator[str]:
    return iter(self._places)

  def __len__(self) -> int:
    return len(self._places)

  def __or__(self, other: Registry) -> Registry:
    """Returns both in one, for what is looked up among all."""
    return Registry(self._kind, self._places | other._places)


# Networks that are trained on the one image: `config.model`.
MODELS = Registry(
  'network',
  {
    'zssr': 'models.zssr:NETWORK',
    'pixel_shuffle': 'models.upsamplers:PIXEL_SHUFFLE',
    'transposed': 'models.upsamplers:TRANSPOSED',
    'vdsr_backbone': 'models.backbone:NETWORK',
  },
)
# Networks that are trained on many images: methods of the tables.
EXTERNAL = Registry(
  'network',
  {
    'srcnn': 'models.srcnn:SRCNN_915',
    'srcnn_955': 'models.srcnn:SRCNN_955',
    'vdsr': 'models.vdsr:NETWORK',
    'edsr': 'models.edsr:NETWORK',
    'edsr_full': 'models.edsr:FULL',
  },
)
NETWORKS = MODELS | EXTERNAL  # each a `models.network.Network`
# Networks whose features are compared; each a `models.network.Published`.
FEATURES = Registry('network', {'vgg16': 'models.vgg:PUBLISHED'})


def families() -> dict[str, list[str]]:
  """Groups the networks of `EXTERNAL` that differ in size alone.

  Returns:
    Names in `EXTERNAL` by the name that --weights and the tables use.
  """
  found: dict[str, list[str]] = {}
  for name, network in EXTERNAL.items():
    found.setdefault(network.family or name, []).append(name)
  return found


# What `Config.losses` and `pretraining` may name.
LOSSES = Registry(
  'loss',
  {
    'l1': 'training.losses:L1',
    'luma': 'training.losses:LUMA',
    'content': 'training.losses:CONTENT',
    'l2': 'training.losses:L2',
    'sum': 'training.losses:SUM',
  },
)
# What `Config.kernel` may name beside 'bicubic' and 'given'.
ESTIMATORS = Registry(
  'kernel estimator',
  {
    'estimate': 'kernel_estimation.spectrum:ESTIMATOR',
    'recurrence': 'kernel_estimation.patch_recurrence:ESTIMATOR',
    'kernelgan': 'kernel_estimation.kernel_gan:ESTIMATOR',
    'joint': 'kernel_estimation.spectrum:JOINT',
  },
)
