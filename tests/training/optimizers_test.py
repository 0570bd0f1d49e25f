"""Muon's directions, against a singular value decomposition."""

import pathlib

import jax
import numpy as np
import optax
import pytest
from PIL import Image

from zssr_jax import Config, train_image
from zssr_jax.training import optimizers

EXAMPLE = pathlib.Path(__file__).parents[2] / 'examples' / 'astronaut_lr.png'


def first_direction(gradient):
  """What Muon makes of the first gradient of a tree of weights."""
  muon = optimizers.scale_by_muon()
  with jax.numpy_dtype_promotion('standard'):  # as the step calls it
    direction, _ = muon.update(gradient, muon.init(gradient), gradient)
  return jax.tree.map(np.asarray, direction)


@pytest.mark.parametrize(
  'shape', [(3, 3, 16, 8), (3, 3, 3, 64), (5, 5, 2, 3), (4, 4, 6, 3)]
)
def test_a_kernel_follows_all_singular_directions_alike(shape):
  rng = np.random.default_rng(0)
  gradient = rng.normal(size=shape).astype(np.float32)
  direction = first_direction({'kernel': gradient})['kernel']
  wide = gradient.reshape(-1, shape[-1])
  left, _, right = np.linalg.svd(wide, full_matrices=False)
  unit = 0.2 * np.sqrt(max(wide.shape))
  # In the basis of the gradient it is diagonal, and its entries are one number:
  # within what Muon's five iterations leave.
  inner = left.T @ direction.reshape(wide.shape) @ right.T / unit
  strengths = np.diag(inner)
  np.testing.assert_allclose(inner, np.diag(strengths), atol=2e-3)
  assert 0.6 < strengths.min() and strengths.max() < 1.3


def test_the_size_of_a_gradient_does_not_matter():
  gradient = np.random.default_rng(1).normal(size=(3, 3, 8, 8))
  gradient = gradient.astype(np.float32)
  one, thousandth = (
    first_direction({'kernel': factor * gradient})['kernel']
    for factor in (np.float32(1), np.float32(1e-3))
  )
  np.testing.assert_allclose(one, thousandth, rtol=1e-2, atol=1e-3)


def test_what_is_no_kernel_goes_by_adam():
  tree = {
    'bias': np.array([0.5, -2.0, 0.0], np.float32),
    'kernel': np.ones((3, 3, 2, 2), np.float32),
  }
  adam = optax.scale_by_adam(nesterov=True)
  with jax.numpy_dtype_promotion('standard'):
    expected, _ = adam.update(tree, adam.init(tree))
  direction = first_direction(tree)
  np.testing.assert_allclose(direction['bias'], expected['bias'], rtol=1e-6)
  assert not np.allclose(direction['kernel'], expected['kernel'])


def test_an_image_is_learnt_in_fewer_steps_than_by_adam():
  photo = np.asarray(Image.open(EXAMPLE).convert('RGB'), np.float32) / 255
  config = Config(
    model='pixel_shuffle',
    depth=6,
    width=32,
    crop=64,
    copies=1,
    schedule='cosine',
    max_steps=80,
    warmup=10,
  )
  error = {
    name: train_image(
      photo[:96, :96],
      2,
      config=config.replace(optimizer=name, learning_rate=rate),
    ).history.error[-1]
    for name, rate in (('adam', 3e-3), ('muon', 5e-3))
  }
  assert error['muon'] < 0.95 * error['adam']
