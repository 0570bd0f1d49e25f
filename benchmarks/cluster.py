"""What a cluster of several nodes costs and survives, on this machine.

  python benchmarks/cluster.py images [--killed 6]
  python benchmarks/cluster.py cost [--nodes 1 2 4]
  python benchmarks/cluster.py rate [--nodes 1 2 4] [--seconds 1]
  python benchmarks/cluster.py faults [--times 10]
  python benchmarks/cluster.py join | partition | memory | autoscale
  python benchmarks/cluster.py soak [--minutes 20] [--seconds 1]

Starts a real Ray cluster whose nodes are processes of this machine, each with
one processor, and prints a line for each run. But for those of `images` they
train nothing: they sleep, return so many bytes, and do what a run tells them.

  images     sixty crops of the bundled photo by `zssr-eval` on one machine and
             on three nodes: rows and scores; --killed: so many workers and
             nodes in turn are killed meanwhile
  cost       milliseconds an image with no training at all: from the first
             result to the last, over the images between
  rate       images a second, where each takes so many seconds
  faults     kills a worker, or a whole node (and adds another), at random
             moments, while each image takes some tenths of a second
  join       a node joins when a third of the images is done
  partition  the processes of a node are stopped for a minute
  memory     an image that fills its worker's memory
  autoscale  no node but the head; Ray's autoscaler starts up to two, and is
             asked for none at the end. Stops all of Ray on this machine
  soak       memory of driver and workers, minute by minute

Exit code 1 where an image is lost, comes twice, or has another's result.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import ray
from PIL import Image
from ray import cluster_utils

from zssr_jax.command_line import evaluate
from zssr_jax.evaluation import rows
from zssr_jax.parallel import cluster
from zssr_jax.training.loop import Progress

ROOT = Path(__file__).parents[1]
_HEAD = 'ray.head.default'  # as the autoscaler of tests has it
_STORE = 2**27  # bytes of a node's object store, at least 75 MB


class Work(NamedTuple):
  """One image that trains nothing."""

  value: int
  seconds: float = 0.0
  size: int = 0  # bytes of the result
  fills: bool = False  # the memory of its worker


class Sent(NamedTuple):
  value: int
  content: bytes
  node: str
  process: int


class Bench:
  """Does what the images say."""

  def item(self, what: Work, report: Any) -> tuple[cluster.Start, Any]:
    def run() -> Iterator[Any]:
      yield from ()
      report(Progress(step=1, max_steps=2))
      time.sleep(what.seconds)
      held = []
      while what.fills:
        if len(held) < 128:  # 8 GiB
          held.append(bytearray(b'x' * 2**26))
        time.sleep(0.05)
      return what.value

    return run, report

  def finish(self, what: Work, outcome: Any) -> Sent:
    node = ray.get_runtime_context().get_node_id()
    return Sent(2 * outcome, os.urandom(what.size), node, os.getpid())


def open_bench(settings: Any, local: Any) -> Bench:
  del settings, local
  return Bench()


@contextlib.contextmanager
def nodes(count: int) -> Iterator[cluster_utils.Cluster]:
  """Starts a head that does no work, and so many nodes."""
  # Ray's workers give way to all else that runs, unless they are told not to.
  os.environ['RAY_worker_niceness'] = '0'
  made = cluster_utils.Cluster(
    initialize_head=True,
    head_node_args={
      'num_cpus': 0,
      'include_dashboard': False,
      'object_store_memory': _STORE,
    },
  )
  try:
    for _ in range(count):
      add(made)
    ray.init(made.address, log_to_driver=False, logging_level=logging.ERROR)
    yield made
  finally:
    ray.shutdown()
    made.shutdown()


def add(made: cluster_utils.Cluster, **environment: str) -> Any:
  """Adds a node of one processor."""
  return made.add_node(
    num_cpus=1, object_store_memory=_STORE, env_vars=environment
  )


class Run:
  """The outcomes of some images, checked."""

  def __init__(self, work: list[Work], note: Any = lambda line: None):
    self.work, self.note = work, note
    self.outcomes: dict[int, Any] = {}
    self.times: list[float] = []

  def __iter__(self) -> Iterator[tuple[int, Any]]:
    """Yields each outcome, without the bytes of the result."""
    orders = [cluster.Order(w, w.value % 3) for w in self.work]
    for index, outcome in cluster.map_images(
      orders, open_bench, None, note=self.note
    ):
      self.times.append(time.perf_counter())
      if index in self.outcomes:
        raise SystemExit(f'image {index} came twice')
      if isinstance(outcome, Sent):
        if len(outcome.content) != self.work[index].size:
          raise SystemExit(f'image {index} is not whole')
        outcome = outcome._replace(content=b'')
      self.outcomes[index] = outcome
      yield index, outcome

  def check(self) -> str:
    """Counts what came; ends the process where something is missing."""
    given_up = 0
    for work in self.work:
      outcome = self.outcomes.get(work.value)
      if work.fills and isinstance(outcome, ValueError):
        given_up += 1
      elif not isinstance(outcome, Sent) or outcome.value != 2 * work.value:
        raise SystemExit(f'image {work.value}: {outcome!r}')
    by_node: dict[str, int] = {}
    for outcome in self.outcomes.values():
      if isinstance(outcome, Sent):
        by_node[outcome.node] = by_node.get(outcome.node, 0) + 1
    shares = ' + '.join(str(n) for n in sorted(by_node.values()))
    return (
      f'{len(self.outcomes)} images once each, {given_up} given up; {shares}'
    )


def kill_some(made: cluster_utils.Cluster, times: int, seed: int) -> None:
  """Kills a worker or a node (and adds one) every few seconds."""
  chance = random.Random(seed)
  for number in range(times):
    time.sleep(chance.uniform(2, 6))
    node = chance.choice(
      [n for n in made.list_all_nodes() if n is not made.head_node]
    )
    if number % 2:
      made.remove_node(node, allow_graceful=False)
      add(made)
      continue
    raylet = psutil.Process(node.all_processes['raylet'][0].process.pid)
    for process in raylet.children(recursive=True):
      with contextlib.suppress(psutil.NoSuchProcess):
        if process.name().startswith('ray::_Worker'):
          process.kill()


def images(options: argparse.Namespace) -> None:
  photo = np.asarray(Image.open(ROOT / 'examples' / 'astronaut_hr.png'))
  with tempfile.TemporaryDirectory() as name:
    folder = Path(name) / 'crops'
    folder.mkdir()
    for number in range(60):
      row, column = divmod(number, 10)
      side = 48 + 8 * (number % 3)
      crop = photo[40 * row :][:side, 20 * column :][:, :side]
      Image.fromarray(crop).save(folder / f'{number:02}.png')
    words = ['', f'--datasets={folder}', '--methods=bicubic,zssr']
    words += ['--config=fast', '--config.start_steps=100']
    evaluate.main([*words, f'--output={name}/one'])
    with nodes(3) as made:
      words[0] = str(ROOT / 'bin' / 'eval_all')
      words += [f'--output={name}/three', f'--cluster={made.address}']
      driver = subprocess.Popen([sys.executable, *words])
      kill_some(made, options.killed, options.seed)
      if options.killed and driver.poll() is not None:
        raise SystemExit('the images were done before all were killed')
      driver.wait()
    one, three = (
      rows.read_rows(Path(name) / run / rows.NAME) for run in ('one', 'three')
    )
  found = {row['key']: row['psnr'] for row in three}
  if len(three) != len(found) or set(found) != {row['key'] for row in one}:
    raise SystemExit(f'{len(three)} rows, {len(found)} keys, of {len(one)}')
  differences = [abs(found[row['key']] - row['psnr']) for row in one]
  equal = sum(difference == 0 for difference in differences)
  print(
    f'{len(one)} rows of one machine and of three nodes, {options.killed}'
    f' workers and nodes killed, none missing, none twice; {equal} scores'
    f' equal, largest difference {max(differences):.4f} dB'
  )


def cost(options: argparse.Namespace) -> None:
  for count in options.nodes:
    with nodes(count):
      for size in (0, 10**5, 10**7):
        images = 400 if size < 10**6 else 60
        run = Run([Work(value, size=size) for value in range(images)])
        for _ in run:
          pass
        run.check()
        taken = (run.times[-1] - run.times[0]) / (images - 1)
        print(
          f'{count} nodes, {images} images of {size} bytes:'
          f' {1e3 * taken:.2f} ms an image',
          flush=True,
        )


def rate(options: argparse.Namespace) -> None:
  for count in options.nodes:
    with nodes(count):
      images = 30 * count
      work = [Work(v, options.seconds, size=10**5) for v in range(images)]
      run = Run(work)
      for _ in run:
        pass
      run.check()
      # Without the ends, where not all nodes are at work.
      some = run.times[2 * count : -2 * count]
      found = (len(some) - 1) / (some[-1] - some[0])
      print(
        f'{count} nodes, {images} images of {options.seconds:g} s:'
        f' {found:.2f} a second, {found * options.seconds / count:.0%} of what'
        ' the nodes could do',
        flush=True,
      )


def faults(options: argparse.Namespace) -> None:
  chance = random.Random(options.seed)
  with nodes(3) as made:
    run = Run([Work(value, seconds=0.4, size=1000) for value in range(300)])
    moments = sorted(chance.sample(range(10, 270), options.times))
    kills = [0, 0]
    for number, (_, outcome) in enumerate(run):
      if number not in moments:
        continue
      if kills[0] <= kills[1] and isinstance(outcome, Sent):
        with contextlib.suppress(ProcessLookupError):
          os.kill(outcome.process, signal.SIGKILL)
        kills[0] += 1
      else:
        workers = [n for n in made.list_all_nodes() if n is not made.head_node]
        made.remove_node(chance.choice(workers), allow_graceful=False)
        add(made)
        kills[1] += 1
    print(f'{kills[0]} workers, {kills[1]} nodes killed: {run.check()}')


def join(options: argparse.Namespace) -> None:
  del options
  with nodes(2) as made:
    run = Run([Work(value, seconds=0.2) for value in range(120)])
    new = None
    for number, _ in enumerate(run):
      if number == 40:
        new = add(made)
    assert new is not None
    theirs = sum(o.node == new.node_id for o in run.outcomes.values())
    print(f'{run.check()}; by the node that joined: {theirs}')


def partition(options: argparse.Namespace) -> None:
  with nodes(3) as made:
    run = Run(
      # Two nodes have enough to do until a while after.
      [Work(v, seconds=0.5) for v in range(int(5 * options.stopped))],
      note=lambda line: print(f'  {line}', flush=True),
    )
    stopped: list[psutil.Process] = []
    since = 0.0
    for number, _ in enumerate(run):
      if number == 30:
        node = made.list_all_nodes()[1]
        raylet = node.all_processes['raylet'][0].process.pid
        root = psutil.Process(raylet)
        stopped = [root, *root.children(recursive=True)]
        since = time.monotonic()
        for process in stopped:
          process.suspend()
      if since and time.monotonic() - since > options.stopped:
        since = 0.0
        for process in stopped:
          with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
    for process in stopped:
      with contextlib.suppress(psutil.NoSuchProcess):
        process.resume()
    print(f'a node stopped for {options.stopped} s: {run.check()}')


def memory(options: argparse.Namespace) -> None:
  del options
  used = psutil.virtual_memory()
  share = (used.total - used.available + 3e9) / used.total
  # One node, since what is measured is the memory of the whole machine.
  with nodes(0) as made:
    # Its workers are killed when so much is in use.
    add(made, RAY_memory_usage_threshold=f'{share:.3f}')
    work = [Work(value, seconds=0.1) for value in range(40)]
    work[11] = work[11]._replace(fills=True)
    run = Run(work, note=lambda line: print(f'  {line}', flush=True))
    for index, outcome in run:
      if index == 11:
        print(f'  {outcome}')
    print(f'an image that fills memory: {run.check()}')


class Autoscaling(cluster_utils.AutoscalingCluster):
  """Ray's own of tests, whose example of a configuration its wheel lacks."""

  def _generate_config(
    self, head_resources: Any, worker_node_types: Any, **given: Any
  ) -> dict[str, Any]:
    given.pop('autoscaler_v2', None)
    head = {'resources': head_resources, 'node_config': {}, 'max_workers': 0}
    lists = [
      'cluster_synced_files',
      'initialization_commands',
      *(
        f'{prefix}{kind}_commands'
        for prefix in ('', 'head_', 'worker_')
        for kind in ('setup', 'start_ray')
      ),
    ]
    return {
      'cluster_name': 'benchmark',
      'max_workers': 8,
      'upscaling_speed': 1.0,
      'provider': {'type': 'fake_multinode', 'disable_node_updaters': True},
      **{part: {} for part in ('auth', 'docker', 'head_node', 'file_mounts')},
      'worker_nodes': {},
      'available_node_types': {**worker_node_types, _HEAD: head},
      'head_node_type': _HEAD,
      **{name: [] for name in lists},
      **given,
    }


def autoscale(options: argparse.Namespace) -> None:
  worker = {
    'resources': {'CPU': 1, 'object_store_memory': _STORE},
    'node_config': {},
    'min_workers': 0,
    'max_workers': 2,
  }
  own = str(Path(sys.executable).parent)  # where `ray` is
  os.environ['PATH'] = os.pathsep.join([own, os.environ['PATH']])
  made = Autoscaling(
    head_resources={'CPU': 0},
    worker_node_types={'worker': worker},
    idle_timeout_minutes=0.2,
  )
  made.start()
  try:
    ray.init('auto', log_to_driver=False, logging_level=logging.ERROR)
    begin = time.monotonic()
    run = Run(
      [Work(value, options.seconds) for value in range(60)],
      note=lambda line: print(f'  {line}', flush=True),
    )
    for number, _ in enumerate(run):
      if number == 0:
        print(f'  the first after {time.monotonic() - begin:.0f} s')
    print(f'from no node: {run.check()}; {time.monotonic() - begin:.0f} s')
    end = time.monotonic()
    asked = True
    while asked and time.monotonic() - end < 60:
      time.sleep(1)
      status = subprocess.run(
        ['ray', 'status'], capture_output=True, text=True, check=True
      ).stdout
      asked = 'from request_resources()' in status
    if asked:
      raise SystemExit(f'a minute after its end it still asks:\n{status}')
    print('nothing is asked for any more')
  finally:
    ray.shutdown()
    made.shutdown()


def soak(options: argparse.Namespace) -> None:
  with nodes(2):
    run = Run(
      [Work(value, options.seconds, size=10**5) for value in range(10**6)]
    )
    begin = last = time.monotonic()
    processes: set[int] = set()
    first: dict[int, int] = {}
    for number, (_, outcome) in enumerate(run):
      processes.add(outcome.process)
      if time.monotonic() - last < 60:
        continue
      last = time.monotonic()
      sizes = {
        pid: psutil.Process(pid).memory_info().rss
        for pid in sorted({os.getpid(), *processes})
      }
      first = first or sizes
      print(
        f'{(last - begin) / 60:.0f} minutes, {number} images:'
        f' {[round(size / 1e6) for size in sizes.values()]} MB,'
        f' {max(sizes[p] / first.get(p, sizes[p]) for p in sizes) - 1:+.1%}',
        flush=True,
      )
      if last - begin > 60 * options.minutes:
        break


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  kinds = (
    images,
    cost,
    rate,
    faults,
    join,
    partition,
    memory,
    autoscale,
    soak,
  )
  parser.add_argument('kind', choices=[kind.__name__ for kind in kinds])
  parser.add_argument('--nodes', type=int, nargs='+', default=[1, 2, 4])
  parser.add_argument(
    '--seconds', type=float, default=1.0, help='of rate, autoscale and soak'
  )
  parser.add_argument('--times', type=int, default=10, help='faults')
  parser.add_argument('--killed', type=int, default=0, help='of images')
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--minutes', type=float, default=20.0, help='of soak')
  parser.add_argument(
    '--stopped', type=float, default=60.0, help='seconds of a partition'
  )
  options = parser.parse_args()
  globals()[options.kind](options)


if __name__ == '__main__':
  sys.exit(main())
