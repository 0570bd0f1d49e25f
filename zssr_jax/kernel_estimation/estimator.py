"""What the rest of the program must know of a kernel estimator.

A file of this folder that has one ends with its `Estimator`, and
`zssr_jax.registry` lists it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Estimator(NamedTuple):
  """A way to find the blur kernel of an image."""

  # `(image [H, W, C] in [0, 1], scale, key) -> kernel [h, w]`; raises
  # NoKernelError for an image it can do nothing with.
  function: Callable[..., np.ndarray]
  summary: str  # how the kernel came about, in the summary of a run
  label: str  # the same in a table, behind the name of the method
  # `(spectrum.Fit, scale) -> kernel`, where it needs no more of the image than
  # the fit that `estimate` makes anyway.
  of_fit: Callable[..., np.ndarray | None] | None = None
  learnt_along: bool = False  # the training goes on from the spectrum's fit
