"""Training progress on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

import rich.console
import rich.progress

from zssr_jax import Progress


def _shorten(name: str, length: int) -> str:
  return name if len(name) <= length else name[: length - 1] + '…'


class Display:
  """A progress callback: a bar on a terminal, else a line every 10%."""

  def __init__(self, name: str):
    self._name = name
    self._tenths = 0
    self._first: tuple[float, float] | None = None  # time, share done
    self._bar: rich.progress.Progress | None = None
    console = rich.console.Console(stderr=True)
    if sys.stderr.isatty() and console.is_interactive:
      column = rich.progress.TextColumn
      self._bar = rich.progress.Progress(
        column('{task.description}', markup=False),
        rich.progress.BarColumn(bar_width=None),
        column('{task.fields[state]}', markup=False),
        console=console,
        transient=True,
      )
      self._task = self._bar.add_task(
        _shorten(name, 16), total=1.0, state='starting'
      )

  def __enter__(self) -> Display:
    if self._bar:
      self._bar.start()
    return self

  def __exit__(self, *_: object) -> None:
    if self._bar:
      self._bar.stop()

  @contextlib.contextmanager
  def aside(self) -> Iterator[None]:
    """Takes the bar away while other lines are printed."""
    self.__exit__()
    try:
      yield
    finally:
      self.__enter__()

  def __call__(self, p: Progress) -> None:
    """Shows a report of the training; called a few times a second."""
    share = min((p.stage + p.step / max(p.max_steps, 1)) / p.stages, 1.0)
    stage = f' stage {p.stage + 1}/{p.stages}' if p.stages > 1 else ''
    words = [
      f'step {p.step}/{p.max_steps}',
      f'loss {p.loss:.4f}',
      f'error {p.error:.1e}',
      f'lr {p.learning_rate:.0e}',
      *self._time_left(share),
    ]
    if self._bar:
      self._bar.update(
        self._task,
        completed=share,
        description=_shorten(self._name, 16 - len(stage)) + stage,
        state=' '.join(words),
      )
    elif int(share * 10 + 1e-9) > self._tenths:
      self._tenths = int(share * 10 + 1e-9)
      head = f'{self._name}  {self._tenths * 10}% {stage}'.rstrip()
      print('  '.join([head, *words]), file=sys.stderr, flush=True)

  def _time_left(self, share: float) -> list[str]:
    now = time.perf_counter()
    if self._first is None:  # until now it compiled, which tells no speed
      self._first = now, share
    start, start_share = self._first
    if share <= start_share:
      return []
    left = round((now - start) * (1 - share) / (share - start_share))
    return [f'{left // 60}:{left % 60:02} left']
