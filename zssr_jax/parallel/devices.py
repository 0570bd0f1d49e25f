"""Drives runs: one image, or several, one per device or more by threads.

Each image is a generator of training jobs (`super_resolution.run_image`), its
run. `drive` takes one to its result, `map_images` many.

On several devices images of one shape class go together by `jax.pmap`, unless
several are in flight on a device: their jobs are stacked, so that one program
trains them all, a chunk of steps at a time. A run that has ended, and the
copies that fill up the last group, idle inside the compiled step. Training on
many images shares each batch among the devices instead (`data_parallel`). This
file is the only one that knows how the mapping is done.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import functools
import itertools
import os
import queue
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax.config import Config
from zssr_jax.errors import concerns_one_image
from zssr_jax.training import loop, pool
from zssr_jax.training import losses as loss_lib
from zssr_jax.training import step as step_lib

if TYPE_CHECKING:
  from zssr_jax.pretraining import loop as pretraining_loop
  from zssr_jax.pretraining import step as pretraining_step

T = TypeVar('T')

# Yields jobs, is sent what comes of each, and returns the result.
Run = Generator[loop.Job, Any, T]
Report = Callable[[loop.Progress], None]


class Item(NamedTuple):
  """One image to train."""

  # Reads what there is to read, and returns the image's run. It is called in
  # a thread, while images before it still train: what is to wait for its turn
  # belongs into the run.
  start: Callable[[], Run[Any]]
  # Images whose jobs can be stacked have the same; None: can with no other.
  shape_class: Hashable = None


def available(count: int | None) -> list[jax.Device]:
  """Returns the first `count` devices of this process, or all of them.

  Raises:
    ValueError: when there are fewer; it says how many there are. Also where
      JAX finds none, since JAX_PLATFORMS names others, say.
  """
  try:
    devices = jax.local_devices()
  except (AssertionError, RuntimeError) as error:
    words = ' '.join(str(error).split()) or 'it says no more'
    named = os.environ.get('JAX_PLATFORMS')
    hint = f'; JAX_PLATFORMS={named} asks for them' if named else ''
    raise ValueError(f'JAX finds no devices: {words}{hint}') from None
  if count is not None and not 1 <= count <= len(devices):
    kind = devices[0].platform
    hint = ' (JAX_NUM_CPU_DEVICES makes more of a CPU)' if kind == 'cpu' else ''
    raise ValueError(
      f'{count} devices asked for, but there are {len(devices)} of kind'
      f' {kind}{hint}'
    )
  return devices[:count]


def shape_class(
  shape: Sequence[int],
  kernel: np.ndarray | None,
  plan: Sequence[tuple[tuple[float, float], int, int]],
) -> Hashable:
  """Returns what two images must agree in for their jobs to be stacked.

  Args:
    shape: of the input `[h, w, C]`.
    kernel: `[kh, kw]` or None.
    plan: of each stage the factors (y, x), the crop's and the windows' side
      (`stages.plan_stages`).
  """
  largest = max(shape[:2])
  padded = []
  for factors, _, _ in plan:
    padded.append(_up(largest, pool.BUCKET))
    largest = max(largest, round(max(shape[:2]) * max(factors)))
  # A window as long as the image comes alone instead of in pairs.
  windows = [(shape[0] > side) + (shape[1] > side) for _, _, side in plan]
  return (
    shape[2],
    None if kernel is None else kernel.shape,
    tuple(plan),
    tuple(padded),
    tuple(windows),
  )


def drive(run: Run[T], progress: Report | None = None) -> T:
  """Trains what a run asks for, job by job, and returns its result.

  Args:
    run: the run; closed at the end, also after an error.
    progress: called with a `Progress` a few times a second while training.
  """
  trained: Any = None
  with contextlib.closing(run):
    while True:
      try:
        job = run.send(trained)
      except StopIteration as stop:
        return stop.value
      trained = loop.train(job, progress)


def map_images(
  items: Sequence[Item],
  devices: Sequence[jax.Device],
  in_flight: int = 1,
  progress: Callable[[int, loop.Progress], None] | None = None,
) -> Generator[tuple[int, Any], None, None]:
  """Trains every item, `in_flight` at a time on each device.

  Images of one shape class are trained together, one a device. One that is
  left alone in its class gets a device to itself, beside others of that kind.
  With several in flight none are trained together: the images of a device
  take turns, and while one is prepared, or its result made, read or judged by
  the host, another trains.

  As many images as there are devices are started (`Item.start`) ahead of
  their turn. With one device and one in flight no image trains while the
  caller has a result in hand, so that memory and time that are measured are
  those of one image.

  Args:
    items: the images.
    devices: from `available`.
    in_flight: images that a device has at a time.
    progress: called, from any thread, with the index of an item and a
      `Progress`, a few times a second.

  Yields:
    (index of the item, outcome), as they end; each index once, in their
    order with one device and one in flight. An outcome is what the run
    returned, or the error that `errors.concerns_one_image` and that starting,
    training or finishing it raised; other errors come out of the iteration.
  """
  groups, alone = _arrange(items, len(devices), in_flight)
  order = [*itertools.chain(*groups), *alone]

  def report(index: int) -> Report | None:
    return None if progress is None else functools.partial(progress, index)

  with _Starts(items, order, len(devices)) as starts:
    for group in groups:
      outcomes = _run_group(
        [starts.take(index) for index in group],
        devices,
        [report(index) for index in group],
      )
      yield from zip(group, outcomes, strict=True)
    # Each device is there as often as it has images.
    slots = [device for device in devices for _ in range(in_flight)]
    yield from _run_alone(alone, starts, slots, report)


def finish_each(
  outcomes: Generator[tuple[int, Any], None, None],
  finish: Callable[[int, Any], None],
) -> None:
  """Calls `finish(index, outcome)` for each, while the next ones train.

  One at a time and in their order, in a thread of its own: no more than one
  outcome waits, or they would pile up where finishing is slow. An error of
  `finish` ends it all.

  Args:
    outcomes: from `map_images`; closed at the end, also after an error.
    finish: takes an outcome.
  """
  with ThreadPoolExecutor(1) as thread, contextlib.closing(outcomes):
    finishing: Future[None] | None = None
    for index, outcome in outcomes:
      if finishing:
        finishing.result()
      finishing = thread.submit(finish, index, outcome)
      del outcome
    if finishing:
      finishing.result()


def _arrange(
  items: Sequence[Item], devices: int, in_flight: int
) -> tuple[list[list[int]], list[int]]:
  """Splits items into groups that train together and those that do not."""
  classes: dict[Hashable, list[int]] = {}
  alone = []
  for index, item in enumerate(items):
    if item.shape_class is None or in_flight > 1:
      alone.append(index)
    else:
      classes.setdefault(item.shape_class, []).append(index)
  groups = []
  for members in classes.values():
    for first in range(0, len(members), devices):
      group = members[first : first + devices]
      if len(group) == 1:
        alone += group
      else:
        groups.append(group)
  return groups, sorted(alone)


class _Starts:
  """Starts items in threads of its own, a few ahead of their turn."""

  def __init__(
    self, items: Sequence[Item], order: Sequence[int], ahead: int
  ) -> None:
    """Starts the first ones.

    Args:
      items: all of them.
      order: the indices in which they will be taken.
      ahead: how many to start before they are taken.
    """
    self._items = items
    self._waiting = iter(order)
    self._started: dict[int, Future[Run[Any]]] = {}
    self._threads = ThreadPoolExecutor(ahead)
    self._start(ahead)

  def __enter__(self) -> _Starts:
    return self

  def __exit__(self, *_: object) -> None:
    self._threads.shutdown(cancel_futures=True)

  def _start(self, count: int) -> None:
    for index in itertools.islice(self._waiting, count):
      start = self._items[index].start
      self._started[index] = self._threads.submit(start)

  def take(self, index: int) -> Future[Run[Any]]:
    """Returns the next item's run, and starts another item in its place."""
    self._start(1)
    return self._started.pop(index)


def _run_alone(
  indices: Sequence[int],
  starts: _Starts,
  slots: Sequence[jax.Device],
  report: Callable[[int], Report | None],
) -> Iterator[tuple[int, Any]]:
  """Runs each item on whichever of the slots is free."""
  free: queue.SimpleQueue[jax.Device] = queue.SimpleQueue()
  for device in slots:
    free.put(device)

  def work(start: Future[Run[Any]], progress: Report | None) -> Any:
    device = free.get()
    try:
      run = start.result()
      with jax.default_device(device):
        return drive(run, progress)
    except Exception as error:
      if not concerns_one_image(error):
        raise
      return error
    finally:
      free.put(device)

  waiting = iter(indices)
  running: dict[Future[Any], int] = {}
  with ThreadPoolExecutor(len(slots)) as threads:

    def fill() -> None:
      # No more than there is room for, so that neither results pile up where
      # they are taken slowly, nor an error waits for the rest.
      for index in itertools.islice(waiting, len(slots) - len(running)):
        start = starts.take(index)
        running[threads.submit(work, start, report(index))] = index

    fill()
    while running:
      ended, _ = concurrent.futures.wait(
        running, return_when=concurrent.futures.FIRST_COMPLETED
      )
      outcomes = collections.deque(
        sorted((running.pop(future), future) for future in ended)
      )
      del ended
      if len(slots) > 1:
        fill()
      while outcomes:  # and none is kept while others train
        index, future = outcomes.popleft()
        yield index, future.result()
        del future
      fill()


def _run_group(
  starts: Sequence[Future[Run[Any]]],
  devices: Sequence[jax.Device],
  reports: Sequence[Report | None],
) -> list[Any]:
  """Drives up to `len(devices)` runs to their outcomes."""
  results: list[Any] = [None] * len(starts)
  answers: list[Any] = [None] * len(starts)
  waiting = list(range(len(starts)))

  def advance(slot: int) -> loop.Job | None:
    # Preparation and inference belong to the image's own device.
    with jax.default_device(devices[slot]):
      try:
        return starts[slot].result().send(answers[slot])
      except StopIteration as stop:
        results[slot] = stop.value
      except Exception as error:
        if not concerns_one_image(error):
          raise
        results[slot] = error
    return None

  def train(jobs: dict[int, loop.Job]) -> None:
    try:
      trained = train_together(
        list(jobs.values()), devices, [reports[slot] for slot in jobs]
      )
    except Exception as error:  # of memory, most likely
      if not concerns_one_image(error):
        raise
      for slot in jobs:
        starts[slot].result().close()
        results[slot] = error
        waiting.remove(slot)
    else:
      for slot, answer in zip(jobs, trained, strict=True):
        answers[slot] = answer

  try:
    with ThreadPoolExecutor(len(starts)) as threads:
      while waiting:
        jobs = dict(zip(waiting, threads.map(advance, waiting), strict=True))
        pending = {slot: job for slot, job in jobs.items() if job is not None}
        waiting[:] = pending
        # An image whose kernel was not to be found goes on with bicubic.
        alike: dict[Any, dict[int, loop.Job]] = {}
        for slot, job in pending.items():
          alike.setdefault(job.kind, {})[slot] = job
        for group in alike.values():
          train(group)
  finally:  # after a mistake of the program's, once no thread is in a run
    for slot in waiting:
      start = starts[slot]
      if start.done() and not start.cancelled() and not start.exception():
        start.result().close()
  return results


@functools.lru_cache(maxsize=64)
def _make_chunk(
  model: nn.Module,
  side: int,
  losses: tuple[loss_lib.Term, ...],
  config: Config,
  length: int,
  devices: tuple[jax.Device, ...],
) -> Callable[..., tuple[step_lib.State, step_lib.Record]]:
  """Maps `loop.make_chunk` over arguments stacked `[D, ...]`, a device each."""
  chunk = loop.make_chunk(model, side, losses, config, length)
  return jax.pmap(chunk, devices=devices)


@functools.lru_cache(maxsize=8)
def _make_choice(devices: tuple[jax.Device, ...]) -> Callable[..., Any]:
  """Makes `choice(accepted, given_up, rollbacks, before, after) -> state`."""

  def choice(accepted, given_up, rollbacks, before, after):
    state = jax.tree.map(
      lambda new, old: jnp.where(accepted, new, old),
      after,
      loop.go_back(before, rollbacks),
    )
    return state._replace(done=state.done | given_up)

  return jax.pmap(choice, devices=devices)


def train_together(
  jobs: Sequence[loop.Job],
  devices: Sequence[jax.Device],
  reports: Sequence[Report | None] = (),
) -> list[loop.Trained]:
  """Trains several jobs at once, as `loop.train` does one.

  Args:
    jobs: 1 to `len(devices)` jobs that agree in all but their arrays' values
      and the padding of their pools.
    devices: where to run them.
    reports: called with the progress of each job; none at all for nothing.

  Returns:
    What `loop.train` returns for each job, in host arrays.
  """
  count = len(jobs)
  devices = tuple(devices)
  lead = jobs[0]
  # Copies that are done from the start fill the devices that are left over.
  fill = range(count, len(devices))
  states = [job.state for job in jobs]
  states += [lead.state._replace(done=jnp.ones((), bool)) for _ in fill]
  data = _pad_alike([job.data for job in jobs])
  data += [data[0] for _ in fill]
  state, stacked = _stack(states), _stack(data)
  chunk = _make_chunk(
    lead.model,
    lead.side,
    lead.losses,
    lead.config,
    loop.chunk_length(),
    devices,
  )
  watches = [
    loop.Watch(job, report)
    for job, report in itertools.zip_longest(jobs, reports)
  ]
  while not (done := np.asarray(state.done)).all():
    after, record = chunk(state, stacked)
    record = jax.device_get(record)
    accepted = np.ones(len(devices), bool)
    given_up = np.zeros(len(devices), bool)
    for slot, watch in enumerate(watches):
      if not done[slot]:
        part = jax.tree.map(lambda values, slot=slot: values[slot], record)
        accepted[slot] = watch.accepts(part)
        given_up[slot] = watch.hopeless
    if accepted.all():
      state = after
    else:
      rollbacks = [len(watch.rollbacks) for watch in watches]
      rollbacks += [0 for _ in fill]
      state = _make_choice(devices)(
        accepted, given_up, np.asarray(rollbacks, np.int32), state, after
      )
  state = jax.device_get(state._replace(key=jnp.zeros(len(devices))))
  return [
    loop.finish(jax.tree.map(lambda leaf, i=i: leaf[i], state), job, watch)
    for i, (job, watch) in enumerate(zip(jobs, watches, strict=True))
  ]


def data_parallel(
  model: nn.Module,
  recipe: pretraining_step.Recipe,
  devices: Sequence[jax.Device],
) -> pretraining_loop.Machine:
  """Devices that share each batch of a pretraining, and average gradients.

  Args:
    model: the network.
    recipe: how it is trained.
    devices: from `available`.

  Raises:
    ValueError: when they cannot share the batch, or its tasks, evenly.
  """
  # Not at the top: an image is trained without it.
  from zssr_jax.pretraining import loop as pretraining_loop
  from zssr_jax.pretraining import step as pretraining_step

  count, devices = len(devices), tuple(devices)
  name = 'tasks' if recipe.meta else 'batch'
  if getattr(recipe, name) % count:
    raise ValueError(
      f'{name} must be a multiple of the {count} devices:'
      f' {getattr(recipe, name)}'
    )
  chunk = jax.pmap(
    pretraining_step.make_chunk(model, recipe, axis='devices', shares=count),
    axis_name='devices',
    in_axes=(0, 0, None),
    devices=devices,
  )
  keep = jax.pmap(lambda tree: tree, devices=devices)

  def spread(tree):
    return keep(_stack([tree] * count))

  def collect(tree):
    return jax.tree.map(lambda leaf: leaf[0], tree)

  return pretraining_loop.Machine(chunk, spread, collect)


def _pad_alike(data: Sequence[step_lib.Data]) -> list[step_lib.Data]:
  """Pads pools and kernels to one size each.

  The pools' size is the same for all groups of a shape class; stretched kernels
  may differ by a few taps.
  """
  side = max(max(d.fathers.images.shape[1:3]) for d in data)
  slots = max(d.fathers.images.shape[0] for d in data)
  kernels = [d.source.degradation.kernel for d in data]
  shapes = [kernel.shape for kernel in kernels if kernel is not None]
  taps = tuple(np.max(shapes, axis=0).tolist()) if shapes else (1, 1)
  return [
    d._replace(
      fathers=pool.pad_pool(d.fathers, slots, _up(side, pool.BUCKET)),
      source=d.source.padded(taps),
    )
    for d in data
  ]


def _up(n: int, step: int) -> int:
  return -(-n // step) * step


def _stack(trees: Sequence[T]) -> T:
  """Stacks equal trees on the host, from where pmap spreads them."""

  def stack(*leaves):
    if jnp.issubdtype(leaves[0].dtype, jax.dtypes.prng_key):
      data = [np.asarray(jax.random.key_data(key)) for key in leaves]
      return jax.random.wrap_key_data(jnp.asarray(np.stack(data)))
    return np.stack([np.asarray(leaf) for leaf in leaves])

  return jax.tree.map(stack, *trees)
