"""What happened while training, from the first step to the last."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import IO, Any, NamedTuple

import numpy as np

_LOSSES = 'losses/'  # before the names of the losses in a file


class History(NamedTuple):
  """What happened while training; steps count through all stages.

  It is saved and loaded in two forms: as arrays in an .npz file, and as a
  dict that JSON can hold.
  """

  loss: np.ndarray  # float32 [n], one a step
  learning_rate: np.ndarray  # float32 [n], one a step
  error_steps: np.ndarray  # int32 [m]
  error: np.ndarray  # float32 [m], reconstruction MSE at those steps
  drops: tuple[int, ...]  # steps after which the plateau schedule dropped
  rollbacks: tuple[int, ...]  # steps the run went back to
  stages: tuple[tuple[float, float, int], ...]  # factors (y, x) and steps
  # By name, float32 [n] and weighted: they sum to `loss`. Empty where only
  # the sum was kept. (Nobody writes to the default.)
  losses: dict[str, np.ndarray] = {}

  def save(
    self, file: str | os.PathLike[str] | IO[bytes], **others: np.ndarray
  ) -> None:
    """Writes an .npz file.

    Args:
      file: a path, or a stream of bytes.
      others: arrays that go into the same file, by names that no field has.

    Raises:
      OSError: when the file cannot be written.
    """
    arrays = {
      'loss': self.loss,
      'learning_rate': self.learning_rate,
      'error_steps': self.error_steps,
      'error': self.error,
      'drops': np.asarray(self.drops, np.int32),
      'rollbacks': np.asarray(self.rollbacks, np.int32),
      'factors': np.asarray([stage[:2] for stage in self.stages], np.float64),
      'stages': np.asarray([stage[2] for stage in self.stages], np.int64),
      **{_LOSSES + name: values for name, values in self.losses.items()},
      **others,
    }
    np.savez_compressed(file, allow_pickle=False, **arrays)

  @classmethod
  def load(
    cls, file: str | os.PathLike[str] | IO[bytes]
  ) -> tuple[History, dict[str, np.ndarray]]:
    """Reads what `save` wrote.

    Files of earlier versions hold neither rollbacks nor the factors of the
    stages: then there are no rollbacks, and the factors are NaN.

    Args:
      file: a path, or a stream of bytes.

    Returns:
      The history, and the other arrays of the file.

    Raises:
      OSError: when the file cannot be read.
      KeyError: when an array is missing.
    """
    with np.load(file, allow_pickle=False) as stored:
      arrays = dict(stored.items())
    steps = arrays.pop('stages').tolist()
    unknown = np.full((len(steps), 2), math.nan)
    factors = arrays.pop('factors', unknown).tolist()
    history = cls(
      loss=arrays.pop('loss'),
      learning_rate=arrays.pop('learning_rate'),
      error_steps=arrays.pop('error_steps'),
      error=arrays.pop('error'),
      drops=tuple(arrays.pop('drops').tolist()),
      rollbacks=tuple(arrays.pop('rollbacks', np.zeros(0, int)).tolist()),
      stages=tuple((y, x, n) for (y, x), n in zip(factors, steps, strict=True)),
      losses={
        name.removeprefix(_LOSSES): arrays.pop(name)
        for name in list(arrays)
        if name.startswith(_LOSSES)
      },
    )
    return history, arrays

  def to_dict(self) -> dict[str, Any]:
    """Returns the fields by name; `losses` only where there are any."""
    fields = self._asdict()
    if not self.losses:
      del fields['losses']
    return fields

  @classmethod
  def from_dict(cls, fields: Mapping[str, Any]) -> History:
    """Undoes `to_dict`, also after JSON has made lists of arrays.

    Args:
      fields: by name; null, which stands for NaN in JSON, becomes NaN again.

    Raises:
      KeyError: when a field is missing.
    """

    def numbers(values: Sequence[float | None], dtype: type) -> np.ndarray:
      plain = [math.nan if value is None else value for value in values]
      return np.asarray(plain, dtype)

    return cls(
      loss=numbers(fields['loss'], np.float32),
      learning_rate=numbers(fields['learning_rate'], np.float32),
      error_steps=numbers(fields['error_steps'], np.int32),
      error=numbers(fields['error'], np.float32),
      drops=tuple(fields['drops']),
      rollbacks=tuple(fields['rollbacks']),
      stages=tuple((y, x, n) for y, x, n in fields['stages']),
      losses={
        name: numbers(values, np.float32)
        for name, values in fields.get('losses', {}).items()
      },
    )


def join(parts: list[np.ndarray], dtype) -> np.ndarray:
  """Chains arrays; none at all give an empty one."""
  return np.concatenate([np.zeros(0), *parts]).astype(dtype)


def join_histories(histories: list[History]) -> History:
  """Chains the histories of several jobs, counting steps through.

  A loss that some of the jobs did without is 0 there.
  """
  offsets = np.cumsum([0] + [h.stages[0][2] for h in histories])

  def shifted(name: str) -> list:
    pairs = zip(offsets, histories, strict=False)
    return [[int(s + o) for s in getattr(h, name)] for o, h in pairs]

  names = dict.fromkeys(name for h in histories for name in h.losses)
  return History(
    loss=join([h.loss for h in histories], np.float32),
    learning_rate=join([h.learning_rate for h in histories], np.float32),
    error_steps=join([np.asarray(s) for s in shifted('error_steps')], np.int32),
    error=join([h.error for h in histories], np.float32),
    drops=tuple(sum(shifted('drops'), [])),
    rollbacks=tuple(sum(shifted('rollbacks'), [])),
    stages=tuple(h.stages[0] for h in histories),
    losses={
      name: join(
        [h.losses.get(name, np.zeros_like(h.loss)) for h in histories],
        np.float32,
      )
      for name in names
    },
  )
