"""Images of many small sizes share the programs of the training."""

import contextlib

import jax
import numpy as np
import pytest

import zssr_jax

TINY = zssr_jax.load_config(
  'fast', start='random', depth=3, width=8, max_steps=12, copies=1
)
AUTO = zssr_jax.load_config(
  'auto', start='random', depth=3, width=8, max_steps=12, copies=1
)
COMPILED = '/jax/core/compile/backend_compile_duration'


@contextlib.contextmanager
def programs():
  """Lists the programs that are compiled, by name."""
  names = []

  def note(event, seconds, fun_name='', **_):
    del seconds
    if event == COMPILED:
      names.append(fun_name)

  jax.monitoring.register_event_duration_secs_listener(note)
  try:
    yield names
  finally:
    jax.monitoring.unregister_event_duration_listener(note)


def photo(rows, columns):
  from skimage import data

  pixels = data.astronaut()[20 : 20 + rows, 180 : 180 + columns]
  return pixels.astype(np.float32) / 255


def programs_before_training(image, config):
  """What is compiled from the call to the first steps."""
  before = []
  with programs() as names:

    def report(progress):
      if progress.step and not before:
        before.append(list(names))

    zssr_jax.train_image(image, 2, config=config, progress=report)
  return before[0]


@pytest.mark.parametrize('config', [TINY, AUTO], ids=['fast', 'auto'])
def test_a_second_image_of_another_size_compiles_nothing_to_be_trained(config):
  jax.clear_caches()
  first = programs_before_training(photo(90, 72), config)
  assert any('chunk' in name for name in first)
  for rows, columns in [(101, 70), (66, 110), (71, 71)]:
    assert programs_before_training(photo(rows, columns), config) == []
