"""The training loop: compiled chunks of steps, watched from the host.

The device runs a few dozen steps per call and reports them together. The host
keeps the state before each chunk: when the loss turns NaN or explodes, it
goes back there with half the learning rate.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np

from zssr_jax.config import Config
from zssr_jax.training import step as step_lib

# Steps per call. A CPU step takes 10 to 200 ms: ten of them keep Ctrl-C and
# the progress bar prompt. An accelerator's takes about 1 ms.
_CHUNK = {'cpu': 10}
_CHUNK_DEFAULT = 100
_MAX_ROLLBACKS = 20


class Progress(NamedTuple):
  """What a progress callback is told."""

  stage: int  # gradual stage, from 0
  stages: int
  step: int  # completed steps of this stage
  max_steps: int
  loss: float  # mean over the last chunk
  error: float  # latest reconstruction MSE
  learning_rate: float


class History(NamedTuple):
  """What happened while training; steps count through all stages."""

  loss: np.ndarray  # float32 [n], one a step
  error_steps: np.ndarray  # int32 [m]
  error: np.ndarray  # float32 [m], reconstruction MSE at those steps
  drops: tuple[int, ...]  # steps after which the plateau schedule dropped
  rollbacks: tuple[int, ...]  # steps the run went back to
  stages: tuple[tuple[float, float, int], ...]  # factors (y, x) and steps


@functools.lru_cache(maxsize=64)
def make_chunk(
  model: nn.Module,
  scale: tuple[float, float],
  side: int,
  config: Config,
  length: int,
) -> Callable[..., tuple[step_lib.State, step_lib.Record]]:
  """Builds the jitted `chunk(state, pool, kernel, windows)` of `length` steps.

  Cached on its arguments, so that equal shapes never compile twice.
  """
  step = step_lib.make_step(model, scale=scale, side=side, config=config)

  def chunk(state, fathers, kernel, windows):
    return jax.lax.scan(
      lambda s, _: step(s, fathers, kernel, windows), state, length=length
    )

  return jax.jit(chunk)


def train(
  model: nn.Module,
  state: step_lib.State,
  fathers,
  kernel,
  windows: step_lib.Windows,
  *,
  scale: tuple[float, float],
  side: int,
  config: Config,
  progress: Callable[[Progress], None] | None = None,
  stage: tuple[int, int] = (0, 1),
) -> tuple[step_lib.State, History]:
  """Trains until the schedule ends the run or `config.max_steps`.

  Args:
    model: a super-resolving module.
    state: from `step.init_state`.
    fathers: a `pool.Pool`.
    kernel: `[h, w]` or None.
    windows: from `step.make_windows`.
    scale: factors (y, x).
    side: crop side in pixels.
    config: the run's settings.
    progress: called with a `Progress` after each chunk.
    stage: this stage's number and how many there are, for `progress`.

  Returns:
    The final state, whose `params` are the averaged ones when the config
    asks for that, and the history.
  """
  length = _CHUNK.get(jax.default_backend(), _CHUNK_DEFAULT)
  chunk = make_chunk(model, scale, side, config, length)
  losses, errors, error_steps = [], [], []
  drops: list[int] = []
  rollbacks: list[int] = []
  usual = math.inf
  while not bool(state.done):
    before = int(state.step)
    after, record = chunk(state, fathers, kernel, windows)
    record = jax.device_get(record)
    active = record.active
    loss = float(record.loss[active].mean())
    if math.isinf(usual):
      usual = float(record.loss[0])
    # A flat image trains at a loss near 0, hence the constant.
    exploded = loss > 10 * usual + 0.05
    if exploded or not np.isfinite(record.loss + record.error).all():
      rollbacks.append(before)
      if len(rollbacks) > _MAX_ROLLBACKS:
        break
      state = state._replace(
        rate=state.rate * 0.5,
        key=jax.random.fold_in(state.key, len(rollbacks)),
      )
      continue
    usual = 0.9 * usual + 0.1 * loss
    losses.append(record.loss[active])
    new = np.flatnonzero(record.error_is_new)
    error_steps.append(before + new)
    errors.append(record.error[new])
    dropped = np.diff(record.drops, prepend=int(step_lib.drops_of(state)))
    drops.extend(before + np.flatnonzero(dropped))
    state = after
    if progress is not None:
      progress(
        Progress(
          *stage,
          step=int(state.step),
          max_steps=config.max_steps,
          loss=loss,
          error=float(record.error[active][-1]),
          learning_rate=float(record.learning_rate[active][-1]),
        )
      )
  if config.weight_average:
    state = state._replace(params=state.average)
  history = History(
    loss=_join(losses, np.float32),
    error_steps=_join(error_steps, np.int32),
    error=_join(errors, np.float32),
    drops=tuple(int(s) for s in drops),
    rollbacks=tuple(rollbacks),
    stages=((*scale, int(state.step)),),
  )
  return state, history


def _join(parts: list[np.ndarray], dtype) -> np.ndarray:
  return np.concatenate([np.zeros(0), *parts]).astype(dtype)


def join_histories(histories: list[History]) -> History:
  """Chains the histories of gradual stages, counting steps through."""
  offsets = np.cumsum([0] + [h.stages[0][2] for h in histories])

  def shifted(name: str) -> list:
    pairs = zip(offsets, histories, strict=False)
    return [[int(s + o) for s in getattr(h, name)] for o, h in pairs]

  return History(
    loss=_join([h.loss for h in histories], np.float32),
    error_steps=_join(
      [np.asarray(s) for s in shifted('error_steps')], np.int32
    ),
    error=_join([h.error for h in histories], np.float32),
    drops=tuple(sum(shifted('drops'), [])),
    rollbacks=tuple(sum(shifted('rollbacks'), [])),
    stages=tuple(h.stages[0] for h in histories),
  )
