"""VGG16 against a loop in numpy, its gradient against differences of that."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zssr_jax.models import vgg
from zssr_jax.weights import parameters

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ALL = [f'{b}_{i}' for b in range(1, 6) for i in range(1, 3 + (b > 2))]


def picture(shape=(37, 50)):
  """A smooth deterministic RGB image, float32 `[1, H, W, 3]`."""
  y, x, c = np.indices((*shape, 3)).astype(np.float64)
  image = 0.5 + 0.3 * np.sin(0.31 * x + 0.17 * y * (c + 1)) + 0.2 * np.cos(y)
  return np.clip(image, 0, 1).astype(np.float32)[None]


def random_params(layers):
  """Normal kernels of He's variance, and biases that matter."""
  rng = np.random.default_rng(0)
  image = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
  shapes = jax.eval_shape(vgg.Vgg16(layers).init, jax.random.key(0), image)

  def draw(leaf):
    scale = np.sqrt(2 / np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else 0.3
    return (scale * rng.standard_normal(leaf.shape)).astype(np.float32)

  return jax.tree.map(draw, shapes)


def oracle(params, image, deepest):
  """Every map down to `deepest`, in float64, tap by tap and pixel by pixel."""
  maps = {}
  x = (np.asarray(image[0], np.float64) - MEAN) / STD
  for name in ALL[: ALL.index(deepest) + 1]:
    h, w = x.shape[:2]
    if name.endswith('_1') and name != '1_1':
      h, w = h // 2, w // 2
      quarters = [
        x[i : 2 * h : 2, j : 2 * w : 2] for i in (0, 1) for j in (0, 1)
      ]
      x = np.max(quarters, axis=0)
    layer = params['params'][f'conv{name}']
    kernel = np.asarray(layer['kernel'], np.float64)
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    x = np.asarray(layer['bias'], np.float64) + sum(
      padded[i : i + h, j : j + w] @ kernel[i, j] for i, j in np.ndindex(3, 3)
    )
    maps[f'conv{name}'] = x
    x = maps[f'relu{name}'] = np.maximum(x, 0)
  return maps


def check(params, layers, image, deepest):
  maps = jax.jit(vgg.Vgg16(layers).apply)(params, image)
  expected = oracle(params, image, deepest)
  assert sorted(maps) == sorted(layers)
  for layer in layers:
    assert maps[layer].dtype == jnp.float32
    np.testing.assert_allclose(
      maps[layer][0],
      expected[layer],
      atol=2e-5 * np.abs(expected[layer]).max(),
      err_msg=layer,
    )


@pytest.mark.parametrize('shape', [(9, 14), (8, 8)])
def test_maps_equal_those_of_a_loop(shape):
  layers = ('relu2_2', 'conv1_1', 'relu1_1', 'conv3_1')
  check(random_params(layers), layers, picture(shape), '3_1')


@pytest.mark.slow
def test_with_the_published_weights_every_map_equals_that_of_a_loop(data_root):
  layers = tuple(kind + name for name in ALL for kind in ('conv', 'relu'))
  params = parameters.load_vgg16(data_root, layers)
  check(params, layers, picture(), '5_3')


@pytest.mark.slow
def test_each_image_of_a_batch_is_treated_alone():
  layers = ('relu2_1',)
  params = random_params(layers)
  a, b = picture((8, 8)), 1 - picture((8, 8))
  both = vgg.Vgg16(layers).apply(params, jnp.concatenate([a, b]))['relu2_1']
  for image, got in zip((a, b), both, strict=True):
    alone = vgg.Vgg16(layers).apply(params, image)['relu2_1'][0]
    np.testing.assert_allclose(got, alone, atol=1e-5)


def test_the_gradient_for_the_image_equals_a_difference_of_the_loop():
  layers = ('conv2_2', 'relu3_1')
  params = random_params(layers)
  image = picture((9, 12))
  direction = np.cos(np.arange(image.size)).reshape(image.shape)

  @jax.jit
  def gradient(params, image):
    def loss(image):
      maps = vgg.Vgg16(layers).apply(params, image)
      return sum(jnp.sum(x**2) for x in maps.values())

    return jax.grad(loss)(image)

  def loss(step):
    maps = oracle(params, image + step * direction, '3_1')
    return sum(np.sum(maps[layer] ** 2) for layer in layers)

  slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
  got = np.sum(np.asarray(gradient(params, image), np.float64) * direction)
  assert got == pytest.approx(slope, rel=1e-4)


def test_nothing_deeper_than_asked_is_computed_or_needed():
  assert sorted(random_params(('conv2_1', 'relu1_1'))['params']) == [
    'conv1_1',
    'conv1_2',
    'conv2_1',
  ]
  deep = random_params(('relu3_2',))
  shallow = vgg.Vgg16(('relu1_2',))
  jaxpr = jax.make_jaxpr(shallow.apply)(deep, picture((4, 4)))
  assert str(jaxpr).count('conv_general_dilated[') == 2


def test_the_convolutions_are_those_of_column_d():
  convolutions = vgg.convolutions(['relu2_1', 'conv5_3', 'relu1_1'])
  assert convolutions == tuple(f'conv{name}' for name in ALL)
  assert vgg.convolutions(['conv1_2', 'relu1_1']) == ('conv1_1', 'conv1_2')


@pytest.mark.parametrize(
  ('layers', 'complaint'),
  [
    (('relu6_1',), "no layer 'relu6_1'"),
    (('relu2_3', 'relu3_3'), "no layer 'relu2_3'"),
    (('pool1_1',), "no layer 'pool1_1'"),
    ((), 'no layer of VGG16'),
  ],
)
def test_unknown_layers_are_refused(layers, complaint):
  with pytest.raises(ValueError, match=complaint):
    vgg.Vgg16(layers).init(jax.random.key(0), picture((16, 16)))


@pytest.mark.slow
def test_images_it_cannot_use_are_refused():
  params = random_params(('relu3_1',))
  with pytest.raises(ValueError, match='not 1 channels'):
    vgg.Vgg16(('relu3_1',)).apply(params, picture()[..., :1])
  with pytest.raises(ValueError, match='needs 4 pixels a side, not 3x9'):
    vgg.Vgg16(('relu3_1',)).apply(params, picture((3, 9)))
  assert vgg.Vgg16(('relu3_1',)).apply(params, picture((4, 9)))[
    'relu3_1'
  ].shape == (1, 1, 2, 256)
