"""SRCNN, VDSR and EDSR: size, shape, start, and loops in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from zssr_jax import registry
from zssr_jax.models import edsr, srcnn, vdsr
from zssr_jax.ops import resize


def count(tree, biases=True):
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return sum(v.size for path, v in leaves if biases or path[-1].key != 'bias')


def pair(scale, channels, size=(10, 13)):
  rng = np.random.default_rng(0)
  lr = rng.uniform(size=(*size, channels)).astype(np.float32)
  return lr[None], resize.imresize(lr, scale)[None]


def draw(model, *images):
  """Parameters of He's variance and biases that matter, NumPy float32."""
  rng = np.random.default_rng(1)
  shapes = jax.eval_shape(model.init, jax.random.key(0), *images)['params']

  def leaf(like):
    scale = 0.2 if len(like.shape) == 1 else np.prod(like.shape[:3]) ** -0.5
    return (scale * rng.normal(size=like.shape)).astype(np.float32)

  return jax.tree.map(leaf, shapes)


def apply(model, params, *images):
  return jax.jit(model.apply)({'params': params}, *images)[0]


def correlate(image, kernel, mode):
  """`[H, W, I]` with `[side, side, I, O]`, in float64."""
  return np.stack(
    [
      sum(
        scipy.ndimage.correlate(
          image[..., i].astype(np.float64), kernel[:, :, i, o], mode=mode
        )
        for i in range(image.shape[-1])
      )
      for o in range(kernel.shape[-1])
    ],
    axis=-1,
  )


@pytest.mark.parametrize(
  ('name', 'scale', 'published'),
  [
    ('edsr', 2, 1_369_859),
    ('edsr', 3, 1_554_499),
    ('edsr', 4, 1_517_571),
    ('edsr_full', 2, 40_729_603),
    ('vdsr', 2, 664_704),
  ],
)
def test_the_number_of_weights_is_the_published_one(name, scale, published):
  assert count(registry.EXTERNAL[name].shapes(scale)) == published


@pytest.mark.parametrize(
  ('name', 'published'), [('srcnn', 8_032), ('srcnn_955', 57_184)]
)
def test_srcnn_is_counted_without_its_biases(name, published):
  shapes = registry.EXTERNAL[name].shapes(3)
  assert count(shapes, biases=False) == published
  assert count(shapes) == published + 64 + 32 + 1


@pytest.mark.slow
@pytest.mark.parametrize('name', registry.EXTERNAL)
@pytest.mark.parametrize('scale', [2, 3, 4])
def test_the_output_has_the_shape_of_the_interpolated_image(name, scale):
  channels = {'y': 1, 'rgb': 3}[registry.EXTERNAL[name].color]
  lr, interpolated = pair(scale, channels)
  out, _ = jax.eval_shape(
    registry.EXTERNAL[name].make(scale=(scale, scale)).init_with_output,
    jax.random.key(0),
    lr,
    interpolated,
  )
  assert out.shape == interpolated.shape


def test_names_and_scales_that_do_not_exist_are_refused():
  with pytest.raises(ValueError, match="unknown network 'rcan'; there are: sr"):
    registry.EXTERNAL['rcan'].make(scale=(2, 2))
  with pytest.raises(ValueError, match='scale 2, 3 or 4, not 8 x 8'):
    registry.EXTERNAL['edsr'].make(scale=(8, 8))
  with pytest.raises(ValueError, match='not 2 x 3'):
    registry.EXTERNAL['edsr_full'].make(scale=(2, 3))
  with pytest.raises(ValueError, match='RGB, not 1 channels'):
    edsr.Edsr(2).init(jax.random.key(0), *pair(2, 1))


def test_srcnn_equals_a_loop_that_repeats_the_border():
  model = srcnn.Srcnn(kernels=(9, 3, 5), features=(4, 3))
  _, image = pair(2, 1)
  params = draw(model, image, image)
  x = image[0]
  for i in (1, 2, 3):
    layer = params[f'conv{i}']
    x = correlate(x, layer['kernel'], 'nearest') + layer['bias']
    x = np.maximum(x, 0) if i < 3 else x
  got = apply(model, params, image, image)
  np.testing.assert_allclose(got, x, atol=1e-5)


def test_the_gradient_of_a_9x9_layer_equals_a_difference_of_the_loop():
  model = srcnn.Srcnn(kernels=(9, 1, 1), features=(2, 2))
  _, image = pair(2, 1)
  params = draw(model, image, image)

  @jax.jit
  @jax.grad
  def gradient_of(params):
    return jnp.sum(model.apply({'params': params}, image, image) ** 2)

  gradient = np.asarray(gradient_of(params)['conv1']['kernel'], np.float64)
  direction = np.cos(np.arange(gradient.size)).reshape(gradient.shape)

  def loop(step):
    x = image[0]
    for i in (1, 2, 3):
      kernel = params[f'conv{i}']['kernel'].astype(np.float64)
      if i == 1:
        kernel = kernel + step * direction
      x = correlate(x, kernel, 'nearest') + params[f'conv{i}']['bias']
      x = np.maximum(x, 0) if i < 3 else x
    return np.sum(x**2)

  slope = (loop(1e-6) - loop(-1e-6)) / 2e-6
  assert np.sum(gradient * direction) == pytest.approx(slope, rel=1e-4)


def test_vdsr_equals_a_loop_that_adds_the_image():
  model = vdsr.Vdsr(depth=4, width=3)
  _, image = pair(2, 1)
  params = draw(model, image, image)
  x = image[0]
  for i in range(1, 5):
    x = correlate(x, params[f'conv{i:02}']['kernel'], 'constant')
    x = np.maximum(x, 0) if i < 4 else x
  got = apply(model, params, image, image)
  np.testing.assert_allclose(got, image[0] + x, atol=1e-5)


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_edsr_equals_a_loop(scale):
  model = edsr.Edsr(scale, blocks=2, width=4, residual_scale=0.3)
  lr, interpolated = pair(scale, 3, (5, 6))
  params = draw(model, lr, interpolated)

  def layer(part, x):
    return correlate(x, part['kernel'], 'constant') + part['bias']

  def shuffle(x, step):
    h, w, depth = x.shape
    out = np.zeros((h * step, w * step, depth // step**2))
    for y, x_ in np.ndindex(step, step):
      first = (y * step + x_) * out.shape[2]
      out[y::step, x_::step] = x[..., first : first + out.shape[2]]
    return out

  head = x = layer(params['head'], lr[0] - [0.4488, 0.4371, 0.4040])
  for name in ('block00', 'block01'):
    y = np.maximum(layer(params[name]['conv1'], x), 0)
    x = x + 0.3 * layer(params[name]['conv2'], y)
  x = head + layer(params['body_end'], x)
  for i, step in enumerate({2: [2], 3: [3], 4: [2, 2]}[scale], 1):
    x = shuffle(layer(params[f'up{i}'], x), step)
  x = layer(params['tail'], x) + [0.4488, 0.4371, 0.4040]
  got = apply(model, params, lr, interpolated)
  np.testing.assert_allclose(got, x, atol=1e-5)


def test_an_untrained_vdsr_is_near_its_input():
  _, image = pair(2, 1, (20, 20))
  out, _ = vdsr.Vdsr().init_with_output(jax.random.key(0), image, image)
  change = float(jnp.sqrt(jnp.mean((out - image) ** 2)))
  assert 0 < change < 0.5 * float(jnp.sqrt(jnp.mean(image**2)))


def test_the_blocks_of_an_untrained_edsr_pass_their_input_on():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 16, 16, 64)))
  x = x.astype(jnp.float32)
  out, _ = jax.jit(edsr.Block(64, 1.0).init_with_output)(jax.random.key(0), x)
  assert float(jnp.std(out - x)) < 0.5 * float(jnp.std(x))
