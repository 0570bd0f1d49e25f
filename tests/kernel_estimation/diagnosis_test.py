"""What happened to photos, against what was done to them."""

import io

import numpy as np
import pytest
from PIL import Image

from zssr_jax import blur_kernels
from zssr_jax.data import image_io
from zssr_jax.degradation import Degradation
from zssr_jax.evaluation import protocols
from zssr_jax.kernel_estimation import diagnosis
from zssr_jax.ops import color

pytestmark = pytest.mark.slow  # two seconds an image

PHOTOS = ('100075', '239096', '35010')


@pytest.fixture
def photo(data_root, request):
  path = next((data_root / 'BSDS300_train').rglob(f'{request.param}.*'))
  return color.to_uint8(image_io.read_image(path))


def degraded(photo, name, kernel=None, noise=0.0):
  """A photo at half its size, uint8: bicubic, or a kernel by scipy."""
  if kernel is None:
    return protocols.degrade(name, photo, 2, image_name='a', seed=0).lr
  from scipy import ndimage

  blurred = ndimage.correlate(
    photo.astype(np.float64),
    kernel[..., None].astype(np.float64),
    mode='reflect',
  )
  rng = np.random.default_rng(0)
  lr = blurred[::2, ::2] + 255 * noise * rng.standard_normal(
    blurred[::2, ::2].shape
  )
  return np.round(lr.clip(0, 255)).astype(np.uint8)


def found(lr, **known):
  return diagnosis.estimate_degradation(
    lr.astype(np.float32) / np.float32(255), 2, known=Degradation(2, **known)
  )


@pytest.mark.parametrize('photo', PHOTOS, indirect=True)
def test_a_photo_shrunk_by_bicubic_has_no_blur(photo):
  told = found(degraded(photo, 'ideal'))
  assert told.degradation.kernel is None and told.reason is None
  assert told.degradation.jpeg is None
  assert float(told.degradation.noise_std) < 1 / 255
  assert told.candidates[0].name == 'none'
  assert 'no blur beyond bicubic' in str(told)


@pytest.mark.parametrize('photo', PHOTOS, indirect=True)
@pytest.mark.parametrize('radius', [3.0, 3.5])
def test_defocus_is_told_with_its_radius(photo, radius):
  kernel = blur_kernels.disc_kernel(radius, 0.5, 2)
  told = found(degraded(photo, '', kernel))
  assert told.fit.family.name == 'disc'
  assert abs(told.fit.parameters[1]) == pytest.approx(radius, rel=0.06)
  likeness = blur_kernels.kernel_correlation(told.degradation.kernel, kernel, 2)
  assert likeness > 0.95


@pytest.mark.parametrize('photo', PHOTOS, indirect=True)
def test_motion_is_told_with_its_length_and_direction(photo):
  kernel = blur_kernels.line_kernel(9, 1.0, 0.5, 2)
  told = found(degraded(photo, '', kernel))
  assert told.fit.family.name == 'line'
  y, x = told.fit.parameters[1:]
  assert np.hypot(y, x) == pytest.approx(9, rel=0.05)
  assert np.arctan2(y, x) % np.pi == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize('photo', PHOTOS, indirect=True)
def test_a_gaussian_is_told_and_used_a_little_narrower(photo):
  kernel = blur_kernels.gaussian_kernel((4, 2), 0.5, 2)
  told = found(degraded(photo, '', kernel))
  assert told.fit.family.name in ('gaussian', 'line')
  wide = blur_kernels.kernel_width(told.degradation.kernel)[0]
  assert 1.4 < wide < 2.2
  # Noise hides where the spectrum ends, so less of the blur is believed.
  noisy = found(degraded(photo, '', kernel, noise=0.02))
  assert float(noisy.degradation.noise_std) == pytest.approx(0.02, rel=0.2)
  assert blur_kernels.kernel_width(noisy.degradation.kernel)[0] < wide + 0.1


@pytest.mark.parametrize('photo', PHOTOS, indirect=True)
def test_the_kernel_of_a_shake_is_found_in_doubt(photo, data_root):
  made = protocols.degrade(
    'shake', photo, 2, image_name='a', seed=1, data=data_root
  )
  told = found(made.lr)
  assert str(told).startswith('camera shake') and told.reason is None
  assert told.fit is None and not told.sure and np.isnan(told.confidence)
  assert 0 < told.degradation.relative_doubt < 2
  likeness = blur_kernels.kernel_correlation(
    told.degradation.kernel, made.kernel, 2
  )
  assert likeness > 0.6
  # Without what was learnt from other images there is none.
  told = diagnosis.estimate_degradation(
    made.lr.astype(np.float32) / np.float32(255), 2, shaken=False
  )
  assert told.degradation.kernel is None and told.degradation.doubt is None
  assert told.reason == 'no simple blur explains the image'
  assert 'blur unknown' in str(told) and told.unexplained


@pytest.mark.parametrize('photo', ['169012', '22090'], indirect=True)
def test_an_unblurred_photo_of_an_odd_spectrum_is_no_shake(photo):
  told = found(degraded(photo, 'ideal'))
  assert told.degradation.kernel is None and told.unexplained


@pytest.mark.parametrize('photo', ['135037'], indirect=True)
def test_a_soft_photo_with_a_sharp_subject_is_no_shake(photo, monkeypatch):
  lr = degraded(photo, 'ideal')
  told = found(lr)
  assert told.degradation.doubt is None and told.blur != 'camera shake'
  # It is by its edges, for the spectrum says so.
  monkeypatch.setattr(diagnosis.edges, 'steepness', lambda _: 0.65)
  assert found(lr).blur == 'camera shake'


@pytest.mark.parametrize('photo', ['159045'], indirect=True)
def test_a_shake_that_the_spectrum_does_not_tell_is_seen(
  photo, data_root, monkeypatch
):
  made = protocols.degrade(
    'shake', photo, 2, image_name='159045', seed=0, data=data_root
  )
  assert found(made.lr).blur == 'camera shake'
  monkeypatch.setattr(diagnosis.edges, 'steepness', lambda _: 0.65)
  assert found(made.lr).unexplained


@pytest.mark.parametrize('photo', ['126039'], indirect=True)
def test_a_gaussian_that_fits_badly_is_one_all_the_same(photo):
  kernel = blur_kernels.gaussian_kernel((4, 2), 0.5, 2)
  told = found(degraded(photo, '', kernel))
  assert told.fit.misfit > 0.5 and told.blur.startswith('Gaussian')


@pytest.mark.parametrize('photo', PHOTOS, indirect=True)
@pytest.mark.parametrize('quality', [40, 80])
def test_compression_is_found_in_pixels_and_is_not_blur(photo, quality):
  lr = degraded(photo, 'ideal')
  stream = io.BytesIO()
  Image.fromarray(lr).save(stream, 'JPEG', quality=quality)
  decoded = np.asarray(Image.open(stream))
  told = found(decoded[3:, 5:])
  assert str(told).startswith(f'JPEG quality {quality}, no blur beyond bicubic')
  true = np.sqrt(np.mean((decoded / 255.0 - lr / 255.0) ** 2))
  assert float(told.degradation.jpeg.error_std) == pytest.approx(true, rel=0.25)
