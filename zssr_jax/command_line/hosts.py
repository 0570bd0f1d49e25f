"""The jobs of `zssr` on the hosts of a cluster.

A host's worker reads the files and makes the result's files, the driver writes
them (or the worker, with --write=workers), says what became of them, and keeps
the manifest. Hosts see the inputs under the same paths as the driver.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from zssr_jax import forecast
from zssr_jax.command_line import app, arguments, upscale
from zssr_jax.command_line.arguments import Options
from zssr_jax.command_line.jobs import Job
from zssr_jax.command_line.manifest import Manifest
from zssr_jax.data import files
from zssr_jax.display import Display
from zssr_jax.parallel import cluster
from zssr_jax.training.loop import Progress


class Settings(NamedTuple):
  """What a worker opens its bench with."""

  folder: str  # in which the driver was started
  options: Options
  mark: Path | None  # see `marked`


def go_to(folder: str) -> None:
  """Makes the driver's folder this worker's.

  Raises:
    InputError: where this host does not have it.
  """
  try:
    os.chdir(folder)
  except OSError as error:
    raise cluster.NotHereError(
      f'{folder}: {error.strerror}; share this folder with all hosts, under the'
      ' same path'
    ) from None


@contextlib.contextmanager
def marked(folder: Path, write: str) -> Iterator[Path | None]:
  """Puts a file where workers are to write, for them to find; see `check`."""
  if write != arguments.WORKERS:
    yield None
    return
  folder.mkdir(parents=True, exist_ok=True)
  with tempfile.NamedTemporaryFile(dir=folder, prefix='.zssr-') as file:
    yield Path(file.name).absolute()


def check(mark: Path | None) -> None:
  """Raises `NotHereError` where this host writes to a disk of its own."""
  if mark is not None and not mark.exists():
    raise cluster.NotHereError(
      f'{mark.parent}: is another folder here than at the driver; share it with'
      f' all hosts, or leave --write={arguments.WORKERS} out'
    )


def open_bench(
  settings: Settings, local: Sequence[jax.Device]
) -> cluster.Bench:
  """Loads what all jobs share, on a worker's host.

  Raises:
    InputError: where something is missing there.
  """
  from zssr_jax import compile_cache

  go_to(settings.folder)
  check(settings.mark)
  compile_cache.use_compile_cache()
  scale = arguments.parse_scale(settings.options.scale)
  plan = upscale.prepare(settings.options, scale, local, Manifest(None))
  if settings.mark is None:  # the driver writes
    plan = plan._replace(scratch=Path(tempfile.gettempdir()))
  return _Bench(plan)


class _Bench:
  """Makes results of jobs."""

  def __init__(self, plan: upscale.Plan):
    self._plan = plan
    self._display = Display(tenths=False)  # shows nothing: the driver's does

  def item(
    self, job: Job, report: Callable[[Progress], None]
  ) -> tuple[cluster.Start, Callable[[Progress], None]]:
    tracker = forecast.Tracker(report)

    start = functools.partial(
      upscale.start, job, self._plan, self._display, tracker, waits=True
    )
    return start, tracker.trained

  def finish(self, job: Job, outcome: Any) -> upscale.Made:
    made = upscale.make(job, self._plan, *outcome)
    if self._plan.options.write == arguments.WORKERS:
      # A host that was cut off must not write what another has written.
      if self._plan.options.overwrite or not job.is_finished:
        upscale.write(job, made)
      return made._replace(contents={})
    whole = {path: _whole(content) for path, content in made.contents.items()}
    return made._replace(contents={**whole})


def _whole(content: files.Content) -> bytes | str:
  """Returns what a function would write to a file."""
  if not callable(content):
    return content
  stream = io.BytesIO()
  content(stream)
  return stream.getvalue()


def run_jobs(ready: Sequence[Job], plan: upscale.Plan) -> upscale.Reports:
  """Runs the jobs on the cluster that was joined."""
  options = plan.options
  orders = [
    cluster.Order(
      job,
      upscale.shape_class(job, plan),
      tuple(filter(None, (job.input, job.reference))),
    )
    for job in ready
  ]
  with (
    Display(len(ready), counts=True) as display,
    marked(options.folder, options.write) as mark,
  ):
    reports = upscale.Reports(ready, plan, display)

    def show(index: int, part: Progress) -> None:
      image = ready[index].image
      display.begin(image, image.stem)
      display.show(image, part)

    outcomes = cluster.map_images(
      orders,
      open_bench,
      Settings(os.getcwd(), options, mark),
      limits=(options.devices, options.in_flight),
      progress=show,
      note=functools.partial(note, display),
    )
    with contextlib.closing(outcomes):
      for index, outcome in outcomes:
        _take(ready[index], outcome, reports)
        display.end(ready[index].image)
  return reports


def note(display: Display, line: str) -> None:
  """Says something of a host, beside the bars."""
  with display.aside():
    app.complain(line, 'note')


def _take(
  job: Job, outcome: upscale.Made | Exception, reports: upscale.Reports
) -> None:
  """Writes what came of a job, and says it."""
  try:
    if isinstance(outcome, Exception):
      raise outcome
    if outcome.contents:
      upscale.write(job, outcome)
  except Exception as error:
    reports.failed(job, error)
  else:
    reports.done(outcome.done)
