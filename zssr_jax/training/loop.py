"""The training loop: compiled chunks of steps, watched from the host.

The device runs a few dozen steps per call and reports them together. The host
keeps the state before each chunk: when the loss turns NaN or explodes, it
goes back there with half the learning rate. `Watch` is that host's side of
one run; `train` runs one `Job`, `parallel.devices` several at a time.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from zssr_jax import programs
from zssr_jax.config import Config
from zssr_jax.ops import conv
from zssr_jax.training import history as history_lib
from zssr_jax.training import kernel_source, losses
from zssr_jax.training import step as step_lib

# Steps per call. A CPU step takes 10 to 200 ms: ten of them keep Ctrl-C and
# the progress bar prompt. An accelerator's takes about 1 ms.
_CHUNK = {'cpu': 10}
_CHUNK_DEFAULT = 100
_MAX_ROLLBACKS = 20


class Progress(NamedTuple):
  """What a progress callback is told."""

  stage: int = 0  # number of the training, one a network and gradual stage
  stages: int = 1
  step: int = 0  # completed steps of this stage
  max_steps: int = 0
  loss: float = math.nan  # mean over the last chunk
  error: float = math.nan  # latest reconstruction MSE
  learning_rate: float = math.nan
  # Of the whole run, which trains or does something else (`forecast.PHASES`).
  phase: str = 'train'
  share: float = math.nan  # of its seconds that is over, 0 to 1
  seconds_left: float = math.nan


class Job(NamedTuple):
  """One network in one stage of an image: all that its training needs."""

  model: nn.Module
  side: int  # of the crop, pixels
  losses: tuple[losses.Term, ...]
  config: Config
  stage: tuple[int, int]  # its number, from 0, and how many there are
  state: step_lib.State
  data: step_lib.Data

  @property
  def kind(self) -> Hashable:
    """What jobs have in common that one program can train together."""
    structure = jax.tree.structure(self.data.source)
    return self.model, self.side, self.losses, self.config, structure

  @property
  def factors(self) -> tuple[float, float]:
    """What it is trained to enlarge by, (y, x)."""
    return self.data.source.degradation.scale


class Trained(NamedTuple):
  """What comes of a job."""

  params: step_lib.Params  # averaged when the config asks for that
  told: Any  # what the kernel source has to say, see `kernel_source`
  history: history_lib.History


@functools.lru_cache(maxsize=64)
def make_chunk(
  model: nn.Module,
  side: int,
  losses: tuple[losses.Term, ...],
  config: Config,
  length: int,
) -> Callable[..., tuple[step_lib.State, step_lib.Record]]:
  """Builds the jitted `chunk(state, data)` of `length` steps.

  Cached on its arguments, so that equal shapes never compile twice.
  """
  step = step_lib.make_step(model, side=side, losses=losses, config=config)

  def chunk(state, data):
    return jax.lax.scan(lambda s, _: step(s, data), state, length=length)

  return jax.jit(chunk)


def chunk_length() -> int:
  """Steps per call on the default backend."""
  return _CHUNK.get(jax.default_backend(), _CHUNK_DEFAULT)


def _kept_chunk(
  job: Job,
) -> Callable[..., tuple[step_lib.State, step_lib.Record]]:
  """Returns a job's chunk, from disk where it is there."""
  facts = job.model, job.side, job.losses, job.config, chunk_length()
  # A kernel that is learnt along came out different in its last bits.
  if not isinstance(job.data.source, kernel_source.Known):
    return make_chunk(*facts)
  leaf: Any = 0
  record = step_lib.Record(
    leaf, {term.name: leaf for term in job.losses}, *5 * [leaf]
  )
  return programs.keep(
    make_chunk(*facts),
    # The weight gradient depends on the number of cores.
    (*facts, conv.cores()),
    (job.state, job.data),
    (job.state, record),
  )


class Watch:
  """The host's side of one run: whether a chunk is kept, and the history."""

  def __init__(
    self, job: Job, progress: Callable[[Progress], None] | None = None
  ):
    self._job = job
    self._progress = progress
    self._steps = 0
    self._drops = 0
    self._usual = math.inf
    self._losses: list[np.ndarray] = []
    self._parts: list[dict[str, np.ndarray]] = []
    self._rates: list[np.ndarray] = []
    self._errors: list[np.ndarray] = []
    self._error_steps: list[np.ndarray] = []
    self._dropped: list[int] = []
    self.rollbacks: list[int] = []

  @property
  def hopeless(self) -> bool:
    """Whether the run has been rolled back too often to go on."""
    return len(self.rollbacks) > _MAX_ROLLBACKS

  def accepts(self, record: Any) -> bool:
    """Judges a chunk by its record, and takes down what is kept.

    Args:
      record: a `step.Record` of host arrays `[length]`, the first one active.

    Returns:
      False when the loss is no number or exploded: go back to the state
      before the chunk, with half the rate and another key.
    """
    active = record.active
    loss = float(record.loss[active].mean())
    if math.isinf(self._usual):
      self._usual = float(record.loss[0])
    # A flat image trains at a loss near 0, hence the constant.
    exploded = loss > 10 * self._usual + 0.05
    if exploded or not np.isfinite(record.loss + record.error).all():
      self.rollbacks.append(self._steps)
      return False
    self._usual = 0.9 * self._usual + 0.1 * loss
    self._losses.append(record.loss[active])
    self._parts.append({n: v[active] for n, v in record.losses.items()})
    self._rates.append(record.learning_rate[active])
    new = np.flatnonzero(record.error_is_new)
    self._error_steps.append(self._steps + new)
    self._errors.append(record.error[new])
    dropped = np.flatnonzero(np.diff(record.drops, prepend=self._drops))
    self._dropped.extend(int(self._steps + step) for step in dropped)
    self._drops = int(record.drops[-1])
    self._steps += int(active.sum())
    if self._progress is not None:
      self._progress(
        Progress(
          *self._job.stage,
          step=self._steps,
          max_steps=self._job.config.max_steps,
          loss=loss,
          error=float(record.error[active][-1]),
          learning_rate=float(record.learning_rate[active][-1]),
        )
      )
    return True

  def history(self) -> history_lib.History:
    """Returns what happened in the chunks that were kept."""
    return history_lib.History(
      loss=history_lib.join(self._losses, np.float32),
      losses={
        term.name: history_lib.join(
          [part[term.name] for part in self._parts], np.float32
        )
        for term in self._job.losses
      },
      learning_rate=history_lib.join(self._rates, np.float32),
      error_steps=history_lib.join(self._error_steps, np.int32),
      error=history_lib.join(self._errors, np.float32),
      drops=tuple(self._dropped),
      rollbacks=tuple(self.rollbacks),
      stages=((*self._job.factors, self._steps),),
    )


def go_back(
  before: step_lib.State, rollbacks: int | jax.Array
) -> step_lib.State:
  """Returns the state to try again from: half the rate, other draws.

  Args:
    before: the last good state.
    rollbacks: how many there have been, this one included.
  """
  return before._replace(
    rate=before.rate * 0.5, key=jax.random.fold_in(before.key, rollbacks)
  )


def train(
  job: Job, progress: Callable[[Progress], None] | None = None
) -> Trained:
  """Trains until the schedule ends the run or `config.max_steps`.

  Args:
    job: what to train, and on what.
    progress: called with a `Progress` after each chunk.
  """
  chunk = _kept_chunk(job)
  watch = Watch(job, progress)
  state = job.state
  while not bool(state.done):
    after, record = chunk(state, job.data)
    if watch.accepts(jax.device_get(record)):
      state = after
    elif watch.hopeless:
      break
    else:
      state = go_back(state, len(watch.rollbacks))
  return finish(state, job, watch)


def finish(state: step_lib.State, job: Job, watch: Watch) -> Trained:
  """Makes what a job returns of the last state of its run."""
  return Trained(
    params=state.average if job.config.weight_average else state.params,
    told=job.data.source.told(state.learnt),
    history=watch.history(),
  )
