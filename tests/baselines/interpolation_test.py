"""The interpolations against the published table and plain pixels."""

import numpy as np
import pytest

from zssr_jax.baselines import interpolation
from zssr_jax.data import datasets, image_io
from zssr_jax.ops import metrics


@pytest.mark.slow
@pytest.mark.parametrize('scale, published', [(2, 33.64), (3, 30.39)])
def test_bicubic_scores_what_was_published_on_set5(data_root, scale, published):
  scores = []
  for pair in datasets.pairs(data_root, 'Set5', scale):
    sr = interpolation.bicubic(image_io.read_image(pair.lr), scale)
    scores.append(metrics.score(sr, image_io.read_image(pair.hr), scale)[0])
  assert np.mean(scores) == pytest.approx(published, abs=0.01)


def test_nearest_repeats_pixels():
  lr = (np.arange(12).reshape(3, 4, 1) / 255).astype(np.float32)
  sr = interpolation.nearest(lr, 3)
  np.testing.assert_array_equal(sr, lr.repeat(3, 0).repeat(3, 1))


def test_bilinear_is_a_straight_line_between_pixel_centres():
  lr = (np.array([[0, 100, 200]]) / 255).astype(np.float32)[..., None]
  sr = interpolation.bilinear(lr, (1, 2))
  expected = [0, 25, 75, 125, 175, 200]
  np.testing.assert_allclose(255 * sr[0, :, 0], expected, atol=1e-4)
  assert sr.dtype == np.float32
