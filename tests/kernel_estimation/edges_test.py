"""Tests of zssr_jax.kernel_estimation.edges."""

import math

import numpy as np
import pytest
from scipy import ndimage

from zssr_jax.kernel_estimation import edges


def squares(sides=(96, 120)):
  """A picture of squares, with an edge at every twelfth pixel."""
  y, x = np.mgrid[: sides[0], : sides[1]]
  grey = 0.2 + 0.6 * ((y // 12 + x // 12) % 2)
  return np.repeat(grey[..., None], 3, 2).astype(np.float32)


def test_a_step_within_a_pixel_is_as_steep_as_can_be():
  assert edges.steepness(squares()) == pytest.approx(1.0)


@pytest.mark.parametrize('std', [0.8, 1.2])
def test_of_a_blurred_step_it_is_what_a_pixel_holds_of_the_gaussian(std):
  # Of a step between two pixels the share that falls between them.
  within = math.erf(0.5 / std / math.sqrt(2))
  blurred = ndimage.gaussian_filter(squares(), (std, std, 0))
  assert edges.steepness(blurred) == pytest.approx(within, abs=0.06)


def test_motion_along_one_axis_shows():
  moved = ndimage.uniform_filter1d(squares(), 5, axis=1)
  assert edges.steepness(moved) < 0.3


def test_without_edges_nothing_is_known():
  assert math.isnan(edges.steepness(np.full((40, 40, 3), 0.5, np.float32)))
  faint = 0.5 + 0.1 * (squares() - 0.5)
  assert math.isnan(edges.steepness(faint))


def test_faint_noise_changes_little():
  noise = np.random.default_rng(0).normal(0, 2 / 255, squares().shape)
  blurred = ndimage.gaussian_filter(squares(), (1.2, 1.2, 0))
  before, after = edges.steepness(blurred), edges.steepness(blurred + noise)
  assert after == pytest.approx(before, abs=0.06)
