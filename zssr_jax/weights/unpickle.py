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
import pickletools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

# Values that are looked at. Nested references could be endless otherwise.
_MOST_VALUES = 100_000
_LONGEST_NAME = 10_000
# Instructions of a pickle; each can make an object of a hundred bytes.
_MOST_CODES = 2_000_000
_MEMO = ('PUT', 'BINPUT', 'LONG_BINPUT')  # they name a place of the memo
# Storages of real numbers; tensors of other kinds are no weights.
_STORAGES = {
  'torch.HalfStorage': 'f2',
  'torch.FloatStorage': 'f4',
  'torch.DoubleStorage': 'f8',
  'torch.BFloat16Storage': 'u2',  # the upper half of a float32
}
_OTHER_STORAGES = {
  'torch.BoolStorage': '?',
  'torch.ByteStorage': 'u1',
  'torch.CharStorage': 'i1',
  'torch.ShortStorage': 'i2',
  'torch.IntStorage': 'i4',
  'torch.LongStorage': 'i8',
}
_OLD_VERSION = 1001  # of all files of torch 0.1 to 1.5
_RECONSTRUCT = tuple(f'numpy.{core}.multiarray' for core in ('core', '_core'))


class RefusedError(ValueError):
  """A pickle that asks for more than arrays."""


class Budget:
  """Bytes that may still be made of a file: a small one can ask for any."""

  def __init__(self, size: int):
    """Allows four times a file's size, and a little for the smallest."""
    self._left = 4 * size + 2**24

  def spend(self, count: int) -> None:
    """Takes from it.

    Raises:
      ValueError: when it is used up.
    """
    self._left -= count
    if self._left < 0:
      raise ValueError('holds far more than a file of its size can')


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
    ('torch._utils', '_rebuild_tensor'): recorder('tensor'),  # torch 0.1 to 0.3
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

  def __init__(self, stream: io.BytesIO):
    super().__init__(stream)
    self._known = _known_names()
    self.storages: dict[str, _Record] = {}  # by key

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) not in self._known:
      raise RefusedError(f'asks for {module[:60]}.{name[:60]}')
    return self._known[module, name]

  def persistent_load(self, pid: Any) -> Any:
    # ('storage', type, key, location, values, and, before 1.6, a view of it).
    known = isinstance(pid, tuple) and len(pid) in (5, 6)
    if not known or pid[0] != 'storage' or not isinstance(pid[2], str):
      raise RefusedError('refers to something that is no storage')
    record = _Record('storage', pid)
    self.storages.setdefault(pid[2], record)
    return record


def _load(stream: io.BytesIO) -> tuple[Any, dict[str, _Record]]:
  """Unpickles what comes next; returns it and the storages by their keys.

  Raises:
    ValueError: for a pickle that would take memory out of all proportion.
  """
  start = stream.tell()
  for i, (code, argument, _) in enumerate(pickletools.genops(stream)):
    # The memo is as long as its largest place says.
    if i >= _MOST_CODES or (code.name in _MEMO and (argument or 0) > i):
      raise ValueError('a pickle beyond all measure')
  stream.seek(start)
  unpickler = _Unpickler(stream)
  return unpickler.load(), unpickler.storages


def read_arrays(
  content: bytes,
  storage: Callable[[str], bytes | memoryview] | None = None,
  *,
  byte_order: str = '<',
  budget: Budget | None = None,
) -> dict[str, np.ndarray]:
  """Returns the real arrays in a pickle, by '/'-joined keys.

  Args:
    content: the pickle: dicts and lists, nested, of numpy arrays or tensors
      of torch. What is neither, such as a number of epochs, is left out.
    storage: returns the bytes of a storage of torch, by its key.
    byte_order: '<' or '>', of the storages.
    budget: what the arrays may take; that of the pickle's size by default.

  Raises:
    RefusedError: when the pickle asks for anything else.
    Exception: of many types, when it is damaged.
  """
  tree, _ = _load(io.BytesIO(content))
  return _collect(tree, storage, byte_order, budget or Budget(len(content)))


def read_old_torch(content: bytes) -> dict[str, np.ndarray]:
  """Returns the real arrays in a file of torch before 1.6; see `read_arrays`.

  Such a file is five pickles, a magic number, the version, sizes of C's types,
  the object, the keys of its storages, then each storage: how many values, as
  a 64-bit number, and their bytes, the lowest first.
  """
  stream = io.BytesIO(content)
  _, version, _ = (_load(stream)[0] for _ in range(3))
  if version != _OLD_VERSION:
    raise ValueError('of an unknown version')
  tree, storages = _load(stream)
  keys, _ = _load(stream)
  raw: dict[str, memoryview] = {}
  for key in keys:
    count = int.from_bytes(stream.read(8), 'little', signed=True)
    kind = (_STORAGES | _OTHER_STORAGES)[storages[key].args[1]]
    size = count * np.dtype(kind).itemsize
    begin = stream.tell()
    if not 0 <= size <= len(content) - begin:
      raise ValueError('cut short')
    raw[key] = memoryview(content)[begin : begin + size]
    stream.seek(begin + size)
  return _collect(tree, raw.__getitem__, '<', Budget(len(content)))


def _collect(
  tree: Any,
  storage: Callable[[str], bytes | memoryview] | None,
  byte_order: str,
  budget: Budget,
) -> dict[str, np.ndarray]:
  """Makes the arrays that an unpickled tree has on record."""
  values = _MOST_VALUES

  def join(prefix: str, key: Any) -> str:
    # A tuple of tuples may take forever to print.
    if not isinstance(key, (str, int)) or len(prefix) > _LONGEST_NAME:
      raise ValueError('a key that is no name')
    return f'{prefix}/{key}' if prefix else str(key)

  def walk(prefix: str, value: Any) -> Iterator[tuple[str, np.ndarray]]:
    nonlocal values
    values -= 1
    if values < 0:
      raise ValueError('too many values')
    if isinstance(value, Mapping):
      for key, item in value.items():
        yield from walk(join(prefix, key), item)
    elif isinstance(value, (list, tuple)):
      for i, item in enumerate(value):
        yield from walk(join(prefix, i), item)
    elif isinstance(value, _Record):
      if value.kind == 'array':
        array = _numpy_array(value, budget)
      elif value.kind == 'tensor':
        array = _tensor(value, storage, byte_order, budget)
      else:
        return
      if array is not None:
        yield prefix, array

  return dict(walk('', tree))


def _numpy_array(record: _Record, budget: Budget) -> np.ndarray | None:
  """Makes what `numpy.ndarray.__reduce__` describes; None if not real."""
  _, shape, dtype, by_columns, raw = record.state
  code, order = dtype.args[0], dtype.state[1]
  if code not in ('f2', 'f4', 'f8'):
    return None
  flat = np.frombuffer(raw, np.dtype(code).newbyteorder(order))
  budget.spend(flat.nbytes)
  return flat.reshape(shape, order='F' if by_columns else 'C')


def _tensor(
  record: _Record,
  storage: Callable[[str], bytes | memoryview] | None,
  byte_order: str,
  budget: Budget,
) -> np.ndarray | None:
  """Makes a tensor `(storage, offset, size, stride, ...)`; None if not real."""
  place, offset, size, stride = record.args[:4]
  _, kind, key, _, count, *view = place.args
  if kind not in _STORAGES:
    return None
  if storage is None:
    raise ValueError('there are no storages')
  raw = np.frombuffer(storage(str(key)), byte_order + _STORAGES[kind])
  if raw.size != count:
    raise ValueError('a storage of another size')
  begin, count = view[0][1:] if view and view[0] else (0, count)
  numbers = (begin, count, offset, *size, *stride)
  if not all(isinstance(n, int) and n >= 0 for n in numbers):
    raise ValueError('a tensor of no size')
  last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
  # More values than are stored would be one value, repeated.
  if begin + count > raw.size or last >= count or math.prod(size) > count:
    raise ValueError('a tensor beyond its storage')
  if not math.prod(size):
    return np.zeros(size, np.float32)
  steps = [s * raw.itemsize for s in stride]
  budget.spend(math.prod(size) * max(raw.itemsize, 4))
  values = np.lib.stride_tricks.as_strided(raw[begin + offset :], size, steps)
  if kind == 'torch.BFloat16Storage':
    return np.asarray(values.astype(np.uint32) << 16).view(np.float32)
  return values.copy()
