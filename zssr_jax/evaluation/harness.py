"""Method x case x seed -> one row an image, whatever happens in between.

What a row is keyed by determines its numbers: method, config, seed, the
pixels and the kernel, the code. So a run goes on where an earlier one
stopped, and a changed config never mixes with the old one's rows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.metadata
import io
import itertools
import math
import os
import platform
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.ndimage

from zssr_jax import blur_kernels, super_resolution
from zssr_jax import stages as stages_lib
from zssr_jax.config import Config
from zssr_jax.data import files, image_io
from zssr_jax.degradation import Degradation
from zssr_jax.errors import concerns_one_image
from zssr_jax.evaluation import code, memory, methods, rows
from zssr_jax.evaluation.cases import Case, Pixels
from zssr_jax.evaluation.judge import Judge
from zssr_jax.ops import conv
from zssr_jax.parallel import cluster
from zssr_jax.parallel import devices as parallel
from zssr_jax.training import loop

Lpips = Callable[[np.ndarray, np.ndarray], float]

# Where in a store's folder lies what goes with the row of a key.
_IMAGE, _CURVES = 'images/{}.png', 'curves/{}.npz'


class Recipe(NamedTuple):
  """What a method that trains takes beside the image."""

  config: Config
  name: str  # of the config
  # Parameters to start from at a scale; None: random ones.
  start: Callable[[float], Any] = lambda scale: None
  vgg: Any = None  # variables of VGG16, for a content loss


class Network(NamedTuple):
  """What a method whose network is trained on other images upscales with."""

  upscale: methods.Upscale | None  # None: the method trains
  weights: str | None  # their digest


class Task(NamedTuple):
  """One row to come."""

  case: Case
  method: str
  seed: int
  recipe: Recipe | None  # None: the method does not train
  upscale: methods.Upscale | None  # None: it does
  code: str
  key: str
  weights: str | None = None  # digest of what the network was trained to
  start: str | None = None  # digest of what the training starts from
  vgg: str | None = None  # ... and of VGG16

  @property
  def config(self) -> Config | None:
    """The config of the training, if there is any."""
    return None if self.recipe is None else self.recipe.config

  @property
  def config_name(self) -> str | None:
    """The name of that config."""
    return None if self.recipe is None else self.recipe.name

  @property
  def told(self) -> bool:
    """Whether the method is told what happened to the image."""
    return self.config is not None and self.config.kernel == 'given'

  @property
  def kernel(self) -> np.ndarray | None:
    """The true kernel, where the method is to have it."""
    return self.case.kernel if self.told else None

  @property
  def known(self) -> Degradation:
    """What it knows beside: all, if told, or what an input file would say."""
    case, known = self.case, Degradation(self.case.scale)
    if self.told:
      return known.replace(noise_std=case.noise_std, jpeg=case.compression)
    if self.config is not None and self.config.automatic:
      return known.replace(jpeg=case.jpeg)
    return known


def config_hash(config: Config | None) -> str | None:
  """Returns the first 8 hex digits of the hash of a config's fields."""
  if config is None:
    return None
  return rows.key_of(dataclasses.asdict(config))[:8]


def plan(
  cases: Sequence[Case],
  method_names: Sequence[str],
  seeds: Sequence[int],
  recipes: Mapping[str, Recipe],
  networks: Mapping[str, Callable[[float], Network]] | None = None,
) -> list[Task]:
  """Lists the rows that are wanted; a method without training has one seed.

  Args:
    cases: the test images.
    method_names: of `methods.REGISTRY`.
    seeds: of the training.
    recipes: of the methods that train, by their names.
    networks: of the methods that need one, by their names, at a scale.

  Raises:
    ValueError: for an unknown method, a config that needs a kernel where
      the case has none, or a start that there is none of for the scale.
  """
  start_of = functools.cache(
    lambda name, scale: digest_of(recipes[name].start(scale))
  )
  vgg_of = functools.cache(lambda name: digest_of(recipes[name].vgg))
  tasks = []
  for name in method_names:
    method = methods.find(name)
    recipe = recipes[name] if method.trains else None
    version = code.method_version(name, recipe and recipe.config)
    for case in cases:
      _check_told(case, recipe)
      network = Network(method.upscale, None)
      if method.network is not None:
        assert networks is not None
        network = networks[name](case.scale)
      task = Task(
        case=case,
        method=name,
        seed=0,
        recipe=recipe,
        upscale=network.upscale,
        code=version,
        key='',
        weights=network.weights,
        start=start_of(name, case.scale) if recipe else None,
        vgg=vgg_of(name) if recipe else None,
      )
      for seed in seeds if recipe else (0,):
        seeded = task._replace(seed=seed)
        tasks.append(seeded._replace(key=_key(seeded)))
  return tasks


def _check_told(case: Case, recipe: Recipe | None) -> None:
  """Refuses a config that needs a kernel where there is none.

  Of a mixed set some images have none, and that is the truth about them.
  """
  if recipe is None or recipe.config.kernel != 'given':
    return
  if case.kernel is None and 'drawn' not in case.details:
    raise ValueError(
      f'{recipe.name} needs a blur kernel, and {case.dataset} in'
      f' degradation {case.degradation} has none'
    )


def _key(task: Task) -> str:
  """The key of a task's row."""
  facts = {
    'method': task.method,
    'config': task.config and dataclasses.asdict(task.config),
    'seed': task.seed,
    'dataset': task.case.dataset,
    'image': task.case.image,
    'scale': task.case.scale,
    'degradation': task.case.degradation,
    'pixels': task.case.digest,
    'code': task.code,
    'start': task.start,
    'vgg': task.vgg,
    'weights': task.weights,
    'known': _digest_of_known(task.known),
  }
  return rows.key_of(rows.facts_of(facts))


def digest_of(tree: Any) -> str | None:
  """Returns 8 hex digits of the parameters in a tree; None for no tree."""
  if tree is None:
    return None
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return rows.key_of(
    {
      jax.tree_util.keystr(path): [
        list(leaf.shape),
        np.asarray(leaf, np.float32).tobytes().hex(),
      ]
      for path, leaf in leaves
    }
  )[:8]


def _digest_of_known(known: Degradation) -> str | None:
  """Returns 8 hex digits of known noise and compression; None for neither."""
  facts: dict[str, Any] = {}
  if known.noise_std is not None:
    facts['noise_std'] = known.noise_std
  if known.jpeg is not None:
    facts['tables'] = np.asarray(known.jpeg.tables).tolist()
    facts['sampling'] = known.jpeg.sampling
  return rows.key_of(facts)[:8] if facts else None


class Failure(NamedTuple):
  """A task that gave no row."""

  task: Task
  error: Exception

  def facts(self) -> dict[str, Any]:
    """Returns which row it would have been, as plain values."""
    case = self.task.case
    return {
      'key': self.task.key,
      'dataset': case.dataset,
      'image': case.image,
      'scale': case.scale,
      'degradation': case.degradation,
      'method': self.task.method,
      'seed': self.task.seed,
    }


class _Made(NamedTuple):
  """A row, and what it is about."""

  row: rows.Row
  image: np.ndarray
  result: super_resolution.Result | None = None  # of a training


def run(
  tasks: Sequence[Task],
  store: rows.Store,
  *,
  devices: Sequence[jax.Device],
  in_flight: int = 1,
  lpips: Lpips | None = None,
  progress: Callable[[Task, loop.Progress], None] | None = None,
) -> Iterator[rows.Row | Failure]:
  """Makes the rows that the store does not have yet.

  Args:
    tasks: from `plan`.
    store: receives each row, and under `images/` and `curves/` the result and
      the history of the methods worth it, before the row.
    devices: images are trained on all of them, one each.
    in_flight: or so many each.
    lpips: a distance to be measured as well.
    progress: called, from any thread, while a task trains.

  Yields:
    Each row once it is stored, or why there is none.
  """
  missing = [task for task in tasks if task.key not in store.rows]
  book = _Book(lpips, devices, in_flight)
  made: Iterator[tuple[Task, _Made | Exception]] = itertools.chain(
    _upscaled([task for task in missing if task.upscale], book),
    _trained([task for task in missing if not task.upscale], book, progress),
  )
  for task, outcome in made:
    if isinstance(outcome, Exception):
      yield Failure(task, outcome)
    else:
      yield _keep(store, _sent(task, outcome))


def _attempt(make: Callable[[], _Made]) -> _Made | Exception:
  """What `make` returns, or the error by which this image failed alone."""
  try:
    return make()
  except Exception as error:
    if not concerns_one_image(error):
      raise
    return error


def _upscaled(
  tasks: Sequence[Task], book: _Book
) -> Iterator[tuple[Task, _Made | Exception]]:
  """Upscales by the methods that do not train."""
  for task in tasks:
    yield task, _attempt(functools.partial(_upscale, task, book))


def _upscale(task: Task, book: _Book) -> _Made:
  """The row of a method that does not train."""
  assert task.upscale is not None
  pixels = task.case.load()
  memory.reset_peak()
  begin = time.perf_counter()
  with jax.default_device(book.devices[0]):
    image = task.upscale(pixels.lr, task.case.scale)
  seconds = time.perf_counter() - begin
  row = book.row(task, pixels, image)
  return _Made({**row, 'seconds': round(seconds, 3)}, image)


def _trained(
  tasks: Sequence[Task],
  book: _Book,
  progress: Callable[[Task, loop.Progress], None] | None,
) -> Iterator[tuple[Task, _Made | Exception]]:
  """Trains on the images, and judges the results."""

  def report(index: int, part: loop.Progress) -> None:
    if progress is not None:
      progress(tasks[index], part)

  items = [
    parallel.Item(
      functools.partial(_start, task, book.alone), _shape_class(task)
    )
    for task in tasks
  ]
  outcomes = parallel.map_images(items, book.devices, book.in_flight, report)
  with contextlib.closing(outcomes):  # nothing trains on after an error
    for index, outcome in outcomes:
      task = tasks[index]
      if not isinstance(outcome, Exception):
        outcome = _attempt(functools.partial(_judged, task, outcome, book))
      yield task, outcome


def _start(task: Task, alone: bool) -> super_resolution.Run:
  """Reads the image of a task, and returns its run.

  Where it is `alone` on the machine, memory is measured, and the image is read
  when its turn comes.
  """
  pixels = None if alone else task.case.load().lr
  return _run(task, pixels)


def _run(task: Task, lr: np.ndarray | None) -> super_resolution.Run:
  if lr is None:
    memory.reset_peak()
    lr = task.case.load().lr
  assert task.recipe is not None
  config = task.recipe.config
  if task.told and task.kernel is None:
    config = config.replace(kernel='bicubic')
  return (
    yield from super_resolution.run_image(
      image=lr,
      scale=task.case.scale,
      kernel=task.kernel,
      degradation=task.known,
      config=config,
      start=task.recipe.start(task.case.scale),
      vgg=task.recipe.vgg,
      key=jax.random.key(task.seed),
    )
  )


def _shape_class(task: Task) -> Hashable:
  """What decides whether tasks train together; None: with no other."""
  assert task.config is not None
  shape, scale = task.case.lr_shape, task.case.scale
  try:
    stages = stages_lib.plan_stages(shape, scale, task.config)
  except ValueError:  # comes again when the task's turn does
    return None
  kind = parallel.shape_class(shape, task.kernel, stages)
  return kind, scale, task.config


def _judged(task: Task, result: super_resolution.Result, book: _Book) -> _Made:
  """The row of a training's result."""
  image, shift = _align(task, result)
  row = book.row(task, task.case.load(), image)
  row |= {
    'seconds': round(sum(result.seconds.values()), 2),
    'phases': {k: round(v, 2) for k, v in result.seconds.items()},
    'steps': len(result.history.loss),
    'drops': result.history.drops,
    'rollbacks': result.history.rollbacks,
    'noise_std': round(result.config.noise_std, 5),
    'consistency': _finite(result.consistency, 2),
    'kernel': _kernel_facts(task, result),
    'found': result.diagnosis and str(result.diagnosis),
    'reason': result.diagnosis and result.diagnosis.reason,
    'shift': shift,
  }
  return _Made(row, image, result)


class _Book:
  """Writes the part of a row that every method has."""

  def __init__(
    self, lpips: Lpips | None, devices: Sequence[jax.Device], in_flight: int
  ):
    self.devices = devices
    self.in_flight = in_flight
    self._lpips = lpips
    self._bicubic: dict[tuple[Any, ...], tuple[float, float]] = {}

  @property
  def alone(self) -> bool:
    """Whether one image trains at a time."""
    return len(self.devices) * self.in_flight == 1

  def row(self, task: Task, pixels: Pixels, image: np.ndarray) -> rows.Row:
    """Returns what every method's row has, but for the seconds."""
    peak = memory.peak_megabytes(self.devices[0])
    case = task.case
    place = (case.dataset, case.image, case.scale, case.degradation)
    judge = Judge(pixels.lr, pixels.hr, case.scale, self._bicubic.get(place))
    scores = judge.score(image)
    self._bicubic[place] = judge.bicubic_score
    row: rows.Row = {
      'key': task.key,
      'dataset': case.dataset,
      'image': case.image,
      'of': case.of,
      'scale': case.scale,
      'method': task.method,
      'degradation': case.degradation,
      'degradation_seed': case.degradation_seed,
      'details': case.details,
      'seed': task.seed,
      'config_name': task.config_name,
      'config_hash': config_hash(task.config),
      'kernel_given': task.told,
      'start': task.start,
      'vgg': task.vgg,
      'weights': task.weights,
      'known': _digest_of_known(task.known),
      'psnr': _finite(scores.psnr, 4),
      'ssim': _finite(scores.ssim, 5),
      'bicubic_psnr': _finite(scores.bicubic_psnr, 4),
      'bicubic_ssim': _finite(scores.bicubic_ssim, 5),
      'peak_mb': round(peak),
      'code': task.code,
      'commit': code.commit(),
      'pixels': case.digest,
      'jax': importlib.metadata.version('jax'),
      'device': self._machine(task),
      'config': task.config and dataclasses.asdict(task.config),
    }
    if self._lpips is not None:
      height, width = np.minimum(image.shape, pixels.hr.shape)[:2]
      shown = [a[:height, :width] for a in (image, pixels.hr)]
      row['lpips'] = round(self._lpips(*shown), 5)
    return row

  def _machine(self, task: Task) -> str:
    """Where a row was made; a process pinned by taskset says so."""
    several = ''
    if task.recipe and self.in_flight > 1:
      several = f', {self.in_flight} in flight'
    return (
      f'{len(self.devices)} x {self.devices[0].device_kind}{several},'
      f' {conv.cores()} cores, {platform.machine()}'
    )


def _align(
  task: Task, result: super_resolution.Result
) -> tuple[np.ndarray, list[float] | None]:
  """Takes the true kernel's own shift out of a result that cannot know it.

  An estimated kernel is centred; where the true one was not, the result is
  right but for a shift, which a score would punish.

  Returns:
    The image and by how many pixels (y, x) it was moved; None for not at all.
  """
  true = task.case.kernel
  if not _looked_for_kernel(task, result) or true is None:
    return result.image, None
  aligned = blur_kernels.aligned_center(true.shape, task.case.scale)
  mass = blur_kernels.center_of_mass(true)
  shift = [m - a for m, a in zip(mass, aligned, strict=True)]
  if max(map(abs, shift)) < 0.01:
    return result.image, None
  moved = scipy.ndimage.shift(
    result.image, (*shift, 0), order=5, mode='nearest'
  )
  return moved.clip(0, 1), [round(s, 3) for s in shift]


def _looked_for_kernel(task: Task, result: super_resolution.Result) -> bool:
  """Whether the kernel was to be found in the image."""
  found = result.diagnosis is not None and not task.told
  return found or result.estimate is not None


def _kernel_facts(
  task: Task, result: super_resolution.Result
) -> dict[str, Any] | None:
  """What an estimated kernel was like; None where none was."""
  if not _looked_for_kernel(task, result):
    return None
  facts: dict[str, Any] = {}
  if (estimate := result.estimate) is not None:
    unknown = math.isnan(estimate.agreement)
    facts |= {
      'agreement': None if unknown else round(estimate.agreement, 4),
      'warning': estimate.warning,
    }
  if result.kernel is not None:
    facts['width'] = [
      round(v, 3) for v in blur_kernels.kernel_width(result.kernel)
    ]
    if task.case.kernel is not None:
      correlation = blur_kernels.kernel_correlation(
        task.case.kernel, result.kernel, task.case.scale
      )
      facts['correlation'] = round(correlation, 4)
  return facts


def _finite(value: float, digits: int) -> float:
  """Rounds; the PSNR of equal images, infinite, becomes 999 for JSON."""
  return round(min(value, 999.0), digits)


class Sent(NamedTuple):
  """A row, and what goes with it by its place in the store's folder."""

  row: rows.Row
  contents: dict[str, bytes]


def _keep(store: rows.Store, sent: Sent) -> rows.Row:
  """Writes what goes with a row, and then the row."""
  _write_beside(store.folder, sent.contents)
  store.append(sent.row)
  return sent.row


def _sent(task: Task, made: _Made) -> Sent:
  """Encodes what goes with a row."""
  contents = {}
  if methods.find(task.method).keeps_image:
    contents[_IMAGE.format(task.key)] = image_io.encode_png(made.image)
  if made.result is not None:
    kernel = made.result.kernel
    stream = io.BytesIO()
    made.result.history.save(
      stream, **({} if kernel is None else {'kernel': kernel})
    )
    contents[_CURVES.format(task.key)] = stream.getvalue()
  return Sent(made.row, contents)


def _write_beside(folder: Path, contents: Mapping[str, bytes]) -> None:
  """Writes what goes with a row."""
  placed: dict[str | os.PathLike[str], files.Content] = {
    folder / name: content for name, content in contents.items()
  }
  for path in placed:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
  files.write_files(placed)


def image_path(store: rows.Store, key: str) -> Path:
  """Returns where the result of a row lies, if it is kept."""
  return store.folder / _IMAGE.format(key)


def curves_path(store: rows.Store, key: str) -> Path:
  """Returns where a row's training curves and the kernel used lie (.npz)."""
  return store.folder / _CURVES.format(key)


def take_in(store: rows.Store, folder: Path) -> None:
  """Adds another folder's rows, and what goes with them, where they are new.

  Raises:
    OSError: where something cannot be read or written.
    ValueError: for a damaged file of rows.
  """
  for row in rows.read_rows(folder / rows.NAME):
    if (key := row.get('key')) and key not in store.rows:
      names = [name.format(key) for name in (_IMAGE, _CURVES)]
      there = [name for name in names if (folder / name).is_file()]
      contents = {name: (folder / name).read_bytes() for name in there}
      _keep(store, Sent(row, contents))


class Order(NamedTuple):
  """A task, as a worker of a cluster is told of it."""

  case: Case
  method: str
  seed: int
  key: str


class Bench:
  """Makes rows on a worker of a cluster; a `cluster.Bench`."""

  def __init__(
    self,
    recipes: Mapping[str, Recipe],
    networks: Mapping[str, Callable[[float], Network]],
    *,
    devices: Sequence[jax.Device],
    in_flight: int,
    lpips: Lpips | None = None,
    folder: Path | None = None,
  ):
    """Takes what `plan` and `run` take.

    Args:
      recipes: see `plan`.
      networks: see `plan`.
      devices: of this host.
      in_flight: images that each has at a time.
      lpips: see `run`.
      folder: where the worker writes what goes with a row; None: it is sent.
    """
    self._recipes, self._networks = recipes, networks
    self._book = _Book(lpips, devices, in_flight)
    self._folder = folder
    self._alike: dict[tuple[str, float], Task] = {}

  def item(
    self, order: Order, report: Callable[[loop.Progress], None]
  ) -> tuple[cluster.Start, Callable[[loop.Progress], None]]:
    """Returns how an order is started; see `cluster.Bench`."""

    def start() -> parallel.Run[tuple[Task, Any]]:
      task = self._task(order)
      if task.key != order.key:
        raise cluster.NotHereError(
          f'{order.case.image}: other weights or code on this host than at the'
          ' driver; install and share the same'
        )
      return _row_run(task, self._book)

    return start, report

  def _task(self, order: Order) -> Task:
    """Makes the task of an order, with this host's parameters and code."""
    place = order.method, order.case.scale
    if place not in self._alike:
      self._alike[place] = plan(
        [order.case], [order.method], [0], self._recipes, self._networks
      )[0]
    task = self._alike[place]._replace(case=order.case, seed=order.seed)
    return task._replace(key=_key(task))

  def finish(self, order: Order, outcome: Any) -> Sent:
    """Judges a result; see `cluster.Bench`."""
    task, made = outcome
    if not isinstance(made, _Made):
      made = _judged(task, made, self._book)
    sent = _sent(task, made)
    if self._folder is None:
      return sent
    _write_beside(self._folder, sent.contents)
    return sent._replace(contents={})


def _row_run(task: Task, book: _Book) -> parallel.Run[tuple[Task, Any]]:
  """The run of any method: of one that does not train it ends at once."""
  if task.upscale:
    return task, _upscale(task, book)
  return task, (yield from _start(task, book.alone))


def run_on_cluster(
  tasks: Sequence[Task],
  store: rows.Store,
  open_bench: cluster.Opener,
  settings: Any,
  *,
  limits: tuple[int | None, int],
  progress: Callable[[Task, loop.Progress], None] | None = None,
  note: Callable[[str], None],
) -> Iterator[rows.Row | Failure]:
  """As `run`, on the hosts of the cluster that was joined.

  Args:
    tasks: from `plan`.
    store: see `run`.
    open_bench: returns a `Bench`, see `cluster.map_images`.
    settings: for it.
    limits: devices of each host and images of each, see there.
    progress: see `run`.
    note: called with a line on a host that joins or is lost.

  Yields:
    As `run`.
  """
  missing = [task for task in tasks if task.key not in store.rows]
  orders = [
    cluster.Order(
      Order(task.case, task.method, task.seed, task.key),
      (task.method, task.recipe and _shape_class(task)),
      tuple(filter(None, task.case.pair[1:])),
    )
    for task in missing
  ]

  def report(index: int, part: loop.Progress) -> None:
    if progress is not None:
      progress(missing[index], part)

  outcomes = cluster.map_images(
    orders, open_bench, settings, limits=limits, progress=report, note=note
  )
  with contextlib.closing(outcomes):
    for index, outcome in outcomes:
      if isinstance(outcome, Exception):
        yield Failure(missing[index], outcome)
      else:
        yield _keep(store, outcome)
