"""Which files bin/main.py reads, and the names of those that it writes."""

import re
import threading
import time

import numpy as np
import pytest
from PIL import Image

from zssr_jax import super_resolution
from zssr_jax.data import image_io, kernel_io
from zssr_jax.data import photo as photo_lib

from .helpers import ROOT, outputs, photo, save, save_beside_old_output


def test_bundled_example_brings_kernel_and_reference(tmp_path, cli, quick):
  code, out, err = cli()
  assert code == 0, err
  assert re.match(r'astronaut_lr_x2\.png .* dB .*bicubic', out)
  np.testing.assert_array_equal(
    quick[0]['kernel'],
    kernel_io.read_kernel(ROOT / 'examples/astronaut_kernel.npy'),
  )
  assert 'astronaut_lr_x2_side_by_side.png' in outputs(tmp_path)


@pytest.mark.parametrize(
  ('text', 'value', 'name', 'size'),
  [
    ('2', 2, '2', (48, 56)),
    ('3', 3, '3', (72, 84)),
    ('3/2', 1.5, '1.5', (36, 42)),
    ('1.1', 1.1, '1.1', (27, 31)),
    ('4/3', 4 / 3, '1.333', (32, 38)),
    ('2,3', (2, 3), '2x3', (48, 84)),
    ('1,3/2', (1, 1.5), '1x1.5', (24, 42)),
    ('2,2', 2, '2', (48, 56)),
  ],
)
def test_scale_names_the_output(tmp_path, cli, quick, text, value, name, size):
  code, out, _ = cli(f'--input={save(tmp_path / "a.png")}', f'--scale={text}')
  assert code == 0
  assert quick[0]['scale'] == value
  image = image_io.read_image(tmp_path / f'out/a_x{name}.png')
  assert image.shape[:2] == size


def test_greyscale_stays_greyscale(tmp_path, cli, quick):
  cli(f'--input={save(tmp_path / "a.png", photo(channels=1))}')
  with Image.open(tmp_path / 'out/a_x2.png') as image:
    assert image.mode == 'L'


@pytest.mark.parametrize('size', [(48, 56), (49, 57), (47, 55)])
def test_reference_may_differ_by_what_the_scale_leaves_over(
  tmp_path, cli, quick, size
):
  reference = save(tmp_path / 'hr.png', photo(*size))
  code, _, err = cli(
    f'--input={save(tmp_path / "a.png")}', f'--reference={reference}'
  )
  assert code == 0, err


def test_files_are_read_and_written_while_others_train(
  tmp_path, cli, quick, monkeypatch
):
  """Each training waits for what is to go on beside it."""
  for name in 'abc':
    save(tmp_path / f'{name}.png')
  read = {name: threading.Event() for name in 'abc'}
  read_photo, run_image = photo_lib.read_photo, super_resolution.run_image
  seen = []

  def read_and_tell(path, **options):
    found = read_photo(path, **options)
    read[path.stem].set()
    return found

  def run_and_wait(*args, **options):
    name = 'abc'[len(seen)]
    seen.append(name)
    if name != 'c':
      assert read['abc'[len(seen)]].wait(60)
    if name != 'a':
      earlier = tmp_path / f'out/{seen[-2]}_x2.json'
      deadline = time.monotonic() + 60
      while not earlier.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
      assert earlier.exists()
    return (yield from run_image(*args, **options))

  monkeypatch.setattr(photo_lib, 'read_photo', read_and_tell)
  monkeypatch.setattr(super_resolution, 'run_image', run_and_wait)
  code, out, err = cli(f'--input={tmp_path}/*.png')
  assert code == 0, err
  assert [line[0] for line in out.splitlines()] == ['a', 'b', 'c'] == seen


def test_glob_and_folder_of_references(tmp_path, cli, quick):
  (tmp_path / 'hr').mkdir()
  for name in 'ab':
    save(tmp_path / f'{name}.png')
    save(tmp_path / f'hr/{name}.bmp', photo(48, 56))
  code, out, err = cli(
    f'--input={tmp_path}/*.png', f'--reference={tmp_path / "hr"}'
  )
  assert code == 0, err
  assert out.count('dB') == 2


def test_colliding_stems_keep_their_full_names(tmp_path, cli, quick):
  (tmp_path / 'in').mkdir()
  for name in ('a.png', 'a.jpg', 'b.png'):
    save(tmp_path / 'in' / name)
  assert cli(f'--input={tmp_path / "in"}')[0] == 0
  assert [name for name in outputs(tmp_path) if name.endswith('.png')] == [
    'a.jpg_x2.png',
    'a.png_x2.png',
    'b_x2.png',
  ]


def test_equal_names_of_a_glob_fail_alone(tmp_path, cli, quick):
  for name in ('one', 'two'):
    (tmp_path / name).mkdir()
    save(tmp_path / name / 'a.png')
  code, _, err = cli(f'--input={tmp_path}/*/a.png')
  assert code == 1
  assert f'{tmp_path}/two/a.png: its result would be named like' in err
  assert 'a_x2.png' in outputs(tmp_path)


def test_name_with_glob_characters_is_a_name(tmp_path, cli, quick):
  save(tmp_path / 'a[1].png')
  assert cli(f'--input={tmp_path / "a[1].png"}')[0] == 0
  assert 'a[1]_x2.png' in outputs(tmp_path)


@pytest.mark.parametrize('suffix', ['.png', '.json'])
def test_existing_output_is_kept_unless_told_otherwise(
  tmp_path, cli, quick, suffix
):
  path, old = save_beside_old_output(tmp_path, suffix)
  code, out, err = cli(f'--input={path}')
  assert (code, out) == (2, '')
  assert (
    err == f'error: {old}: exists already; pass --overwrite to replace it\n'
  )
  assert not quick
  assert outputs(tmp_path) == [old.name]
  assert cli(f'--input={path}', '--overwrite')[0] == 0
  assert old.read_bytes() != b'old'
