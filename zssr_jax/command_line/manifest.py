"""What became of the inputs of a run: manifest.jsonl, a line of JSON each."""

from __future__ import annotations

import datetime
import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from zssr_jax.command_line import app
from zssr_jax.command_line.arguments import Shard

NAME = 'manifest.jsonl'
_PART = 'manifest-{}.jsonl'


class Manifest:
  """The lines of a run, appended to those of earlier ones as they come.

  A line that an interrupted run left unfinished is removed. Where lines cannot
  be written that is said once, and the run goes on.
  """

  def __init__(self, folder: Path | None, shard: Shard | None = None):
    """Takes the place of the file.

    Args:
      folder: of the results; None: nothing is written.
      shard: a part of a run has a file of its own, whose name tells which.
    """
    name = NAME if shard is None else _PART.format(shard)
    self._path = None if folder is None else folder / name
    now = datetime.datetime.now(datetime.UTC)
    self._run = now.isoformat(timespec='seconds')
    self._lock = threading.Lock()

  def add(
    self,
    path: Path,
    status: str,
    *,
    page: int | None = None,
    outputs: Iterable[Path] = (),
    reason: str | None = None,
    seconds: float | None = None,
  ) -> None:
    """Adds a line.

    Args:
      path: of the input.
      status: done, skipped or failed.
      page: of the input, from 1.
      outputs: the files that were made.
      reason: why it failed or was skipped.
      seconds: that it took.
    """
    entry = {
      'run': self._run,
      'input': str(path),
      'page': page,
      'status': status,
      'outputs': [str(p) for p in outputs],
      'reason': reason,
      'seconds': seconds,
    }
    with self._lock:
      if self._path is None:
        return
      try:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open('ab+') as file:
          _end_line(file.fileno())
          file.write(json.dumps(entry).encode() + b'\n')
      except OSError as error:
        app.complain(f'{self._path}: {error.strerror or error}', 'warning')
        self._path = None


def _end_line(file: int) -> None:
  """Cuts an open file after its last whole line."""
  size = os.fstat(file).st_size
  end = size
  while end:
    start = max(0, end - 4096)
    found = os.pread(file, end - start, start).rfind(b'\n')
    if found >= 0:
      end = start + found + 1
      break
    end = start
  if end < size:
    os.truncate(file, end)
