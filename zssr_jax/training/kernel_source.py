"""Where the degradation of the sons comes from.

A kernel source serves a whole run; `at` gives what a gradual stage needs, as a
pytree for the compiled step. The one in this file knows its kernel, the one in
`joint_kernel` learns it in the same steps; both have the methods that are
explained here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from zssr_jax.degradation import Degradation

# What an attempt returns: a crop of the input `[h, w, C]`, and the result
# `[H, W, C]` that the network makes of it.
Attempt = Callable[[], tuple[jax.Array, jax.Array]]


class Known(NamedTuple):
  """A degradation that stays what it is; of a run and of a stage alike."""

  degradation: Degradation

  def at(
    self, factors: tuple[float, float], progress: tuple[float, float]
  ) -> Known:
    """Returns the source of a gradual stage.

    Args:
      factors: of the stage (y, x).
      progress: share of the run that is done at its begin and end.
    """
    del progress
    return Known(self.degradation.at(factors))

  def init(self) -> Any:
    """Returns what is known of the kernel before a stage's first step."""
    return ()

  def draw(
    self, key: jax.Array, learnt: Any, share: jax.Array
  ) -> tuple[Degradation, Any]:
    """Draws the degradation of a son; runs inside jit.

    Args:
      key: random key of the draw.
      learnt: from `init` or `update`.
      share: of the stage that is done, 0 to 1.

    Returns:
      The degradation, and what `update` wants to know of it.
    """
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
    """Learns from a training step; runs inside jit.

    Args:
      learnt: before.
      step: number of the training step.
      share: of the stage that is done, 0 to 1.
      attempt: lets the network try a crop of the input; costs nothing unless
        it is called.
      son: the step's son `[h, w, C]`, the network's result for it `[H, W, C]`,
        and what `draw` said of it.
    """
    del step, share, attempt, son
    return learnt

  def told(self, learnt: Any) -> Any:
    """Returns what a stage tells the run at its end; runs on the host."""
    del learnt
    return None

  def knowing(self, told: Sequence[Any]) -> Known:
    """Returns the run's source after a stage whose networks told so much."""
    del told
    return self

  def padded(self, shape: tuple[int, int]) -> Known:
    """Returns it with its kernel padded to a shape, to be stacked."""
    return Known(self.degradation.padded(shape))
