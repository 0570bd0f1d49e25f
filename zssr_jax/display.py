"""Progress of the images that train, and of all there are.

It is shown on stderr, or of one image in a notebook.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import rich.console
import rich.progress

from zssr_jax.errors import printable
from zssr_jax.training.loop import Progress

_NAME = 16  # characters of a bar's name
_BEFORE = ('read', 'estimate', 'prepare')
PHASES = {  # in words, what is not training
  'read': 'reading',
  'estimate': 'looking for blur, noise, compression',
  'prepare': 'preparing',
  'infer': 'enlarging',
  'write': 'writing',
}


def _shorten(name: str, length: int) -> str:
  return name if len(name) <= length else name[: length - 1] + '…'


def minutes(seconds: float) -> str:
  """A time as 'MINUTES:SECONDS'."""
  whole = round(seconds)
  return f'{whole // 60}:{whole % 60:02}'


class _Clock:
  """Tells the time left from the share that is done."""

  def __init__(self, share: float | None = None):
    """Starts to measure now, or at the first share that is seen."""
    self._first = None if share is None else (time.perf_counter(), share)

  def left(self, share: float) -> list[str]:
    """The words for it; none as long as it cannot be told."""
    now = time.perf_counter()
    if self._first is None:  # until now it compiled, which tells no speed
      self._first = now, share
    start, start_share = self._first
    if share <= start_share:
      return []
    seconds = (now - start) * (1 - share) / (share - start_share)
    return [f'{minutes(seconds)} left']


class _Image:
  """What is known of an image that trains."""

  def __init__(self, name: str):
    self.name = printable(name)
    self.clock = _Clock()
    self.tenths = 0
    self.line: rich.progress.TaskID | None = None

  def words(self, p: Progress) -> tuple[float, str, list[str]]:
    """Returns the share that is done, the stage, and words for the rest."""
    share, left = p.share, []
    if math.isfinite(p.seconds_left):
      left = [f'{minutes(p.seconds_left)} left']
    elif p.phase == 'train':  # which is all that is known
      share = min((p.stage + p.step / max(p.max_steps, 1)) / p.stages, 1.0)
      left = self.clock.left(share)
    stage = f' stage {p.stage + 1}/{p.stages}' if p.stages > 1 else ''
    words = [PHASES.get(p.phase, p.phase)]
    if p.phase == 'train':
      words = [
        f'step {p.step}/{p.max_steps}',
        f'loss {p.loss:.4f}',
        f'error {p.error:.1e}',
        f'lr {p.learning_rate:.0e}',
      ]
    return share, stage, words + left


class Display:
  """Images that train, each a bar on a terminal, and the count of all.

  Where there is no terminal, lines take their place that stay: one every
  tenth of an image, or one for each image that is done. All methods may be
  called from any thread.
  """

  def __init__(
    self,
    total: int = 1,
    done: int = 0,
    *,
    counts: bool = False,
    tenths: bool = True,
  ):
    """Takes the bars' place on the terminal only when entered.

    Args:
      total: how many images there are.
      done: how many were done before.
      counts: shows how many are done, on a terminal.
      tenths: prints how far an image is, without a terminal.
    """
    self._total, self._done = total, done
    self._counts, self._tenths = counts, tenths
    self._clock = _Clock(done / max(total, 1))
    self._images: dict[Hashable, _Image] = {}
    self._lock = threading.RLock()
    self._bars: rich.progress.Progress | None = None
    console = rich.console.Console(stderr=True)
    if sys.stderr.isatty() and console.is_interactive:
      column = rich.progress.TextColumn
      self._bars = rich.progress.Progress(
        column('{task.description}', markup=False),
        rich.progress.BarColumn(bar_width=None),
        column('{task.fields[state]}', markup=False),
        console=console,
        transient=True,
      )
      if counts:
        self._count = self._bars.add_task(
          f'{done}/{total}', total=total, completed=done, state=''
        )

  def __enter__(self) -> Display:
    if self._bars:
      self._bars.start()
    return self

  def __exit__(self, *_: object) -> None:
    if self._bars:
      with self._lock:
        for key in list(self._images):
          self.end(key)
        self._bars.live.transient = not self._counts  # the count may stay
        self._bars.stop()

  @contextlib.contextmanager
  def aside(self) -> Iterator[None]:
    """Takes the bars away while other lines are printed."""
    with self._lock:
      if self._bars:
        self._bars.stop()
      try:
        yield
      finally:
        if self._bars:
          self._bars.start()

  def begin(self, key: Hashable, name: str) -> None:
    """Shows an image, unless it is shown already.

    Args:
      key: for the calls to come.
      name: what it is called.
    """
    with self._lock:
      if key in self._images:
        return
      image = self._images[key] = _Image(name)
      if self._bars:
        image.line = self._bars.add_task(
          _shorten(image.name, _NAME), total=1.0, state='starting'
        )

  def show(self, key: Hashable, p: Progress) -> None:
    """Shows how far an image is that has begun."""
    with self._lock:
      if key not in self._images:  # over already
        return
      image = self._images[key]
      share, stage, words = image.words(p)
      if self._bars and image.line is not None:
        self._bars.update(
          image.line,
          completed=share,
          description=_shorten(image.name, _NAME - len(stage)) + stage,
          state=' '.join(words),
        )
      elif p.phase in _BEFORE:
        pass  # an error may come yet, which is to be the only line
      elif self._tenths and int(share * 10 + 1e-9) > image.tenths:
        image.tenths = int(share * 10 + 1e-9)
        head = f'{image.name}  {image.tenths * 10}% {stage}'.rstrip()
        print('  '.join([head, *words]), file=sys.stderr, flush=True)

  def end(self, key: Hashable) -> None:
    """Takes an image's bar away, if it has one."""
    with self._lock:
      image = self._images.pop(key, None)
      if self._bars and image and image.line is not None:
        self._bars.remove_task(image.line)

  def count(self, state: str = '', line: str | None = None) -> None:
    """Counts one more image as done.

    Args:
      state: words beside the count, on a terminal or not.
      line: what is said of the image without a terminal; None: nothing.
    """
    with self._lock:
      self._done += 1
      head = f'{self._done}/{self._total}'
      left = self._clock.left(self._done / max(self._total, 1))
      if self._bars:
        if self._counts:
          words = ' '.join([state, *left]).strip()
          self._bars.update(
            self._count, description=head, completed=self._done, state=words
          )
      elif line is not None:
        words = '  '.join([head, line, state, *left])
        print(words, file=sys.stderr, flush=True)


class _Line:
  """A line of a notebook that is written anew, as long as an image trains."""

  _WIDTH = 20  # characters of the bar

  def __init__(self, name: str, notebook: Any):
    self._image = _Image(name)
    self._handle = notebook.display(self._bundle(''), raw=True, display_id=True)

  def show(self, p: Progress) -> None:
    """Shows how far the image is."""
    share, stage, words = self._image.words(p)
    done = round(self._WIDTH * share) if math.isfinite(share) else 0
    bar = '━' * done + '─' * (self._WIDTH - done)
    name = self._image.name
    self._update('  '.join([f'{name}{stage}', bar, *words]))

  def end(self) -> None:
    """Leaves an empty line."""
    self._update('')

  def _update(self, line: str) -> None:
    if self._handle is not None:
      self._handle.update(self._bundle(line), raw=True)

  def _bundle(self, line: str) -> dict[str, str]:
    return {'text/plain': line}


def _notebook() -> Any:
  """Returns IPython's display, where this runs in a kernel of it; else None."""
  find = getattr(sys.modules.get('IPython'), 'get_ipython', None)
  shell = find() if find else None
  if getattr(shell, 'kernel', None) is None:
    return None
  return importlib.import_module('IPython.display')


@contextlib.contextmanager
def shown(
  progress: Callable[[Progress], None] | bool | None, name: str
) -> Iterator[Callable[[Progress], None] | None]:
  """Gives what is to be called with the progress of one image.

  Args:
    progress: a function of the caller's own; False: nothing is shown; None: a
      bar on stderr where that is a terminal, a line in a notebook; True: lines
      on stderr where it is neither.
    name: what the image is called.

  Yields:
    The function, or None.
  """
  if callable(progress):
    yield progress
  elif progress is not False and (notebook := _notebook()) is not None:
    line = _Line(name, notebook)
    try:
      yield line.show
    finally:
      line.end()
  elif progress or (
    progress is None and sys.stderr is not None and sys.stderr.isatty()
  ):
    with Display() as bars:
      bars.begin(name, name)
      yield functools.partial(bars.show, name)
  else:
    yield None
