"""How long a run takes and how much memory, told before it and on its way.

The seconds are a rough count of products at a speed that was measured once;
what has been done of a run corrects them. The memory is that of the parts that
grow with the image, and of a block.
"""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import psutil

from zssr_jax import programs
from zssr_jax.config import Config
from zssr_jax.errors import NoRoomError
from zssr_jax.ops import conv, resize
from zssr_jax.training import loop, pool

PHASES = ('read', 'estimate', 'prepare', 'train', 'infer', 'write')

# Floating-point operations a second, of a CPU's core, and of other backends.
_CORE, _ACCELERATOR = 6e10, 1e13
_MARGINS = 1.3  # pixels that are computed for one that is kept
_STEP = 3e-3  # seconds of a training step beside its products
_PREPARE = 1.5  # seconds, compilation included
# Seconds a megapixel of output on a core: of one iteration of a correction, of
# interpolation and what else is done once, of coding it.
_ITERATION, _ONCE, _WRITE = 0.03, 0.4, 0.25
_READ = 0.05  # a megapixel of input
_KERNEL = {'kernelgan': 60.0, 'recurrence': 10.0}  # seconds to find one
_FIND = 4.0  # seconds of any other way
_PROGRAM = 0.7e9  # bytes of Python, JAX and its programs
_FLOAT = 4  # bytes


def flops_of(
  model: nn.Module, factors: tuple[float, float], channels: int
) -> float:
  """Counts a network's operations for each input pixel; computes nothing.

  Args:
    model: a super-resolving module.
    factors: that it enlarges by, (y, x).
    channels: of the image.
  """
  try:
    return _counted(model, factors, channels)
  except TypeError:  # a module of one's own that has no hash
    return _counted.__wrapped__(model, factors, channels)


@functools.lru_cache(maxsize=64)
def _counted(
  model: nn.Module, factors: tuple[float, float], channels: int
) -> float:
  side = 32
  rows, columns = resize.scaled_shape((side, side), factors)
  son = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
  father = jax.ShapeDtypeStruct((1, rows, columns, channels), jnp.float32)

  def count() -> float:
    params = jax.eval_shape(model.init, jax.random.key(0), son, father)
    counted = jax.jit(model.apply).lower(params, son, father).cost_analysis()
    return float((counted or {}).get('flops', 0.0)) / side**2

  return programs.remember(count, ('flops', model, factors, channels))


def seconds_of(
  shape: tuple[int, ...],
  scale: tuple[float, float],
  config: Config,
  *,
  side: int,
  flops: float,
) -> dict[str, float]:
  """Estimates how long the phases of a run take.

  Args:
    shape: of the input.
    scale: upscaling factors (y, x).
    config: in force.
    side: of the crop, pixels.
    flops: of the network, for each input pixel.

  Returns:
    Seconds by phase, those of `PHASES`.
  """
  cores = conv.cores()
  on_cpu = jax.default_backend() == 'cpu'
  speed = _CORE * cores if on_cpu else _ACCELERATOR
  area = scale[0] * scale[1]
  megapixels = shape[0] * shape[1] / 1e6
  runs = config.networks * max(len(config.gradual), 1)
  # Forwards, and backwards to the parameters and to the activations.
  crops = pool.crops_of(scale, config)
  step = _STEP + 3 * crops * side**2 / area * flops / speed
  corrections = config.back_projection if config.consistency != 'none' else 0
  if config.ensemble == 'median' and config.consistency == 'back_projection':
    corrections *= config.copies + 1
  beside = (_ITERATION * corrections + _ONCE) * area / (cores if on_cpu else 4)
  infer = config.copies * _MARGINS * flops * 1e6 / speed + beside
  finds = config.automatic or config.kernel not in ('bicubic', 'given')
  return {
    'read': _READ * megapixels,
    'estimate': _KERNEL.get(config.kernel, _FIND) if finds else 0.1,
    'prepare': _PREPARE,
    'train': runs * config.max_steps * step,
    'infer': config.networks * megapixels * infer,
    'write': _WRITE * megapixels * area,
  }


def bytes_of(
  shape: tuple[int, ...],
  scale: tuple[float, float],
  config: Config,
  *,
  held: int,
) -> int:
  """Estimates the most memory of a run.

  Args:
    shape: of the input, all of its bands.
    scale: upscaling factors (y, x).
    config: in force.
    held: bytes that are held of each sample of the output.
  """
  samples = math.prod(shape)
  area = scale[0] * scale[1]
  # A file of 16 bits, its samples, and the image of floats.
  reading = _PROGRAM / 2 + (2 + 2 + _FLOAT) * samples
  # Of a block each copy, and what is computed of it; this and the factors below
  # were fitted to runs (docs/results/scale.md).
  block = 1.2e6 * shape[-1] * _FLOAT * (config.copies + 24)
  # What is made of a row of blocks before it is handed on.
  strip = 1.5 * 1400 * shape[1] * scale[1] * shape[-1] * _FLOAT
  enlarging = (
    _PROGRAM
    + config.pool * 1e6 * 3 * _FLOAT
    + _FLOAT * samples
    + block
    + min(strip, samples * area * _FLOAT)
    + 1.7 * held * samples * area
  )
  return int(max(reading, enlarging))


def free_memory() -> int:
  """Returns the bytes that a process may still take, its container allowing."""
  free = psutil.virtual_memory().available
  group = Path('/sys/fs/cgroup')
  with contextlib.suppress(OSError, ValueError):  # no such limit
    most = int((group / 'memory.max').read_text())
    used = int((group / 'memory.current').read_text())
    return min(free, most - used)
  return free


def check_memory(name: object, needed: int, remedy: str) -> None:
  """Refuses what needs more memory than is free.

  Args:
    name: of the input.
    needed: bytes.
    remedy: what to do about it.

  Raises:
    NoRoomError: in one line.
  """
  free = free_memory()
  if needed > free:
    raise NoRoomError(
      f'{name}: needs about {needed / 1e9:.1f} GB of memory,'
      f' {free / 1e9:.1f} GB are free; {remedy}'
    )


class Tracker:
  """Tells how far a run is, and how many seconds are left of all its phases."""

  def __init__(
    self,
    report: Callable[[loop.Progress], None] | None,
    phases: tuple[str, ...] = PHASES,
  ):
    """Begins at nought.

    Args:
      report: called with a `Progress`, from whatever thread is at work.
      phases: that the run has, of `PHASES`.
    """
    self._report, self._phases = report, phases
    self._lock = threading.Lock()
    self._begin = self._since = time.perf_counter()
    self._expected: dict[str, float] = {}
    self._phase = phases[0]
    self._first: tuple[float, float] | None = None  # seconds, share of it
    self._pace = 1.0  # seconds to one that was expected
    self._share = 0.0

  def expect(self, seconds: Mapping[str, float]) -> None:
    """Takes how long phases are expected to take; others take no time."""
    self._expected = {p: seconds.get(p, 0.0) for p in self._phases}

  def restart(self) -> None:
    """Begins to count the time."""
    self._begin = self._since = time.perf_counter()

  def enter(self, phase: str) -> None:
    """Begins a phase; the one before is over. One it has not ends the run."""
    if phase in self._phases:
      self._begin_phase(phase)
      self.at(0.0)
    else:
      self.at(1.0)

  def _begin_phase(self, phase: str) -> None:
    with self._lock:
      self._phase, self._since = phase, time.perf_counter()
      self._first = None

  def trained(self, part: loop.Progress) -> None:
    """Takes what the training reports."""
    if self._phase != 'train':
      self._begin_phase('train')
    done = part.stage + part.step / max(part.max_steps, 1)
    self.at(min(done / part.stages, 1.0), part)

  def at(self, share: float, part: loop.Progress | None = None) -> None:
    """Says how much of a phase is done.

    Args:
      share: of the phase, 0 to 1.
      part: what the training reports, if that is what it is.
    """
    if self._report is None:
      return
    with self._lock:
      left = self._left(share) if self._expected else math.nan
      elapsed = time.perf_counter() - self._begin
      # Never backwards, whatever is expected now.
      if self._expected:
        self._share = max(self._share, elapsed / max(elapsed + left, 1e-9))
      said = (part or loop.Progress())._replace(
        phase=self._phase, share=self._share, seconds_left=left
      )
    self._report(said)

  def _left(self, share: float) -> float:
    """The seconds left, of this phase and of those to come."""
    spent = time.perf_counter() - self._since
    expected = self._expected.get(self._phase, 0.0)
    rest = max(
      expected * self._pace * (1 - share), expected * self._pace - spent
    )
    if share >= 1:
      rest = 0.0
    if share > 0:
      if self._first is None:
        self._first = spent, share  # until now it compiled
      first_spent, first_share = self._first
      if share > first_share:
        rest = (spent - first_spent) * (1 - share) / (share - first_share)
        if self._phase in ('train', 'infer') and expected:
          measured = (spent - first_spent) / (share - first_share)
          self._pace = measured / expected
    later = self._phases[self._phases.index(self._phase) + 1 :]
    return max(rest, 0.0) + sum(
      self._expected.get(phase, 0.0) * self._pace for phase in later
    )
