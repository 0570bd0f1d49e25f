"""Compiled programs kept on disk, so that a second process starts at once."""

from __future__ import annotations

import functools
import math
import os
import tempfile
from pathlib import Path

import jax

VARIABLE = 'ZSSR_JAX_CACHE'


@functools.cache  # of each process once
def use_compile_cache() -> None:
  """Keeps compiled programs in a folder, and takes those that are there.

  That is `$ZSSR_JAX_CACHE` (empty: none), else `zssr_jax` in the user's cache
  folder; a setting of JAX's own goes first. From a folder that cannot be
  written programs are taken; without a folder they are compiled each time.
  """
  path = _folder()
  if path is None or jax.config.values['jax_compilation_cache_dir']:
    return
  writable = _is_writable(path)
  if not writable and not _is_readable(path):
    return
  # A run compiles dozens of small programs; together they take seconds. No
  # program takes for ever: where none can be written, none is tried to be, of
  # which JAX would warn each time.
  least = 0.0 if writable else math.inf
  jax.config.update('jax_persistent_cache_min_compile_time_secs', least)
  jax.config.update('jax_compilation_cache_dir', str(path))


def own_folder() -> Path | None:
  """Returns the folder of compiled programs if it is this package's.

  It is None where there is none, or a setting of JAX's own names it.
  """
  path = _folder()
  used = jax.config.values['jax_compilation_cache_dir']
  return path if path is not None and used == str(path) else None


def _folder() -> Path | None:
  """The folder that the environment asks for."""
  default = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  folder = os.environ.get(VARIABLE, f'{default}/zssr_jax')
  return Path(folder).expanduser() if folder else None


def _is_readable(path: Path) -> bool:
  return path.is_dir() and os.access(path, os.R_OK | os.X_OK)


def _is_writable(folder: Path) -> bool:
  """Whether files can be made in a folder, which is made if it is missing."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      return True
  except OSError:
    return False
