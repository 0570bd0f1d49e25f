"""The settings record: what it refuses, keeps, and says of itself."""

import dataclasses
import pickle
import re

import numpy as np
import pytest

from zssr_jax import Config
from zssr_jax.fields import attributes, check, one_of, ranged

FIELDS = [field.name for field in dataclasses.fields(Config)]


@pytest.mark.parametrize(
  ('field', 'value', 'rule'),
  [
    ('model', 'unet', 'must be one of zssr, pixel_shuffle, transposed'),
    ('model', 3, 'must be one of zssr'),
    ('model', np.zeros(2), 'must be one of zssr'),
    ('kernel', 'gauss', 'must be one of bicubic, given, auto, '),
    ('schedule', 'step', 'must be one of plateau, cosine, constant'),
    ('border', 'wrap', 'must be one of replicate, symmetric'),
    ('optimizer', 'lion', 'must be one of adam, muon, sgd'),
    ('ensemble', ['mean'], 'must be one of median, mean'),
    ('start', '', 'must be random, transferred or a file'),
    ('start', None, 'must be random, transferred or a file'),
    ('start_steps', -2, 'must lie in [-1, 10000000]'),
    ('start_rate', -1.0, 'must lie in [0.0, 10.0]'),
    ('depth', 99, 'must lie in [2, 64]'),
    ('depth', 1, 'must lie in [2, 64]'),
    ('depth', 'x', 'must be a whole number'),
    ('depth', '8', 'must be a whole number'),
    ('depth', 2.5, 'must be a whole number'),
    ('depth', float('inf'), 'must be a whole number'),
    ('depth', True, 'must be a whole number'),
    ('depth', None, 'must be a whole number'),
    ('depth', np.float32(2.5), 'must be a whole number'),
    ('batch', -1, 'must lie in [0, 1024]'),
    ('noise_std', -0.1, 'must lie in [0.0, 1.0]'),
    ('noise_std', '0.1', 'must be a number'),
    ('noise_std', False, 'must be a number'),
    ('noise_std', [0.1, 0.2], 'must be a number'),
    ('noise_std', np.zeros((2, 2)), 'must be a number'),
    ('noise_std', float('nan'), 'must lie in [0.0, 1.0]'),
    ('noise_std', 10**400, 'must lie in [0.0, 1.0]'),
    ('affine', 1.5, 'must lie in [0.0, 1.0]'),
    ('dihedral', 1, 'must be True or False'),
    ('dihedral', 'no', 'must be True or False'),
    ('plateau_ddof', 5, 'must lie in [0, 4]'),
    ('plateau_ddof', -1, 'must lie in [0, 999]'),
    ('gradual', 2, 'must hold pairs'),
    ('gradual', ((0.5, 0.5),), 'must end with the stage (1, 1)'),
    ('gradual', ((0.5,), (1, 1)), 'must hold pairs'),
    ('gradual', ((2, 2), (1, 1)), 'must hold pairs'),
    ('content_layers', (), 'must hold pairs'),
    ('content_layers', ((1, 1.0),), 'must hold pairs'),
    ('content_layers', (('relu1_2', -1),), 'must hold pairs'),
  ],
)
def test_a_value_that_makes_no_sense_is_refused_in_one_line(field, value, rule):
  with pytest.raises(ValueError) as caught:
    Config(**{field: value})
  message = str(caught.value)
  assert message.startswith(f'config.{field} {rule}')
  shown = ' '.join(repr(value).split())
  assert message.endswith(f', not {shown}') or isinstance(value, np.generic)
  assert '\n' not in message


def test_the_line_names_the_plain_value():
  with pytest.raises(ValueError) as caught:
    Config(depth=np.int64(99))
  assert str(caught.value) == 'config.depth must lie in [2, 64], not 99'


@pytest.mark.parametrize(
  ('field', 'value', 'kept'),
  [
    ('depth', np.int64(5), 5),
    ('depth', np.array(5), 5),
    ('max_steps', 1e3, 1000),
    ('noise_std', 1, 1.0),
    ('noise_std', np.float64(0.25), 0.25),
    ('noise_std', np.int32(0), 0.0),
    ('dihedral', np.False_, False),
    ('model', np.str_('transposed'), 'transposed'),
    ('start', np.str_('a file.npz'), 'a file.npz'),
    ('gradual', [[0.5, 0.5], [1, 1]], ((0.5, 0.5), (1.0, 1.0))),
    ('gradual', np.array([[0.5, 0.25], [1, 1]]), ((0.5, 0.25), (1.0, 1.0))),
    ('gradual', [], ()),
    ('content_layers', [['relu3_3', 2]], (('relu3_3', 2.0),)),
  ],
)
def test_values_are_kept_plain_and_hashable(field, value, kept):
  config = Config(**{field: value})
  got = getattr(config, field)
  assert got == kept
  assert repr(got) == repr(kept)  # 1 is not 1.0, nor np.True_ True
  assert hash(config) == hash(Config(**{field: kept}))
  assert pickle.loads(pickle.dumps(config)) == config


def test_rows_are_keyed_by_these_fields_in_this_order():
  fields = dataclasses.asdict(Config())
  assert list(fields) == FIELDS
  assert FIELDS[:3] == ['model', 'depth', 'width'] and FIELDS[-1] == 'tile'
  assert len(FIELDS) == 52
  assert fields['father_step'] == 2 ** (-1 / 6)
  assert Config(**fields) == Config()
  with pytest.raises(dataclasses.FrozenInstanceError):
    Config().depth = 3  # type: ignore[misc]


def test_help_explains_every_field():
  listed = re.findall(r'^    (\w+) \(.*[^ ]', Config.__doc__, re.MULTILINE)
  assert listed == FIELDS
  text = ' '.join(Config.__doc__.split())
  assert 'depth (int, 2 to 64; default 8): convolution layers.' in text
  assert '(int, 8 to 4,096 pixels; default 128): side of the father' in text
  assert "(one of 'adam', 'muon', 'sgd'; default 'adam')" in text
  assert 'Gradual scales (section 3.3):' in text
  assert max(map(len, Config.__doc__.splitlines())) <= 76


def test_a_config_prints_what_differs_from_the_defaults():
  assert repr(Config()) == 'Config()'
  config = Config(
    model='pixel_shuffle',
    start='my  photos/a b.npz',
    gradual=((0.5, 0.5), (0.75, 0.75), (1, 1), (1, 1)),
    max_steps=400,
    dihedral=False,
  )
  lines = repr(config).splitlines()
  assert 2 <= len(lines) <= 3 and max(map(len, lines)) < 80
  assert 'depth' not in repr(config)
  assert eval(repr(config)) == config


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


# The fields themselves, for any record.


class Lazy(dict):
  """A mapping whose values must not be looked up to know its names."""

  def __getitem__(self, name):
    raise AssertionError(f'{name} was looked up')


@pytest.mark.parametrize(
  'names',
  [('a', 'b'), Lazy(a=1, b=2), lambda: ['a', 'b'], lambda: Lazy(a=1, b=2)],
  ids=['tuple', 'mapping', 'function', 'function_of_mapping'],
)
def test_names_come_from_a_tuple_a_mapping_or_a_function(names):
  @dataclasses.dataclass(frozen=True)
  class Record:
    letter: str = one_of('a', names, 'which')
    plain: int = 3

    def __post_init__(self):
      check(self, 'record')

  assert Record('b', plain='unchecked').letter == 'b'
  with pytest.raises(
    ValueError, match='^record.letter must be one of a, b, no'
  ):
    Record('c')
  listed = "Attributes:\n    letter (one of 'a', 'b'; default 'a'): which."
  assert attributes(Record) == listed


def test_a_default_out_of_its_range_is_refused_too():
  @dataclasses.dataclass(frozen=True)
  class Record:
    number: int = ranged(0, 1, 2, 'what')

    def __post_init__(self):
      check(self, 'record')

  with pytest.raises(ValueError, match='record.number must lie'):
    Record()
