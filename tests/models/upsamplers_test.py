"""Upsampling at the end: against loops, and without checkerboards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zssr_jax import registry
from zssr_jax.models import upsamplers
from zssr_jax.ops import resize

NAMES = ['pixel_shuffle', 'transposed']


def test_pixel_shuffle_puts_channels_where_a_loop_puts_them():
  x = np.random.default_rng(0).normal(size=(2, 3, 4, 2 * 3 * 5))
  expected = np.zeros((2, 6, 12, 5))
  for n, i, j, y, x_ in np.ndindex(2, 3, 4, 2, 3):
    first = (y * 3 + x_) * 5
    expected[n, 2 * i + y, 3 * j + x_] = x[n, i, j, first : first + 5]
  np.testing.assert_array_equal(
    upsamplers.depth_to_space(jnp.asarray(x, jnp.float32), 2, 3),
    expected.astype(np.float32),
  )


@pytest.mark.parametrize('stride', [(2, 2), (3, 3), (4, 4), (1, 2), (4, 3)])
def test_a_transposed_convolution_scatters_as_a_loop_does(stride):
  random = np.random.default_rng(0)
  x = random.normal(size=(1, 4, 5, 3)).astype(np.float32)
  model = upsamplers.TransposedConv(2, stride)
  out, variables = model.init_with_output(jax.random.key(0), jnp.asarray(x))
  weights = np.asarray(variables['params']['kernel'])
  weights = random.normal(size=weights.shape).astype(np.float32)
  variables = {'params': {'kernel': jnp.asarray(weights)}}
  out = np.asarray(model.apply(variables, jnp.asarray(x)))
  expected = np.zeros(out.shape)
  p = [int(np.ceil((s - 1) / 2)) for s in stride]
  for i, j, a, b in np.ndindex(4, 5, *weights.shape[:2]):
    row, column = stride[0] * i - p[0] + a, stride[1] * j - p[1] + b
    if 0 <= row < out.shape[1] and 0 <= column < out.shape[2]:
      expected[0, row, column] += x[0, i, j] @ weights[a, b]
  assert out.shape == (1, 4 * stride[0], 5 * stride[1], 2)
  np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('scale', [(2.0, 2.0), (3.0, 3.0), (4.0, 4.0)])
def test_a_new_network_leaves_no_checkerboard_on_a_flat_image(name, scale):
  lr = jnp.full((1, 24, 24, 3), 0.4) + jnp.arange(3.0).reshape(1, 1, 1, 3) / 10
  flat = resize.imresize(lr[0], scale)[None]
  model = registry.NETWORKS[name].make(scale=scale, width=16)
  out, _ = model.init_with_output(jax.random.key(1), lr, flat)
  # Away from the zero padding of the eight layers.
  margin = [8 * int(s) for s in scale]
  inside = np.asarray(out - flat)[
    :, margin[0] : -margin[0], margin[1] : -margin[1]
  ]
  assert np.abs(inside).max() > 1e-3  # there is a residual at all
  assert np.ptp(inside, (1, 2)).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_the_sub_pixels_can_learn_to_differ(name):
  lr = jax.random.uniform(jax.random.key(0), (1, 12, 12, 1))
  up = resize.imresize(lr[0], 2)[None]
  model = registry.NETWORKS[name].make(scale=(2.0, 2.0), depth=3, width=8)
  params = model.init(jax.random.key(1), lr, up)
  target = jax.random.uniform(jax.random.key(2), up.shape)

  def loss(params):
    return jnp.mean(jnp.abs(model.apply(params, lr, up) - target))

  gradient = jax.grad(loss)(params)['params']
  if name == 'pixel_shuffle':
    last = gradient['Body_0']['Conv_2']['kernel']
    apart = last - last[..., :1]
  else:
    last = gradient['TransposedConv_0']['kernel']
    apart = last - last[:1, :1]
  assert np.abs(apart).max() > 1e-6
