"""Kernels of defocus and motion against points thrown at random."""

import math

import numpy as np
import pytest

from zssr_jax import blur_kernels

COUNT = 1_000_000


def disc_points(radius, std, seed=0):
  """Where light from one point lands, (y, x) relative to the centre."""
  rng = np.random.default_rng(seed)
  square = rng.uniform(-radius, radius, (2 * COUNT, 2))
  inside = square[np.hypot(*square.T) <= radius]
  return inside + std * rng.standard_normal(inside.shape)


def line_points(length, angle, std, seed=0):
  rng = np.random.default_rng(seed)
  along = rng.uniform(-length / 2, length / 2, COUNT)
  direction = np.array([math.sin(angle), math.cos(angle)])
  spread = std * rng.standard_normal((COUNT, 2))
  return along[:, None] * direction + spread


def counted(points, side, scale):
  """The share of the points in every pixel of an aligned kernel."""
  edges = np.arange(side + 1) - 0.5
  places = points + (side // 2 + (scale - 1) / 2)
  hits = np.histogram2d(*places.T, bins=(edges, edges))[0]
  return hits / len(points)


def covariance(kernel):
  k = kernel.astype(np.float64)
  y, x = np.mgrid[: k.shape[0], : k.shape[1]]
  y, x = y - (k * y).sum(), x - (k * x).sum()
  return np.array([(k * y * y).sum(), (k * y * x).sum(), (k * x * x).sum()])


def assert_counted(kernel, points, scale):
  share = counted(points, len(kernel), scale)
  # Less than 1e-4 was cut off and the rest divided by what remained.
  noise = 5 * np.sqrt(np.maximum(share, 1e-6) / len(points))
  assert np.all(np.abs(kernel - share) < 1e-4 + noise)
  assert share.sum() > 1 - 3e-4


@pytest.mark.parametrize(
  'radius, std, scale',
  [(1.5, 0.3, 2), (4, 0.7, 2), (3, 0.5, 3), (0, 0.8, 2), (2.5, 0, 1)],
)
def test_a_disc_kernel_is_where_points_of_a_disc_land(radius, std, scale):
  kernel = blur_kernels.disc_kernel(radius, std, scale)
  assert_counted(kernel, disc_points(max(radius, 1 / 16), std), scale)


@pytest.mark.parametrize(
  'length, angle, std, scale',
  [(4, 0, 0.3, 2), (14, 0.7, 0.7, 2), (9, 2.5, 0.5, 3), (0, 1, 0.8, 4)],
)
def test_a_line_kernel_is_where_points_of_a_line_land(
  length, angle, std, scale
):
  kernel = blur_kernels.line_kernel(length, angle, std, scale)
  assert_counted(kernel, line_points(length, angle, std), scale)


def test_a_line_turns_from_the_x_axis_towards_growing_y():
  kernel = blur_kernels.line_kernel(9, math.radians(30), 0.3, 1)
  assert blur_kernels.kernel_width(kernel)[2] == pytest.approx(30, abs=0.3)
  row = blur_kernels.line_kernel(9, 0, 0, 1)
  np.testing.assert_allclose(row[row.shape[0] // 2], 1 / 9, atol=1e-3)


@pytest.mark.parametrize('scale', [1, 1.5, 2, 2.7, 3, 4, (2, 2), (2, 3)])
def test_neither_shifts_anything(scale):
  for kernel in (
    blur_kernels.disc_kernel(2.2, 0.4, scale),
    blur_kernels.disc_kernel(0, 0, scale),
    blur_kernels.line_kernel(7.3, 0.4, 0.4, scale),
    blur_kernels.line_kernel(0, 0, 0, scale),
  ):
    assert kernel.dtype == np.float32 and kernel.min() >= 0
    assert kernel.shape[0] == kernel.shape[1] and len(kernel) % 2 == 1
    assert kernel.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(
      blur_kernels.center_of_mass(kernel),
      blur_kernels.aligned_center(kernel.shape, scale),
      atol=1e-5,
    )


@pytest.mark.parametrize('scale', [1.5, 2.5, 4])
def test_between_whole_scales_the_width_stays(scale):
  radius, length, angle, std = 3.0, 11.0, 0.6, 0.8
  disc = blur_kernels.disc_kernel(radius, std, scale)
  # A pixel is a box of variance 1/12; sharing between taps adds to it.
  variance = radius**2 / 4 + std**2 + 1 / 12
  np.testing.assert_allclose(
    covariance(disc), [variance, 0, variance], atol=0.1
  )
  line = blur_kernels.line_kernel(length, angle, std, scale)
  y, x = math.sin(angle), math.cos(angle)
  expected = length**2 / 12 * np.array([y * y, y * x, x * x])
  expected += (std**2 + 1 / 12) * np.array([1, 0, 1])
  np.testing.assert_allclose(covariance(line), expected, atol=0.1)


def test_a_kernel_is_no_larger_than_it_has_to_be():
  # A row or column at either end holds more than the permitted 1e-4.
  for scale in (1, 3):
    for kernel in (
      blur_kernels.disc_kernel(3.2, 0.5, scale),
      blur_kernels.line_kernel(12, 0.3, 0.5, scale),
    ):
      lag = (scale - 1) // 2  # the lower edge is that much further away
      inner = kernel[2 * lag + 1 : -1, 2 * lag + 1 : -1]
      assert 1 - inner.sum(dtype=np.float64) > 1e-4
