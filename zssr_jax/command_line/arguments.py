"""What the command line asks for, checked as far as it goes without images."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from zssr_jax import blur_kernels, presets
from zssr_jax.config import KERNELS, Config
from zssr_jax.data import image_io, kernel_io, photo
from zssr_jax.degradation import Degradation
from zssr_jax.errors import InputError
from zssr_jax.ops import jpeg
from zssr_jax.ops.resize import Scale
from zssr_jax.weights import starts

# Values of --kernel that say where the kernel is to come from.
_WORDS = tuple(name for name in KERNELS if name != 'given')
ESTIMATES = tuple(name for name in _WORDS if name != 'bicubic')
GAUSSIAN = 'gaussian:'
# Values of --noise and --jpeg that are neither numbers nor files.
_AUTO = 'auto'
_NO_JPEG = 'none'
# Containers by the values of --output_format: png, jpg, tif.
OUTPUT_FORMATS = {s[1:]: container for container, s in photo.SUFFIXES.items()}
# Widest Gaussian, as a multiple of the scale: four pixels of the input.
_WIDEST = 4


@dataclasses.dataclass(frozen=True)
class Options:
  """What the flags of bin/main.py say, by their names.

  A word such as --kernel=estimate has become `config.kernel`, --zero-shot
  `config.start`, and --preview what `presets.preview` makes of the config.
  """

  config: Config
  input: str  # file, folder or glob
  output: str = 'out'
  scale: str = '2'
  kernel: str | None = None  # FILE, FILE:INDEX or gaussian:...
  noise: str | None = None  # STD in grey levels, or auto
  jpeg: str | None = None  # QUALITY, FILE, none or auto
  reference: str | None = None
  seed: int = 0
  devices: int = 1
  in_flight: int = 1
  output_format: str | None = None  # a key of OUTPUT_FORMATS
  bit_depth: str | None = None  # 8, 16 or 32
  quality: int | None = None  # of a JPEG
  overwrite: bool = False
  explain: bool = False
  preview: bool = False
  report: bool = False
  weights: tuple[str, ...] = ()  # NAME=FILE, see `networks`
  # Not a flag: the kernel of the bundled example, when that is estimated.
  true_kernel: Path | None = None

  @property
  def reads_tables(self) -> bool:
    """Whether it counts what a JPEG input says of its compression."""
    if self.jpeg is None:
      return self.config.automatic
    return self.jpeg == _AUTO


def define_parallel(values: flags.FlagValues) -> None:
  """Defines --devices and --in_flight."""
  flags.DEFINE_integer(
    'devices', 1, 'Devices to train on, an image each.', 1, flag_values=values
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


def _find_config(name: str, configs: Path) -> str:
  """Finds the file that --config names: itself, or a shipped one by its name.

  Raises:
    InputError: for a bare name that is none of the shipped ones.
  """
  if not re.fullmatch(r'\w+', name) or Path(name).is_file():
    return name
  if (configs / f'{name}.py').is_file():
    return str(configs / f'{name}.py')
  known = sorted(path.stem for path in configs.glob('*.py'))
  near = difflib.get_close_matches(name, known, 1)
  hint = f'did you mean {near[0]}?' if near else f'known: {", ".join(known)}'
  raise InputError(f'--config={name}: no such config; {hint}')


def parse_flags(
  argv: list[str],
  define: Callable[[flags.FlagValues, list[str]], None],
  *,
  configs: Path,
) -> tuple[flags.FlagValues, Config]:
  """Parses a command line with a `--config` file and its overrides.

  Args:
    argv: program name and arguments.
    define: called with a FlagValues and `argv`; defines the flags, among them
      `config`, an ml_collections config file.
    configs: folder of the shipped configs, whose files go by their names.

  Returns:
    The parsed flags and the config they describe.

  Raises:
    InputError: for anything wrong with the arguments or the config file.
  """
  values = flags.FlagValues()
  source = 'the default config'
  argv = list(argv)
  for name, argument in overrides(argv):
    _check_field(name, argument)
  for i, argument in enumerate(argv):
    if chosen := re.match(r'--?config=(.*)$', argument):
      source = _find_config(chosen[1], configs)
      argv[i] = f'--config={source}'
    elif re.match(r'--?config$', argument) and i + 1 < len(argv):
      source = argv[i + 1] = _find_config(argv[i + 1], configs)
  try:
    define(values, argv)
    extra = values(_spelt(argv, values))[1:]
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
  if extra:
    raise InputError(f'{extra[0]}: not a flag; use --input={extra[0]}')
  for name in fields:
    _check_field(name, source)
  chosen_fields = {name for name, _ in overrides(argv)}
  for name, of_start in presets.OF_START.items():
    # What the user asks for holds, with a start or without.
    if name in chosen_fields and of_start not in chosen_fields:
      fields.pop(of_start, None)
  try:
    return values, Config(**fields)
  except (TypeError, ValueError) as error:
    raise InputError(f'{source}: {error}') from None


def parse_options(
  argv: list[str],
  define: Callable[[flags.FlagValues, list[str]], None],
  *,
  root: Path,
) -> Options:
  """Parses the command line of bin/main.py.

  Without an input it fills in the bundled example: the photo, its ground truth
  and its kernel, unless another was asked for.

  Args:
    argv: program name and arguments.
    define: as in `parse_flags`; one flag for each field of `Options`.
    root: folder of the shipped `configs` and `examples`.

  Raises:
    InputError: see `parse_flags`; also for an example at another scale than
      its own, a config that needs a kernel when none is given, and flags that
      contradict each other or have no effect.
  """
  values, config = parse_flags(argv, define, configs=root / 'configs')
  names = [f.name for f in dataclasses.fields(Options) if f.name in values]
  chosen: dict[str, Any] = {name: values[name].value for name in names}
  _check_output(chosen['output_format'], chosen['bit_depth'], chosen['quality'])
  kernel = chosen['kernel']
  if kernel in _WORDS:
    chosen['kernel'] = None
  config = _apply_words(config, kernel, chosen['noise'], chosen['jpeg'])
  config = _choose_start(config, chosen['scale'], values, argv)
  if chosen['preview']:
    config = presets.preview(config)
  if chosen['explain'] and not (config.automatic or config.kernel == 'auto'):
    raise InputError(
      '--explain: this config does not find out what happened to a photo; use'
      ' --config=auto, or --kernel=auto for the blur'
    )
  chosen['config'] = config
  chosen['weights'] = tuple(chosen['weights'])
  if chosen['input'] is None:
    if parse_scale(chosen['scale']) != 2:
      raise InputError(
        f'--scale={chosen["scale"]}: the bundled example is made for 2; name'
        ' an --input for other scales'
      )
    example = root / 'examples'
    chosen['input'] = str(example / 'astronaut_lr.png')
    own_kernel = example / 'astronaut_kernel.npy'
    if config.kernel in ESTIMATES and not chosen['kernel']:
      chosen['true_kernel'] = own_kernel
    elif not kernel:
      chosen['kernel'] = str(own_kernel)
    chosen['reference'] = chosen['reference'] or str(
      example / 'astronaut_hr.png'
    )
  if config.kernel == 'given' and not chosen['kernel']:
    raise InputError(
      f'{chosen["input"]}: this config needs the blur kernel of the image;'
      ' pass --kernel=FILE or --kernel=gaussian:STD, or --kernel=estimate to'
      ' have it found, or --kernel=bicubic to do without'
    )
  return Options(**chosen)


def _check_output(
  output_format: str | None, bit_depth: str | None, quality: int | None
) -> None:
  """Refuses what goes together with no input.

  Raises:
    InputError: for a quality without JPEG, or more bits than a format has.
  """
  if quality is not None and output_format != 'jpg':
    raise InputError(
      f'--quality={quality}: only JPEG has one; pass --output_format=jpg, too'
    )
  most = {'jpg': 8, 'png': 16}.get(output_format or '', 32)
  if bit_depth is not None and int(bit_depth) > most:
    raise InputError(
      f'--bit_depth={bit_depth}: {output_format} has at most {most}; pass'
      ' --output_format=tif'
    )


def _apply_words(
  config: Config, kernel: str | None, noise: str | None, jpeg: str | None
) -> Config:
  """Returns a config that does what words in place of values ask for."""
  if kernel in _WORDS:
    config = config.replace(kernel=kernel)
  if noise == _AUTO and not (config.automatic or config.estimate_noise):
    config = config.replace(estimate_noise=1.0)
  if jpeg == _NO_JPEG:
    config = config.replace(find_jpeg=False)
  return config


def _choose_start(
  config: Config, scale: str, values: flags.FlagValues, argv: list[str]
) -> Config:
  """Returns the config with random parameters, where there is no other way.

  That is with --zero-shot, which rules out all that was learnt from other
  images, and where `starts.choose` says so.

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
  return config if asked else starts.choose(config, parse_scale(scale))


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


def load_known(options: Options, scale: Scale) -> Degradation:
  """Returns what --noise and --jpeg say of all inputs.

  Args:
    options: the flags.
    scale: of the degradation.

  Raises:
    InputError: for a value out of range, or a file that is no JPEG.
  """
  noise_std, tables = None, None
  if options.noise is not None and options.noise != _AUTO:
    noise_std = np.float32(_parse_noise(options.noise) / 255)
  if options.jpeg is not None and options.jpeg not in (_AUTO, _NO_JPEG):
    tables = _load_jpeg(options.jpeg)
  return Degradation(scale, noise_std=noise_std, jpeg=tables)


def _parse_noise(text: str) -> float:
  """Reads a standard deviation in grey levels."""
  try:
    std = float(text)
  except ValueError:
    std = math.nan
  if not 0 <= std <= 255:
    raise InputError(
      f'--noise={text}: must be {_AUTO}, or a standard deviation in grey levels'
      ' from 0 to 255'
    )
  return std


def _load_jpeg(text: str) -> jpeg.Jpeg:
  """Reads a quality, or the tables of a file."""
  quality: float | None = None
  with contextlib.suppress(ValueError):
    quality = float(text)
  if quality is not None:
    if not 1 <= quality <= 100:
      raise InputError(f'--jpeg={text}: must be a quality from 1 to 100')
    return jpeg.of_quality(quality)
  if not text or (text.isalpha() and not Path(text).exists()):
    raise InputError(
      f'--jpeg={text}: no such file, nor {_AUTO}, {_NO_JPEG} or a quality from'
      ' 1 to 100'
    )
  found = image_io.read_jpeg(text)
  if found is None:
    raise InputError(
      f'{text}: not a JPEG file, so it has no tables for --jpeg; name one that'
      ' is, or a quality from 1 to 100'
    )
  return found


def load_kernel(text: str, scale: Scale) -> np.ndarray:
  """Returns the kernel that --kernel gives: a file's or a Gaussian.

  Args:
    text: `FILE`, `FILE:INDEX` (see `kernel_io.read_kernel`) or `gaussian:...`
      (see `parse_gaussian`).
    scale: the scale that the kernel is for.

  Raises:
    InputError: when there is no such kernel.
  """
  if text.startswith(GAUSSIAN):
    return parse_gaussian(text, scale)
  if text.isalpha() and not Path(text).exists():  # a word, misspelt
    raise InputError(
      f'--kernel={text}: no such file, nor one of {", ".join(_WORDS)},'
      f' {GAUSSIAN}STD'
    )
  return kernel_io.read_kernel(text)


def parse_gaussian(text: str, scale: Scale) -> np.ndarray:
  """Reads 'gaussian:STD' or 'gaussian:STD,STD,ANGLE'.

  The standard deviations, along the two axes of the Gaussian, are in pixels
  of the result; the angle is in degrees from the x axis, towards growing y,
  to the first axis, with 'deg' behind it or not.

  Args:
    text: such as 'gaussian:1.6', 'gaussian:2.0,1.0' or 'gaussian:2,1,30deg'.
    scale: the scale that the kernel is for.

  Returns:
    float32 `[n, n]`, see `blur_kernels.gaussian_kernel`.

  Raises:
    InputError: for other text, standard deviations that are not above 0 and
      at most four times the scale, or a scale that differs between the axes.
  """
  if isinstance(scale, tuple):
    raise InputError(
      f'--kernel={text}: is for a scale that is the same on both axes, not'
      f' {scale[0]:g},{scale[1]:g}; pass a kernel file'
    )
  try:
    parts = text.removeprefix(GAUSSIAN).split(',')
    if len(parts) > 3:
      raise ValueError
    first, second = float(parts[0]), float(parts[min(len(parts) - 1, 1)])
    turn = parts[2].strip().removesuffix('deg') if len(parts) == 3 else '0'
    angle = math.radians(float(turn))
    low, high = min(first, second), max(first, second)
    if not (0 < low <= high <= _WIDEST * scale and math.isfinite(angle)):
      raise ValueError
  except ValueError:
    raise InputError(
      f'--kernel={text}: must be {GAUSSIAN}STD or {GAUSSIAN}STD,STD,ANGLE with'
      f' 0 < STD <= {_WIDEST * scale:g} in pixels of the result, ANGLE in'
      ' degrees'
    ) from None
  return blur_kernels.gaussian_kernel((first**2, second**2), angle, scale)
