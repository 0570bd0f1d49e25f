"""The laws that every degradation keeps, whatever it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zssr_jax import blur_kernels
from zssr_jax.degradation import Degradation
from zssr_jax.evaluation import protocols
from zssr_jax.ops import dihedral
from zssr_jax.training import joint_kernel, kernel_source

pytestmark = pytest.mark.slow  # a compilation for every law and degradation


def disc(radius, size, center):
  y, x = np.mgrid[:size, :size]
  inside = np.hypot(y - center, x - center) <= radius
  return (inside / inside.sum()).astype(np.float32)


def shake(seed, size):
  """A crooked path of the camera, not centred."""
  rng = np.random.default_rng(seed)
  path = np.cumsum(rng.standard_normal((60, 2)), axis=0)
  path = (path - path.min(0)) / np.ptp(path, axis=0) * (size - 1)
  kernel = np.zeros((size, size))
  np.add.at(kernel, tuple(np.round(path).astype(int).T), 1)
  return (kernel / kernel.sum()).astype(np.float32)


def drawn(name, scale):
  """The kernel of a test set."""
  hr = np.full((48, 48, 1), 128, np.uint8)
  return protocols.degrade(name, hr, scale, image_name='a', seed=3).kernel


def learnt(scale):
  """What the joint optimisation makes a son with."""
  covariance = np.array([[2.0, 0.4], [0.4, 1.0]])
  source = joint_kernel.make_joint_kernel(
    Degradation(scale, noise_std=0.01), covariance, np.eye(3)
  )
  stage = source.at(Degradation(scale).scale, (0.0, 1.0))
  made, _ = stage.draw(jax.random.key(0), stage.init(), jnp.float32(0.5))
  return made.replace(noise_std=None)


DEGRADATIONS = {
  **{
    f'bicubic {scale}': Degradation(scale)
    for scale in (2, 3, 4, 1.5, (1.5, 2), (1, 1.5))
  },
  'bicubic symmetric': Degradation(2, border='symmetric'),
  'gaussian': Degradation(2, blur_kernels.gaussian_kernel((3, 1), 0.5, 2)),
  'gaussian of 3': Degradation(3, blur_kernels.gaussian_kernel((4, 4), 0, 3)),
  'gaussian of 2.5': Degradation(
    2.5, blur_kernels.gaussian_kernel((4, 2), 1, 2.5)
  ),
  'gaussian of two scales': Degradation(
    (2, 3), blur_kernels.gaussian_of(np.diag([2.0, 5.0]), (2, 3))
  ),
  'disc': Degradation(2, disc(3, 15, 7.5)),
  'line': Degradation(2, np.full((1, 9), 1 / 9, np.float32)),
  'shake': Degradation(2, shake(0, 14)),
  'one tap': Degradation(2, np.ones((1, 1), np.float32)),
  'test set gaussian': Degradation(2, drawn('gaussian', 2)),
  'test set div2krk': Degradation(4, drawn('div2krk', 4)),
  'test set four': Degradation(3, drawn('four-1', 3)),
  'learnt along': learnt(2),
  'known, at a stage': kernel_source.Known(
    Degradation(2, blur_kernels.gaussian_kernel((3, 1), 0.5, 2))
  )
  .at((1.5, 1.5), (0.0, 0.5))
  .degradation,
}
# Image sides that the scale divides, and that it does not.
SHAPES = (36, 48), (37, 41)


@pytest.fixture(params=list(DEGRADATIONS))
def degradation(request):
  return DEGRADATIONS[request.param]


def image_of(*shape, seed=0):
  return np.random.default_rng(seed).random(shape).astype(np.float32)


def whole(degradation):
  return all(s == int(s) for s in degradation.scale)


@pytest.mark.parametrize('shape', SHAPES)
def test_shapes(degradation, shape):
  """A kernel at a whole scale cuts to a multiple; all else rounds up."""
  made = degradation.down(jnp.asarray(image_of(*shape, 2)))
  cut = degradation.kernel is not None and whole(degradation)
  expected = [
    n // int(s) if cut else int(np.ceil(n / s - 1e-9))
    for n, s in zip(shape, degradation.scale, strict=True)
  ]
  assert made.shape == (*expected, 2) and made.dtype == jnp.float32
  assert degradation.up(made, shape).shape == (*shape, 2)
  son = degradation.son(jax.random.key(0), jnp.asarray(image_of(*shape, 2)))
  assert son.shape == made.shape


@pytest.mark.parametrize('shape', SHAPES)
def test_down_is_linear_and_keeps_flat_images_flat(degradation, shape):
  one, other = (jnp.asarray(image_of(*shape, 1, seed=s)) for s in (1, 2))
  made = degradation.down(0.3 * one - 1.7 * other)
  expected = 0.3 * degradation.down(one) - 1.7 * degradation.down(other)
  np.testing.assert_allclose(made, expected, atol=1e-5)
  flat = degradation.down(jnp.full((*shape, 1), 0.4))
  np.testing.assert_allclose(flat, 0.4, atol=1e-5)


@pytest.mark.parametrize('shape', [(12, 15), (13, 11)])
def test_the_adjoint_of_down_is_its_transposed_matrix(degradation, shape):
  """The matrix comes from impulses, one by one."""
  pixels = shape[0] * shape[1]
  impulses = jnp.eye(pixels).reshape(pixels, *shape, 1)
  columns = jax.vmap(degradation.down)(impulses)
  matrix = np.asarray(columns, np.float64).reshape(pixels, -1).T
  image = image_of(*shape, 1)
  np.testing.assert_allclose(
    np.ravel(degradation.down(jnp.asarray(image))),
    matrix @ image.ravel(),
    atol=1e-5,
  )
  adjoint = jax.linear_transpose(degradation.down, jnp.asarray(image))
  rest = image_of(*columns.shape[1:], seed=3)
  (back,) = adjoint(jnp.asarray(rest))
  np.testing.assert_allclose(np.ravel(back), matrix.T @ rest.ravel(), atol=1e-5)


def test_a_centred_one_shifts_nothing(degradation):
  """A ramp stays the ramp of its pixels' centres."""
  y, x = np.mgrid[:72, :72].astype(np.float32)
  ramp = jnp.asarray(np.stack([y, x], axis=-1))
  made = np.asarray(degradation.centered().down(ramp))
  i, j = np.mgrid[: made.shape[0], : made.shape[1]]
  sy, sx = degradation.scale
  expected = np.stack([sy * (i + 0.5) - 0.5, sx * (j + 0.5) - 0.5], axis=-1)
  inside = slice(13, -13) if min(made.shape[:2]) > 30 else slice(7, -7)
  np.testing.assert_allclose(
    made[inside, inside], expected[inside, inside], atol=0.03
  )


def test_symmetries_are_the_transforms_that_commute_with_down(degradation):
  if not whole(degradation):
    pytest.skip('other grids line up at the first pixel alone')
  image = image_of(48, 48, 1)
  # Borders aside, where a kernel that is cut by the edge may show.
  edge = 8

  def down(x):
    return np.asarray(degradation.down(jnp.asarray(np.ascontiguousarray(x))))

  commute = set()
  for k in range(dihedral.COUNT):
    if k % 2 and degradation.scale[0] != degradation.scale[1]:
      continue
    one = down(dihedral.dihedral(image, k))
    other = dihedral.dihedral(down(image), k)
    rows, columns = (min(edge, n // 4) for n in one.shape[:2])
    gap = np.abs(one - other)[rows:-rows, columns:-columns]
    if gap.max() < 2e-3:
      commute.add(k)
  assert set(degradation.symmetries()) == commute


def test_a_stage_shrinks_it_and_the_whole_scale_leaves_it(degradation):
  assert degradation.at(degradation.scale) is degradation
  factors = tuple(1 + 0.5 * (s - 1) for s in degradation.scale)
  stage = degradation.at(factors)
  assert stage.scale == factors and stage.border == degradation.border
  flat = stage.down(jnp.full((40, 40, 1), 0.4))
  np.testing.assert_allclose(flat, 0.4, atol=1e-5)
  if degradation.kernel is not None:
    assert max(stage.kernel.shape) <= max(degradation.kernel.shape) + 2
    with pytest.raises(ValueError, match='cannot be stretched'):
      degradation.at(tuple(s + 1 for s in degradation.scale))


@pytest.mark.parametrize('shape', SHAPES)
def test_an_image_explains_its_own_son(degradation, shape):
  father = jnp.asarray(image_of(*shape, 2))
  rest = degradation.unexplained(father, degradation.down(father))
  np.testing.assert_allclose(rest, 0, atol=1e-6)
  # ... and what is added to the son is what is left.
  rest = degradation.unexplained(father, degradation.down(father) + 0.1)
  np.testing.assert_allclose(rest, 0.1, atol=1e-6)


def test_a_son_is_down_with_noise_inside_the_range(degradation):
  father = jnp.asarray(0.4 + 0.2 * image_of(60, 60, 3))
  key = jax.random.key(5)
  clean = degradation.son(key, father)
  np.testing.assert_allclose(clean, degradation.down(father), atol=1e-6)
  noisy = degradation.replace(noise_std=0.02).son(key, father)
  rest = np.asarray(noisy - clean)
  assert rest.std() == pytest.approx(0.02, rel=4 / np.sqrt(2 * rest.size))
  loud = degradation.replace(noise_std=2.0).son(key, father)
  assert loud.min() == 0 and loud.max() == 1


def test_it_goes_through_jit_as_data_with_a_static_scale(degradation):
  leaves, structure = jax.tree.flatten(degradation)
  assert len(leaves) == (degradation.kernel is not None)
  again = jax.tree.unflatten(structure, leaves)
  assert (again.scale, again.border) == (
    degradation.scale,
    degradation.border,
  )
  father = jnp.asarray(image_of(30, 32, 1))
  made = jax.jit(lambda d, x: d.down(x))(degradation, father)
  np.testing.assert_allclose(made, degradation.down(father), atol=1e-6)
  # Zeros around a kernel change nothing.
  if degradation.kernel is not None:
    shape = tuple(n + 4 for n in degradation.kernel.shape)
    wider = degradation.padded(shape)
    assert wider.kernel.shape == shape
    np.testing.assert_allclose(wider.down(father), made, atol=1e-5)


def test_the_scale_is_kept_as_a_pair():
  assert Degradation(2).scale == (2.0, 2.0)
  assert Degradation((2, 1.5)).scale == (2.0, 1.5)
  for wrong in (0, (2, 2, 2), float('nan')):
    with pytest.raises(ValueError):
      Degradation(wrong)
