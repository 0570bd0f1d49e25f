"""The driver, by runs that train nothing: order, turns and errors."""

import threading

import numpy as np
import pytest

from zssr_jax.errors import InputError
from zssr_jax.parallel import devices


def make_items(*results, log=None, classes=None):
  """Runs that return the results, or raise them."""

  def item(index, result):
    def start():
      if log is not None:
        log.append(('start', index))

      def run():
        yield from ()
        if log is not None:
          log.append(('run', index))
        if isinstance(result, Exception):
          raise result
        return result

      return run()

    return devices.Item(start, classes and classes[index])

  return [item(index, result) for index, result in enumerate(results)]


@pytest.mark.parametrize(('count', 'in_flight'), [(1, 1), (1, 3), (3, 1)])
@pytest.mark.parametrize('classes', [None, 'aaaba'])
def test_what_concerns_one_image_is_its_outcome(count, in_flight, classes):
  if (count, in_flight) == (1, 1) and classes:
    classes = None  # there is nobody to train with
  errors = [
    ValueError('too small'),
    InputError('a.png: damaged'),
    OSError(2, 'no such file'),
    MemoryError(),
    RuntimeError('RESOURCE_EXHAUSTED: out of memory'),
  ]
  items = make_items(*errors, classes=classes)
  outcomes = dict(
    devices.map_images(items, devices.available(count), in_flight)
  )
  assert [outcomes[i] for i in range(5)] == errors


@pytest.mark.parametrize('error', [TypeError('x'), RuntimeError('INTERNAL')])
@pytest.mark.parametrize(('count', 'classes'), [(1, None), (2, 'aaa')])
def test_mistakes_come_out(error, count, classes):
  items = make_items(1, error, 2, classes=classes)
  with pytest.raises(type(error), match=str(error)):
    list(devices.map_images(items, devices.available(count)))


@pytest.mark.parametrize('classes', [None, 'aaa'])
def test_an_image_that_cannot_be_read_fails_alone(classes):
  items = make_items(1, 2, 3, classes=classes)

  def unreadable():
    raise InputError('b.png: no such file')

  items[1] = items[1]._replace(start=unreadable)
  outcomes = dict(devices.map_images(items, devices.available(2)))
  assert (outcomes[0], outcomes[2]) == (1, 3)
  assert str(outcomes[1]) == 'b.png: no such file'


def test_one_at_a_time_keeps_the_order_and_waits_to_be_asked():
  log = []
  items = make_items(*'abcd', log=log)
  outcomes = devices.map_images(items, devices.available(1))
  for index, result in enumerate('abcd'):
    assert next(outcomes) == (index, result)
    # Those after it were read at most, and the next but one not even that.
    assert [i for what, i in log if what == 'run'] == [*range(index + 1)]
    assert ('start', index + 2) not in log
  assert next(outcomes, None) is None
  assert sorted(i for what, i in log if what == 'start') == [0, 1, 2, 3]


def test_the_next_image_is_read_while_one_trains():
  read = threading.Event()

  def first():
    yield from ()
    assert read.wait(60)
    return 'first'

  def second():
    read.set()
    return iter_nothing('second')

  def iter_nothing(result):
    yield from ()
    return result

  items = [devices.Item(first), devices.Item(second)]
  assert list(devices.map_images(items, devices.available(1))) == [
    (0, 'first'),
    (1, 'second'),
  ]


def test_several_go_on_while_a_result_is_in_hand():
  going_on = threading.Event()

  def last():
    yield from ()
    going_on.set()
    return 2

  items = [*make_items(0, 1), devices.Item(last)]
  outcomes = devices.map_images(items, devices.available(2))
  next(outcomes)
  assert going_on.wait(60)
  assert len(list(outcomes)) == 2


@pytest.mark.parametrize('error', [ValueError('bad'), TypeError('worse')])
def test_a_run_is_closed_when_its_training_fails(monkeypatch, error):
  closed = []

  def train(job, progress):
    raise error

  def run():
    try:
      yield 'a job'
    finally:
      closed.append(True)

  monkeypatch.setattr(devices.loop, 'train', train)
  with pytest.raises(type(error)) as caught:
    devices.drive(run())
  assert caught.value is error and closed == [True]


def test_progress_names_the_image(monkeypatch):
  def train(job, progress):
    progress(f'part of {job}')
    return f'trained {job}'

  def run(name):
    return (yield name)

  monkeypatch.setattr(devices.loop, 'train', train)
  items = [devices.Item(lambda n=name: run(n)) for name in 'abc']
  told = []
  outcomes = devices.map_images(
    items, devices.available(2), progress=lambda *report: told.append(report)
  )
  assert dict(outcomes) == {i: f'trained {n}' for i, n in enumerate('abc')}
  assert sorted(told) == [(i, f'part of {n}') for i, n in enumerate('abc')]


def test_a_group_too_large_for_the_memory_fails_and_the_others_go_on(
  monkeypatch,
):
  closed = []

  class Job:
    kind = None

  def train_together(jobs, devices, reports):
    assert len(jobs) == 2
    raise RuntimeError('RESOURCE_EXHAUSTED')

  def run():
    try:
      yield Job()
    finally:
      closed.append(True)

  monkeypatch.setattr(devices, 'train_together', train_together)
  items = [devices.Item(run, 'large')] * 2 + make_items('small')
  outcomes = dict(devices.map_images(items, devices.available(2)))
  assert outcomes[2] == 'small'
  assert all('RESOURCE_EXHAUSTED' in str(outcomes[i]) for i in (0, 1))
  assert closed == [True, True]


def test_no_images_give_nothing():
  assert list(devices.map_images([], devices.available(2))) == []


def test_classes_are_arranged_in_groups_no_larger_than_the_devices():
  items = make_items(*range(7), classes=['a', 'b', 'a', None, 'a', 'a', 'a'])
  assert devices._arrange(items, 2, 1) == ([[0, 2], [4, 5]], [1, 3, 6])
  assert devices._arrange(items, 4, 1) == ([[0, 2, 4, 5]], [1, 3, 6])
  assert devices._arrange(items, 4, 2) == ([], [0, 1, 2, 3, 4, 5, 6])
  assert np.size(devices._arrange(items, 1, 1)[0]) == 0
