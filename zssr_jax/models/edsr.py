"""EDSR (Lim et al., NTIRE 2017): residual blocks at LR resolution."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax.models import layers, network, upsamplers

# Mean colour of DIV2K, which the network takes away and adds again.
MEAN = np.array([0.4488, 0.4371, 0.4040], np.float32)
# Pixel shuffles by scale; a larger scale goes in steps of two.
STAGES = {2: (2,), 3: (3,), 4: (2, 2)}


class Block(nn.Module):
  """Two convolutions around a ReLU, scaled and added to the input.

  The second starts at a tenth of a unit gain, so that even a deep stack of
  blocks passes its input on nearly unchanged in the beginning.
  """

  width: int
  residual_scale: float

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Applies the block to `[N, h, w, width]`."""
    y = nn.relu(layers.Convolution(self.width, name='conv1')(x))
    y = layers.Convolution(self.width, gain=0.1, name='conv2')(y)
    return x + self.residual_scale * y


class Edsr(nn.Module):
  """Super-resolves RGB in [0, 1] from the LR image alone.

  Called as `module(lr, interpolated)`, see `models.zssr`; `interpolated` is
  not used, not even as what a residual is added to, for the published weights
  make the image itself.

  Attributes:
    scale: 2, 3 or 4, for both axes.
    blocks: residual blocks; 16 in the baseline network, 32 in the full one.
    width: channels; 64 and 256.
    residual_scale: of each block; 1 and 0.1.
  """

  scale: int
  blocks: int = 16
  width: int = 64
  residual_scale: float = 1.0

  @nn.compact
  def __call__(self, lr: jax.Array, interpolated: jax.Array) -> jax.Array:
    """Super-resolves `[N, h, w, 3]` to `[N, scale h, scale w, 3]`.

    Raises:
      ValueError: for another scale or number of channels.
    """
    del interpolated
    if self.scale not in STAGES:
      raise ValueError(f'EDSR is for scale 2, 3 or 4, not {self.scale:g}')
    if lr.shape[-1] != 3:
      raise ValueError(f'EDSR takes RGB, not {lr.shape[-1]} channels')
    mean = jnp.asarray(MEAN).reshape(1, 1, 1, 3)
    head = layers.Convolution(self.width, gain=1.0, name='head')(lr - mean)
    x = head
    for i in range(self.blocks):
      x = Block(self.width, self.residual_scale, name=f'block{i:02}')(x)
    x = head + layers.Convolution(self.width, gain=1.0, name='body_end')(x)
    for i, step in enumerate(STAGES[self.scale], 1):
      x = layers.Convolution(self.width * step**2, gain=1.0, name=f'up{i}')(x)
      x = upsamplers.depth_to_space(x, step, step)
    return mean + layers.Convolution(3, gain=1.0, name='tail')(x)


def _make(
  blocks: int, width: int, residual_scale: float
) -> Callable[..., Edsr]:
  def make(*, scale: tuple[float, float], **_: Any) -> Edsr:
    y, x = scale
    if y != x or y not in STAGES:
      raise ValueError(f'EDSR is for scale 2, 3 or 4, not {y:g} x {x:g}')
    return Edsr(int(y), blocks, width, residual_scale)

  return make


def _see_scale(leaves: Mapping[str, np.ndarray], scale: int | None) -> int:
  """Sees from the upsampler which scale the weights are for."""
  if 'up1/kernel' not in leaves:
    raise ValueError('up1/kernel is missing')
  inputs, outputs = leaves['up1/kernel'].shape[2:]
  stages = (math.isqrt(outputs // inputs),) * (1 + ('up2/kernel' in leaves))
  found = [s for s, steps in STAGES.items() if steps == stages]
  if not found:
    raise ValueError(
      f'its upsampler {inputs} -> {outputs} is for none of the scales 2, 3, 4'
    )
  if scale not in (None, found[0]):
    raise ValueError(f'is for scale {found[0]}, not {scale}')
  return found[0]


def _peak(arrays: Mapping[str, Any]) -> float:
  """The largest pixel value that the weights were trained for."""
  peak = 255.0
  for name, sign in (('sub_mean', -1), ('add_mean', 1)):
    if f'{name}.bias' not in arrays:
      continue
    shift = sign * np.asarray(arrays[f'{name}.bias'], np.float64)
    gain = np.asarray(arrays.get(f'{name}.weight', np.eye(3)), np.float64)
    mean = MEAN.astype(np.float64)
    good = shift.shape == (3,) and gain.size == 9
    if good:
      peak = float(np.mean(shift / mean))
      good = np.allclose(shift, peak * mean, rtol=1e-4) and np.allclose(
        gain.reshape(3, 3), np.eye(3), atol=1e-6
      )
    if not good or peak <= 0:
      raise ValueError(
        f'{name} shifts colours by others than the mean of DIV2K'
      )
  return peak


def _finish(
  params: dict[str, Any], arrays: Mapping[str, Any], scale: int
) -> None:
  """Changes the order of shuffled channels, and the range to [0, 1].

  All but the biases is linear or a ReLU, so a network for pixels up to `peak`
  is one for [0, 1] with the biases divided by it.
  """
  peak = _peak(arrays)
  for i, step in enumerate(STAGES[scale], 1):
    layer = params[f'up{i}']
    for part, array in layer.items():
      *rest, channels = array.shape
      # torch's (C, y, x) into our (y, x, C).
      split = array.reshape(*rest, channels // step**2, step, step)
      layer[part] = np.moveaxis(split, -3, -1).reshape(array.shape)

  def divide(node: dict[str, Any]) -> None:
    for name, value in node.items():
      if isinstance(value, dict):
        divide(value)
      elif name == 'bias':
        node[name] = value / peak

  divide(params)


NETWORK = network.Network(
  make=_make(16, 64, 1.0),
  color='rgb',
  # Two convolutions a block; head, body's end and upsampler add one, the tail
  # less than one more.
  reach=lambda _: 2 * 16 + 5,
  at_lr=True,
  family='edsr',
  ensemble=True,
  published=network.Published(
    rules=(  # EDSR-PyTorch's names
      network.torch_rule(r'head\.0', 'head'),
      network.torch_rule(
        r'body\.(\d+)\.body\.(0|2)',
        lambda m: f'block{int(m[1]):02}/conv{int(m[2]) // 2 + 1}',
      ),
      network.torch_rule(r'body\.\d+', 'body_end'),
      network.torch_rule(
        r'tail\.0\.(0|2)', lambda m: f'up{int(m[1]) // 2 + 1}'
      ),
      network.torch_rule(r'tail\.1', 'tail'),
      (r'(sub|add)_mean\.(weight|bias)', network.nowhere),  # see `_peak`
    ),
    see_scale=_see_scale,
    finish=_finish,
  ),
)
FULL = dataclasses.replace(
  NETWORK, make=_make(32, 256, 0.1), reach=lambda _: 2 * 32 + 5
)
