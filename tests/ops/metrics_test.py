"""The evaluation protocol against scikit-image and the published rows."""

import fractions
import math

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from skimage import metrics as skimage_metrics

from zssr_jax.data import datasets
from zssr_jax.ops import color, metrics, resize

# Black, white, the primaries and mid-grey in BT.601 studio range.
KNOWN_LUMA = [
  ((0, 0, 0), 16),
  ((255, 255, 255), 235),
  ((255, 0, 0), 81),
  ((0, 255, 0), 145),
  ((0, 0, 255), 41),
  ((128, 128, 128), 126),
]


def noisy_pair(shape, seed=0, noise=0.05):
  """A smooth random 8-bit image and a noisy copy of it."""
  rng = np.random.default_rng(seed)
  coarse = rng.random((shape[0] // 4 + 2, shape[1] // 4 + 2, shape[2]))
  image = np.kron(coarse, np.ones((4, 4, 1)))[: shape[0], : shape[1]]
  other = image + noise * rng.standard_normal(shape)
  return tuple(
    np.floor(np.clip(x, 0, 1) * 255 + 0.5).astype(np.uint8)
    for x in (image, other)
  )


def oracle(a, b, shave_y, shave_x):
  """PSNR and SSIM of 8-bit images by float64 formulas and scikit-image."""

  def y(x):
    if x.shape[2] == 1:
      return x[..., 0].astype(np.float64)
    x = x.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255
    return np.floor(x + 16 + 0.5)

  h, w = a.shape[:2]
  a, b = (y(x)[shave_y : h - shave_y, shave_x : w - shave_x] for x in (a, b))
  psnr = skimage_metrics.peak_signal_noise_ratio(a, b, data_range=255)
  _, full = skimage_metrics.structural_similarity(
    a,
    b,
    data_range=255,
    gaussian_weights=True,
    sigma=1.5,
    use_sample_covariance=False,
    full=True,
  )
  return psnr, full[5:-5, 5:-5].mean()


@pytest.mark.parametrize('rgb, expected', KNOWN_LUMA)
def test_luma_is_that_of_matlab(rgb, expected):
  pixel = np.array(rgb, np.uint8).reshape(1, 1, 3)
  assert color.luma(pixel).item() == expected
  assert color.luma(jnp.asarray(pixel)).item() == expected


def test_luma_rounds_exactly_and_ties_up():
  rgb = np.random.default_rng(0).integers(0, 256, (3000, 3), np.uint8)
  # Y is 16.5 + a whole number for these; floats get such colours wrong.
  ties = [(0, 204, 68), (1, 173, 225), (2, 44, 141), (4, 194, 109)]
  rgb = np.concatenate([rgb, np.array(ties, np.uint8)])
  weights = [fractions.Fraction(w, 1000) for w in (65481, 128553, 24966)]
  exact = [
    16 + sum(w * int(v) for w, v in zip(weights, colour, strict=True)) / 255
    for colour in rgb
  ]
  assert all(y % 1 == fractions.Fraction(1, 2) for y in exact[-len(ties) :])
  expected = [math.floor(y + fractions.Fraction(1, 2)) for y in exact]
  np.testing.assert_array_equal(color.luma(rgb)[:, 0], expected)
  np.testing.assert_array_equal(color.luma(jnp.asarray(rgb))[:, 0], expected)


def test_a_grey_image_is_its_own_luma():
  grey = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
  np.testing.assert_array_equal(color.luma(grey), grey)


def test_studio_luma_rounds_to_luma_and_takes_grey_for_three_channels():
  rgb = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
  y = color.studio_luma(rgb.astype(np.float32) / 255)
  assert y.dtype == np.float32 and y.shape == (9, 7, 1)
  np.testing.assert_allclose(255 * y, color.luma(rgb).astype(float), atol=0.501)
  on_device = color.studio_luma(jnp.asarray(rgb, jnp.float32) / 255)
  np.testing.assert_allclose(on_device, y, atol=1e-6)
  grey = np.array([[[0.0], [0.3], [1.0]]])
  np.testing.assert_allclose(
    color.studio_luma(grey), color.studio_luma(grey.repeat(3, -1)), atol=1e-12
  )
  np.testing.assert_allclose(
    color.studio_luma(grey)[0, ::2, 0] * 255, [16, 235]
  )
  with pytest.raises(ValueError, match='1 or 3 channels, not 4'):
    color.studio_luma(np.zeros((2, 2, 4)))


def test_luma_refuses_floats_and_other_channels():
  with pytest.raises(ValueError, match='8-bit'):
    color.luma(np.zeros((4, 4, 3), np.float32))
  with pytest.raises(ValueError, match='1 or 3 channels'):
    color.luma(np.zeros((4, 4, 4), np.uint8))


@pytest.mark.parametrize('xp', [np, jnp])
def test_rounding_to_8_bits_is_half_up_and_clips(xp):
  values = [-1.0, 0.0, 0.49 / 255, 0.5 / 255, 2.5 / 255, 1.0, 7.0]
  got = color.to_uint8(xp.asarray(values, dtype=xp.float32))
  assert got.dtype == np.uint8
  np.testing.assert_array_equal(got, [0, 0, 0, 1, 3, 255, 255])
  exact = xp.arange(256, dtype=xp.uint8)
  np.testing.assert_array_equal(
    color.to_uint8(exact.astype(xp.float32) / 255), exact
  )


@pytest.mark.parametrize('shape', [(40, 52, 3), (33, 31, 1)])
@pytest.mark.parametrize('noise', [0.004, 0.05, 0.5])
def test_score_agrees_with_scikit_image(shape, noise):
  scale = 2
  a, b = noisy_pair(shape, noise=noise)
  h, w = (n - n % scale for n in shape[:2])
  expected = oracle(a[:h, :w], b[:h, :w], scale, scale)
  psnr, ssim = metrics.score(a, b, scale)
  assert isinstance(psnr, float) and isinstance(ssim, float)
  assert psnr == pytest.approx(expected[0], abs=1e-4)
  assert ssim == pytest.approx(expected[1], abs=1e-5)


def test_score_takes_floats_and_rounds_them_to_8_bits():
  a, b = noisy_pair((36, 36, 3))
  expected = metrics.score(a, b, 2)
  # Well inside the rounding interval of each grey level.
  off = a.astype(np.float32) / 255 + np.float32(0.4 / 255)
  off = np.where(a < 255, off, 1.2).astype(np.float32)
  assert metrics.score(off, b, 2) == expected
  assert metrics.score(jnp.asarray(off), b.astype(np.float32) / 255, 2) == (
    expected
  )


def test_score_at_a_scale_per_axis_shaves_each_axis_by_its_own():
  a, b = noisy_pair((41, 44, 3))
  expected = oracle(a[:40, :42], b[:40, :42], 2, 3)
  got = metrics.score(a, b, (2, 3))
  np.testing.assert_allclose(got, expected, atol=1e-4)


def test_score_at_a_fractional_scale_shaves_its_ceiling():
  a, b = noisy_pair((44, 45, 3))
  expected = oracle(a[:43, :45], b[:43, :45], 2, 2)  # 29 and 30 LR pixels
  np.testing.assert_allclose(metrics.score(a, b, 1.5), expected, atol=1e-4)


def test_score_ignores_what_the_scale_leaves_over():
  a, b = noisy_pair((42, 45, 3))
  whole = metrics.score(a[:40, :44], b[:40, :44], 4)
  assert metrics.score(a[:40, :44], b, 4) == whole
  assert metrics.score(a, b[:42, :44], 4) == whole


@pytest.mark.parametrize(
  'a, b, scale, expected',
  [
    (7, 9, 2, 6),
    (8, 8, 4, 8),
    (101, 99, 3, 99),
    (33, 33, 1.1, 33),
    (100, 100, 1.5, 99),
    (44, 44, 1.5, 43),
    (99, 99, 1.1, 99),
  ],
)
def test_the_common_size_is_what_whole_lr_pixels_cover(a, b, scale, expected):
  assert metrics.common_size(a, b, scale) == expected


def test_shaved_pixels_do_not_count_and_the_next_ones_do():
  a, _ = noisy_pair((36, 36, 3))
  frame = a.copy()
  frame[:2], frame[-2:], frame[:, :2], frame[:, -2:] = 0, 0, 255, 255
  assert metrics.score(frame, a, 2) == (math.inf, pytest.approx(1, abs=1e-6))
  for pixel in ((2, 2), (33, 33)):
    touched = a.copy()
    touched[pixel] = 255 - touched[pixel]
    assert metrics.score(touched, a, 2)[0] < 60


def test_identical_images_score_infinity_and_one():
  a, _ = noisy_pair((30, 30, 1))
  assert metrics.score(a, a, 2) == (math.inf, pytest.approx(1, abs=1e-6))


def test_score_refuses_images_that_do_not_belong_together():
  a = np.zeros((40, 40, 3), np.uint8)
  with pytest.raises(ValueError, match='differ by more than 2 pixels'):
    metrics.score(a, np.zeros((40, 43, 3), np.uint8), 2)
  with pytest.raises(ValueError, match='cannot score'):
    metrics.score(a, np.zeros((40, 40, 1), np.uint8), 2)
  with pytest.raises(ValueError, match='too small'):
    metrics.score(a[:14], a[:14], 2)


@pytest.mark.slow
@pytest.mark.parametrize(
  'scale, expected', [(2, 33.64), (3, 30.39), (4, 28.42)]
)
def test_bicubic_on_set5_scores_the_published_row(data_root, scale, expected):
  rows = []
  for pair in datasets.pairs(data_root, 'Set5', scale):
    with Image.open(pair.hr) as hr, Image.open(pair.lr) as lr:
      sr = resize.imresize(np.asarray(lr), scale)
      rows.append(metrics.score(sr, np.asarray(hr), scale)[0])
  assert np.mean(rows) == pytest.approx(expected, abs=0.01)
