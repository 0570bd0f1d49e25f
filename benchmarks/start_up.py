"""Seconds from Enter to the first training step, and to a refusal.

  python benchmarks/start_up.py [--repeat 3] [--configs fast auto]

`zssr` runs on the bundled photo in a terminal of its own, whose bar tells when
training has begun. The first run of a config fills the compile cache and is
printed by itself; of the others the median is. POSIX only.
"""

from __future__ import annotations

import argparse
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_COMMAND = (
  sys.executable,
  '-c',
  'import sys; from zssr_jax import commands; sys.exit(commands.zssr())',
)


def until(words: bytes, *arguments: str) -> float:
  """Returns the seconds until a run says some words, or has ended."""
  own, other = pty.openpty()
  begin = time.perf_counter()
  process = subprocess.Popen(
    [*_COMMAND, *arguments],
    stdin=other,
    stdout=other,
    stderr=other,
    env={**os.environ, 'PYTHONPATH': str(ROOT), 'TERM': 'xterm'},
  )
  os.close(other)
  seen = b''
  try:
    while words not in seen:
      seen += os.read(own, 4096)
  except OSError:  # it has ended
    pass
  seconds = time.perf_counter() - begin
  process.kill()
  process.wait()
  os.close(own)
  return seconds


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--repeat', type=int, default=3)
  parser.add_argument('--configs', nargs='+', default=['fast', 'auto'])
  options = parser.parse_args()
  photo = str(ROOT / 'examples' / 'astronaut_lr.png')
  with tempfile.TemporaryDirectory() as folder:
    for config in options.configs:
      seconds = [
        until(b'step 1', photo, f'--config={config}', f'--output={folder}')
        for _ in range(options.repeat + 1)
      ]
      print(
        f'{config}: first {seconds[0]:.1f} s, then'
        f' {statistics.median(seconds[1:]):.2f} s',
        flush=True,
      )
    wrong = [until(b'\0', '--sacle=2') for _ in range(options.repeat)]
    print(f'a wrong flag: {statistics.median(wrong):.2f} s')


if __name__ == '__main__':
  main()
