"""BlindSR finds the blur itself and undoes it."""

import numpy as np
import pytest

from zssr_jax import blur_kernels
from zssr_jax.baselines import blind_sr, interpolation, self_ex_sr
from zssr_jax.degradation import Degradation
from zssr_jax.evaluation import protocols
from zssr_jax.ops import resize


def make_scene(side):
  """Discs of many sizes and greys on each other, uint8 `[side, side, 1]`."""
  rng = np.random.default_rng(5)
  y, x = np.mgrid[:side, :side]
  image = np.full((side, side), 0.5)
  for _ in range(400):
    radius = side / 4 * rng.uniform(0.05, 1) ** 2
    center = rng.uniform(0, side, 2)
    inside = np.hypot(y - center[0], x - center[1]) - radius
    share = np.clip(0.5 - inside, 0, 1)
    image += share * (rng.uniform(0.05, 0.95) - image)
  return (255 * image[..., None] + 0.5).astype(np.uint8)


@pytest.fixture(scope='module')
def scene(tmp_path_factory):
  hr = make_scene(160)
  kernel = blur_kernels.gaussian_kernel((2.5, 1.2), 0.6, 2)
  lr = protocols._blur(hr, Degradation(2, kernel))
  lr = lr.astype(np.float32) / 255
  return lr, hr / 255, kernel


def error(sr, hr):
  inner = (slice(6, -6), slice(6, -6))
  return float(np.mean((sr - hr)[inner] ** 2))


@pytest.mark.slow
def test_the_blur_is_undone(monkeypatch, scene):
  monkeypatch.setattr(self_ex_sr, '_ITERATIONS', 2)
  lr, hr, kernel = scene
  sr = blind_sr.upscale(lr, 2)
  gain = 10 * np.log10(error(interpolation.bicubic(lr, 2), hr) / error(sr, hr))
  assert gain > 3.0  # dB; with bicubic's kernel: 1.1
  assert sr.dtype == np.float32
  assert sr.min() >= 0 and sr.max() <= 1


@pytest.mark.slow
def test_the_kernel_is_close_to_the_true_one(scene):
  lr, _, kernel = scene
  found = blind_sr.estimate(lr, 2)
  assert blur_kernels.kernel_correlation(found, kernel, 2) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize(
  ('shape', 'scale'),
  [((12, 15, 3), 2), ((12, 9, 1), 3), ((70, 66, 1), 1.5), ((5, 1, 3), 2)],
)
def test_without_an_estimate_the_kernel_is_bicubic(monkeypatch, shape, scale):
  monkeypatch.setattr(self_ex_sr, '_ITERATIONS', 1)
  monkeypatch.setattr(self_ex_sr, '_STEP', 1.7)  # fewer to compile
  lr = np.random.default_rng(0).random(shape, np.float32)
  assert blind_sr.estimate(lr, scale) is None
  sr = blind_sr.upscale(lr, scale)
  assert sr.shape == (*resize.scaled_shape(shape, scale), shape[2])
  np.testing.assert_array_equal(sr, self_ex_sr.upscale(lr, scale))
