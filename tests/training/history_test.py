"""Histories chain, and come back from files as they were saved."""

import io
import json

import numpy as np
import pytest

from zssr_jax.command_line import record
from zssr_jax.training import history
from zssr_jax.training.history import History

rng = np.random.default_rng(0)


def make_history(steps=7, **changes):
  loss = rng.random(steps).astype(np.float32)
  made = History(
    loss=loss,
    learning_rate=np.full(steps, 1e-3, np.float32),
    error_steps=np.array([0, 5], np.int32),
    error=np.array([0.25, 0.125], np.float32),
    drops=(3,),
    rollbacks=(2, 2),
    stages=((1.5, 2.0, steps),),
    losses={'l1': 0.75 * loss, 'content/relu1_2': 0.25 * loss},
  )
  return made._replace(**changes)


def assert_equal(one, other):
  assert one.losses.keys() == other.losses.keys()
  for name, values in one.losses.items():
    np.testing.assert_array_equal(other.losses[name], values)
  for name in ('loss', 'learning_rate', 'error_steps', 'error'):
    before, after = getattr(one, name), getattr(other, name)
    np.testing.assert_array_equal(after, before)
    assert after.dtype == before.dtype
  for name in ('drops', 'rollbacks', 'stages'):
    assert getattr(one, name) == getattr(other, name)


@pytest.mark.parametrize('changes', [{}, {'losses': {}}, {'drops': ()}])
def test_a_file_gives_back_what_was_saved(tmp_path, changes):
  made = make_history(**changes)
  kernel = rng.random((3, 5))
  made.save(tmp_path / 'curves.npz', kernel=kernel)
  read, others = History.load(tmp_path / 'curves.npz')
  assert_equal(made, read)
  assert others.keys() == {'kernel'}
  np.testing.assert_array_equal(others['kernel'], kernel)
  stream = io.BytesIO()
  made.save(stream)
  stream.seek(0)
  read, others = History.load(stream)
  assert_equal(made, read)
  assert not others


def test_files_of_earlier_versions_are_read(tmp_path):
  made = make_history(losses={}, rollbacks=())
  np.savez_compressed(
    tmp_path / 'old.npz',
    loss=made.loss,
    learning_rate=made.learning_rate,
    error_steps=made.error_steps,
    error=made.error,
    stages=np.array([3, 4]),
    drops=np.array([3], np.int32),
    kernel=np.ones((2, 2)),
  )
  read, others = History.load(tmp_path / 'old.npz')
  assert others.keys() == {'kernel'}
  assert [steps for _, _, steps in read.stages] == [3, 4]
  assert np.isnan([stage[:2] for stage in read.stages]).all()
  assert_equal(made, read._replace(stages=made.stages))


def test_json_gives_back_what_a_record_holds():
  loss = np.array([0.1, np.nan, 1 / 3], np.float32)
  for losses in ({}, {'l1': loss / 2, 'l2': loss / 2}):
    made = make_history(3, loss=loss, losses=losses)
    text = json.dumps(record.strict(made.to_dict()), allow_nan=False)
    fields = json.loads(text)
    assert ('losses' in fields) == bool(losses)
    assert fields['loss'][1] is None
    assert_equal(made, History.from_dict(fields))


def test_the_steps_of_chained_histories_count_through():
  first = make_history(4)
  second = make_history(6, losses={'l1': np.ones(6, np.float32)})
  whole = history.join_histories([first, second])
  assert whole.stages == ((1.5, 2.0, 4), (1.5, 2.0, 6))
  assert whole.drops == (3, 7) and whole.rollbacks == (2, 2, 6, 6)
  np.testing.assert_array_equal(whole.error_steps, [0, 5, 4, 9])
  np.testing.assert_array_equal(whole.loss, [*first.loss, *second.loss])
  np.testing.assert_array_equal(
    whole.losses['l1'], [*first.losses['l1'], *np.ones(6)]
  )
  # What the second did without was 0 there.
  np.testing.assert_array_equal(
    whole.losses['content/relu1_2'],
    [*first.losses['content/relu1_2'], *np.zeros(6)],
  )
  plain = [make_history(4, losses={}), make_history(6, losses={})]
  assert history.join_histories(plain).losses == {}
