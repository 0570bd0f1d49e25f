r"""Converts published weights into a file of this project.

  zssr-convert --network=vdsr --input=vdsr.pth --output=vdsr.safetensors
  zssr-convert --network=srcnn --scale=3 --input=x3.mat \
    --output=srcnn_x3.safetensors
  zssr-convert --network=vgg16 --half --input=vgg16.h5 \
    --output=vgg16.safetensors
  zssr-convert --input=start.npz --output=start.safetensors

Reads .safetensors, .npz, Keras .h5 and MATLAB .mat by itself, and state dicts
of PyTorch (.pth, .pt) where it is installed: pip install 'zssr_jax[convert]'.
No code in a file is run. An .npz of zssr_jax 0.1.0 needs no --network. Exit
code: 0; 2 when nothing was written, with one line that says why; 130 after
Ctrl-C.

bin/convert_weights is the same from a clone.
"""

from __future__ import annotations

import dataclasses
import hashlib
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


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags, named as in `Options`."""
  flags.DEFINE_enum(
    'network',
    None,
    conversion.NETWORKS,
    'Whose weights they are.',
    flag_values=values,
  )
  flags.DEFINE_string('input', None, 'File to convert.', flag_values=values)
  flags.DEFINE_string(
    'output', None, 'The .safetensors to write.', flag_values=values
  )
  flags.DEFINE_integer(
    'scale',
    None,
    'Scale they are for, to be noted in the file; of edsr it is'
    ' seen from the weights.',
    2,
    16,
    flag_values=values,
  )
  flags.DEFINE_boolean(
    'half', False, 'Store float16: half the size.', flag_values=values
  )
  flags.DEFINE_boolean(
    'overwrite', False, 'Replace an existing file.', flag_values=values
  )


def parse_options(argv: list[str]) -> Options:
  """Parses the command line.

  Raises:
    InputError: for anything wrong, in one line.
  """
  values = flags.FlagValues()
  define_flags(values)
  app.forbid_repeats(values)
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


def main(argv: list[str]) -> int:
  """Runs a command line and returns its exit code; 2 for an InputError."""
  return app.run_command(
    argv,
    define_flags,
    lambda: run(parse_options(argv)),
    usage=__doc__ or '',
  )
