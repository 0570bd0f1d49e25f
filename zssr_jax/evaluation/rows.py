"""The rows of an evaluation: one JSON line an image, kept through any crash.

A row is written whole, in one call and to the disk, before the next image
counts as begun. What a killed writer may leave, part of a line, is cut off
when the file is opened again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock

Row = dict[str, Any]

NAME = 'rows.jsonl'
PART = 'shard-{}'  # the folder, in that of the whole, of a part's rows
FAILURES = 'failures.jsonl'  # beside it: what gave no row, and why
LOCK = '.rows.lock'  # beside it; empty, and may stay
_FACTS = (
  'method',
  'config',
  'dataset',
  'image',
  'scale',
  'degradation',
  'pixels',
  'code',
)
# Digests of the parameters used, and of what was known of noise and JPEG.
_GIVEN = ('start', 'vgg', 'weights', 'known')


def key_of(facts: Mapping[str, Any]) -> str:
  """Returns a row's key: 16 hex digits of a hash of all that determines it.

  Args:
    facts: plain JSON values; their order does not matter.
  """
  text = json.dumps(facts, sort_keys=True, allow_nan=False)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def facts_of(row: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what of a row determines its numbers, and so makes its key.

  Args:
    row: a row, or the part of one that is known before it is made; its
      `config` holds the fields by name, or is None for a method that does not
      train, to which the seed does not matter.

  Returns:
    What `key_of` takes.
  """
  facts = {name: row[name] for name in _FACTS}
  facts['seed'] = None if row['config'] is None else row['seed']
  # Not where there is none: rows from before there were any keep their keys.
  return facts | {name: row[name] for name in _GIVEN if row.get(name)}


def read_rows(path: Path) -> list[Row]:
  """Reads a file of rows, leaving out a last line that was cut short.

  Raises:
    ValueError: for a line that is no JSON object, naming file and line.
  """
  rows = []
  text = path.read_bytes().decode()
  for number, line in enumerate(text.split('\n')[:-1], 1):
    try:
      row = json.loads(line)
      if not isinstance(row, dict):
        raise ValueError
    except ValueError:
      raise ValueError(f'{path}: line {number} is no row') from None
    rows.append(row)
  return rows


class Store:
  """The rows of one folder. Several processes may append to it."""

  def __init__(self, folder: Path):
    """Opens the folder's rows, making both where they are missing.

    Raises:
      OSError: where the folder cannot be written.
      ValueError: for a damaged file of rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    self.folder = folder
    self.path = folder / NAME
    self._lock = filelock.FileLock(folder / LOCK)
    with self._lock, self.path.open('ab+') as file:
      file.seek(0)
      text = file.read()
      file.truncate(text.rfind(b'\n') + 1)
    self.rows: dict[str, Row] = {
      row['key']: row for row in read_rows(self.path) if 'key' in row
    }

  def append(self, row: Row) -> None:
    """Adds a row, which has a `key`; on the disk when this returns."""
    self._add(self.path, row)
    self.rows[row['key']] = row

  def fail(self, facts: Mapping[str, Any], reason: str) -> None:
    """Notes, in a file beside the rows, that one could not be made, and why."""
    self._add(self.folder / FAILURES, {**facts, 'reason': reason})

  def _add(self, path: Path, content: Mapping[str, Any]) -> None:
    line = json.dumps(content, allow_nan=False) + '\n'
    with self._lock, path.open('ab') as file:
      end = file.tell()
      try:
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())
      except OSError as error:  # half a line would spoil the next one
        os.truncate(path, end)
        raise OSError(error.errno, error.strerror, str(path)) from None
