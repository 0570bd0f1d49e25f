"""Programs as JAX lowers them, kept on disk beside the compiled ones.

JAX finds a compiled program by what the function is lowered to, so each process
has to trace and lower it anew, which for a chunk of training steps takes longer
than to load what XLA made of it. Here the lowered program (StableHLO, by
`jax.export`) is kept, in a file that is named by a digest of all that it
depends on: the sources of this package, the versions of others, the settings of
JAX, the device, the shapes of the arguments, and what the caller says.

Nothing depends on these files. Where one is missing or damaged, or cannot be
written, the function is traced. Where that gives the same results to the bit is
for `benchmarks/same_results.py` to tell, program by program.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import os
import platform
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax
import jax
import jaxlib
import numpy as np
import optax
from jax import export

from zssr_jax import compile_cache

_FOLDER = 'lowered'  # in that of the compiled programs
_MOST = 256  # files that are kept: those that were used last
_PACKAGE = __name__.partition('.')[0]
_IMPORTED = time.time()
# Sources that were changed so many seconds before, or since, may be others than
# those that were imported.
_SETTLED = 5
# Parts of the names of those settings of JAX that change no program.
_SILENT = ('cache', 'default_device', 'dump', 'log', 'source', 'traceback')
_HASH = hashlib.sha256
# LLVM's level is 3 otherwise, which compiled training chunks of `fast` and
# `nonideal` a fifth to two fifths longer. Steps are as fast, and the same.
_OPTIONS: dict[str, dict[str, Any]] = {
  'cpu': {'xla_backend_optimization_level': 2}
}
_LOCK = threading.Lock()
# Programs by the names of their files, newest last.
_loaded: dict[str, Callable[..., Any]] = {}


class _Unnamed(Exception):
  """Something has no name that is the same in every process."""


def keep(
  function: Callable[..., Any],
  facts: Any,
  arguments: tuple[Any, ...],
  result: Any,
) -> Callable[..., Any]:
  """Takes a function from disk; where it is not, traces it and puts it there.

  Args:
    function: pure and jitted; given by the facts, apart from its arguments.
    facts: numbers, strings, functions and modules of this package, and tuples
      and dataclasses of such. With anything else, such as a loss of the user's,
      nothing is kept.
    arguments: what it will be called with, as to structure and shapes.
    result: something of the structure of what it returns.

  Returns:
    What does the same as `function`, for such arguments.
  """
  folder = compile_cache.own_folder()
  # Without it JAX cannot write what it exports.
  if folder is None or importlib.util.find_spec('flatbuffers') is None:
    return function
  try:
    name = _name_of(facts, arguments)
    call = _find(folder / _FOLDER / name, function, arguments, result)
  except Exception:  # whatever it is, tracing goes, or says it better
    return function
  structure: Any = jax.tree.structure(result)

  def kept(*arguments: Any) -> Any:
    return structure.unflatten(call(*jax.tree.leaves(arguments)))

  return kept


def remember(compute: Callable[[], float], facts: Any) -> float:
  """Takes a number from disk, or computes it and puts it there; see `keep`."""
  folder = compile_cache.own_folder()
  if folder is None:
    return compute()
  try:
    path = folder / _FOLDER / _name_of(facts, ())
    if (content := _read(path)) is not None:
      return float(content)
  except Exception:
    return compute()
  number = compute()
  _write(path, repr(number).encode())
  return number


def _find(
  path: Path,
  function: Callable[..., Any],
  arguments: tuple[Any, ...],
  result: Any,
) -> Callable[..., Any]:
  """Returns a program of flat arguments and results."""
  with _LOCK:
    if path.name not in _loaded:
      content = _read(path)
      if content is None:
        content = _export(function, arguments, result)
        _write(path, content)
      # As read when it was just made: so JAX finds it compiled next time.
      call: Any = _callable(content)
      call.lower(*jax.tree.leaves(arguments))  # what goes wrong does so here
      _loaded[path.name] = call
      while len(_loaded) > 64:
        _loaded.pop(next(iter(_loaded)))
    return _loaded[path.name]


def _export(
  function: Callable[..., Any], arguments: tuple[Any, ...], result: Any
) -> bytes:
  """Traces and lowers a function."""
  structure: Any
  leaves, structure = jax.tree.flatten(arguments)
  expected: Any = jax.tree.structure(result)

  def flat(*leaves: Any) -> list[Any]:
    values, made = jax.tree.flatten(function(*structure.unflatten(leaves)))
    if made != expected:
      raise ValueError(f'{made} is not {expected}')
    return values

  return bytes(export.export(jax.jit(flat))(*leaves).serialize())


def _callable(content: bytes) -> Callable[..., Any]:
  """Makes a jitted function of what was exported."""
  exported = export.deserialize(bytearray(content))
  if b'lapack' not in exported.mlir_module_serialized:
    # For whatever is called on a CPU JAX loads LAPACK, for which SciPy's linear
    # algebra is imported. The file's name says which platform it is for.
    exported = dataclasses.replace(
      exported,
      platforms=('any',),
      disabled_safety_checks=(export.DisabledSafetyCheck.platform(),),
    )
  options = _OPTIONS.get(jax.default_backend())
  return jax.jit(exported.call, compiler_options=options)


def _read(path: Path) -> bytes | None:
  """Reads a file; None where there is none that is whole."""
  try:
    found = path.read_bytes()
  except OSError:
    return None
  size = _HASH().digest_size
  if _HASH(found[size:]).digest() != found[:size]:
    return None
  with contextlib.suppress(OSError):
    os.utime(path)  # it was used last
  return found[size:]


def _write(path: Path, content: bytes) -> None:
  """Writes a file if that is allowed, and removes those that are too many."""
  with contextlib.suppress(OSError):
    path.parent.mkdir(exist_ok=True)
    # Under a name of its own until it is whole.
    part = path.with_name(f'{path.name}.{os.getpid()}')
    part.write_bytes(_HASH(content).digest() + content)
    os.replace(part, path)
    files = [*path.parent.iterdir()]
    for old in sorted(files, key=lambda file: file.stat().st_mtime)[:-_MOST]:
      old.unlink(missing_ok=True)


def _name_of(facts: Any, arguments: tuple[Any, ...]) -> str:
  """Returns a name that differs where a program may."""
  leaves, structure = jax.tree.flatten(arguments)
  device = jax.config.jax_default_device or jax.devices()[0]  # type: ignore[attr-defined]
  if device.platform != jax.devices()[0].platform:
    raise _Unnamed(device)  # JAX exports for the default platform
  settings = {
    name: value
    for name, value in jax.config.values.items()
    if not any(part in name for part in _SILENT)
  }
  parts = [
    _code(),
    device.platform,
    device.device_kind,
    *(f'{name}={value}' for name, value in sorted(settings.items())),
    str(structure),
    *map(_shape_of, leaves),
    _describe(facts),
  ]
  text = '\n'.join(parts)
  if ' at 0x' in text:
    raise _Unnamed(text)
  return _HASH(text.encode()).hexdigest()[:40]


def _shape_of(leaf: Any) -> str:
  weak = getattr(leaf, 'weak_type', False)
  return f'{leaf.dtype}{leaf.shape}{"weak" if weak else ""}'


def _describe(value: Any) -> str:
  """Tells what a fact is; raises `_Unnamed` where that cannot be told."""
  kind = type(value)
  if value is None or kind in (bool, int, float, str):
    return repr(value)
  if kind is tuple:
    return f'({",".join(map(_describe, value))})'
  if isinstance(value, types.FunctionType) and _is_ours(value):
    return f'{value.__module__}.{value.__qualname__}'
  if not _is_ours(kind):
    raise _Unnamed(value)
  name = f'{kind.__module__}.{kind.__qualname__}'
  if isinstance(value, tuple):  # with names
    return f'{name}({",".join(map(_describe, value))})'
  if dataclasses.is_dataclass(value):
    # What a module of flax belongs to is no setting of it.
    fields = {f.name for f in dataclasses.fields(value)} - {'parent', 'name'}
    told = (f'{f}={_describe(getattr(value, f))}' for f in sorted(fields))
    return f'{name}({",".join(told)})'
  raise _Unnamed(value)


def _is_ours(thing: Any) -> bool:
  """Whether a function or class is this package's, by the name it has there."""
  if thing.__module__.partition('.')[0] != _PACKAGE:
    return False
  found: Any = sys.modules[thing.__module__]
  for name in thing.__qualname__.split('.'):
    found = getattr(found, name, None)
  return found is thing


@functools.cache
def _code() -> str:
  """Returns a digest of this package, and the versions of others."""
  digest = _HASH()
  root = Path(__file__).parent
  for path in sorted(root.rglob('*.py')):
    if path.stat().st_mtime > _IMPORTED - _SETTLED:
      raise _Unnamed(path)
    digest.update(f'{path.relative_to(root)}\n'.encode() + path.read_bytes())
  packages = (jax, jaxlib, flax, optax, np)
  versions = [f'{p.__name__} {p.__version__}' for p in packages]
  return ' '.join([digest.hexdigest(), platform.python_version(), *versions])
