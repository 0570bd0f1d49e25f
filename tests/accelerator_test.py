"""Everything that a run computes can be compiled for a GPU and for a TPU.

None is needed: the programs are lowered for those platforms, which is as far as
one comes without. Runs are driven without computing anything: where they call a
compiled function, its arguments are taken down, and ones returned.
"""

import contextlib
import functools
import re
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zssr_jax import inference, presets, stages, super_resolution
from zssr_jax.config import Config
from zssr_jax.degradation import Degradation
from zssr_jax.errors import NoKernelError
from zssr_jax.kernel_estimation import kernel_gan, learned, patch_recurrence
from zssr_jax.models import vgg, zssr
from zssr_jax.ops import conv
from zssr_jax.parallel import devices
from zssr_jax.pretraining import patches
from zssr_jax.pretraining import step as pretraining
from zssr_jax.registry import MODELS
from zssr_jax.training import history, loop

PLATFORMS = ('cuda', 'tpu')
IMAGE = np.random.default_rng(0).random((44, 52, 3), np.float32)
LARGER = np.tile(IMAGE, (2, 2, 1))
# Libraries of the device, which factorise a matrix.
DEVICE_CALLS = r'cusolver_\w+|cublas_\w+|cu_lu_\w+|LuDecomposition'
HOST = re.compile(
  r'stablehlo\.(?:infeed|outfeed|send|recv)\b|_xla_host|MoveToHost|pinned_host'
)
# A product over the 36 points of a tile (`ops.conv`).
WINOGRAD = re.compile(r'stablehlo\.dot_general.*<36x')


class Program(NamedTuple):
  """A compiled function, and what a run called it with."""

  name: str
  function: Any
  args: tuple[Any, ...]
  kwargs: dict[str, Any]

  def text(self, platform):
    """Its module for a platform."""
    export = jax.export.export(jax.jit(self.function), platforms=[platform])
    if hasattr(self.function, 'trace'):  # compiled already, maybe with statics
      export = jax.export.export(self.function, platforms=[platform])
    return export(*self.args, **self.kwargs).mlir_module()


def check(program):
  """Asserts that it lowers, for the device alone, as written for it."""
  for platform in PLATFORMS:
    text = program.text(platform)
    calls = set(re.findall(r'custom_call @([\w$.]+)', text))
    odd = {call for call in calls if not re.fullmatch(DEVICE_CALLS, call)}
    assert not odd, (program.name, platform)
    assert not HOST.search(text), (program.name, platform)
    assert not WINOGRAD.search(text), (program.name, platform)


def ones(tree):
  def one(x):
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
      return jax.random.key(1)
    return np.ones(x.shape, x.dtype)

  return jax.tree.map(one, tree)


@pytest.fixture
def programs(monkeypatch):
  """Takes down what is called in place of computing; as on a GPU."""
  found: dict[Any, Program] = {}

  def recorder(name, function):
    @functools.wraps(function)
    def call(*args, **kwargs):
      leaves = jax.tree.leaves((args, kwargs))
      if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return function(*args, **kwargs)
      shapes = [getattr(leaf, 'shape', leaf) for leaf in leaves]
      key = name, str(jax.tree.structure((args, kwargs))), str(shapes)
      found.setdefault(key, Program(name, function, args, kwargs))
      return ones(function.eval_shape(*args, **kwargs))

    call.eval_shape = function.eval_shape
    return call

  compiled = type(jax.jit(abs))
  for module in [m for n, m in sys.modules.items() if n.startswith('zssr_jax')]:
    for name, value in list(vars(module).items()):
      if isinstance(value, compiled):
        whole = f'{module.__name__}.{name}'
        monkeypatch.setattr(module, name, recorder(whole, value))
  make_apply = sys.modules['zssr_jax.inference']._make_apply
  monkeypatch.setattr(
    'zssr_jax.inference._make_apply',
    lambda model: recorder('zssr_jax.inference.apply', make_apply(model)),
  )
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  return found


def chunk_of(job):
  """The program of a job's steps, at the length of an accelerator."""
  chunk = loop.make_chunk(
    job.model, job.side, job.losses, job.config, loop.chunk_length()
  )
  return Program('chunk', chunk, (job.state, job.data), {})


def drive(run, found):
  """Takes a run to its end without training; notes its chunks, too."""
  answer = None
  while True:
    try:
      job = run.send(answer)
    except StopIteration:
      return
    found.setdefault(job.kind, chunk_of(job))
    none = np.ones(0, np.float32)
    answer = loop.Trained(
      params=job.state.params,
      told=job.data.source.told(job.state.learnt),
      history=history.History(
        loss=none,
        losses={},
        learning_rate=none,
        error_steps=none.astype(np.int32),
        error=none,
        drops=(),
        rollbacks=(),
        stages=((*job.factors, 0),),
      ),
    )


def vgg16(config):
  """VGG16 of ones, as far as the config's loss looks."""
  model = vgg.Vgg16(tuple(name for name, _ in config.content_layers))
  image = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
  return ones(jax.eval_shape(model.init, jax.random.key(0), image))


def arguments(name, **changes):
  """What `run_image` needs for a shipped config, of as few stages as tell."""
  config = presets.load_config(name, networks=1, **changes)
  if config.gradual:
    config = config.replace(gradual=(config.gradual[0], (1, 1)))
  more = {}
  if any(loss == 'content' for loss, _ in config.losses):
    more['vgg'] = vgg16(config)
  if config.model == 'vdsr_backbone':
    factors = (2.0, 2.0)
    model = stages.make_model(MODELS[config.model], factors, config)
    more['start'] = ones(stages.shapes_of(model, factors, 3))
  return {'config': config, **more}


@pytest.mark.parametrize(
  'name',
  [
    name
    if name in ('auto', 'fast', 'ideal')
    else pytest.param(name, marks=pytest.mark.slow)
    for name in presets.PRESETS
  ],
)
def test_all_that_a_shipped_config_runs_lowers(name, programs):
  drive(super_resolution.run_image(IMAGE, 2, **arguments(name)), programs)
  called = {program.name.rpartition('.')[2] for program in programs.values()}
  assert {'chunk', 'apply'} <= called
  for program in programs.values():
    check(program)


@pytest.mark.parametrize(
  ('changes', 'scale'),
  [
    ({'kernel': 'joint', 'noise_std': 0.01}, 2),
    ({'kernel': 'estimate', 'noise_std': 0.01}, (2.5, 1.5)),
    ({'affine': 0.5, 'batch': 2, 'optimizer': 'sgd', 'patience': 3}, 3),
    ({'tile': 32, 'depth': 3}, 2),
  ],
)
def test_all_that_other_settings_run_lowers(changes, scale, programs):
  config = Config(model='pixel_shuffle', width=8, **changes)
  drive(super_resolution.run_image(IMAGE, scale, config=config), programs)
  called = {program.name.rpartition('.')[2] for program in programs.values()}
  assert {'chunk', 'apply', 'least_squares', '_pair_windows'} <= called
  for program in programs.values():
    check(program)


@pytest.mark.parametrize(
  ('find', 'called'),
  [
    (lambda key: learned.find(LARGER, 2), '_apply'),
    (lambda key: kernel_gan._train(LARGER, key, 4), '_run'),
    (lambda key: patch_recurrence.estimate(LARGER, 2, key), '_solve'),
  ],
)
def test_all_that_finds_a_kernel_lowers(find, called, programs):
  with contextlib.suppress(NoKernelError):  # ones make none
    find(jax.random.key(0))
  assert called in [p.name.rpartition('.')[2] for p in programs.values()]
  for program in programs.values():
    check(program)


def test_what_is_done_to_an_image_without_a_program_lowers():
  kernel = np.full((13, 13), 1 / 169, np.float32)
  degradation = Degradation(
    2, kernel=kernel, shot=0.01, undo=np.ones((61, 61), np.float32) / 61**2
  )
  check(Program('shown', lambda x: degradation.shown(x), (IMAGE,), {}))
  up = jnp.asarray(IMAGE)
  projected = functools.partial(
    inference._back_project, degradation=degradation, iterations=2
  )
  again = jnp.zeros((88, 104, 3))
  check(Program('back projection', projected, (again, up), {}))


@pytest.mark.parametrize('more', [{}, {'meta': 1, 'kernels': 'mixed'}])
def test_training_on_many_images_lowers(more):
  recipe = pretraining.Recipe(patch=8, batch=8, steps=4, **more)
  model = zssr.Zssr(depth=3, width=32)
  images = [(255 * IMAGE).astype(np.uint8)]
  corpus = patches.make_corpus(images, recipe.plan)
  params = ones(
    jax.eval_shape(
      lambda key: pretraining.init_params(key, model, recipe),
      jax.random.key(0),
    )
  )
  state = pretraining.init_state(jax.random.key(1), params, recipe)
  chunk = pretraining.make_chunk(model, recipe)
  check(Program('pretraining', chunk, (state, corpus, np.int32(2)), {}))


def test_images_that_train_together_lower():
  config = Config(model='pixel_shuffle', width=32, depth=3)
  job = next(super_resolution.run_image(IMAGE, 2, config=config))
  chunk = devices._make_chunk(
    job.model, job.side, job.losses, config, 10, tuple(devices.available(2))
  )
  stacked = [devices._stack([tree] * 2) for tree in (job.state, job.data)]
  check(Program('mapped chunk', chunk, tuple(stacked), {}))


def test_an_accelerator_does_100_steps_a_call(monkeypatch):
  assert loop.chunk_length() == 10
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert loop.chunk_length() == 100


def test_a_step_has_its_convolutions_and_few_branches():
  config = presets.load_config('ideal')
  job = next(super_resolution.run_image(IMAGE, 2, config=config))
  text = chunk_of(job).text('cuda')
  # Forward and both gradients, of the first layer one; the error's forward.
  convolutions = 8 + 2 * 8 - 1 + 8
  assert len(re.findall(r'= stablehlo\.convolution', text)) == convolutions
  assert 'dot_general' not in text
  # What depends on the platform alone is a case of a constant, and then one of
  # its result. A GPU asks the host which way to go, so the others must be few:
  # whether the run is over, which way the crop is turned, whether to measure.
  cases = re.findall(r'(%\w+)(?::\d+)? = "stablehlo\.case"\((%\w+)\)', text)
  constants = set(re.findall(r'(%\w+) = stablehlo\.constant', text))
  constants |= {result for result, of in cases if of in constants}
  assert len([of for _, of in cases if of not in constants]) == 3


def test_a_call_of_python_would_be_found():
  def talkative(x):
    jax.debug.print('{}', x)
    return x

  with pytest.raises((AssertionError, ValueError)):
    check(Program('talkative', talkative, (jnp.ones(3),), {}))


def test_tiles_of_a_cpu_would_be_found():
  x, w = jnp.ones((1, 8, 8, 32)), jnp.ones((3, 3, 32, 32))
  check(Program('convolution', conv.conv2d, (x, w), {}))
  with pytest.raises(AssertionError, match='tiled'):
    check(Program('tiled', conv.tiled, (x, w), {}))
