"""The loop: stopping, history, rollback, and the averaged weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zssr_jax import registry
from zssr_jax.config import Config
from zssr_jax.degradation import Degradation
from zssr_jax.training import kernel_source, loop, losses, pool, step

SCALE = (2.0, 2.0)
TINY = Config(model='pixel_shuffle', depth=3, width=8, crop=16, max_steps=30)


@pytest.fixture(scope='module')
def image():
  rows, columns = np.mgrid[:40, :40] / 6
  wave = 0.5 + 0.3 * np.sin(rows + columns**1.3)
  return np.repeat(wave[..., None], 3, axis=2).astype(np.float32)


def set_up(image, config, side=16):
  model = registry.NETWORKS[config.model].make(
    scale=SCALE, depth=config.depth, width=config.width, gain=1.0
  )
  fathers = pool.make_pool(pool.make_fathers(image, side, config), image.shape)
  source = kernel_source.Known(Degradation(SCALE))
  windows = step.make_windows(
    jax.random.key(0), image, side, source.degradation
  )
  params = model.init(
    jax.random.key(1), windows.son[:1], windows.interpolated[:1]
  )['params']
  return loop.Job(
    model=model,
    side=side,
    losses=losses.terms_of(config.losses, image.shape[2], config),
    config=config,
    stage=(0, 1),
    state=step.init_state(jax.random.key(2), params, source, config),
    data=step.Data(fathers, source, windows, {}),
  )


def one_step(job, config):
  """The step of a job with another config."""
  return step.make_step(
    job.model, side=job.side, losses=job.losses, config=config
  )


def run(image, config, **kwargs):
  return loop.train(set_up(image, config), **kwargs)


def test_a_run_ends_at_max_steps_even_between_two_chunks(image):
  _, _, history = run(image, TINY.replace(max_steps=13))
  assert history.loss.shape == history.learning_rate.shape == (13,)
  assert history.stages == ((2.0, 2.0, 13),)
  # The parts of the loss, by name: here there is one.
  np.testing.assert_array_equal(history.losses['l1'], history.loss)


def test_no_steps_leave_the_parameters_alone(image):
  job = set_up(image, TINY.replace(max_steps=0))
  params, told, history = loop.train(job)
  assert history.loss.size == 0 and told is None
  jax.tree.map(np.testing.assert_array_equal, params, job.state.params)


@pytest.mark.slow
def test_training_lowers_the_loss_and_the_reconstruction_error(image):
  config = TINY.replace(max_steps=300, schedule='cosine', measure_every=30)
  _, _, history = run(image, config)
  assert history.loss[-30:].mean() < 0.7 * history.loss[:30].mean()
  assert history.error[-1] < 0.7 * history.error[0]
  assert list(history.error_steps) == list(range(0, 300, 30))


@pytest.mark.slow
def test_a_hopeless_run_drops_three_times_and_ends_at_900_steps(image):
  # Without regard for the slope every look drops, which makes the shortest
  # run there is; step 901 is the one that finds the rate too low.
  config = TINY.replace(max_steps=3000, plateau_slope_factor=0.0)
  _, _, history = run(image, config)
  assert history.drops == (300, 600, 900)
  assert history.stages[0][2] == 901


@pytest.mark.slow
@pytest.mark.parametrize('patience', [1, 3])
def test_patience_ends_a_run_whose_error_falls_no_more(image, patience):
  config = TINY.replace(
    max_steps=400, schedule='constant', learning_rate=2e-2, measure_every=4
  )
  _, _, history = run(image, config)
  lowest, stale, expected = np.inf, 0, None
  for count, error in zip(history.error_steps, history.error, strict=True):
    stale = 0 if error < lowest else stale + 1
    lowest = min(lowest, error)
    if stale == patience:
      expected = count + 1  # the step that measured it is the last
      break
  assert expected is not None and expected < 390
  _, _, shorter = run(image, config.replace(patience=patience))
  assert shorter.stages[0][2] == expected
  np.testing.assert_array_equal(shorter.loss, history.loss[:expected])


def test_the_recorded_rates_follow_warmup_and_cosine(image):
  config = TINY.replace(
    max_steps=20, schedule='cosine', warmup=5, learning_rate=1e-2
  )
  seen = []
  _, _, history = run(
    image, config, progress=lambda p: seen.append((p.step, p.learning_rate))
  )
  for count, rate in enumerate(history.learning_rate, 1):
    cosine = 0.5 * (1 + np.cos(np.pi * (count - 1) / 20))
    assert rate == pytest.approx(1e-2 * min(1, count / 5) * cosine, rel=1e-4)
  assert seen == [(n, history.learning_rate[n - 1]) for n in (10, 20)]
  # Adam's first step is as long as the rate, in every coordinate.
  job = set_up(image, config)
  one = one_step(job, config)
  after, _ = jax.jit(one)(job.state, job.data)
  moved = jax.tree.map(
    lambda a, b: float(jnp.abs(a - b).max()), after.params, job.state.params
  )
  assert max(jax.tree.leaves(moved)) == pytest.approx(1e-2 / 5, rel=1e-2)


def test_plain_sgd_at_a_constant_rate_steps_against_the_gradient(image):
  config = TINY.replace(
    optimizer='sgd', schedule='constant', learning_rate=0.5, max_steps=4
  )
  _, _, history = run(image, config)
  np.testing.assert_array_equal(history.learning_rate, np.float32(0.5))
  job = set_up(image, config)
  steps = {
    rate: jax.jit(one_step(job, config.replace(learning_rate=rate)))(
      job.state, job.data
    )[0]
    for rate in (0.5, 0.25)
  }
  for before, whole, half in zip(
    *(jax.tree.leaves(s.params) for s in (job.state, *steps.values())),
    strict=True,
  ):
    moved = whole - before
    assert np.abs(moved).max() > 1e-5
    np.testing.assert_allclose(half - before, moved / 2, atol=1e-6)


def test_a_nan_rolls_back_and_halves_the_rate(image, monkeypatch):
  config = TINY.replace(max_steps=40)
  make_chunk = loop.make_chunk
  calls = []

  def sabotaged(*args):
    chunk = make_chunk(*args)

    def run_chunk(state, *data):
      after, record = chunk(state, *data)
      calls.append(float(state.rate))
      if len(calls) == 2:
        poison = jax.tree.map(lambda p: p * jnp.nan, after.params)
        nan = record.loss.at[-1].set(jnp.nan)
        return after._replace(params=poison), record._replace(loss=nan)
      return after, record

    return run_chunk

  monkeypatch.setattr(loop, 'make_chunk', sabotaged)
  params, _, history = run(image, config)
  assert calls == [1.0, 1.0, 0.5, 0.5, 0.5]
  assert history.rollbacks == (10,)
  assert history.loss.shape == (40,)
  assert np.isfinite(history.loss).all()
  assert all(np.isfinite(p).all() for p in jax.tree.leaves(params))


def test_an_absurd_rate_ends_in_finite_weights(image):
  params, _, history = run(
    image, TINY.replace(learning_rate=10.0, max_steps=60)
  )
  assert history.rollbacks
  assert all(np.isfinite(p).all() for p in jax.tree.leaves(params))


def test_averaged_weights_are_the_running_mean_of_the_steps(image):
  config = TINY.replace(max_steps=7, weight_average=0.9)
  job = set_up(image, config)
  one = jax.jit(one_step(job, config))
  state = job.state
  expected = state.params
  for age in range(7):
    state, _ = one(state, job.data)
    decay = min(0.9, (1 + age) / (10 + age))
    expected = jax.tree.map(
      lambda a, p, d=decay: d * a + (1 - d) * p, expected, state.params
    )
  final, _, _ = run(image, config)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
    final,
    expected,
  )


def test_windows_cover_an_image_up_to_twice_the_crop(image):
  windows = set_up(image[:32, :30], TINY).data.windows
  assert windows.father.shape == (4, 16, 16, 3)
  covered = np.zeros((32, 30), bool)
  for y in (0, 16):
    for x in (0, 14):
      covered[y : y + 16, x : x + 16] = True
  assert covered.all()
  np.testing.assert_array_equal(windows.father[3], image[16:32, 14:30])
