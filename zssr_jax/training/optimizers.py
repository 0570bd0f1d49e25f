"""The directions in which an optimiser moves the weights, before any rate."""

from __future__ import annotations

from collections.abc import Callable

import jax
import optax

# Root mean square of Muon's steps at a rate of 1, about that of Adam's, so that
# both take rates of one magnitude (Liu et al., arXiv 2502.16982).
_MUON_RMS = 0.2

_KERNEL = optax.contrib.MuonDimensionNumbers((0, 1, 2), 3)


def scale_by_muon() -> optax.GradientTransformation:
  """Builds Muon for kernels `[side, side, I, O]`, and Adam for other weights.

  Muon (Jordan 2024) moves a matrix, here `[side² I, O]`, by the nearest matrix
  of orthonormal columns to its momentum: all directions that the gradients of
  late have are followed alike, the rare ones as fast as the frequent ones.
  """
  descend = optax.contrib.muon(
    1.0,
    muon_weight_dimension_numbers=lambda params: jax.tree.map(
      lambda p: _KERNEL if p.ndim == 4 else None, params
    ),
    consistent_rms=_MUON_RMS,
  )
  return optax.chain(descend, optax.scale(-1.0))


DIRECTIONS: dict[str, Callable[[], optax.GradientTransformation]] = {
  'adam': optax.scale_by_adam,
  'muon': scale_by_muon,
  'sgd': optax.identity,
}
