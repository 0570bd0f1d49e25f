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
