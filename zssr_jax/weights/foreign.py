"""Weights as others publish them: arrays by name from files of five kinds.

The kind is told by content, not by suffix: `.safetensors`, `.npz`, HDF5 of
Keras, MATLAB of every version, and torch's files of every version. The last
are torch's to read, which must be installed then; it is asked for plain
weights alone, so that nothing in a file is run. Where a library does not see
to it, no file takes memory out of proportion to its size. What is wrong raises
`InputError`, one line that names the file.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from zssr_jax.data import files, matlab, numpy_files
from zssr_jax.errors import InputError
from zssr_jax.weights import parameters

_ZIP = b'PK\x03\x04'
_HDF5 = b'\x89HDF'
_PICKLE = b'\x80'
# The number that torch before 1.6 puts in front, pickled.
_OLD_TORCH = b'\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.'
# Values of a torch file that are looked at: lists within lists may be endless.
_MOST_VALUES = 100_000


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """Reads every array of real numbers in a file of weights.

  Args:
    path: `.safetensors`, `.npz`, Keras `.h5`, `.mat`, or `.pth` or `.pt` of
      torch, for which torch must be installed.

  Returns:
    Arrays by name, of real numbers in any layout. Where names are nested they
    are joined by '/'; fields of MATLAB's structs by '.'.

  Raises:
    InputError: when the file is missing, damaged, of another kind, asks for
      code to be run, or holds no real array or one that is not finite.
  """
  path = Path(path)
  content = files.read_bytes(path)
  try:
    arrays = _read(path, content)
  except InputError:
    raise
  except Exception as error:  # as many types as there are kinds of damage
    raise InputError(
      f'{path}: not a whole file of weights ({files.one_line(error)}); get'
      ' a whole copy'
    ) from None
  arrays = {n: a for n, a in arrays.items() if parameters.is_real(a)}
  if not arrays:
    raise InputError(f'{path}: holds no array of real numbers')
  for name, array in arrays.items():
    if not np.isfinite(array).all():
      raise InputError(
        f'{path}: {name} holds NaN or infinite values; get a whole copy'
      )
  return arrays


def _read(path: Path, content: bytes) -> dict[str, np.ndarray]:
  if content.startswith(_ZIP):
    return _read_zip(path, content)
  if content.startswith((b'MATLAB', b'matlab')) or path.suffix == '.mat':
    variables = matlab.flatten(matlab.read_variables(path, content))
    return {n: v for n, v in variables if isinstance(v, np.ndarray)}
  if content.startswith(_HDF5):
    return _read_hdf5(content)
  if content[2:].startswith(_OLD_TORCH):
    return _read_torch(path, len(content))
  if content.startswith(_PICKLE):
    raise InputError(
      f'{path}: refused, for it is a pickle, which could run code; save its'
      ' arrays as .npz or .safetensors'
    )
  if content[8:9] == b'{':
    with safetensors.safe_open(path, framework='numpy') as file:
      if parameters.MARK in (file.metadata() or {}):
        raise InputError(f'{path}: is a file of zssr_jax already; use it as is')
      return {name: file.get_tensor(name) for name in file.keys()}
  raise InputError(
    f'{path}: not a file of weights; it must be .safetensors, .npz, .h5, .mat'
    ' or .pth'
  )


def _read_zip(path: Path, content: bytes) -> dict[str, np.ndarray]:
  """Reads a file of `torch.save`, or of `numpy.savez`."""
  with zipfile.ZipFile(io.BytesIO(content)) as archive:
    numpy_files.check_zip(archive, len(content))
    names = archive.namelist()
  if any(name.split('/')[1:] == ['data.pkl'] for name in names):
    return _read_torch(path, len(content))
  return numpy_files.read_npz(content)


def _read_hdf5(content: bytes) -> dict[str, np.ndarray]:
  """Reads the datasets of a Keras file by their paths."""
  import h5py

  found: dict[str, h5py.Dataset] = {}

  def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
    if isinstance(item, h5py.Dataset) and item.dtype.kind == 'f':
      found[name] = item

  with h5py.File(io.BytesIO(content), 'r') as file:
    file.visititems(visit)
    files.check_expansion(
      (item.nbytes for item in found.values()), len(content)
    )
    return {name: np.asarray(item[()]) for name, item in found.items()}


def _read_torch(path: Path, stored: int) -> dict[str, np.ndarray]:
  """Reads the tensors of a state dict, or of dicts and lists of such."""
  try:
    import torch
  except ImportError:
    raise InputError(
      f'{path}: a file of PyTorch, which is needed to read it; pip install'
      " 'zssr_jax[convert]'"
    ) from None
  try:
    tree = torch.load(path, map_location='cpu', weights_only=True)
  except pickle.UnpicklingError as error:  # several lines of advice
    asked = re.search(r'GLOBAL (\S{1,120})', str(error))
    raise InputError(
      f'{path}: refused, for it asks for'
      f' {asked[1] if asked else "more than arrays"}; save plain weights'
      ' instead, such as a state dict'
    ) from None
  tensors = {
    name: value.detach()
    for name, value in _walk(tree)
    if isinstance(value, torch.Tensor) and value.is_floating_point()
  }
  # Many can share what is stored.
  files.check_expansion(
    (t.numel() * t.element_size() for t in tensors.values()), stored
  )
  known = (torch.float16, torch.float32, torch.float64)  # to NumPy
  return {
    name: (t if t.dtype in known else t.float()).numpy()
    for name, t in tensors.items()
  }


def _walk(tree: Any) -> Iterator[tuple[str, Any]]:
  """Yields the values in dicts and lists by their '/'-joined keys."""
  todo: list[tuple[str, Any]] = [('', tree)]
  for _ in range(_MOST_VALUES):
    if not todo:
      return
    prefix, value = todo.pop()
    if isinstance(value, Mapping):
      items: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, (list, tuple)):
      items = enumerate(value)
    else:
      yield prefix, value
      continue
    for key, item in items:
      # A tuple of tuples may take forever to print.
      if not isinstance(key, (str, int)):
        raise ValueError('a key that is no name')
      todo.append((f'{prefix}/{key}' if prefix else str(key), item))
  raise ValueError('too many values')
