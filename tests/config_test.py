"""The settings record and the config files."""

import dataclasses
import importlib.util
import pathlib

import pytest

from zssr_jax import Config

FILES = sorted((pathlib.Path(__file__).parents[1] / 'configs').glob('*.py'))


@pytest.mark.parametrize('file', FILES, ids=lambda f: f.stem)
def test_every_config_file_describes_a_config_and_how_to_run_it(file):
  spec = importlib.util.spec_from_file_location(file.stem, file)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  config = Config(**module.get_config().to_dict())
  assert dataclasses.asdict(config) == module.get_config().to_dict()
  assert f'--config=configs/{file.name}' in module.__doc__


@pytest.mark.parametrize(
  ('field', 'value'),
  [
    ('model', 'unet'),
    ('kernel', 'gauss'),
    ('schedule', 'step'),
    ('border', 'wrap'),
    ('optimizer', 'lion'),
    ('start_steps', -2),
    ('start_rate', -1.0),
    ('depth', 1),
    ('batch', 0),
    ('noise_std', -0.1),
    ('affine', 1.5),
    ('plateau_ddof', 5),
    ('gradual', ((0.5, 0.5),)),
    ('gradual', ((0.5,), (1, 1))),
    ('gradual', ((2, 2), (1, 1))),
  ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(field, value):
  with pytest.raises(ValueError, match=f'config.{field}'):
    Config(**{field: value})


def test_a_config_is_hashable_and_lists_become_tuples():
  config = Config(gradual=[[0.5, 0.5], [1, 1]])
  assert config.gradual == ((0.5, 0.5), (1.0, 1.0))
  assert hash(config) == hash(Config(gradual=((0.5, 0.5), (1, 1))))
  assert config.replace(batch=2).batch == 2


def test_steps_and_rate_of_a_start_hold_where_there_is_one():
  config = Config(
    max_steps=800, learning_rate=3e-3, start_steps=100, start_rate=2e-4
  )
  assert config.in_force.max_steps == 800
  assert config.in_force.learning_rate == 3e-3
  begun = config.replace(start='transferred').in_force
  assert (begun.max_steps, begun.learning_rate) == (100, 2e-4)
  assert begun.in_force == begun
  without = Config(start='transferred', max_steps=7, learning_rate=0.1)
  assert without.in_force == without
  assert config.replace(start='x.npz', start_steps=0).in_force.max_steps == 0
