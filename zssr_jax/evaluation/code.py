"""Which code made a number: its digest, and the checkout's commit."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zssr_jax
from zssr_jax.evaluation import bodies, methods

_ROOT = Path(zssr_jax.__file__).parent
_SCORE = 'zssr_jax.ops.metrics:score'
_TRAIN = 'zssr_jax.super_resolution:train_image'
_NETWORK = 'zssr_jax.baselines.learned:make_upscale'


@functools.cache
def _package() -> bodies.Package:
  return bodies.Package(_ROOT)


@functools.cache
def code_version(*entries: str) -> str:
  """Returns 12 hex digits that change when what functions do may have.

  See `bodies` for what counts and what does not.

  Args:
    entries: functions as 'zssr_jax.module:name', in any order.

  Raises:
    ValueError: for a function that is not there.
  """
  return _package().digest(*entries)


def method_version(name: str) -> str:
  """Returns the `code_version` of a method and of the score it is given.

  Args:
    name: of `methods.REGISTRY`.

  Raises:
    ValueError: for an unknown method; it lists the known ones.
  """
  method = methods.find(name)
  if method.trains:
    return code_version(_TRAIN, _SCORE)
  if method.upscale is None:
    return code_version(_NETWORK, _SCORE)
  made_by: Callable[..., Any] = method.upscale
  return code_version(f'{made_by.__module__}:{made_by.__qualname__}', _SCORE)


@functools.cache
def commit() -> str:
  """Returns the checkout's commit, with a plus when there are changes."""
  try:
    return subprocess.run(
      ['git', 'describe', '--always', '--dirty=+'],
      capture_output=True,
      text=True,
      check=True,
      cwd=_ROOT,
    ).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return 'unknown'
