"""What every command needs: errors in one line, Ctrl-C."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import rich.console
from absl import flags

from zssr_jax.data import datasets
from zssr_jax.errors import InputError, is_out_of_memory, printable

REPORT = 'report.html'


# Held while results are moved into place: Ctrl-C waits for that, never longer.
WRITING = threading.Lock()


def explain(error: Exception, path: Path) -> str | None:
  """Returns the line for an error that is no fault of the program, or None."""
  if isinstance(error, InputError):
    return str(error)
  if isinstance(error, ValueError):  # of train_image, which knows no files
    return f'{path}: {error}'
  if isinstance(error, OSError):
    return f'{error.filename or path}: {error.strerror or error}'
  if is_out_of_memory(error):
    return f'{path}: not enough memory; try a smaller --config.tile'
  return None


def complain(message: object, kind: str = 'error') -> None:
  """Reports an error, or another kind of trouble, in one line on stderr."""
  words = printable(' '.join(str(message).split()))
  print(f'{kind}: {words}', file=sys.stderr)


def data_root() -> Path | None:
  """Returns the data root, if there is one.

  Raises:
    InputError: for a setting that names no folder.
  """
  try:
    return datasets.data_root()
  except OSError as error:
    raise InputError(str(error)) from None


def forbid_repeats(values: flags.FlagValues) -> None:
  """Makes a flag that comes twice an error, where the two do not add up."""
  for name in values:
    if not isinstance(values[name], flags.MultiFlag):
      values[name].allow_overwrite = False


@contextlib.contextmanager
def importing() -> Iterator[None]:
  """Imports what a run needs, in a tenth less time where JAX is new.

  Python looks for garbage again and again while modules are made, which leave
  none, and later among all that they hold; here it does not.
  """
  if 'jax' in sys.modules or not gc.isenabled():
    yield
    return
  gc.disable()
  try:
    yield
  finally:
    gc.freeze()
    gc.enable()


def run_command(
  argv: list[str],
  define: Callable[[flags.FlagValues], None],
  work: Callable[[], int],
  *,
  usage: str,
) -> int:
  """Answers `--help`, or returns what `work()` does.

  It is 2 for an InputError, or where the disk is full.

  Args:
    argv: program name and arguments.
    define: defines the flags.
    work: parses the arguments, runs, and returns the exit code.
    usage: text of `--help`.
  """
  if {'--help', '-help', '-h'} & set(argv[1:]):
    values = flags.FlagValues()
    define(values)
    print(f'{usage}{values.get_help()}', flush=True)
    return 0
  try:
    return work()
  except InputError as error:
    complain(error)
  except OSError as error:  # what is written at the end: a full disk
    complain(explain(error, Path(argv[0])))
  return 2


class _Stream(io.FileIO):
  """A stream for words, which may get lost: closed, full, or a broken pipe."""

  def write(self, data: Any) -> int:
    try:
      return super().write(data) or len(data)
    except OSError:
      return len(data)


def _keep_streams() -> None:
  """Lets no run end because stdout or stderr takes no words, or not these."""
  for number in range(3):
    try:
      os.fstat(number)
    except OSError:  # closed; or a result would be opened in its place
      os.open(os.devnull, os.O_RDWR)
  for number, name in ((1, 'stdout'), (2, 'stderr')):
    stream = getattr(sys, name)
    if stream is not None and stream.isatty():
      stream.reconfigure(errors='backslashreplace')
      continue
    wrapper = io.TextIOWrapper(
      io.BufferedWriter(_Stream(number, 'w', closefd=False)),
      encoding=stream.encoding if stream is not None else 'utf-8',
      errors='backslashreplace',
      line_buffering=name == 'stderr',
    )
    setattr(sys, name, wrapper)


def _release_hosts() -> None:
  """Withdraws what a cluster was asked for, if it answers at once."""
  from zssr_jax.parallel import cluster

  # Not here: the thread that was interrupted may hold what that waits for.
  thread = threading.Thread(target=cluster.release, daemon=True)
  thread.start()
  thread.join(timeout=2)


def run_interruptibly(work: Callable[[], int]) -> int:
  """Returns `work()`; Ctrl-C meanwhile ends the process at once, code 130.

  Python handles signals between bytecodes of the main thread, and compiled
  programs, or their compilation, can keep it busy for a minute. So the work
  is done by another thread. Nor does a run end for want of listeners.
  """
  _keep_streams()

  def leave(*_: object) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if 'ray' in sys.modules:
      _release_hosts()
    with WRITING:
      if sys.stderr.isatty():  # the bar hid the cursor
        rich.console.Console(stderr=True).show_cursor()
        print(file=sys.stderr)
      print('interrupted', file=sys.stderr, flush=True)
      os._exit(130)

  signal.signal(signal.SIGINT, leave)
  with ThreadPoolExecutor(1) as executor:
    return executor.submit(work).result()
