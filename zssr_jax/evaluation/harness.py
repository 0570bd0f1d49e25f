"""Method x case x seed -> one row an image, whatever happens in between.

What a row is keyed by determines its numbers: method, config, seed, the
pixels and the kernel, the code. So a run goes on where an earlier one
stopped, and a changed config never mixes with the old one's rows.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import io
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.ndimage

from zssr_jax import blur_kernels, super_resolution
from zssr_jax import stages as stages_lib
from zssr_jax.baselines import interpolation
from zssr_jax.config import Config
from zssr_jax.data import files, image_io
from zssr_jax.evaluation import code, memory, methods, rows
from zssr_jax.evaluation.cases import Case, Pixels
from zssr_jax.ops import conv, metrics
from zssr_jax.parallel import devices as parallel

Lpips = Callable[[np.ndarray, np.ndarray], float]


class Recipe(NamedTuple):
  """What a method that trains takes beside the image."""

  config: Config
  name: str  # of the config
  # Parameters to start from at a scale; None: random ones.
  start: Callable[[float], Any] = lambda scale: None
  vgg: Any = None  # variables of VGG16, for a content loss


class Network(NamedTuple):
  """What a method whose network is trained on other images upscales with."""

  upscale: methods.Upscale
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
    """Of the training, if there is any."""
    return None if self.recipe is None else self.recipe.config

  @property
  def config_name(self) -> str | None:
    """The name of that config."""
    return None if self.recipe is None else self.recipe.name

  @property
  def kernel(self) -> np.ndarray | None:
    """The true kernel, where the method is to have it."""
    given = self.config is not None and self.config.kernel == 'given'
    return self.case.kernel if given else None


def config_hash(config: Config | None) -> str | None:
  """First 8 hex digits of the hash of a config's fields."""
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
    trains = method.trains
    version = code.method_version(name)
    recipe = recipes[name] if trains else None
    for case in cases:
      config = None if recipe is None else recipe.config
      if recipe and recipe.config.kernel == 'given' and case.kernel is None:
        raise ValueError(
          f'{recipe.name} needs a blur kernel, and {case.dataset} in'
          f' degradation {case.degradation} has none'
        )
      upscale, trained = method.upscale, None
      if method.network is not None:
        assert networks is not None
        upscale, trained = networks[name](case.scale)
      for seed in seeds if trains else seeds[:1]:
        start, vgg = None, None
        if trains:
          start, vgg = start_of(name, case.scale), vgg_of(name)
        facts = rows.facts_of(
          {
            'method': name,
            'config': config and dataclasses.asdict(config),
            'seed': seed,
            'dataset': case.dataset,
            'image': case.image,
            'scale': case.scale,
            'degradation': case.degradation,
            'pixels': case.digest,
            'code': version,
            'start': start,
            'vgg': vgg,
            'weights': trained,
          }
        )
        tasks.append(
          Task(
            case=case,
            method=name,
            seed=seed if trains else 0,
            recipe=recipe,
            upscale=upscale,
            weights=trained,
            code=version,
            key=rows.key_of(facts),
            start=start,
            vgg=vgg,
          )
        )
  return tasks


def digest_of(tree: Any) -> str | None:
  """8 hex digits of the parameters in a tree; None for no tree."""
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


class Failure(NamedTuple):
  """A task that gave no row."""

  task: Task
  error: ValueError


def run(
  tasks: Sequence[Task],
  store: rows.Store,
  *,
  devices: Sequence[jax.Device],
  in_flight: int = 1,
  lpips: Lpips | None = None,
) -> Iterator[rows.Row | Failure]:
  """Makes the rows that the store does not have yet.

  Args:
    tasks: from `plan`.
    store: receives each row, and under `images/` and `curves/` the result and
      the history of the methods worth it, before the row.
    devices: images are trained on all of them, one each.
    in_flight: or so many each.
    lpips: a distance to be measured as well.

  Yields:
    Each row once it is stored, or why there is none.
  """
  missing = [task for task in tasks if task.key not in store.rows]
  judge = _Judge(lpips, len(devices), in_flight)
  for task in missing:
    if task.upscale is None:
      continue
    pixels = task.case.load()
    memory.reset_peak()
    begin = time.perf_counter()
    try:
      with jax.default_device(devices[0]):
        image = task.upscale(pixels.lr, task.case.scale)
    except ValueError as error:
      yield Failure(task, error)
      continue
    seconds = time.perf_counter() - begin
    row = judge.row(task, pixels, image, devices[0])
    yield _keep(store, task, {**row, 'seconds': round(seconds, 3)}, image)
  trained = [task for task in missing if task.upscale is None]
  for task, result in _train(trained, devices, in_flight):
    if isinstance(result, ValueError):
      yield Failure(task, result)
      continue
    image, shift = _align(task, result)
    row = judge.row(task, task.case.load(), image, devices[0])
    row |= {
      'seconds': round(sum(result.seconds.values()), 2),
      'phases': {k: round(v, 2) for k, v in result.seconds.items()},
      'steps': len(result.history.loss),
      'drops': result.history.drops,
      'rollbacks': result.history.rollbacks,
      'noise_std': round(result.config.noise_std, 5),
      'consistency': _finite(result.consistency, 2),
      'kernel': _kernel_facts(task, result),
      'shift': shift,
    }
    yield _keep(store, task, row, image, result)


def _train(
  tasks: Sequence[Task], devices: Sequence[jax.Device], in_flight: int
) -> Iterator[tuple[Task, Any]]:
  """Trains the tasks and yields a `Result`, or the error, for each."""

  def arguments(task: Task) -> dict[str, Any]:
    assert task.recipe is not None
    return {
      'image': task.case.load().lr,
      'scale': task.case.scale,
      'kernel': task.kernel,
      'config': task.recipe.config,
      'start': task.recipe.start(task.case.scale),
      'vgg': task.recipe.vgg,
      'key': jax.random.key(task.seed),
    }

  if len(devices) * in_flight == 1:
    for task in tasks:
      memory.reset_peak()
      try:
        with jax.default_device(devices[0]):
          yield task, super_resolution.train_image(**arguments(task))
      except ValueError as error:
        yield task, error
    return
  items, ready = [], []
  for task in tasks:
    assert task.config is not None
    shape = task.case.lr_shape
    try:
      stages = stages_lib.plan_stages(shape, task.case.scale, task.config)
    except ValueError as error:
      yield task, error
      continue
    kind = parallel.shape_class(shape, task.kernel, stages)
    start = functools.partial(
      lambda t: super_resolution.run_image(**arguments(t)), task
    )
    items.append(parallel.Item(start, (kind, task.case.scale, task.config)))
    ready.append(task)
  for index, result in parallel.map_images(items, devices, in_flight):
    yield ready[index], result


class _Judge:
  """Scores results, and bicubic interpolation beside each."""

  def __init__(self, lpips: Lpips | None, device_count: int, in_flight: int):
    self._lpips = lpips
    self._devices = device_count
    self._in_flight = f', {in_flight} in flight' if in_flight > 1 else ''
    self._bicubic: dict[tuple[Any, ...], tuple[float, float]] = {}

  def row(
    self, task: Task, pixels: Pixels, image: np.ndarray, device: jax.Device
  ) -> rows.Row:
    """All of a row that every method has, but for the seconds."""
    peak = memory.peak_megabytes(device)
    case = task.case
    psnr, ssim = metrics.score(image, pixels.hr, case.scale)
    place = (case.dataset, case.image, case.scale, case.degradation)
    if place not in self._bicubic:
      bicubic = interpolation.bicubic(pixels.lr, case.scale)
      self._bicubic[place] = metrics.score(bicubic, pixels.hr, case.scale)
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
      'kernel_given': task.kernel is not None,
      'start': task.start,
      'vgg': task.vgg,
      'weights': task.weights,
      'psnr': _finite(psnr, 4),
      'ssim': _finite(ssim, 5),
      'bicubic_psnr': _finite(self._bicubic[place][0], 4),
      'bicubic_ssim': _finite(self._bicubic[place][1], 5),
      'peak_mb': round(peak),
      'code': task.code,
      'commit': code.commit(),
      'pixels': case.digest,
      'jax': importlib.metadata.version('jax'),
      # A process pinned by taskset says so.
      'device': f'{self._devices} x {device.device_kind}'
      f'{self._in_flight if task.recipe else ""}, {conv.cores()} cores,'
      f' {platform.machine()}',
      'config': None
      if task.config is None
      else dataclasses.asdict(task.config),
    }
    if self._lpips is not None:
      shown = [
        a[: min(image.shape[0], pixels.hr.shape[0])][
          :, : min(image.shape[1], pixels.hr.shape[1])
        ]
        for a in (image, pixels.hr)
      ]
      row['lpips'] = round(self._lpips(*shown), 5)
    return row


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
  if result.estimate is None or true is None:
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


def _kernel_facts(
  task: Task, result: super_resolution.Result
) -> dict[str, Any] | None:
  """What an estimated kernel was like; None where none was."""
  estimate = result.estimate
  if estimate is None:
    return None
  facts: dict[str, Any] = {
    'agreement': None
    if math.isnan(estimate.agreement)
    else round(estimate.agreement, 4),
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


def _keep(
  store: rows.Store,
  task: Task,
  row: rows.Row,
  image: np.ndarray,
  result: super_resolution.Result | None = None,
) -> rows.Row:
  """Writes what goes with a row, and then the row."""
  contents: dict[str | os.PathLike[str], bytes | str] = {}
  if methods.find(task.method).keeps_image:
    contents[image_path(store, task.key)] = image_io.encode_png(image)
  if result is not None:
    history = result.history
    arrays = {
      'loss': history.loss,
      'learning_rate': history.learning_rate,
      'error_steps': history.error_steps,
      'error': history.error,
      'stages': np.asarray([stage[2] for stage in history.stages]),
      'drops': np.asarray(history.drops, np.int32),
    }
    if result.kernel is not None:
      arrays['kernel'] = result.kernel
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    contents[curves_path(store, task.key)] = stream.getvalue()
  for path in contents:
    Path(path).parent.mkdir(exist_ok=True)
  files.write_files(contents)
  store.append(row)
  return row


def image_path(store: rows.Store, key: str) -> Path:
  """Where the result of a row lies, if it is kept."""
  return store.folder / 'images' / f'{key}.png'


def curves_path(store: rows.Store, key: str) -> Path:
  """Where the training curves and the kernel used of a row lie (.npz)."""
  return store.folder / 'curves' / f'{key}.npz'
