"""The shipped configs, from Python and from the command line's files."""

import dataclasses
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import zssr_jax
from zssr_jax import Config, errors, presets, super_resolution

IMAGE = np.full((32, 32, 3), 0.5, np.float32)
FILES = sorted((pathlib.Path(__file__).parents[1] / 'configs').glob('*.py'))


def test_every_file_has_its_preset_and_every_preset_its_file():
  assert [file.stem for file in FILES] == sorted(presets.PRESETS)


@pytest.mark.parametrize('file', FILES, ids=lambda f: f.stem)
def test_a_config_file_is_its_preset_and_says_how_to_run_it(file, load_script):
  module = load_script(f'configs/{file.name}')
  fields = module.get_config().to_dict()
  assert fields == dataclasses.asdict(presets.PRESETS[file.stem])
  assert Config(**fields) == presets.PRESETS[file.stem]
  assert f'--config=configs/{file.name}' in module.__doc__


@pytest.mark.parametrize(
  ('name', 'expected'),
  [
    ('ideal', dict(model='zssr', warmup=100, max_steps=3000)),
    ('fast', dict(start_steps=100, losses=(('luma', 0.9), ('l1', 0.1)))),
    ('nonideal', dict(kernel='estimate', width=32, noise_std=0.29 / 255)),
    ('real', dict(estimate_noise=0.8, back_projection=0, max_steps=300)),
    (
      'balanced',
      dict(
        gradual=((1 / 3, 1 / 3), (2 / 3, 2 / 3), (1.0, 1.0), (1.0, 1.0)),
        max_steps=250,
        batch=0,
        learning_rate=4e-3,
      ),
    ),
    ('mzsr', dict(optimizer='sgd', learning_rate=1e-2, max_steps=10)),
    ('hybrid_loss', dict(content_layers=(('relu3_3', 1.0),))),
    (
      'best',
      dict(
        networks=2,
        latest=2,
        gradual=(*[(n / 6, n / 6) for n in range(1, 6)], *[(1.0, 1.0)] * 5),
      ),
    ),
  ],
)
def test_presets_hold_the_settings_that_were_measured(name, expected):
  config = zssr_jax.load_config(name)
  assert {field: getattr(config, field) for field in expected} == expected


def test_changes_are_laid_over_a_preset():
  config = zssr_jax.load_config('nonideal', width=16, kernel='joint')
  assert config == presets.PRESETS['nonideal'].replace(width=16, kernel='joint')
  with pytest.raises(ValueError, match='config.width must lie'):
    zssr_jax.load_config('nonideal', width=0)
  with pytest.raises(TypeError, match='max_step'):
    zssr_jax.load_config('nonideal', max_step=3)


@pytest.mark.parametrize(
  ('changes', 'expected'),
  [
    ({}, (100, 1e-4)),
    ({'max_steps': 7}, (7, 1e-4)),
    ({'learning_rate': 0.5}, (100, 0.5)),
    ({'max_steps': 7, 'start_steps': 8}, (8, 1e-4)),
    ({'start': 'random'}, (400, 5e-3)),
    ({'start': 'random', 'max_steps': 7}, (7, 5e-3)),
  ],
)
def test_steps_that_are_asked_for_hold_with_a_start_and_without(
  changes, expected
):
  used = zssr_jax.load_config('fast', **changes).in_force
  assert (used.max_steps, used.learning_rate) == expected


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('fats', '^fats: no such config; did you mean fast\\?$'),
    (
      'xyzzy',
      '^xyzzy: no such config; known: auto, balanced, best, .*vdsr_backbone$',
    ),
  ],
)
def test_an_unknown_name_is_told_its_nearest(name, message):
  with pytest.raises(errors.InputError, match=message):
    zssr_jax.load_config(name)


def test_a_config_goes_by_its_name_wherever_one_is_taken():
  fast = zssr_jax.load_config('fast')
  assert presets.config_of('fast') == presets.config_of(fast) == fast
  assert presets.preview('fast') == presets.preview(fast)
  assert presets.override('fast', {'width': 8}).width == 8
  shape = (64, 64, 3)
  expected = super_resolution.expect(shape, 2, fast)
  assert super_resolution.expect(shape, 2, 'fast') == expected
  start = zssr_jax.load_start('transferred', 2)
  super_resolution.check_start(start, 2, 'fast')
  with pytest.raises(errors.InputError, match='did you mean fast'):
    zssr_jax.train_image(IMAGE, 2, config='fats')
  with pytest.raises(TypeError, match='Config or the name of one, not 3'):
    zssr_jax.train_image(IMAGE, 2, config=3)


@pytest.mark.slow
def test_a_preset_does_without_ml_collections():
  program = (
    'import sys, zssr_jax; zssr_jax.load_config("fast");'
    'print("ml_collections" in sys.modules)'
  )
  done = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True, check=True
  )
  assert done.stdout == 'False\n'
