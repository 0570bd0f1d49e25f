"""The published network on top of a trained, frozen VDSR.

One of this project's own variants: what external images taught is in the
backbone, which never changes; the image-specific part learns what is left.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import numpy as np

from zssr_jax.models import network, vdsr, zssr
from zssr_jax.ops import color

# The studio range of Y, which VDSR was trained on, as a share of the full one.
_RANGE = np.float32(219 / 255)


class VdsrBackbone(nn.Module):
  """A frozen VDSR, then the published network. `(lr, interpolated) -> hr`.

  VDSR works on Y and leaves the colours alone; an image of other than three
  channels is passed through it channel by channel. Its parameters,
  `params['backbone']`, get no gradient and have to come trained.

  Attributes:
    depth: convolution layers of the trained part.
    width: its hidden channels.
    gain: variance of its initial weights times their fan-in.
  """

  depth: int = 8
  width: int = 64
  gain: float = 1.0

  @nn.compact
  def __call__(self, lr: jax.Array, interpolated: jax.Array) -> jax.Array:
    """Super-resolves; see `models.zssr` for the shapes."""
    n, h, w, channels = interpolated.shape
    backbone = vdsr.Vdsr(name='backbone')
    if channels == 3:
      y = color.studio_luma(interpolated)
    else:
      grey = interpolated.transpose(0, 3, 1, 2).reshape(-1, h, w, 1)
      y = color.studio_luma(grey)
    # Added to R, G and B alike, a residual raises Y alone.
    residual = (backbone(lr, y) - y) / _RANGE
    if channels != 3:
      residual = residual.reshape(n, channels, h, w).transpose(0, 2, 3, 1)
    start = interpolated + jax.lax.stop_gradient(residual)
    body = zssr.Body(channels, self.depth, self.width, self.gain)
    return start + body(start)


NETWORK = network.Network(
  make=lambda scale, **size: VdsrBackbone(**size),
  color='any',
  reach=lambda depth: vdsr.Vdsr.depth + depth,
  parts={'backbone': 'vdsr'},
)
