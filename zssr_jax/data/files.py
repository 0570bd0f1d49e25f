"""Files read and written whole; host only."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from zssr_jax.errors import InputError

Content = bytes | str | Callable[[BinaryIO], object]


def one_line(error: BaseException) -> str:
  """Returns what an error of another library says, for a message."""
  return ' '.join(str(error).split()) or type(error).__name__


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
    OSError: when a file cannot be written.
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
  finally:
    for temporary, _ in moves:
      temporary.unlink(missing_ok=True)
