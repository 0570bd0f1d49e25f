"""NumPy files of plain arrays, read without unpickling; host only."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from collections.abc import Collection
from typing import Any

import numpy as np

from zssr_jax.data import files

_USUAL = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_npy(content: bytes) -> np.ndarray:
  """Returns the array of a `.npy` file.

  Raises:
    ValueError: for objects, or a file that does not hold all that it says.
    Exception: whatever NumPy raises on damage.
  """
  stream = io.BytesIO(content)
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # a head of Python 2 is no news
    if np.lib.format.read_magic(stream) == (1, 0):
      head = np.lib.format.read_array_header_1_0(stream)
    else:
      head = np.lib.format.read_array_header_2_0(stream)
  shape, _, kind = head
  if kind.hasobject:
    raise ValueError('holds objects, which could run code')
  # NumPy would make room for all that the head says before it reads.
  if math.prod(shape) * max(kind.itemsize, 1) > len(content):
    raise ValueError('cut short')
  data = np.frombuffer(content, kind, math.prod(shape), stream.tell())
  return data.reshape(shape, order='F' if head[1] else 'C').copy()


def read_npz(
  content: bytes, names: Collection[str] | None = None
) -> dict[str, np.ndarray]:
  """Returns the arrays of a `.npz` file by their names.

  What else is in it is left out.

  Args:
    content: the file.
    names: the arrays to read, where the file has them; all by default.

  Raises:
    ValueError: for objects, or a file that asks for much more than its size.
    Exception: whatever NumPy and Python raise on damage.
  """
  with zipfile.ZipFile(io.BytesIO(content)) as archive:
    check_zip(archive, len(content))
    found: dict[str, Any] = {}
    for entry in archive.infolist():
      name = entry.filename.removesuffix('.npy')
      if name == entry.filename or not (names is None or name in names):
        continue
      found[name] = read_npy(archive.read(entry))
  return found


def check_zip(archive: zipfile.ZipFile, stored: int) -> None:
  """Refuses a zip file that would fill the memory.

  Args:
    archive: the file, of which no more is read than the contents' list.
    stored: its size.

  Raises:
    ValueError: when it would, or cannot be told.
  """
  entries = archive.infolist()
  files.check_expansion((e.file_size for e in entries), stored)
  # The others, which nobody uses, are inflated before they are measured.
  if any(e.compress_type not in _USUAL for e in entries):
    raise ValueError('compressed in an unusual way')
