"""A run from look to look, its validation, and what a checkpoint holds."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax.ops import color as color_lib
from zssr_jax.ops import metrics, resize
from zssr_jax.pretraining import patches
from zssr_jax.pretraining import step as step_lib

# Between two looks of the host; a look costs next to nothing.
_SECONDS = 5.0
_LONGEST = 1000  # steps


class Machine(NamedTuple):
  """What runs the steps: one device, or several that share each batch."""

  chunk: Callable[..., Any]  # compiled, as `step.make_chunk` builds it
  spread: Callable[[Any], Any]  # brings a tree to the devices
  collect: Callable[[Any], Any]  # takes it back from there


def one_device(model: nn.Module, recipe: step_lib.Recipe) -> Machine:
  """Makes the machine of one device, the default one."""
  chunk = jax.jit(step_lib.make_chunk(model, recipe))
  return Machine(chunk, lambda tree: tree, lambda tree: tree)


class Look(NamedTuple):
  """What the host sees between chunks."""

  state: step_lib.State
  loss: float  # mean over the chunk
  seconds: float  # of the chunk
  steps: int  # in it
  compiled: bool  # in that time, too


def run(
  machine: Machine,
  state: step_lib.State,
  corpus: patches.Corpus,
  recipe: step_lib.Recipe,
) -> Iterator[Look]:
  """Trains from a state to the recipe's last step.

  Args:
    machine: from `one_device`, or `parallel.devices.data_parallel`.
    state: where to go on.
    corpus: the images.
    recipe: the same that the machine was made with.

  Yields:
    A look every few seconds, the last one after the last step.

  Raises:
    FloatingPointError: when the loss is no number any more.
  """
  step, compiled = int(state.step), True
  state, corpus = machine.spread(state), machine.spread(corpus)
  count = 1
  while step < recipe.steps:
    count = min(count, recipe.steps - step)
    start = time.perf_counter()
    state, loss = machine.chunk(state, corpus, np.int32(count))
    loss = float(machine.collect(loss))
    seconds = time.perf_counter() - start
    step += count
    if not np.isfinite(loss):
      raise FloatingPointError(f'the loss is no number after step {step}')
    yield Look(machine.collect(state), loss, seconds, count, compiled)
    compiled = False
    # The first call also compiles, and grows by no more than ten times.
    fitting = int(_SECONDS * count / seconds)
    count = max(1, min(fitting, 10 * count, _LONGEST))


@functools.lru_cache(maxsize=8)
def _make_apply(model: nn.Module) -> Callable[..., jax.Array]:
  def apply(params, lr, interpolated):
    return model.apply({'params': params}, lr[None], interpolated[None])[0]

  return jax.jit(apply)


def validate(
  model: nn.Module,
  params: step_lib.Params,
  images: Sequence[tuple[np.ndarray, np.ndarray]],
  scale: int,
  color: str,
) -> float:
  """Returns the mean PSNR in dB, by `ops.metrics.score`, of plain outputs.

  Args:
    model: a module `(lr, interpolated) -> hr`.
    params: its parameters.
    images: pairs (LR, HR), uint8 `[h, w, C]`.
    scale: HR pixels per LR pixel.
    color: 'rgb', or 'y' for a network of luma.
  """
  apply = _make_apply(model)
  scores = []
  for lr, hr in images:
    low, target = lr.astype(np.float32) / np.float32(255), hr
    if color == 'y':
      low, target = color_lib.studio_luma(low), color_lib.luma(hr)
    up = resize.imresize(low, scale)
    out = np.asarray(apply(params, jnp.asarray(low), jnp.asarray(up)))
    scores.append(metrics.score(out, target, scale)[0])
  return float(np.mean(scores))


def fit(params: step_lib.Params, given: Mapping[str, np.ndarray]) -> tuple:
  """Takes over the leaves whose names and shapes fit.

  Args:
    params: a parameter tree.
    given: arrays by '/'-joined path.

  Returns:
    The tree with those leaves replaced, and how many these are.
  """
  taken = 0

  def choose(path, leaf):
    nonlocal taken
    array = given.get('/'.join(part.key for part in path))
    if array is None or array.shape != leaf.shape:
      return leaf
    taken += 1
    return jnp.asarray(array, leaf.dtype)

  return jax.tree_util.tree_map_with_path(choose, params), taken


def pack(state: step_lib.State) -> dict[str, np.ndarray]:
  """Returns the state as plain arrays by name, for a checkpoint."""
  plain = state._replace(key=jax.random.key_data(state.key))
  leaves, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(plain))
  return {jax.tree_util.keystr(path): np.asarray(x) for path, x in leaves}


def unpack(
  arrays: Mapping[str, np.ndarray], like: step_lib.State
) -> step_lib.State:
  """Undoes `pack`.

  Args:
    arrays: by name.
    like: any state of the same run.

  Raises:
    ValueError: when an array is missing or has another shape or type.
  """
  plain = like._replace(key=jax.random.key_data(like.key))

  def choose(path, leaf):
    name = jax.tree_util.keystr(path)
    array = arrays.get(name)
    if array is None or array.shape != leaf.shape or array.dtype != leaf.dtype:
      raise ValueError(f'holds no {name} of {leaf.dtype} {leaf.shape}')
    return jnp.asarray(array)

  state = jax.tree_util.tree_map_with_path(choose, plain)
  return state._replace(key=jax.random.wrap_key_data(state.key))
