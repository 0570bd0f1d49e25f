"""bin/main.py as a process: pipes, terminals, progress, Ctrl-C."""

import os
import pty
import re
import signal
import time

import pytest

import zssr_jax
from zssr_jax import display

from .helpers import SMOKE, save, start


@pytest.mark.slow
def test_help_into_a_closed_pipe_is_quiet():
  reading, writing = os.pipe()
  os.close(reading)
  process = start('--help', stdout=writing)
  os.close(writing)
  _, err = process.communicate(timeout=60)
  assert (process.returncode, err) == (0, '')


def test_progress_counts_gradual_stages_and_ends_early(capsys):
  with display.Display() as show:
    show.begin('a', 'a_x2')
    for stage, steps in ((0, (10, 20, 30)), (1, (10,))):
      for step in steps:
        show.show('a', zssr_jax.Progress(stage, 2, step, 50, 0.1, 1e-3, 1e-3))
  lines = capsys.readouterr().err.splitlines()
  assert [line.split()[1] for line in lines] == ['10%', '20%', '30%', '60%']
  assert 'stage 2/2  step 10/50  loss 0.1000  error 1.0e-03' in lines[-1]


@pytest.mark.slow
def test_piped_progress_is_a_line_every_tenth_at_most(tmp_path):
  path = save(tmp_path / 'a.png')
  flags = (SMOKE, f'--input={path}', '--config.max_steps=100')
  process = start(*flags, cwd=tmp_path)
  out, err = process.communicate(timeout=300)
  assert process.returncode == 0, err
  assert re.fullmatch(r'a_x2\.png  \d+\.\d s\n', out)
  lines = [line for line in err.splitlines() if line.startswith('a_x2  ')]
  shares = [int(line.split()[1].rstrip('%')) for line in lines]
  # Of all phases: what goes before the training is over when it begins.
  assert shares and shares == sorted(set(shares))
  assert all(share % 10 == 0 for share in shares)
  for word in (r'step \d+/100', 'loss', 'error', 'lr', 'left'):
    assert re.search(word, lines[0])


@pytest.mark.slow
def test_terminal_gets_a_bar(tmp_path):
  for name in 'abc':
    save(tmp_path / f'{name}.png')
  terminal, stderr = pty.openpty()
  environment = os.environ | {'TERM': 'xterm', 'COLUMNS': '120'}
  process = start(
    *(SMOKE, f'--input={tmp_path}/*.png', '--config.max_steps=100'),
    cwd=tmp_path,
    env=environment,
    stderr=stderr,
  )
  os.close(stderr)
  shown = b''
  while True:
    try:
      chunk = os.read(terminal, 4096)
    except OSError:  # Linux's way to say that the other end is closed
      break
    if not chunk:
      break
    shown += chunk
  os.close(terminal)
  out, _ = process.communicate(timeout=300)
  assert process.returncode == 0
  assert '━' in shown.decode()
  assert re.search('(preparing|loss .*|enlarging) 0:.. left', shown.decode())
  assert [line[:8] for line in out.splitlines()] == [
    f'{name}_x2.png' for name in 'abc'
  ]


@pytest.mark.slow
def test_interrupt_ends_at_once_and_leaves_nothing(tmp_path):
  path = save(tmp_path / 'a.png')
  process = start(
    *(SMOKE, f'--input={path}', '--config.max_steps=3000'), cwd=tmp_path
  )
  assert process.stderr.readline().startswith('a_x2  ')
  process.send_signal(signal.SIGINT)
  clock = time.monotonic()
  out, err = process.communicate(timeout=60)
  assert time.monotonic() - clock < 5  # a second of it for a busy machine
  assert process.returncode == 130
  assert out == ''
  assert err.splitlines()[-1] == 'interrupted'
  assert 'Traceback' not in err
  assert os.listdir(tmp_path) == ['a.png']
