"""Training losses: `loss(output, target) -> scalar`, images in [0, 1]."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from zssr_jax.models import vgg

Layers = tuple[tuple[str, float], ...]  # names of `vgg.Vgg16`, and weights


def l1(output: jax.Array, father: jax.Array) -> jax.Array:
  """Mean absolute difference of two arrays of equal shape (section 3.1)."""
  return jnp.mean(jnp.abs(output - father))


def features(
  variables: Any, images: jax.Array, names: Iterable[str]
) -> dict[str, jax.Array]:
  """VGG16's feature maps of images, by layer.

  Args:
    variables: of `vgg.Vgg16`.
    images: `[N, H, W, C]` in [0, 1], C = 1 or 3.
    names: of the layers.

  Raises:
    ValueError: for another number of channels, or images too small.
  """
  if images.shape[-1] == 1:
    images = jnp.tile(images, (1, 1, 1, 3))
  found: Any = vgg.Vgg16(tuple(names)).apply(variables, images)
  return found


def content(
  output: jax.Array, father: jax.Array, variables: Any, layers: Layers
) -> jax.Array:
  """Weighted sum of the L1 distances between two images' feature maps.

  The perceptual loss of Johnson et al. (ECCV 2016) with L1 for L2.

  Args:
    output: `[N, H, W, C]`, C = 1 or 3.
    father: of the same shape, in [0, 1].
    variables: of `vgg.Vgg16`.
    layers: the layers compared, and their weights.
  """
  names = [name for name, _ in layers]
  mine = features(variables, jnp.clip(output, 0.0, 1.0), names)
  wanted = features(variables, father, names)
  return sum(
    (weight * l1(mine[name], wanted[name]) for name, weight in layers),
    start=jnp.zeros(()),
  )
