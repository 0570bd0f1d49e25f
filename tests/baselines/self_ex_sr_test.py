"""SelfExSR against loops over pixels, and on images that resemble themselves.

Most tests run fewer iterations than the method: they compile in seconds.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zssr_jax.baselines import interpolation, self_ex_sr
from zssr_jax.degradation import Degradation
from zssr_jax.ops import resize


def make_rings(side, scale):
  """Rings of several widths, sharp at every size: LR and HR `[h, w, 1]`."""
  fine = 4
  n = side * scale * fine
  y, x = np.mgrid[:n, :n] / n
  radius = np.hypot(y - 0.1, x - 0.2)
  rings = (np.sin(12 * math.pi * np.sqrt(radius)) > 0).astype(np.float32)
  rings = 0.1 + 0.8 * rings[..., None]
  hr = rings.reshape(n // fine, fine, n // fine, fine, 1).mean((1, 3))
  return np.clip(resize.imresize(hr, 1 / scale), 0, 1), hr


def error(sr, hr):
  inner = (slice(4, -4), slice(4, -4))
  return float(np.mean((sr - hr)[inner] ** 2))


@pytest.fixture(scope='module')
def rings():
  lr, hr = make_rings(40, 2)
  return lr, hr, self_ex_sr.upscale(lr, 2)


@pytest.mark.slow
def test_edges_come_out_sharper_than_bicubic(rings):
  lr, hr, sr = rings
  gain = 10 * np.log10(error(interpolation.bicubic(lr, 2), hr) / error(sr, hr))
  assert gain > 4.0  # dB; back-projection alone: 1.0
  assert sr.dtype == np.float32
  assert sr.min() >= 0 and sr.max() <= 1


@pytest.mark.slow
def test_the_result_explains_the_input(rings):
  lr, _, sr = rings
  # Interpolation alone is up to 26 grey levels off.
  np.testing.assert_allclose(resize.imresize(sr, 0.5), lr, atol=0.002)


@pytest.mark.slow
def test_it_is_deterministic(rings):
  lr, _, sr = rings
  np.testing.assert_array_equal(self_ex_sr.upscale(lr, 2), sr)


@pytest.mark.slow
def test_colours_are_interpolated_and_grey_is_luma(rings):
  lr, _, sr = rings
  grey = self_ex_sr.upscale(lr.repeat(3, 2), 2)
  np.testing.assert_allclose(grey, sr.repeat(3, 2), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('scale', [3, 1.5, (1, 2)])
@pytest.mark.parametrize('channels', [1, 3])
def test_shapes(monkeypatch, scale, channels):
  monkeypatch.setattr(self_ex_sr, '_ITERATIONS', 1)
  monkeypatch.setattr(self_ex_sr, '_STEP', 1.7)  # fewer to compile
  lr = np.random.default_rng(0).random((11, 14, channels), np.float32)
  sr = self_ex_sr.upscale(lr, scale)
  assert sr.shape == (*resize.scaled_shape(lr.shape, scale), channels)
  assert np.isfinite(sr).all()
  assert sr.min() >= 0 and sr.max() <= 1


@pytest.mark.parametrize('shape', [(1, 1, 3), (2, 30, 1), (7, 7, 3)])
def test_tiny_images_are_interpolated(shape):
  lr = np.random.default_rng(0).random(shape, np.float32)
  np.testing.assert_array_equal(
    self_ex_sr.upscale(lr, 2), interpolation.bicubic(lr, 2)
  )


@pytest.mark.slow
def test_scale_one_and_flat_images_stay_as_they_are():
  lr = np.full((9, 9, 3), 51 / 255, np.float32)
  np.testing.assert_allclose(self_ex_sr.upscale(lr, 1), lr, atol=1e-6)
  np.testing.assert_allclose(
    self_ex_sr.upscale(lr, 2), lr.repeat(2, 0).repeat(2, 1), atol=1e-5
  )


@pytest.mark.slow
def test_a_kernel_is_undone(monkeypatch):
  monkeypatch.setattr(self_ex_sr, '_ITERATIONS', 1)
  monkeypatch.setattr(self_ex_sr, '_STEP', 1.7)  # fewer to compile
  _, hr = make_rings(20, 2)
  box = np.full((4, 4), 1 / 16, np.float32)  # aligned at scale 2
  padded = np.pad(hr, ((2, 1), (2, 1), (0, 0)), mode='symmetric')
  lr = np.zeros((20, 20, 1), np.float32)
  for u in range(4):
    for v in range(4):
      lr += padded[u : u + 40 : 2, v : v + 40 : 2] / 16
  right = error(self_ex_sr.super_resolve(lr, Degradation(2, box)), hr)
  wrong = error(self_ex_sr.upscale(lr, 2), hr)
  assert right < 0.8 * wrong


def test_bad_arguments():
  with pytest.raises(ValueError, match='scale'):
    self_ex_sr.upscale(np.zeros((9, 9, 1)), 0.5)
  with pytest.raises(ValueError, match=r'\[h, w, C\]'):
    self_ex_sr.upscale(np.zeros((9, 9)), 2)


class Small:
  """A search small enough for loops over pixels."""

  def __init__(self):
    rng = np.random.default_rng(1)
    self.window = self_ex_sr.make_window(3, 1.0)
    self.offsets = [(y - 1, x - 1) for y, x in np.ndindex(3, 3)]
    self.luma = rng.random((12, 10, 1)).astype(np.float32)
    self.blurry, self.sharp, self.levels = self_ex_sr.make_source(
      self.luma, Degradation(1.5)
    )
    self.target = rng.random((6, 7)).astype(np.float32)
    shape = self.target.shape
    self.field = self_ex_sr.Field(
      np.zeros(shape, np.int32),
      *(rng.random((2, *shape)) * [[[11]], [[9]]]).astype(np.float32),
      *(rng.uniform(-0.3, 0.3, (3, *shape)) * [[[2]], [[0.2]], [[0.1]]]).astype(
        np.float32
      ),
    )

  @staticmethod
  def weight(y, x):
    return math.exp(-(y * y + x * x) / 2) / (1 + 2 * math.exp(-0.5)) ** 2

  def matrix(self, i, j):
    angle, size, shear = (
      float(part[i, j])
      for part in (self.field.angle, self.field.scale, self.field.shear)
    )
    turn = [[math.cos(angle), math.sin(angle)]]
    turn += [[-math.sin(angle), math.cos(angle)]]
    return math.exp(size) * np.array(turn) @ [[1, shear], [0, 1]]

  def sample(self, flat, i, j, offset):
    """The match of a patch's pixel in the whole input, nearest sample."""
    level, margin = self.levels[0], self_ex_sr._margin()
    fine = self_ex_sr._FINE
    image = np.asarray(flat)[
      : fine**2 * math.prod(n + 2 * margin for n in (level.rows, level.columns))
    ].reshape(fine * (level.rows + 2 * margin), -1)
    at = self.matrix(i, j) @ np.array(offset, float)
    at += self.field.y[i, j], self.field.x[i, j]
    y, x = np.floor(fine * (at + 0.5 + margin)).astype(int)
    return image[y, x]


@pytest.fixture(scope='module')
def small():
  return Small()


def test_comparison_against_loops(small):
  cost, bias = self_ex_sr.compare(
    jnp.asarray(small.target),
    small.blurry,
    jax.tree.map(jnp.asarray, small.field),
    levels=small.levels,
    window=small.window,
  )
  padded = np.pad(small.target, 1, mode='edge')
  for i, j in np.ndindex(small.target.shape):
    differences = np.array(
      [
        padded[i + 1 + y, j + 1 + x] - small.sample(small.blurry, i, j, (y, x))
        for y, x in small.offsets
      ]
    )
    weights = np.array([small.weight(*offset) for offset in small.offsets])
    mean = np.clip((weights * differences).sum(), -0.25, 0.25)
    np.testing.assert_allclose(bias[i, j], mean, atol=1e-5)
    np.testing.assert_allclose(
      cost[i, j], (weights * (differences - mean) ** 2).sum(), atol=1e-5
    )


def test_votes_against_loops(small):
  rng = np.random.default_rng(2)
  shape = small.target.shape
  cost = (rng.random(shape) * self_ex_sr._SOFTNESS).astype(np.float32)
  bias = rng.uniform(-0.2, 0.2, shape).astype(np.float32)
  out = self_ex_sr.vote(
    jnp.asarray(small.target),
    small.sharp,
    jax.tree.map(jnp.asarray, small.field),
    jnp.asarray(cost),
    jnp.asarray(bias),
    levels=small.levels,
    window=small.window,
  )
  weights = np.full(shape, self_ex_sr._DOUBT)
  total = weights * small.target
  for i, j in np.ndindex(shape):
    trust = math.exp(-cost[i, j] / self_ex_sr._SOFTNESS)
    for y, x in small.offsets:
      if 0 <= i + y < shape[0] and 0 <= j + x < shape[1]:
        value = small.sample(small.sharp, i, j, (y, x)) + bias[i, j]
        weight = small.weight(y, x)
        total[i + y, j + x] += weight * trust * value
        weights[i + y, j + x] += weight * trust
  np.testing.assert_allclose(out, total / weights, atol=1e-5)


@pytest.mark.slow
def test_the_search_finds_nearly_the_best(monkeypatch):
  # Without the affine map the best match at whole pixels is easy to find.
  monkeypatch.setattr(self_ex_sr, '_VERSIONS', 1)
  luma = np.random.default_rng(3).random((16, 16, 1)).astype(np.float32)
  blurry, _, levels = self_ex_sr.make_source(luma, Degradation(2))
  target = resize.imresize(luma, 2)[..., 0]
  window = self_ex_sr.make_window(5, 3.0)
  _, cost, _ = self_ex_sr.search(
    jnp.asarray(target),
    blurry,
    self_ex_sr.same_place(target.shape, levels),
    jax.random.key(0),
    levels=levels,
    window=window,
    iterations=6,
  )
  best = np.full(target.shape, np.inf)
  zero = jnp.zeros(target.shape, jnp.float32)
  compare = jax.jit(self_ex_sr.compare, static_argnames=('levels', 'window'))
  for y, x in np.ndindex(16, 16):
    field = self_ex_sr.Field(
      zero.astype(jnp.int32), zero + float(y), zero + float(x), zero, zero, zero
    )
    its_cost, _ = compare(
      jnp.asarray(target), blurry, field, levels=levels, window=window
    )
    best = np.minimum(best, its_cost)
  # Between the pixels, and turned, there are better ones.
  assert np.mean(np.asarray(cost) < 1.1 * best) > 0.7
  assert np.mean(cost) < np.mean(best)
