"""What the command line asks for, checked as far as it goes without images.

Nothing here imports JAX, so that a wrong flag is answered at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from absl import flags
from ml_collections import config_flags

from zssr_jax import presets
from zssr_jax.command_line import app
from zssr_jax.config import KERNELS, Config
from zssr_jax.data import names
from zssr_jax.errors import InputError

if TYPE_CHECKING:
  from zssr_jax.ops.resize import Scale

# Values of --kernel that say where the kernel is to come from.
WORDS = tuple(name for name in KERNELS if name != 'given')
ESTIMATES = tuple(name for name in WORDS if name != 'bicubic')
GAUSSIAN = 'gaussian:'
# Values of --noise and --jpeg that are neither numbers nor files.
AUTO = 'auto'
NO_JPEG = 'none'
# Values of --write.
DRIVER, WORKERS = 'driver', 'workers'
# Containers by the values of --output_format: png, jpg, tif.
OUTPUT_FORMATS = {s[1:]: container for container, s in names.SUFFIXES.items()}
_MOST_BITS = {'PNG': 16, 'JPEG': 8, 'TIFF': 32}


class Shard(NamedTuple):
  """One part of a run, of which other processes do the others."""

  number: int  # from 0
  of: int

  def has(self, place: int) -> bool:
    """Whether an image is in it, by its place among all."""
    return place % self.of == self.number

  def __str__(self) -> str:
    return f'{self.number}-of-{self.of}'


@dataclasses.dataclass(frozen=True)
class Options:
  """What the flags of `zssr` say, by their names.

  A word such as --kernel=estimate has become `config.kernel`, --zero-shot
  `config.start`, and --preview what `presets.preview` makes of the config.
  """

  config: Config
  input: tuple[str, ...]  # files, folders and globs
  scale: str = '2'
  output: str = 'out'  # a folder, or the file where `output_file` says so
  recursive: bool = False
  kernel: str | None = None  # FILE, FILE:INDEX or gaussian:...
  noise: str | None = None  # STD in grey levels, or auto
  jpeg: str | None = None  # QUALITY, FILE, none or auto
  reference: str | None = None
  seed: int = 0
  devices: int | None = None  # 1; of each host of a cluster all
  in_flight: int = 1
  cluster: str | None = None  # auto or HOST:PORT
  write: str = DRIVER  # who writes on a cluster
  shard: Shard | None = None
  output_format: str | None = None  # a key of OUTPUT_FORMATS
  bit_depth: str | None = None  # 8, 16 or 32
  quality: int | None = None  # of a JPEG
  overwrite: bool = False
  dry_run: bool = False
  explain: bool = False
  preview: bool = False
  report: bool = False
  weights: tuple[str, ...] = ()  # NAME=FILE, see `networks`
  # Not a flag: the kernel of the bundled example, when that is estimated.
  true_kernel: Path | None = None

  @property
  def output_file(self) -> Path | None:
    """The file that --output names, where it does not name a folder."""
    path = Path(self.output).expanduser()
    if names.container_of(path) is None or path.is_dir():
      return None
    return path

  @property
  def folder(self) -> Path:
    """The folder for the results."""
    file = self.output_file
    return Path(self.output).expanduser() if file is None else file.parent

  @property
  def reads_tables(self) -> bool:
    """Whether it counts what a JPEG input says of its compression."""
    if self.jpeg is None:
      return self.config.automatic
    return self.jpeg == AUTO


class Parsed(NamedTuple):
  """A command line."""

  values: flags.FlagValues
  config: Config
  config_name: str  # of the preset, or the file's stem
  rest: list[str]  # what is no flag


def define_parallel(values: flags.FlagValues) -> None:
  """Defines what is said of devices, hosts and parts of a run."""
  flags.DEFINE_integer(
    'devices',
    None,
    'Devices to train on, an image each: 1, with --cluster all of each host.',
    1,
    flag_values=values,
  )
  flags.DEFINE_integer(
    'in_flight',
    1,
    'Images that each device has at a time: while one is read, prepared or'
    ' judged, another trains.',
    1,
    64,
    flag_values=values,
  )
  flags.DEFINE_string(
    'cluster',
    None,
    'Spread the images over the hosts of a running Ray cluster: auto, or'
    ' HOST:PORT of its head.',
    flag_values=values,
  )
  flags.DEFINE_enum(
    'write',
    DRIVER,
    [DRIVER, WORKERS],
    'Who writes results on a cluster: this process, or the hosts themselves,'
    ' to storage that they share.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'shard',
    None,
    'I/N: do part I, from 0, of N equal parts; auto: as many as jax.distributed'
    ' finds processes.',
    flag_values=values,
  )


def read_parallel(values: flags.FlagValues) -> Shard | None:
  """Checks what is said of hosts and parts, and returns the part.

  Raises:
    InputError: for flags that contradict each other, and no I/N.
  """
  cluster, text = values['cluster'].value, values['shard'].value
  if cluster is None and values['write'].present:
    raise InputError(
      f'--write={values["write"].value}: is for --cluster; leave it out'
    )
  if text is None:
    return None
  if cluster is not None:
    raise InputError(
      f'--shard={text}: a cluster divides the images by itself; leave out'
      ' --cluster or --shard'
    )
  if text == AUTO:
    return _process()
  found = re.fullmatch(r'(\d+)/(\d+)', text)
  shard = Shard(int(found[1]), int(found[2])) if found else None
  if shard is None or shard.number >= shard.of:
    raise InputError(
      f'--shard={text}: must be I/N with I from 0 to N-1, as'
      ' $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT of --array=0-7, or auto'
    )
  return shard


def _process() -> Shard:
  """The part of this process, by `jax.distributed`.

  Raises:
    InputError: where that finds no other processes.
  """
  import jax  # not before: a wrong flag is answered without

  try:
    jax.distributed.initialize()
  except (RuntimeError, ValueError) as error:
    words = ' '.join(str(error).split())[:200]
    raise InputError(
      '--shard=auto: jax.distributed finds no processes of Slurm, MPI, Cloud'
      f' TPU or Kubernetes; name the part, as --shard=0/8 ({words})'
    ) from None
  shard = Shard(jax.process_index(), jax.process_count())
  # Else the first that is done, or dies, would end the others.
  jax.distributed.shutdown()
  return shard


def _check_field(name: str, source: str) -> None:
  fields = [f.name for f in dataclasses.fields(Config)]
  if name in fields:
    return
  near = difflib.get_close_matches(name, fields, 1)
  hint = f'did you mean {near[0]}?' if near else f'known: {", ".join(fields)}'
  raise InputError(f'{source}: unknown config field {name!r}; {hint}')


def overrides(argv: list[str]) -> list[tuple[str, str]]:
  """Lists the config fields that a command line sets, with the arguments."""
  return [
    (match[1], argument)
    for argument in argv
    if (match := re.match(r'--?(?:no)?config\.([^=]*)', argument))
  ]


def _spelt(argv: list[str], known: flags.FlagValues) -> list[str]:
  """Spells flags as they are defined: --zero-shot as --zero_shot."""

  def spell(argument: str) -> str:
    name, equals, value = argument.partition('=')
    flag = name.removeprefix('--').replace('-', '_')
    if name.startswith('--') and {flag, flag.removeprefix('no')} & set(known):
      return f'--{flag}{equals}{value}'
    return argument

  return [spell(argument) for argument in argv]


def _find_config(name: str) -> str:
  """Checks what --config names: a file, or a preset.

  Raises:
    InputError: for a bare name that is no preset.
  """
  if not re.fullmatch(r'\w+', name) or Path(name).is_file():
    return name
  try:
    presets.load_config(name)
  except InputError as error:
    raise InputError(f'--config={error}') from None
  return name


def _take_config(argv: list[str], default: str) -> tuple[str, list[str]]:
  """Takes --config out of a command line.

  Returns:
    What it names, or the default, and the other arguments.

  Raises:
    InputError: where it comes twice, or names nothing.
  """
  chosen, rest = [], argv[:1]
  arguments = iter(argv[1:])
  for argument in arguments:
    if match := re.fullmatch(r'--?config(?:=(.*))?', argument, re.DOTALL):
      name = next(arguments, None) if match[1] is None else match[1]
      if not name:
        raise InputError('--config: names no config; --list-configs has them')
      chosen.append(_find_config(name))
    else:
      rest.append(argument)
      if argument == '--':
        rest += arguments
  if len(chosen) > 1:
    raise InputError(f'--config={chosen[1]}: is there twice; leave one out')
  return (chosen or [default])[0], rest


def _define_config(
  source: str, argv: list[str], values: flags.FlagValues
) -> None:
  """Defines --config, whose fields are overridden by --config.FIELD."""
  if source in presets.PRESETS and not Path(source).is_file():
    config_flags.DEFINE_config_dict(
      'config', presets.config_dict(source), flag_values=values, sys_argv=argv
    )
  else:
    config_flags.DEFINE_config_file(
      'config', source, flag_values=values, sys_argv=argv
    )


def parse_flags(
  argv: list[str],
  define: Callable[[flags.FlagValues], None],
  *,
  default: str,
) -> Parsed:
  """Parses a command line with a `--config` and its overrides.

  A flag that comes twice adds up where it is a list, and is an error
  elsewhere.

  Args:
    argv: program name and arguments.
    define: called with a FlagValues; defines all flags but --config.
    default: the preset that holds without --config.

  Raises:
    InputError: for anything wrong with the arguments or the config file.
  """
  chosen = overrides(argv)
  for name, argument in chosen:
    _check_field(name, argument)
  fields_set = [name for name, _ in chosen]
  for name in fields_set:
    if fields_set.count(name) > 1:
      raise InputError(f'--config.{name}: is there twice; leave one out')
  source, argv = _take_config(argv, default)
  values = flags.FlagValues()
  values.set_gnu_getopt(True)  # flags may come behind files
  try:
    define(values)
    app.forbid_repeats(values)
    spelt = _spelt(argv, values)
    _define_config(source, spelt, values)
    rest = values(spelt)[1:]
    config: Any = values['config'].value
    fields = config.to_dict()
  except flags.Error as error:
    *trace, message = str(error).splitlines()
    # What get_config raised comes with a traceback around it.
    raise InputError(f'{source}: {message}' if trace else message) from None
  except Exception as error:  # a config file is a program: it may raise any
    if isinstance(error, OSError) and not Path(source).is_file():
      raise InputError(f'{source}: no such config file') from None
    raise InputError(f'{source}: {type(error).__name__}: {error}') from None
  for name in fields:
    _check_field(name, source)
  for name, of_start in presets.OF_START.items():
    # What the user asks for holds, with a start or without.
    if name in fields_set and of_start not in fields_set:
      fields.pop(of_start, None)
  try:
    return Parsed(values, Config(**fields), Path(source).stem, rest)
  except (TypeError, ValueError) as error:
    raise InputError(f'{source}: {error}') from None


def parse_options(
  argv: list[str],
  define: Callable[[flags.FlagValues], None],
  *,
  example: Path | None = None,
) -> Options:
  """Parses the command line of `zssr`.

  Without an input it fills in the bundled example: the photo, its ground truth
  and its kernel, unless another was asked for.

  Args:
    argv: program name and arguments.
    define: as in `parse_flags`; one flag for each field of `Options`.
    example: folder of the bundled example; None: there is none.

  Raises:
    InputError: see `parse_flags`; also where there is nothing to do, for an
      example at another scale than its own, a config that needs a kernel when
      none is given, and flags that contradict each other or have no effect.
  """
  values, config, _, rest = parse_flags(argv, define, default='auto')
  fields = [f.name for f in dataclasses.fields(Options) if f.name in values]
  chosen: dict[str, Any] = {name: values[name].value for name in fields}
  chosen['input'] = (*chosen['input'], *rest)
  scale = parse_scale(chosen['scale'])
  kernel = chosen['kernel']
  if kernel in WORDS:
    chosen['kernel'] = None
  chosen['shard'] = read_parallel(values)
  if chosen['cluster'] and chosen['dry_run']:
    raise InputError(
      '--dry_run: tells nothing of a cluster; leave --cluster out'
    )
  config = _apply_words(config, kernel, chosen['noise'], chosen['jpeg'])
  config = _choose_start(config, scale, values, argv)
  if chosen['preview']:
    config = presets.preview(config)
  if chosen['explain'] and not (config.automatic or config.kernel == 'auto'):
    raise InputError(
      '--explain: this config does not find out what happened to a photo; use'
      ' --config=auto, or --kernel=auto for the blur'
    )
  chosen['config'] = config
  chosen['weights'] = tuple(chosen['weights'])
  if not chosen['input']:
    _fill_in_example(chosen, kernel, scale, example)
  if config.kernel == 'given' and not chosen['kernel']:
    raise InputError(
      f'{chosen["input"][0]}: this config needs the blur kernel of the image;'
      ' pass --kernel=FILE or --kernel=gaussian:STD, or --kernel=estimate to'
      ' have it found, or --kernel=bicubic to do without'
    )
  options = Options(**chosen)
  _check_output(options)
  return options


def _fill_in_example(
  chosen: dict[str, Any],
  kernel: str | None,
  scale: Scale,
  example: Path | None,
) -> None:
  """Chooses the bundled example, its ground truth and its kernel."""
  if example is None:
    raise InputError(
      'no photo: name files or folders, as in zssr photo.jpg; zssr --help'
      ' tells the rest'
    )
  if scale != 2:
    raise InputError(
      f'--scale={chosen["scale"]}: the bundled example is made for 2; name'
      ' an --input for other scales'
    )
  chosen['input'] = (str(example / 'astronaut_lr.png'),)
  own_kernel = example / 'astronaut_kernel.npy'
  if chosen['config'].kernel in ESTIMATES and not chosen['kernel']:
    chosen['true_kernel'] = own_kernel
  elif not kernel:
    chosen['kernel'] = str(own_kernel)
  chosen['reference'] = chosen['reference'] or str(example / 'astronaut_hr.png')


def _check_output(options: Options) -> None:
  """Refuses what goes together with no input.

  Raises:
    InputError: for a quality without JPEG, more bits than a format has, or a
      file for the result that is of another format than was asked for.
  """
  asked = OUTPUT_FORMATS.get(options.output_format or '')
  file = options.output_file
  if file is not None:
    container = names.container_of(file)
    if asked not in (None, container):
      raise InputError(
        f'--output_format={options.output_format}: contradicts'
        f' --output={options.output}; leave one of the two out'
      )
    asked = container
  if options.quality is not None and asked != 'JPEG':
    raise InputError(
      f'--quality={options.quality}: only JPEG has one; pass'
      ' --output_format=jpg, too'
    )
  bits = options.bit_depth
  if asked and bits is not None and int(bits) > _MOST_BITS[asked]:
    raise InputError(
      f'--bit_depth={bits}: {names.SUFFIXES[asked][1:]} has at most'
      f' {_MOST_BITS[asked]}; pass --output_format=tif'
    )


def _apply_words(
  config: Config, kernel: str | None, noise: str | None, jpeg: str | None
) -> Config:
  """Returns a config that does what words in place of values ask for."""
  if kernel in WORDS:
    config = config.replace(kernel=kernel)
  if noise == AUTO and not (config.automatic or config.estimate_noise):
    config = config.replace(estimate_noise=1.0)
  if jpeg == NO_JPEG:
    config = config.replace(find_jpeg=False)
  return config


def _choose_start(
  config: Config, scale: Scale, values: flags.FlagValues, argv: list[str]
) -> Config:
  """Returns the config with random parameters, where there is no other way.

  That is with --zero-shot, which rules out all that was learnt from other
  images, and where `presets.choose_start` says so.

  Raises:
    InputError: for a start that is asked for together with --zero-shot.
  """
  asked = any(name == 'start' for name, _ in overrides(argv))
  if values['zero_shot'].value:
    if asked and config.start != 'random':
      raise InputError(
        f'--config.start={config.start}: --zero-shot begins with random'
        ' parameters; leave one of the two out'
      )
    return config.replace(start='random', find_shake=False)
  return config if asked else presets.choose_start(config, scale)


def parse_scale(text: str) -> Scale:
  """Reads '2', '1.5', '3/2' or a pair 'Y,X' of them.

  Returns:
    A number, or a pair (y, x) when the two differ.

  Raises:
    InputError: unless all lie in [1, 16] and one is larger than 1.
  """
  try:
    factors = []
    for part in text.split(','):
      number, _, divisor = part.partition('/')
      factors.append(float(number) / float(divisor or 1))
    good = all(1 <= f <= 16 for f in factors) and max(factors) > 1
    if len(factors) > 2 or not good:
      raise ValueError
  except (ValueError, ZeroDivisionError):
    raise InputError(
      f'--scale={text}: must be a number above 1 and at most 16, a fraction'
      ' such as 3/2, or a pair Y,X'
    ) from None
  return factors[0] if len(set(factors)) == 1 else (factors[0], factors[1])
