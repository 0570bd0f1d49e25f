"""One step of training on many images, and chunks of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from zssr_jax.pretraining import patches
from zssr_jax.training import losses

Params = Any


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How a network is trained."""

  scales: tuple[int, ...] = (2,)  # of one network, mixed in every batch
  color: str = 'rgb'  # or 'y', the luma that is scored
  patch: int = 32  # side in LR pixels; in HR pixels with several scales
  batch: int = 16  # patches a step
  steps: int = 6000
  loss: str = 'l1'  # or 'l2', the mean square
  rate: float = 2e-3  # Adam's highest learning rate
  warmup: int = 100  # steps of linear growth; then a cosine to zero
  average: float = 0.999  # decay of the running average of weights

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
      (self.steps >= 1, f'steps must be at least 1: {self.steps}'),
      (self.loss in _LOSSES, f"loss must be 'l1' or 'l2': {self.loss}"),
      (0 < self.rate < 10, f'rate must lie between 0 and 10: {self.rate}'),
      (self.warmup >= 0, f'warmup must be at least 0: {self.warmup}'),
      (0 <= self.average < 1, f'average must lie in [0, 1): {self.average}'),
    ):
      if not good:
        raise ValueError(text)

  @property
  def plan(self) -> patches.Plan:
    """What is drawn for it."""
    one = len(self.scales) == 1
    side = self.patch * self.scales[0] if one else self.patch
    return patches.Plan(self.scales, side, self.color)


class State(NamedTuple):
  """All that changes from step to step."""

  step: jax.Array  # int32, completed steps
  params: Params
  average: Params  # running average of params: the result
  optimizer: Any
  key: jax.Array


def _l2(output: jax.Array, target: jax.Array) -> jax.Array:
  return jnp.mean((output - target) ** 2)


_LOSSES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
  'l1': losses.l1,
  'l2': _l2,
}


def learning_rate(step: jax.Array, recipe: Recipe) -> jax.Array:
  """Rate of the step after `step` completed ones, float32."""
  done = jnp.asarray(step, jnp.float32)
  warm = (done + 1) / max(recipe.warmup, 1)
  span = max(recipe.steps - recipe.warmup, 1)
  share = jnp.clip((done - recipe.warmup) / span, 0, 1)
  cosine = 0.5 + 0.5 * jnp.cos(jnp.pi * share)
  return recipe.rate * jnp.minimum(warm, 1) * cosine


def _make_optimizer(recipe: Recipe) -> optax.GradientTransformation:
  """Turns gradients into directions; `learning_rate` scales them."""
  return optax.scale_by_adam()


def init_params(key: jax.Array, model: nn.Module, recipe: Recipe) -> Params:
  """New parameters of a module."""
  plan = recipe.plan
  channels = 1 if plan.color == 'y' else 3
  hr = jnp.zeros((1, plan.side, plan.side, channels))
  low = plan.side // plan.scales[0] if len(plan.scales) == 1 else plan.side
  lr = jnp.zeros((1, low, low, channels))
  return jax.jit(model.init)(key, lr, hr)['params']


def init_state(key: jax.Array, params: Params, recipe: Recipe) -> State:
  """State before the first step, training from `params`."""
  return State(
    step=jnp.zeros((), jnp.int32),
    params=params,
    average=params,
    optimizer=_make_optimizer(recipe).init(params),
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
    shares: how many these are; divides the batch.
  """
  optimizer = _make_optimizer(recipe)
  size = recipe.batch // shares

  def loss_of(params, batch):
    output = jnp.asarray(
      model.apply({'params': params}, batch.lr, batch.interpolated)
    )
    return _LOSSES[recipe.loss](output, batch.hr)

  def step(state, corpus):
    # A key a patch: the draws do not depend on the number of devices.
    keys = jax.random.split(
      jax.random.fold_in(state.key, state.step), recipe.batch
    )
    if axis:
      first = jax.lax.axis_index(axis) * size
      keys = jax.lax.dynamic_slice_in_dim(keys, first, size)
    batch = patches.draw(keys, corpus, recipe.plan)
    loss, gradient = jax.value_and_grad(loss_of)(state.params, batch)
    if axis:
      loss, gradient = jax.lax.pmean((loss, gradient), axis)
    # optax's Adam mixes dtypes, which the strict mode of tests forbids.
    with jax.numpy_dtype_promotion('standard'):
      direction, optimizer_state = optimizer.update(
        gradient, state.optimizer, state.params
      )
    rate = learning_rate(state.step, recipe)
    params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)
    # Young averages follow faster, so that the start is soon forgotten.
    age = state.step.astype(jnp.float32)
    decay = jnp.minimum(recipe.average, (1 + age) / (10 + age))
    average = jax.tree.map(
      lambda a, p: decay * a + (1 - decay) * p, state.average, params
    )
    new = State(state.step + 1, params, average, optimizer_state, state.key)
    return new, loss

  return step


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
