"""The directions in which an optimiser moves the weights, before any rate."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

# Root mean square of Muon's steps at a rate of 1, about that of Adam's, so that
# both take rates of one magnitude (Liu et al., arXiv 2502.16982).
_MUON_RMS = 0.2
_MUON_MOMENTUM = 0.95
# One of Muon's five iterations takes a matrix X to (a I + b A + c A A) X, with
# A = X X': singular values up to 1 come near 1 (Jordan 2024).
_ITERATIONS = 5
_A, _B, _C = 3.4445, -4.7750, 2.0315


def scale_by_muon() -> optax.GradientTransformation:
  """Builds Muon for kernels `[side, side, I, O]`, and Adam for other weights.

  Muon (Jordan 2024) moves a matrix, here `[side² I, O]`, by the nearest matrix
  of orthonormal columns to its momentum: all directions that the gradients of
  late have are followed alike, the rare ones as fast as the frequent ones.
  """
  kernels = optax.chain(
    optax.trace(_MUON_MOMENTUM, nesterov=True),
    optax.stateless(
      lambda momentum, _: jax.tree.map(_orthogonal, momentum),
    ),
  )
  return optax.partition(
    {'kernel': kernels, 'other': optax.scale_by_adam(nesterov=True)},
    lambda params: jax.tree.map(
      lambda p: 'kernel' if p.ndim == 4 else 'other', params
    ),
  )


def _orthogonal(momentum: jax.Array) -> jax.Array:
  """Returns a kernel of Muon's direction.

  The iterations multiply X by polynomials in A, which all commute. So they are
  run on the smaller of the two Gram matrices alone: 64x64 in place of 576x64,
  a quarter of the time, the same result.
  """
  x = momentum.reshape(-1, momentum.shape[-1])
  tall = x.shape[0] > x.shape[1]
  gram = jnp.einsum('ki,kj->ij', x, x) if tall else x @ x.T
  square = jnp.trace(gram) + jnp.finfo(x.dtype).tiny
  gram /= square
  identity = jnp.eye(len(gram), dtype=x.dtype)
  product = identity
  for _ in range(_ITERATIONS):
    factor = _A * identity + _B * gram + _C * (gram @ gram)
    product @= factor
    gram = factor @ gram @ factor
  product *= _MUON_RMS * max(x.shape) ** 0.5 / jnp.sqrt(square)
  x = x @ product if tall else product @ x
  return x.reshape(momentum.shape)


DIRECTIONS: dict[str, Callable[[], optax.GradientTransformation]] = {
  'adam': optax.scale_by_adam,
  'muon': scale_by_muon,
  'sgd': optax.identity,
}
