"""bin/main.py with several devices, or several images on one."""

import json
import os
import re
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from zssr_jax import super_resolution
from zssr_jax.data import image_io
from zssr_jax.ops import metrics
from zssr_jax.parallel import devices

from .helpers import bin_main

# ml_collections loads config files in a way that Python is phasing out.
pytestmark = pytest.mark.filterwarnings(
  'ignore:.*load_module:DeprecationWarning'
)


@pytest.fixture
def cli(capsys):
  """Runs the command in this process: `cli(*flags) -> (code, out, err)`."""

  def run(*arguments):
    argv = ['main.py', '--config=smoke', *map(str, arguments)]
    code = bin_main.main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err

  return run


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
  """Five photos, three of one shape, one turned by EXIF, one damaged."""
  from skimage import data

  folder = tmp_path_factory.mktemp('photos')
  photo = data.astronaut()
  for name, shape, (y, x) in (
    ('a', (48, 40), (20, 180)),
    ('b', (36, 36), (200, 50)),
    ('d', (48, 40), (100, 100)),
    ('e', (48, 40), (300, 300)),
  ):
    crop = photo[y : y + shape[0], x : x + shape[1]]
    Image.fromarray(crop).save(folder / f'{name}.png')
  (folder / 'c.png').write_text('no image')
  exif = Image.Exif()
  exif[0x0112] = 6
  turned = Image.fromarray(np.rot90(photo[60:108, 200:240]).copy())
  turned.save(folder / 'f.png', exif=exif)
  return folder


@pytest.fixture(scope='module')
def alone(photos, tmp_path_factory):
  """The folder of results of one image at a time."""
  folder = tmp_path_factory.mktemp('alone')
  argv = [f'--input={photos}', f'--output={folder}']
  assert bin_main.main(['main.py', '--config=smoke', *argv]) == 1
  return folder


@pytest.mark.slow
@pytest.mark.parametrize(
  'flags',
  [('--devices=2',), ('--in_flight=3',), ('--devices=2', '--in_flight=2')],
)
def test_results_and_reports_are_those_of_one_at_a_time(
  cli, photos, alone, tmp_path, flags, monkeypatch
):
  together = []
  train_together = devices.train_together

  def spy(jobs, *others):
    together.append(len(jobs))
    return train_together(jobs, *others)

  monkeypatch.setattr(devices, 'train_together', spy)
  code, out, err = cli(f'--input={photos}', f'--output={tmp_path}', *flags)
  # Those of one shape are the only ones that go by twos, unless in flight.
  assert together == ([2, 2] if flags == ('--devices=2',) else [])
  assert code == 1
  assert [line[0] for line in out.splitlines()] == list('abdef')
  errors = [line for line in err.splitlines() if line.startswith('error')]
  assert len(errors) == 1 and f'{photos / "c.png"}: not an image' in errors[0]
  names = sorted(os.listdir(alone))
  assert names == sorted(os.listdir(tmp_path)) and len(names) == 11
  for name in 'abdef':
    one, other = (
      image_io.read_image(folder / f'{name}_x2.png')
      for folder in (alone, tmp_path)
    )
    # Two runs of one image differ by rounding.
    assert metrics.score(other, one, 2)[0] > 45
    records = [
      json.loads((folder / f'{name}_x2.json').read_text())
      for folder in (alone, tmp_path)
    ]
    histories = [record['history'] for record in records]
    assert histories[0]['stages'] == histories[1]['stages']
    np.testing.assert_allclose(
      *(history['loss'][:20] for history in histories), rtol=0.02
    )


@pytest.mark.slow
def test_progress_of_each_is_told_by_its_name(cli, photos, tmp_path):
  code, _, err = cli(
    *(f'--input={photos}/[ade].png', f'--output={tmp_path}', '--devices=3')
  )
  assert code == 0
  for name in 'ade':
    assert re.search(rf'{name}_x2  \d+0%  step [12]0/20', err)


@pytest.mark.slow
def test_the_order_of_the_inputs_is_kept_whoever_ends_first(
  cli, photos, tmp_path, monkeypatch
):
  run_image = super_resolution.run_image
  ended = []

  def first_last(image, *others, **options):
    result = yield from run_image(image, *others, **options)
    ended.append(image.shape[0])
    return result

  monkeypatch.setattr(super_resolution, 'run_image', first_last)
  # Those of one class go first; the other one, b, is second of the inputs.
  for name in 'ad':
    shutil.copy(photos / f'{name}.png', tmp_path)
  with Image.open(photos / 'b.png') as image:
    image.resize((90, 90)).save(tmp_path / 'b.png')
  code, out, _ = cli(
    *(f'--input={tmp_path}/[abd].png', f'--output={tmp_path}', '--devices=2')
  )
  assert code == 0 and ended == [48, 48, 90]
  assert [line[:8] for line in out.splitlines()] == [
    f'{name}_x2.png' for name in 'abd'
  ]


@pytest.mark.parametrize(
  ('flag', 'words'),
  [
    ('--devices=64', 'there are 4'),
    ('--devices=0', 'devices'),
    ('--in_flight=0', 'in_flight'),
    ('--in_flight=65', 'in_flight'),
  ],
)
def test_what_there_is_not_is_one_line(cli, photos, tmp_path, flag, words):
  output = tmp_path / 'out'
  code, out, err = cli(f'--input={photos}', f'--output={output}', flag)
  assert (code, out) == (2, '') and err.count('\n') == 1
  assert re.match('error: ', err) and words in err
  assert not output.exists()


def test_another_error_is_not_hidden(cli, photos, tmp_path, monkeypatch):
  def broken(*args, **options):
    yield from ()
    raise AssertionError('a mistake')

  monkeypatch.setattr(super_resolution, 'run_image', broken)
  for flags in ((), ('--devices=2',), ('--in_flight=2',)):
    with pytest.raises(AssertionError, match='a mistake'):
      cli(f'--input={photos}', f'--output={tmp_path}', *flags)


@pytest.mark.slow
def test_a_scale_for_each_axis_trains_together(cli, photos, tmp_path):
  code, _, err = cli(
    *(f'--input={photos}/[adf].png', f'--output={tmp_path}', '--devices=3'),
    '--scale=1.5,2',
  )
  assert code == 0, err
  assert image_io.read_image(tmp_path / 'f_x1.5x2.png').shape == (72, 80, 3)


def test_devices_come_from_jax():
  assert len(jax.devices()) == 4  # else the tests above show little
