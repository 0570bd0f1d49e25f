"""The comparison picture."""

import numpy as np
import pytest

from zssr_jax.report import side_by_side

rng = np.random.default_rng(0)


def test_detail_is_the_square_of_largest_difference():
  a = rng.random((40, 56, 3))
  b = a.copy()
  b[17:27, 30:40] += 0.5
  assert side_by_side.find_detail(a, b) == (17, 30, 10)
  b[30:33, 2:5] += 9
  assert side_by_side.find_detail(a, b, side=3) == (30, 2, 3)


@pytest.mark.parametrize('shape', [(1, 1, 1), (3, 9, 3), (40, 56, 3)])
def test_equal_images_have_a_detail_inside(shape):
  image = rng.random(shape)
  top, left, side = side_by_side.find_detail(image, image)
  assert side >= 1
  assert top + side <= shape[0]
  assert left + side <= shape[1]


@pytest.mark.parametrize('shape', [(1, 1, 1), (30, 20, 1), (40, 900, 3)])
def test_panels_stand_side_by_side_with_their_details(shape):
  grey = [np.full(shape, v) for v in (0.2, 0.4, 0.6)]
  picture = side_by_side.side_by_side(
    [('a', grey[0]), ('b', grey[1]), ('c', grey[2])], (0, 0, 1)
  )
  thirds = np.array_split(picture, 3, axis=1)
  for value, third in zip((0.2, 0.4, 0.6), thirds, strict=True):
    bottom = third[-40, third.shape[1] // 2]  # within the enlarged detail
    np.testing.assert_allclose(bottom, value, atol=0.003)
  assert picture.min() >= 0
  assert picture.max() <= 1
