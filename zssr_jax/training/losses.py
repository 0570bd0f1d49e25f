"""Training losses: `loss(output, target) -> scalar`, images in [0, 1]."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from zssr_jax.models import vgg
from zssr_jax.ops import color

Layers = tuple[tuple[str, float], ...]  # names of `vgg.Vgg16`, and weights


def l1(output: jax.Array, father: jax.Array) -> jax.Array:
  """Mean absolute difference of two arrays of equal shape (section 3.1)."""
  return jnp.mean(jnp.abs(output - father))


def luma_l1(output: jax.Array, father: jax.Array, share: float) -> jax.Array:
  """`l1`, a share of which is taken of the luma alone.

  Luma is what published tables score and what the eye sees most of.

  Args:
    output: `[N, H, W, C]`.
    father: of the same shape.
    share: of the luma, in [0, 1]. Other than three channels have none of their
      own, and keep `l1`.
  """
  loss = l1(output, father)
  if not share or output.shape[-1] != 3:
    return loss
  luma = l1(color.studio_luma(output), color.studio_luma(father))
  return share * luma + (1 - share) * loss


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
