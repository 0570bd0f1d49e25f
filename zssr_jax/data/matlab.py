"""MATLAB files of every version, as nested dicts of arrays; host only."""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy  # loads its parts when they are first used

from zssr_jax.data import files
from zssr_jax.errors import InputError

_HDF5 = (b'MATLAB 7.3', b'\x89HDF')
# Types of elements of version 5, and classes of its matrices.
_TYPES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4'}
_TYPES |= {9: 'f8', 12: 'i8', 13: 'u8'}
_MATRIX, _PACKED = 14, 15
_CLASSES = {6: 'f8', 7: 'f4', 8: 'i1', 9: 'u1', 10: 'i2', 11: 'u2', 12: 'i4'}
_CLASSES |= {13: 'u4', 14: 'i8', 15: 'u8'}
_CELL, _STRUCT, _OBJECT, _SPARSE, _OPAQUE = 1, 2, 3, 5, 17
_COMPLEX = 0x800
_TEXT = np.array('text')  # in the place of what are no numbers
# Variables, fields and cells of a file of version 7.3, which may refer to each
# other without end.
_MOST_ITEMS = 2_000


def read_variables(path: Path, content: bytes) -> dict[str, Any]:
  """Returns the variables of a MATLAB file.

  Args:
    path: the file, for messages.
    content: what it holds.

  Returns:
    By name: matrices as arrays, cells as arrays of objects, structs as dicts.

  Raises:
    InputError: when the file is damaged.
  """
  try:
    read = _read_5
    if content.startswith(_HDF5):
      read = _read_hdf5
    elif 0 in content[:4]:
      read = _read_4
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # of names that come twice, and such
      return read(content)
  except Exception as error:  # as many types as there are kinds of damage
    raise InputError(
      f'{path}: not a whole MATLAB file ({files.one_line(error)}); save it anew'
    ) from None


def _read_4(content: bytes) -> dict[str, Any]:
  """Reads a MATLAB file of version 4, which holds matrices alone."""
  found = scipy.io.loadmat(io.BytesIO(content))
  for name, value in found.items():
    if scipy.sparse.issparse(value):
      size = math.prod(value.shape) * value.dtype.itemsize
      files.check_expansion([size], len(content))
      found[name] = value.toarray()
  return {n: v for n, v in found.items() if not n.startswith('__')}


def _read_5(content: bytes) -> dict[str, Any]:
  """Reads a MATLAB file of versions 5 to 7.

  SciPy's reader, which is compiled, crashes on some that are damaged.
  """
  order = {b'IM': '<', b'MI': '>'}[content[126:128]]
  room = files.Room(len(content))
  variables = {}
  for kind, data in _elements(memoryview(content)[128:], order):
    if kind == _PACKED:
      unpacked = zlib.decompressobj().decompress(data, room.left + 1)
      room.take(len(unpacked))
      [(kind, data)] = _elements(memoryview(unpacked), order)
    if kind != _MATRIX:
      raise ValueError(f'an element of type {kind} in the place of a matrix')
    name, value = _matrix(data, order, room)
    if name and not name.startswith('__'):
      variables[name] = value
  return variables


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
  """Yields the types and contents of the elements that follow each other."""
  at = 0
  while at < len(data):
    kind, size = struct.unpack_from(f'{order}II', data, at)
    start, most = at + 8, len(data)
    few = kind >> 16  # bytes that stand in the place of the size
    if few:
      kind, size, start, most = kind & 65535, few, at + 4, at + 8
    if start + size > most:
      raise ValueError('cut short')
    yield kind, data[start : start + size]
    padding = 0 if few or kind == _PACKED else -size % 8
    at = at + 8 if few else start + size + padding


def _numbers(element: tuple[int, memoryview], order: str) -> np.ndarray:
  kind, data = element
  if kind not in _TYPES:
    raise ValueError(f'no numbers are of type {kind}')
  return np.frombuffer(data, f'{order}{_TYPES[kind]}')


def _matrix(data: memoryview, order: str, room: files.Room) -> tuple[str, Any]:
  """Returns a variable's name and value; `room` is for sparse ones."""
  if not data:
    return '', np.zeros((0, 0))
  parts = _elements(data, order)
  flags = int(_numbers(next(parts), order)[0])
  kind = flags & 255
  if kind == _OPAQUE:
    return '', _TEXT
  shape = tuple(map(int, _numbers(next(parts), order)))
  count = math.prod(shape)
  name = bytes(next(parts)[1]).decode('latin1')
  if min(shape) < 0:
    raise ValueError('a side below zero')
  if kind in _CLASSES:
    value = _numbers(next(parts), order).astype(_CLASSES[kind])
    if flags & _COMPLEX:
      value = value + 1j * _numbers(next(parts), order)
    return name, value.reshape(shape, order='F')
  if kind == _SPARSE:
    room.take(count * 8)
    rows, ends = (_numbers(next(parts), order).astype(np.intp) for _ in 'rc')
    dense = np.zeros(shape)
    columns = np.repeat(np.arange(shape[1]), np.diff(ends))
    values = _numbers(next(parts), order)[: len(columns)]
    dense[rows[: len(columns)], columns] = values
    return name, dense
  if kind not in (_CELL, _STRUCT, _OBJECT):
    return name, _TEXT
  fields = ['']
  if kind != _CELL:
    if kind == _OBJECT:
      next(parts)  # the name of its class
    length = int(_numbers(next(parts), order)[0])
    text = bytes(next(parts)[1])
    fields = [
      text[i : i + length].split(b'\0')[0].decode('latin1')
      for i in range(0, len(text), length)
    ]
  items = [_matrix(part, order, room)[1] for _, part in parts]
  if len(items) != count * len(fields):
    raise ValueError(f'{len(items)} cells of {count * len(fields)}')
  cells = {
    field: _cell((count,), items[i :: len(fields)]).reshape(shape, order='F')
    for i, field in enumerate(fields)
  }
  return name, cells[''] if kind == _CELL else cells


def _read_hdf5(content: bytes) -> dict[str, Any]:
  """Reads a MATLAB file of version 7.3."""
  import h5py

  # MATLAB counts columns first, so its [h, w] is stored as [w, h].
  transposed = content.startswith(_HDF5[0])
  items, room = 0, files.Room(len(content))

  def convert(item: Any) -> Any:
    nonlocal items
    items += 1
    room.take(getattr(item, 'nbytes', 0))
    if items > _MOST_ITEMS:
      raise ValueError('too many values')
    if isinstance(item, h5py.Group):  # a struct
      return {name: convert(item[name]) for name in item}
    kind = item.attrs.get('MATLAB_class', b'')
    if item.shape is None or item.attrs.get('MATLAB_empty'):
      return np.zeros((0, 0))
    value = np.asarray(item[()])
    if kind == b'char':
      return _TEXT
    if h5py.check_ref_dtype(item.dtype) is not None:  # a cell
      value = _cell(value.shape, [convert(item.file[r]) for r in value.ravel()])
    return value.T if transposed or kind else value

  with h5py.File(io.BytesIO(content), 'r') as file:
    names = [name for name in file if not name.startswith('#')]
    return {name: convert(file[name]) for name in names}


def _cell(shape: tuple[int, ...], items: list[Any]) -> np.ndarray:
  cell = np.empty(len(items), object)
  for i, item in enumerate(items):
    cell[i] = item
  return cell.reshape(shape)


def flatten(variables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
  """Yields names, with dots where there are structs, and values."""
  for name, value in variables.items():
    value = unwrap(value)
    if isinstance(value, Mapping):
      for inner, content in flatten(value):
        yield f'{name}.{inner}', content
    else:
      yield name, value


def unwrap(value: Any) -> Any:
  """Returns what lies in a cell of one."""
  while (
    isinstance(value, np.ndarray) and value.dtype == object and value.size == 1
  ):
    value = value.item()
  return value
