"""Runs a command line: every input through `train_image`, one after another.

Files are read and written by threads of their own, beside the training.
Whatever the user can get wrong ends as one line on stderr. What concerns the
whole run (flags, config, kernel, output folder) is checked before anything is
trained; what concerns one file fails that file alone.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import flags

import zssr_jax
from zssr_jax import blur_kernels
from zssr_jax.command_line import app, arguments, jobs, networks, record
from zssr_jax.command_line.arguments import Options
from zssr_jax.command_line.display import Display
from zssr_jax.command_line.jobs import Job
from zssr_jax.data import files, image_io, kernel_io
from zssr_jax.errors import InputError
from zssr_jax.ops import metrics, resize
from zssr_jax.ops.resize import Scale
from zssr_jax.report import page
from zssr_jax.report.side_by_side import find_detail, side_by_side

# Largest result. The copies of the self-ensemble take eight times as much.
_MAX_OUTPUT_PIXELS = 256_000_000
_METHODS = {
  'estimate': 'kernel estimated',
  'recurrence': 'kernel found by patch recurrence',
  'kernelgan': 'kernel found by KernelGAN',
  'joint': 'kernel learned along',
}


def _read_input(path: Path, scale: Scale) -> np.ndarray:
  image = image_io.read_image(path)
  rows, columns = resize.scaled_shape(image.shape, scale)
  if rows * columns > _MAX_OUTPUT_PIXELS:
    raise InputError(
      f'{path}: the result would have {rows * columns / 1e6:.0f} megapixels,'
      f' the limit is {_MAX_OUTPUT_PIXELS / 1e6:g}; choose a smaller --scale'
    )
  return image


class _Judge:
  """Scores a result, and bicubic interpolation, against the ground truth."""

  def __init__(self, job: Job, image: np.ndarray, scale: Scale):
    """Reads the ground truth and refuses one that is not of this input.

    An input whose original the scale does not divide comes back up to
    `scale - 1` pixels larger or smaller; both are cut to what they share.
    """
    assert job.reference is not None
    self._scale = scale
    self._reference = image_io.read_image(job.reference)
    have, want = self._reference.shape, resize.scaled_shape(image.shape, scale)
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
    self._bicubic = np.clip(resize.imresize(image, scale), 0, 1)
    # Before the training, for what is too small to score is refused here.
    self._bicubic_score = metrics.score(self._bicubic, self._reference, scale)

  def score(self, image: np.ndarray) -> dict[str, float]:
    psnr, ssim = metrics.score(image, self._reference, self._scale)
    bicubic_psnr, bicubic_ssim = self._bicubic_score
    return {
      'psnr': psnr,
      'ssim': ssim,
      'bicubic_psnr': bicubic_psnr,
      'bicubic_ssim': bicubic_ssim,
    }

  def compare(self, image: np.ndarray, psnr: float) -> np.ndarray:
    """Returns the side-by-side picture `[h, w, 3]`."""
    rows, columns = np.minimum(image.shape, self._reference.shape)[:2]
    panels = [
      (label, pixels[:rows, :columns])
      for label, pixels in (
        (f'bicubic  {self._bicubic_score[0]:.2f} dB', self._bicubic),
        (f'zssr_jax  {psnr:.2f} dB', image),
        ('ground truth', self._reference),
      )
    ]
    return side_by_side(panels, find_detail(panels[0][1], panels[2][1]))


def _describe_kernel(result: zssr_jax.Result) -> str:
  """Says in a few words which kernel was used; nothing of plain bicubic."""
  words = []
  if result.estimate is None:
    if result.kernel is None:
      return ''
    words.append('kernel given')
  elif result.estimate.kernel is None:
    words.append('no kernel found, bicubic used')
  else:
    words.append(_METHODS[result.estimate.method])
    if not math.isnan(result.estimate.agreement):
      words.append(f'agreement {result.estimate.agreement:.2f}')
  if not math.isnan(result.consistency):
    words.append(f'explains the input to {result.consistency:.1f} dB')
  return ', '.join(words)


def _encode_npy(array: np.ndarray) -> bytes:
  stream = io.BytesIO()
  np.save(stream, array.astype(np.float32))
  return stream.getvalue()


class _Done(NamedTuple):
  """A finished job: what is said of it, and what a report needs."""

  job: Job
  summary: str
  result: zssr_jax.Result  # without its image and parameters
  scores: dict[str, float] | None
  seconds: float


class _Read(NamedTuple):
  """What a job has on disk."""

  image: np.ndarray
  judge: _Judge | None
  seconds: float


def _read(job: Job, scale: Scale) -> _Read:
  """Reads a job's files, and refuses what does not fit."""
  clock = time.perf_counter()
  image = _read_input(job.input, scale)
  judge = _Judge(job, image, scale) if job.reference else None
  return _Read(image, judge, time.perf_counter() - clock)


def _finish(
  job: Job,
  options: Options,
  scale: Scale,
  read: _Read,
  result: zssr_jax.Result,
) -> _Done:
  """Scores, encodes and writes a result."""
  clock = time.perf_counter()
  contents: dict[str | os.PathLike[str], bytes | str] = {}
  summary = [job.image.name]
  scores = None
  if read.judge:
    scores = read.judge.score(result.image)
    picture = read.judge.compare(result.image, scores['psnr'])
    contents[job.comparison] = image_io.encode_png(picture)
    summary += [
      '{psnr:.2f} dB / {ssim:.4f}'.format(**scores),
      '(bicubic {bicubic_psnr:.2f} / {bicubic_ssim:.4f})'.format(**scores),
    ]
  contents[job.image] = image_io.encode_png(result.image)
  if about_kernel := _describe_kernel(result):
    summary.append(about_kernel)
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
  contents[job.record] = record.make_record(
    job, options, scale, result, metrics=scores, seconds=seconds
  )
  with app.WRITING:
    job.image.parent.mkdir(parents=True, exist_ok=True)
    files.write_files(contents)
  return _Done(
    job,
    '  '.join([*summary, f'{seconds["total"]:.1f} s']),
    dataclasses.replace(result, image=np.empty(0), params=None),
    scores,
    seconds['total'],
  )


class _Reports:
  """Says what became of the jobs, in their order."""

  def __init__(self, options: Options, scale: Scale):
    self.finished: list[_Done] = []
    self.failures = 0
    self._options = options
    self._scale = scale
    self._awaited: deque[tuple[Job, Future[_Done]]] = deque()

  def expect(self, job: Job, done: Future[_Done]) -> None:
    self._awaited.append((job, done))

  @property
  def due(self) -> bool:
    return bool(self._awaited) and self._awaited[0][1].done()

  def say(self, *, wait: bool) -> None:
    """Reports what is done; with `wait` all that is expected."""
    while self._awaited and (wait or self.due):
      job, future = self._awaited.popleft()
      try:
        done = future.result()
        print(done.summary, flush=True)
        if true_kernel := self._options.true_kernel:
          print(_compare_kernels(done, true_kernel, self._scale), flush=True)
        estimate = done.result.estimate
        if estimate and estimate.warning:
          app.complain(f'{job.input}: {estimate.warning}', 'warning')
        self.finished.append(done)
      except Exception as error:
        line = app.explain(error, job.input)
        if line is None:
          raise
        app.complain(line)
        self.failures += 1


def _run_jobs(
  ready: Sequence[Job],
  options: Options,
  scale: Scale,
  kernel: np.ndarray | None,
  trained: networks.Trained,
) -> _Reports:
  """Runs the jobs; while one trains, the next is read, the last written."""
  reports = _Reports(options, scale)
  with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
    ahead = deque(reader.submit(_read, job, scale) for job in ready[:1])
    for job, following in itertools.zip_longest(ready, ready[1:]):
      if following:
        ahead.append(reader.submit(_read, following, scale))
      try:
        read = ahead.popleft().result()
        with Display(job.image.stem) as display:

          def progress(report: zssr_jax.Progress, display=display) -> None:
            if reports.due:
              with display.aside():
                reports.say(wait=False)
            display(report)

          result = zssr_jax.train_image(
            read.image,
            scale,
            kernel=kernel,
            config=options.config,
            start=trained.start(scale),
            vgg=trained.vgg,
            key=jax.random.key(options.seed),
            progress=progress,
          )
      except Exception as error:
        done: Future[_Done] = Future()
        done.set_exception(error)
      else:
        reports.say(wait=True)  # or results would pile up
        done = writer.submit(_finish, job, options, scale, read, result)
      reports.expect(job, done)
      reports.say(wait=False)
    reports.say(wait=True)
  return reports


def _entry(done: _Done, scale: Scale) -> page.Entry:
  """What a report shows of a finished job; reads the pictures again."""
  job, history = done.job, done.result.history
  numbers = {}
  if done.scores:
    scores = done.scores
    numbers = {
      'PSNR': f'{scores["psnr"]:.2f} dB (bicubic {scores["bicubic_psnr"]:.2f})',
      'SSIM': f'{scores["ssim"]:.4f} (bicubic {scores["bicubic_ssim"]:.4f})',
    }
  if about_kernel := _describe_kernel(done.result):
    numbers['kernel'] = about_kernel
  numbers |= {
    'steps': f'{len(history.loss)}',
    'time': f'{done.seconds:.1f} s',
  }
  before = resize.imresize(image_io.read_image(job.input), scale)
  return page.Entry(
    title=job.image.stem,
    before=np.clip(before, 0, 1),
    after=image_io.read_image(job.image),
    reference=image_io.read_image(job.reference) if job.reference else None,
    kernel=done.result.kernel,
    curves=page.Curves(
      loss=history.loss,
      learning_rate=history.learning_rate,
      error_steps=history.error_steps,
      error=history.error,
      stages=tuple(stage[2] for stage in history.stages),
      drops=history.drops,
    ),
    numbers=numbers,
  )


def _write_report(
  finished: list[_Done], options: Options, scale: Scale
) -> None:
  made = page.make_report(
    'Super-resolution by zssr_jax',
    (_entry(done, scale) for done in finished),
    notes=[f'Seed {options.seed}; every setting is in the JSON records.'],
  )
  path = Path(options.output) / app.REPORT
  with app.WRITING:
    files.write_files({path: made})
  print(path, flush=True)


def _compare_kernels(done: _Done, true_kernel: Path, scale: Scale) -> str:
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


def run(options: Options) -> int:
  """Super-resolves every input, reporting on stdout and stderr.

  Returns:
    Exit code: 0, 1 when some of several inputs failed, 2 when a single one
    did.

  Raises:
    InputError: before any training, for what concerns the whole run.
  """
  scale = arguments.parse_scale(options.scale)
  planned = jobs.plan(options, scale)
  kernel = None
  if options.kernel:
    kernel = arguments.load_kernel(options.kernel, scale)
  files = networks.parse(options.weights)
  networks.check_used(files, [options.config])
  trained = networks.load(options.config, files, app.data_root())
  trained.start(scale)  # a missing one is found before anything is trained
  jobs.check_output_folder(Path(options.output))
  place = Path(options.output) / app.REPORT
  if options.report and place.exists() and not options.overwrite:
    raise InputError(f'{place}: exists already; pass --overwrite to replace it')
  ready = []
  for job in planned:
    found = None if options.overwrite else job.existing_output()
    if found:
      app.complain(f'{found}: exists already; pass --overwrite to replace it')
    else:
      ready.append(job)
  failures = len(planned) - len(ready)
  reports = _run_jobs(ready, options, scale, kernel, trained)
  failures += reports.failures
  if options.report and reports.finished:
    _write_report(reports.finished, options, scale)
  if not failures:
    return 0
  return 2 if len(planned) == 1 else 1


def main(
  argv: list[str],
  define: Callable[[flags.FlagValues, list[str]], None],
  *,
  usage: str,
  root: Path,
) -> int:
  """Runs a command line and returns its exit code; see `run`.

  Args:
    argv: program name and arguments.
    define: as in `arguments.parse_options`.
    usage: text of `--help`.
    root: folder of the shipped `configs` and `examples`.
  """

  def work() -> int:
    options = arguments.parse_options(argv, define, root=root)
    app.use_compile_cache()
    return run(options)

  return app.run_command(argv, define, work, usage=usage)
