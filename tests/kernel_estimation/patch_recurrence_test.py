"""Patch recurrence against the formulas written out, patch by patch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from zssr_jax import blur_kernels
from zssr_jax.kernel_estimation import patch_recurrence

KEY = jax.random.key(0)


def texture(height, width, seed=0):
  """Detail at every scale, `[H, W]` in [0, 1]."""
  noise = np.random.default_rng(seed).standard_normal((height, width))
  layers = [scipy.ndimage.gaussian_filter(noise, s) for s in (0.7, 1.5, 3)]
  image = sum(layer / layer.std() for layer in layers)
  return (0.5 + 0.08 * image).clip(0, 1).astype(np.float32)


def blurred_photo(kernel, scale=2, side=120):
  from skimage import data

  hr = data.astronaut()[: scale * side, 120 : 120 + scale * side]
  weights = np.asarray(kernel, np.float64)[..., None]
  full = scipy.ndimage.correlate(hr.astype(np.float64), weights)
  return (np.round(full[::scale, ::scale]) / 255).astype(np.float32)


@pytest.fixture
def few(monkeypatch):
  """Fewer patches, which are enough for small images."""
  monkeypatch.setattr(patch_recurrence, '_CHILDREN', 600)
  monkeypatch.setattr(patch_recurrence, '_PARENTS', 1500)


def unit(patch):
  patch = patch - patch.mean()
  norm = np.sqrt((patch**2).sum()) + 1e-4
  return patch / norm, norm


def one_iteration(grey, children, parents, taps, scale, kernel):
  """One iteration in float64, with the R_j as matrices and in loops."""
  n = patch_recurrence._PATCH
  parent = scale * (n - 1) + taps
  grey = grey.astype(np.float64)
  blurs = []
  for y, x in parents:
    patch = grey[y : y + parent, x : x + parent]
    blurs.append(
      np.array(
        [
          patch[scale * i : scale * i + taps, scale * j : scale * j + taps]
          for i in range(n)
          for j in range(n)
        ]
      ).reshape(n * n, taps**2)
    )
  matrix, vector = np.zeros((taps**2, taps**2)), np.zeros(taps**2)
  used = 0
  for y, x in children:
    child, contrast = unit(grey[y : y + n, x : x + n].ravel())
    alike, gains = [], []
    for (v, u), blur in zip(parents, blurs, strict=True):
      small, its_contrast = unit(blur @ kernel)
      likeness = child @ small
      gain = likeness * contrast / its_contrast
      # Neither patch may reach into the other.
      apart = max(
        abs(y + n / 2 - v - parent / 2), abs(x + n / 2 - u - parent / 2)
      )
      low, high = patch_recurrence._GAINS
      good = apart > (n + parent) / 2 and low < gain < high
      alike.append(likeness if good else -1.0)
      gains.append(gain)
    if max(alike) <= patch_recurrence._ALIKE:
      continue
    used += 1
    weights = np.exp((np.array(alike) - max(alike)) / patch_recurrence._SPREAD)
    weights /= weights.sum()
    for weight, gain, blur in zip(weights, gains, blurs, strict=True):
      # |child - gain / contrast * (R - mean R) k|^2
      part = gain / contrast * (blur - blur.mean(0))
      matrix += weight * part.T @ part
      vector += weight * part.T @ child
  assert used > len(children) // 4
  smooth = patch_recurrence._SMOOTH[2] * np.trace(matrix) / taps**2
  matrix += smooth * explicit_roughness(taps)
  solution = np.linalg.solve(matrix, vector).clip(0)
  return solution / solution.sum()


def explicit_roughness(taps):
  """`C.T @ C`: a row of C for each pair of neighbours, with zeros around."""
  rows = []
  for i in range(-1, taps):
    for j in range(taps):
      for places in (((i, j), (i + 1, j)), ((j, i), (j, i + 1))):
        row = np.zeros((taps, taps))
        for sign, (y, x) in zip((-1, 1), places, strict=True):
          if 0 <= y < taps and 0 <= x < taps:
            row[y, x] = sign
        rows.append(row.ravel())
  rows = np.array(rows)
  return rows.T @ rows


@pytest.mark.slow
@pytest.mark.parametrize('iterations', [1, 2])
def test_iterations_are_those_of_the_formulas(monkeypatch, iterations):
  monkeypatch.setattr(patch_recurrence, '_ITERATIONS', iterations)
  taps, scale = 5, 2
  grey = texture(44, 40)
  rng = np.random.default_rng(1)
  children = patch_recurrence._pick(grey, 5, 30, 2, rng)
  parents = patch_recurrence._pick(grey, 13, 80, 3, rng)
  # The number is part of the compiled program.
  patch_recurrence._solve.clear_cache()
  found = patch_recurrence._solve(
    jnp.asarray(grey),
    jnp.asarray(children),
    jnp.asarray(parents),
    jnp.asarray(patch_recurrence._roughness(taps)),
    taps=taps,
    scale=scale,
  )
  expected = np.zeros(taps**2)
  expected[taps**2 // 2] = 1
  for _ in range(iterations):
    expected = one_iteration(grey, children, parents, taps, scale, expected)
  assert np.abs(expected.reshape(taps, taps)).max() < 0.9  # no delta any more
  np.testing.assert_allclose(
    found, expected.reshape(taps, taps), atol=1e-3 * iterations
  )


@pytest.mark.parametrize('taps', [1, 2, 5, 9])
def test_roughness_is_that_of_the_differences_to_zero_outside(taps):
  roughness = patch_recurrence._roughness(taps)
  np.testing.assert_array_equal(roughness, explicit_roughness(taps))
  kernel = np.random.default_rng(0).random((taps, taps))
  padded = np.pad(kernel, 1)
  expected = sum((np.diff(padded, axis=axis) ** 2).sum() for axis in (0, 1))
  assert kernel.ravel() @ roughness @ kernel.ravel() == pytest.approx(expected)


@pytest.mark.parametrize(('side', 'count'), [(5, 40), (13, 60), (5, 10**6)])
def test_picks_are_distinct_patches_inside_the_image(side, count):
  grey = texture(30, 41)
  rng = np.random.default_rng(0)
  corners = patch_recurrence._pick(grey, side, count, 2, rng)
  room = (30 - side + 1) * (41 - side + 1)
  assert corners.shape == (min(count, room), 2)
  assert len(np.unique(corners, axis=0)) == len(corners)
  assert corners.min() >= 0
  assert (corners.max(0) <= [30 - side, 41 - side]).all()
  if count >= room:  # all of them, to the last row and column
    np.testing.assert_array_equal(corners.max(0), [30 - side, 41 - side])


@pytest.mark.parametrize('side', [5, 6, 13])
def test_picks_are_those_of_most_contrast(side):
  grey = np.full((60, 70), 0.5, np.float32)
  grey[20:32, 30:44] += 0.3 * np.random.default_rng(0).random((12, 14))
  picked = patch_recurrence._pick(grey, side, 50, 2, np.random.default_rng(0))
  # Every patch reaches well into the one place where there is something.
  middle = picked + side / 2
  assert (np.abs(middle - [26, 37]).max(1) <= 7 + side / 2).all()
  np.testing.assert_allclose(middle.mean(0), [26, 37], atol=2)
  energy = [grey[y : y + side, x : x + side].var() for y, x in picked]
  assert min(energy) > 0.25 * max(energy)


def test_an_estimate_is_a_centred_kernel_that_the_key_decides(few):
  image = blurred_photo(blur_kernels.gaussian_kernel((3.0, 1.0), 0.5, 2))
  kernel = patch_recurrence.estimate(image, 2, KEY)
  assert kernel.dtype == np.float32 and kernel.min() >= 0
  assert kernel.sum() == pytest.approx(1, abs=1e-5)
  np.testing.assert_allclose(
    blur_kernels.center_of_mass(kernel),
    blur_kernels.aligned_center(kernel.shape, 2),
    atol=1e-3,
  )
  again = patch_recurrence.estimate(image, (2.0, 2.0), KEY)
  np.testing.assert_array_equal(kernel, again)
  other = patch_recurrence.estimate(image, 2, jax.random.key(1))
  assert kernel.shape != other.shape or np.abs(kernel - other).max() > 1e-5
  assert blur_kernels.kernel_correlation(kernel, other, 2) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize(
  ('variances', 'angle'), [((4.0, 1.0), 0.0), ((4.0, 1.0), np.pi / 4)]
)
def test_an_estimate_is_nearer_to_the_truth_than_what_is_wrong(
  few, variances, angle
):
  true = blur_kernels.gaussian_kernel(variances, angle, 2)
  kernel = patch_recurrence.estimate(blurred_photo(true), 2, KEY)
  turned = blur_kernels.gaussian_kernel(variances, angle + np.pi / 2, 2)
  delta = np.zeros((3, 3), np.float32)
  delta[1, 1] = 1
  right, wrong, sharp = (
    blur_kernels.kernel_correlation(kernel, k, 2) for k in (true, turned, delta)
  )
  assert right > 0.8
  assert right > wrong and right > sharp
  # A delta says less of the truth.
  assert right > blur_kernels.kernel_correlation(true, delta, 2) + 0.1


def test_brightness_and_contrast_change_nothing(few):
  image = blurred_photo(blur_kernels.gaussian_kernel((3.0, 1.0), 0.5, 2))
  image = 0.25 + 0.5 * image
  plain = patch_recurrence.estimate(image, 2, KEY)
  for changed in (image + 0.125, 0.5 * image, 1 - image):
    kernel = patch_recurrence.estimate(changed, 2, KEY)
    assert blur_kernels.kernel_correlation(plain, kernel, 2) > 0.999


def test_colours_are_averaged(few):
  image = blurred_photo(blur_kernels.gaussian_kernel((3.0, 1.0), 0.5, 2))
  kernel = patch_recurrence.estimate(image, 2, KEY)
  grey = patch_recurrence.estimate(image.mean(2, keepdims=True), 2, KEY)
  np.testing.assert_allclose(kernel, grey, atol=1e-5)


@pytest.mark.parametrize('scale', [1, 1.5, 2.5, 5, (2, 3), (2, 1)])
def test_other_scales_are_refused(scale):
  with pytest.raises(ValueError, match='is for x2, x3 and x4, not'):
    patch_recurrence.estimate(texture(90, 90)[..., None], scale, KEY)


@pytest.mark.slow
@pytest.mark.parametrize(('scale', 'least'), [(2, 34), (4, 66)])
def test_small_images_are_refused_and_the_smallest_are_not(few, scale, least):
  image = texture(least, least + 10)[..., None]
  with pytest.raises(ValueError, match=f'shorter side needs {least} pixels'):
    patch_recurrence.estimate(image[: least - 1], scale, KEY)
  kernel = patch_recurrence.estimate(image, scale, KEY)
  assert np.isfinite(kernel).all()
  assert kernel.sum() == pytest.approx(1, abs=1e-5)


def test_where_nothing_recurs_the_kernel_stays_a_delta(few):
  kernel = patch_recurrence.estimate(np.full((40, 40, 1), 0.5), 2, KEY)
  assert np.isfinite(kernel).all()
  # A delta put at the aligned centre, between four pixels.
  np.testing.assert_allclose(np.sort(kernel.ravel())[-4:], 0.25, atol=1e-6)
