"""The flow of bin/train_backbone: image folders in, parameters out."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from absl import flags

from zssr_jax import models
from zssr_jax.command_line import flow, jobs
from zssr_jax.data import datasets, image_io
from zssr_jax.data.image_io import InputError
from zssr_jax.ops import color, resize
from zssr_jax.pretraining import loop, patches
from zssr_jax.pretraining import step as step_lib

# Test images: to train on them would make every number of the tables a lie.
_TEST_SETS = ('B100', 'Set5', 'Set14')
_NETWORKS = ('pixel_shuffle', 'zssr')
_META = 'meta'  # of a file of parameters: JSON


class Options(NamedTuple):
  """What the flags say, checked as far as it goes without images."""

  network: str
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


def define_flags(values: flags.FlagValues, argv: list[str]) -> None:
  """Defines the flags of the command."""
  del argv
  default = step_lib.Recipe()
  for name, value, text in (
    ('network', 'pixel_shuffle', f'One of {", ".join(_NETWORKS)}.'),
    ('loss', default.loss, 'l1 or l2.'),
    ('data', None, 'Data root; else ZSSR_JAX_DATA.'),
    ('output', None, 'File of the parameters, .npz.'),
    ('validate', None, 'Data set whose PSNR is measured now and then.'),
    ('init', None, 'Parameters to start from, where their shapes fit.'),
  ):
    flags.DEFINE_string(name, value, text, flag_values=values)
  flags.DEFINE_list(
    'data_folders',
    ['BSDS300_train', 'T91'],
    'Training images: folders of the data root, or paths of your own.',
    flag_values=values,
  )
  for name, number, text in (
    ('scale', 2, 'Upscaling factor.'),
    ('steps', default.steps, 'Steps.'),
    ('batch', default.batch, 'Patches a step.'),
    ('patch', default.patch, 'Side of a patch in LR pixels.'),
    ('warmup', default.warmup, 'Steps in which the rate grows.'),
    ('seed', 0, 'Random seed.'),
  ):
    flags.DEFINE_integer(name, number, text, 0, flag_values=values)
  for name, real, text in (
    ('rate', default.rate, 'Highest learning rate.'),
    ('average', default.average, 'Decay of the running average of weights.'),
    ('validate_minutes', 2.0, 'Minutes between validations.'),
    ('checkpoint_minutes', 2.0, 'Minutes between checkpoints.'),
  ):
    flags.DEFINE_float(name, real, text, 0.0, flag_values=values)
  for name, text in (
    ('half', 'Write the parameters as float16.'),
    ('overwrite', 'Begin anew where there is a result or a checkpoint.'),
  ):
    flags.DEFINE_boolean(name, False, text, flag_values=values)


def parse_options(argv: list[str]) -> Options:
  """Parses the command line.

  Raises:
    InputError: for anything wrong, in one line.
  """
  values = flags.FlagValues()
  define_flags(values, argv)
  try:
    extra = values(argv)[1:]
    flag: dict[str, Any] = {name: values[name].value for name in values}
    data = datasets.data_root(flag['data'])
  except (flags.Error, OSError) as error:
    raise InputError(str(error)) from None
  if extra:
    raise InputError(f'{extra[0]}: not a flag; flags begin with --')
  if flag['network'] not in _NETWORKS:
    raise InputError(
      f'--network={flag["network"]}: must be one of {", ".join(_NETWORKS)}'
    )
  if not flag['output']:
    raise InputError('no --output=FILE.npz to write the parameters to')
  output = Path(flag['output'])
  if output.suffix != '.npz':
    raise InputError(f'--output={output}: must end in .npz')
  folders = tuple(flag['data_folders'])
  if not folders:
    raise InputError('--data_folders: is empty')
  if data is None:
    if not all(Path(name).is_dir() for name in folders):
      raise InputError('no data: pass --data=FOLDER or set ZSSR_JAX_DATA')
    data = Path()
  for name in folders:
    parts = {*Path(name).parts, *(data / name).resolve().parts}
    if found := parts & set(_TEST_SETS):
      raise InputError(
        f'--data_folders={name}: {found.pop()} is a test set; train on others'
      )
  try:
    recipe = step_lib.Recipe(
      scales=(flag['scale'],),
      patch=flag['patch'],
      batch=flag['batch'],
      steps=flag['steps'],
      loss=flag['loss'],
      rate=flag['rate'],
      warmup=flag['warmup'],
      average=flag['average'],
    )
  except ValueError as error:
    raise InputError(f'--{error}') from None
  return Options(
    network=flag['network'],
    recipe=recipe,
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
  )


def _make_model(options: Options) -> nn.Module:
  scale = float(options.recipe.scales[0])
  return models.make_model(options.network, scale=(scale, scale))


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
  return [_read_pixels(file) for file in files]


def _read_validation(options: Options) -> list[tuple[np.ndarray, np.ndarray]]:
  """Pairs (LR, HR): the data set's own LR images, else MATLAB's bicubic."""
  if options.validate is None:
    return []
  scale = options.recipe.scales[0]
  try:
    found = datasets.pairs(options.data, options.validate, scale)
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
    if lr.shape[2] != hr.shape[2] or lr.shape[2] == 1:  # the network's are 3
      lr, hr = (np.repeat(x, 3 // x.shape[2], axis=2) for x in (lr, hr))
    pairs.append((lr, hr))
  return pairs


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
  content = image_io.read_bytes(path)
  try:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
      return {name: archive[name] for name in archive.files}
  except Exception:  # text, a pickle, a cut or corrupted archive
    raise InputError(
      f'{path}: not a whole .npz file of numbers; get a whole copy'
    ) from None


def _encode(arrays: Mapping[str, np.ndarray], meta: Any) -> bytes:
  stream = io.BytesIO()
  text = np.array(json.dumps(meta, sort_keys=True))
  np.savez(stream, allow_pickle=False, **{_META: text}, **arrays)
  return stream.getvalue()


def _encode_params(params: Any, meta: Any, half: bool) -> bytes:
  leaves, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(params))
  kind = np.float16 if half else np.float32
  arrays = {
    '/'.join(part.key for part in path): np.asarray(leaf, kind)
    for path, leaf in leaves
  }
  return _encode(arrays, meta)


def _digest(images: Sequence[np.ndarray]) -> str:
  digest = hashlib.sha256()
  for image in images:
    digest.update(np.int64(image.shape).tobytes() + image.tobytes())
  return digest.hexdigest()[:16]


class _Files:
  """Result, curve and checkpoint of a run."""

  def __init__(self, options: Options, settings: dict[str, Any]):
    self._options, self._settings = options, settings
    self._result = options.output
    self._curve = options.output.with_name(options.output.name + '.jsonl')
    self._checkpoint = options.output.with_name(
      options.output.name + '.checkpoint'
    )

  def resume(self, state: step_lib.State) -> step_lib.State:
    """Returns the state to go on from; `state` where there is none."""
    if self._options.overwrite or not self._checkpoint.exists():
      if self._result.exists() and not self._options.overwrite:
        raise InputError(
          f'{self._result}: exists already; pass --overwrite to replace it'
        )
      image_io.write_files({self._curve: ''})
      return state
    arrays = _read_arrays(self._checkpoint)
    try:
      old = json.loads(str(arrays[_META]))
      found = loop.unpack(arrays, state) if old == self._settings else None
    except (KeyError, ValueError) as error:
      raise InputError(
        f'{self._checkpoint}: no checkpoint of this run ({error}); pass'
        ' --overwrite to begin anew'
      ) from None
    if found is None:
      changed = [
        f'{name} {old.get(name)} and not {value}'
        for name, value in self._settings.items()
        if old.get(name) != value
      ]
      raise InputError(
        f'{self._checkpoint}: was made with {"; ".join(changed)}; pass'
        ' --overwrite to begin anew'
      )
    self._cut_curve(int(found.step))
    return found

  def _cut_curve(self, step: int) -> None:
    """Drops what was measured after the checkpoint."""
    if not self._curve.exists():
      return
    kept = [
      line
      for line in self._curve.read_text().splitlines(keepends=True)
      if line.endswith('\n') and json.loads(line)['step'] <= step
    ]
    image_io.write_files({self._curve: ''.join(kept)})

  def save(self, state: step_lib.State) -> None:
    meta = {**self._settings, 'step': int(state.step)}
    image_io.write_files(
      {
        self._checkpoint: _encode(loop.pack(state), self._settings),
        self._result: _encode_params(state.average, meta, self._options.half),
      }
    )

  def add(self, point: dict[str, Any]) -> None:
    with self._curve.open('a') as stream:
      stream.write(json.dumps(point) + '\n')


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


def run(options: Options) -> int:
  """Trains, and returns the exit code.

  Raises:
    InputError: for data or files that cannot be used, and for a run whose
      loss is no number any more.
  """
  recipe, model = options.recipe, _make_model(options)
  if options.output.parent.exists():
    jobs.check_output_folder(options.output.parent)
  images, validation = _read_training(options), _read_validation(options)
  try:
    corpus = patches.make_corpus(images, recipe.plan)
  except ValueError as error:
    raise InputError(f'{error}; pass a smaller --patch') from None
  settings = {
    'network': options.network,
    **dataclasses.asdict(recipe),
    'scales': list(recipe.scales),
    'seed': options.seed,
    'images': _digest(images),
    'init': None,
  }
  key = jax.random.key(options.seed)
  params = step_lib.init_params(jax.random.fold_in(key, 0), model, recipe)
  if options.init:
    given = _read_arrays(options.init)
    params, taken = loop.fit(params, given)
    if not taken:
      raise InputError(f'{options.init}: holds nothing that fits the network')
    settings['init'] = hashlib.sha256(options.init.read_bytes()).hexdigest()[
      :16
    ]
  options.output.parent.mkdir(parents=True, exist_ok=True)
  files = _Files(options, settings)
  state = step_lib.init_state(jax.random.fold_in(key, 1), params, recipe)
  state = files.resume(state)
  print(
    f'{options.network} x{recipe.scales[0]}: {len(corpus.share)} images,'
    f' {sum(p.size for p in jax.tree.leaves(params)):,} weights,'
    f' from step {int(state.step)} of {recipe.steps}',
    flush=True,
  )
  save, measure = (
    _Clock(options.checkpoint_minutes),
    _Clock(options.validate_minutes),
  )
  look = None
  spent, counted, total, steps = 0.0, 0, 0.0, 0
  machine = loop.one_device(model, recipe)
  try:
    for look in loop.run(machine, state, corpus, recipe):
      state, step = look.state, int(look.state.step)
      total, steps = total + look.loss * look.count, steps + look.count
      if look.count > 1:  # the first chunk, of one step, also compiled
        spent, counted = spent + look.seconds, counted + look.count
      last = step == recipe.steps
      if last or save.due():
        files.save(state)
      if last or measure.due():
        each = spent / max(counted, 1)
        point = {
          'step': step,
          'loss': total / steps,
          'rate': float(step_lib.learning_rate(state.step, recipe)),
          'ms_per_step': round(1000 * each, 3),
        }
        words = [
          f'{step}/{recipe.steps}',
          f'loss {total / steps:.5f}',
          f'rate {point["rate"]:.2e}',
        ]
        if validation:
          point['psnr'] = loop.validate(
            model, state.average, validation, recipe.scales[0], recipe.color
          )
          words.append(f'{options.validate} {point["psnr"]:.3f} dB')
        left = round(each * (recipe.steps - step))
        words += [
          f'{1000 * each:.0f} ms/step',
          f'{left // 60}:{left % 60:02} left',
        ]
        files.add(point)
        print('  '.join(words), flush=True)
        total, steps = 0.0, 0
  except FloatingPointError as error:
    raise InputError(f'{error}; try a lower --rate') from None
  print(f'{options.output}: {options.network} x{recipe.scales[0]}')
  return 0


def main(argv: list[str], *, usage: str) -> int:
  """Runs a command line of bin/train_backbone and returns its exit code."""

  def work() -> int:
    options = parse_options(argv)
    flow.use_compile_cache()
    return run(options)

  return flow.run_command(argv, define_flags, work, usage=usage)
