"""Parameters that training starts from, in place of random ones.

Those of 'transferred' come with the package (`zssr_jax/weights`, whose card
says what they were trained on): the network of `pixel_shuffle` at its default
depth and width, trained on other images, for scales 2, 3 and 4.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from zssr_jax import presets
from zssr_jax.ops import resize
from zssr_jax.ops.resize import Scale
from zssr_jax.weights import parameters

FOLDER = pathlib.Path(__file__).parent


def load_start(
  name: str | os.PathLike[str], scale: Scale
) -> dict[str, Any] | None:
  """Loads what `config.start` names, as `train_image` does by itself.

  Args:
    name: 'random', 'transferred', or a file of bin/train_backbone.
    scale: upscaling factor or pair (y, x).

  Returns:
    The parameter tree, float32; None for 'random'.

  Raises:
    OSError: when the file is missing or cannot be read.
    ValueError: when it is no weight file or for another scale, or there is no
      start for this scale.
  """
  if name == 'random':
    return None
  y, x = resize.scale_pair(scale)
  if name != 'transferred':
    params, facts = parameters.load_params(name)
    # Those of the published network may be for any scale, and say none.
    if 'scale' in facts and not facts['scale'] == y == x:
      raise ValueError(
        f'{name}: is for scale {facts["scale"]}, not {y:g} x {x:g}'
      )
    return params
  if not presets.is_shipped(scale):
    raise ValueError(
      f'there is no transferred start for scale {y:g} x {x:g}, only for'
      f' {", ".join(map(str, presets.SHIPPED_SCALES))}; start from random'
    )
  return parameters.load_params(FOLDER / f'start_x{y:g}.safetensors')[0]


def complete(fresh: Mapping[str, Any], start: Any) -> dict[str, Any]:
  """Puts a start in place of random parameters, where it has any.

  Where the network is for grey images and the start for colour, the first
  layer's weights are summed and the last layer's averaged over the colours,
  which gives the mean of what the start would make of three equal channels.

  Args:
    fresh: the network's random parameters, or their shapes.
    start: trained ones, whole or some of the modules at the top of the tree.

  Raises:
    ValueError: naming the first parameter that does not fit.
  """
  if not isinstance(start, Mapping):
    raise ValueError('is no tree of parameters')
  if extra := sorted(set(start) - set(fresh)):
    raise ValueError(f'{extra[0]} is no module of this network')
  want = parameters.flatten(fresh)
  leaves = {
    path: _to_grey(leaf, want[path].shape) if path in want else leaf
    for path, leaf in parameters.flatten({**fresh, **start}).items()
  }
  whole = parameters.nest(leaves)
  parameters.check_shapes(whole, fresh)
  return whole


def _to_grey(kernel: Any, shape: tuple[int, ...]) -> Any:
  """Makes a kernel for colour one for grey, of `shape`, or leaves it as it is.

  One of another width stays a misfit: the layers between are left alone.
  """
  if len(shape) != 4 or np.ndim(kernel) != 4:
    return kernel
  if kernel.shape[2] == 3 and shape[2] == 1:
    kernel = kernel.sum(2, keepdims=True)
  if kernel.shape[3] == 3 * shape[3]:  # the colour runs fastest
    kernel = kernel.reshape(*kernel.shape[:3], -1, 3).mean(-1)
  return kernel
