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

from zssr_jax import degradation
from zssr_jax.config import Config
from zssr_jax.ops import resize
from zssr_jax.training import joint_kernel, losses, plateau, pool

Params = Any


class State(NamedTuple):
  """All that changes from step to step."""

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
  noise_std: jax.Array  # float32, of the noise on the sons, see make_pair
  blind: Any  # joint_kernel.State of a kernel that is learnt, or ()


class Windows(NamedTuple):
  """Fixed parts of the input on which the reconstruction error is measured."""

  father: jax.Array  # [M, S, S, C]
  son: jax.Array  # [M, h, w, C]
  interpolated: jax.Array  # [M, S, S, C], cubic upscale of the son
  vgg: Any = ()  # variables of VGG16, () without content loss


class Record(NamedTuple):
  """What one step reports."""

  loss: jax.Array  # float32
  learning_rate: jax.Array  # float32, the rate of this step
  error: jax.Array  # float32, reconstruction MSE
  error_is_new: jax.Array  # bool, measured in this step
  drops: jax.Array  # int32, drops of the plateau schedule so far
  active: jax.Array  # bool, false once the run is over


def make_optimizer(config: Config) -> optax.GradientTransformationExtraArgs:
  """Adam or SGD with the plateau schedule of zssr.md, or another."""
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
    optax.scale_by_adam() if config.optimizer == 'adam' else optax.identity(),
    schedule,
    optax.scale_by_schedule(_warmup(config)),
    optax.scale(-config.learning_rate),
  )


def _planned(config: Config) -> Callable[[jax.Array], jax.Array]:
  """Factor on the rate: constant, or 1 in the first step, 0 after the last."""
  if config.schedule == 'constant':
    return lambda count: jnp.ones((), jnp.float32)
  cosine = optax.cosine_decay_schedule(1.0, max(config.max_steps, 1))
  return lambda count: cosine(jnp.asarray(count, jnp.float32))


def _warmup(config: Config) -> Callable[[jax.Array], jax.Array]:
  """Factor on the rate: 1 / warmup in the first step, 1 from there on."""
  steps = max(config.warmup, 1)
  return lambda count: jnp.minimum(
    1.0, (jnp.asarray(count, jnp.float32) + 1) / steps
  )


def current_rate(state: State, config: Config) -> jax.Array:
  """Learning rate of the last step (the first one's before any), float32."""
  schedule = state.optimizer[1]
  step = jnp.maximum(state.step - 1, 0)
  scale = config.learning_rate * state.rate * _warmup(config)(step)
  if isinstance(schedule, plateau.PlateauOnStdState):
    return scale * schedule.scale
  return scale * _planned(config)(step)


def drops_of(state: State) -> jax.Array:
  """How often the plateau schedule has dropped the rate, int32."""
  schedule = state.optimizer[1]
  if isinstance(schedule, plateau.PlateauOnStdState):
    return schedule.drops
  return jnp.zeros((), jnp.int32)


def init_state(
  key: jax.Array,
  params: Params,
  config: Config,
  noise_std: float | None = None,
  kernel: Any = None,
) -> State:
  """State before the first step, training from `params`.

  `noise_std` in place of the config's, if given; `kernel` as in `make_step`.
  """
  if noise_std is None:
    noise_std = config.noise_std
  return State(
    step=jnp.zeros((), jnp.int32),
    params=params,
    average=params if config.weight_average else (),
    optimizer=make_optimizer(config).init(params),
    error=jnp.zeros((), jnp.float32),
    error_is_new=jnp.zeros((), bool),
    lowest=jnp.full((), jnp.inf, jnp.float32),
    stale=jnp.zeros((), jnp.int32),
    rate=jnp.ones((), jnp.float32),
    key=key,
    done=jnp.asarray(config.max_steps == 0),
    noise_std=jnp.asarray(noise_std, jnp.float32),
    blind=joint_kernel.init(kernel)
    if isinstance(kernel, joint_kernel.Blind)
    else (),
  )


def make_pair(
  key: jax.Array,
  father: jax.Array,
  kernel: jax.Array | None,
  *,
  scale: tuple[float, float],
  config: Config,
  noise_std: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Degrades a father crop and interpolates the son back.

  Args:
    key: random key of the noise.
    father: `[S, S, C]` in [0, 1].
    kernel: `[h, w]` or None for bicubic.
    scale: factors (y, x).
    config: whether there is noise, and the border.
    noise_std: its standard deviation. An array, so that one program serves
      every image of a run, however noisy.

  Returns:
    The son and its cubic upscale, of the father's shape.
  """
  son = degradation.degrade(
    key,
    father,
    scale,
    kernel,
    noise_std=noise_std if config.noise_std or config.estimate_noise else 0.0,
    border=config.border,
  )
  return son, resize.imresize(
    son,
    scale,
    shape=(father.shape[0], father.shape[1]),
    border=config.border,
  )


def make_windows(
  key: jax.Array,
  image: np.ndarray,
  kernel: jax.Array | None,
  *,
  side: int,
  scale: tuple[float, float],
  config: Config,
  noise_std: float | None = None,
  vgg: Any = None,
) -> Windows:
  """Spreads up to 2 x 2 windows of a crop's size over the input.

  They cover the whole input when it is at most twice the crop; a larger one
  is sampled at its corners, so that measuring costs the same for any size.

  Args:
    key: random key of the sons' noise.
    image: the input `[H, W, C]`.
    kernel: `[h, w]` or None.
    side: crop side in pixels.
    scale: factors (y, x).
    config: noise and border.
    noise_std: in place of the config's, if given.
    vgg: variables of `models.vgg.Vgg16`, for the content loss.
  """
  rows = sorted({0, image.shape[0] - side})
  columns = sorted({0, image.shape[1] - side})
  # Cut on the host, so that nothing is compiled for the image's size.
  fathers = np.stack(
    [image[y : y + side, x : x + side] for y in rows for x in columns]
  )
  if noise_std is None:
    noise_std = config.noise_std
  windows = _pair_windows(
    key,
    fathers,
    kernel,
    jnp.asarray(noise_std, jnp.float32),
    scale=scale,
    config=config,
  )
  return windows._replace(vgg=vgg) if config.content_weight else windows


@functools.partial(jax.jit, static_argnames=('scale', 'config'))
def _pair_windows(key, fathers, kernel, noise_std, *, scale, config) -> Windows:
  pairs = [
    make_pair(
      k, father, kernel, scale=scale, config=config, noise_std=noise_std
    )
    for k, father in zip(
      jax.random.split(key, fathers.shape[0]), fathers, strict=True
    )
  ]
  sons, interpolated = zip(*pairs, strict=True)
  return Windows(fathers, jnp.stack(sons), jnp.stack(interpolated))


def make_step(
  model: nn.Module, *, scale: tuple[float, float], side: int, config: Config
) -> Callable[..., tuple[State, Record]]:
  """Builds `step(state, pool, kernel, windows) -> (state, record)`.

  The kernel is an array `[h, w]`, None for bicubic, or a `joint_kernel.Blind`
  when it is to be learnt along.

  Args:
    model: a super-resolving module.
    scale: factors (y, x).
    side: crop side in pixels.
    config: the run's settings.
  """
  optimizer = make_optimizer(config)

  def share_done(state):
    return state.step.astype(jnp.float32) / max(config.max_steps, 1)

  def draw(key, state, fathers, kernel):
    crop_key, noise_key = jax.random.split(key)
    covariance = jnp.zeros(3)
    if isinstance(kernel, joint_kernel.Blind):
      covariance = joint_kernel.draw(
        jax.random.fold_in(key, 2), state.blind, kernel, share_done(state)
      )
      kernel = joint_kernel.taps(covariance, scale)
    crop = pool.draw_crop(
      crop_key,
      fathers,
      side=side,
      dihedrals=config.dihedral,
      affine=config.affine,
      affine_min_scale=config.affine_min_scale,
      affine_aspect_std=config.affine_aspect_std,
      affine_shear_std=config.affine_shear_std,
    )
    pair = make_pair(
      noise_key,
      crop,
      kernel,
      scale=scale,
      config=config,
      noise_std=state.noise_std,
    )
    return crop, *pair, covariance

  def draw_batch(key, *args):
    if config.batch == 1:
      return [x[None] for x in draw(key, *args)]
    # One after the other: vmap would turn the switch over the eight
    # transforms into computing all eight.
    keys = jax.random.split(key, config.batch)
    return jax.lax.map(lambda k: draw(k, *args), keys)

  def run_model(params, son, interpolated) -> jax.Array:
    return jnp.asarray(model.apply({'params': params}, son, interpolated))

  def loss_of(params, father, son, interpolated, vgg):
    output = run_model(params, son, interpolated)
    loss = losses.luma_l1(output, father, config.luma_share)
    if config.content_weight:
      loss = loss + config.content_weight * losses.content(
        output, father, vgg, config.content_layers
      )
    return loss, output

  def measure(params, windows):
    # The paper's error is that of an image, which cannot leave [0, 1].
    output = run_model(params, windows.son, windows.interpolated)
    return jnp.mean((jnp.clip(output, 0.0, 1.0) - windows.father) ** 2)

  def crop_of_input(key, params, windows, shape):
    """A crop of the input, as large as a son, and what comes of it."""
    inputs = windows.father
    size = [min(n, m) for n, m in zip(shape, inputs.shape[1:3], strict=True)]
    room = jnp.asarray(inputs.shape[:3]) - jnp.asarray([1, *size]) + 1
    spot = jax.random.uniform(jax.random.fold_in(key, 3), (3,))
    corner = (spot * room.astype(spot.dtype)).astype(jnp.int32)
    crop = jax.lax.dynamic_slice(
      inputs, (*corner, 0), (1, *size, inputs.shape[3])
    )
    up = resize.imresize(
      crop[0],
      scale,
      shape=resize.scaled_shape(tuple(size), scale),
      border=config.border,
    )
    return crop[0], run_model(params, crop, up[None])[0]

  def step(state, fathers, kernel, windows):
    key = jax.random.fold_in(state.key, state.step)
    father, son, interpolated, covariance = draw_batch(
      key, state, fathers, kernel
    )
    (loss, output), gradient = jax.value_and_grad(loss_of, has_aux=True)(
      state.params, father, son, interpolated, windows.vgg
    )
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
      # Young averages follow faster, so that the start is soon forgotten.
      age = state.step.astype(jnp.float32)
      decay = jnp.minimum(config.weight_average, (1 + age) / (10 + age))
      average = jax.tree.map(
        lambda a, p: decay * a + (1 - decay) * p, average, params
      )
    is_new = state.step % config.measure_every == 0
    error = jax.lax.cond(
      is_new, lambda: measure(params, windows), lambda: state.error
    )
    learnt = state.blind
    if isinstance(kernel, joint_kernel.Blind):
      learnt = joint_kernel.update(
        learnt,
        kernel,
        state.step,
        share_done(state),
        attempt=lambda: crop_of_input(key, params, windows, son.shape[1:3]),
        son=(son[0], output[0], covariance[0]),
        scale=scale,
      )
    count = state.step + 1
    stale = jnp.where(
      error < state.lowest, 0, state.stale + is_new.astype(jnp.int32)
    )
    done = count >= config.max_steps
    if config.patience:
      done |= stale >= config.patience
    new = State(
      step=count,
      params=params,
      average=average,
      optimizer=optimizer_state,
      error=error,
      error_is_new=is_new,
      lowest=jnp.minimum(state.lowest, error),
      stale=stale,
      rate=state.rate,
      key=state.key,
      done=done,
      noise_std=state.noise_std,
      blind=learnt,
    )
    rate = current_rate(new, config)
    drops = drops_of(new)
    if config.schedule == 'plateau':
      # The drop due after the last step was taken by this step's update.
      ended = (
        new.optimizer[1].scale * (config.learning_rate * state.rate)
        < config.min_learning_rate
      )
      new = new._replace(done=new.done | ended)
    active = jnp.ones((), bool)
    return new, Record(loss, rate, error, is_new, drops, active)

  def step_unless_done(state, fathers, kernel, windows):
    def idle(state):
      zero = jnp.zeros((), jnp.float32)
      false = jnp.zeros((), bool)
      drops = drops_of(state)
      return state, Record(zero, zero, state.error, false, drops, false)

    return jax.lax.cond(
      state.done,
      idle,
      lambda state: step(state, fathers, kernel, windows),
      state,
    )

  return step_unless_done
