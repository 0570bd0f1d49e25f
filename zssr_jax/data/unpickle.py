"""Arrays out of pickles, without running what a pickle can ask for.

A pickle is a program: it names functions and has them called. Here every name
stands for an inert record or a plain string, whatever is not on the list is
refused, and arrays are made from the records afterwards. So neither torch nor
the numpy of long ago that wrote the file is needed.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

# Values that are looked at. Nested references could be endless otherwise.
_MOST_VALUES = 100_000
# Storages of real numbers; tensors of other kinds are no weights.
_STORAGES = {
  'torch.HalfStorage': 'f2',
  'torch.FloatStorage': 'f4',
  'torch.DoubleStorage': 'f8',
  'torch.BFloat16Storage': 'u2',  # the upper half of a float32
}
_OTHER_STORAGES = tuple(
  f'torch.{kind}Storage'
  for kind in ('Bool', 'Byte', 'Char', 'Short', 'Int', 'Long')
)
_RECONSTRUCT = tuple(f'numpy.{core}.multiarray' for core in ('core', '_core'))


class RefusedError(ValueError):
  """A pickle that asks for more than arrays."""


class _Record:
  """What a pickle wants made: a kind, the arguments and the state."""

  def __init__(self, kind: str, args: tuple[Any, ...]):
    self.kind = kind
    self.args = args
    self.state: Any = None

  def __setstate__(self, state: Any) -> None:
    self.state = state


def _known_names() -> dict[tuple[str, str], Any]:
  """What each permitted name stands for.

  Made anew for every file, as a pickle can set attributes of what it is given.
  """

  def recorder(kind: str) -> Callable[..., _Record]:
    return lambda *args: _Record(kind, args)

  known: dict[tuple[str, str], Any] = {
    ('collections', 'OrderedDict'): lambda *a: collections.OrderedDict(*a),
    ('torch._utils', '_rebuild_tensor_v2'): recorder('tensor'),
    ('numpy', 'ndarray'): 'numpy.ndarray',
    ('numpy', 'dtype'): recorder('dtype'),
  }
  known |= {
    (module, '_reconstruct'): recorder('array') for module in _RECONSTRUCT
  }
  for name in (*_STORAGES, *_OTHER_STORAGES):
    module, kind = name.split('.')
    known[module, kind] = name
  return known


class _Unpickler(pickle.Unpickler):
  """Knows the names on the list and nothing else."""

  def __init__(self, content: bytes):
    super().__init__(io.BytesIO(content))
    self._known = _known_names()

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) not in self._known:
      raise RefusedError(f'asks for {module[:60]}.{name[:60]}')
    return self._known[module, name]

  def persistent_load(self, pid: Any) -> Any:
    if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == 'storage'):
      raise RefusedError('refers to something that is no storage')
    return _Record('storage', pid)


def read_arrays(
  content: bytes,
  storage: Callable[[str], bytes] | None = None,
  *,
  byte_order: str = '<',
) -> dict[str, np.ndarray]:
  """Returns the real arrays in a pickle, by '/'-joined keys.

  Args:
    content: the pickle: dicts and lists, nested, of numpy arrays or tensors
      of torch. What is neither, such as a number of epochs, is left out.
    storage: returns the bytes of a storage of torch, by its key.
    byte_order: '<' or '>', of the storages.

  Raises:
    RefusedError: when the pickle asks for anything else.
    Exception: of many types, when it is damaged.
  """
  budget = _MOST_VALUES

  def walk(prefix: str, value: Any) -> Iterator[tuple[str, np.ndarray]]:
    nonlocal budget
    budget -= 1
    if budget < 0:
      raise ValueError('too many values')
    if isinstance(value, Mapping):
      for key, item in value.items():
        yield from walk(f'{prefix}/{key}' if prefix else str(key), item)
    elif isinstance(value, (list, tuple)):
      for i, item in enumerate(value):
        yield from walk(f'{prefix}/{i}' if prefix else str(i), item)
    elif isinstance(value, _Record):
      if value.kind == 'array':
        array = _numpy_array(value)
      elif value.kind == 'tensor':
        array = _tensor(value, storage, byte_order)
      else:
        return
      if array is not None:
        yield prefix, array

  return dict(walk('', _Unpickler(content).load()))


def _numpy_array(record: _Record) -> np.ndarray | None:
  """Makes what `numpy.ndarray.__reduce__` describes; None if not real."""
  _, shape, dtype, by_columns, raw = record.state
  code, order = dtype.args[0], dtype.state[1]
  if code not in ('f2', 'f4', 'f8'):
    return None
  flat = np.frombuffer(raw, np.dtype(code).newbyteorder(order))
  return flat.reshape(shape, order='F' if by_columns else 'C')


def _tensor(
  record: _Record,
  storage: Callable[[str], bytes] | None,
  byte_order: str,
) -> np.ndarray | None:
  """Makes a tensor `(storage, offset, size, stride, ...)`; None if not real."""
  place, offset, size, stride = record.args[:4]
  _, kind, key, _, count = place.args
  if kind not in _STORAGES:
    return None
  if storage is None:
    raise ValueError('there are no storages')
  raw = np.frombuffer(storage(str(key)), byte_order + _STORAGES[kind])
  if kind == 'torch.BFloat16Storage':
    raw = (raw.astype(np.uint32) << 16).view(np.float32)
  numbers = (offset, count, *size, *stride)
  if not all(isinstance(n, int) and n >= 0 for n in numbers):
    raise ValueError('a tensor of no size')
  last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
  # More values than are stored would be one value, repeated.
  if raw.size != count or last >= count or math.prod(size) > count:
    raise ValueError('a tensor beyond its storage')
  if not math.prod(size):
    return np.zeros(size, np.float32)
  steps = [s * raw.itemsize for s in stride]
  return np.lib.stride_tricks.as_strided(raw[offset:], size, steps).copy()
