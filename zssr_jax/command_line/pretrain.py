r"""Trains a network on folders of images: a start to transfer, or a baseline.

  zssr-train --output=out/start_x2.safetensors --validate=Set5
  zssr-train --scale=3 --init=out/start_x2.safetensors \
    --output=out/start_x3.safetensors
  zssr-train --network=vdsr --scales=2,3,4 --patch=48 \
    --data_folders=BSDS300_train --output=out/vdsr.safetensors
  zssr-train --network=edsr --rate=1e-4 --output=out/edsr_x2.safetensors
  zssr-train --kernels=gaussian --meta=5 --batch=32 --init=... \
    --output=out/meta_x2.safetensors

Writes OUTPUT, the parameters (.safetensors); OUTPUT.jsonl, the training curve;
and OUTPUT.checkpoint, from which the same command, without --overwrite, goes
on after an interruption, exactly as if there had been none. Exit code: 0; 2 for
bad arguments or data, or when it had to stop; 130 after Ctrl-C.

bin/train_backbone is the same from a clone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from absl import flags

from zssr_jax import compile_cache, display, registry
from zssr_jax.command_line import app, jobs
from zssr_jax.data import datasets, files, image_io
from zssr_jax.errors import InputError, is_out_of_memory
from zssr_jax.ops import color, resize
from zssr_jax.parallel import devices as parallel
from zssr_jax.pretraining import loop, patches
from zssr_jax.pretraining import step as step_lib
from zssr_jax.weights import parameters

# To train on these test images would make every number of the tables a lie.
_TEST_SETS = ('B100', 'MZSR_g20_Set5', 'Set5', 'Set14', 'zssr_known_kernel')
# Networks that a single image trains as well, and those for many.
_STARTS = sorted(n for n, net in registry.MODELS.items() if not net.parts)
_NETWORKS = (*_STARTS, *registry.EXTERNAL)
_SIZE = {'depth': 8, 'width': 64}  # of the former; the latter have their own
_ANY_SCALE = [n for n in _NETWORKS if registry.NETWORKS[n].any_scale]
_SETTINGS = 'meta'  # of a checkpoint: JSON
_ANEW = '--overwrite to begin anew'
_SLOWER = f'pass a lower --rate, and {_ANEW}'


class Options(NamedTuple):
  """What the flags say, checked as far as it goes without images."""

  network: str
  size: dict[str, int]  # depth and width; empty where the network has its own
  recipe: step_lib.Recipe
  data: Path
  folders: tuple[str, ...]
  output: Path
  validate: str | None
  validate_minutes: float
  checkpoint_minutes: float
  init: Path | None
  half: bool
  seed: int
  overwrite: bool
  devices: int


_DEFAULT = step_lib.Recipe()
_TEXTS = {
  'network': ('pixel_shuffle', f'One of {", ".join(_NETWORKS)}.'),
  'kernels': (
    _DEFAULT.kernels,
    f'What makes LR patches: {", ".join(patches.KERNELS)}.',
  ),
  'loss': (
    _DEFAULT.loss,
    f"One of {', '.join(step_lib.LOSSES)} (VDSR's is sum), or several with"
    ' weights: luma:0.9,l1:0.1.',
  ),
  'optimizer': (_DEFAULT.optimizer, "adam, or sgd by VDSR's recipe."),
  'data': (None, 'Data root; else ZSSR_JAX_DATA.'),
  'output': (None, 'File of the parameters, .safetensors.'),
  'validate': (None, 'Data set whose PSNR is measured now and then.'),
  'init': (None, 'Parameters to start from, where their shapes fit.'),
}
_LISTS = {
  'scale': (['2'], 'Upscaling factor; several for one network of all.'),
  'data_folders': (
    ['BSDS300_train', 'T91'],
    'Training images: folders of the data root, or paths of your own.',
  ),
}
_COUNTS = {
  'steps': (_DEFAULT.steps, 'Steps.'),
  'batch': (_DEFAULT.batch, 'Patches a step.'),
  'patch': (
    _DEFAULT.patch,
    'Side of one, LR pixels; HR with several scales.',
  ),
  'warmup': (_DEFAULT.warmup, 'Steps in which the rate grows.'),
  'meta': (_DEFAULT.meta, 'Inner steps of meta-learning; 0: none.'),
  'tasks': (_DEFAULT.tasks, 'Kernels a batch of meta-learning.'),
  'seed': (0, 'Random seed.'),
  'devices': (1, 'Devices that share each batch.'),
}
_REALS = {
  'rate': (_DEFAULT.rate, 'Highest learning rate.'),
  'clip': (_DEFAULT.clip, 'Largest gradient times the rate; 0: any.'),
  'weight_decay': (_DEFAULT.weight_decay, 'Share of the weights.'),
  'average': (_DEFAULT.average, 'Decay of the running average of weights.'),
  'inner_rate': (_DEFAULT.inner_rate, 'Rate of the inner steps.'),
  'validate_minutes': (2.0, 'Minutes between validations.'),
  'checkpoint_minutes': (2.0, 'Minutes between checkpoints.'),
}
_SWITCHES = {
  'half': 'Write the parameters as float16.',
  'overwrite': (
    'Remove an earlier result and checkpoint and begin anew. Leave it out to go'
    ' on after an interruption.'
  ),
}


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags of the command."""
  for name, (value, text) in _TEXTS.items():
    flags.DEFINE_string(name, value, text, flag_values=values)
  for name, (items, text) in _LISTS.items():
    flags.DEFINE_list(name, items, text, flag_values=values)
  flags.DEFINE_alias('scales', 'scale', flag_values=values)
  for name, text, low, high in (
    ('depth', 'Convolution layers', 2, 64),
    ('width', 'Channels of the hidden layers', 1, 1024),
  ):
    flags.DEFINE_integer(
      name,
      _SIZE[name],
      f'{text}, of {", ".join(_STARTS)}.',
      low,
      high,
      flag_values=values,
    )
  for name, (number, text) in _COUNTS.items():
    most = 2**32 - 1 if name == 'seed' else 10**7  # patches need 32 bits
    flags.DEFINE_integer(name, number, text, 0, most, flag_values=values)
  for name, (real, text) in _REALS.items():
    flags.DEFINE_float(name, real, text, 0.0, flag_values=values)
  for name, text in _SWITCHES.items():
    flags.DEFINE_boolean(name, False, text, flag_values=values)


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
    flag: dict[str, Any] = {name: values[name].value for name in values}
    folders = tuple(flag['data_folders'])
    own = all(Path(name).expanduser().is_dir() for name in folders)
    data = datasets.data_root(flag['data'], needed=not own)
  except (flags.Error, OSError) as error:
    raise InputError(str(error)) from None
  if extra:
    raise InputError(f'{extra[0]}: not a flag; flags begin with --')
  if flag['network'] not in _NETWORKS:
    raise InputError(
      f'--network={flag["network"]}: must be one of {", ".join(_NETWORKS)}'
    )
  size = {}
  if flag['network'] in _STARTS:
    size = {name: flag[name] for name in _SIZE}
  elif fixed := [name for name in _SIZE if values[name].present]:
    raise InputError(
      f'--{fixed[0]}={flag[fixed[0]]}: is for {", ".join(_STARTS)};'
      f' {flag["network"]} has its own'
    )
  if not flag['output']:
    raise InputError('no --output=FILE.safetensors to write the parameters to')
  output = Path(flag['output'])
  if output.suffix != '.safetensors':
    raise InputError(f'--output={output}: must end in .safetensors')
  if output.is_dir():
    raise InputError(f'--output={output}: is a folder; name a file')
  if not folders:
    raise InputError('--data_folders: is empty')
  if data is None:
    if not own:
      raise InputError('no data: pass --data=FOLDER or set ZSSR_JAX_DATA')
    data = Path()
  for name in folders:
    parts = {*Path(name).parts, *(data / name).resolve().parts}
    with contextlib.suppress(OSError):  # which is said when it is read
      parts.update(datasets.find(data, name).resolve().parts)
    if found := parts & set(_TEST_SETS):
      raise InputError(
        f'--data_folders={name}: {found.pop()} is a test set; train on others'
      )
  return Options(
    network=flag['network'],
    size=size,
    recipe=_make_recipe(flag),
    data=data,
    folders=folders,
    output=output,
    validate=flag['validate'],
    validate_minutes=flag['validate_minutes'],
    checkpoint_minutes=flag['checkpoint_minutes'],
    init=Path(flag['init']) if flag['init'] else None,
    half=flag['half'],
    seed=flag['seed'],
    overwrite=flag['overwrite'],
    devices=flag['devices'],
  )


def _make_recipe(flag: dict[str, Any]) -> step_lib.Recipe:
  text = ','.join(flag['scale'])
  try:
    scales = tuple(sorted({int(part) for part in flag['scale']}))
  except ValueError:
    raise InputError(f'--scale={text}: must be whole numbers') from None
  if len(scales) > 1 and flag['network'] not in _ANY_SCALE:
    raise InputError(
      f'--scale={text}: {flag["network"]} is made for one scale; several are'
      f' for {", ".join(_ANY_SCALE)}'
    )
  names = {field.name for field in dataclasses.fields(step_lib.Recipe)}
  chosen = {name: flag[name] for name in names & set(flag)}
  chosen['scales'] = scales
  on_luma = registry.NETWORKS[flag['network']].color == 'y'
  chosen['color'] = 'y' if on_luma else 'rgb'
  try:
    return step_lib.Recipe(**chosen)
  except ValueError as error:
    raise InputError(f'--{error}') from None


def _make_model(options: Options) -> nn.Module:
  scale = float(options.recipe.scales[0])
  make = registry.NETWORKS[options.network].make
  try:
    return make(scale=(scale, scale), **options.size)
  except ValueError as error:
    raise InputError(f'--scale={scale:g}: {error}') from None


def _make_machine(options: Options, model: nn.Module) -> loop.Machine:
  try:
    devices = parallel.available(options.devices)
    if len(devices) > 1:
      return parallel.data_parallel(model, options.recipe, devices)
  except ValueError as error:
    raise InputError(f'--devices={options.devices}: {error}') from None
  return loop.one_device(model, options.recipe)


def _read_pixels(path: Path) -> np.ndarray:
  return color.to_uint8(image_io.read_image(path))


def _read_training(options: Options) -> list[np.ndarray]:
  try:
    files = [
      pair.hr
      for name in options.folders
      for pair in datasets.pairs(options.data, name, 1, with_lr=False)
    ]
  except (OSError, ValueError) as error:
    raise InputError(str(error)) from None
  images = []
  for file in files:
    try:
      images.append(_read_pixels(file))
    except InputError as error:
      app.complain(f'{error}; trained without it', 'warning')
  if not images:
    raise InputError(f'{files[0]}: nor can any other image be read')
  return images


def _read_validation(
  options: Options,
) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
  """Pairs (LR, HR) by scale: the set's own LR images, else MATLAB's bicubic."""
  if options.validate is None:
    return {}
  return {s: _read_pairs(options, s) for s in options.recipe.scales}


def _read_pairs(
  options: Options, scale: int
) -> list[tuple[np.ndarray, np.ndarray]]:
  try:
    found = datasets.pairs(options.data, options.validate or '', scale)
  except (OSError, ValueError) as error:
    raise InputError(str(error)) from None
  pairs = []
  for pair in found:
    hr = _read_pixels(pair.hr)
    hr = hr[tuple(slice(n // scale * scale) for n in hr.shape[:2])]
    if pair.lr is None:
      lr = resize.imresize(hr, 1 / scale)
    else:
      lr = _read_pixels(pair.lr)
    # A grey image is trained on, and counts, as one of three equal channels.
    pairs.append((_to_rgb(lr), _to_rgb(hr)))
  return pairs


def _to_rgb(image: np.ndarray) -> np.ndarray:
  return np.broadcast_to(image, (*image.shape[:2], 3))


def _line(error: Exception) -> str:
  """What an error of a file says, in one line that names the file."""
  if isinstance(error, OSError) and error.filename:
    return f'{error.filename}: {error.strerror}'
  return files.one_line(error)


def _plain(recipe: step_lib.Recipe) -> dict[str, Any]:
  """The recipe's fields as JSON gives them back."""
  return json.loads(json.dumps(dataclasses.asdict(recipe)))


def _digest(images: Sequence[np.ndarray]) -> str:
  digest = hashlib.sha256()
  for image in images:
    digest.update(np.array(image.shape, np.int64).tobytes() + image.tobytes())
  return digest.hexdigest()[:16]


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
  """Makes Ctrl-C wait, and an InputError of a file that cannot be written."""
  try:
    with app.WRITING:
      yield
  except OSError as error:
    raise InputError(
      f'{path}: cannot be written: {error.strerror or error}'
    ) from None


class _Files:
  """Result, curve and checkpoint of a run."""

  def __init__(self, options: Options):
    """Reads the checkpoint, where there is one to go on from."""
    self._half = options.half
    self._result = options.output
    self._curve = options.output.with_name(options.output.name + '.jsonl')
    self._checkpoint = options.output.with_name(
      options.output.name + '.checkpoint'
    )
    self._arrays: dict[str, np.ndarray] = {}
    self._settings: dict[str, Any] = {}
    self.old: dict[str, Any] = {}  # settings of the run that goes on
    if options.overwrite:
      return
    if self._checkpoint.exists():
      self._read()
    elif self._result.exists():
      raise InputError(
        f'{self._result}: exists already; pass --overwrite to replace it'
      )

  def _read(self) -> None:
    try:
      self._arrays = parameters.load_archive(self._checkpoint)
    except (OSError, ValueError) as error:
      raise InputError(f'{_line(error)}, or pass {_ANEW}') from None
    try:
      stored = json.loads(str(self._arrays[_SETTINGS]))
      # What an older version did not know of had the value of the default.
      self.old = {**_plain(step_lib.Recipe()), **_SIZE, **stored}
    except (KeyError, TypeError, ValueError) as error:
      raise self._foreign(error) from None

  def _foreign(self, error: Exception) -> InputError:
    return InputError(
      f'{self._checkpoint}: no checkpoint of this run'
      f' ({files.one_line(error)}); pass {_ANEW}'
    )

  def begin(
    self, state: step_lib.State, settings: dict[str, Any]
  ) -> step_lib.State:
    """Returns the state to go on from; `state` where there is none.

    What --overwrite replaces is removed, so that no interruption can leave
    the curve of one run beside the checkpoint of another.
    """
    self._settings = settings
    if not self.old:
      for path in (self._checkpoint, self._result):
        with _writing(path):
          path.parent.mkdir(parents=True, exist_ok=True)
          path.unlink(missing_ok=True)
      with _writing(self._curve):
        files.write_files({self._curve: ''})
      return state
    changed = [
      f'{name}={self.old.get(name)}, not {value}'
      for name, value in settings.items()
      if self.old.get(name) != value
    ]
    if changed:
      raise InputError(
        f'{self._checkpoint}: was made with {"; ".join(changed)}; pass {_ANEW}'
      )
    try:
      found = loop.unpack(self._arrays, state)
    except ValueError as error:
      raise self._foreign(error) from None
    self._arrays = {}
    self._cut_curve(int(found.step))
    return found

  def _cut_curve(self, step: int) -> None:
    """Drops what was measured after the checkpoint, and what is damaged."""
    if not self._curve.exists():
      return
    try:
      lines = self._curve.read_text(errors='replace').splitlines(keepends=True)
    except OSError as error:
      raise InputError(_line(error)) from None
    kept = ''.join(line for line in lines if _step_of(line) <= step)
    with _writing(self._curve):
      files.write_files({self._curve: kept})

  def save(self, state: step_lib.State) -> None:
    """Writes checkpoint and result.

    Raises:
      InputError: when they cannot be written; also when a number is not
        finite, in which case the last good ones stay.
    """
    arrays: dict[str, Any] = loop.pack(state)
    for array in arrays.values():
      if array.dtype.kind == 'f' and not np.isfinite(array).all():
        raise InputError(
          f'the weights are no finite numbers after step {int(state.step)};'
          f' {_SLOWER}'
        )
    arrays[_SETTINGS] = np.array(json.dumps(self._settings))
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    with _writing(self._checkpoint):
      files.write_files({self._checkpoint: stream.getvalue()})
    scales = self._settings['scales']
    try:
      with _writing(self._result):
        parameters.save_params(
          self._result,
          jax.device_get(state.average),
          half=self._half,
          step=int(state.step),
          **{
            name: value
            if isinstance(value, parameters.Fact)
            else json.dumps(value)
            for name, value in self._settings.items()
          },
          **({'scale': scales[0]} if len(scales) == 1 else {}),
        )
    except InputError:
      raise
    except ValueError as error:  # of finite numbers, too large for float16
      raise InputError(f'{error}; go on without --half') from None

  def add(self, point: dict[str, Any]) -> None:
    with _writing(self._curve), self._curve.open('a') as stream:
      stream.write(json.dumps(point) + '\n')


def _step_of(line: str) -> float:
  """The step that a line of a curve is about; infinite for a damaged one."""
  try:
    return int(json.loads(line)['step']) if line.endswith('\n') else math.inf
  except Exception:  # whatever stands there instead
    return math.inf


class _Clock:
  """Says when something is due that happens every so many minutes."""

  def __init__(self, minutes: float):
    self._seconds = 60 * minutes
    self._last = time.perf_counter()

  def due(self) -> bool:
    now = time.perf_counter()
    if now - self._last < self._seconds:
      return False
    self._last = now
    return True


class _Meter:
  """Loss since the last report, and time a step."""

  def __init__(self) -> None:
    self._loss, self._steps = 0.0, 0
    self._seconds, self._timed = 0.0, 0

  def add(self, look: loop.Look) -> None:
    self._loss += look.loss * look.steps
    self._steps += look.steps
    if not look.compiled:
      self._seconds += look.seconds
      self._timed += look.steps

  def loss(self) -> float:
    """Mean since the last call."""
    mean = self._loss / max(self._steps, 1)
    self._loss, self._steps = 0.0, 0
    return mean

  def seconds(self) -> float:
    """Of one step, 0 where none was timed yet."""
    return self._seconds / max(self._timed, 1)


def _start(
  options: Options, model: nn.Module, old: dict[str, Any]
) -> tuple[Any, str | None]:
  """Initial parameters, and the digest of the file that some came from.

  Args:
    options: name the file.
    model: the network.
    old: settings of the run that goes on, if one does. Then all is in its
      checkpoint, and the file may be gone.
  """
  key = jax.random.fold_in(jax.random.key(options.seed), 0)
  params = step_lib.init_params(key, model, options.recipe)
  if options.init is None:
    return params, None
  if old.get('init') and not options.init.exists():
    return params, old['init']
  try:
    given, _ = parameters.load_params(options.init)
  except (OSError, ValueError) as error:
    raise InputError(_line(error)) from None
  params, taken = loop.fit(params, parameters.flatten(given))
  if not taken:
    raise InputError(f'{options.init}: holds nothing that fits the network')
  if not old:
    count = len(jax.tree.leaves(params))
    print(f'took over {taken} of {count} parameters from {options.init}')
  return params, _digest([np.asarray(x) for x in jax.tree.leaves(given)])


def run(options: Options) -> int:
  """Trains, and returns the exit code.

  Raises:
    InputError: for data or files that cannot be used, for a run whose loss or
      weights are no numbers any more, and where memory is short.
  """
  try:
    return _train(options)
  except Exception as error:
    if is_out_of_memory(error):
      raise InputError(
        'not enough memory; pass a smaller --batch or --patch'
      ) from None
    raise


def _train(options: Options) -> int:
  recipe, model = options.recipe, _make_model(options)
  machine = _make_machine(options, model)
  jobs.check_output_folder(options.output.parent)
  files = _Files(options)
  images, validation = _read_training(options), _read_validation(options)
  try:
    corpus = patches.make_corpus(images, recipe.plan)
  except ValueError as error:
    raise InputError(f'{error}; pass a smaller --patch') from None
  params, init = _start(options, model, files.old)
  settings = {
    'network': options.network,
    **options.size,
    **_plain(recipe),
    'seed': options.seed,
    'images': _digest(images),
    'init': init,
  }
  key = jax.random.fold_in(jax.random.key(options.seed), 1)
  state = files.begin(step_lib.init_state(key, params, recipe), settings)
  name = f'{options.network} x{",".join(map(str, recipe.scales))}'
  size = sum(leaf.size for leaf in jax.tree.leaves(params))
  print(
    f'{name}: {len(corpus.share)} images, {size:,} weights, from step'
    f' {int(state.step)} of {recipe.steps}',
    flush=True,
  )

  def report(state: step_lib.State) -> None:
    step, each = int(state.step), meter.seconds()
    point = {
      'step': step,
      'loss': meter.loss(),
      'rate': float(step_lib.learning_rate(state.step, recipe)),
      'ms_per_step': round(1000 * each, 3),
    }
    words = [
      f'{step}/{recipe.steps}',
      f'loss {point["loss"]:.5f}',
      f'rate {point["rate"]:.2e}',
    ]
    for scale, pairs in validation.items():
      psnr = loop.validate(model, state.average, pairs, scale, recipe.color)
      point[f'psnr_x{scale}'] = psnr
      words.append(f'{options.validate} x{scale} {psnr:.3f} dB')
    if each:
      left = display.minutes(each * (recipe.steps - step))
      words += [f'{1000 * each:.0f} ms/step', f'{left} left']
    files.add(point)
    print('  '.join(words), flush=True)

  if int(state.step) == recipe.steps:  # done before; --half may be new
    files.save(state)
  saving = _Clock(options.checkpoint_minutes)
  reporting = _Clock(options.validate_minutes)
  meter = _Meter()
  try:
    for look in loop.run(machine, state, corpus, recipe):
      meter.add(look)
      last = int(look.state.step) == recipe.steps
      if reporting.due() or last:
        report(look.state)
      if saving.due() or last:
        files.save(look.state)
  except FloatingPointError as error:
    raise InputError(f'{error}; {_SLOWER}') from None
  print(f'{options.output}: {name}')
  return 0


def main(argv: list[str]) -> int:
  """Runs a command line and returns its exit code."""

  def work() -> int:
    options = parse_options(argv)
    compile_cache.use_compile_cache()
    return run(options)

  return app.run_command(argv, define_flags, work, usage=__doc__ or '')
