"""Flax modules, and the one place that turns a name into a module."""

from __future__ import annotations

import flax.linen as nn

from zssr_jax.models import backbone, upsamplers, vdsr, zssr


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
    name: one of `config.MODELS`.
    scale: upscaling factors (y, x).
    depth: convolution layers.
    width: hidden channels.
    gain: variance of the initial weights times their fan-in.

  Returns:
    A module called as `module(lr, interpolated)`; see `models.zssr`.

  Raises:
    ValueError: for an unknown name.
  """
  body = {'depth': depth, 'width': width, 'gain': gain}
  if name == 'zssr':
    return zssr.Zssr(**body)
  if name == 'pixel_shuffle':
    return upsamplers.PixelShuffle(scale=scale, **body)
  if name == 'transposed':
    return upsamplers.Transposed(scale=scale, **body)
  if name == 'vdsr_backbone':
    return backbone.VdsrBackbone(**body)
  raise ValueError(f'unknown model {name!r}')


def reach(name: str, depth: int) -> int:
  """How many pixels away the layers of a network look, at most.

  Args:
    name: as in `make_model`.
    depth: its convolution layers.

  Returns:
    A number that holds in pixels of the input at any scale.
  """
  return depth + (vdsr.Vdsr.depth if name == 'vdsr_backbone' else 0)
