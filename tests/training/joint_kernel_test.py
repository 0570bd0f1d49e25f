"""The kernel learnt along: its taps, its prior, its draws and its steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from zssr_jax import blur_kernels
from zssr_jax.degradation import Degradation
from zssr_jax.training import joint_kernel

SCALE = (2.0, 2.0)
ALL = (0.0, 1.0)  # progress of a run of one stage


def matrix(three):
  yy, yx, xx = np.asarray(three, np.float64)
  return np.array([[yy, yx], [yx, xx]])


def three(covariance):
  return np.array([covariance[0, 0], covariance[0, 1], covariance[1, 1]])


def measured(kernel):
  """Covariance of a kernel, (yy, yx, xx)."""
  kernel = np.asarray(kernel, np.float64)
  center = blur_kernels.center_of_mass(kernel)
  y, x = (np.arange(n) - c for n, c in zip(kernel.shape, center, strict=True))
  return np.array([kernel.sum(1) @ y**2, y @ kernel @ x, kernel.sum(0) @ x**2])


def stage_of(
  start, prior, precision, *, ratio=(1, 1), progress=ALL, scale=SCALE
):
  """A stage of `scale`, `ratio` times the run's; matrices are the run's."""
  whole = tuple(s / r for s, r in zip(scale, ratio, strict=True))
  source = joint_kernel.JointKernel(Degradation(whole), start, prior, precision)
  return source.at(scale, progress)


def make(start, prior=None, precision=0.0, progress=ALL, scale=SCALE):
  return stage_of(
    matrix(start),
    matrix(start if prior is None else prior),
    precision * np.eye(3),
    progress=progress,
    scale=scale,
  )


def texture(side, seed=0):
  """A sharp image `[side, side, 1]` with detail in all directions."""
  noise = np.random.default_rng(seed).standard_normal((side, side))
  fine = scipy.ndimage.gaussian_filter(noise, 0.7, mode='wrap')
  coarse = scipy.ndimage.gaussian_filter(noise, 3, mode='wrap')
  image = 0.5 + 0.1 * fine / fine.std() + 0.1 * coarse / coarse.std()
  return image[..., None].astype(np.float32)


CASES = [
  ((2.0, 0.0, 2.0), (2.0, 2.0)),
  ((3.5, 1.0, 0.8), (2.0, 2.0)),
  ((1.0, -0.6, 3.0), (2.0, 2.0)),
  ((6.0, 2.5, 2.5), (3.0, 3.0)),
  ((9.0, -3.0, 4.0), (4.0, 4.0)),
  ((1.5, 0.5, 0.7), (1.5, 1.5)),
  ((4.0, 0.8, 1.0), (3.0, 2.0)),
  ((0.6, 0.0, 2.5), (1.0, 2.5)),
]


@pytest.mark.slow
@pytest.mark.parametrize(('covariance', 'scale'), CASES)
def test_taps_are_a_centred_gaussian(covariance, scale):
  kernel = np.asarray(joint_kernel.taps(jnp.asarray(covariance), scale))
  assert kernel.dtype == np.float32
  assert kernel.sum() == pytest.approx(1, abs=1e-5)
  center = blur_kernels.aligned_center(kernel.shape, scale)
  np.testing.assert_allclose(
    blur_kernels.center_of_mass(kernel), center, atol=2e-3
  )
  np.testing.assert_allclose(measured(kernel), covariance, atol=0.02)
  density = scipy.stats.multivariate_normal(center, matrix(covariance))
  grid = np.stack(np.mgrid[: kernel.shape[0], : kernel.shape[1]], -1)
  expected = density.pdf(grid)
  np.testing.assert_allclose(kernel, expected / expected.sum(), atol=1e-5)


@pytest.mark.parametrize(('covariance', 'scale'), CASES)
def test_taps_are_what_the_final_kernel_will_be(covariance, scale):
  kernel = np.asarray(joint_kernel.taps(jnp.asarray(covariance), scale))
  final = blur_kernels.gaussian_of(matrix(covariance), scale)
  # With two scales, taps shared between neighbours make it a little wider.
  least = 0.998 if scale[0] == scale[1] else 0.99
  assert blur_kernels.kernel_correlation(kernel, final, scale) > least
  if scale[0] == scale[1] == int(scale[0]):
    assert kernel.shape == final.shape
    np.testing.assert_allclose(kernel, final, atol=3e-3)


def test_taps_follow_the_angle_of_degradations_gaussian():
  covariance = [2.5, 0.9, 1.2]
  values, axes = np.linalg.eigh(matrix(covariance))
  angle = np.arctan2(axes[0, 0], axes[1, 0])
  expected = blur_kernels.gaussian_kernel(tuple(values - 1 / 12), angle, 2)
  kernel = np.asarray(joint_kernel.taps(jnp.asarray(covariance), SCALE))
  np.testing.assert_allclose(kernel, expected, atol=1e-3)


@pytest.mark.parametrize('start', [c for c, _ in CASES])
def test_the_state_begins_with_the_covariance_asked_for(start):
  made = make(start)
  state = made.init()
  np.testing.assert_allclose(
    made.told(state), matrix(start), rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize(
  'start',
  [
    (0.0, 0.0, 0.0),
    (1e-9, 0.0, 4.0),
    (2.0, 1.9999, 2.0),
    (1.0, 5.0, 1.0),
    (1.0, -5.0, 2.0),
    (-1.0, 0.0, -1.0),
    (100.0, 99.9, 100.0),
  ],
)
def test_a_start_that_is_no_kernels_becomes_one(start):
  made = make(start)
  state = made.init()
  assert np.isfinite(state.root).all()
  found = made.told(state)
  assert np.linalg.eigvalsh(found).min() > 0
  # What there is of it is kept.
  wide = np.array([start[0] > 0.2, start[2] > 0.2])
  np.testing.assert_allclose(
    np.diag(found)[wide], np.array(start)[[0, 2]][wide], rtol=1e-4
  )
  kernel = np.asarray(joint_kernel.taps(jnp.asarray(three(found)), SCALE))
  assert np.isfinite(kernel).all() and kernel.min() >= 0


@pytest.mark.parametrize('ratio', [(1, 1), (0.5, 0.75), (0.25, 1.0)])
def test_a_stage_gets_everything_in_its_own_pixels(ratio):
  rng = np.random.default_rng(0)
  root = rng.standard_normal((3, 3))
  precision = 5 * root @ root.T
  start, prior = matrix((4.0, 1.0, 3.0)), matrix((3.0, 0.5, 5.0))
  made = stage_of(start, prior, precision, ratio=ratio, progress=(0.25, 0.5))
  # A pixel of the stage is `1 / ratio` pixels of the whole scale.
  shrink = np.diag(ratio)
  np.testing.assert_allclose(
    made.start, three(shrink @ start @ shrink), rtol=1e-5
  )
  np.testing.assert_allclose(
    made.prior, three(shrink @ prior @ shrink), rtol=1e-5
  )
  change = np.stack(
    [three(shrink @ matrix(unit) @ shrink) for unit in np.eye(3)], 1
  )
  back = np.linalg.inv(change)
  np.testing.assert_allclose(
    made.precision, back.T @ precision @ back, rtol=1e-4, atol=1e-4
  )
  # One that is wider than 2 pixels squared is not believed.
  wanted = change @ np.linalg.inv(precision + np.eye(3) / 4) @ change.T
  spread = np.asarray(made.spread, np.float64)
  np.testing.assert_allclose(spread @ spread.T, wanted, rtol=1e-3, atol=1e-5)
  np.testing.assert_allclose(made.progress, (0.25, 0.5))
  # And tells what it has learnt in those of the run.
  told = made.told(made.init())
  np.testing.assert_allclose(told, start, rtol=1e-4, atol=1e-4)


def test_draws_stay_finite_where_the_spectrum_says_nothing():
  made = make((3.0, 0.0, 3.0), precision=0.0)
  np.testing.assert_allclose(made.spread, 2 * np.eye(3), atol=1e-5)
  found = draws(made, 0.5)
  kernels = np.stack(
    [joint_kernel.taps(jnp.asarray(c), SCALE) for c in found[:200]]
  )
  assert np.isfinite(kernels).all() and kernels.min() >= 0
  np.testing.assert_allclose(kernels.sum((1, 2)), 1, atol=1e-5)
  assert (found[:, 0] * found[:, 2] > found[:, 1] ** 2).all()


@jax.jit
def _draws(keys, state, made, share):
  return jax.vmap(lambda key: made.draw(key, state, share)[1])(keys)


def draws(made, share):
  """Covariances `[3000, 3]`."""
  keys = jax.random.split(jax.random.key(1), 3000)
  return np.asarray(_draws(keys, made.init(), made, jnp.float32(share)))


def test_draws_spread_as_asked_for_while_learning_and_not_after():
  rng = np.random.default_rng(0)
  root = rng.standard_normal((3, 3))
  precision = 60 * (root @ root.T + np.eye(3))
  start = (2.5, 0.4, 2.0)
  made = stage_of(matrix(start), matrix(start), precision)
  found = draws(made, 0.5)
  np.testing.assert_allclose(found.mean(0), start, atol=0.03)
  wanted = joint_kernel._SPREAD**2 * np.linalg.inv(precision + np.eye(3) / 4)
  np.testing.assert_allclose(
    np.cov(found.T), wanted, atol=0.12 * np.abs(wanted).max()
  )
  for share in (0.3, 0.7):
    still = draws(made, share)
    assert np.ptp(still, axis=0).max() == 0
    np.testing.assert_allclose(still[0], start, atol=1e-3)


def test_learning_is_in_the_middle_third_of_the_run_not_of_the_stage():
  # The second of three stages is learning throughout, the others not at all.
  for number, learns in ((0, False), (1, True), (2, False)):
    made = make((2, 0, 2), progress=(number / 3, (number + 1) / 3))
    for share in (0.01, 0.5, 0.98):
      assert bool(made._learns(jnp.float32(share))) == learns
  made = make((2, 0, 2))
  for share, learns in (
    (0.33, False),
    (0.34, True),
    (0.66, True),
    (0.67, False),
  ):
    assert bool(made._learns(jnp.float32(share))) == learns


@functools.partial(jax.jit, static_argnames='steps')
def _learn(state, made, image, result, son, share, first, *, steps):
  def one(state, step):
    return made.update(state, step, share, lambda: (image, result), son), None

  numbers = first + jnp.arange(steps, dtype=jnp.int32)
  return jax.lax.scan(one, state, numbers)[0]


def explained(result, covariance, scale):
  """A son that its own kernel explains altogether: its slope is 0."""
  covariance = jnp.asarray(covariance, jnp.float32)
  image = Degradation(scale, joint_kernel.taps(covariance, scale)).down(result)
  return image, result, covariance


def learn(
  made, image, result, *, son=None, scale=SCALE, steps=600, share=0.5, first=0
):
  """The covariance, (yy, yx, xx), after so many training steps."""
  state = _learn(
    made.init(),
    made,
    image,
    result,
    son or explained(result, (2.0, 0.0, 2.0), scale),
    jnp.float32(share),
    jnp.int32(first),
    steps=steps,
  )
  return three(made.told(state))


def test_an_input_that_looks_like_a_son_leaves_the_kernel_where_it_is():
  # The result explains neither; they differ from the right one alike.
  result = jnp.asarray(texture(48))
  image = explained(result, (3.0, 0.5, 1.5), SCALE)[0]
  start = (1.8, 0.0, 2.2)
  son = (image, result, jnp.asarray(start))
  found = learn(make(start), image, result, son=son, steps=30)
  np.testing.assert_allclose(found, start, atol=1e-3)
  assert np.abs(learn(make(start), image, result, steps=30) - start).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
  ('true', 'scale'),
  [
    ((3.0, 0.8, 1.2), (2.0, 2.0)),
    ((0.8, 0.0, 2.0), (1.0, 2.0)),
    ((2.0, -0.4, 1.2), (1.5, 1.5)),
  ],
)
def test_the_kernel_goes_where_it_explains_a_sharp_result(true, scale):
  result = jnp.asarray(texture(48))
  kernel = joint_kernel.taps(jnp.asarray(true), scale)
  image = Degradation(scale, kernel).down(result)
  start = (1.8, 0.0, 1.8)
  made = make(start, precision=1e-3, scale=scale)
  found = learn(made, image, result, scale=scale)
  before = np.abs(np.subtract(start, true)).max()
  assert np.abs(found - true).max() < 0.15 * before


def test_steps_are_taken_every_third_time_and_only_in_the_middle_third():
  result = jnp.asarray(texture(32))
  image = Degradation(
    SCALE, joint_kernel.taps(jnp.asarray([3.0, 0.0, 3.0]), SCALE)
  ).down(result)
  made = make((2.0, 0.0, 2.0))

  begin = learn(made, image, result, steps=1, first=1)
  np.testing.assert_allclose(begin, (2, 0, 2), atol=1e-5)

  def after(first, share):
    found = learn(made, image, result, steps=1, first=first, share=share)
    return found - begin

  # Adam's first step is as long as its rate.
  root = np.sqrt(2 - joint_kernel._NARROWEST)
  expected = (root + joint_kernel._RATE) ** 2 - root**2
  np.testing.assert_allclose(after(0, 0.4)[0], expected, rtol=1e-2)
  np.testing.assert_array_equal(after(3, 0.5), after(0, 0.4))
  for first, share in ((2, 0.4), (4, 0.5), (0, 0.67), (3, 1.0), (0, 0.3)):
    assert not after(first, share).any()


@pytest.mark.slow
def test_the_prior_pulls_back():
  result = jnp.asarray(texture(32))
  prior, true = (2.0, 0.0, 2.0), (3.5, 0.0, 3.5)
  image = Degradation(SCALE, joint_kernel.taps(jnp.asarray(true), SCALE)).down(
    result
  )
  # An image that no kernel explains quite.
  image += 0.03 * jax.random.normal(jax.random.key(0), image.shape)
  found = [
    learn(make(prior, prior, precision), image, result)[0]
    for precision in (1e-3, 10.0, 1e4)
  ]
  assert found[0] > found[1] > found[2]
  assert found[0] > 3.0
  assert found[2] == pytest.approx(2.0, abs=0.05)
  # And draws one that begins elsewhere to itself.
  back = learn(make(true, prior, 1e4), image, result)
  np.testing.assert_allclose(back, prior, atol=0.05)


@pytest.mark.parametrize(
  'root',
  [
    (0.0, 0.0, 0.0),
    (1e-6, 0.0, 1e-6),
    (2.0, 2.0, 0.0),
    (100.0, 100.0, 0.0),
    (-1.5, 0.3, -0.7),
    (0.0, 3.0, 0.0),
    (50.0, 0.0, 1e-3),
  ],
)
@pytest.mark.parametrize('scale', [(2.0, 2.0), (1.5, 3.0)])
def test_steps_are_finite_from_the_most_extreme_kernels(root, scale):
  result = jnp.asarray(texture(24))
  image = Degradation(
    scale, joint_kernel.taps(jnp.asarray([2.0, 0.0, 2.0]), scale)
  ).down(result)
  made = make((2.0, 0.0, 2.0), precision=1.0, scale=scale)
  state = _learn(
    made.init()._replace(root=jnp.asarray(root)),
    made,
    image,
    result,
    explained(result, (2.0, 0.0, 2.0), scale),
    jnp.float32(0.5),
    jnp.int32(0),
    steps=1,
  )
  assert np.isfinite(state.root).all()
  assert (
    np.abs(state.root - np.asarray(root)).max() <= 1.01 * joint_kernel._RATE
  )


# Not 2: there the slope along x is rounding alone.
@pytest.mark.slow
@pytest.mark.parametrize('side', [3, 4, 5])
def test_a_crop_of_a_few_pixels_has_a_say_too(side):
  result = jnp.asarray(texture(2 * side))
  image = Degradation(
    SCALE, joint_kernel.taps(jnp.asarray([3.0, 0.0, 3.0]), SCALE)
  ).down(result)
  found = learn(make((2.0, 0.0, 2.0)), image, result, steps=1)
  assert found[0] > 2 + joint_kernel._RATE and found[2] > 2 + joint_kernel._RATE
