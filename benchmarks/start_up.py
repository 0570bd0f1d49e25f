"""Seconds from Enter to the first training steps, and to a refusal.

  python benchmarks/start_up.py [--repeat 3] [--configs fast auto]

`zssr` runs on the bundled photo in a terminal of its own, whose bar tells when
training has begun. The first run of a config fills a compile cache that was
empty and is printed by itself; of the others the median is. Beside the seconds
stand those until the bar appeared, which go by for imports, and the seconds of
processor time that all cores spent, which others at work disturb less. POSIX
only.
"""

from __future__ import annotations

import argparse
import os
import pty
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
_COMMAND = (
  sys.executable,
  '-c',
  'import sys; from zssr_jax import commands; sys.exit(commands.zssr())',
)


class Seconds(NamedTuple):
  whole: float
  first: float  # until the first word
  cores: float  # of processor time, of all cores together

  def __str__(self) -> str:
    return (
      f'{self.whole:.2f} s (bar after {self.first:.2f}; processor time'
      f' {self.cores:.2f})'
    )


def median(runs: list[Seconds]) -> Seconds:
  return Seconds(*map(statistics.median, zip(*runs, strict=True)))


def until(words: bytes, cache: str, *arguments: str) -> Seconds:
  """Takes the time until a run says some words, or has ended."""
  environment = {**os.environ, 'TERM': 'xterm'}
  environment.pop('JAX_COMPILATION_CACHE_DIR', None)
  paths = filter(None, (str(ROOT), os.environ.get('PYTHONPATH')))
  environment['PYTHONPATH'] = os.pathsep.join(paths)
  own, other = pty.openpty()
  begin = time.perf_counter()
  process = subprocess.Popen(
    [*_COMMAND, *arguments],
    stdin=other,
    stdout=other,
    stderr=other,
    cwd=ROOT,  # or Python would import the package of another folder
    env={**environment, 'ZSSR_JAX_CACHE': cache},
  )
  os.close(other)
  seen, first = b'', 0.0
  try:
    while words not in seen:
      seen += os.read(own, 4096)
      first = first or time.perf_counter() - begin
  except OSError:  # it has ended
    pass
  seconds = time.perf_counter() - begin
  os.kill(process.pid, signal.SIGKILL)
  used = os.wait4(process.pid, 0)[2]
  process.returncode = -9  # what it was waited for
  os.close(own)
  return Seconds(seconds, first, used.ru_utime + used.ru_stime)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--repeat', type=int, default=3)
  parser.add_argument('--configs', nargs='+', default=['fast', 'auto'])
  options = parser.parse_args()
  photo = str(ROOT / 'examples' / 'astronaut_lr.png')
  with tempfile.TemporaryDirectory() as folder:
    for config in options.configs:
      cache = f'{folder}/{config}'
      runs = [
        until(
          b'step 1', cache, photo, f'--config={config}', f'--output={folder}'
        )
        for _ in range(options.repeat + 1)
      ]
      print(f'{config}: first {runs[0]}, then {median(runs[1:])}', flush=True)
    wrong = [until(b'\0', '', '--sacle=2') for _ in range(options.repeat)]
    print(f'a wrong flag: {median(wrong).whole:.2f} s')


if __name__ == '__main__':
  main()
