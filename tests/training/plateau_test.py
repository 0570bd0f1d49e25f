"""The learning-rate policy, drop for drop, against NumPy's polyfit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zssr_jax import config as config_lib
from zssr_jax import registry
from zssr_jax.degradation import Degradation
from zssr_jax.training import kernel_source, loop, losses, plateau, pool, step


def polyfit_slope_and_std(times, values, ddof):
  """numpy.polyfit's own; before 1.16 it divided by n - 4, since then n - 2."""
  line, covariance = np.polyfit(
    np.asarray(times, np.float64), np.asarray(values, np.float64), 1, cov=True
  )
  count = len(times)
  return line[0], np.sqrt(covariance[0, 0] * (count - 2) / (count - ddof))


def reference(
  error_at,
  *,
  measure_every=50,
  check_every=60,
  min_steps=256,
  window=5,
  ddof=4,
  rate=1e-3,
  min_rate=9e-6,
  max_steps=3000,
):
  """The policy of ZSSR section 3.1, one iteration at a time.

  Args:
    error_at: gives the reconstruction error measured at an iteration.

  Returns:
    The iterations of the drops, the number of iterations run, and how close
    the closest decision was, relative to the spread.
  """
  times, values, drops, last, margin = [], [], [], 0, np.inf
  for t in range(max_steps):
    if t % measure_every == 0:
      times.append(t)
      values.append(error_at(t))
    known = len(values) >= window
    if (t + 1) % check_every == 0 and t - last > min_steps and known:
      slope, std = polyfit_slope_and_std(
        times[-window:], values[-window:], ddof
      )
      margin = min(margin, abs(-1.5 * slope - std) / (std + abs(slope)))
      if -1.5 * slope < std:
        rate /= 10
        last = t
        drops.append(t)
    if rate < min_rate:
      return drops, t + 1, margin
  return drops, max_steps, margin


def run(error_at, *, measure_every=50, max_steps=3010, **options):
  """Iterations at which `scale_by_plateau_on_std` drops, and its scales."""
  transform = plateau.scale_by_plateau_on_std(**options)
  times = np.arange(max_steps)
  errors = np.array([error_at(t - t % measure_every) for t in times])
  # What iteration t is told: the error measured in the iteration before.
  value = jnp.asarray(np.append(0, errors[:-1]), jnp.float32)
  is_new = jnp.asarray(np.append(False, times[:-1] % measure_every == 0))

  @jax.jit
  def scan(value, is_new):
    def body(state, told):
      one = jnp.ones(())
      scaled, state = transform.update(
        one, state, value=told[0], is_new=told[1]
      )
      return state, (state.drops, scaled)

    return jax.lax.scan(body, transform.init(jnp.ones(())), (value, is_new))

  _, (drops, scales) = jax.device_get(scan(value, is_new))
  # A drop is decided after iteration t - 1 and first felt by iteration t.
  return list(np.flatnonzero(np.diff(drops, prepend=0)) - 1), scales


def decaying(seed, noise, floor=1e-4, tau=400.0):
  """An error that falls to a floor, with measuring noise."""
  table = np.random.default_rng(seed).standard_normal(10000)

  def error_at(t):
    return float(floor * (1 + 5 * np.exp(-t / tau)) * (1 + noise * table[t]))

  return error_at


CURVES = {
  'a falling error with little noise': decaying(0, 0.003),
  'a falling error with noise': decaying(1, 0.03),
  'a falling error with much noise': decaying(2, 0.3),
  'a slowly falling error': decaying(3, 0.02, tau=3000.0),
  'a small error': decaying(4, 0.05, floor=1e-7),
  'a rising error': lambda t: 1e-3 + 1e-6 * t + 1e-5 * (t // 50 % 2),
  'a steady fall': lambda t: 1e-2 - 2e-6 * t,
  'a power law': lambda t: 1e-3 * (t + 10) ** -0.3 * (1 + t // 50 % 3 / 100),
}


@pytest.mark.parametrize('ddof', [4, 2])
@pytest.mark.parametrize('name', list(CURVES))
def test_it_drops_where_the_policy_drops(name, ddof):
  expected, steps, margin = reference(CURVES[name], ddof=ddof)
  assert margin > 1e-3, 'a decision of this curve is a matter of rounding'
  made, scales = run(CURVES[name], ddof=ddof)
  assert [t for t in made if t < steps] == expected
  # The scale is 10 times smaller from the iteration after each drop.
  drops_before = np.searchsorted(expected, np.arange(steps))
  np.testing.assert_allclose(scales[:steps], 0.1**drops_before, rtol=1e-6)


def test_the_curves_tell_the_two_estimators_apart():
  different = [
    name
    for name, curve in CURVES.items()
    if reference(curve, ddof=2)[0] != reference(curve, ddof=4)[0]
  ]
  assert different


def test_the_shortest_run_is_900_iterations():
  expected = [299, 599, 899]
  assert reference(CURVES['a rising error'])[:2] == (expected, 900)
  assert run(CURVES['a rising error'], max_steps=910)[0] == expected


@pytest.mark.parametrize('min_steps', [298, 299, 300])
def test_a_drop_needs_more_than_min_steps_since_the_last(min_steps):
  curve = CURVES['a rising error']
  expected, steps, _ = reference(curve, min_steps=min_steps)
  assert expected[0] == (299 if min_steps < 299 else 359)
  made, _ = run(curve, max_steps=steps + 1, min_steps=min_steps)
  assert made == expected


def test_a_steady_fall_never_drops():
  assert reference(CURVES['a steady fall'])[:2] == ([], 3000)
  assert run(CURVES['a steady fall'])[0] == []


@pytest.mark.parametrize(
  'options',
  [
    {'check_every': 7, 'min_steps': 20, 'window': 6, 'ddof': 4},
    {'check_every': 12, 'min_steps': 0, 'window': 3, 'ddof': 2},
  ],
)
def test_other_intervals_follow_the_same_policy(options):
  curve = decaying(5, 0.05, tau=60.0)
  expected, steps, margin = reference(
    curve, measure_every=5, max_steps=400, **options
  )
  assert margin > 1e-3 and len(expected) == 3
  made, _ = run(curve, measure_every=5, max_steps=steps + 1, **options)
  assert made == expected


@pytest.mark.parametrize('ddof', [4, 2])
@pytest.mark.parametrize('unit', [1.0, 1e-4, 1e-9])
@pytest.mark.parametrize('start', [50, 2700])
def test_slope_and_std_are_those_of_polyfit(start, unit, ddof):
  rng = np.random.default_rng(0)
  times = start + 50 * np.arange(5)
  values = unit * (1 + 0.1 * rng.standard_normal(5))
  made = plateau.slope_and_std(
    jnp.asarray(times, jnp.float32), jnp.asarray(values, jnp.float32), ddof
  )
  expected = polyfit_slope_and_std(times, values, ddof)
  np.testing.assert_allclose(made, expected, rtol=1e-4)


def test_the_old_estimator_is_larger_by_the_root_of_three():
  times = jnp.arange(5, dtype=jnp.float32)
  values = jnp.asarray([3.0, 1.0, 2.0, 0.5, 0.7])
  old = plateau.slope_and_std(times, values, 4)
  new = plateau.slope_and_std(times, values, 2)
  assert float(old[0]) == float(new[0])
  assert float(old[1] / new[1]) == pytest.approx(np.sqrt(3), rel=1e-5)


def test_an_error_that_is_not_new_is_not_recorded():
  transform = plateau.scale_by_plateau_on_std()
  state = transform.init(jnp.zeros(3))
  update = functools.partial(transform.update, jnp.ones(3))
  _, state = update(state, value=jnp.float32(7), is_new=jnp.asarray(False))
  assert int(state.recorded) == 0 and not np.any(state.values)
  _, state = update(state, value=jnp.float32(7), is_new=jnp.asarray(True))
  assert int(state.recorded) == 1 and float(state.values[-1]) == 7
  assert int(state.iteration) == 2


def test_updates_of_any_structure_and_type_are_scaled():
  transform = plateau.scale_by_plateau_on_std()
  updates = {'a': jnp.full((2, 3), 4.0), 'b': jnp.ones(2, jnp.bfloat16)}
  state = transform.init(updates)._replace(scale=jnp.float32(0.25))
  made, _ = transform.update(
    updates, state, value=jnp.float32(0), is_new=jnp.asarray(False)
  )
  np.testing.assert_array_equal(made['a'], np.ones((2, 3)))
  assert made['b'].dtype == jnp.bfloat16


def test_it_chains_after_adam():
  chain = optax.chain(
    optax.scale_by_adam(), plateau.scale_by_plateau_on_std(), optax.scale(-0.1)
  )
  params = jnp.asarray([1.0, -2.0])
  state = chain.init(params)
  # Adam's own bias correction raises a float to an integer.
  with jax.numpy_dtype_promotion('standard'):
    for _ in range(30):
      told = {'value': jnp.float32(1), 'is_new': jnp.asarray(False)}
      updates, state = chain.update(2 * params, state, params, **told)
      params = optax.apply_updates(params, updates)
  assert float(jnp.abs(params).max()) < 1


@pytest.mark.parametrize(
  'options',
  [
    {'check_every': 0},
    {'min_steps': -1},
    {'window': 2},
    {'ddof': 5},
    {'ddof': -1},
    {'factor': 1.0},
    {'factor': 0.0},
  ],
)
def test_values_that_make_no_schedule_are_refused(options):
  with pytest.raises(ValueError):
    plateau.scale_by_plateau_on_std(**options)


@pytest.mark.slow
@pytest.mark.parametrize('ddof', [4, 2])
def test_a_real_run_drops_where_its_own_errors_say(ddof):
  """Trains a tiny network; the policy is replayed on what it recorded."""
  config = config_lib.Config(
    model='pixel_shuffle',
    depth=2,
    width=4,
    crop=16,
    max_steps=600,
    learning_rate=1e-2,
    min_learning_rate=9e-5,
    measure_every=5,
    check_every=6,
    min_steps=26,
    plateau_ddof=ddof,
  )
  image = np.random.default_rng(0).random((24, 24, 1)).astype(np.float32)
  scale = (2.0, 2.0)
  fathers = pool.make_pool(pool.make_fathers(image, 16, config), image.shape)
  source = kernel_source.Known(Degradation(scale))
  windows = step.make_windows(jax.random.key(0), image, 16, source.degradation)
  model = registry.NETWORKS['pixel_shuffle'].make(scale=scale, depth=2, width=4)
  params = model.init(
    jax.random.key(1), windows.son[:1], windows.interpolated[:1]
  )['params']
  state = step.init_state(jax.random.key(2), params, source, config)
  history = loop.train(
    loop.Job(
      model=model,
      side=16,
      losses=losses.terms_of(config.losses, 1, config),
      config=config,
      stage=(0, 1),
      state=state,
      data=step.Data(fathers, source, windows, {}),
    )
  ).history
  count = len(history.loss)
  np.testing.assert_array_equal(history.error_steps, np.arange(0, count, 5))
  recorded = dict(zip(history.error_steps, history.error, strict=True))
  expected, steps, margin = reference(
    recorded.__getitem__,
    measure_every=5,
    check_every=6,
    min_steps=26,
    ddof=ddof,
    rate=1e-2,
    min_rate=9e-5,
    max_steps=600,
  )
  assert margin > 1e-4 and len(expected) == 3
  # A drop after iteration t (from 0) is one after t + 1 completed steps.
  assert list(history.drops) == [t + 1 for t in expected]
  # The drop that ends the run is noticed by the step that follows.
  assert count - steps in (0, 1)
  assert history.stages == ((*scale, count),)
