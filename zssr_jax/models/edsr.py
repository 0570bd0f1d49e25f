"""EDSR (Lim et al., NTIRE 2017): residual blocks at LR resolution."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax.models import layers, upsamplers

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
