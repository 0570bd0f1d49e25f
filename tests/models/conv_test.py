"""The convolution against XLA's own, autodiff and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from jax import lax

from zssr_jax.models import conv


def reference(x, w):
  return lax.conv_general_dilated(
    x, w, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )


@pytest.mark.parametrize('channels', [(3, 8), (8, 8), (8, 3), (8, 12)])
@pytest.mark.parametrize(('shape', 'side'), [((1, 12, 9), 3), ((2, 7, 10), 5)])
def test_both_gradients_equal_autodiff(channels, shape, side):
  keys = jax.random.split(jax.random.key(0), 3)
  x = jax.random.normal(keys[0], (*shape, channels[0]))
  w = jax.random.normal(keys[1], (side, side, *channels))
  g = jax.random.normal(keys[2], (*shape, channels[1]))
  out, pull = jax.vjp(jax.jit(conv.conv2d), x, w)
  expected, expected_pull = jax.vjp(reference, x, w)
  np.testing.assert_allclose(out, expected, atol=1e-4)
  for ours, theirs in zip(pull(g), expected_pull(g), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_gradients_inside_a_loop_equal_those_outside():
  keys = jax.random.split(jax.random.key(1), 2)
  x = jax.random.normal(keys[0], (1, 10, 10, 6))
  w = jax.random.normal(keys[1], (3, 3, 6, 4))

  def gradient(w):
    return jax.grad(lambda w: jnp.sum(conv.conv2d(x, w) ** 2))(w)

  @jax.jit
  def looped(w):
    return lax.scan(lambda c, _: (c, gradient(c)), w, length=2)[1]

  np.testing.assert_allclose(looped(w)[1], gradient(w), rtol=1e-4, atol=1e-3)


def test_the_convolution_is_a_correlation_with_zero_padding():
  rng = np.random.default_rng(0)
  x, w = rng.normal(size=(6, 7)), rng.normal(size=(3, 3))
  ours = conv.conv2d(
    jnp.asarray(x[None, :, :, None], jnp.float32),
    jnp.asarray(w[:, :, None, None], jnp.float32),
  )
  theirs = scipy.signal.correlate2d(x, w, mode='same')
  np.testing.assert_allclose(ours[0, :, :, 0], theirs, atol=1e-5)


@pytest.mark.parametrize('shape', [(1, 40, 44), (2, 63, 45), (1, 72, 70)])
@pytest.mark.parametrize('channels', [(64, 64), (48, 64)])
def test_products_that_cores_share_are_the_convolution(
  monkeypatch, shape, channels
):
  monkeypatch.setattr(conv, 'cores', lambda: 2 * jax.local_device_count())
  called = []
  ours = conv._shared
  monkeypatch.setattr(conv, '_shared', lambda *a: called.append(1) or ours(*a))
  keys = jax.random.split(jax.random.key(2), 3)
  x = jax.random.normal(keys[0], (*shape, channels[0]))
  w = jax.random.normal(keys[1], (3, 3, *channels))
  g = jax.random.normal(keys[2], (*shape, channels[1]))
  out, pull = jax.vjp(jax.jit(lambda x, w: conv.conv2d(x, w)), x, w)
  expected, expected_pull = jax.vjp(reference, x, w)
  np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-3)
  for mine, theirs in zip(pull(g), expected_pull(g), strict=True):
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-2)
  assert len(called) >= 2  # forward and backward


def test_only_small_maps_of_many_channels_are_shared(monkeypatch):
  monkeypatch.setattr(conv, 'cores', lambda: 2 * jax.local_device_count())
  called = []
  ours = conv._shared
  monkeypatch.setattr(conv, '_shared', lambda *a: called.append(1) or ours(*a))
  for side, channels in ((64, 64), (128, 64), (24, 64), (64, 12)):
    called.clear()
    x = jnp.zeros((1, side, side, 64))
    jax.jit(conv._convolve).lower(x, jnp.zeros((3, 3, 64, channels)))
    assert bool(called) == ((side, channels) == (64, 64))
