"""Which images wait, which are where, and how often each was tried.

Plain bookkeeping for `cluster`, which does the rest. A worker is handed batches
of one bucket, images that share compiled programs, and stays with its bucket as
long as there are any, so that few hosts compile for a size. An image on which a
worker was lost is tried again by itself, after all others and on another host
where there is one, so that one that kills its worker takes no others with it.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Collection, Hashable, Iterable, Sequence

# So often an image may have been with a worker that was lost.
TRIES = 3
# Images of a batch: so many times those that a worker has at a time.
_TURNS = 4

_Bucket = tuple[Hashable]


class Board:
  """The images of a run, by their indices."""

  def __init__(self, buckets: Sequence[Hashable]):
    """Takes the bucket of each image."""
    self._buckets = [(bucket,) for bucket in buckets]  # never None
    self._waiting: dict[_Bucket, collections.deque[int]] = {}
    for index, bucket in enumerate(self._buckets):
      self._waiting.setdefault(bucket, collections.deque()).append(index)
    self._suspects: list[int] = []  # to be tried alone
    # Of an image the hosts on which a worker was lost with it.
    self._losses: dict[int, list[Hashable]] = collections.defaultdict(list)
    self._last: dict[Hashable, _Bucket] = {}  # host -> its bucket
    self.left = len(self._buckets)  # not yet done or given up

  @property
  def waiting(self) -> int:
    """How many images are with no worker."""
    return sum(map(len, self._waiting.values())) + len(self._suspects)

  def take(
    self, host: Hashable, slots: int, hosts: Collection[Hashable]
  ) -> list[int]:
    """Takes a batch for a worker; none where there is nothing for it.

    Args:
      host: that the worker is on.
      slots: images that it has at a time.
      hosts: all that have a worker.
    """
    bucket = self._choose(host)
    if bucket is None:
      return self._take_suspect(host, hosts)
    self._last[host] = bucket
    queue = self._waiting[bucket]
    # At the end the batches get smaller, so that all hosts end together.
    share = math.ceil(self.waiting / (2 * max(len(hosts), 1)))
    count = min(max(share, slots), slots * _TURNS, len(queue))
    return [queue.popleft() for _ in range(count)]

  def _choose(self, host: Hashable) -> _Bucket | None:
    """Which bucket a host goes on with, or begins."""
    sizes = {b: len(queue) for b, queue in self._waiting.items() if queue}
    if self._last.get(host) in sizes:
      return self._last[host]
    taken = [b for other, b in self._last.items() if other != host]
    return min(sizes, key=lambda b: (taken.count(b), -sizes[b]), default=None)

  def _take_suspect(
    self, host: Hashable, hosts: Collection[Hashable]
  ) -> list[int]:
    for index in self._suspects:
      elsewhere = set(hosts) - set(self._losses[index])
      if host in elsewhere or not elsewhere:
        self._suspects.remove(index)
        return [index]
    return []

  def is_suspect(self, index: int) -> bool:
    """Whether a worker was lost with an image."""
    return bool(self._losses.get(index))

  def done(self, index: int) -> None:
    """Takes an image off the board."""
    self.left -= 1
    self._losses.pop(index, None)

  def back(self, indices: Iterable[int]) -> None:
    """Puts images back that no worker has begun."""
    for index in indices:
      if self._losses.get(index):
        self._suspects.append(index)
      else:
        self._waiting[self._buckets[index]].appendleft(index)

  def lost(self, host: Hashable, indices: Iterable[int]) -> list[int]:
    """Puts images back on which a worker was lost.

    Returns:
      Those that are given up, which leave the board.
    """
    given_up = []
    for index in indices:
      self._losses[index].append(host)
      if len(self._losses[index]) >= TRIES:
        given_up.append(index)
        self.done(index)
      else:
        self._suspects.append(index)
    return given_up

  def forgive(self, host: Hashable) -> None:
    """Takes it that a host was lost by itself, not by its images."""
    self._last.pop(host, None)
    for index in list(self._losses):
      self._losses[index] = [h for h in self._losses[index] if h != host]
