"""Which host is given which images, without any hosts."""

import random

import pytest

from zssr_jax.parallel import board


def test_each_image_is_handed_out_once():
  b = board.Board('aabbbbbbbbbbbcc')
  seen = []
  while b.waiting:
    for host in ('one', 'two'):
      seen += b.take(host, 1, ['one', 'two'])
  assert sorted(seen) == list(range(15))
  for index in seen:
    b.done(index)
  assert b.left == 0
  assert b.take('one', 1, ['one', 'two']) == []


def test_a_host_stays_with_its_bucket():
  buckets = ['a', 'b'] * 20
  b = board.Board(buckets)
  hosts = {'one': [], 'two': []}
  for _ in range(3):
    for host, seen in hosts.items():
      seen += [buckets[i] for i in b.take(host, 1, list(hosts))]
  assert set(hosts['one']) != set(hosts['two'])
  assert all(len(set(seen)) == 1 for seen in hosts.values())


def test_batches_are_of_one_bucket_and_shrink_at_the_end():
  b = board.Board([None] * 40 + ['x'] * 3)
  sizes = []
  while batch := b.take('one', 2, ['one', 'two']):
    assert len({index >= 40 for index in batch}) == 1
    sizes.append(len(batch))
  assert sizes[0] == 8  # four turns of two
  assert sizes[-1] <= 2
  assert max(sizes) == 8


def test_an_image_that_kills_takes_no_other_along():
  b = board.Board('aaaaaa')
  first = b.take('one', 2, ['one', 'two'])
  assert len(first) > 1
  assert b.lost('one', first) == []
  rest = b.take('two', 2, ['one', 'two'])
  assert not set(rest) & set(first)  # those go after all others
  while batch := b.take('two', 2, ['one', 'two']):
    if set(batch) & set(first):
      assert len(batch) == 1
      assert b.is_suspect(batch[0])
    rest += batch
  assert sorted(rest + first) == sorted([0, 1, 2, 3, 4, 5, *first])


def test_it_is_tried_on_another_host_if_there_is_one():
  b = board.Board('a')
  assert b.lost('one', b.take('one', 1, ['one', 'two'])) == []
  assert b.take('one', 1, ['one', 'two']) == []
  assert b.take('two', 1, ['one', 'two']) == [0]
  assert b.lost('two', [0]) == []
  assert b.take('one', 1, ['one']) == [0]  # neither is better
  assert b.lost('one', [0]) == [0]  # given up
  assert b.left == 0
  assert b.take('one', 1, ['one']) == []


def test_images_of_a_lost_host_are_forgiven():
  b = board.Board('aa')
  for host in ('one', 'two', 'three', 'four'):
    batch = b.take(host, 2, [host])
    assert batch
    assert b.lost(host, batch) == []
    b.forgive(host)
  assert b.left == 2
  assert not b.is_suspect(0)


def test_what_was_not_begun_goes_back_without_blame():
  b = board.Board('aaa')
  batch = b.take('one', 3, ['one'])
  b.back(batch)
  assert sorted(b.take('one', 3, ['one'])) == sorted(batch)
  assert not any(map(b.is_suspect, range(3)))


@pytest.mark.parametrize('seed', range(20))
def test_whatever_happens_each_image_ends_once(seed):
  random_ = random.Random(seed)
  count = random_.randrange(1, 60)
  b = board.Board([random_.randrange(3) for _ in range(count)])
  ended, held = [], {host: [] for host in 'abc'}
  for _ in range(10_000):
    host = random_.choice('abc')
    what = random_.random()
    if what < 0.4:
      held[host] += [b.take(host, 2, list(held))]
    elif held[host]:
      batch = held[host].pop(0)
      if what < 0.8:
        for index in batch:
          b.done(index)
        ended += batch
      elif what < 0.9:
        b.back(batch)
      else:
        ended += b.lost(host, batch)
      if what > 0.97:
        b.forgive(host)
    assert b.waiting + sum(map(len, sum(held.values(), []))) == b.left
    if not b.left:
      break
  assert sorted(ended) == list(range(count))
