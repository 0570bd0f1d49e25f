"""The gradual stages of one image (ZSSR section 3.3).

Each stage trains for a larger factor than the one before, and its result
joins the fathers of the next. What passes from stage to stage is `Carried`.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax import checks, inference
from zssr_jax import parts as parts_lib
from zssr_jax.config import Config
from zssr_jax.models.network import Network
from zssr_jax.ops import resize
from zssr_jax.ops.resize import Scale
from zssr_jax.training import history, kernel_source, loop, losses, pool, step
from zssr_jax.weights import starts

# Of a stage at a small factor, unless the config's own is smaller; pixels.
_SMALLEST_CROP = 32


class Stage(NamedTuple):
  """What a stage trains."""

  factors: tuple[float, float]  # (y, x)
  side: int  # of the crop, cut from its largest father, pixels
  window: int  # side of the windows of the reconstruction error, input pixels


class Run(NamedTuple):
  """What all stages of an image have in common."""

  image: np.ndarray  # float32 [h, w, C] in [0, 1]
  parts: tuple[parts_lib.Part, ...]  # of it, which are trained on
  stages: tuple[Stage, ...]
  network: Network
  name: str  # of the network, in words
  losses: tuple[losses.Term, ...]
  variables: Mapping[str, Any]  # of the networks that losses take, by name
  start: Any  # parameters to begin with, or None
  config: Config
  key: jax.Array


class Carried(NamedTuple):
  """What a stage is handed, and hands on."""

  source: kernel_source.Source  # of the degradation
  params: tuple[Any, ...] = ()  # of each network
  # Of the stages so far but the last, each part's.
  results: tuple[tuple[np.ndarray, ...], ...] = ()
  histories: tuple[history.History, ...] = ()
  upscaler: inference.Upscaler | None = None  # of the stage before


class Clock:
  """Seconds by phase: estimate, prepare, train, infer."""

  def __init__(self) -> None:
    """Starts all phases at 0."""
    phases = ('estimate', 'prepare', 'train', 'infer')
    self.seconds = dict.fromkeys(phases, 0.0)

  @contextlib.contextmanager
  def __call__(self, phase: str) -> Iterator[None]:
    """Adds the time that is spent inside to a phase."""
    begin = time.perf_counter()
    yield
    self.seconds[phase] += time.perf_counter() - begin


def plan_stages(
  shape: tuple[int, ...], scale: Scale, config: Config
) -> tuple[Stage, ...]:
  """Plans what is trained for an input of `shape`, stage by stage.

  Args:
    shape: of the input.
    scale: upscaling factor or pair (y, x).
    config: gives the stages and the limits of the crop.

  Returns:
    The stages in their order; the last is at `scale`.

  Raises:
    ValueError: for an image too small, or a scale out of range.
  """
  stages = []
  earlier: list[tuple[int, ...]] = []
  scale = checks.check_scale(scale)
  for factors in stage_factors(scale, config):
    window = pool.crop_side(shape, factors, config)
    sources = _sources(earlier, tuple(shape), config)
    largest = max(sources, key=lambda s: min(s[:2]))
    limited = config
    if not config.batch:  # sons as large as at the scale itself
      crop = round(config.crop * max(factors) / max(scale))
      crop = max(crop, min(config.crop, _SMALLEST_CROP))
      limited = config.replace(crop=crop)
    side = pool.crop_side(largest, factors, limited)
    stages.append(Stage(factors, side, window))
    earlier.append(resize.scaled_shape(shape, factors))
  return tuple(stages)


def stage_factors(
  scale: tuple[float, float], config: Config
) -> list[tuple[float, float]]:
  """Returns each stage's (y, x): shares of the way from 1 to the scale."""
  y, x = scale
  return [
    (1 + (y - 1) * share_y, 1 + (x - 1) * share_x)
    for share_y, share_x in config.gradual or ((1.0, 1.0),)
  ]


def _sources(earlier: Any, image: Any, config: Config) -> list[Any]:
  """Returns what the fathers of a stage are made of."""
  return [*earlier[-config.latest :], image]  # all, where latest is 0


def run_stage(
  run: Run, number: int, carried: Carried, clock: Clock
) -> Generator[loop.Job, loop.Trained, Carried]:
  """Trains the networks of a stage; all but the last enlarge what they saw.

  A generator: it yields one `loop.Job` a network, wants the `loop.Trained`
  sent back, and returns what the next stage is handed.

  Args:
    run: the image and how it is treated.
    number: of the stage, from 0.
    carried: from the stage before.
    clock: takes the time.
  """
  config, stage = run.config, run.stages[number]
  crops = pool.crops_of(run.stages[-1].factors, config)
  init_key, window_key, train_key = _keys_of(run.key, number)
  with clock('prepare'):
    model = make_model(run.network, stage.factors, config)
    data = _prepare(run, number, carried, window_key)
  members, told, histories = [], [], []
  for member in range(config.networks):
    with clock('prepare'):
      # The first network is what a run of one would train.
      keys = [init_key, train_key]
      if member:
        keys = [jax.random.fold_in(k, member) for k in keys]
      begin = _begin(run, carried, member, model, keys[0], data)
      state = step.init_state(keys[1], begin, data.source, config)
    with clock('train'):
      trained = yield loop.Job(
        model=model,
        side=stage.side,
        losses=run.losses,
        config=config.replace(batch=crops),
        stage=(
          number * config.networks + member,
          len(run.stages) * config.networks,
        ),
        state=state,
        data=data,
      )
    found = carried.source.knowing([trained.told]).degradation
    members.append(inference.Member(trained.params, found.at(stage.factors)))
    told.append(trained.told)
    histories.append(trained.history)
  upscaler = inference.Upscaler(
    model, tuple(members), config, reach_of(run.network, model, config)
  )
  results = carried.results
  if number < len(run.stages) - 1:
    with clock('infer'):
      made = [inference.enlarge(upscaler, run.image[p]) for p in run.parts]
    results = (*results, tuple(made))
  return Carried(
    source=carried.source.knowing(told),
    params=tuple(m.params for m in members),
    results=results,
    histories=(*carried.histories, *histories),
    upscaler=upscaler,
  )


@jax.jit
def _keys_of(key: jax.Array, number: int) -> tuple[jax.Array, ...]:
  """Returns a stage's three random keys."""
  return tuple(jax.random.split(jax.random.fold_in(key, number), 3))


def _prepare(
  run: Run, number: int, carried: Carried, key: jax.Array
) -> step.Data:
  """Puts a stage's fathers, source and windows on the device."""
  config, stage = run.config, run.stages[number]
  whole = carried.source.degradation
  # Fathers are of what the network is shown: less blurred than the input.
  shown = tuple(
    np.asarray(whole.shown(run.image[part])).clip(0, 1) for part in run.parts
  )
  # A small crop is mostly border, so a large one goes before the variety of
  # small fathers.
  sources = [
    source
    for of_parts in _sources(carried.results, shown, config)
    for source in of_parts
    if min(source.shape[:2]) >= stage.side
  ]
  fathers = pool.make_pool(
    [f for s in sources for f in pool.make_fathers(s, stage.side, config)],
    shown[0].shape,
    config.father_exponent,
  )
  count = len(run.stages)
  source = carried.source.at(
    stage.factors, (number / count, (number + 1) / count)
  )
  windows = step.make_windows(
    key,
    shown[0],
    stage.window,
    whole.at(stage.factors),
  )
  source = jax.tree.map(jnp.asarray, source)
  return step.Data(fathers, source, windows, run.variables)


def make_model(
  network: Network, factors: tuple[float, float], config: Config
) -> nn.Module:
  """Builds the module that is trained for factors (y, x)."""
  return network.make(
    scale=factors,
    depth=config.depth,
    width=config.width,
    gain=config.init_gain,
  )


def shapes_of(
  model: nn.Module, factors: tuple[float, float], channels: int
) -> Any:
  """Returns the shapes of a module's parameters; computes nothing.

  Args:
    model: from `make_model`.
    factors: that it is made for, (y, x).
    channels: of the images.

  Returns:
    A tree of `jax.ShapeDtypeStruct`.
  """
  try:
    return _shapes_of(model, factors, channels)
  except TypeError:  # a module of one's own that has no hash
    return _shapes_of.__wrapped__(model, factors, channels)


@functools.lru_cache(maxsize=64)
def _shapes_of(
  model: nn.Module, factors: tuple[float, float], channels: int
) -> Any:
  # A user's network has been tried on as many pixels (`checks.check_model`).
  son = jax.ShapeDtypeStruct((1, 16, 16, channels), jnp.float32)
  shape = resize.scaled_shape(son.shape[1:3], factors)
  father = jax.ShapeDtypeStruct((1, *shape, channels), jnp.float32)

  def init(son, father):
    return model.init(jax.random.key(0), son, father)['params']

  return jax.eval_shape(init, son, father)


def reach_of(network: Network, model: nn.Module, config: Config) -> int:
  """How many input pixels away the layers look; a module may say it itself."""
  return getattr(model, 'reach', None) or network.reach(config.depth)


def _begin(
  run: Run,
  carried: Carried,
  member: int,
  model: nn.Module,
  key: jax.Array,
  data: step.Data,
) -> Any:
  """Returns the parameters of a network's first step in a stage."""
  # Of random parameters the shapes are known without compiling for them.
  factors = data.source.degradation.scale
  begin = shapes_of(model, factors, run.image.shape[2])
  if not carried.params:
    begin = complete_start(begin, run.start, run.network, run.name)
  elif _shapes(earlier := carried.params[member]) == _shapes(begin):
    begin = earlier
  if not any(
    isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(begin)
  ):
    return begin
  # Where the factors change the shapes, the network starts anew.
  pair = data.windows.son, data.windows.interpolated
  fresh = _init_params(model, key, *pair)
  if carried.params:
    return fresh
  return complete_start(fresh, run.start, run.network, run.name)


@functools.partial(jax.jit, static_argnums=0)
def _init_params(model, key, sons, interpolated) -> Any:
  return model.init(key, sons[:1], interpolated[:1])['params']


def _shapes(tree) -> Any:
  return jax.tree.map(lambda leaf: leaf.shape, tree)


def describe_network(config: Config) -> str:
  """A config's network in words, for messages."""
  return (
    f'the {config.model} network of depth {config.depth} and width'
    f' {config.width}'
  )


def complete_start(fresh: Any, start: Any, network: Network, name: str) -> Any:
  """Completes `start` from `fresh` to the parameters of the first step.

  Args:
    fresh: the network's random parameters, or their shapes.
    start: trained ones, whole or some of the modules at the top of the tree;
      or None.
    network: to be trained.
    name: of the network in words.

  Raises:
    ValueError: when the start does not fit, or a part that must come trained
      is missing.
  """
  for part in network.parts:
    if part not in (start or {}):
      raise ValueError(
        f"{name} needs a trained {part}: pass start={{'{part}': parameters}}"
      )
  if start is None:
    return fresh
  try:
    return starts.complete(fresh, start)
  except ValueError as error:
    raise ValueError(f'start does not fit {name}: {error}') from None
