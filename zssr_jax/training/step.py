"""One training step: draw a father, make its son, take an Adam step.

Everything here is pure and runs inside jit; `loop.py` strings steps together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from zssr_jax import programs
from zssr_jax.config import Config
from zssr_jax.degradation import Degradation
from zssr_jax.training import kernel_source, optimizers, plateau, pool
from zssr_jax.training import losses as loss_lib

Params = Any


class State(NamedTuple):
  """All that changes from step to step, and nothing else."""

  step: jax.Array  # int32, completed steps
  params: Params
  average: Params  # running average of params, or () when it is off
  optimizer: Any
  error: jax.Array  # float32, latest reconstruction MSE
  error_is_new: jax.Array  # bool, measured at the end of the last step
  lowest: jax.Array  # float32, the lowest of these errors
  stale: jax.Array  # int32, how many have been measured since
  rate: jax.Array  # float32, factor on the learning rate, halved by a rollback
  key: jax.Array
  done: jax.Array  # bool
  learnt: Any  # what the kernel source has learnt, () where it knows all


class Windows(NamedTuple):
  """Fixed parts of the input on which the reconstruction error is measured."""

  father: jax.Array  # [M, S, S, C]
  son: jax.Array  # [M, h, w, C]
  interpolated: jax.Array  # [M, S, S, C], cubic upscale of the son


class Data(NamedTuple):
  """All that a training takes and does not change."""

  fathers: pool.Pool
  source: kernel_source.StageSource  # of the sons' degradation
  windows: Windows
  variables: Any  # of the networks that losses take, by name; {} for none


class Record(NamedTuple):
  """What one step reports."""

  loss: jax.Array  # float32
  losses: dict[str, jax.Array]  # float32, its parts by name
  learning_rate: jax.Array  # float32, the rate of this step
  error: jax.Array  # float32, reconstruction MSE
  error_is_new: jax.Array  # bool, measured in this step
  drops: jax.Array  # int32, drops of the plateau schedule so far
  active: jax.Array  # bool, false once the run is over


def make_optimizer(config: Config) -> optax.GradientTransformationExtraArgs:
  """Builds the optimiser, with the schedule of section 3.1 or another."""
  if config.schedule == 'plateau':
    schedule = plateau.scale_by_plateau_on_std(
      check_every=config.check_every,
      min_steps=config.min_steps,
      window=config.plateau_window,
      slope_factor=config.plateau_slope_factor,
      ddof=config.plateau_ddof,
    )
  else:
    schedule = optax.scale_by_schedule(_planned(config))
  return optax.chain(
    optimizers.DIRECTIONS[config.optimizer](),
    schedule,
    optax.scale_by_schedule(_warmup(config)),
    optax.scale(-config.learning_rate),
  )


def _planned(config: Config) -> Callable[[jax.Array], jax.Array]:
  """Makes the factor on the rate: constant, or a cosine from 1 to 0."""
  if config.schedule == 'constant':
    return lambda count: jnp.ones((), jnp.float32)
  cosine = optax.cosine_decay_schedule(1.0, max(config.max_steps, 1))
  return lambda count: cosine(jnp.asarray(count, jnp.float32))


def _warmup(config: Config) -> Callable[[jax.Array], jax.Array]:
  """Makes the factor on the rate that grows from 1 / warmup to 1."""
  steps = max(config.warmup, 1)
  return lambda count: jnp.minimum(
    1.0, (jnp.asarray(count, jnp.float32) + 1) / steps
  )


def current_rate(state: State, config: Config) -> jax.Array:
  """Returns the last step's learning rate, float32; before any, the first's."""
  schedule = state.optimizer[1]
  step = jnp.maximum(state.step - 1, 0)
  scale = config.learning_rate * state.rate * _warmup(config)(step)
  if isinstance(schedule, plateau.PlateauOnStdState):
    return scale * schedule.scale
  return scale * _planned(config)(step)


def drops_of(state: State) -> jax.Array:
  """Counts how often the plateau schedule has dropped the rate, int32."""
  schedule = state.optimizer[1]
  if isinstance(schedule, plateau.PlateauOnStdState):
    return schedule.drops
  return jnp.zeros((), jnp.int32)


def init_state(
  key: jax.Array,
  params: Params,
  source: kernel_source.StageSource,
  config: Config,
) -> State:
  """Makes the state before the first step.

  Args:
    key: random key of all draws.
    params: to train from.
    source: of the sons' degradation.
    config: the run's settings.
  """
  # On the host, so that nothing is compiled for a number.
  scalar: Any = np.asarray
  state = State(
    step=scalar(0, np.int32),
    params=params,
    average=params if config.weight_average else (),
    optimizer=_make_init(config)(params),
    error=scalar(0, np.float32),
    error_is_new=scalar(False),
    lowest=scalar(np.inf, np.float32),
    stale=scalar(0, np.int32),
    rate=scalar(1, np.float32),
    key=key,
    done=scalar(config.max_steps == 0),
    learnt=source.init(),
  )
  placed: State = jax.device_put(state)
  return placed


@functools.lru_cache(maxsize=64)
def _make_init(config: Config) -> Callable[[Params], Any]:
  """Makes the optimiser's first state in one program, not one an array."""
  init: Callable[[Params], Any] = jax.jit(make_optimizer(config).init)
  return init


def make_pair(
  key: jax.Array, father: jax.Array, degradation: Degradation
) -> tuple[jax.Array, jax.Array]:
  """Degrades a father crop; shows the network the son, and interpolates it.

  Args:
    key: random key of the noise.
    father: `[S, S, C]` in [0, 1].
    degradation: at the factors that are trained.

  Returns:
    The son as `Degradation.shown` has it, and its cubic upscale, of the
    father's shape.
  """
  son = degradation.shown(degradation.son(key, father))
  return son, degradation.up(son, father.shape)


def make_windows(
  key: jax.Array, image: np.ndarray, side: int, degradation: Degradation
) -> Windows:
  """Spreads up to 2 x 2 windows of a crop's size over the input.

  They cover the whole input when it is at most twice the crop; a larger one
  is sampled at its corners, so that measuring costs the same for any size.

  Args:
    key: random key of the sons' noise.
    image: what the network is shown of the input, `[H, W, C]`.
    side: crop side in pixels.
    degradation: at the factors that are trained.
  """
  rows = sorted({0, image.shape[0] - side})
  columns = sorted({0, image.shape[1] - side})
  # Cut on the host, so that nothing is compiled for the image's size.
  fathers = np.stack(
    [image[y : y + side, x : x + side] for y in rows for x in columns]
  )
  arguments = key, fathers, degradation
  leaf: Any = 0
  result = Windows(leaf, leaf, leaf)
  pair = programs.keep(_pair_windows, 'windows', arguments, result)
  windows: Windows = pair(*arguments)
  return windows


@jax.jit
def _pair_windows(key, fathers, degradation) -> Windows:
  keys = jax.random.split(key, fathers.shape[0])
  sons, interpolated = jax.lax.map(
    lambda pair: make_pair(pair[0], pair[1], degradation), (keys, fathers)
  )
  return Windows(fathers, sons, interpolated)


def make_step(
  model: nn.Module,
  *,
  side: int,
  losses: tuple[loss_lib.Term, ...],
  config: Config,
) -> Callable[[State, Data], tuple[State, Record]]:
  """Builds `step(state, data) -> (state, record)`, which idles once it is done.

  Args:
    model: a super-resolving module.
    side: crop side in pixels.
    losses: what is minimised.
    config: the run's settings.
  """
  optimizer = make_optimizer(config)

  def run_model(params, son, interpolated) -> jax.Array:
    return jnp.asarray(model.apply({'params': params}, son, interpolated))

  def loss_of(params, father, son, interpolated, variables):
    output = run_model(params, son, interpolated)
    loss, parts = loss_lib.evaluate(losses, output, father, variables)
    return loss, (parts, output)

  def step(state: State, data: Data):
    key = jax.random.fold_in(state.key, state.step)
    father, son, interpolated, drawn = _draw_batch(
      key, state, data, side, config
    )
    (loss, (parts, output)), gradient = jax.value_and_grad(
      loss_of, has_aux=True
    )(state.params, father, son, interpolated, data.variables)
    new = _take_step(optimizer, gradient, state, config)
    is_new = state.step % config.measure_every == 0
    error = jax.lax.cond(
      is_new,
      lambda: _measure(run_model, new.params, data.windows),
      lambda: state.error,
    )
    learnt = data.source.update(
      state.learnt,
      state.step,
      _share_done(state, config),
      lambda: _try_input(run_model, key, new.params, data, son.shape[1:3]),
      (son[0], output[0], jax.tree.map(lambda x: x[0], drawn)),
    )
    new = _judge(new._replace(learnt=learnt), error, is_new, config)
    rate, drops = current_rate(new, config), drops_of(new)
    new = new._replace(done=new.done | _plateau_is_over(new, config))
    active = jnp.ones((), bool)
    return new, Record(loss, parts, rate, error, is_new, drops, active)

  def idle(state: State, data: Data):
    del data
    zero, no = jnp.zeros((), jnp.float32), jnp.zeros((), bool)
    parts = {term.name: zero for term in losses}
    return state, Record(
      zero, parts, zero, state.error, no, drops_of(state), no
    )

  def step_unless_done(state, data):
    return jax.lax.cond(state.done, idle, step, state, data)

  return step_unless_done


def _share_done(state: State, config: Config) -> jax.Array:
  return state.step.astype(jnp.float32) / max(config.max_steps, 1)


def _draw(key, state: State, data: Data, side: int, config: Config):
  """Draws a father crop; returns it, its son, that interpolated, the draw."""
  crop_key, noise_key = jax.random.split(key)
  degradation, drawn = data.source.draw(
    jax.random.fold_in(key, 2), state.learnt, _share_done(state, config)
  )
  crop = pool.draw_crop(
    crop_key,
    data.fathers,
    side=side,
    dihedrals=config.dihedral,
    affine=config.affine,
    affine_min_scale=config.affine_min_scale,
    affine_aspect_std=config.affine_aspect_std,
    affine_shear_std=config.affine_shear_std,
  )
  return crop, *make_pair(noise_key, crop, degradation), drawn


def _draw_batch(key, state: State, data: Data, side: int, config: Config):
  """Calls `_draw` `config.batch` times and stacks what it returns."""
  if config.batch == 1:
    drawn = _draw(key, state, data, side, config)
    return jax.tree.map(lambda x: x[None], drawn)
  # One after the other: vmap would turn the switch over the eight
  # transforms into computing all eight.
  keys = jax.random.split(key, config.batch)
  return jax.lax.map(lambda k: _draw(k, state, data, side, config), keys)


def _take_step(optimizer, gradient, state: State, config: Config) -> State:
  """Takes the optimizer's step, and counts it."""
  # optax's Adam mixes dtypes, which the strict mode of tests forbids.
  with jax.numpy_dtype_promotion('standard'):
    updates, optimizer_state = optimizer.update(
      gradient,
      state.optimizer,
      state.params,
      value=state.error,
      is_new=state.error_is_new,
    )
  updates = jax.tree.map(lambda u: state.rate * u, updates)
  params = optax.apply_updates(state.params, updates)
  average = state.average
  if config.weight_average:
    average = running_average(
      average, params, state.step, config.weight_average
    )
  return state._replace(
    step=state.step + 1,
    params=params,
    average=average,
    optimizer=optimizer_state,
  )


def running_average(
  average: Params, params: Params, step: jax.Array, limit: float
) -> Params:
  """Returns the running average of parameters after one more step.

  Args:
    average: before.
    params: after the step.
    step: int32, how many steps came before; young averages follow faster, so
      that the start is soon forgotten.
    limit: the decay of an old average.
  """
  age = step.astype(jnp.float32)
  decay = jnp.minimum(limit, (1 + age) / (10 + age))
  return jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, params)


def _measure(run_model, params, windows: Windows) -> jax.Array:
  """Measures the reconstruction MSE of section 3.1."""
  # The paper's error is that of an image, which cannot leave [0, 1].
  output = run_model(params, windows.son, windows.interpolated)
  return jnp.mean((jnp.clip(output, 0.0, 1.0) - windows.father) ** 2)


def _try_input(run_model, key, params, data: Data, shape):
  """Returns a crop of the input, as large as a son, and its result."""
  inputs = data.windows.father
  size = [min(n, m) for n, m in zip(shape, inputs.shape[1:3], strict=True)]
  room = jnp.asarray(inputs.shape[:3]) - jnp.asarray([1, *size]) + 1
  spot = jax.random.uniform(jax.random.fold_in(key, 3), (3,))
  corner = (spot * room.astype(spot.dtype)).astype(jnp.int32)
  crop = jax.lax.dynamic_slice(
    inputs, (*corner, 0), (1, *size, inputs.shape[3])
  )
  up = data.source.degradation.up(crop[0])
  return crop[0], run_model(params, crop, up[None])[0]


def _judge(state: State, error, is_new, config: Config) -> State:
  """Notes a reconstruction error, and ends a run that is long enough."""
  stale = jnp.where(
    error < state.lowest, 0, state.stale + is_new.astype(jnp.int32)
  )
  done = state.step >= config.max_steps
  if config.patience:
    done |= stale >= config.patience
  return state._replace(
    error=error,
    error_is_new=is_new,
    lowest=jnp.minimum(state.lowest, error),
    stale=stale,
    done=done,
  )


def _plateau_is_over(state: State, config: Config) -> jax.Array:
  """Whether the plateau schedule has brought the rate below its least."""
  if config.schedule != 'plateau':
    return jnp.zeros((), bool)
  # The drop due after the last step was taken by this step's update.
  return (
    state.optimizer[1].scale * (config.learning_rate * state.rate)
    < config.min_learning_rate
  )
