"""Training losses: `loss(output, father) -> scalar`, images in [0, 1]."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def l1(output: jax.Array, father: jax.Array) -> jax.Array:
  """Mean absolute difference of two arrays of equal shape (section 3.1)."""
  return jnp.mean(jnp.abs(output - father))
