"""The noise level against noise that was added, and wavelets as a rival."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import zssr_jax
from zssr_jax.kernel_estimation import noise
from zssr_jax.ops import color, resize

# The high-pass filter of Daubechies' wavelet with two vanishing moments.
DB2 = np.array([-0.4829629131, 0.8365163037, -0.2241438680, -0.1294095226])


def wavelet_level(image):
  """Median of the finest diagonal coefficients (Donoho 1994), as in skimage."""
  levels = []
  for channel in np.moveaxis(image, -1, 0):
    diagonal = ndimage.convolve1d(
      ndimage.convolve1d(channel, DB2, axis=0), DB2, axis=1
    )[::2, ::2]
    levels.append(np.median(np.abs(diagonal)) / 0.6744897502)
  return np.sqrt(np.mean(np.square(levels)))


def flat(*shape, std=0.0, seed=0, value=0.5):
  draw = np.random.default_rng(seed).standard_normal(shape)
  return np.clip(value + std * draw, 0, 1).astype(np.float32)


@pytest.fixture(scope='module')
def photos(data_root):
  """Bicubic LR images, uint8, of three photos none of which is a test image."""
  folder = data_root / 'BSDS300_train'
  if not folder.is_dir():
    pytest.skip(f'no {folder}')
  photos = []
  for name in ('100075', '183055', '292066'):
    with Image.open(folder / f'{name}.jpg') as image:
      photos.append(np.asarray(resize.imresize(np.asarray(image), (0.5, 0.5))))
  return photos


def noisy(photo, std, seed=0):
  draw = np.random.default_rng(seed).standard_normal(photo.shape)
  return color.to_uint8(photo / 255 + std * draw) / 255


@pytest.mark.slow
@pytest.mark.parametrize('std', [0.01, 0.02, 0.05, 0.1])
def test_noise_added_to_photos_is_found(photos, std):
  for photo in photos:
    level = noise.noise_level(noisy(photo, std))
    assert level == pytest.approx(std, rel=0.05, abs=0.003)


@pytest.mark.slow
def test_clean_photos_have_little_noise_and_less_than_wavelets_say(photos):
  for photo in photos:
    level = noise.noise_level(photo / 255)
    assert level < 0.006
    assert level < wavelet_level(photo / 255) / 2


@pytest.mark.slow
def test_on_noise_alone_wavelets_agree():
  image = flat(96, 96, 3, std=0.04)
  assert noise.noise_level(image) == pytest.approx(0.04, rel=0.05)
  assert noise.noise_level(image) == pytest.approx(
    wavelet_level(image), rel=0.08
  )


@pytest.mark.slow
def test_stronger_noise_gives_a_higher_level(photos):
  levels = [
    noise.noise_level(noisy(photos[0], std)) for std in (0, 0.01, 0.03, 0.06)
  ]
  assert levels == sorted(levels)


ADDED = {
  'white': noise.Noise(0.02, 0, 0, 0),
  'shot': noise.Noise(0, 1 / 500, 0, 0),
  'speckle': noise.Noise(0, 0, 0.06, 0),
  'white and shot': noise.Noise(0.02, 1 / 500, 0, 0),
}


def with_noise(clean, added, seed=0):
  draw = np.random.default_rng(seed).standard_normal(clean.shape)
  return color.to_uint8(clean + np.sqrt(added.variance(clean)) * draw) / 255


@pytest.mark.slow
@pytest.mark.parametrize('name', ADDED)
def test_noise_that_depends_on_the_intensity_is_found_in_photos(photos, name):
  added = ADDED[name]
  for photo in photos:
    found = noise.noise_model(with_noise(photo / 255, added))
    assert found.level(photo / 255) == pytest.approx(
      added.level(photo / 255), rel=0.1
    )
    for at in (0.3, 0.6):
      assert found.variance(at) == pytest.approx(added.variance(at), rel=0.3)


@pytest.mark.parametrize('name', ['white', 'shot', 'speckle'])
def test_the_kind_of_noise_is_told_on_a_ramp(name):
  clean = np.tile(np.linspace(0.1, 0.8, 160)[None, :, None], (96, 1, 1))
  found = noise.noise_model(with_noise(clean, ADDED[name]))
  terms = np.array(found[:3]) > 0
  assert terms.tolist() == [term > 0 for term in ADDED[name][:3]]
  np.testing.assert_allclose(found[:3], ADDED[name][:3], rtol=0.1)


def test_the_spread_is_that_of_repeated_draws():
  found = [
    noise.noise_model(flat(96, 96, 1, std=0.04, seed=s)) for s in range(12)
  ]
  levels = [f.level(flat(8, 8, 1)) for f in found]
  spread = np.mean([f.spread for f in found])
  assert 0.3 < np.std(levels) / spread < 3


def test_texture_widens_the_spread():
  draw = np.random.default_rng(0).standard_normal((96, 96, 1))
  texture = ndimage.gaussian_filter(draw, (0.7, 0.7, 0)) * 0.08
  noise_alone = flat(96, 96, 1, std=0.01, seed=1)
  spread = noise.noise_model(noise_alone + texture).spread
  assert spread > 2 * noise.noise_model(noise_alone).spread


def test_level_is_the_root_mean_square_over_an_image():
  image = np.random.default_rng(0).uniform(size=(9, 7, 3))
  found = noise.Noise(0.02, 0.001, 0.05, 0.0)
  mean = np.mean(0.02**2 + 0.001 * image + (0.05 * image) ** 2)
  assert found.level(image) == pytest.approx(np.sqrt(mean))


@pytest.mark.slow
def test_jpeg_is_not_taken_for_noise(photos):
  for photo in photos:
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, 'JPEG', quality=45)
    with Image.open(stream) as image:
      assert noise.noise_level(np.asarray(image) / 255) < 0.006


def test_an_image_without_noise_has_none():
  ramp = np.linspace(0, 1, 40)[:, None, None] * np.ones((40, 50, 3))
  assert noise.noise_level(flat(64, 64, 3)) == pytest.approx(0, abs=1e-6)
  assert noise.noise_level(ramp) == pytest.approx(0, abs=1e-6)
  assert noise.noise_level(np.zeros((64, 64, 3))) == 0
  assert noise.noise_level(np.ones((64, 64, 3))) == 0


def test_clipped_halves_do_not_hide_the_noise():
  image = flat(80, 80, 3, std=0.05)
  image[:30] = 0
  image[50:] = 1
  assert noise.noise_level(image) == pytest.approx(0.05, rel=0.15)


@pytest.mark.parametrize('shape', [(8, 8, 3), (12, 12, 3), (16, 40, 3)])
def test_small_images_get_a_rough_level(shape):
  levels = [noise.noise_level(flat(*shape, std=0.05, seed=s)) for s in range(8)]
  assert np.mean(levels) == pytest.approx(0.05, rel=0.25)


@pytest.mark.parametrize('shape', [(1, 1, 3), (3, 50, 1), (3, 3, 1)])
def test_images_too_small_to_tell_have_no_noise(shape):
  assert noise.noise_level(flat(*shape, std=0.05)) == 0
  assert noise.noise_model(flat(*shape, std=0.05)).spread == np.inf


def test_one_channel_and_equal_channels_give_the_level_of_the_one():
  one = flat(64, 64, 1, std=0.03)
  level = noise.noise_level(one)
  assert level == pytest.approx(0.03, rel=0.06)
  assert noise.noise_level(np.repeat(one, 3, -1)) == pytest.approx(level)


def test_the_level_lies_between_those_of_unequal_channels():
  image = np.concatenate(
    [flat(64, 64, 1, std=s, seed=i) for i, s in enumerate((0.01, 0.05))], -1
  )
  rms = np.sqrt((0.01**2 + 0.05**2) / 2)
  assert 0.6 * rms < noise.noise_level(image) < 1.1 * rms


@pytest.mark.slow
def test_a_large_image_is_sampled_and_repeats_itself():
  image = flat(1000, 1000, 3, std=0.02)
  level = noise.noise_level(image)
  assert level == pytest.approx(0.02, rel=0.05)
  assert noise.noise_level(image) == level


@pytest.mark.parametrize(
  ('image', 'message'),
  [
    (np.zeros((8, 8)), 'H, W, C'),
    (np.zeros((0, 8, 3)), 'H, W, C'),
    (np.full((8, 8, 1), np.nan), 'NaN'),
  ],
)
def test_what_is_no_image_is_refused(image, message):
  with pytest.raises(ValueError, match=message):
    noise.noise_level(image)


class TestInARun:
  CONFIG = zssr_jax.Config(
    width=4, depth=2, max_steps=3, schedule='cosine', copies=1
  )

  def run(self, image, **fields):
    return zssr_jax.train_image(image, 2, config=self.CONFIG.replace(**fields))

  def test_the_result_says_what_was_used(self):
    image = flat(24, 24, 1, std=0.04)
    result = self.run(image, estimate_noise=0.5)
    assert result.config.noise_std == 0.5 * noise.noise_level(image)

  def test_it_is_the_same_as_that_noise_given(self):
    image = flat(24, 24, 1, std=0.04)
    estimated = self.run(image, estimate_noise=0.5)
    given = self.run(image, noise_std=estimated.config.noise_std)
    np.testing.assert_allclose(estimated.image, given.image, atol=1e-6)
    without = self.run(image)
    assert np.abs(estimated.image - without.image).max() > 1e-4

  def test_the_config_bounds_it_from_below_and_a_tenth_from_above(self):
    clean, wild = flat(24, 24, 1), flat(24, 24, 1, std=0.15)
    fields = {'estimate_noise': 1.0, 'noise_std': 0.03}
    assert self.run(clean, **fields).config.noise_std == 0.03
    assert self.run(wild, **fields).config.noise_std == 0.1
