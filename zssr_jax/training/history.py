"""What happened while training, from the first step to the last."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class History(NamedTuple):
  """What happened while training; steps count through all stages."""

  loss: np.ndarray  # float32 [n], one a step
  learning_rate: np.ndarray  # float32 [n], one a step
  error_steps: np.ndarray  # int32 [m]
  error: np.ndarray  # float32 [m], reconstruction MSE at those steps
  drops: tuple[int, ...]  # steps after which the plateau schedule dropped
  rollbacks: tuple[int, ...]  # steps the run went back to
  stages: tuple[tuple[float, float, int], ...]  # factors (y, x) and steps
  losses: dict[str, np.ndarray] = {}


def join(parts: list[np.ndarray], dtype) -> np.ndarray:
  """Chains arrays, none of them included."""
  return np.concatenate([np.zeros(0), *parts]).astype(dtype)


def join_histories(histories: list[History]) -> History:
  """Chains the histories of several jobs, counting steps through."""
  offsets = np.cumsum([0] + [h.stages[0][2] for h in histories])

  def shifted(name: str) -> list:
    pairs = zip(offsets, histories, strict=False)
    return [[int(s + o) for s in getattr(h, name)] for o, h in pairs]

  return History(
    loss=join([h.loss for h in histories], np.float32),
    learning_rate=join([h.learning_rate for h in histories], np.float32),
    error_steps=join([np.asarray(s) for s in shifted('error_steps')], np.int32),
    error=join([h.error for h in histories], np.float32),
    drops=tuple(sum(shifted('drops'), [])),
    rollbacks=tuple(sum(shifted('rollbacks'), [])),
    stages=tuple(h.stages[0] for h in histories),
  )
