"""Flax modules, and the one place that turns a name into a module."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from zssr_jax.models import backbone, edsr, srcnn, upsamplers, vdsr, zssr
from zssr_jax.ops import resize

# The networks that are trained on many images, and the colour each works on:
# luma ('y', one channel) or 'rgb'.
EXTERNAL = {
  'srcnn': 'y',
  'srcnn_955': 'y',
  'vdsr': 'y',
  'edsr': 'rgb',
  'edsr_full': 'rgb',
}


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
  body: Any = {'depth': depth, 'width': width, 'gain': gain}
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


def make_external(name: str, scale: float | tuple[float, float]) -> nn.Module:
  """Builds one of the networks that are trained on many images.

  Args:
    name: one of `EXTERNAL`: 'srcnn' (9-1-5), 'srcnn_955', 'vdsr', 'edsr'
      (16 blocks of 64 channels) or 'edsr_full' (32 of 256).
    scale: upscaling factor or pair (y, x). Only EDSR's weights depend on it:
      2, 3 or 4, the same on both axes.

  Returns:
    A module called as `module(lr, interpolated)`; see `models.zssr`.

  Raises:
    ValueError: for an unknown name, or a scale that EDSR is not made for.
  """
  if name == 'srcnn':
    return srcnn.Srcnn()
  if name == 'srcnn_955':
    return srcnn.Srcnn(kernels=(9, 5, 5))
  if name == 'vdsr':
    return vdsr.Vdsr()
  if name not in EXTERNAL:
    raise ValueError(
      f'unknown network {name!r}; there are: {", ".join(EXTERNAL)}'
    )
  y, x = resize.scale_pair(scale)
  if y != x or y not in edsr.STAGES:
    raise ValueError(f'EDSR is for scale 2, 3 or 4, not {y:g} x {x:g}')
  if name == 'edsr':
    return edsr.Edsr(int(y))
  return edsr.Edsr(int(y), blocks=32, width=256, residual_scale=0.1)


def external_shapes(name: str, scale: float | tuple[float, float]) -> Any:
  """The parameter tree of `make_external(name, scale)`, shapes only.

  Returns:
    A tree of `jax.ShapeDtypeStruct`; nothing is computed.

  Raises:
    ValueError: as in `make_external`.
  """
  model = make_external(name, scale)
  channels = 1 if EXTERNAL[name] == 'y' else 3
  # Parameters do not depend on the sizes of the images.
  image = jax.ShapeDtypeStruct((1, 8, 8, channels), jnp.float32)
  return jax.eval_shape(model.init, jax.random.key(0), image, image)['params']
