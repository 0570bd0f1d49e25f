"""The convolutions of VGG16 (Simonyan & Zisserman, ICLR 2015, column D).

Its feature maps serve perceptual measures: LPIPS in `evaluation` and content
losses in training. The weights come from `weights.parameters`; without them the
network is of no use, so nothing here is meant to be trained.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax.models import layers as layer_lib

# 3x3 convolutions and their channels, block by block; pooling in between.
_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))

# Of ImageNet's RGB in [0, 1], as the published weights expect.
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
  """Largest of each 2x2 pixels; an odd last row or column is left out."""
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
