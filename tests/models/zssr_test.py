"""The networks: size, shape, residual, channel order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zssr_jax import registry
from zssr_jax.ops import resize


def pair(scale, channels=3, size=(12, 18)):
  lr = jax.random.uniform(jax.random.key(0), (1, *size, channels))
  return lr, resize.imresize(lr[0], scale)[None]


def count(params):
  return sum(p.size for p in jax.tree.leaves(params))


def test_the_published_network_has_its_published_number_of_weights():
  lr, interpolated = pair(2)
  model = registry.NETWORKS['zssr'].make(scale=(2.0, 2.0))
  assert count(model.init(jax.random.key(0), lr, interpolated)) == 224_640


@pytest.mark.slow
@pytest.mark.parametrize('name', registry.MODELS)
@pytest.mark.parametrize('scale', [(3, 3), (1.5, 2), (1, 2)])
@pytest.mark.parametrize('channels', [1, 4])
def test_every_network_returns_the_shape_of_the_interpolated_image(
  name, scale, channels
):
  lr, interpolated = pair(scale, channels)
  model = registry.NETWORKS[name].make(scale=scale, depth=2, width=4)
  out, _ = model.init_with_output(jax.random.key(0), lr, interpolated)
  assert (
    out.shape
    == interpolated.shape
    == (
      1,
      12 * scale[0],
      18 * scale[1],
      channels,
    )
  )


@pytest.mark.parametrize('name', registry.MODELS)
def test_without_weights_a_network_returns_the_interpolated_image(name):
  lr, interpolated = pair(2)
  model = registry.NETWORKS[name].make(scale=(2.0, 2.0), depth=3, width=4)
  params = model.init(jax.random.key(0), lr, interpolated)
  params = jax.tree.map(jnp.zeros_like, params)
  np.testing.assert_array_equal(
    model.apply(params, lr, interpolated), interpolated
  )


def test_the_gain_sets_the_variance_of_the_weights():
  lr, interpolated = pair(2)
  model = registry.NETWORKS['zssr'].make(scale=(2.0, 2.0), gain=0.5)
  params = model.init(jax.random.key(0), lr, interpolated)['params']['Body_0']
  hidden = params['Conv_3']['kernel']
  assert np.isclose(float(hidden.var()) * 9 * 64, 0.5, rtol=0.05)
  last = params['Conv_7']['kernel']
  assert np.isclose(float(last.var()) * 9 * 64, 0.1, rtol=0.1)


def test_an_unknown_model_is_refused_by_name():
  with pytest.raises(ValueError, match='unet'):
    registry.NETWORKS['unet'].make(scale=(2.0, 2.0))
