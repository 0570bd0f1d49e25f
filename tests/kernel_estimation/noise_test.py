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


@pytest.mark.slow
def test_speckle_lies_between_nothing_and_its_root_mean_square(photos):
  for photo in photos:
    draw = np.random.default_rng(1).standard_normal(photo.shape)
    added = photo / 255 * 0.05 * draw
    level = noise.noise_level(color.to_uint8(photo / 255 + added) / 255)
    assert 0.1 < level / np.sqrt(np.mean(added**2)) < 1.3


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


@pytest.mark.parametrize('shape', [(1, 1, 3), (2, 50, 1), (3, 3, 1)])
def test_images_too_small_to_tell_have_no_noise(shape):
  assert noise.noise_level(flat(*shape, std=0.05)) == 0


def test_one_channel_and_equal_channels_give_the_level_of_the_one():
  one = flat(64, 64, 1, std=0.03)
  level = noise.noise_level(one)
  assert level == pytest.approx(0.03, rel=0.06)
  assert noise.noise_level(np.repeat(one, 3, -1)) == pytest.approx(level)


def test_channels_count_as_their_root_mean_square():
  image = np.concatenate(
    [flat(64, 64, 1, std=s, seed=i) for i, s in enumerate((0.01, 0.05))], -1
  )
  rms = np.sqrt((0.01**2 + 0.05**2) / 2)
  assert noise.noise_level(image) == pytest.approx(rms, rel=0.06)


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
    width=4, depth=2, max_steps=3, schedule='cosine', self_ensemble=False
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
