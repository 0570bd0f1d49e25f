"""Trained upscalers as files: what `weights.parameters` writes, no pickles.

The arrays of member N, its network's parameters and its degradation, lie below
`memberN/`; config, sizes and what else is not an array are facts.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from zssr_jax import checks, inference, registry, stages
from zssr_jax.config import Config
from zssr_jax.data import files
from zssr_jax.degradation import Degradation
from zssr_jax.errors import InputError
from zssr_jax.ops.jpeg import BLOCK, Jpeg
from zssr_jax.weights import parameters

_KIND = 'upscaler'
# What of a degradation and of a compression is an array or a number of it.
_ARRAYS = ('kernel', 'noise_std', 'shot', 'speckle', 'undo', 'doubt')
_OF_JPEG = ('tables', 'error_std')


def save(
  path: str | os.PathLike[str], upscaler: inference.Upscaler, channels: int
) -> None:
  """Writes an upscaler, whole or not at all.

  Args:
    path: the file; an existing one is replaced.
    upscaler: of a network that a config names.
    channels: of the images it was trained on.

  Raises:
    InputError: for a network of the user's own.
    OSError: when the file cannot be written.
  """
  config, first = upscaler.config, upscaler.members[0].degradation
  network = registry.MODELS[config.model]
  if upscaler.model != stages.make_model(network, upscaler.scale, config):
    raise InputError(
      f'{os.fspath(path)}: a network of your own cannot be saved as an'
      ' upscaler; save its parameters, result.params, by'
      ' weights.parameters.save_params'
    )
  parameters.save_params(
    path,
    {f'member{i}': _arrays(m) for i, m in enumerate(upscaler.members)},
    kind=_KIND,
    config=json.dumps(dataclasses.asdict(config)),
    scale=json.dumps(first.scale),
    border=first.border,
    sampling=json.dumps(first.jpeg and first.jpeg.sampling),
    share=float(upscaler.share),
    channels=channels,
  )


def _arrays(member: inference.Member) -> dict[str, Any]:
  """The tree of a member's arrays."""
  found, jpeg = member.degradation, member.degradation.jpeg
  parts = {name: getattr(found, name) for name in _ARRAYS}
  tree: dict[str, Any] = {
    'params': member.params,
    'degradation': {k: v for k, v in parts.items() if v is not None},
  }
  if jpeg is not None:
    parts = {name: getattr(jpeg, name) for name in _OF_JPEG}
    tree['jpeg'] = {k: v for k, v in parts.items() if v is not None}
  return tree


def load(path: str | os.PathLike[str]) -> tuple[inference.Upscaler, int]:
  """Reads what `save` wrote; runs nothing that a file holds.

  Args:
    path: the file.

  Returns:
    The upscaler, and the channels of the images it was trained on.

  Raises:
    InputError: when it is damaged or holds something else.
    OSError: when it is missing or cannot be read.
  """
  tree, facts = parameters.load_params(path)
  if facts.get('kind') != _KIND:
    raise InputError(
      f'{os.fspath(path)}: holds {facts.get("network", "parameters")}, no'
      ' upscaler; write one by result.upscaler.save'
    )
  try:
    return _rebuilt(tree, facts), int(facts['channels'])
  except Exception as error:  # whatever stands there instead
    words = files.one_line(error)
    raise InputError(
      f'{os.fspath(path)}: does not fit together ({words}); it was written by'
      ' another version or by hand: train it again'
    ) from None


def _rebuilt(
  tree: Mapping[str, Any], facts: Mapping[str, Any]
) -> inference.Upscaler:
  """Puts an upscaler together, and looks whether its parts fit."""
  config = Config(**json.loads(facts['config']))
  y, x = json.loads(facts['scale'])
  sampling = json.loads(facts['sampling'])
  network = registry.MODELS[config.model]
  model = stages.make_model(network, (y, x), config)
  fresh = stages.shapes_of(model, (y, x), int(facts['channels']))
  if (y, x) != checks.check_scale((y, x)):
    raise ValueError('the scale is no pair of numbers')
  members = []
  for number in range(len(tree)):
    part = tree[f'member{number}']
    parameters.check_shapes(part['params'], fresh)
    arrays = jax.tree.map(np.asarray, part.get('degradation', {}))
    jpeg = None
    if 'jpeg' in part:
      about = jax.tree.map(np.asarray, part['jpeg'])
      jpeg = Jpeg(sampling=tuple(sampling), **about)
    degradation = Degradation(
      (y, x), border=str(facts['border']), jpeg=jpeg, **arrays
    )
    _check(degradation)
    members.append(inference.Member(part['params'], degradation))
  share = float(facts['share'])
  if not members or not 0 <= share <= 1:
    raise ValueError('no networks' if not members else f'share is {share}')
  reach = stages.reach_of(network, model, config)
  return inference.Upscaler(model, tuple(members), config, reach, share)


def _check(found: Degradation) -> None:
  """Raises ValueError where an array is not of the shape that is read."""
  taps = {'kernel': found.kernel, 'undo': found.undo}
  for name, array in taps.items():
    if array is not None and (array.ndim != 2 or not array.size):
      raise ValueError(f'the {name} is {array.shape}')
  numbers = [found.noise_std, found.shot, found.speckle, found.doubt]
  if found.jpeg is not None:
    numbers.append(found.jpeg.error_std)
    if np.shape(found.jpeg.tables) != (2, BLOCK, BLOCK):
      raise ValueError(f'the tables are {np.shape(found.jpeg.tables)}')
  if any(np.ndim(number) for number in numbers):
    raise ValueError('the noise is no number')
