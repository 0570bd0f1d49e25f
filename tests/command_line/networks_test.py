"""Trained parameters that bin/main.py loads: starts and --weights."""

import jax
import numpy as np
import pytest

from zssr_jax import registry
from zssr_jax.command_line import app
from zssr_jax.weights import parameters

from .helpers import ROOT, save


def save_start(path, scale=2, width=4):
  """A start for the network of configs/smoke.py, or of another width."""
  model = registry.NETWORKS['pixel_shuffle'].make(
    scale=(float(scale),) * 2, depth=4, width=width
  )
  image = np.zeros((1, 4, 4, 3), np.float32)
  large = np.zeros((1, 4 * scale, 4 * scale, 3), np.float32)
  params = model.init(jax.random.key(0), image, large)['params']
  parameters.save_params(path, params, scale=scale)
  return path


def test_a_start_is_loaded_for_the_training(tmp_path, cli, quick):
  path = save(tmp_path / 'photo.png')
  assert cli(f'--input={path}')[0] == 0
  start = save_start(tmp_path / 'start.safetensors')
  size = ('--config.model=pixel_shuffle', '--config.depth=4')
  code, _, err = cli(
    f'--input={path}',
    f'--config.start={start}',
    *size,
    '--config.width=4',
    '--overwrite',
  )
  assert code == 0, err
  assert quick[0]['start'] is None and quick[0]['vgg'] is None
  kernel = quick[1]['start']['Body_0']['Conv_0']['kernel']
  assert kernel.shape == (3, 3, 3, 4)


def test_the_transferred_start_comes_with_the_package(tmp_path, cli, quick):
  path = save(tmp_path / 'photo.png')
  config = f'--config={ROOT}/configs/transferred.py'
  assert cli(f'--input={path}', config)[0] == 0
  last = quick[0]['start']['Body_0']['Conv_7']['kernel']
  assert last.shape == (3, 3, 64, 12)


@pytest.mark.parametrize(
  ('flags', 'words'),
  [
    ((), '--config.start=transferred: start does not fit'),
    (('--config.width=64',), 'use --config=fast'),
    (('--config.gradual=((0.5,0.5),(1,1))',), '--config.gradual=()'),
  ],
)
def test_a_start_that_does_not_fit_is_refused_before_all_else(
  tmp_path, cli, quick, flags, words
):
  path = save(tmp_path / 'photo.png')
  code, out, err = cli(f'--input={path}', '--config.start=transferred', *flags)
  assert (code, out) == (2, '') and err.count('\n') == 1
  assert words in err and not quick


def test_weights_that_nothing_uses_are_refused(tmp_path, cli, quick):
  path = save(tmp_path / 'photo.png')
  unused = save_start(tmp_path / 'vdsr.safetensors')
  code, _, err = cli(f'--input={path}', f'--weights=vdsr={unused}')
  assert code == 2 and 'nothing in this run uses vdsr' in err


@pytest.mark.parametrize(
  ('flag', 'words'),
  [
    (
      '--config.start=nowhere.safetensors',
      'nowhere.safetensors: no such weight file',
    ),
    ('--scale=1.5', 'no transferred start for scale 1.5'),
    ('--weights=vgg=x.safetensors', 'NAME one of vgg16, '),
    (
      '--weights=vdsr=gone.safetensors',
      'gone.safetensors: no such weight file',
    ),
  ],
)
def test_parameters_that_are_missing_are_one_line(
  tmp_path, cli, quick, flag, words
):
  path = save(tmp_path / 'photo.png')
  given = [flag]
  if not flag.startswith('--config.start'):
    given.append('--config.start=transferred')
  code, out, err = cli(f'--input={path}', *given)
  assert (code, out) == (2, '')
  assert words in err and err.count('\n') == 1
  assert not quick and not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
  ('override', 'network'),
  [('model=vdsr_backbone', 'vdsr'), ("losses=(('content', 0.1),)", 'vgg16')],
)
def test_without_weights_one_line_says_how_to_get_them(
  tmp_path, cli, quick, monkeypatch, override, network
):
  path = save(tmp_path / 'photo.png')
  empty = tmp_path / 'empty'
  empty.mkdir()
  for root in (None, empty):
    monkeypatch.setattr(app.datasets, 'data_root', lambda root=root: root)
    code, _, err = cli(f'--input={path}', f'--config.{override}')
    assert code == 2 and err.count('\n') == 1
    assert f'--weights={network}=FILE' in err and 'bin/convert_weights' in err
  start = save_start(tmp_path / 'other.safetensors')
  code, _, err = cli(
    f'--input={path}', f'--config.{override}', f'--weights={network}={start}'
  )
  assert code == 2 and f'{start}: holds something, not {network}' in err
