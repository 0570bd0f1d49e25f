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
import scipy.io
import scipy.sparse

from zssr_jax.data import files
from zssr_jax.errors import InputError

_HDF5 = (b'MATLAB 7.3', b'\x89HDF')
_PACKED = 15  # the type of a compressed variable
_BLOCK = 2**20  # bytes that are inflated at once to be counted
# Variables, fields and cells of a file of version 7.3, which may refer to each
# other without end.
_MOST_ITEMS = 100_000


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
    read = _read_hdf5 if content.startswith(_HDF5) else _read_matlab
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # of names that come twice, and such
      return read(content)
  except Exception as error:  # as many types as there are kinds of damage
    raise InputError(
      f'{path}: not a whole MATLAB file ({files.one_line(error)}); save it anew'
    ) from None


def _read_matlab(content: bytes) -> dict[str, Any]:
  """Reads a MATLAB file of version 7 or older."""

  def convert(value: Any) -> Any:
    if scipy.sparse.issparse(value):
      size = math.prod(value.shape) * value.dtype.itemsize
      files.check_expansion([size], len(content))
      return value.toarray()
    if not isinstance(value, np.ndarray):
      return value
    if value.dtype.names:  # a struct, or an array of them: cells by field
      return {name: convert(value[name]) for name in value.dtype.names}
    if value.dtype == object:
      return _cell(value.shape, [convert(item) for item in value.ravel()])
    return value

  if content.startswith(b'MATLAB 5'):
    files.check_expansion(_inflated(content), len(content))
  variables = scipy.io.loadmat(io.BytesIO(content))
  return {
    name: convert(value)
    for name, value in variables.items()
    if not name.startswith('__')
  }


def _inflated(content: bytes) -> Iterator[int]:
  """Yields how many bytes each packed variable of a file of version 5 makes."""
  order = '<' if content[126:128] == b'IM' else '>'
  at = 128
  while at + 8 <= len(content):
    kind, size = struct.unpack_from(f'{order}II', content, at)
    if kind == _PACKED:
      inflater = zlib.decompressobj()
      rest = content[at + 8 : at + 8 + size]
      while rest and not inflater.eof:
        yield len(inflater.decompress(rest, _BLOCK))
        rest = inflater.unconsumed_tail
    at += 8 + size


def _read_hdf5(content: bytes) -> dict[str, Any]:
  """Reads a MATLAB file of version 7.3."""
  import h5py

  # MATLAB counts columns first, so its [h, w] is stored as [w, h].
  transposed = content.startswith(_HDF5[0])
  items, size = 0, 0

  def convert(item: Any) -> Any:
    nonlocal items, size
    items, size = items + 1, size + getattr(item, 'nbytes', 0)
    files.check_expansion([size], len(content))
    if items > _MOST_ITEMS:
      raise ValueError('too many values')
    if isinstance(item, h5py.Group):  # a struct
      return {name: convert(item[name]) for name in item}
    kind = item.attrs.get('MATLAB_class', b'')
    if item.shape is None or item.attrs.get('MATLAB_empty'):
      return np.zeros((0, 0))
    value = np.asarray(item[()])
    if kind == b'char':
      return np.array('text')
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
