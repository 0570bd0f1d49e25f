"""train_image as a library user meets it."""

import dataclasses

import jax
import numpy as np
import pytest
import scipy.ndimage

import zssr_jax
from zssr_jax import blur_kernels, inference, stages, super_resolution
from zssr_jax.degradation import Degradation
from zssr_jax.kernel_estimation import estimate as estimation
from zssr_jax.ops import metrics, resize
from zssr_jax.training import joint_kernel, loop, pool, step

TINY = zssr_jax.Config(
  model='pixel_shuffle',
  depth=3,
  width=8,
  crop=24,
  max_steps=20,
  back_projection=2,
)


@pytest.fixture(scope='module')
def photo():
  """A crop of the bundled-size photograph, `[48, 40, 3]`."""
  from skimage import data

  return data.astronaut()[20:68, 180:220].astype(np.float32) / 255


def run(image, scale=2, **kwargs):
  options = {'config': TINY, 'key': jax.random.key(0), **kwargs}
  return zssr_jax.train_image(image, scale, **options)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(photo):
  first, second = run(photo), run(photo)
  np.testing.assert_array_equal(first.image, second.image)
  np.testing.assert_array_equal(first.history.loss, second.history.loss)
  other = run(photo, key=jax.random.key(1))
  assert np.abs(first.image - other.image).max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize('model', ['zssr', 'pixel_shuffle'])
@pytest.mark.parametrize('scale', [3, 1.5, (1.5, 2), (1, 2), 1.37])
def test_any_scale_gives_the_ceiling_of_the_scaled_shape(photo, model, scale):
  result = run(photo, scale, config=TINY.replace(model=model, max_steps=2))
  assert result.image.shape[:2] == resize.scaled_shape(photo.shape, scale)
  assert result.image.dtype == np.float32
  # Whatever it learned, it is the same picture, and not shifted.
  bicubic = resize.imresize(photo, scale)
  assert np.abs(result.image - bicubic).mean() < 0.02


@pytest.mark.slow
@pytest.mark.parametrize('channels', [1, 2, 5])
def test_any_number_of_channels_works(photo, channels):
  image = np.tile(photo[:, :, :1], (1, 1, channels))
  assert run(image).image.shape == (96, 80, channels)


@pytest.mark.slow
def test_gradual_crops_grow_with_the_results_they_are_cut_from(
  photo, monkeypatch
):
  jobs = []
  train = loop.train

  def spy(job, progress):
    jobs.append(job)
    return train(job, progress)

  monkeypatch.setattr(loop, 'train', spy)
  config = TINY.replace(
    gradual=((0.5, 0.5), (1, 1), (1, 1)), crop=60, max_steps=2
  )
  run(photo, 2, config=config)
  # 3/4 of 40, 60 and 80 pixels, rounded down to few sides, or `crop`.
  assert [job.side for job in jobs] == [24, 40, 60]
  for job in jobs:
    used = np.asarray(job.data.fathers.weights) > 0
    assert np.asarray(job.data.fathers.sizes)[used].min() >= job.side
    # The error is still that of the input.
    assert job.data.windows.father.shape[1] == 24
  assert np.asarray(jobs[2].data.fathers.sizes).max() == 96


@pytest.mark.slow
@pytest.mark.parametrize(
  ('latest', 'expected'),
  [
    (0, [[48], [60, 48], [96, 60, 48], [96, 96, 60, 48]]),
    (1, [[48], [60, 48], [96, 48], [96, 48]]),
    (2, [[48], [60, 48], [96, 60, 48], [96, 96, 48]]),
  ],
)
def test_fathers_are_the_input_and_all_or_the_latest_results(
  photo, monkeypatch, latest, expected
):
  sizes = []
  make_pool = pool.make_pool

  def spy(fathers, *args):
    sizes.append([f.shape[0] for f in fathers])
    return make_pool(fathers, *args)

  monkeypatch.setattr(pool, 'make_pool', spy)
  # One father a source: no smaller versions.
  monkeypatch.setattr(pool, 'make_fathers', lambda image, *_: [image])
  config = TINY.replace(
    gradual=((0.25, 0.25), (1, 1), (1, 1), (1, 1)),
    latest=latest,
    crop=24,
    max_steps=1,
  )
  run(photo, 2, config=config)
  assert [sorted(s, reverse=True) for s in sizes] == expected


@pytest.mark.slow
def test_crops_are_cut_from_the_results_that_are_still_fathers(photo):
  config = TINY.replace(
    gradual=((1, 1), (0.25, 0.25), (1, 1)), latest=1, crop=60, max_steps=2
  )
  assert run(photo, 2, config=config).image.shape == (96, 80, 3)
  sides = [stage.side for stage in stages.plan_stages(photo.shape, 2, config)]
  # 3/4 of 40, 80 and 50 pixels, rounded down to few sides, or `crop`.
  assert sides == [24, 60, 32]
  plan = stages.plan_stages(photo.shape, 2, config.replace(batch=0))
  # A stage at 1.25 in place of 2 has 5/8 of `crop`: sons of 28 for sons of 30.
  assert [stage.side for stage in plan] == [24, 35, 32]
  small = config.replace(batch=0, crop=16)
  plan = stages.plan_stages(photo.shape, 2, small)
  # As large as ever, for it is small; whole sons of 12, divided by 1.25.
  assert [stage.side for stage in plan] == [16, 15, 16]


@pytest.mark.slow
def test_a_batch_of_0_is_as_many_crops_as_fill_a_son_of_scale_2(photo):
  config = TINY.replace(crop=32, max_steps=3)
  made = {n: run(photo, 4, config=config.replace(batch=n)) for n in (0, 1, 4)}
  np.testing.assert_array_equal(made[0].image, made[4].image)
  assert (made[0].image != made[1].image).any()


@pytest.mark.slow
def test_a_flat_matrix_counts_as_one_channel(photo):
  assert run(photo[:, :, 0]).image.shape == (96, 80, 1)


@pytest.mark.slow
def test_gradual_stages_go_through_their_factors(photo):
  config = TINY.replace(
    gradual=((0, 0.5), (0.5, 0.5), (1, 1)), max_steps=3, model='zssr'
  )
  seen = []
  result = run(photo, 2, config=config, progress=seen.append)
  assert result.history.stages == ((1, 1.5, 3), (1.5, 1.5, 3), (2, 2, 3))
  trained = [(p.stage, p.stages) for p in seen if p.phase == 'train']
  assert trained == [(0, 3), (1, 3), (2, 3)]
  assert result.history.loss.shape == (9,)
  assert list(result.history.error_steps) == [0, 3, 6]
  assert result.image.shape == (96, 80, 3)


@pytest.mark.slow
def test_the_result_of_several_networks_is_the_mean_of_theirs(photo):
  config = TINY.replace(networks=2, max_steps=20)
  result = run(photo, config=config)
  assert len(result.params) == 2 and len(result.history.stages) == 2
  assert result.history.loss.size == 40
  images = []
  for params in result.params:
    alone = run(photo, config=TINY.replace(max_steps=0), start=params)
    images.append(alone.image)
  # Two trainings: neither is the other, and the first is that of one network.
  assert np.abs(images[0] - images[1]).max() > 1e-3
  single = run(photo, config=config.replace(networks=1))
  np.testing.assert_array_equal(single.image, images[0])
  np.testing.assert_allclose(result.image, np.mean(images, axis=0), atol=1e-6)
  assert result.image.dtype == np.float32


@pytest.mark.slow
def test_several_networks_share_what_earlier_stages_found(photo, monkeypatch):
  made, begun = [], []
  make_fathers, init_state = pool.make_fathers, step.init_state

  def note_source(source, *args):
    made.append(np.asarray(source))
    return make_fathers(source, *args)

  def note_params(key, params, *args):
    begun.append(params)
    return init_state(key, params, *args)

  monkeypatch.setattr(pool, 'make_fathers', note_source)
  monkeypatch.setattr(step, 'init_state', note_params)
  config = TINY.replace(
    networks=2, gradual=((1, 1), (1, 1)), max_steps=3, learning_rate=1e-2
  )
  reports, trained = [], []
  run_of = super_resolution.run_image(
    photo, 2, config=config, key=jax.random.key(0)
  )
  job = next(run_of)
  with pytest.raises(StopIteration) as stop:
    while True:
      reports.append(job.stage)
      trained.append(loop.train(job))
      job = run_of.send(trained[-1])
  assert reports == [(i, 4) for i in range(4)]
  assert [s[0] for s in stop.value.value.history.stages] == [2.0] * 4
  # The second stage learns from the mean of the first one's results ...
  images = [
    run(photo, config=TINY.replace(max_steps=0), start=t.params).image
    for t in trained[:2]
  ]
  shared = next(m for m in made if m.shape[0] == 2 * photo.shape[0])
  np.testing.assert_allclose(shared, np.mean(images, axis=0), atol=1e-6)
  assert np.abs(images[0] - images[1]).max() > 1e-4
  # ... and each network goes on from its own parameters.
  for before, after in zip(trained[:2], begun[2:4], strict=True):
    jax.tree.map(np.testing.assert_array_equal, before.params, after)


@pytest.mark.slow
def test_training_on_the_true_kernel_beats_bicubic(photo):
  from skimage import data

  hr = data.astronaut()[0:192, 130:322].astype(np.float32) / 255
  spread = np.exp(-0.5 * (np.arange(11) - 5.5) ** 2 / 1.5**2)
  kernel = np.outer(spread, spread).astype(np.float32)
  kernel /= kernel.sum()
  lr = np.asarray(Degradation(2, kernel).down(hr))
  config = TINY.replace(
    depth=4, width=24, crop=48, max_steps=400, schedule='cosine', warmup=20
  )
  result = run(lr, 2, kernel=kernel, config=config)
  ours = metrics.score(result.image, hr, 2)[0]
  bicubic = metrics.score(resize.imresize(lr, 2), hr, 2)[0]
  assert ours > bicubic + 1.0
  np.testing.assert_allclose(result.kernel, kernel, atol=1e-6)


def test_a_start_is_trained_for_its_own_number_of_steps(photo):
  config = TINY.replace(max_steps=9, start_steps=3)
  trained = run(photo, config=config)
  assert trained.history.loss.size == 9
  config = config.replace(start='some.npz')
  again = run(photo, config=config, start=trained.params)
  assert again.history.loss.size == 3
  assert again.config.max_steps == 3


def test_a_start_is_used_and_a_foreign_one_refused(photo):
  trained = run(photo).params
  still = run(photo, config=TINY.replace(max_steps=0), start=trained)
  jax.tree.map(np.testing.assert_array_equal, still.params, trained)
  with pytest.raises(ValueError, match='start does not fit'):
    run(photo, config=TINY.replace(width=9), start=trained)


def test_the_input_is_left_as_it_was(photo):
  image = photo.copy()
  run(image, config=TINY.replace(max_steps=1))
  np.testing.assert_array_equal(image, photo)


JOINT = TINY.replace(kernel='joint', schedule='cosine', max_steps=30)


@pytest.fixture(scope='module')
def blurred():
  """A photograph `[96, 100, 3]` and the kernel that scipy blurred it with."""
  from skimage import data

  hr = data.astronaut()[:192, 100:300].astype(np.float64) / 255
  kernel = blur_kernels.gaussian_kernel((3.0, 1.0), 0.5, 2)
  full = scipy.ndimage.correlate(hr, kernel[..., None].astype(np.float64))
  return (np.round(full[::2, ::2] * 255) / 255).astype(np.float32), kernel


def check_kernel(kernel, scale=2):
  assert kernel.dtype == np.float32 and kernel.min() >= 0
  assert kernel.sum() == pytest.approx(1, abs=1e-4)
  np.testing.assert_allclose(
    blur_kernels.center_of_mass(kernel),
    blur_kernels.aligned_center(kernel.shape, scale),
    atol=1e-3,
  )


@pytest.mark.slow
def test_an_estimated_kernel_is_used_and_told(blurred):
  image, true = blurred
  result = run(image, config=TINY.replace(kernel='estimate'))
  estimate = result.estimate
  assert estimate.method == 'estimate' and estimate.warning is None
  assert estimate.agreement > 0.9
  check_kernel(result.kernel)
  np.testing.assert_allclose(result.kernel, estimate.kernel, atol=1e-7)
  assert blur_kernels.kernel_correlation(result.kernel, true, 2) > 0.95
  # The same as when that kernel is passed in.
  given = run(image, kernel=estimate.kernel)
  np.testing.assert_array_equal(given.image, result.image)
  assert given.estimate is None
  # The result, degraded again, is the input.
  again = np.asarray(Degradation(2, result.kernel).down(result.image))
  expected = -10 * np.log10(np.mean((again - image) ** 2))
  assert result.consistency == pytest.approx(expected, abs=0.01)
  assert 30 < result.consistency < 80


@pytest.mark.slow
def test_a_joint_run_learns_its_kernel_and_repeats_to_the_bit(blurred):
  image, true = blurred
  result = run(image, config=JOINT)
  start = result.estimate.kernel
  check_kernel(result.kernel)
  assert result.estimate.method == 'joint'
  # A filter would be of the kernel that the training begins with.
  assert JOINT.undo_blur and result.degradation.undo is None
  assert result.kernel.shape == start.shape
  assert np.abs(result.kernel - start).max() > 1e-4
  assert blur_kernels.kernel_correlation(result.kernel, true, 2) > 0.95
  assert np.isfinite(result.history.loss).all()
  assert result.history.loss.shape == (30,)
  assert 30 < result.consistency < 80
  again = run(image, config=JOINT)
  np.testing.assert_array_equal(again.image, result.image)
  np.testing.assert_array_equal(again.kernel, result.kernel)
  other = run(image, config=JOINT, key=jax.random.key(1))
  assert np.abs(other.kernel - result.kernel).max() > 1e-7


@pytest.mark.slow
def test_a_joint_run_goes_through_stages_of_any_scale(blurred):
  image, _ = blurred
  config = JOINT.replace(
    model='zssr', gradual=((0, 0.5), (1, 1)), max_steps=6, learning_rate=1e-3
  )
  result = run(image[:80], (1.5, 2), config=config)
  assert result.image.shape == (120, 200, 3)
  assert result.history.stages == ((1, 1.5, 6), (1.5, 2, 6))
  check_kernel(result.kernel, (1.5, 2))


@pytest.mark.slow
def test_a_joint_run_of_no_steps_keeps_its_start(blurred):
  result = run(blurred[0], config=JOINT.replace(max_steps=0))
  found = result.estimate.fit.covariance
  expected = blur_kernels.gaussian_of(joint_kernel._CAUTION * found, 2)
  np.testing.assert_allclose(result.kernel, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('kernel', ['estimate', 'joint'])
def test_where_no_kernel_is_found_bicubic_is_used(kernel):
  flat = np.full((72, 64, 3), 0.25, np.float32)
  result = run(flat, config=TINY.replace(kernel=kernel, max_steps=3))
  assert result.kernel is None and result.estimate.kernel is None
  assert result.estimate.method == kernel
  assert 'bicubic is assumed' in result.estimate.warning
  plain = run(flat, config=TINY.replace(max_steps=3))
  assert plain.estimate is None
  np.testing.assert_array_equal(result.image, plain.image)
  np.testing.assert_allclose(result.image, 0.25, atol=0.02)


@pytest.mark.slow
def test_a_function_makes_the_kernel(photo):
  kernel = blur_kernels.gaussian_kernel((2.0, 1.0), 0.3, 2)
  calls = []

  def estimator(image, scale, key):
    calls.append((image, scale, key))
    return 3 * kernel

  result = run(photo, kernel=estimator)
  ((image, scale, key),) = calls
  np.testing.assert_array_equal(image, photo)
  assert scale == (2.0, 2.0)
  np.testing.assert_allclose(result.kernel, kernel, atol=1e-6)
  assert result.estimate is None
  given = run(photo, kernel=result.kernel)
  np.testing.assert_allclose(given.image, result.image, atol=1e-5)
  # Its key is the run's, and of no use elsewhere in it.
  run(photo, kernel=estimator)
  run(photo, kernel=estimator, key=jax.random.key(1))
  keys = [jax.random.key_data(call[2]).tolist() for call in calls]
  assert keys[0] == keys[1] != keys[2]
  assert jax.random.key_data(jax.random.key(0)).tolist() not in keys


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'image': np.zeros((1, 1, 3), np.float32)}, 'too small'),
    ({'image': np.zeros((6, 90, 3), np.float32)}, 'too small'),
    ({'image': np.zeros((0, 4, 3), np.float32)}, 'H, W, C'),
    ({'image': np.zeros((4, 4, 3, 3), np.float32)}, 'H, W, C'),
    ({'image': np.zeros((40, 40, 3), np.uint8)}, 'float'),
    ({'image': np.full((40, 40, 3), np.nan, np.float32)}, 'NaN'),
    ({'image': np.full((40, 40, 3), 2.0, np.float32)}, r'\[0, 1\]'),
    ({'scale': 0}, 'from 1 to 16'),
    ({'scale': -2}, 'from 1 to 16'),
    ({'scale': 100}, 'between 1 and 16'),
    ({'scale': float('nan')}, 'from 1 to 16'),
    ({'scale': 1}, 'nothing to do'),
    ({'scale': 'two'}, 'number from 1 to 16 or a pair'),
    ({'scale': (2, 2, 2)}, 'number from 1 to 16 or a pair'),
    ({'kernel': np.full((3, 3), np.nan)}, 'NaN'),
    ({'kernel': np.zeros((3, 3))}, 'sums to 0'),
    ({'kernel': -np.ones((3, 3))}, 'sums to -9'),
    ({'kernel': np.ones((99, 99))}, 'larger than the image'),
    ({'kernel': np.ones(3)}, r'\[h, w\]'),
    (
      {'config': TINY.replace(kernel='given')},
      'needs a blur kernel: pass one, or set kernel to estimate or bicubic',
    ),
  ],
)
def test_what_cannot_be_used_is_refused_in_one_line(changes, message):
  options = {'image': np.full((40, 40, 3), 0.5, np.float32), **changes}
  with pytest.raises(ValueError, match=message) as caught:
    run(options.pop('image'), options.pop('scale', 2), **options)
  assert '\n' not in str(caught.value)


@pytest.mark.slow
def test_a_result_prints_in_a_few_lines_without_its_arrays(photo):
  found = run(photo, (2, 1.5), config=TINY.replace(max_steps=3))
  first, second, third = repr(found).splitlines()
  assert first == (
    'Result(image 96x60x3, scale (y, x) (2, 1.5), kernel bicubic,'
  )
  assert second.startswith('  3 steps, seconds: estimate ')
  assert second.endswith(f', infer {found.seconds["infer"]:.1f},')
  assert third == f'  consistency {found.consistency:.2f} dB)'
  given = run(photo, kernel=np.ones((5, 3)), config=TINY.replace(max_steps=0))
  assert 'kernel 5x3,' in repr(given) and '0 steps' in repr(given)
  guess = estimation.Estimate(given.kernel, 'estimate', 0.9, None)
  given = dataclasses.replace(given, estimate=guess)
  assert 'kernel 5x3 (estimate),' in repr(given)


def test_planes_are_enlarged_and_change_nothing(photo):
  planes = np.stack([photo.mean(2), photo[..., 0]], 2)
  plain, result = run(photo), run(photo, planes=planes)
  assert plain.planes is None
  np.testing.assert_array_equal(result.image, plain.image)
  np.testing.assert_array_equal(result.history.loss, plain.history.loss)
  assert result.planes.shape == (96, 80, 2)
  assert result.planes.dtype == np.float32
  bicubic = resize.imresize(planes, 2)
  assert np.abs(result.planes - bicubic).mean() < 0.02


@pytest.mark.slow
@pytest.mark.parametrize('channels', [1, 3])
def test_a_plane_like_a_grey_image_gives_what_the_image_gives(photo, channels):
  grey = photo.mean(2, keepdims=True)
  config = TINY.replace(
    gradual=((0.5, 0.5), (1, 1)), networks=2, max_steps=3, back_projection=2
  )
  image = np.tile(grey, (1, 1, channels))
  result = run(image, planes=grey, config=config)
  expected = result.image.mean(2, keepdims=True)
  np.testing.assert_allclose(result.planes, expected, atol=1e-6)


def test_planes_are_given_up_as_the_image_is(photo, monkeypatch):
  config = TINY.replace(automatic=True, max_steps=2)
  planes = photo[..., :2]

  def made(share):
    monkeypatch.setattr(
      super_resolution.automatic, 'share_of_interpolation', lambda *_: share
    )
    return run(photo, planes=planes, config=config)

  trained, plain = made(0.0), resize.imresize(planes, 2).clip(0, 1)
  assert np.abs(trained.planes - plain).max() > 1e-3
  np.testing.assert_allclose(made(1.0).planes, plain, atol=1e-6)
  half = (trained.planes + plain) / 2
  np.testing.assert_allclose(made(0.5).planes, half, atol=1e-6)


@pytest.mark.parametrize(
  ('planes', 'reason'),
  [
    (np.zeros((48, 40), np.float32), r'\[48, 40, k\], not \(48, 40\)'),
    (np.zeros((48, 41, 1), np.float32), 'not .48, 41, 1.'),
    (np.zeros((48, 40, 0), np.float32), 'not .48, 40, 0.'),
    (np.zeros((48, 40, 1), np.uint8), 'planes .*float'),
    (np.full((48, 40, 1), 1.5, np.float32), 'planes .*0, 1'),
    (np.full((48, 40, 1), np.nan, np.float32), 'planes .*NaN'),
  ],
)
def test_planes_that_do_not_fit_are_refused(photo, planes, reason):
  with pytest.raises(ValueError, match=reason):
    run(photo, planes=planes)


@pytest.mark.parametrize('consistency', ['back_projection', 'least_squares'])
def test_rows_are_those_of_the_image_and_its_planes(
  photo, monkeypatch, consistency
):
  monkeypatch.setattr(inference, '_BLOCK', 32)
  monkeypatch.setattr(inference, '_TRIAL', 32)
  image = np.tile(photo, (2, 2, 1))
  planes = image.mean(2, keepdims=True)
  config = TINY.replace(consistency=consistency, ensemble='mean', tile=32)
  whole = run(image, planes=planes, config=config)
  out = np.zeros((192, 160, 4), np.float32)
  taken = []

  def rows(first, strip):
    taken.append((first, len(strip)))
    out[first : first + len(strip)] = strip

  result = run(image, planes=planes, config=config, rows=rows)
  assert len(taken) > 1 and taken[0][0] == 0
  assert sum(count for _, count in taken) == 192
  np.testing.assert_array_equal(out[..., :3], whole.image)
  np.testing.assert_allclose(out[..., 3:], whole.planes, atol=1e-6)
  assert result.image.size == 0 and result.planes is None
  assert 'by rows' in repr(result)
  assert result.consistency == whole.consistency


def test_rows_of_a_small_image_come_at_once(photo):
  taken = []
  run(photo, rows=lambda *part: taken.append(part))
  ((first, strip),) = taken
  assert first == 0
  np.testing.assert_array_equal(strip, run(photo).image)


def test_a_large_image_is_trained_on_in_parts(photo, monkeypatch):
  monkeypatch.setattr(pool, '_PART', 32)
  image = np.tile(photo, (12, 12, 1))  # 0.28 megapixels
  config = TINY.replace(
    pool=0.1, gradual=((0.5, 0.5), (1, 1)), max_steps=4, copies=1
  )
  seen = []
  make_pool = pool.make_pool

  def spy(fathers, *args):
    seen.append([father.shape[:2] for father in fathers])
    return make_pool(fathers, *args)

  monkeypatch.setattr(pool, 'make_pool', spy)
  result = run(image, config=config)
  assert result.image.shape == (1152, 960, 3)
  first, second = (max(shape[0] for shape in stage) for stage in seen)
  assert (first, second) == (48, 72)  # a part, and one enlarged by 1.5
  assert sum(a * b for a, b in seen[0]) < 0.11e6


def test_progress_goes_through_all_phases(photo):
  told = []
  run(photo, progress=told.append)
  phases = [part.phase for part in told]
  order = [p for i, p in enumerate(phases) if i == 0 or phases[i - 1] != p]
  assert order == ['estimate', 'prepare', 'train', 'infer']
  shares = [part.share for part in told]
  assert shares == sorted(shares) and 0 <= shares[0] and shares[-1] == 1
  assert told[-1].seconds_left == 0
  assert all(part.seconds_left >= 0 for part in told)
  assert all(part.max_steps for part in told if part.phase == 'train')


@pytest.mark.parametrize(
  ('pixels', 'copies'), [(0.9e6, 8), (3.9e6, 4), (12e6, 2), (100e6, 2)]
)
def test_larger_images_get_fewer_copies_unless_told(pixels, copies):
  shape = (1000, int(pixels / 1000), 3)
  fast = zssr_jax.load_config('fast')
  assert inference.settle(fast, shape).copies == copies
  assert inference.settle(fast.replace(copies=8), shape).copies == 8
