"""The flow of bin/convert_weights: others' weight files into one of ours."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

from zssr_jax.command_line import app
from zssr_jax.data import files
from zssr_jax.errors import InputError
from zssr_jax.weights import conversion, foreign, parameters

Weights = tuple[dict[str, Any], dict[str, parameters.Fact]]


@dataclasses.dataclass(frozen=True)
class Options:
  """What the flags of bin/convert_weights say, by their names."""

  network: str | None  # None: the file is one of ours, of version 0.1.0
  input: Path
  output: Path
  scale: int | None
  half: bool
  overwrite: bool


def parse_options(
  argv: list[str], define: Callable[[flags.FlagValues, list[str]], None]
) -> Options:
  """Parses the command line of bin/convert_weights.

  Args:
    argv: program name and arguments.
    define: defines the flags, named as in `Options`.

  Raises:
    InputError: for anything wrong, in one line.
  """
  values = flags.FlagValues()
  define(values, argv)
  try:
    extra = values(argv)[1:]
  except flags.Error as error:
    raise InputError(files.one_line(error)) from None
  if extra:
    raise InputError(f'{extra[0]}: not a flag; use --input={extra[0]}')
  flag: dict[str, Any] = {name: values[name].value for name in values}
  for name in ('input', 'output', 'network'):
    old = name == 'network' and parameters.is_old(flag['input'])
    if not flag[name] and not old:
      raise InputError(f'--{name}: is missing; see --help')
  options = Options(
    network=flag['network'],
    input=Path(flag['input']),
    output=Path(flag['output']),
    scale=flag['scale'],
    half=flag['half'],
    overwrite=flag['overwrite'],
  )
  if options.output.suffix != '.safetensors':
    raise InputError(
      f'--output={options.output}: its name must end in .safetensors'
    )
  return options


def run(options: Options) -> int:
  """Converts one file.

  Returns:
    Exit code 0.

  Raises:
    InputError: when nothing was written, for whatever reason.
  """
  if options.output.exists() and not options.overwrite:
    raise InputError(
      f'{options.output}: exists already; pass --overwrite to replace it'
    )
  old = parameters.is_old(options.input)
  params, facts = (_read_old if old else _convert)(options)
  try:
    with app.WRITING:
      options.output.parent.mkdir(parents=True, exist_ok=True)
      parameters.save_params(options.output, params, half=options.half, **facts)
  except OSError as error:
    raise InputError(
      f'{options.output}: cannot be written: {error.strerror or error}'
    ) from None
  except ValueError as error:
    raise InputError(str(error)) from None
  count = sum(leaf.size for leaf in parameters.flatten(params).values())
  print(
    f'{options.output}  {facts.get("network", "parameters")},'
    + (f' scale {facts["scale"]},' if 'scale' in facts else '')
    + f' {count:,} weights, {options.output.stat().st_size / 1e6:.1f} MB',
    flush=True,
  )
  return 0


def _convert(options: Options) -> Weights:
  """Parameters of another's file, and what is known of them."""
  assert options.network is not None
  arrays = foreign.read_arrays(options.input)
  try:
    params, scale = conversion.convert(options.network, arrays, options.scale)
  except ValueError as error:
    raise InputError(f'{options.input}: {error}') from None
  facts: dict[str, parameters.Fact] = {
    'network': options.network,
    'source': options.input.name,
    'source_sha256': hashlib.sha256(options.input.read_bytes()).hexdigest(),
  }
  if scale is not None:
    facts['scale'] = scale
  return params, facts


def _read_old(options: Options) -> Weights:
  """Parameters and facts of a file of version 0.1.0."""
  try:
    params, facts = parameters.load_old(options.input)
  except ValueError as error:
    raise InputError(str(error)) from None
  for name in ('network', 'scale'):
    said, found = getattr(options, name), facts.get(name)
    if said not in (None, found):
      raise InputError(f'{options.input}: is of {name} {found}, not {said}')
  return params, facts


def main(
  argv: list[str],
  define: Callable[[flags.FlagValues, list[str]], None],
  *,
  usage: str,
) -> int:
  """Runs bin/convert_weights and returns its exit code; 2 for an InputError."""
  return app.run_command(
    argv, define, lambda: run(parse_options(argv, define)), usage=usage
  )
