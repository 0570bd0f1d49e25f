"""Which code made a number: its digest, and the checkout's commit."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zssr_jax
from zssr_jax import registry
from zssr_jax.config import Config
from zssr_jax.evaluation import bodies, methods

_ROOT = Path(zssr_jax.__file__).parent
_SCORE = 'zssr_jax.ops.metrics:score'
_TRAIN = 'zssr_jax.super_resolution:run_config'
_DRIVE = 'zssr_jax.parallel.devices:drive'  # which takes the steps
_NETWORK = 'zssr_jax.baselines.learned:make_upscale'
_REGISTRY = 'zssr_jax.registry'


@functools.cache
def _package() -> bodies.Package:
  return bodies.Package(_ROOT)


@functools.cache
def code_version(*entries: str, without: str = '') -> str:
  """Returns 12 hex digits that change when what functions do may have.

  See `bodies` for what counts and what does not.

  Args:
    entries: functions as 'zssr_jax.module:name', in any order.
    without: a module that is not looked into.

  Raises:
    ValueError: for a function that is not there.
  """
  return _package().digest(*entries, without=without)


def method_version(name: str, config: Config | None = None) -> str:
  """Returns the `code_version` of a method and of the score it is given.

  Of what goes by a name, only what the method or its config names counts: a
  new network makes no row anew.

  Args:
    name: of `methods.REGISTRY`.
    config: of a method that trains.

  Raises:
    ValueError: for an unknown method; it lists the known ones.
  """
  method = methods.find(name)
  if method.trains:
    named = _named(config or Config())
    return code_version(_TRAIN, _DRIVE, _SCORE, *named, without=_REGISTRY)
  if method.upscale is None:
    sizes = registry.families()[str(method.network)]
    named = [registry.EXTERNAL.place(size) for size in sizes]
    return code_version(_NETWORK, _SCORE, *named, without=_REGISTRY)
  made_by: Callable[..., Any] = method.upscale
  return code_version(f'{made_by.__module__}:{made_by.__qualname__}', _SCORE)


def _named(config: Config) -> list[str]:
  """Where the things are that a config names."""
  parts = registry.MODELS[config.model].parts.values()
  places = [registry.MODELS.place(config.model)]
  places += [registry.EXTERNAL.place(part) for part in parts]
  places += [registry.LOSSES.place(loss) for loss, _ in config.losses]
  if config.kernel in registry.ESTIMATORS:
    places.append(registry.ESTIMATORS.place(config.kernel))
  return sorted(places)


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
