"""The command `zssr`: what it takes, what it leaves out, what it says."""

import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from zssr_jax import commands, presets
from zssr_jax.command_line import zssr
from zssr_jax.data import image_io

from .helpers import ROOT, SMOKE, outputs, photo, save


def lines_of(tmp_path):
  text = (tmp_path / 'out/manifest.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


def statuses(tmp_path):
  return {
    pathlib.Path(entry['input']).name: entry['status']
    for entry in lines_of(tmp_path)
  }


def test_files_need_no_flag_and_add_up(tmp_path, cli, quick):
  for name in 'abcd':
    save(tmp_path / f'{name}.png')
  code, out, err = cli(
    tmp_path / 'a.png',
    '-i',
    tmp_path / 'b.png',
    '-s',
    3,
    tmp_path / '[c-d].png',
    f'--input={tmp_path / "a.png"}',  # once more
  )
  assert code == 0, err
  assert sorted(line.split()[0] for line in out.splitlines()) == [
    f'{name}_x3.png' for name in 'abcd'
  ]
  assert len(quick) == 4


def test_home_folder_is_understood(tmp_path, cli, quick, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  save(tmp_path / 'a.png')
  assert cli('~/a.png', '-o=~/results')[0] == 0
  assert (tmp_path / 'results/a_x2.png').exists()


def test_brackets_of_a_folder_that_exists_are_its_name(tmp_path, cli, quick):
  (tmp_path / 'trip [2019]').mkdir()
  save(tmp_path / 'trip [2019]/a.png')
  assert cli(tmp_path / 'trip [2019]')[0] == 0
  assert 'a_x2.png' in outputs(tmp_path)


@pytest.mark.parametrize('name', ['large.png', 'large.tif', 'large.JPEG'])
def test_output_may_be_a_file_whose_suffix_is_the_format(
  tmp_path, cli, quick, name
):
  code, out, err = cli(save(tmp_path / 'a.bmp'), f'--output={tmp_path}/{name}')
  assert code == 0, err
  assert out.startswith(name)
  with Image.open(tmp_path / name) as image:
    kinds = {'large.png': 'PNG', 'large.tif': 'TIFF', 'large.JPEG': 'JPEG'}
    assert image.format == kinds[name]
    assert image.size == (56, 48)
  assert (tmp_path / 'large.json').exists()


def test_a_folder_with_a_suffix_in_its_name_is_a_folder(tmp_path, cli, quick):
  (tmp_path / 'old.png').mkdir()
  code, _, err = cli(save(tmp_path / 'a.png'), f'--output={tmp_path}/old.png')
  assert code == 0, err
  assert (tmp_path / 'old.png/a_x2.png').exists()


def test_subfolders_are_mirrored(tmp_path, cli, quick):
  for name in ('a.png', 'sub/a.png', 'sub/deep er/b.png', '.hidden/c.png'):
    path = tmp_path / 'in' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path)
  code, out, err = cli(tmp_path / 'in')
  assert code == 0
  assert 'sub: a folder; pass --recursive to go into it; left out' in err
  assert len(quick) == 1
  code, out, err = cli(tmp_path / 'in', '-r')
  assert code == 0, err
  assert sorted(line.split('_x2')[0] for line in out.splitlines()) == [
    'sub/a',
    'sub/deep er/b',
  ]
  made = {
    str(p.relative_to(tmp_path / 'out'))
    for p in (tmp_path / 'out').rglob('*.png')
  }
  assert made == {'a_x2.png', 'sub/a_x2.png', 'sub/deep er/b_x2.png'}


def test_several_folders_have_folders_of_their_own(tmp_path, cli, quick):
  for name in ('one', 'two'):
    (tmp_path / name).mkdir()
    save(tmp_path / name / 'a.png')
  code, _, err = cli(tmp_path / 'one', tmp_path / 'two')
  assert code == 0, err
  for name in ('one', 'two'):
    assert (tmp_path / 'out' / name / 'a_x2.png').exists()


def test_entries_that_are_not_read_are_named(tmp_path, cli, quick):
  (tmp_path / 'in').mkdir()
  save(tmp_path / 'in/a.png')
  (tmp_path / 'in/movie.mp4').write_bytes(b'no photo')
  (tmp_path / 'in/<b>.txt').write_text('nor this')
  code, _, err = cli(tmp_path / 'in')
  assert code == 0
  notes = [line for line in err.splitlines() if line.startswith('note: ')]
  assert len(notes) == 2
  assert any(
    'movie.mp4: not an image by its name; left out' in n for n in notes
  )


def test_results_are_no_inputs(tmp_path, cli, quick):
  save(tmp_path / 'a.png')
  save(tmp_path / 'b.png')
  for _ in range(2):
    code, _, err = cli(tmp_path, f'--output={tmp_path}', '--kernel=gaussian:1')
    assert code == 0, err
  assert len(quick) == 2
  assert 'a_x2.png: a result of an earlier run; left out' in err
  assert 'a_x2_kernel.png: a result of an earlier run; left out' in err
  assert 'manifest' not in err
  # Named alone, one is wanted.
  code, _, err = cli(tmp_path / 'a_x2.png', f'--output={tmp_path}')
  assert code == 0, err
  assert (tmp_path / 'a_x2_x2.png').exists()


def test_finished_inputs_are_passed_over(tmp_path, cli, quick):
  path = save(tmp_path / 'a.png')
  assert cli(path)[0] == 0
  before = (tmp_path / 'out/a_x2.png').stat().st_mtime_ns
  code, out, err = cli(path)
  assert (code, out) == (0, '')
  assert err == (
    f'note: {tmp_path}/out/a_x2.png: finished before; pass --overwrite to make'
    ' anew\n'
  )
  assert (tmp_path / 'out/a_x2.png').stat().st_mtime_ns == before
  assert len(quick) == 1
  assert cli(path, '--overwrite')[0] == 0
  assert len(quick) == 2


def test_what_an_interruption_left_is_done_again(tmp_path, cli, quick):
  path = save(tmp_path / 'a.png')
  assert cli(path)[0] == 0
  (tmp_path / 'out/a_x2.png').unlink()  # the record is moved first
  code, _, err = cli(path)
  assert code == 0, err
  assert len(quick) == 2


def test_manifest_says_what_became_of_each(tmp_path, cli, quick):
  for name in 'abc':
    save(tmp_path / f'{name}.png')
  (tmp_path / 'b.png').write_text('no image')
  assert cli(f'{tmp_path}/*.png')[0] == 1
  assert statuses(tmp_path) == {
    'a.png': 'done',
    'b.png': 'failed',
    'c.png': 'done',
  }
  # They come in the order in which the inputs are through.
  done, failed, _ = sorted(lines_of(tmp_path), key=lambda e: e['input'])
  assert done['outputs'] == [
    f'{tmp_path}/out/a_x2.json',
    f'{tmp_path}/out/a_x2.png',
  ]
  assert done['seconds'] >= 0 and done['reason'] is None
  assert failed['reason'].startswith(f'{tmp_path}/b.png: ')
  # A line that was cut short is removed, and whole ones stay.
  manifest = tmp_path / 'out/manifest.jsonl'
  with manifest.open('a') as file:
    file.write('{"run": "2001-')
  save(tmp_path / 'b.png')
  assert cli(f'{tmp_path}/*.png')[0] == 0
  assert len(lines_of(tmp_path)) == 6
  assert statuses(tmp_path) == {
    'a.png': 'skipped',
    'b.png': 'done',
    'c.png': 'skipped',
  }


def test_one_bad_input_leaves_the_others(tmp_path, cli, quick):
  save(tmp_path / 'good.png')
  bad = (
    tmp_path / 'none.png',
    tmp_path / 'empty*',
    f'{tmp_path}/{"a" * 210}.png',
  )
  save(bad[2])
  code, out, err = cli(*bad, tmp_path / 'good.png')
  assert code == 1
  assert out.startswith('good_x2.png')
  for words in ('none.png: no such file', 'no file matches', 'too long'):
    assert words in err
  assert err.splitlines()[-1].startswith('failed: 3 of 4 inputs failed: ')


def test_missing_references_fail_alone(tmp_path, cli, quick):
  (tmp_path / 'hr').mkdir()
  for name in 'ab':
    save(tmp_path / f'{name}.png')
  save(tmp_path / 'hr/a.png', photo(48, 56))
  code, out, err = cli(f'{tmp_path}/*.png', f'--reference={tmp_path}/hr')
  assert code == 1
  assert out.startswith('a_x2.png') and 'dB' in out
  assert 'b.png: ' in err and 'holds no images called b' in err


def test_dry_run_says_what_would_be_done(tmp_path, cli, quick):
  save(tmp_path / 'a.png')
  save(tmp_path / 'b.png', photo(40, 30))
  (tmp_path / 'c.png').write_text('no image')
  code, out, err = cli(f'{tmp_path}/*.png', '--dry-run')
  assert code == 1
  first, second, total = out.splitlines()
  assert f'{tmp_path}/a.png 28x24 -> {tmp_path}/out/a_x2.png 56x48' in first
  assert ' minutes, ' in first and first.endswith(' GB')
  assert 'b.png 30x40 -> ' in second
  assert total.startswith('2 images, about ')
  assert 'c.png' in err
  assert outputs(tmp_path) == [] and not quick


def test_configs_are_listed_with_a_line_each(capsys):
  assert set(presets.SUMMARIES) == set(presets.PRESETS)
  assert zssr.main(['zssr', '--list-configs']) == 0
  listed = capsys.readouterr().out
  assert zssr.main(['zssr', '--help']) == 0
  helped = capsys.readouterr().out
  assert listed in helped
  for name, text in presets.SUMMARIES.items():
    assert f'{name} ' in listed and text in listed
  assert max(map(len, listed.splitlines())) <= 80


def test_without_a_photo_it_says_how(capsys):
  assert zssr.main(['zssr']) == 2
  assert 'zssr photo.jpg' in capsys.readouterr().err


def test_environment_that_is_wrong_stops_only_what_needs_it(
  tmp_path, cli, quick, monkeypatch
):
  monkeypatch.setenv('ZSSR_JAX_DATA', str(tmp_path / 'nowhere'))
  path = save(tmp_path / 'a.png')
  assert cli(path)[0] == 0
  code, _, err = cli(path, '--config=hybrid_loss', '--overwrite')
  assert code == 2
  assert 'ZSSR_JAX_DATA' in err


def run(*arguments, cwd, **variables):
  """Runs the command as a process; returns it, and its seconds."""
  clock = time.perf_counter()
  done = subprocess.run(
    [
      sys.executable,
      '-c',
      'import sys; from zssr_jax import commands;sys.exit(commands.zssr())',
      *map(str, arguments),
    ],
    cwd=cwd,
    env={**os.environ, 'PYTHONPATH': str(ROOT), **variables},
    capture_output=True,
    text=True,
  )
  return done, time.perf_counter() - clock


def test_wrong_flags_are_answered_without_jax(tmp_path):
  program = (
    'import sys; from zssr_jax import commands;'
    'sys.argv = ["zssr", "--sacle=3"]; code = commands.zssr();'
    'print(code, sorted({"jax", "numpy", "scipy", "flax"} & set(sys.modules)))'
  )
  done = subprocess.run(
    [sys.executable, '-c', program],
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    cwd=tmp_path,
    capture_output=True,
    text=True,
  )
  assert done.stdout == '2 []\n', done
  assert done.stderr.startswith("error: Unknown command line flag 'sacle'")


def test_a_run_imports_what_its_first_step_needs(tmp_path):
  """Whatever JAX, flax and optax take with them is theirs."""
  program = """
import gc, os, sys
from zssr_jax import commands
from zssr_jax.command_line import app
sys.argv = ['zssr', '--list-configs']
commands.zssr()
assert 'numpy' not in sys.modules  # which reads this when it is imported:
assert os.environ['OPENBLAS_NUM_THREADS'] == '1'
with app.importing():
  assert not gc.isenabled()
  import flax.linen, jax, optax
  before = set(sys.modules)
  from zssr_jax.command_line import upscale
assert gc.isenabled()
unused = {'dm_pix', 'chex', 'h5py', 'scipy.io', 'scipy.ndimage', 'scipy.sparse',
  'scipy.optimize', 'tifffile', 'torch', 'zssr_jax.report', 'zssr_jax.web'}
print(sorted(unused & (set(sys.modules) - before)))
"""
  variables = {
    name: value
    for name, value in os.environ.items()
    if name != 'OPENBLAS_NUM_THREADS'
  }
  done = subprocess.run(
    [sys.executable, '-c', program],
    env={**variables, 'PYTHONPATH': str(ROOT)},
    cwd=tmp_path,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines()[-1] == '[]'


@pytest.mark.slow
def test_platform_that_is_not_there_is_one_line(tmp_path):
  save(tmp_path / 'a.png')
  done, _ = run('a.png', cwd=tmp_path, JAX_PLATFORMS='cuda')
  assert done.returncode == 2
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert 'JAX_PLATFORMS' in done.stderr
  assert os.listdir(tmp_path) == ['a.png']


@pytest.mark.slow
def test_killed_again_and_again_it_finishes_all(tmp_path):
  """As a user has it: nested folders, killed outright, started again."""
  rng = np.random.default_rng(0)
  count = 24
  for number in range(count):
    folder = tmp_path / 'in' / f'{number % 3}' / f'{number % 2}'
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / f'{number}.png', rng.integers(0, 255, (16, 20, 3), 'u1'))
  command = [
    *(sys.executable, ROOT / 'bin/main.py', SMOKE, 'in', '-r'),
    *('--config.max_steps=2', '--output=out'),
  ]
  done = tmp_path / 'out'

  def finished():
    return len(list(done.rglob('*_x2.png')))

  for _ in range(3):
    already = finished()
    process = subprocess.Popen(
      command,
      cwd=tmp_path,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while finished() < already + 3 and time.monotonic() < deadline:
      time.sleep(0.01)
    process.kill()
    process.wait()
    assert already + 3 <= finished() < count
  last = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
  assert last.returncode == 0, last.stderr
  assert finished() == count
  for path in done.rglob('*_x2.png'):
    assert image_io.read_image(path).shape == (32, 40, 3)
    json.loads(path.with_suffix('.json').read_text())
  entries = [
    json.loads(line)
    for line in (done / 'manifest.jsonl').read_text().splitlines()
  ]
  made = [e['input'] for e in entries if e['status'] == 'done']
  assert len({e['input'] for e in entries}) == count
  # The line of one that was finished when it was killed may be missing.
  assert len(set(made)) == len(made) >= count - 3


def test_commands_are_those_of_the_package():
  text = (ROOT / 'pyproject.toml').read_text()
  for name in ('zssr', 'zssr_eval', 'zssr_train', 'zssr_convert'):
    assert callable(getattr(commands, name))
    entry = f'{name.replace("_", "-")} = "zssr_jax.commands:{name}"'
    assert entry in text
