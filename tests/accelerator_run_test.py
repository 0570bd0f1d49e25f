"""benchmarks/accelerator.py does all of its parts, here on a CPU."""

import sys

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def script(load_script):
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
    return load_script('benchmarks/accelerator.py')


def call(script, monkeypatch, *arguments):
  monkeypatch.setattr(sys, 'argv', ['accelerator.py', *arguments])
  script.main()


@pytest.mark.slow
def test_every_part_brings_its_rows_back(script, monkeypatch, tmp_path):
  (tmp_path / 'data' / 'B100' / 'HR').mkdir(parents=True)
  pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
  Image.fromarray(pixels).save(tmp_path / 'data' / 'B100' / 'HR' / 'a.png')
  monkeypatch.setenv('ZSSR_JAX_DATA', str(tmp_path / 'data'))
  monkeypatch.setattr(script, '_FORMATS', ('tensorfloat32',))
  monkeypatch.setattr(script, '_SHAPE', (40, 44, 3))
  # As on a machine of one device; the process of its own sees four.
  monkeypatch.setattr(script.jax, 'device_count', lambda: 1)
  output = tmp_path / 'out'
  call(
    script,
    monkeypatch,
    f'--output={output}',
    '--parts=train,b100',
    '--steps=2',
    '--config.max_steps=2',
    '--config.width=8',
  )
  call(
    script,
    monkeypatch,
    f'--output={output}',
    '--parts=fast',
    '--repeats=1',
  )
  found = script.read(output / 'rows.jsonl')
  assert [row['part'] for row in found] == ['train', 'b100', 'fast']
  train, b100, fast = found
  assert train['share'] == pytest.approx(
    train['tflops'] / train['matrix_tflops']
  )
  assert 15 < train['psnr'] < 40
  assert (b100['images'], b100['extra'][0]) == (1, '--config.max_steps=2')
  (image,) = script.read(output / 'b100.jsonl')
  assert image['psnr'] == b100['psnr']
  assert 0 < fast['seconds'] <= fast['longest'] * 1.001
  table = (output / 'table.md').read_text().splitlines()
  assert len(table) == 2 + 3


@pytest.mark.parametrize(
  ('argument', 'message'),
  [('--parts=train,all', 'parts: all'), ('--image=3', 'unknown: --image')],
)
def test_what_it_does_not_know_is_refused(
  script, monkeypatch, capsys, argument, message
):
  with pytest.raises(SystemExit):
    call(script, monkeypatch, argument)
  assert message in capsys.readouterr().err
