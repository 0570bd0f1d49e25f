"""What bin/main.py does when some images or disks fail, and others not."""

import errno
import pathlib

import pytest

from zssr_jax import super_resolution
from zssr_jax.data import files

from .helpers import outputs, save


def test_folder_goes_on_after_a_bad_file(tmp_path, cli, quick):
  (tmp_path / 'in').mkdir()
  save(tmp_path / 'in/a.png')
  b = tmp_path / 'in/b.png'
  b.write_text('no image')
  save(tmp_path / 'in/c.JPG')
  (tmp_path / 'in/notes.txt').write_text('not an image, and none pretended')
  code, out, err = cli(f'--input={tmp_path / "in"}')
  assert code == 1
  assert [line.split()[0] for line in out.splitlines()] == [
    'a_x2.png',
    'c_x2.png',
  ]
  errors = [line for line in err.splitlines() if line.startswith('error')]
  assert len(errors) == 1
  assert 'b.png' in errors[0]
  assert err.splitlines()[-1] == f'failed: 1 of 3 inputs failed: {b}'
  assert f'note: {tmp_path / "in/notes.txt"}: not an image by its name' in err
  assert outputs(tmp_path) == [
    'a_x2.json',
    'a_x2.png',
    'c_x2.json',
    'c_x2.png',
    'manifest.jsonl',
  ]


def test_a_result_that_cannot_be_written_fails_alone(
  tmp_path, cli, quick, monkeypatch
):
  for name in 'abc':
    save(tmp_path / f'{name}.png')
  write = files.write_files

  def full_for_b(contents):
    if any('b_x2' in str(path) for path in contents):
      raise OSError(errno.ENOSPC, 'No space left on device', 'b_x2.png')
    write(contents)

  monkeypatch.setattr(files, 'write_files', full_for_b)
  code, out, err = cli(f'--input={tmp_path}/*.png')
  assert code == 1
  assert [line[0] for line in out.splitlines()] == ['a', 'c']
  errors = [line for line in err.splitlines() if line.startswith('error')]
  assert errors == ['error: b_x2.png: No space left on device']


def test_folder_does_what_is_not_there_yet(tmp_path, cli, quick):
  (tmp_path / 'in').mkdir()
  save(tmp_path / 'in/a.png')
  assert cli(f'--input={tmp_path / "in"}')[0] == 0
  save(tmp_path / 'in/b.png')
  code, out, err = cli(f'--input={tmp_path / "in"}')
  assert code == 0
  assert out.startswith('b_x2.png')
  assert 'a_x2.png: finished before; pass --overwrite' in err


def test_full_disk_is_one_line_and_leaves_nothing(
  tmp_path, monkeypatch, cli, quick
):
  opened = pathlib.Path.open

  def no_room(path, mode='r', *others, **options):
    if 'w' in mode:
      raise OSError(28, 'No space left on device', str(path))
    return opened(path, mode, *others, **options)

  path = save(tmp_path / 'a.png')
  monkeypatch.setattr(pathlib.Path, 'open', no_room)
  code, out, err = cli(f'--input={path}')
  assert (code, out) == (2, '')
  assert err.splitlines()[-1].endswith('No space left on device')
  assert outputs(tmp_path) == []


def test_own_mistakes_are_not_hidden(tmp_path, monkeypatch, cli):
  def nothing(*args, **options):
    yield from ()

  monkeypatch.setattr(super_resolution, 'run_image', nothing)
  with pytest.raises(AttributeError):
    cli(f'--input={save(tmp_path / "a.png")}')
