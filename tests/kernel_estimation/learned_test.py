"""Kernels of shake, found by a trained network in parts of an image."""

import numpy as np
import pytest

from zssr_jax import blur_kernels
from zssr_jax.data import image_io
from zssr_jax.evaluation import protocols
from zssr_jax.kernel_estimation import learned
from zssr_jax.ops import color, dihedral

PHOTOS = ('103041', '106020', '134008')  # of odd index: not trained on


def shaken(data_root, name):
  path = next((data_root / 'BSDS300_train').rglob(f'{name}.*'))
  photo = color.to_uint8(image_io.read_image(path))
  made = protocols.degrade(
    'shake', photo, 2, image_name=name, seed=0, data=data_root
  )
  return made.lr.astype(np.float32) / 255, made.kernel


@pytest.mark.slow
@pytest.mark.parametrize('name', PHOTOS)
def test_the_kernel_of_a_shaken_photo_is_found(data_root, name):
  image, kernel = shaken(data_root, name)
  found = learned.find(image, 2)
  assert found.kernel.sum() == pytest.approx(1, abs=1e-5)
  assert found.kernel.min() >= 0
  center = blur_kernels.center_of_mass(found.kernel)
  aligned = blur_kernels.aligned_center(found.kernel.shape, 2)
  assert center == pytest.approx(aligned, abs=1e-3)
  likeness = blur_kernels.kernel_correlation(found.kernel, kernel, 2)
  wide = np.sqrt(np.square(blur_kernels.kernel_width(kernel)[:2]).mean())
  round_one = blur_kernels.gaussian_kernel((wide**2, wide**2), 0, 2)
  plain = blur_kernels.kernel_correlation(round_one, kernel, 2)
  turned = found.kernel[::-1, ::-1]
  mirrored = blur_kernels.kernel_correlation(turned, kernel, 2)
  assert likeness > max(plain, mirrored), (likeness, plain, mirrored)


def scene(shape):
  rng = np.random.default_rng(0)
  image = np.zeros((*shape, 3), np.float32)
  for _ in range(60):
    y, x = (rng.integers(0, n - 8) for n in shape)
    h, w = rng.integers(4, min(shape) // 2, 2)
    image[y : y + h, x : x + w] = rng.random(3)
  return image


def test_a_turned_image_has_the_turned_kernel():
  image = scene((96, 96))
  first = learned.find(image, 2)
  turned = learned.find(np.ascontiguousarray(dihedral.dihedral(image, 5)), 2)
  # At an even scale the middle lies between taps, so centring rounds.
  np.testing.assert_allclose(
    turned.kernel, dihedral.dihedral(first.kernel, 5), atol=0.02
  )
  assert turned.doubt == pytest.approx(first.doubt, rel=1e-2)


@pytest.mark.parametrize('scale', [2, 3, 1.5, (2, 3)])
def test_the_kernel_is_stretched_to_the_scale(scale):
  found = learned.find(scene((64, 80)), scale)
  y, x = (scale, scale) if np.isscalar(scale) else scale
  center = blur_kernels.center_of_mass(found.kernel)
  aligned = blur_kernels.aligned_center(found.kernel.shape, scale)
  assert center == pytest.approx(aligned, abs=1e-3)
  wide = blur_kernels.kernel_width(found.kernel)
  plain = blur_kernels.kernel_width(learned.find(scene((64, 80)), 1).kernel)
  # Interpolation widens it a little.
  assert wide[0] == pytest.approx(np.sqrt(y * x) * plain[0], rel=0.35)


def test_noise_means_more_doubt():
  image = scene((96, 128))
  noise = np.random.default_rng(1).standard_normal(image.shape)
  noisy = (image + 0.05 * noise).astype(np.float32)
  assert learned.find(noisy, 2).doubt > learned.find(image, 2).doubt > 0


def test_grey_images_and_other_channels_are_looked_at_too():
  image = scene((64, 64))
  grey = image.mean(2, keepdims=True)
  one = learned.find(grey, 2)
  five = learned.find(np.repeat(grey, 5, axis=2), 2)
  np.testing.assert_allclose(five.kernel, one.kernel, atol=1e-4)
