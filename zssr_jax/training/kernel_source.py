"""Where the degradation of the sons comes from.

A `Source` serves a whole run; its `at` gives the `StageSource` that a gradual
stage needs, a pytree for the compiled step. `Known` is both, for a degradation
that stays what it is. `joint_kernel` has a pair that learns the kernel in the
same steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax

from zssr_jax.degradation import Degradation

# What an attempt returns: a crop of the input `[h, w, C]`, and the result
# `[H, W, C]` that the network makes of it.
Attempt = Callable[[], tuple[jax.Array, jax.Array]]


class StageSource(Protocol):
  """The source of a gradual stage, a pytree."""

  @property
  def degradation(self) -> Degradation:
    """The stage's scale and border; its kernel as far as it is known."""

  def init(self) -> Any:
    """What is known of the kernel before a stage's first step."""

  def draw(
    self, key: jax.Array, learnt: Any, share: jax.Array
  ) -> tuple[Degradation, Any]:
    """The degradation of a son; inside jit.

    Args:
      key: random key of the draw.
      learnt: from `init` or `update`.
      share: of the stage that is done, 0 to 1.

    Returns:
      The degradation, and what `update` wants to know of it.
    """

  def update(
    self,
    learnt: Any,
    step: jax.Array,
    share: jax.Array,
    attempt: Attempt,
    son: tuple[jax.Array, jax.Array, Any],
  ) -> Any:
    """Learns from a training step; inside jit.

    Args:
      learnt: before.
      step: number of the training step.
      share: of the stage that is done, 0 to 1.
      attempt: lets the network try a crop of the input; costs nothing unless
        it is called.
      son: the step's son `[h, w, C]`, the network's result for it `[H, W, C]`,
        and what `draw` said of it.
    """

  def told(self, learnt: Any) -> Any:
    """What the end of a stage tells the run; on the host."""

  def padded(self, shape: tuple[int, int]) -> StageSource:
    """The same with its kernel, if any, padded to a shape, to be stacked."""


class Source(Protocol):
  """The source of a run, on the host."""

  @property
  def degradation(self) -> Degradation:
    """At the whole scale, with the kernel as far as it is known."""

  def at(
    self, factors: tuple[float, float], progress: tuple[float, float]
  ) -> StageSource:
    """The source of a gradual stage.

    Args:
      factors: of the stage (y, x).
      progress: share of the run that is done at its begin and end.
    """

  def knowing(self, told: Sequence[Any]) -> Source:
    """The source after a stage whose networks `told` so much."""


class Known(NamedTuple):
  """A degradation that stays what it is; a `Source` and a `StageSource`."""

  degradation: Degradation

  def at(
    self, factors: tuple[float, float], progress: tuple[float, float]
  ) -> Known:
    """The degradation at the stage."""
    del progress
    return Known(self.degradation.at(factors))

  def init(self) -> Any:
    """There is nothing to be learnt."""
    return ()

  def draw(
    self, key: jax.Array, learnt: Any, share: jax.Array
  ) -> tuple[Degradation, Any]:
    """Always the same degradation."""
    del key, learnt, share
    return self.degradation, ()

  def update(
    self,
    learnt: Any,
    step: jax.Array,
    share: jax.Array,
    attempt: Attempt,
    son: tuple[jax.Array, jax.Array, Any],
  ) -> Any:
    """Learns nothing."""
    del step, share, attempt, son
    return learnt

  def told(self, learnt: Any) -> Any:
    """Nothing."""
    del learnt
    return None

  def knowing(self, told: Sequence[Any]) -> Known:
    """The same."""
    del told
    return self

  def padded(self, shape: tuple[int, int]) -> Known:
    """The same with its kernel padded, to be stacked."""
    return Known(self.degradation.padded(shape))
