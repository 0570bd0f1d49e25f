"""What an H100 or H200 could make of ZSSR: a model, not a measurement.

  python benchmarks/accelerator_model.py [--json] [--launch_us=3]
      [--round_trip_us=15]

No GPU is needed. For the published network and the one at LR resolution, on an
image of B100's size, it prints

  least      milliseconds that a step takes at least: the longer of its
             operations (`ceiling.least`) at the chip's highest rate and of its
             bytes at the bandwidth of its memory
  kernels    that a step launches, and branches on which it asks the host. They
             are counted in the program that XLA compiles for the chip, which
             takes `pip install "jax[cuda12]"` but no GPU; without that, the
             convolutions are counted in what is handed to XLA, and with them
             what a step launches at least
  likely     the longer of `least` and the launches, and the round trips

and from these the seconds of 3000 published iterations, of an image by `fast`,
and of B100 x2. What the host does beside is timed here, in seconds of a core,
with a network of next to nothing in place of the real one; judging is left out.
How long a launch and a round trip take is assumed. Limits of the chips, dense,
from NVIDIA's data sheets "H100 Tensor Core GPU" and "H200 Tensor Core GPU"
(SXM; the sheets' tensor rates are with sparsity, twice these).
"""

from __future__ import annotations

import argparse
import collections
import functools
import json
import os
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

# JAX would look for a GPU and refuse to load what compiles for one.
os.environ.setdefault('JAX_SKIP_CUDA_CONSTRAINTS_CHECK', '1')

import ceiling
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies

from zssr_jax import Config, load_config, super_resolution, train_image
from zssr_jax.training import loop

# Operations a second by format; TF32 is what XLA takes unless told otherwise.
RATES = {'float32': 67e12, 'TF32': 494.7e12, 'bfloat16': 989.4e12}
BANDWIDTH = {'H100': 3.35e12, 'H200': 4.8e12}  # bytes a second
SHAPE = (160, 240, 3)  # of B100's inputs at x2, most of them
_IMAGES = 100
_STEPS = {'ideal': 3000, 'fast': 100}
_COPIES = 8
# What XLA must know of a Hopper chip to compile for it.
_TARGET = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84942979072
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
runtime_version { major: 12 minor: 8 }
device_description_str: "sm_90"
"""
# Instructions of a compiled program that launch nothing.
_FREE = {
  'after-all',
  'bitcast',
  'constant',
  'get-tuple-element',
  'parameter',
  'tuple',
}


class Launches(NamedTuple):
  """What a step asks of the host."""

  kernels: int
  branches: int  # of which the host must know which way they go
  compiled: bool  # counted in the compiled program; else at least so many


class Instruction(NamedTuple):
  """A line of a compiled program."""

  name: str  # of the operation
  parts: tuple[str, ...]  # the computations that it runs
  trips: int  # of a loop


def instructions(text: str) -> dict[str, list[Instruction]]:
  """Reads a compiled program: the instructions of each computation."""
  found: dict[str, list[Instruction]] = {}
  inside: list[Instruction] = []
  for line in text.splitlines():
    if begin := re.match(r'(ENTRY )?%([\w.\-]+) \(.*\{$', line):
      inside = found['ENTRY' if begin[1] else begin[2]] = []
    name = re.match(r'\s+(?:ROOT )?%\S+ = (?:\(.*?\)|\S+) ([\w\-]+)\(', line)
    if not name:
      continue
    trips = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
    parts = re.search(
      r'(?:body=|branch_computations=\{|true_computation=)([^}]*)', line
    )
    named = re.findall(r'%([\w.\-]+)', parts[1]) if parts else []
    if name[1] == 'while':
      named = named[:1]
    if name[1] == 'conditional' and 'true_computation' in line:
      named = re.findall(r'(?:true|false)_computation=%([\w.\-]+)', line)
    inside.append(
      Instruction(name[1], tuple(named), int(trips[1]) if trips else 1)
    )
  return found


def count(
  program: dict[str, list[Instruction]], part: str
) -> collections.Counter[str]:
  """Counts kernels and branches of a computation and all that it runs.

  Of a branch on whether the run is over, which holds the others, the larger
  way is taken, of the others the smaller: the error is measured in few steps.
  """
  total: collections.Counter[str] = collections.Counter()
  for instruction in program[part]:
    inner = [count(program, name) for name in instruction.parts]
    if instruction.name == 'conditional':
      outer = any(ways['branches'] for ways in inner)
      pick = max if outer else min
      total += pick(inner, key=lambda ways: ways['kernels'])
      total['branches'] += 1
    elif instruction.name == 'while':
      for name, number in inner[0].items():
        total[name] += instruction.trips * number
    elif instruction.name not in _FREE:
      total['kernels'] += 1
  return total


def loops(
  program: dict[str, list[Instruction]], trips: int
) -> Iterator[Instruction]:
  """Finds the loops of so many trips."""
  for lines in program.values():
    for line in lines:
      if line.name == 'while' and line.trips == trips:
        yield line


@functools.cache
def chip() -> jax.sharding.Sharding | None:
  """A chip to compile for; None without JAX's plugin for CUDA."""
  try:
    jax.devices()  # loads the plugins
    described = topologies.get_topology_desc(
      'h100', 'cuda', topology='1x1x1', target_config=_TARGET
    )
  except (NotImplementedError, RuntimeError):
    return None
  return jax.sharding.SingleDeviceSharding(described.devices[0])


def launches(job: loop.Job, length: int = 100) -> Launches:
  """Counts what a training step launches on a GPU.

  Args:
    job: to be trained.
    length: of the chunk that is compiled; no other loop has as many trips.
  """
  chunk = loop.make_chunk(job.model, job.side, job.losses, job.config, length)
  place = chip()

  def shape(leaf: Any) -> jax.ShapeDtypeStruct:
    leaf = jnp.asarray(leaf)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)

  arguments = jax.tree.map(shape, (job.state, job.data))
  traced = chunk.trace(*arguments)
  lowered = traced.lower(lowering_platforms=('cuda',))
  if place is None:
    convolutions = lowered.as_text().count('stablehlo.convolution')
    return Launches(convolutions, 0, compiled=False)
  program = instructions(lowered.compile().as_text())
  (steps,) = loops(program, length)
  step = count(program, steps.parts[0])
  return Launches(step['kernels'], step['branches'], compiled=True)


def host_seconds(config: Config) -> float:
  """CPU seconds of all but the network, for one image, once compiled."""
  image = np.random.default_rng(0).random(SHAPE, np.float32)
  config = config.replace(
    depth=2, width=1, start='random', max_steps=0, copies=_COPIES
  )
  seconds = []
  for _ in range(3):
    # Not those on the wall, for other jobs may be running.
    begin = time.process_time()
    train_image(image, 2, config=config)
    seconds.append(time.process_time() - begin)
  return min(seconds[1:])


class Work(NamedTuple):
  """What is known of a config."""

  side: int  # of the crop
  operations: float  # of a step
  bytes: float
  inference: float  # operations
  launches: Launches
  host: float  # seconds an image

  def least(self, rate: float, bandwidth: float) -> float:
    """Seconds that a step takes at least."""
    return max(self.operations / rate, self.bytes / bandwidth)

  def likely(
    self, rate: float, bandwidth: float, launch: float, trip: float
  ) -> float:
    """Seconds of a step, launches and round trips included."""
    waits = self.launches.kernels * launch
    branches = self.launches.branches * trip
    return max(self.least(rate, bandwidth), waits) + branches


def work_of(name: str) -> Work:
  """Counts what a shipped config does with an image of B100's size."""
  config = load_config(name)
  image = np.random.default_rng(0).random(SHAPE, np.float32)
  job = next(super_resolution.run_image(image, 2, config=config))
  shuffle = config.model == 'pixel_shuffle'
  pixels = SHAPE[0] * SHAPE[1] * (1 if shuffle else 4)
  forward = 2 * pixels * sum(ceiling.weights(ceiling.channels(shuffle)))
  return Work(
    side=job.side,
    inference=_COPIES * forward,
    launches=launches(job),
    host=host_seconds(config),
    **ceiling.least(shuffle, job.side),
  )


def seconds_of(work: Work, step: float, steps: int, rate: float) -> float:
  """Seconds of an image on the chip: steps, and the network on its copies."""
  return steps * step + work.inference / rate


def report(launch: float, trip: float) -> dict[str, Any]:
  """Models both configs on both chips; all in seconds."""
  works = {name: work_of(name) for name in _STEPS}
  rows = []
  for device, bandwidth in BANDWIDTH.items():
    for precision, rate in RATES.items():
      least = {n: w.least(rate, bandwidth) for n, w in works.items()}
      likely = {
        n: w.likely(rate, bandwidth, launch, trip) for n, w in works.items()
      }
      images = {
        n: [seconds_of(w, step[n], _STEPS[n], rate) for step in (least, likely)]
        for n, w in works.items()
      }
      rows.append(
        {
          'chip': device,
          'format': precision,
          'least_step': least,
          'likely_step': likely,
          'iterations': [
            _STEPS['ideal'] * step['ideal'] for step in (least, likely)
          ],
          'fast': [s + works['fast'].host for s in images['fast']],
          # While one image trains, the host is busy with another.
          'b100': [
            _IMAGES * max(s, works['ideal'].host) for s in images['ideal']
          ],
        }
      )
  return {
    'jax': jax.__version__,
    'launch': launch,
    'round_trip': trip,
    'configs': {
      n: w._asdict() | {'launches': w.launches._asdict()}
      for n, w in works.items()
    },
    'rows': rows,
  }


def table(found: dict[str, Any]) -> str:
  """Writes a report as two tables in Markdown."""
  lines = [
    '| config | crop | GFLOP a step | MB | kernels | branches | host, s an'
    ' image |',
    '|---|---|---|---|---|---|---|',
  ]
  for name, work in found['configs'].items():
    count = work['launches']
    sign = '' if count['compiled'] else '≥ '
    branches = count['branches'] if count['compiled'] else '?'
    lines.append(
      f'| `{name}` | {work["side"]} | {work["operations"] / 1e9:.1f}'
      f' | {work["bytes"] / 1e6:.0f} | {sign}{count["kernels"]} | {branches}'
      f' | {work["host"]:.2f} |'
    )
  lines += [
    '',
    '| chip, format | least ms a step `ideal`, `fast` | likely'
    ' | 3000 iterations, s: least, likely | an image by `fast`, s | B100 ×2, s'
    ' |',
    '|---|---|---|---|---|---|',
  ]
  for row in found['rows']:
    steps = [
      ', '.join(f'{1e3 * row[kind][name]:.3f}' for name in _STEPS)
      for kind in ('least_step', 'likely_step')
    ]
    ends = [
      ', '.join(f'{seconds:.{digits}f}' for seconds in row[kind])
      for kind, digits in (('iterations', 2), ('fast', 2), ('b100', 0))
    ]
    lines.append(
      f'| {row["chip"]} {row["format"]} | {" | ".join([*steps, *ends])} |'
    )
  return '\n'.join(lines)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--json', action='store_true')
  parser.add_argument('--launch_us', type=float, default=3.0)
  parser.add_argument('--round_trip_us', type=float, default=15.0)
  options = parser.parse_args()
  found = report(1e-6 * options.launch_us, 1e-6 * options.round_trip_us)
  print(json.dumps(found) if options.json else table(found))


if __name__ == '__main__':
  main()
