"""Runs a command line: every input is trained on, and its result written.

`parallel.devices.map_images` drives the runs, one after another or several at
a time; files are read and written by threads beside the training.
Whatever the user can get wrong ends as one line on stderr. What concerns the
whole run (flags, config, kernel, output folder) is checked before anything is
trained; what concerns one file fails that file alone.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

import zssr_jax
from zssr_jax import (
  blur_kernels,
  checks,
  forecast,
  inference,
  pictures,
  super_resolution,
)
from zssr_jax import stages as stages_lib
from zssr_jax.baselines import interpolation
from zssr_jax.command_line import (
  app,
  arguments,
  findings,
  jobs,
  known,
  networks,
  record,
)
from zssr_jax.command_line.arguments import Options
from zssr_jax.command_line.jobs import Job
from zssr_jax.command_line.manifest import Manifest
from zssr_jax.data import files, image_io, kernel_io, photo
from zssr_jax.degradation import Degradation
from zssr_jax.display import Display, minutes
from zssr_jax.errors import InputError, NoRoomError, printable
from zssr_jax.ops import resize
from zssr_jax.ops.resize import Scale
from zssr_jax.parallel import devices as parallel
from zssr_jax.pictures import Picture, Unit

if TYPE_CHECKING:
  # At run time where there is a reference, or a report is asked for.
  from zssr_jax.evaluation.judge import Judge, Scores
  from zssr_jax.report import page

# Megapixels of an input from which a user is told beforehand what it takes.
_LARGE = 4
# Bytes of samples that are not held against the disk: they shrink when coded.
_SMALL_FILE = 1 << 28


class _Needs(NamedTuple):
  """What an input takes."""

  seconds: dict[str, float]  # by phase
  memory: int  # bytes, at most
  size: tuple[int, ...]  # rows and columns of the input
  words: str | None  # of a large one


def _check_room(job: Job, plan: Plan) -> _Needs:
  """Refuses an input that would need more memory or disk than there is."""
  options, scale = plan.options, plan.scale
  *size, bands = photo.read_shape(job.input, page=job.page)
  shape = (*size, bands)
  factors = checks.check_scale(scale)
  config = inference.settle(options.config.in_force, shape)
  depth = pictures.sample_bytes(job.input, options.bit_depth)

  def needed(container: str) -> int:
    held = depth if container != 'TIFF' else 0
    held += 6 if job.reference else 0  # the result as floats, and a copy
    return forecast.bytes_of(shape, factors, config, held=held)

  memory = needed(job.container)
  remedy = 'choose a smaller --scale, or cut the image into parts'
  if needed('TIFF') <= forecast.free_memory():
    remedy = 'pass --output_format=tif, which is written piece by piece'
  forecast.check_memory(job.input, memory, remedy)
  samples = math.prod(resize.scaled_shape(shape, factors)) * bands
  disk = samples * depth * (2 if job.container == 'TIFF' else 1)
  folder = plan.scratch or job.image.parent
  if disk > max(files.free_disk(folder), _SMALL_FILE):
    raise NoRoomError(
      f'{job.image}: needs up to {disk / 1e9:.1f} GB, which are not free in'
      f' {folder}; choose another {"TMPDIR" if plan.scratch else "--output"}'
    )
  image = (*size, pictures.channels(bands))
  try:
    seconds = super_resolution.expect(image, scale, config)
  except ValueError:  # too small: comes again, after what is worse
    seconds = {}
  megapixels = math.prod(size) / 1e6
  if megapixels < _LARGE:
    return _Needs(seconds, memory, tuple(size), None)
  copies = f'{config.copies} cop{"y" if config.copies == 1 else "ies"}'
  return _Needs(
    seconds,
    memory,
    tuple(size),
    f'{megapixels:.1f} megapixels: about {minutes(sum(seconds.values()))}'
    f' minutes and {memory / 1e9:.1f} GB of memory, {copies} of the image',
  )


def _read_reference(job: Job, picture: Picture, scale: Scale) -> np.ndarray:
  """Reads the ground truth and refuses one that is not of this input.

  An input whose original the scale does not divide comes back up to
  `scale - 1` pixels larger or smaller; both are cut to what they share.
  """
  assert job.reference is not None
  image, unit = picture.image, picture.unit
  found = pictures.read(job.reference, job.reference_page, unit)
  if unit == Unit() != pictures.unit_of(photo.fill(found.photo)):
    raise InputError(
      f'{job.reference}: holds numbers outside [0, 1], but {job.input} does not'
    )
  reference = found.image
  have, want = reference.shape, resize.scaled_shape(image.shape, scale)
  if have[2] != image.shape[2]:
    raise InputError(
      f'{job.reference}: has {have[2]} channels, but {job.input} has'
      f' {image.shape[2]}'
    )
  scales = resize.scale_pair(scale)
  if any(abs(have[a] - want[a]) >= scales[a] for a in (0, 1)):
    raise InputError(
      f'{job.reference}: is {have[1]}x{have[0]}, but {job.input} gives'
      f' {want[1]}x{want[0]} (width x height)'
    )
  return reference


def _compare(
  judge: Judge, image: np.ndarray, reference: np.ndarray, scores: Scores
) -> np.ndarray:
  """Returns the side-by-side picture `[h, w, 3]`."""
  from zssr_jax.report.side_by_side import find_detail, side_by_side

  rows, columns = np.minimum(image.shape, reference.shape)[:2]
  panels = [
    (label, pixels[:rows, :columns])
    for label, pixels in (
      (f'bicubic  {scores.bicubic_psnr:.2f} dB', judge.bicubic),
      (f'zssr_jax  {scores.psnr:.2f} dB', image),
      ('ground truth', reference),
    )
  ]
  return side_by_side(panels, find_detail(panels[0][1], panels[2][1]))


def _encode_npy(array: np.ndarray) -> bytes:
  stream = io.BytesIO()
  np.save(stream, array.astype(np.float32))
  return stream.getvalue()


def _with_planes(result: zssr_jax.Result) -> np.ndarray:
  """Returns `[H, W, C + k]`, the image and the planes beside it."""
  if result.planes is None:
    return result.image
  return np.concatenate([result.image, result.planes], axis=2)


class Plan(NamedTuple):
  """What all jobs of a run share."""

  options: Options
  scale: Scale
  kernel: np.ndarray | None
  known: Degradation  # of all inputs, by --noise and --jpeg
  trained: networks.Trained
  devices: Sequence[jax.Device]
  manifest: Manifest
  # Where results are made that another process writes to their places.
  scratch: Path | None = None

  @property
  def several(self) -> bool:
    """Whether more than one image trains at a time."""
    return len(self.devices) * self.options.in_flight > 1

  @property
  def together(self) -> bool:
    """Whether images of one shape class train together."""
    return len(self.devices) > 1 and self.options.in_flight == 1


class Done(NamedTuple):
  """A finished job: what is said of it, and what a report needs."""

  job: Job
  summary: str
  explanation: str  # '' where none is asked for
  outputs: tuple[Path, ...]
  result: zssr_jax.Result  # without its image, planes, networks
  scores: Scores | None
  seconds: float
  notes: tuple[str, ...]  # on what of the input was converted
  unit: Unit


class Read(NamedTuple):
  """What a job has on disk."""

  picture: Picture
  reference: np.ndarray | None
  judge: Judge | None  # where there is a reference
  known: findings.Known
  canvas: pictures.Canvas
  seconds: float


def _read(job: Job, plan: Plan) -> Read:
  """Reads a job's files, and refuses what does not fit."""
  clock = time.perf_counter()
  scale = plan.scale
  picture = pictures.read(job.input, job.page)
  # Before all else, so that what could not be written is refused.
  canvas = pictures.Canvas(
    picture,
    scale,
    container=job.container,
    bits=plan.options.bit_depth,
    quality=plan.options.quality,
    folder=plan.scratch or job.image.parent,
  )
  known = findings.Known(plan.known)
  if plan.options.reads_tables:
    known = findings.with_tables(plan.known, picture, job.input)
  reference, judge = None, None
  if job.reference:
    from zssr_jax.evaluation.judge import Judge

    reference = _read_reference(job, picture, scale)
    # Before the training, so that what is too small to score is refused.
    judge = Judge(picture.image, reference, scale)
  seconds = time.perf_counter() - clock
  return Read(picture, reference, judge, known, canvas, seconds)


class Made(NamedTuple):
  """What becomes of a result."""

  contents: dict[str | os.PathLike[str], files.Content]  # to be written
  done: Done


def make(job: Job, plan: Plan, read: Read, result: zssr_jax.Result) -> Made:
  """Scores and encodes a result."""
  clock = time.perf_counter()
  contents: dict[str | os.PathLike[str], files.Content] = {}
  summary = [printable(os.path.relpath(job.image, plan.options.folder))]
  scores = None
  if read.judge:
    assert read.reference is not None
    scores = read.judge.score(result.image)
    picture = _compare(read.judge, result.image, read.reference, scores)
    contents[job.comparison] = image_io.encode_png(picture)
    summary += [
      f'{scores.psnr:.2f} dB / {scores.ssim:.4f}',
      f'(bicubic {scores.bicubic_psnr:.2f} / {scores.bicubic_ssim:.4f})',
    ]
  if result.image.size:  # not handed out by rows
    read.canvas.paint(0, _with_planes(result))
  if found := findings.summary(result):
    summary.append(found)
  explanation = ''
  if plan.options.explain and result.diagnosis is not None:
    explanation = findings.explain(result, read.known)
  if result.kernel is not None:
    contents[job.kernel] = _encode_npy(result.kernel)
    contents[job.kernel_picture] = image_io.encode_png(
      kernel_io.picture(result.kernel)
    )
  seconds = {
    'read': read.seconds,
    **result.seconds,
    'score and encode': time.perf_counter() - clock,
  }
  # Not by the clock: other jobs may have come between.
  seconds['total'] = sum(seconds.values())
  made = record.make_record(
    job,
    plan.options,
    plan.scale,
    result,
    shape=read.canvas.shape,
    metrics=scores,
    seconds=seconds,
  )
  # In this order: where there is an image, its record tells whose it is.
  contents = {job.record: made, **contents, job.image: read.canvas.save}
  done = Done(
    job,
    '  '.join([*summary, f'{seconds["total"]:.1f} s']),
    explanation,
    tuple(map(Path, contents)),
    dataclasses.replace(
      result,
      image=np.empty((0, 0, 0)),
      params=None,
      planes=None,
      upscaler=None,
    ),
    scores,
    seconds['total'],
    pictures.notes(read.picture, job.container),
    read.picture.unit,
  )
  return Made(contents, done)


def write(job: Job, made: Made) -> None:
  """Writes a result's files, all or none."""
  with app.WRITING:
    job.image.parent.mkdir(parents=True, exist_ok=True)
    files.write_files(made.contents)


class Reports:
  """Says what became of the jobs, in the order of the inputs."""

  def __init__(self, ready: Sequence[Job], plan: Plan, display: Display):
    self.finished: list[Done] = []  # where a report is to be made
    self.failed_inputs: list[Path] = []
    self._plan = plan
    self._display = display
    self._awaited = deque(ready)
    self._said: dict[Path, Done | str] = {}  # not their turn yet
    self._lock = threading.Lock()

  def done(self, done: Done) -> None:
    """Takes a job that is finished."""
    self._take(done.job, done)

  def failed(self, job: Job, error: Exception) -> None:
    """Takes a job that came to nothing; raises what is no fault of a file."""
    line = app.explain(error, job.input)
    if line is None:
      raise error
    self._take(job, line)

  def _take(self, job: Job, outcome: Done | str) -> None:
    if isinstance(outcome, str):
      self._plan.manifest.add(
        job.input, 'failed', page=job.page, reason=outcome
      )
    else:
      self._plan.manifest.add(
        job.input,
        'done',
        page=job.page,
        outputs=outcome.outputs,
        seconds=round(outcome.seconds, 3),
      )
    with self._lock:
      self._said[job.image] = outcome
      self._display.count()
      with self._display.aside():
        while self._awaited and self._awaited[0].image in self._said:
          job = self._awaited.popleft()
          self._say(job, self._said.pop(job.image))

  def _say(self, job: Job, outcome: Done | str) -> None:
    if isinstance(outcome, str):
      app.complain(outcome)
      self.failed_inputs.append(job.input)
      return
    print(outcome.summary, flush=True)
    if outcome.explanation:
      print(outcome.explanation, flush=True)
    if true_kernel := self._plan.options.true_kernel:
      words = _compare_kernels(outcome, true_kernel, self._plan.scale)
      print(words, flush=True)
    for note in outcome.notes:
      app.complain(f'{job.input}: {note}', 'note')
    for warning in outcome.result.warnings:
      app.complain(f'{job.input}: {warning}', 'warning')
    if self._plan.options.report:
      self.finished.append(outcome)


def shape_class(job: Job, plan: Plan) -> Hashable:
  """What decides whether images train together; None: with no other."""
  try:
    *size, bands = photo.read_shape(job.input, page=job.page)
    shape = (*size, pictures.channels(bands))
    stages = stages_lib.plan_stages(shape, plan.scale, plan.options.config)
  except (ValueError, OSError):  # comes again when the job starts
    return None
  return parallel.shape_class(shape, plan.kernel, stages)


_Run = parallel.Run[tuple[Read, zssr_jax.Result]]


def start(
  job: Job,
  plan: Plan,
  display: Display,
  tracker: forecast.Tracker,
  *,
  waits: bool,
) -> _Run:
  """Reads a job's files and returns its run, which may wait for its turn."""
  needs = _check_room(job, plan)
  tracker.expect(needs.seconds)
  if needs.words:
    with display.aside():
      app.complain(f'{job.input}: {needs.words}', 'note')
  tracker.enter('read')
  read = _read(job, plan)

  def run() -> _Run:
    display.begin(job.image, job.image.stem)
    if waits:  # it was read while one before it was trained
      tracker.restart()
    try:
      result = yield from super_resolution.run_image(
        read.picture.image,
        plan.scale,
        planes=read.picture.planes,
        # Only what is scored is held in memory.
        rows=None if read.judge else read.canvas.paint,
        kernel=plan.kernel,
        degradation=read.known.degradation,
        config=plan.options.config,
        start=plan.trained.start(plan.scale),
        vgg=plan.trained.vgg,
        key=jax.random.key(plan.options.seed),
        tracker=tracker,
      )
    except BaseException:
      display.end(job.image)
      raise
    return read, result

  return run()


def _run_jobs(ready: Sequence[Job], plan: Plan) -> Reports:
  """Runs the jobs; while some train, the next are read, the last written."""

  def finish(index: int, outcome: Any) -> None:
    job = ready[index]
    try:
      if isinstance(outcome, Exception):
        raise outcome
      made = make(job, plan, *outcome)
      write(job, made)
    except Exception as error:
      reports.failed(job, error)
    else:
      reports.done(made.done)
    finally:
      display.end(job.image)

  with Display(len(ready), counts=plan.several) as display:
    reports = Reports(ready, plan, display)
    trackers = [
      forecast.Tracker(functools.partial(display.show, job.image))
      for job in ready
    ]
    items = [
      parallel.Item(
        functools.partial(
          start, job, plan, display, tracker, waits=len(ready) > 1
        ),
        shape_class(job, plan) if plan.together else None,
      )
      for job, tracker in zip(ready, trackers, strict=True)
    ]
    if len(ready) == 1:  # else images are read while others are trained
      display.begin(ready[0].image, ready[0].image.stem)
    outcomes = parallel.map_images(
      items,
      plan.devices,
      plan.options.in_flight,
      lambda index, part: trackers[index].trained(part),
    )
    parallel.finish_each(outcomes, finish)
  return reports


def _entry(done: Done, scale: Scale) -> page.Entry:
  """What a report shows of a finished job; reads the pictures again."""
  from zssr_jax.report import page

  job, history = done.job, done.result.history

  def shown(path: Path, number: int | None = None) -> np.ndarray:
    return pictures.read(path, number, done.unit).image

  numbers = {}
  if done.scores:
    psnr, ssim, bicubic_psnr, bicubic_ssim = done.scores
    numbers = {
      'PSNR': f'{psnr:.2f} dB (bicubic {bicubic_psnr:.2f})',
      'SSIM': f'{ssim:.4f} (bicubic {bicubic_ssim:.4f})',
    }
  if found := findings.summary(done.result):
    label = 'kernel' if done.result.diagnosis is None else 'found'
    numbers[label] = found
  numbers |= {
    'steps': f'{len(history.loss)}',
    'time': f'{done.seconds:.1f} s',
  }
  return page.Entry(
    title=job.image.stem,
    before=interpolation.bicubic(shown(job.input, job.page), scale),
    after=shown(job.image),
    reference=(
      shown(job.reference, job.reference_page) if job.reference else None
    ),
    kernel=done.result.kernel,
    history=history,
    numbers=numbers,
  )


def _report_path(options: Options) -> Path:
  """Where the report is written; of a part of a run under a name of its own."""
  path = options.folder / app.REPORT
  if options.shard is None:
    return path
  return path.with_stem(f'{path.stem}-{options.shard}')


def _write_report(finished: list[Done], options: Options, scale: Scale) -> None:
  from zssr_jax.report import page

  made = page.make_report(
    'Super-resolution by zssr_jax',
    (_entry(done, scale) for done in finished),
    notes=[f'Seed {options.seed}; every setting is in the JSON records.'],
  )
  path = _report_path(options)
  with app.WRITING:
    files.write_files({path: made})
  print(printable(str(path)), flush=True)


def _compare_kernels(done: Done, true_kernel: Path, scale: Scale) -> str:
  """Says how near the estimate came to the kernel of the bundled example."""
  kernel = done.result.kernel
  if kernel is None:
    return f'{done.job.image.name}  no estimate to compare'
  correlation = blur_kernels.kernel_correlation(
    kernel, kernel_io.read_kernel(true_kernel), scale
  )
  return (
    f'{done.job.image.name}  the estimate correlates {correlation:.3f} with'
    f' {true_kernel.parent.name}/{true_kernel.name}, the kernel that made the'
    ' photo'
  )


def _foresee(plan: Plan, planned: jobs.Plan) -> list[Path]:
  """Says what would be done, and in what time and memory.

  Returns:
    The inputs that would be refused.
  """
  total, failed = 0.0, []
  for job in planned.jobs:
    try:
      needs = _check_room(job, plan)
    except (ValueError, OSError) as error:
      app.complain(app.explain(error, job.input))
      failed.append(job.input)
      continue
    seconds = sum(needs.seconds.values())
    total += seconds
    rows, columns = resize.scaled_shape(needs.size, plan.scale)
    page = '' if job.page is None else f'[{job.page}]'
    print(
      printable(
        f'{job.input}{page} {needs.size[1]}x{needs.size[0]} -> {job.image}'
        f' {columns}x{rows}  about {minutes(seconds)} minutes,'
        f' {needs.memory / 1e9:.1f} GB'
      ),
      flush=True,
    )
  if len(planned.jobs) > 1:
    count = len(planned.jobs) - len(failed)
    print(f'{count} images, about {minutes(total)} minutes', flush=True)
  return failed


def _say_before(planned: jobs.Plan, manifest: Manifest) -> None:
  """Says of which inputs nothing is made, and why."""
  for note in planned.notes:
    app.complain(note, 'note')
  for path, reason in planned.refused:
    app.complain(reason)
    manifest.add(path, 'failed', reason=reason)
  for job in planned.finished:
    manifest.add(
      job.input,
      'skipped',
      page=job.page,
      outputs=[job.image, job.record],
      reason='finished before',
    )
  if planned.finished:
    what = str(planned.finished[0].image)
    if len(planned.finished) > 1:
      what = f'{len(planned.finished)} of {planned.total} inputs'
    app.complain(
      f'{what}: finished before; pass --overwrite to make anew', 'note'
    )


def prepare(
  options: Options,
  scale: Scale,
  devices: Sequence[jax.Device],
  manifest: Manifest,
) -> Plan:
  """Loads what all jobs of a run share.

  Raises:
    InputError: for what concerns the whole run.
  """
  kernel = None
  if options.kernel:
    kernel = known.load_kernel(options.kernel, scale)
  degradation = known.load_known(options, scale)
  weights = networks.parse(options.weights)
  networks.check_used(weights, [options.config])
  # Whatever the environment says of a data root, few runs look there.
  data = app.data_root() if networks.needs_data(options.config) else None
  trained = networks.load(options.config, weights, data)
  trained.start(scale)  # a missing one is found before anything is trained
  return Plan(options, scale, kernel, degradation, trained, devices, manifest)


def _prepare(options: Options, scale: Scale, planned: jobs.Plan) -> Plan:
  """Prepares a run, and checks that its results can be written.

  Raises:
    InputError: before any training, for what concerns the whole run.
  """
  devices: Sequence[jax.Device] = ()
  if options.cluster is None:  # else they are the workers'
    try:
      devices = parallel.available(options.devices or 1)
    except ValueError as error:
      raise InputError(str(error)) from None
  folder = None
  if not options.dry_run and (options.shard or planned.total > 1):
    folder = options.folder
  manifest = Manifest(folder, options.shard)
  plan = prepare(options, scale, devices, manifest)
  if not options.dry_run:
    jobs.check_output_folder(options.folder)
  place = _report_path(options)
  if options.report and place.exists() and not options.overwrite:
    raise InputError(f'{place}: exists already; pass --overwrite to replace it')
  return plan


def run(options: Options) -> int:
  """Super-resolves every input, reporting on stdout and stderr.

  Returns:
    Exit code: 0, 1 when some of several inputs, or of a part, failed, 2 when
    a single one did.

  Raises:
    InputError: before any training, for what concerns the whole run; later
      where a cluster has no host left.
  """
  if options.cluster is None:
    return _run(options, _run_jobs)
  from zssr_jax.command_line import hosts  # not before: few runs have one
  from zssr_jax.parallel import cluster

  with cluster.joined(options.cluster):
    return _run(options, hosts.run_jobs)


def _run(
  options: Options, run_jobs: Callable[[Sequence[Job], Plan], Reports]
) -> int:
  scale = arguments.parse_scale(options.scale)
  planned = jobs.plan(options, scale)
  plan = _prepare(options, scale, planned)
  _say_before(planned, plan.manifest)
  failed = [path for path, _ in planned.refused]
  if options.dry_run:
    failed += _foresee(plan, planned)
  elif planned.jobs:
    reports = run_jobs(planned.jobs, plan)
    failed += reports.failed_inputs
    if reports.finished:
      _write_report(reports.finished, options, scale)
  if not failed:
    return 0
  if planned.total == 1 and options.shard is None:
    return 2
  app.complain(
    f'{len(failed)} of {planned.total} inputs failed:'
    f' {", ".join(map(str, failed))}',
    'failed',
  )
  return 1
