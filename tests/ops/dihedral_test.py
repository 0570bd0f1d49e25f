"""The eight symmetries against explicit NumPy pictures of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zssr_jax.ops import dihedral

# Transform k, as flips and transposes rather than rotations.
EXPECTED = [
  lambda x: x,
  lambda x: x.swapaxes(0, 1)[::-1],
  lambda x: x[::-1, ::-1],
  lambda x: x.swapaxes(0, 1)[:, ::-1],
  lambda x: x[:, ::-1],
  lambda x: x.swapaxes(0, 1),
  lambda x: x[::-1],
  lambda x: x.swapaxes(0, 1)[::-1, ::-1],
]


def picture(*shape):
  return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize('xp', [np, jnp])
@pytest.mark.parametrize('k', range(8))
def test_each_transform_is_a_mirror_then_a_rotation(k, xp):
  image = picture(4, 6, 2)
  made = dihedral.dihedral(xp.asarray(image), k)
  assert isinstance(made, np.ndarray if xp is np else jax.Array)
  np.testing.assert_array_equal(made, EXPECTED[k](image))
  mirrored = np.flip(image, 1) if k >= 4 else image
  np.testing.assert_array_equal(made, np.rot90(mirrored, k % 4))


@pytest.mark.parametrize('xp', [np, jnp])
@pytest.mark.parametrize('k', range(8))
def test_undoing_a_transform_gives_the_image_back(k, xp):
  image = picture(3, 5, 1)
  made = dihedral.undo_dihedral(dihedral.dihedral(xp.asarray(image), k), k)
  np.testing.assert_array_equal(made, image)


def test_there_are_eight_different_transforms():
  image = picture(3, 3, 1)
  made = {dihedral.dihedral(image, k).tobytes() for k in range(dihedral.COUNT)}
  assert len(made) == dihedral.COUNT == 8


@pytest.mark.parametrize('k', range(8))
def test_a_traced_transform_equals_the_static_one(k):
  image = picture(5, 5, 3)
  made = jax.jit(dihedral.random_dihedral)(image, jnp.int32(k))
  np.testing.assert_array_equal(made, EXPECTED[k](image))


def test_a_traced_transform_needs_a_square():
  with pytest.raises(ValueError, match='square'):
    dihedral.random_dihedral(jnp.zeros((3, 4, 1)), jnp.int32(0))
