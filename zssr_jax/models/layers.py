"""The convolution with biases that SRCNN, EDSR and VGG16 are made of."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from zssr_jax.ops import conv


class Convolution(nn.Module):
  """Stride-1 convolution with bias. `[N,H,W,I] -> [N,H,W,features]`.

  Attributes:
    features: output channels.
    side: side of the kernel, odd.
    gain: variance of the initial weights times their fan-in. Biases start at
      zero.
    replicate: repeat the border pixels around the image, instead of zeros.
  """

  features: int
  side: int = 3
  gain: float = 2.0
  replicate: bool = False

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Applies the convolution."""
    kernel = self.param(
      'kernel',
      nn.initializers.variance_scaling(self.gain, 'fan_in', 'normal'),
      (self.side, self.side, x.shape[-1], self.features),
    )
    bias = self.param('bias', nn.initializers.zeros, (self.features,))
    pad = self.side // 2 if self.replicate else 0
    if pad:
      x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode='edge')
    x = conv.conv2d(x, kernel)
    if pad:  # what saw the zeros around the repeated pixels
      x = x[:, pad:-pad, pad:-pad]
    return x + bias.reshape(1, 1, 1, -1)
