"""LPIPS: how different two images look to a network (Zhang et al., CVPR 2018).

It is the distance of equation 1 with VGG16 and the published linear heads,
version 0.1: the lower, the more alike; 0 for equal images. With
`weights.parameters`:

  heads = parameters.load_lpips_heads(root)
  distance = make_lpips(parameters.load_vgg16(root, heads), heads)
  distance(sr, hr)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from zssr_jax.models import vgg


def _unit(x: jax.Array) -> jax.Array:
  """Scales the channels of each pixel to length 1; zeros stay zeros."""
  length = jnp.sqrt(jnp.sum(x * x, -1, keepdims=True))
  return x / (length + 1e-10)


@jax.jit
def _distance(
  variables: Any, heads: dict[str, jax.Array], a: jax.Array, b: jax.Array
) -> jax.Array:
  def maps_of(image: jax.Array) -> Any:
    # The reference maps [0, 1] to [-1, 1] and standardises that; together it
    # is the standardisation that Vgg16 does anyway.
    if image.shape[-1] == 1:
      image = jnp.repeat(image, 3, -1)
    # Accelerators multiply with fewer bits unless told.
    with jax.default_matmul_precision('highest'):
      return vgg.Vgg16(tuple(heads)).apply(variables, image[None])

  # One by one: in one batch the same image is not rounded alike twice.
  a_maps, b_maps = maps_of(a), maps_of(b)
  total = jnp.zeros((), jnp.float32)
  for layer, head in heads.items():
    x, y = _unit(a_maps[layer])[0], _unit(b_maps[layer])[0]
    # Equation 1 squares w; the heads, trained to be non-negative, are w**2.
    total += jnp.sum(jnp.mean((x - y) ** 2, (0, 1)) * head)
  return total


def make_lpips(
  vgg_params: Any, heads: Mapping[str, ArrayLike]
) -> Callable[[ArrayLike, ArrayLike], float]:
  """Makes the distance of two images.

  Args:
    vgg_params: variables of `vgg.Vgg16`, from `parameters.load_vgg16`.
    heads: weight per channel `[channels]` by layer, from
      `parameters.load_lpips_heads`.

  Returns:
    `distance(a, b)` of two float images `[H, W, C]` in [0, 1], C = 1
    (greyscale) or 3 (RGB), at least 16 pixels a side. It is compiled for each
    image size and raises ValueError for images of another kind or of
    different shapes. It takes about 1.8 GB of memory a megapixel on CPU.
  """
  heads = {layer: jnp.asarray(w, jnp.float32) for layer, w in heads.items()}

  def distance(a: ArrayLike, b: ArrayLike) -> float:
    a, b = jnp.asarray(a), jnp.asarray(b)
    if a.shape != b.shape or a.ndim != 3 or a.shape[2] not in (1, 3):
      raise ValueError(
        f'LPIPS takes two images [H, W, 1 or 3] of one size, not {a.shape}'
        f' and {b.shape}'
      )
    if not all(jnp.issubdtype(x.dtype, jnp.floating) for x in (a, b)):
      raise ValueError(
        f'LPIPS takes floats in [0, 1], not {a.dtype} and {b.dtype}'
      )
    a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    return float(_distance(vgg_params, heads, a, b))

  return distance
