"""Flax modules, and the one place that turns a name into a module."""

from __future__ import annotations

import flax.linen as nn

from zssr_jax.models import zssr


def make_model(
  name: str,
  *,
  scale: tuple[float, float],
  depth: int = 8,
  width: int = 64,
  gain: float = 1.0,
) -> nn.Module:
  """Builds a super-resolving module.

  Args:
    name: 'zssr' or 'pixel_shuffle'.
    scale: upscaling factors (y, x).
    depth: convolution layers.
    width: hidden channels.
    gain: variance of the initial weights times their fan-in.

  Returns:
    A module called as `module(lr, interpolated)`; see `models.zssr`.

  Raises:
    ValueError: for an unknown name.
  """
  if name == 'zssr':
    return zssr.Zssr(depth=depth, width=width, gain=gain)
  if name == 'pixel_shuffle':
    return zssr.PixelShuffle(scale=scale, depth=depth, width=width, gain=gain)
  raise ValueError(f'unknown model {name!r}')
