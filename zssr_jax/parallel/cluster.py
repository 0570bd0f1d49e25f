"""Drives runs on all hosts of a Ray cluster.

Each host has one worker, a Ray actor that owns the host's devices and drives
images by `devices.map_images`, in batches of one size (`board`). What it makes
of them streams back to the driver, whose loop is here. Hosts that join are
given work; where a worker is lost, its images are tried again elsewhere. Ray
starts the processes, restarts them, and says which hosts there are.

A worker never unpickles what a user wrote: it is sent plain values and the
names of functions of this package, and refuses work where its own sources
differ from the driver's. This file alone knows Ray, and imports it inside.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import hashlib
import logging
import math
import os
import platform
import queue
import re
import socket
import threading
import time
from collections.abc import (
  Callable,
  Generator,
  Hashable,
  Iterator,
  Sequence,
)
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax

from zssr_jax import _version
from zssr_jax.errors import (
  InputError,
  NoRoomError,
  concerns_one_image,
  is_out_of_memory,
)
from zssr_jax.parallel import board as board_lib
from zssr_jax.parallel import devices
from zssr_jax.training import loop

# Seconds between looks at which hosts there are, and between two reports of
# the progress of a batch.
_LOOK, _TELL = 1.0, 1.0
_SLOW = 60  # after which a worker that is not ready is mentioned
_GONE = 300  # after which one that dies at its start is given up
# A worker that is lost so often with nothing done is given no more work.
_STRIKES = 3
# Batches that a worker has: one that it works at, one that waits.
_BATCHES = 2
# Parcels of a worker that the driver has not taken yet; it waits then.
_PARCELS = 4
# Seconds for which there may be no worker at all, as a cluster grows.
PATIENCE = 600.0

Report = Callable[[loop.Progress], None]
Start = Callable[[], devices.Run[Any]]  # see `devices.Item`


class Order(NamedTuple):
  """One image, as a worker is told of it."""

  what: Any  # plain values, for `Bench.item`
  # Images that share programs have the same: their `devices.shape_class`.
  bucket: Hashable = None
  files: tuple[Path, ...] = ()  # that its host must see


class Bench(Protocol):
  """What a worker does with its orders; made by an opener on its host."""

  def item(self, what: Any, report: Report) -> tuple[Start, Report]:
    """Returns how an image is started, and what is told of its training.

    Args:
      what: of the order.
      report: shows progress at the driver.
    """
    ...

  def finish(self, what: Any, outcome: Any) -> Any:
    """Makes of a run's result what the driver is sent, plain values."""
    ...


# `open_bench(settings, devices)`, a function of this package; may raise an
# InputError, where the host lacks what a run needs.
Opener = Callable[[Any, Sequence[jax.Device]], Bench]


class NotHereError(InputError):
  """This host lacks what the driver has, and other hosts may have."""


class _BrokenHostError(RuntimeError):
  """A device of this host does not work any more."""


def _check_is_here(files: Sequence[Path]) -> None:
  """Raises `NotHereError` for a file that this host does not see."""
  for path in files:
    if not path.exists():
      raise NotHereError(
        f'{path}: not on every host; share its folder with all, under the same'
        ' path'
      )


def _unreadable(files: Sequence[Path]) -> OSError | None:
  """Why this process cannot read all of some files; None: it can."""
  try:
    for path in files:
      path.open('rb').close()
  except OSError as error:
    return error
  return None


class _Told(NamedTuple):
  """How far an image is, by its index."""

  place: int
  progress: loop.Progress


class _Ended(NamedTuple):
  """What came of an image, by its index, or its error."""

  place: int
  outcome: Any


@functools.cache
def _sources() -> str:
  """A digest of this package's sources."""
  root = Path(__file__).parents[1]
  digest = hashlib.sha256()
  for path in sorted(root.rglob('*.py')):
    digest.update(f'{path.relative_to(root)}\n'.encode() + path.read_bytes())
  return digest.hexdigest()[:12]


def _versions() -> dict[str, str]:
  """What must be the same on all hosts."""
  return {
    'zssr_jax': _version.__version__,
    'its sources': _sources(),
    'JAX': jax.__version__,
    'Python': '.'.join(platform.python_version_tuple()[:2]),
  }


_Batch = Sequence[tuple[int, Order]]  # with their indices


class _Worker:
  """What runs on a host, as a Ray actor."""

  def __init__(
    self,
    versions: dict[str, str],
    open_bench: Opener,
    settings: Any,
    limits: tuple[int | None, int],
  ):
    """Opens nothing yet, so that what is wrong is an answer, not a crash.

    Args:
      versions: the driver's.
      open_bench: see `Opener`.
      settings: for it.
      limits: devices of the host that are used, None for all, and images that
        each has at a time.
    """
    self._versions, self._limits = versions, limits
    self._open_bench, self._settings = open_bench, settings
    self._bench: Bench | None = None

  def ready(self) -> int:
    """Opens the bench, if it is not, and returns how many images it takes.

    Raises:
      InputError: where this host cannot do the work.
    """
    if self._bench is None:
      for name, version in _versions().items():
        if version != self._versions[name]:
          raise InputError(
            f'{name} is {version} here, but {self._versions[name]} at the'
            ' driver; install the same on all hosts'
          )
      count, self._in_flight = self._limits
      try:
        self._devices = devices.available(count)
      except ValueError as error:
        raise InputError(str(error)) from None
      self._bench = self._open_bench(self._settings, self._devices)
    return len(self._devices) * self._in_flight

  def run(self, batch: _Batch) -> Iterator[list[Any]]:
    """Yields what becomes of a batch: lists of `_Told` and `_Ended`."""
    self.ready()
    assert self._bench is not None
    yield from _work(self._bench, batch, self._devices, self._in_flight)


def _work(
  bench: Bench,
  batch: _Batch,
  local: Sequence[jax.Device],
  in_flight: int,
) -> Iterator[list[Any]]:
  """Drives a batch in a thread, and yields what it says."""
  # No more than one result waits, so that a slow driver holds up the work.
  said: queue.Queue[_Ended | BaseException | None] = queue.Queue(1)
  progress: dict[int, loop.Progress] = {}

  def drive() -> None:
    try:
      _drive(bench, batch, local, in_flight, progress, said.put)
    except BaseException as error:
      said.put(error)
    else:
      said.put(None)

  threading.Thread(target=drive, daemon=True).start()
  shown: dict[int, loop.Progress] = {}
  over: set[int] = set()
  while True:
    parcel: list[Any] = []
    with contextlib.suppress(queue.Empty):
      last = said.get(timeout=_TELL)
      if isinstance(last, jax.errors.JaxRuntimeError):
        raise _BrokenHostError(' '.join(str(last).split())[:200])
      if isinstance(last, BaseException):
        raise last
      if last is None:
        return
      parcel.append(last)
      over.add(last.place)
    for index, part in list(progress.items()):
      if index not in over and shown.get(index) is not part:
        shown[index] = part
        parcel.append(_Told(index, part))
    if parcel:
      yield parcel


def _start_here(files: Sequence[Path], start: Start) -> devices.Run[Any]:
  """Starts an image whose files this host sees."""
  _check_is_here(files)
  return start()


def _drive(
  bench: Bench,
  batch: _Batch,
  local: Sequence[jax.Device],
  in_flight: int,
  progress: dict[int, loop.Progress],
  say: Callable[[_Ended], None],
) -> None:
  """Trains a batch; says what came of each image, and keeps how far it is."""
  items, told = [], []
  for index, order in batch:
    report = functools.partial(progress.__setitem__, index)
    start, tell = bench.item(order.what, report)
    begin = functools.partial(_start_here, order.files, start)
    items.append(devices.Item(begin, order.bucket))
    told.append(tell)

  def finish(number: int, outcome: Any) -> None:
    index, order = batch[number]
    try:
      if isinstance(outcome, Exception):
        raise outcome
      outcome = bench.finish(order.what, outcome)
    except Exception as error:
      if not concerns_one_image(error):
        raise
      outcome = _plain(error)
    say(_Ended(index, outcome))

  devices.finish_each(
    devices.map_images(
      items, local, in_flight, lambda number, part: told[number](part)
    ),
    finish,
  )


def _plain(error: Exception) -> Exception:
  """Returns an error that any process can unpickle, and that means the same."""
  if is_out_of_memory(error):
    return MemoryError(str(error))
  for kind in (NotHereError, NoRoomError, InputError):
    if isinstance(error, kind):
      return kind(str(error))
  if isinstance(error, OSError):
    return OSError(error.errno, error.strerror or str(error), error.filename)
  return ValueError(str(error))


@dataclasses.dataclass
class _Member:
  """A host's worker, as the driver sees it."""

  host: str
  node: str  # Ray's name of it
  share: dict[str, Any]  # of its resources, see `_whole`
  actor: Any = None
  opening: Any = None  # reference of the answer of `ready`; None: there was one
  since: float = 0.0  # when it was started
  mentioned: bool = False  # that it takes long
  slots: int = 1
  strikes: int = 0
  retired: bool = False
  # Streams of the batches it has, and what of each is not done yet.
  batches: collections.deque[tuple[Any, list[int]]] = dataclasses.field(
    default_factory=collections.deque
  )

  @property
  def at_work(self) -> bool:
    return self.opening is None and not self.retired

  @property
  def awaited(self) -> Any:
    """What is to be waited for; None: nothing."""
    if self.retired:
      return None
    if self.opening is not None:
      return self.opening
    return self.batches[0][0] if self.batches else None


@contextlib.contextmanager
def joined(address: str) -> Iterator[None]:
  """Joins a running Ray cluster as its driver.

  Args:
    address: HOST:PORT of its head, or 'auto': the one that runs on this host,
      or that RAY_ADDRESS names.

  Raises:
    InputError: where Ray is not installed, or no such cluster runs.
  """
  try:
    import ray
  except ImportError:
    raise InputError(
      f'--cluster={address}: needs Ray; pip install "zssr_jax[cluster]"'
    ) from None
  if not re.fullmatch(r'auto|[^:/]+:\d+|\[[0-9a-fA-F:]+\]:\d+', address):
    raise InputError(
      f'--cluster={address}: must be auto or HOST:PORT; start this command on'
      ' a host of the cluster, or by ray job submit'
    )
  leave_devices()
  own = not ray.is_initialized()
  if own:
    try:
      _check_answers(address)
      ray.init(
        address=address, log_to_driver=False, logging_level=logging.ERROR
      )
    except (
      OSError,
      RuntimeError,
      ValueError,
      ray.exceptions.RayError,
    ) as error:
      words = ' '.join(str(error).split())[:200]
      raise InputError(
        f'--cluster={address}: no cluster answers; start one by'
        f' ray start --head --include-dashboard=false ({words})'
      ) from None
  try:
    yield
  finally:
    if own:
      ray.shutdown()


def leave_devices() -> None:
  """Leaves this host's accelerators to its worker; before any use of JAX."""
  jax.config.update('jax_platforms', 'cpu')


def release() -> None:
  """Withdraws what the autoscaler was asked for, which outlives its driver."""
  from ray.autoscaler import sdk

  with contextlib.suppress(Exception):  # no cluster, or one without
    sdk.request_resources(bundles=[])


def _check_answers(address: str) -> None:
  """Raises an error unless something listens there; Ray ends the process."""
  if address == 'auto':
    address = os.environ.get('RAY_ADDRESS') or address
  host, colon, port = address.rpartition(':')
  if colon:
    place = host.strip('[]'), int(port)
    with socket.create_connection(place, timeout=10):
      pass


def map_images(
  orders: Sequence[Order],
  open_bench: Opener,
  settings: Any,
  *,
  limits: tuple[int | None, int] = (None, 1),
  progress: Callable[[int, loop.Progress], None] | None = None,
  note: Callable[[str], None] = lambda line: None,
  patience: float = PATIENCE,
) -> Generator[tuple[int, Any], None, None]:
  """Does all orders on the hosts of the cluster that was `joined`.

  Args:
    orders: the images.
    open_bench: a function of this package, called on each host.
    settings: its first argument, plain values.
    limits: devices of each host that are used, None for all, and images that
      each has at a time.
    progress: called with the index of an order and a `Progress`.
    note: called with a line on a host that joins or is lost.
    patience: seconds for which there may be no host at all.

  Yields:
    (index of the order, outcome), as they end; each index once. An outcome is
    what `Bench.finish` returned, or an error that `errors.concerns_one_image`;
    other errors come out of the iteration.

  Raises:
    InputError: where no host can do the work, or none is left.
  """
  board = board_lib.Board([order.bucket for order in orders])
  crew = _Crew(orders, board, open_bench, settings, limits, note)
  waited = time.monotonic()
  try:
    while board.left:
      crew.look()
      crew.check()
      for ended in crew.hand_out():
        yield ended.place, ended.outcome
      if crew.members_at_work or crew.opening:
        waited = time.monotonic()
      elif time.monotonic() - waited > patience:
        raise InputError(
          f'the cluster has had no usable host for {patience:g} s, and'
          f' {board.left} images are not done; start again to go on with them'
        )
      for message in crew.listen():
        if isinstance(message, _Ended):
          yield message.place, message.outcome
        elif progress is not None:
          progress(message.place, message.progress)
  finally:
    crew.close()


class _Crew:
  """The workers of a run."""

  def __init__(
    self,
    orders: Sequence[Order],
    board: board_lib.Board,
    open_bench: Opener,
    settings: Any,
    limits: tuple[int | None, int],
    note: Callable[[str], None],
  ):
    import ray

    self._ray = ray
    self._orders, self._board, self._note = orders, board, note
    self._arguments = (_versions(), open_bench, settings, limits)
    self._members: dict[str, _Member] = {}  # by their nodes
    self._looked = -math.inf
    self._asked: list[dict[str, float]] = []  # of the autoscaler
    self._reason = ''  # for which the last one was retired

  @property
  def members_at_work(self) -> list[_Member]:
    return [m for m in self._members.values() if m.at_work]

  @property
  def opening(self) -> bool:
    """Whether a worker is being started."""
    return any(
      m.opening is not None and not m.retired for m in self._members.values()
    )

  def look(self) -> None:
    """Takes new hosts in, and takes back the work of those that are gone."""
    if time.monotonic() - self._looked < _LOOK:
      return
    self._looked = time.monotonic()
    nodes = {n['NodeID']: n for n in self._ray.nodes() if n['Alive']}
    for name in set(self._members) - set(nodes):
      member = self._members.pop(name)
      if not member.retired:
        self._note(f'{member.host}: the host is gone')
      self._take_back(member, blame=False)
      self._board.forgive(name)
    for name, node in nodes.items():
      if name not in self._members and (share := _whole(node['Resources'])):
        member = _Member(node['NodeManagerHostname'], name, share)
        self._members[name] = member
        self._begin(member)
    for member in self._members.values():
      waited = time.monotonic() - member.since
      if member.opening is None or member.retired:
        continue
      if waited > _SLOW and not member.mentioned:
        member.mentioned = True
        self._note(
          f'{member.host}: not ready after {_SLOW} s; does other work hold its'
          ' processors? ray status tells'
        )
    self._ask_for_hosts([_whole(n['Resources']) for n in nodes.values()])

  def _begin(self, member: _Member) -> None:
    """Starts a host's worker, which Ray starts again where it dies."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(member.node, soft=False)
    member.actor = (
      self._ray.remote(_Worker)
      .options(scheduling_strategy=there, max_restarts=-1, **member.share)
      .remote(*self._arguments)
    )
    member.opening = self._open(member)
    member.since = time.monotonic()

  def _open(self, member: _Member) -> Any:
    """Asks a worker whether it is ready, once it is started (again)."""
    return member.actor.ready.options(max_task_retries=_STRIKES).remote()

  def _ask_for_hosts(self, shares: list[dict[str, Any] | None]) -> None:
    """Asks the autoscaler, if there is one, for a device an image.

    It is asked again where the devices are of another kind, or half as many
    are enough: it takes hosts away that do nothing and are not asked for.
    """
    bundles = _bundles(shares, self._board.left)
    if bundles[:1] == self._asked[:1] and 2 * len(bundles) > len(self._asked):
      return
    self._asked = bundles
    from ray.autoscaler import sdk

    with contextlib.suppress(Exception):  # a cluster without one
      sdk.request_resources(bundles=bundles)

  def hand_out(self) -> Iterator[_Ended]:
    """Gives each worker what it can take, and yields what nobody can read."""
    for turn in range(_BATCHES):
      hosts = [m.node for m in self.members_at_work]
      for member in self.members_at_work:
        if len(member.batches) > turn:
          continue
        batch = []
        for index in self._board.take(member.node, member.slots, hosts):
          if error := _unreadable(self._orders[index].files):
            self._board.done(index)
            yield _Ended(index, error)
          else:
            batch.append(index)
        if batch:
          work = [(index, self._orders[index]) for index in batch]
          stream = member.actor.run.options(
            num_returns='streaming',
            _generator_backpressure_num_objects=_PARCELS,
          ).remote(work)
          member.batches.append((stream, batch))

  def listen(self) -> Iterator[_Told | _Ended]:
    """Waits a moment for workers, and yields what they say."""
    awaited = {m.awaited: m for m in self._members.values() if m.awaited}
    if not awaited:
      time.sleep(_LOOK / 10)
      return
    said, _ = self._ray.wait(
      list(awaited),
      num_returns=len(awaited),
      timeout=0,
      fetch_local=False,
    )
    if not said:
      said, _ = self._ray.wait(list(awaited), timeout=_LOOK, fetch_local=False)
    for reference in said:
      member = awaited[reference]
      if member.opening is not None:
        self._welcome(member)
      else:
        yield from self._receive(member)

  def _welcome(self, member: _Member) -> None:
    """Takes a worker's answer that it is ready, or why it is not."""
    from ray import exceptions

    try:
      member.slots = self._ray.get(member.opening)
    except exceptions.RayTaskError as error:
      cause = error.cause
      if not isinstance(cause, InputError):
        raise cause from error  # with the worker's traceback
      self._retire(member, str(cause))
    except exceptions.ActorUnavailableError:  # Ray is still starting it
      if time.monotonic() - member.since > _GONE:
        self._retire(member, f'its worker has not started in {_GONE} s')
      else:
        member.opening = self._open(member)
    except exceptions.RayError as error:
      self._lose(member, error)
    else:
      member.opening = None
      images = '1 image' if member.slots == 1 else f'{member.slots} images'
      self._note(f'{member.host}: ready for {images} at a time')

  def check(self) -> None:
    """Raises an InputError where no host is given any more work."""
    members = self._members.values()
    if members and all(member.retired for member in members):
      raise InputError(
        f'no host of the cluster can do this: {self._reason};'
        f' {self._board.left} images are not done'
      )

  def _receive(self, member: _Member) -> Iterator[_Told | _Ended]:
    """Takes the next parcel of a worker."""
    from ray import exceptions

    stream, pending = member.batches[0]
    try:
      parcel = self._ray.get(next(stream))
    except StopIteration:
      member.batches.popleft()
      return
    except exceptions.RayTaskError as error:
      cause = error.cause
      if isinstance(cause, _BrokenHostError):  # perhaps not in a new process
        self._ray.kill(member.actor, no_restart=False)
        yield from self._lose(member, cause)
        return
      if not isinstance(cause, InputError):
        raise cause from error  # a mistake of the program's
      self._retire(member, str(cause))  # which was started again
      return
    except exceptions.RayError as error:
      yield from self._lose(member, error)
      return
    for message in parcel:
      if isinstance(message, _Told):
        yield message
        continue
      pending.remove(message.place)
      outcome = message.outcome
      if isinstance(outcome, (NotHereError, OSError)):
        files = self._orders[message.place].files
        if unreadable := _unreadable(files):
          message = message._replace(outcome=unreadable)
        else:
          yield from self._try_elsewhere(member, message, strikes=1)
          continue
      elif isinstance(outcome, (NoRoomError, MemoryError)):
        yield from self._try_elsewhere(member, message, strikes=0)
        continue
      member.strikes = 0
      self._board.done(message.place)
      yield message

  def _try_elsewhere(
    self, member: _Member, message: _Ended, strikes: int
  ) -> Iterator[_Ended]:
    """Has an image tried elsewhere that failed for what its host lacks.

    Args:
      member: the host's worker.
      message: the error.
      strikes: 1 where other images fail there as well, else 0.
    """
    member.strikes += strikes
    if self._board.lost(member.node, [message.place]):
      yield message
    if member.strikes >= _STRIKES:
      self._retire(member, str(message.outcome))

  def _lose(self, member: _Member, error: Exception) -> list[_Ended]:
    """Takes a worker's work back; Ray starts it again, or it is retired."""
    from ray import exceptions

    self._looked = -math.inf  # perhaps the whole host is gone
    pending = member.batches[0][1] if member.batches else []
    if not any(map(self._board.is_suspect, pending)):  # else it is the image
      member.strikes += 1
    given_up = self._take_back(member, blame=True)
    words = _reason(error)
    if member.strikes >= _STRIKES:
      self._retire(member, f'its worker died {member.strikes} times: {words}')
    else:
      self._note(
        f'{member.host}: its worker died ({words}); its images are tried again'
      )
      if isinstance(error, exceptions.ActorDiedError):  # for good
        self._begin(member)
      else:
        member.opening = self._open(member)
        member.since = time.monotonic()
    what = f'its worker died {board_lib.TRIES} times'
    if isinstance(error, _BrokenHostError):
      given_up_for = f'{what}: {words}'
    else:
      given_up_for = f'{what}, of too little memory?'
    return [_Ended(index, ValueError(given_up_for)) for index in given_up]

  def _take_back(self, member: _Member, *, blame: bool) -> list[int]:
    """Puts a worker's images back; returns those that are given up."""
    given_up: list[int] = []
    for number, (_, pending) in enumerate(member.batches):
      if blame and number == 0:
        given_up = self._board.lost(member.node, pending)
      else:
        self._board.back(pending)
    member.batches.clear()
    return given_up

  def _retire(self, member: _Member, why: str) -> None:
    """Gives a worker no more work."""
    self._take_back(member, blame=False)
    member.retired, member.opening, self._reason = True, None, why
    with contextlib.suppress(Exception):
      self._ray.kill(member.actor)
    self._note(f'{member.host}: given no more work: {why}')

  def close(self) -> None:
    """Ends all workers."""
    release()
    for member in self._members.values():
      with contextlib.suppress(Exception):
        self._ray.kill(member.actor)


def _reason(error: Exception) -> str:
  """Returns what a line has room for of why a worker died."""
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  if not lines:
    return type(error).__name__
  # Of an error at its start Ray gives the whole traceback, its end at the end.
  began = 'creation task' in lines[0]
  return lines[-1 if began else 0][:200]


def _whole(resources: dict[str, float]) -> dict[str, Any] | None:
  """What a worker takes of its host: the accelerators, or all processors.

  None where there are neither, as on a head that is to do no work.
  """
  if gpus := resources.get('GPU'):
    return {'num_gpus': gpus, 'num_cpus': min(1, resources.get('CPU', 0))}
  if tpus := resources.get('TPU'):
    return {
      'resources': {'TPU': tpus},
      'num_cpus': min(1, resources.get('CPU', 0)),
    }
  if cpus := resources.get('CPU'):
    return {'num_cpus': cpus}
  return None


def _bundles(
  shares: Sequence[dict[str, Any] | None], images: int
) -> list[dict[str, float]]:
  """What an autoscaler is asked for: a device for each image, at most 1000."""
  kinds = [share for share in shares if share]
  if any('num_gpus' in share for share in kinds):
    unit = {'GPU': 1.0}
  elif any('resources' in share for share in kinds):
    unit = {'TPU': 1.0}
  else:
    unit = {'CPU': max([s['num_cpus'] for s in kinds], default=1.0)}
  return [unit] * min(images, 1000)
