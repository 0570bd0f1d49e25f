"""What a run will take, and how far it is."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zssr_jax import forecast, presets, registry, super_resolution
from zssr_jax.training.loop import Progress

FAST = presets.load_config('fast')


def test_operations_are_those_of_the_layers():
  """Against a count by hand of 3x3 convolutions of 64 channels."""
  model = registry.MODELS['pixel_shuffle'].make(
    scale=(2.0, 2.0), depth=8, width=64, gain=1.0
  )
  params = jax.eval_shape(
    model.init,
    jax.random.key(0),
    jnp.zeros((1, 32, 32, 3)),
    jnp.zeros((1, 64, 64, 3)),
  )
  kernels = [p for p in jax.tree.leaves(params) if len(p.shape) == 4]
  expected = sum(2 * math.prod(k.shape) for k in kernels)
  counted = forecast.flops_of(model, (2.0, 2.0), 3)
  # On a CPU minimal filtering saves some of them (`ops.conv`).
  assert 0.25 * expected < counted < 1.3 * expected


def test_more_pixels_copies_and_steps_take_longer():
  def seconds(shape=(1000, 1000, 3), scale=2, **changes):
    return super_resolution.expect(shape, scale, FAST.replace(**changes))

  assert set(seconds()) == set(forecast.PHASES)
  once, twice = (seconds(copies=n)['infer'] for n in (1, 2))
  assert once < twice < 2 * once
  assert seconds((2000, 2000, 3), copies=1)['infer'] == pytest.approx(4 * once)
  assert seconds(start_steps=200)['train'] == pytest.approx(
    2 * seconds(start_steps=100)['train']
  )
  auto = super_resolution.expect((100, 100, 3), 2, presets.load_config('auto'))
  assert auto['estimate'] > 1 > seconds()['estimate']


def test_memory_is_flat_but_for_what_is_held():
  config = FAST.replace(copies=2)

  def needed(megapixels, held):
    side = round(1000 * megapixels**0.5)
    return forecast.bytes_of((side, side, 3), (2.0, 2.0), config, held=held)

  assert needed(12, 1) < 2.0e9
  assert needed(100, 0) < 3.2e9
  assert needed(100, 4) - needed(100, 0) > 4 * 3 * 400e6
  assert forecast.free_memory() > 1e8


class Clock:
  """A clock that is set by hand."""

  def __init__(self, monkeypatch):
    self.now = 100.0
    monkeypatch.setattr(forecast.time, 'perf_counter', lambda: self.now)


def test_the_time_left_is_that_of_all_phases(monkeypatch):
  clock, said = Clock(monkeypatch), []
  tracker = forecast.Tracker(said.append)
  tracker.expect({'estimate': 2.0, 'train': 10.0, 'infer': 20.0, 'write': 4.0})
  tracker.enter('estimate')
  assert said[-1].phase == 'estimate' and said[-1].share == 0
  assert said[-1].seconds_left == pytest.approx(36)
  clock.now += 2
  tracker.enter('prepare')
  clock.now += 1  # compiles
  for step in (10, 20, 30):
    tracker.trained(Progress(step=step, max_steps=100, loss=0.5))
    clock.now += 2  # twice as long as expected
  assert said[-1].phase == 'train' and said[-1].loss == 0.5
  # 70 steps of 0.2 s, and what follows at that pace.
  assert said[-1].seconds_left == pytest.approx(14 + 2 * (20 + 4))
  tracker.enter('infer')
  assert said[-1].seconds_left == pytest.approx(2 * 24)
  for block in range(1, 5):
    clock.now += 5
    tracker.at(block / 10)
  assert said[-1].seconds_left == pytest.approx(30 + 4 * 50 / 20, rel=0.01)
  shares = [part.share for part in said]
  assert shares == sorted(shares) and 0 < shares[-1] < 1


def test_shares_never_go_back(monkeypatch):
  clock, said = Clock(monkeypatch), []
  tracker = forecast.Tracker(said.append)
  tracker.expect({'train': 1.0, 'infer': 1.0})
  tracker.enter('train')
  rng = np.random.default_rng(0)
  for share in rng.uniform(0, 1, 50):
    clock.now += rng.uniform(0, 3)
    tracker.at(float(share))
  shares = [part.share for part in said]
  assert shares == sorted(shares) and shares[-1] <= 1


def test_without_an_expectation_nothing_is_told():
  said = []
  forecast.Tracker(said.append).trained(Progress(step=1, max_steps=2))
  assert math.isnan(said[-1].seconds_left)
