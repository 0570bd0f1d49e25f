"""Weights as others publish them: arrays by name from files of five kinds.

The kind is told by content, not by suffix: torch's files of every version,
`.npz`, HDF5 of Keras, MATLAB of every version, and pickles of numpy arrays.
Nothing in a file is run, and none takes memory out of proportion to its size.
What is wrong raises `InputError`, one line that names the file.
"""

from __future__ import annotations

import functools
import io
import os
import zipfile
from pathlib import Path

import numpy as np

from zssr_jax.data import files, matlab
from zssr_jax.errors import InputError
from zssr_jax.weights import unpickle

_ZIP = b'PK\x03\x04'
_HDF5 = b'\x89HDF'
_PICKLE = b'\x80'
# The number that torch before 1.6 puts in front, pickled.
_OLD_TORCH = b'\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.'


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """Reads every array of real numbers in a file of weights.

  Args:
    path: `.pth` or `.pt` of torch, `.npz`, Keras `.h5`, `.mat`, or a pickle of
      numpy arrays.

  Returns:
    Arrays by name, of float16, 32 or 64 in any layout. Where names are nested
    they are joined by '/'; fields of MATLAB's structs by '.'.

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
  except unpickle.RefusedError as error:
    raise InputError(
      f'{path}: refused, for it {files.one_line(error)}; save plain weights'
      ' instead, such as a state dict'
    ) from None
  except Exception as error:  # as many types as there are kinds of damage
    raise InputError(
      f'{path}: not a whole file of weights ({files.one_line(error)}); get'
      ' a whole copy'
    ) from None
  arrays = {n: a for n, a in arrays.items() if a.dtype.kind == 'f'}
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
    return _read_zip(content)
  if content.startswith((b'MATLAB', b'matlab')) or path.suffix == '.mat':
    variables = matlab.flatten(matlab.read_variables(path, content))
    return {n: v for n, v in variables if isinstance(v, np.ndarray)}
  if content.startswith(_HDF5):
    return _read_hdf5(content)
  if content[2:].startswith(_OLD_TORCH):
    return unpickle.read_old_torch(content)
  if content.startswith(_PICKLE):
    return unpickle.read_arrays(content)
  raise InputError(
    f'{path}: not a file of weights; it must be .pth, .npz, .h5, .mat or a'
    ' pickle of numpy arrays'
  )


def _read_zip(content: bytes) -> dict[str, np.ndarray]:
  """Reads a file of `torch.save`, or of `numpy.savez`."""
  budget = unpickle.Budget(len(content))
  with zipfile.ZipFile(io.BytesIO(content)) as archive:
    for entry in archive.infolist():
      budget.spend(entry.file_size)
      # The others, which nobody uses, are inflated before they are measured.
      if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError('compressed in an unusual way')
    names = archive.namelist()
    pickles = [name for name in names if name.split('/')[1:] == ['data.pkl']]
    if pickles:
      folder = pickles[0].removesuffix('data.pkl')
      order = b'little'
      if f'{folder}byteorder' in names:
        order = archive.read(f'{folder}byteorder').strip()
      return unpickle.read_arrays(
        archive.read(pickles[0]),
        # Many tensors can share one.
        functools.cache(lambda key: archive.read(f'{folder}data/{key}')),
        byte_order={b'little': '<', b'big': '>'}[order],
        budget=unpickle.Budget(len(content)),
      )
  with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
    return {name: arrays[name] for name in arrays.files}


def _read_hdf5(content: bytes) -> dict[str, np.ndarray]:
  """Reads the datasets of a Keras file by their paths."""
  import h5py

  arrays = {}
  budget = unpickle.Budget(len(content))

  def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
    if isinstance(item, h5py.Dataset) and item.dtype.kind == 'f':
      budget.spend(item.nbytes)
      arrays[name] = np.asarray(item[()])

  with h5py.File(io.BytesIO(content), 'r') as file:
    file.visititems(visit)
  return arrays
