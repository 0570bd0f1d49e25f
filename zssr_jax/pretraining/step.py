"""One step of training on many images, and chunks of them.

With `Recipe.meta` a step trains for what comes after a few plain steps on
other patches of the same degradation (MAML, Finn et al. 2017, of first order;
MZSR, Soh et al. 2020), which makes a start that adapts quickly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from zssr_jax import registry
from zssr_jax.pretraining import patches
from zssr_jax.training import losses, optimizers
from zssr_jax.training.step import running_average

Params = Any


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How a network is trained."""

  scales: tuple[int, ...] = (2,)  # of one network, mixed in every batch
  color: str = 'rgb'  # or 'y', the luma that is scored
  patch: int = 32  # side in LR pixels; in HR pixels with several scales
  batch: int = 16  # patches a step
  steps: int = 6000
  kernels: str = 'bicubic'  # what makes LR patches, see patches.KERNELS
  # A name of registry.LOSSES, or several with weights: 'luma:0.9,l1:0.1'.
  loss: str = 'l1'
  # 'adam' and 'muon': the rate falls along a cosine to zero. 'sgd': momentum
  # 0.9, and a tenth of the rate after each quarter of the run, as VDSR has it.
  optimizer: str = 'adam'
  rate: float = 2e-3  # highest learning rate
  warmup: int = 100  # steps of linear growth before
  clip: float = 0.0  # largest gradient times the rate, each by itself; 0: any
  weight_decay: float = 0.0  # share of the weights added to the gradient
  average: float = 0.999  # decay of the running average of weights
  meta: int = 0  # plain steps that a start is to be good for; 0: plain training
  inner_rate: float = 1e-2  # their rate
  tasks: int = 4  # kernels a batch, half of whose patches adapt

  def __post_init__(self):
    """Checks every field.

    Raises:
      ValueError: names the field and the values it may have.
    """
    unit = patches.unit_of(self.scales) if self.scales else 0
    several = len(self.scales) > 1
    for good, text in (
      (
        self.scales and all(2 <= s <= 8 for s in self.scales),
        f'scales must be whole numbers from 2 to 8, not {self.scales}',
      ),
      (self.color in ('rgb', 'y'), f"color must be 'rgb' or 'y': {self.color}"),
      (self.patch >= 4, f'patch must be at least 4 pixels: {self.patch}'),
      (
        not several or self.patch % unit == 0,
        f'patch must be a multiple of {unit} HR pixels for the scales'
        f' {self.scales}: {self.patch}',
      ),
      (self.batch >= 1, f'batch must be at least 1: {self.batch}'),
      (
        self.kernels in patches.KERNELS,
        f'kernels must be one of {", ".join(patches.KERNELS)}: {self.kernels}',
      ),
      (self.steps >= 1, f'steps must be at least 1: {self.steps}'),
      (
        _losses_of(self.loss),
        f'loss must be one of {", ".join(LOSSES)}, or several with weights such'
        f' as luma:0.9,l1:0.1: {self.loss}',
      ),
      (
        self.optimizer in _DIRECTIONS,
        f'optimizer must be one of {", ".join(_DIRECTIONS)}: {self.optimizer}',
      ),
      (0 < self.rate < 10, f'rate must lie between 0 and 10: {self.rate}'),
      (self.warmup >= 0, f'warmup must be at least 0: {self.warmup}'),
      (self.clip >= 0, f'clip must be at least 0: {self.clip}'),
      (
        0 <= self.weight_decay < 1,
        f'weight_decay must lie in [0, 1): {self.weight_decay}',
      ),
      (0 <= self.average < 1, f'average must lie in [0, 1): {self.average}'),
      (self.meta >= 0, f'meta must be at least 0: {self.meta}'),
      (self.inner_rate > 0, f'inner_rate must be above 0: {self.inner_rate}'),
      (self.tasks >= 1, f'tasks must be at least 1: {self.tasks}'),
      (
        not self.meta or self.batch % (2 * self.tasks) == 0,
        f'batch must be a multiple of twice the {self.tasks} tasks:'
        f' {self.batch}',
      ),
      (
        not self.meta or self.kernels != 'bicubic',
        'meta needs kernels gaussian or mixed: with one, all tasks are one',
      ),
    ):
      if not good:
        raise ValueError(text)

  @property
  def plan(self) -> patches.Plan:
    """What is drawn for it."""
    one = len(self.scales) == 1
    side = self.patch * self.scales[0] if one else self.patch
    return patches.Plan(self.scales, side, self.color, self.kernels)


class State(NamedTuple):
  """All that changes from step to step."""

  step: jax.Array  # int32, completed steps
  params: Params
  average: Params  # running average of params: the result
  optimizer: Any
  key: jax.Array


# What `Recipe.loss` may name: all but those that take another network's
# parameters, or fields of a config.
LOSSES = tuple(
  name
  for name, loss in registry.LOSSES.items()
  if not (loss.network or loss.settings)
)


def _losses_of(text: str) -> tuple[tuple[str, float], ...]:
  """The losses of a recipe with their weights; () where the text is wrong."""
  found = []
  for part in text.split(','):
    name, _, weight = part.partition(':')
    try:
      found.append((name, float(weight or 1)))
    except ValueError:
      return ()
  names = [name for name, _ in found]
  good = all(name in LOSSES and names.count(name) == 1 for name in names)
  return tuple(found) if good and all(w > 0 for _, w in found) else ()


# What turns gradients into directions.
_DIRECTIONS: dict[str, Callable[[], optax.GradientTransformation]] = {
  **optimizers.DIRECTIONS,
  'sgd': lambda: optax.trace(0.9),
}


def learning_rate(step: jax.Array, recipe: Recipe) -> jax.Array:
  """Returns the rate of the step after `step` completed ones, float32."""
  done = jnp.asarray(step, jnp.float32)
  warm = jnp.minimum((done + 1) / max(recipe.warmup, 1), 1)
  if recipe.optimizer == 'sgd':
    drops = jnp.floor(4 * done / recipe.steps)
    return recipe.rate * warm * jnp.power(0.1, drops)
  span = max(recipe.steps - recipe.warmup, 1)
  share = jnp.clip((done - recipe.warmup) / span, 0, 1)
  return recipe.rate * warm * (0.5 + 0.5 * jnp.cos(jnp.pi * share))


def init_params(key: jax.Array, model: nn.Module, recipe: Recipe) -> Params:
  """Draws new parameters of a module."""
  plan = recipe.plan
  channels = 1 if plan.color == 'y' else 3
  hr = jnp.zeros((1, plan.side, plan.side, channels))
  low = plan.side // plan.scales[0] if len(plan.scales) == 1 else plan.side
  lr = jnp.zeros((1, low, low, channels))
  return jax.jit(model.init)(key, lr, hr)['params']


def init_state(key: jax.Array, params: Params, recipe: Recipe) -> State:
  """Makes the state before the first step, training from `params`."""
  return State(
    step=jnp.zeros((), jnp.int32),
    params=params,
    average=params,
    optimizer=_DIRECTIONS[recipe.optimizer]().init(params),
    key=key,
  )


def make_step(
  model: nn.Module, recipe: Recipe, *, axis: str | None = None, shares: int = 1
) -> Callable[[State, patches.Corpus], tuple[State, jax.Array]]:
  """Builds `step(state, corpus) -> (state, loss)`.

  Args:
    model: a module `(lr, interpolated) -> hr`.
    recipe: how to train it.
    axis: name of the mapped axis over the devices that share a batch, if any.
    shares: how many these are; divides the batch, or its tasks.
  """
  optimizer = _DIRECTIONS[recipe.optimizer]()
  slope = _make_slope(model, recipe, axis, shares)

  def direct(gradient, state, rate):
    """Clips the gradient, decays, and turns it into a direction."""
    if recipe.clip:
      limit = recipe.clip / rate
      gradient = jax.tree.map(lambda g: jnp.clip(g, -limit, limit), gradient)
    if recipe.weight_decay:
      gradient = jax.tree.map(
        lambda g, p: g + recipe.weight_decay * p, gradient, state.params
      )
    # optax's Adam mixes dtypes, which the strict mode of tests forbids.
    with jax.numpy_dtype_promotion('standard'):
      return optimizer.update(gradient, state.optimizer)

  def step(state, corpus):
    key = jax.random.fold_in(state.key, state.step)
    loss, gradient = slope(state.params, corpus, key)
    if axis:
      loss, gradient = jax.lax.pmean((loss, gradient), axis)
    rate = learning_rate(state.step, recipe)
    direction, optimizer_state = direct(gradient, state, rate)
    params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)
    average = running_average(state.average, params, state.step, recipe.average)
    new = State(state.step + 1, params, average, optimizer_state, state.key)
    return new, loss

  return step


def _make_slope(
  model: nn.Module, recipe: Recipe, axis: str | None, shares: int
) -> Callable[[Params, patches.Corpus, jax.Array], Any]:
  """Builds `slope(params, corpus, key) -> (loss, gradient)` of its patches."""
  terms = losses.terms_of(
    _losses_of(recipe.loss), 1 if recipe.color == 'y' else 3
  )

  def loss_of(params, batch):
    output = model.apply({'params': params}, batch.lr, batch.interpolated)
    return losses.evaluate(terms, jnp.asarray(output), batch.hr)[0]

  slope_of = jax.value_and_grad(loss_of)

  def draw_keys(key, count):
    # A key each: the draws do not depend on the number of devices.
    keys = jax.random.split(key, count)
    if not axis:
      return keys
    size = count // shares
    first = jax.lax.axis_index(axis) * size
    return jax.lax.dynamic_slice_in_dim(keys, first, size)

  def plain_slope(params, corpus, key):
    keys = draw_keys(key, recipe.batch)
    return slope_of(params, patches.draw(keys, corpus, recipe.plan))

  def adapted_slope(params, corpus, key):
    """Loss and gradient on half a task's patches, adapted to the others."""
    half = recipe.batch // recipe.tasks // 2
    keys = jax.random.split(jax.random.fold_in(key, 0), 2 * half)
    kernel_keys = jnp.broadcast_to(jax.random.fold_in(key, 1), keys.shape)
    batch = patches.draw(keys, corpus, recipe.plan, kernel_keys)
    seen = jax.tree.map(lambda x: x[:half], batch)
    unseen = jax.tree.map(lambda x: x[half:], batch)

    def adapt(_, params):
      _, gradient = slope_of(params, seen)
      return jax.tree.map(
        lambda p, g: p - recipe.inner_rate * g, params, gradient
      )

    return slope_of(jax.lax.fori_loop(0, recipe.meta, adapt, params), unseen)

  def meta_slope(params, corpus, key):
    slopes = jax.lax.map(
      lambda key: adapted_slope(params, corpus, key),
      draw_keys(key, recipe.tasks),
    )
    return jax.tree.map(lambda x: jnp.mean(x, axis=0), slopes)

  return meta_slope if recipe.meta else plain_slope


def make_chunk(
  model: nn.Module, recipe: Recipe, *, axis: str | None = None, shares: int = 1
) -> Callable[..., tuple[State, jax.Array]]:
  """Builds `chunk(state, corpus, count) -> (state, mean loss)`.

  The number of steps is data: one program serves every chunk, so where a run
  was interrupted makes no difference to its rounding.

  Args:
    model: as in `make_step`, like the rest.
    recipe: how to train it.
    axis: name of the mapped axis.
    shares: devices that share a batch.
  """
  step = make_step(model, recipe, axis=axis, shares=shares)

  def chunk(state, corpus, count):
    def body(_, carry):
      state, total = carry
      state, loss = step(state, corpus)
      return state, total + loss

    zero = jnp.zeros((), jnp.float32)
    state, total = jax.lax.fori_loop(0, count, body, (state, zero))
    return state, total / jnp.asarray(count, jnp.float32)

  return chunk
