"""What `auto` makes of what was found, and what it refuses to show."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

import zssr_jax
from zssr_jax import automatic, blur_kernels, inference, presets
from zssr_jax.degradation import Degradation
from zssr_jax.kernel_estimation import diagnosis
from zssr_jax.ops import jpeg, resize

AUTO = presets.PRESETS['auto'].replace(start='random')
FAST = presets.PRESETS['fast'].replace(start='random')
KERNEL = blur_kernels.gaussian_kernel((2, 1), 0.5, 2)


def scene(seed=0, shape=(96, 96)):
  """A power-law image `[H, W, 3]`."""
  rng = np.random.default_rng(seed)
  y, x = (np.fft.fftfreq(n) for n in shape)
  radius = np.hypot(y[:, None], x[None])
  radius[0, 0] = 1
  made = np.fft.ifft2(np.fft.fft2(rng.standard_normal(shape)) / radius).real
  made = 0.5 + 0.12 * made / made.std()
  return np.repeat(made.clip(0, 1)[..., None], 3, axis=2).astype(np.float32)


def test_a_clean_image_is_trained_as_fast_trains_it():
  found = Degradation(2, noise_std=np.float32(0.5 / 255))
  config, sons = automatic.settle(AUTO, found)
  for name in ('crop', 'max_steps', 'learning_rate', 'warmup', 'losses'):
    assert getattr(config, name) == getattr(FAST.in_force, name)
  assert sons.noise_std is None and sons.kernel is None
  said = automatic.describe(config, sons)
  assert said == '400 steps from a random start with bicubic sons'


def test_what_a_user_changed_stays():
  config, _ = automatic.settle(AUTO.replace(max_steps=7), Degradation(2))
  assert config.max_steps == 7


@pytest.mark.parametrize(
  'found, words',
  [
    (Degradation(2, noise_std=np.float32(0.02)), 'noisy sons'),
    (Degradation(2, speckle=np.float32(0.05)), 'noisy sons'),
    (Degradation(2, KERNEL, np.float32(0)), 'blurred sons'),
    (Degradation(2, jpeg=jpeg.of_quality(50)), 'JPEG sons'),
    (
      Degradation(2, KERNEL, np.float32(0.01), jpeg=jpeg.of_quality(50)),
      'blurred, noisy, JPEG sons',
    ),
  ],
)
def test_sons_are_degraded_as_the_image_was(found, words):
  config, sons = automatic.settle(AUTO, found)
  assert config == AUTO
  assert (sons.kernel, sons.jpeg) == (found.kernel, found.jpeg)
  # Sons are not rounded, so they get at least what rounding leaves.
  assert float(sons.noise_std) >= 0.28 / 255
  assert automatic.describe(config, sons).endswith(words)


def test_halos_and_stripes_are_noticed_and_sharpness_is_not():
  found = diagnosis.Diagnosis(Degradation(2), (), '', None, None)
  sharp = scene(shape=(192, 192))
  image = resize.imresize(sharp, 0.5).astype(np.float32)
  assert not automatic.is_ruined(sharp, image, 2, found)
  stripes = sharp + 0.2 * (-1.0) ** np.arange(192)[:, None, None]
  assert automatic.is_ruined(stripes, image, 2, found)
  assert automatic.is_ruined(sharp * np.nan, image, 2, found)
  flat = np.full((16, 16, 1), 0.5, np.float32)
  assert not automatic.is_ruined(flat.repeat(2, 0).repeat(2, 1), flat, 2, found)


def test_what_was_blurred_beyond_doubt_may_become_much_sharper():
  sharp = scene(shape=(192, 192))
  blurred = ndimage.gaussian_filter(sharp, (1.5, 1.5, 0))
  image = resize.imresize(blurred, 0.5).astype(np.float32)
  found = diagnosis.Diagnosis(Degradation(2), (), '', None, None)
  assert automatic.is_ruined(sharp, image, 2, found)
  found = found._replace(sure=True)
  assert not automatic.is_ruined(sharp, image, 2, found)
  stripes = sharp + 0.2 * (-1.0) ** np.arange(192)[:, None, None]
  assert automatic.is_ruined(stripes, image, 2, found)


@pytest.mark.slow
def test_a_kernel_that_ruins_the_image_is_given_up(monkeypatch):
  image = scene()
  config = AUTO.replace(max_steps=2, depth=2, width=4, copies=1)
  verdicts = iter([True, False])  # of the first training, and the second
  monkeypatch.setattr(automatic, 'is_ruined', lambda *_: next(verdicts))
  result = zssr_jax.train_image(image, 2, kernel=KERNEL, config=config)
  assert result.kernel is None and 'not used' in result.warning
  monkeypatch.setattr(automatic, 'is_ruined', lambda *_: True)
  result = zssr_jax.train_image(image, 2, kernel=KERNEL, config=config)
  expected = resize.imresize(image, 2).clip(0, 1)
  np.testing.assert_allclose(result.image, expected, atol=1e-5)
  assert 'not used' in result.warning


@pytest.mark.slow
def test_what_is_known_overrules_what_would_be_found():
  config = AUTO.replace(max_steps=1, depth=2, width=4, copies=1)
  known = Degradation(
    2, KERNEL, np.float32(0.03), jpeg=jpeg.of_quality(40, (1, 1))
  )
  result = zssr_jax.train_image(scene(), 2, degradation=known, config=config)
  np.testing.assert_allclose(result.kernel, KERNEL, atol=1e-6)
  assert float(result.degradation.noise_std) == pytest.approx(0.03)
  np.testing.assert_array_equal(
    result.degradation.jpeg.tables, known.jpeg.tables
  )
  assert result.said == (
    'JPEG quality 40, kernel given, noise 7.6/255: 1 steps from a random start'
    ' with blurred, noisy, JPEG sons'
  )


def test_an_image_too_small_or_flat_has_no_kernel():
  for image in (
    np.full((80, 80, 3), 0.5, np.float32),
    scene(shape=(40, 40)),
    np.random.default_rng(0).random((90, 90, 1)).astype(np.float32),
  ):
    found = diagnosis.estimate_degradation(image, 2)
    assert found.degradation.kernel is None and found.reason


def test_where_nothing_explains_the_blur_half_of_the_way_is_gone():
  image = scene(shape=(24, 30))
  plain = resize.imresize(image, 2).clip(0, 1)
  result = (plain + 0.02).clip(0, 1).astype(np.float32)
  clean = Degradation(2, noise_std=np.float32(0))
  candidate = diagnosis.Candidate('none', 0.0, 0.9, '')
  unknown = diagnosis.Diagnosis(clean, (candidate,), '', 'why', None)

  def shown(found):
    share = automatic.share_of_interpolation(result, image, 2, found)
    return inference.blend(result, image, 2, share)

  made = shown(unknown)
  np.testing.assert_allclose(made, (result + plain) / 2, atol=1e-6)
  known = unknown._replace(reason=None)
  assert shown(known) is result
  noisy = clean.replace(noise_std=np.float32(0.03))
  noisy = unknown._replace(degradation=noisy)
  assert shown(noisy) is result


def test_of_a_jpeg_without_blur_a_quarter_is_interpolation():
  image = scene(shape=(24, 30))
  plain = resize.imresize(image, 2).clip(0, 1)
  result = (plain + 0.02).clip(0, 1).astype(np.float32)

  def made(error, **more):
    compressed = dataclasses.replace(
      jpeg.of_quality(50), error_std=np.float32(error / 255)
    )
    degradation = Degradation(2, jpeg=compressed, **more)
    found = diagnosis.Diagnosis(degradation, (), '', None, None)
    share = automatic.share_of_interpolation(result, image, 2, found)
    return inference.blend(result, image, 2, share)

  quarter = 0.75 * result + 0.25 * plain
  np.testing.assert_allclose(made(4.0), quarter, atol=1e-6)
  np.testing.assert_allclose(made(2.5), quarter, atol=1e-6)
  half_of_it = 0.875 * result + 0.125 * plain
  np.testing.assert_allclose(made(2.0), half_of_it, atol=1e-6)
  assert made(1.4) is result
  assert made(4.0, kernel=np.ones((3, 3), np.float32) / 9) is result


@pytest.mark.slow
def test_an_estimator_that_is_asked_for_finds_the_kernel():
  config = AUTO.replace(
    kernel='estimate', max_steps=1, depth=2, width=4, copies=1
  )
  image = ndimage.gaussian_filter(scene(), (1, 1, 0))
  result = zssr_jax.train_image(image, 2, config=config)
  assert result.estimate is not None and result.kernel is not None
  assert float(result.degradation.noise_std) >= 0.28 / 255


def test_the_confidence_is_the_share_of_the_best_candidate():
  costs = (0.0, 1.0, 3.0)
  candidates = tuple(diagnosis.Candidate('', c, 0.3, '') for c in costs)
  found = diagnosis.Diagnosis(Degradation(2), candidates, '', None, None)
  expected = 1 / (1 + np.exp(-1) + np.exp(-3))
  assert found.confidence == pytest.approx(expected)
  assert np.isnan(found._replace(candidates=()).confidence)


@pytest.mark.parametrize(
  'image', [np.zeros((5, 5, 5, 5)), np.full((9, 9), 2.0)]
)
def test_only_images_are_diagnosed(image):
  with pytest.raises(ValueError):
    zssr_jax.estimate_degradation(image, 2)
