"""The convolution against XLA's own, autodiff and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from jax import lax

from zssr_jax.ops import conv


def reference(x, w):
  return lax.conv_general_dilated(
    x, w, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize('shape', [(1, 8, 12), (2, 13, 6), (1, 1, 3)])
@pytest.mark.parametrize('channels', [(32, 32), (48, 64)])
def test_tiles_are_the_convolution_and_its_gradients(shape, channels):
  keys = jax.random.split(jax.random.key(2), 3)
  x = jax.random.normal(keys[0], (*shape, channels[0]))
  w = jax.random.normal(keys[1], (3, 3, *channels)) / channels[0] ** 0.5
  g = jax.random.normal(keys[2], (*shape, channels[1]))
  out, pull = jax.vjp(jax.jit(conv.tiled), x, w)
  assert np.abs(out - exactly(x, w)).max() < 2e-5
  # The transposes that are written out, and those that autodiff finds.
  for ours, theirs in zip(conv.tiled_gradients(x, w, g), pull(g), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
  # <g, dx * w> = <gradient, dx>, likewise for w, by way of `conv2d`.
  _, pull = jax.vjp(jax.jit(lambda x, w: conv.conv2d(x, w)), x, w)
  x_gradient, w_gradient = pull(g)
  dx = jax.random.normal(keys[0], x.shape)
  dw = jax.random.normal(keys[1], w.shape)
  for gradient, change, step in (
    (x_gradient, exactly(dx, w), dx),
    (w_gradient, exactly(x, dw), dw),
  ):
    np.testing.assert_allclose(
      np.vdot(gradient, step), np.vdot(g, change), rtol=1e-4, atol=1e-2
    )


def exactly(x, w):
  """The convolution, tap by tap in float64."""
  x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  height, width = x.shape[1:3]
  return sum(
    padded[:, i : i + height, j : j + width] @ w[i, j]
    for i in range(3)
    for j in range(3)
  )


def test_only_three_by_three_between_many_channels_is_tiled(monkeypatch):
  called = []

  def spy(name):
    ours = getattr(conv, name)
    monkeypatch.setattr(conv, name, lambda *a: called.append(name) or ours(*a))

  def gradients(x, w):
    return jax.grad(lambda x, w: jnp.sum(conv.conv2d(x, w)), (0, 1))(x, w)

  spy('tiled')
  spy('tiled_gradients')
  for shape, kernel, wanted in (
    ((1, 64, 64, 64), (3, 3, 64, 64), True),
    ((8, 48, 48, 32), (3, 3, 32, 64), True),
    ((16, 48, 48, 32), (3, 3, 32, 64), False),
    ((1, 64, 64, 3), (3, 3, 3, 64), False),
    ((1, 64, 64, 64), (3, 3, 64, 12), False),
    ((1, 64, 64, 64), (5, 5, 64, 64), False),
    ((1, 512, 512, 64), (3, 3, 64, 64), False),
  ):
    called.clear()
    jax.eval_shape(gradients, jnp.zeros(shape), jnp.zeros(kernel))
    assert set(called) == ({'tiled', 'tiled_gradients'} if wanted else set())


def test_a_backend_other_than_the_cpu_gets_its_own_convolution():
  x, w = jnp.zeros((1, 8, 8, 32)), jnp.zeros((3, 3, 32, 32))

  def gradients(x, w):
    return jax.grad(lambda x, w: jnp.sum(conv.conv2d(x, w) ** 2), (0, 1))(x, w)

  exported = jax.export.export(jax.jit(gradients), platforms=['cuda'])(x, w)
  assert exported.mlir_module().count('stablehlo.convolution') == 3
  assert 'stablehlo.dot_general' not in exported.mlir_module()
