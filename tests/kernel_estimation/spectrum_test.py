"""The estimate from the spectrum, on images blurred with known kernels."""

import numpy as np
import pytest
import scipy.ndimage

from zssr_jax import blur_kernels
from zssr_jax.kernel_estimation import spectrum


def power_law(shape, decay=1.0, seed=0):
  """A random image `[H, W, 1]` whose power falls as frequency^(-2 decay)."""
  rng = np.random.default_rng(seed)
  y, x = (np.fft.fftfreq(n) for n in shape)
  radius = np.hypot(y[:, None], x[None])
  radius[0, 0] = 1
  white = np.fft.fft2(rng.standard_normal(shape))
  image = np.fft.ifft2(white / radius**decay).real
  image = 0.5 + 0.12 * image / image.std()
  return image.clip(0, 1)[..., None]


def blurred(kernel, scale, shape=(480, 400), noise=0.0, **kwargs):
  """`power_law` blurred and subsampled by scipy, 8 bits."""
  hr = power_law(shape, **kwargs)[..., 0]
  full = scipy.ndimage.correlate(hr, kernel.astype(np.float64), mode='reflect')
  lr = full[::scale, ::scale]
  lr = lr + noise * np.random.default_rng(1).standard_normal(lr.shape)
  return (np.round(lr.clip(0, 1) * 255) / 255).astype(np.float32)[..., None]


def spectrum_middle():
  """Where neither the taper's leakage nor rounding counts."""
  f = np.abs(np.fft.fftfreq(spectrum.WINDOW))
  radius = np.hypot(f[:, None], f[None])
  return (radius > 0.1) & (radius < 0.4)


def covariance(kernel):
  center = blur_kernels.center_of_mass(kernel)
  y, x = (np.arange(n) - c for n, c in zip(kernel.shape, center, strict=True))
  kernel = kernel.astype(np.float64)
  yx = y @ kernel @ x
  return np.array([[kernel.sum(1) @ y**2, yx], [yx, kernel.sum(0) @ x**2]])


def test_white_noise_has_its_variance_at_every_frequency():
  image = 0.5 + 0.05 * np.random.default_rng(0).standard_normal((300, 300, 1))
  power = spectrum.spectrum(image)
  assert power.shape == (48, 48)
  np.testing.assert_allclose(power[1:, 1:].mean(), 0.05**2, rtol=0.02)
  assert power[4:44, 4:44].std() < 0.2 * 0.05**2


def test_periodogram_is_that_of_each_window_in_turn():
  image = power_law((61, 75))
  taper = np.hanning(50)[1:-1]
  taper = np.outer(taper, taper)
  parts = []
  for y in range(0, 61 - 47, 12):
    for x in range(0, 75 - 47, 12):
      window = image[y : y + 48, x : x + 48, 0]
      window = window - (window * taper).sum() / taper.sum()
      parts.append(np.abs(np.fft.fft2(window * taper)) ** 2)
  expected = np.mean(parts, 0) / (taper**2).sum()
  np.testing.assert_allclose(
    spectrum.spectrum(image), expected, rtol=1e-9, atol=1e-12
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  ('scale', 'variances', 'angle'),
  [
    (2, (2.0, 2.0), 0.0),
    (2, (3.5, 0.8), 0.5),
    (2, (0.5, 2.5), 2.0),
    (3, (6.0, 2.0), 1.0),
    (4, (12.0, 5.0), -0.7),
  ],
)
def test_finds_the_covariance_of_a_gaussian(scale, variances, angle):
  kernel = blur_kernels.gaussian_kernel(variances, angle, scale)
  image = blurred(kernel, scale, shape=(240 * scale, 200 * scale))
  found = spectrum.fit(spectrum.spectrum(image), scale)
  tolerance = 0.12 * scale**2
  np.testing.assert_allclose(
    found.covariance, covariance(kernel), atol=tolerance
  )
  assert found.misfit < 0.3
  estimate = spectrum.estimate(image, scale)
  assert blur_kernels.kernel_correlation(kernel, estimate, scale) > 0.98


@pytest.mark.parametrize('decay', [0.9, 1.15])
def test_a_scene_of_another_power_law_changes_little(decay):
  kernel = blur_kernels.gaussian_kernel((2.5, 1.0), 0.3, 2)
  image = blurred(kernel, 2, decay=decay)
  found = spectrum.fit(spectrum.spectrum(image), 2)
  np.testing.assert_allclose(found.covariance, covariance(kernel), atol=0.35)


def test_noise_is_not_taken_for_sharpness():
  kernel = blur_kernels.gaussian_kernel((3.0, 1.5), 0.3, 2)
  image = blurred(kernel, 2, noise=0.01)
  found = spectrum.fit(spectrum.spectrum(image), 2, noise_std=0.01)
  np.testing.assert_allclose(found.covariance, covariance(kernel), atol=0.5)
  assert 0.005 < found.noise < 0.02


def test_each_axis_may_have_its_own_scale():
  kernel = blur_kernels.gaussian_kernel((3.0, 1.0), 0.0, 2)
  hr = power_law((400, 400))[..., 0]
  full = scipy.ndimage.correlate(hr, kernel.astype(np.float64))
  image = full[::2, :, None].astype(np.float32)
  found = spectrum.fit(spectrum.spectrum(image), (2, 1))
  np.testing.assert_allclose(found.covariance, covariance(kernel), atol=0.4)
  estimate = spectrum.estimate(image, (2, 1))
  np.testing.assert_allclose(
    blur_kernels.center_of_mass(estimate),
    blur_kernels.aligned_center(estimate.shape, (2, 1)),
    atol=1e-4,
  )


def test_an_estimate_is_a_centred_kernel():
  kernel = blur_kernels.gaussian_kernel((3.0, 1.0), 0.4, 2)
  estimate = spectrum.estimate(blurred(kernel, 2), 2)
  assert estimate.dtype == np.float32
  assert estimate.min() >= 0
  np.testing.assert_allclose(estimate.sum(), 1, atol=1e-5)
  np.testing.assert_allclose(
    blur_kernels.center_of_mass(estimate),
    blur_kernels.aligned_center(estimate.shape, 2),
    atol=1e-4,
  )


def test_precision_is_lower_for_the_direction_that_noise_hides():
  kernel = blur_kernels.gaussian_kernel((4.0, 0.3), 0.0, 2)  # wide along x
  found = spectrum.fit(
    spectrum.spectrum(blurred(kernel, 2, noise=0.02)), 2, noise_std=0.02
  )
  assert found.covariance_precision[2, 2] < found.covariance_precision[0, 0]


def test_gaussian_has_the_covariance_asked_for():
  wanted = np.array([[2.0, 0.6], [0.6, 1.0]])
  np.testing.assert_allclose(
    covariance(blur_kernels.gaussian_of(wanted, 2)), wanted, atol=0.03
  )


def test_small_images_are_refused():
  with pytest.raises(ValueError, match='at least 48x48 pixels, not 40x60'):
    spectrum.estimate(np.full((40, 60, 1), 0.5, np.float32), 2)


def test_a_large_image_is_sampled():
  image = power_law((1200, 1500))
  whole, part = spectrum.spectrum(image), spectrum.spectrum(image[:400, :500])
  ratio = np.log(whole / part)[spectrum_middle()]
  assert abs(ratio.mean()) < 0.3
