"""What the page does with a photo: one at a time, and nothing is kept.

It knows nothing of Gradio. An open page is a `Session` with a folder of its
own; a started enlargement is a `Run`, a thread whose state the page looks at.
The file that comes out has the bytes that the command line writes for the same
photo, preset and scale with seed 0.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import secrets
import shutil
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import jax
import numpy as np
from PIL import Image

from zssr_jax import (
  Progress,
  Result,
  forecast,
  inference,
  pictures,
  presets,
  super_resolution,
)
from zssr_jax.command_line import app, findings, networks
from zssr_jax.data import files, image_io, kernel_io, names, photo
from zssr_jax.degradation import Degradation
from zssr_jax.display import PHASES, minutes
from zssr_jax.errors import InputError, printable
from zssr_jax.ops import color, resize
from zssr_jax.parallel import devices

# Those of `presets.PRESETS` that are for photos, not for comparison or tests.
OFFERED = (
  'auto', 'fast', 'nonideal_fast', 'balanced', 'nonideal', 'real', 'gradual',
  'best',
)  # fmt: skip
SCALES = (2, 3, 4)
SEED = 0

# Pixels of a picture that a browser is shown; of a larger one every second,
# third ... pixel.
_SHOWN = 24_000_000
# Seconds that a quick look may take before the training.
_QUICK = 10.0
_POLL = 0.25  # seconds between two looks at a run


class Stopped(Exception):
  """The user, or a page that was closed, ended a run."""


class Shelf:
  """The files that the page may fetch, each by a name nobody can guess."""

  def __init__(self) -> None:
    """Begins empty."""
    self._files: dict[str, Path] = {}

  def put(self, path: Path) -> str:
    """Returns the address of a file, from the root of the server."""
    token = secrets.token_urlsafe(24)
    self._files[token] = path
    return f'/made/{token}/{quote(path.name)}'

  def get(self, token: str) -> Path | None:
    """Returns the file of a token, or None."""
    return self._files.get(token)

  def clear(self, folder: Path) -> None:
    """Takes the files of a folder away."""
    for token, path in list(self._files.items()):
      if path.is_relative_to(folder):
        self._files.pop(token, None)


class Turns:
  """Lets one run at a time go on, in the order in which they came."""

  def __init__(self) -> None:
    """Begins with nobody waiting."""
    self._changed = threading.Condition()
    self._line: deque[object] = deque()

  @contextlib.contextmanager
  def mine(self, waiting: Callable[[int], None]) -> Iterator[None]:
    """Waits for one's turn, and holds it.

    Args:
      waiting: called a few times a second with how many come before; what it
        raises ends the waiting.
    """
    ticket = object()
    with self._changed:
      self._line.append(ticket)
    try:
      while ahead := self._ahead(ticket):
        waiting(ahead)
        with self._changed:
          self._changed.wait(_POLL)
      yield
    finally:
      with self._changed:
        self._line.remove(ticket)
        self._changed.notify_all()

  def _ahead(self, ticket: object) -> int:
    with self._changed:
      return self._line.index(ticket)


class Taken(NamedTuple):
  """A photo that was dropped on the page."""

  path: Path  # in the session's folder, under the photo's own name
  shape: tuple[int, int, int]  # rows, columns, bands
  container: str  # what the file is, whatever its name
  depth: str  # of its samples


class Shown(NamedTuple):
  """A picture for the page, and how large the whole is."""

  path: Path  # PNG
  rows: int  # of the whole, not of the PNG of a large one
  columns: int
  step: int  # every how many pixels are in the PNG, along both axes


class Done(NamedTuple):
  """What came of a run."""

  downloads: tuple[Path, ...]
  after: Shown
  kernel: Path | None  # its picture
  kernel_shape: tuple[int, ...]
  found: str  # of blur, noise and compression, in a few words; or ''
  explanation: str  # the same at length, in lines; or ''
  notes: tuple[str, ...]
  warnings: tuple[str, ...]
  seconds: float


@dataclasses.dataclass(frozen=True)
class State:
  """How far a run is."""

  phase: str = 'Starting'
  detail: str = ''
  share: float = 0.0
  preview: Shown | None = None
  done: Done | None = None
  error: str | None = None
  stopped: bool = False

  @property
  def over(self) -> bool:
    """Whether nothing more will come."""
    return bool(self.done or self.error or self.stopped)


class Run:
  """An enlargement in a thread of its own; `state` tells how far it is."""

  def __init__(
    self, taken: Taken, preset: str, scale: float, folder: Path, turns: Turns
  ):
    """Starts it.

    Args:
      taken: the photo.
      preset: one of `presets.PRESETS`.
      scale: by how much.
      folder: an empty one for its files.
      turns: of all runs.
    """
    self.state = State()
    self._telling = threading.Lock()
    self._stop = threading.Event()
    self._turns = turns
    self._thread = threading.Thread(
      target=self._work, args=(taken, preset, scale, folder), daemon=True
    )
    self._thread.start()

  def stop(self) -> None:
    """Ends it where it reports next; a compilation is not cut short."""
    self._stop.set()
    self._tell(phase='Stopping', detail='')

  def join(self, seconds: float) -> bool:
    """Waits until it is over, but no longer; returns whether it is."""
    self._thread.join(seconds)
    return not self._thread.is_alive()

  def follow(self) -> Generator[State, None, None]:
    """Yields the state whenever it has changed, until it is over."""
    before = None
    while True:
      state = self.state
      if state is not before:
        yield state
        before = state
      if state.over:
        return
      time.sleep(_POLL)

  def _tell(self, **changes: Any) -> None:
    with self._telling:
      if not self.state.over:
        self.state = dataclasses.replace(self.state, **changes)

  def _check(self) -> None:
    if self._stop.is_set():
      raise Stopped

  def _wait(self, ahead: int) -> None:
    self._check()
    others = 'one picture is' if ahead == 1 else f'{ahead} pictures are'
    self._tell(
      phase='Waiting', detail=f'{others} before it; one is done at a time'
    )

  def _report(self, part: Progress) -> None:
    self._check()
    phase = PHASES.get(part.phase, 'training on the photo').capitalize()
    detail = []
    if part.phase == 'train':
      detail.append(f'step {part.step} of {part.max_steps}')
      if part.stages > 1:
        detail.append(f'round {part.stage + 1} of {part.stages}')
    if math.isfinite(part.seconds_left):
      detail.append(f'{minutes(part.seconds_left)} left')
    share = part.share if math.isfinite(part.share) else self.state.share
    self._tell(phase=phase, detail=', '.join(detail), share=share)

  def _work(
    self, taken: Taken, preset: str, scale: float, folder: Path
  ) -> None:
    try:
      with self._turns.mine(self._wait):
        self._check()
        done = _enlarge(taken, preset, scale, folder, self._report, self._tell)
      self._tell(done=done, share=1.0)
    except Stopped:
      self._tell(stopped=True)
    except Exception as error:
      line = app.explain(error, Path(taken.path.name))
      if line is None:  # a mistake of the program's: told in full here
        traceback.print_exc(file=sys.stderr)
        line = 'the program made a mistake; it is told where it was started'
      self._tell(error=_without_folder(line, taken.path.parent))


def _without_folder(line: str, folder: Path) -> str:
  """Takes the temporary folder out of what is said of a file."""
  return line.replace(f'{folder}{os.sep}', '')


def _enlarge(
  taken: Taken,
  preset: str,
  scale: float,
  folder: Path,
  report: Callable[[Progress], None],
  tell: Callable[..., None],
) -> Done:
  """Makes of a photo what the command line does, and what the page shows."""
  clock = time.perf_counter()
  config = presets.load_config(preset)
  start = networks.load(config, {}, None).start(scale)
  containers = _containers(taken)
  _check_room(taken, scale, config, folder, len(containers))
  tracker = forecast.Tracker(report)
  tracker.enter('read')
  picture = pictures.read(taken.path, None)
  canvases = _canvases(picture, scale, containers, folder)
  known = findings.Known(Degradation(scale))
  if config.automatic:
    known = findings.with_tables(known.degradation, picture, taken.path)
  if preview := _quick_look(picture, scale, start, folder, report):
    tell(preview=preview)
  screen = _Screen(picture, *resize.scaled_shape(picture.image.shape, scale))

  def paint(first: int, strip: np.ndarray) -> None:
    for canvas in canvases:
      canvas.paint(first, strip)
    screen.paint(first, strip)

  run = super_resolution.run_image(
    picture.image,
    scale,
    planes=picture.planes,
    rows=paint,
    degradation=known.degradation,
    config=config,
    start=start,
    key=jax.random.key(SEED),
    tracker=tracker,
  )
  result = devices.drive(run, tracker.trained)
  stem = taken.path.stem + names.result_suffix(scale)
  downloads = {
    folder / (stem + names.SUFFIXES[container]): canvas
    for container, canvas in zip(containers, canvases, strict=True)
  }
  files.write_files({path: made.save for path, made in downloads.items()})
  return Done(
    downloads=tuple(downloads),
    after=screen.save(folder / 'after.png'),
    kernel=_kernel_picture(result, folder),
    kernel_shape=() if result.kernel is None else result.kernel.shape,
    found=findings.summary(result),
    explanation=(
      '' if result.diagnosis is None else findings.explain(result, known)
    ),
    notes=pictures.notes(picture, containers[0]),
    warnings=result.warnings,
    seconds=time.perf_counter() - clock,
  )


def _canvases(
  picture: pictures.Picture,
  scale: float,
  containers: Sequence[str],
  folder: Path,
) -> list[pictures.Canvas]:
  return [
    pictures.Canvas(
      picture, scale, container=c, bits=None, quality=None, folder=folder
    )
    for c in containers
  ]


def _containers(taken: Taken) -> tuple[str, ...]:
  """What a result is written as: the command line's choice comes first."""
  first = names.default_container(taken.path)
  if first == 'PNG' and taken.container == 'JPEG':
    return (first, 'JPEG')  # without loss, and as it came
  return (first,)


def _check_room(
  taken: Taken, scale: float, config: Any, folder: Path, canvases: int
) -> None:
  """Refuses what would need more memory or disk than there is."""
  held = canvases * np.dtype(taken.depth).itemsize + 1
  factors = (float(scale), float(scale))
  settled = inference.settle(config.in_force, taken.shape)
  forecast.check_memory(
    taken.path.name,
    forecast.bytes_of(taken.shape, factors, settled, held=held),
    'choose a smaller scale, or cut the photo into parts',
  )
  samples = math.prod(taken.shape) * scale**2
  if 2 * held * samples > files.free_disk(folder):
    raise InputError(
      f'{taken.path.name}: its result does not fit on the disk that holds'
      f' temporary files, {folder.anchor}; set TMPDIR to another'
    )


def _quick_look(
  picture: pictures.Picture,
  scale: float,
  start: Any,
  folder: Path,
  report: Callable[[Progress], None],
) -> Shown | None:
  """Enlarges by the start alone, where there is one and that takes seconds.

  Nothing is looked for in the photo, which would take as long again.
  """
  if start is None:
    return None
  quick = presets.preview(presets.load_config('fast'))
  shape, image = picture.image.shape, picture.image
  try:
    expected = super_resolution.expect(shape, scale, quick)
  except ValueError:  # too small: the run itself says so
    return None
  rows, columns = resize.scaled_shape(shape, scale)
  if sum(expected.values()) > _QUICK or rows * columns > _SHOWN:
    return None
  report(Progress(phase='prepare'))
  result = super_resolution.train_image(
    image, scale, config=quick, start=start, progress=lambda _: report(
      Progress(phase='prepare')
    ),
  )  # fmt: skip
  screen = _Screen(picture, rows, columns)
  screen.paint(0, result.image)
  return screen.save(folder / 'preview.png')


def _kernel_picture(result: Result, folder: Path) -> Path | None:
  if result.kernel is None:
    return None
  path = folder / 'kernel.png'
  path.write_bytes(image_io.encode_png(kernel_io.picture(result.kernel)))
  return path


class _Screen:
  """An enlarged picture as the page shows it, in the making."""

  def __init__(self, picture: pictures.Picture, rows: int, columns: int):
    """Makes room.

    Args:
      picture: what is enlarged.
      rows: of the result.
      columns: of the result.
    """
    self._picture, self._rows, self._columns = picture, rows, columns
    self._step = _step(rows, columns)
    self._colours = picture.image.shape[2]
    # Alpha is the last of the planes.
    self._alpha = picture.photo.alpha is not None and picture.planes is not None
    bands = self._colours + self._alpha
    shape = (-(-rows // self._step), -(-columns // self._step), bands)
    self._pixels = np.full(shape, 255, np.uint8)

  def paint(self, first: int, rows: np.ndarray) -> None:
    """Takes rows of the result, `[n, W, C + k]` in [0, 1], from a first on."""
    step = self._step
    rows = rows[-first % step :: step, ::step]
    bands = [rows[..., : self._colours]]
    if self._alpha and rows.shape[2] > self._colours:
      bands.append(rows[..., -1:])
    made = color.to_uint8(np.concatenate(bands, axis=2))
    top = -(-first // step)
    self._pixels[top : top + len(rows), :, : made.shape[2]] = made

  def save(self, path: Path) -> Shown:
    """Writes the picture as PNG."""
    _save(self._pixels, self._picture, path)
    return Shown(path, self._rows, self._columns, self._step)


def _step(rows: int, columns: int) -> int:
  return math.ceil(math.sqrt(rows * columns / _SHOWN))


def _save(
  pixels: np.ndarray | Image.Image, picture: pictures.Picture, path: Path
) -> None:
  """Writes uint8 `[H, W, 1 to 4]`, quickly, with the photo's profile."""
  if isinstance(pixels, np.ndarray):
    pixels = image_io.to_pillow(pixels)
  icc = picture.photo.icc
  fits = pixels.mode.startswith('L') == (picture.photo.colour.shape[2] < 3)
  pixels.save(
    path, 'PNG', compress_level=1, icc_profile=icc if icc and fits else None
  )


def bicubic(picture: pictures.Picture, scale: float, path: Path) -> Shown:
  """Writes a photo, enlarged by bicubic interpolation, as the page shows it."""
  bands = [picture.image]
  if picture.photo.alpha is not None and picture.planes is not None:
    bands.append(picture.planes[..., -1:])
  pixels = color.to_uint8(np.concatenate(bands, axis=2))
  rows, columns = resize.scaled_shape(picture.image.shape, scale)
  step = _step(rows, columns)
  size = (-(-columns // step), -(-rows // step))
  whole = image_io.to_pillow(pixels)
  larger = whole.resize(size, Image.Resampling.BICUBIC)
  _save(larger, picture, path)
  return Shown(path, rows, columns, step)


def _empty(folder: Path) -> None:
  """Deletes what is in a folder, if it is there."""
  for path in folder.glob('*'):
    if path.is_dir() and not path.is_symlink():
      shutil.rmtree(path, ignore_errors=True)
    else:
      path.unlink(missing_ok=True)


class Session:
  """An open page: its folder, its photo and its run."""

  def __init__(self, folder: Path, shelf: Shelf, most: float):
    """Makes the folder.

    Args:
      folder: for all files of the session; deleted with it.
      shelf: of the server.
      most: pixels of a photo.
    """
    folder.mkdir(parents=True)
    self._folder, self._shelf, self._most = folder, shelf, most
    self._count = 0
    self._scale = math.nan
    self.taken: Taken | None = None
    self.before: Shown | None = None
    self.run: Run | None = None

  def new_folder(self) -> Path:
    """Makes an empty folder within the session's."""
    self._count += 1
    folder = self._folder / str(self._count)
    folder.mkdir()
    return folder

  def take(self, path: Path, scale: float) -> Taken:
    """Takes a photo in place of the one before.

    Args:
      path: of a file, which is copied.
      scale: by which it is shown enlarged at once.

    Raises:
      InputError: for what cannot be read, or has too many pixels; the message
        names the file without its folder.
    """
    self.stop()
    self.taken = self.before = self.run = None
    self._empty()
    own = self.new_folder() / (printable(path.name) or 'photo')
    try:
      shutil.copyfile(path, own)
    except OSError as error:
      raise InputError(f'{path.name}: {error.strerror}') from None
    try:
      shape = photo.read_shape(own)
      pixels = shape[0] * shape[1]
      if pixels > self._most:
        raise InputError(
          f'{path.name}: {shape[1]} x {shape[0]} is {pixels / 1e6:.1f}'
          f' megapixels, the limit here is {self._most / 1e6:g}; crop it, or'
          ' start with a larger --max-megapixels'
        )
      picture = pictures.read(own, None)
    except InputError as error:
      own.unlink()
      raise InputError(_without_folder(str(error), own.parent)) from None
    found = picture.photo
    self.taken = Taken(own, shape, found.container, found.depth)
    self._show(picture, scale)
    return self.taken

  def _show(self, picture: pictures.Picture, scale: float) -> None:
    self.before = bicubic(picture, scale, self.new_folder() / 'before.png')
    self._scale = scale

  def show(self, scale: float) -> Shown | None:
    """Enlarges the photo by bicubic interpolation, if there is one."""
    # The photo is not held: of a large one that is much memory a page.
    if self.taken is not None and scale != self._scale:
      self._show(pictures.read(self.taken.path, None), scale)
    return self.before

  def start(self, preset: str, scale: float, turns: Turns) -> Run:
    """Starts to enlarge the photo; what was started before is stopped.

    Raises:
      InputError: where there is no photo, or a value that is not offered.
    """
    if self.taken is None:
      raise InputError('no photo: drop one, or choose the example')
    if preset not in presets.PRESETS or scale not in SCALES:
      raise InputError(f'{preset}, {scale}: not offered')
    self.stop()
    self.show(scale)
    folder = self.new_folder()
    self.run = Run(self.taken, preset, scale, folder, turns)
    return self.run

  def stop(self) -> None:
    """Stops what runs."""
    if self.run is not None:
      self.run.stop()

  def close(self) -> None:
    """Stops what runs, and deletes all files."""
    self.stop()
    self._empty()
    shutil.rmtree(self._folder, ignore_errors=True)

  def _empty(self) -> None:
    self._shelf.clear(self._folder)
    _empty(self._folder)


class Sessions:
  """All open pages."""

  def __init__(self, root: Path, most: float):
    """Begins with none.

    Args:
      root: folder for temporary files. Uploads come to `uploads` in it.
      most: pixels of a photo.
    """
    self.shelf, self.turns = Shelf(), Turns()
    self.uploads = root / 'uploads'
    self.uploads.mkdir()
    self._root, self._most = root / 'sessions', most
    self._open: dict[str, Session] = {}
    self._lock = threading.Lock()

  def get(self, name: str | None) -> Session:
    """Returns a session, a new one if it is not open."""
    with self._lock:
      key = name or ''
      if key not in self._open:
        # The name comes from the browser, so the folder has another.
        folder = self._root / secrets.token_hex(8)
        self._open[key] = Session(folder, self.shelf, self._most)
      return self._open[key]

  def close(self, name: str | None) -> None:
    """Closes a session; with the last one all that was uploaded goes, too."""
    with self._lock:
      session = self._open.pop(name or '', None)
      last = not self._open
    if session is not None:
      session.close()
    if last:
      _empty(self.uploads)

  def uploaded(self, path: str) -> Path:
    """Checks that a file is one that was uploaded.

    Raises:
      InputError: for any other.
    """
    found = Path(path).resolve()
    if not found.is_relative_to(self.uploads.resolve()) or not found.is_file():
      raise InputError(f'{Path(path).name}: was not uploaded; drop it again')
    return found

  def close_all(self, seconds: float = 5.0) -> bool:
    """Closes all; returns whether all runs have ended after so many seconds."""
    with self._lock:
      sessions = list(self._open.values())
      self._open.clear()
    for session in sessions:
      session.close()
    ended = [s.run is None or s.run.join(seconds) for s in sessions]
    for session in sessions:  # what a run wrote meanwhile
      session.close()
    return all(ended)
