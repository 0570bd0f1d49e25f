"""Files read and written whole; host only."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

from zssr_jax.errors import InputError, printable

# Longest part of a message that is another library's.
_LONGEST = 200

Content = bytes | str | Callable[[BinaryIO], object]


def one_line(error: BaseException) -> str:
  """Returns what an error of another library says, for a message."""
  words = printable(' '.join(str(error).split()))
  if len(words) > _LONGEST:  # some print what they found
    words = f'{words[:_LONGEST]}...'
  return words or type(error).__name__


class Room:
  """How much may be made of a file: in proportion to its size."""

  def __init__(self, stored: int):
    """Takes the bytes of the file."""
    self.left = 4 * stored + 2**24  # bytes

  def take(self, size: int) -> None:
    """Takes so many bytes of it.

    Raises:
      ValueError: when there are no more.
    """
    self.left -= size
    if self.left < 0:
      raise ValueError('holds far more than a file of its size can')


def check_expansion(sizes: Iterable[int], stored: int) -> None:
  """Refuses a small file that asks for much memory.

  Args:
    sizes: bytes of all that is to be made of it.
    stored: bytes of the file.

  Raises:
    ValueError: when they are out of proportion.
  """
  room = Room(stored)
  for size in sizes:  # which may be counted as they come
    room.take(size)


def read_bytes(path: Path) -> bytes:
  """Returns the content of a file.

  Raises:
    InputError: when it is missing, empty, no file or cannot be read.
  """
  try:
    if path.exists() and not path.is_file():
      raise InputError(f'{path}: a folder or a device, not a file')
    content = path.read_bytes()
  except FileNotFoundError:
    raise InputError(f'{path}: no such file') from None
  except OSError as error:
    raise InputError(f'{path}: cannot be read: {error.strerror}') from None
  except InputError:
    raise
  except ValueError:  # a zero byte
    raise InputError(f'{path}: not the name of a file') from None
  if not content:
    raise InputError(f'{path}: the file is empty')
  return content


def write_files(files: Mapping[str | os.PathLike[str], Content]) -> None:
  """Writes all files or none: each appears whole, under its final name.

  The contents go to temporary files in the same folders, which are renamed
  once all are written; a failure removes them.

  Args:
    files: content by path; text is written as UTF-8, and a function writes
      to the open file that it is passed.

  Raises:
    OSError: naming the file that cannot be written.
  """
  moves = []
  try:
    for path, content in files.items():
      temporary = Path(path).with_name(f'.{secrets.token_hex(6)}.tmp')
      moves.append((temporary, path))
      with temporary.open('w+b') as file:
        if callable(content):
          content(file)
        else:
          file.write(content.encode() if isinstance(content, str) else content)
    for temporary, path in moves:
      os.replace(temporary, path)
  except OSError as error:  # which names the temporary file, or none
    words = error.strerror or str(error)
    raise OSError(error.errno, words, os.fspath(path)) from None
  finally:
    for temporary, _ in moves:
      with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)


def free_disk(folder: Path) -> int:
  """Returns the bytes free where a folder is or is to be made."""
  there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
  return shutil.disk_usage(there).free
