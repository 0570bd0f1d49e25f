"""The kernel of a blur that no family explains, by a network.

The network (`models.kernel_finder`) was trained on other images, blurred by
random paths of a hand; its parameters come with the package. It looks at the
parts of an image with the most structure, in the eight orientations of the
square; how far the eight kernels differ tells how far to trust their mean.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from zssr_jax import blur_kernels
from zssr_jax.models import kernel_finder
from zssr_jax.ops import color, dihedral, resize
from zssr_jax.ops.resize import Scale
from zssr_jax.weights import parameters, starts

_FILE = starts.FOLDER / 'kernel_finder.safetensors'
# Of the parts that are looked at: few sides, so that programs are shared.
_SIDE, _STEP = 192, 32
_MOST_PARTS = 4
# The squared error of the mean of the eight kernels by their variance, both
# relative to the squared norm: `_ERROR variance ** _POWER` on photos of
# BSDS300 train of odd index. The doubt is _MARGIN times as much.
_ERROR, _POWER, _MARGIN = 5.0, 0.56, 2.0


class Found(NamedTuple):
  """A kernel, and how far it is to be trusted."""

  kernel: np.ndarray  # float32 [h, w], sums to 1, centred
  error: float  # of the kernel, as it is expected; as `Degradation.doubt`
  doubt: float  # the same, on the safe side


def find(image: np.ndarray, scale: Scale) -> Found:
  """Finds the blur kernel of an image.

  Args:
    image: `[H, W, C]` in [0, 1], no side shorter than 32 pixels.
    scale: number or pair (y, x), HR pixels per pixel of the image.
  """
  if image.shape[2] != 3:
    image = image.mean(2, keepdims=True)
  grey = color.studio_luma(image)[..., 0]
  parts = _parts(np.asarray(grey, np.float32))
  found = []
  for number in range(dihedral.COUNT):
    turned = np.stack([dihedral.dihedral(part, number) for part in parts])
    kernel = np.asarray(_apply(_parameters(), turned))
    found.append(dihedral.undo_dihedral(kernel, number))
  mean = np.mean(found, axis=0)
  norm = float(np.square(mean).sum())
  variance = float(np.var(found, axis=0).sum()) / norm
  error = norm * _ERROR * variance**_POWER
  kernel = _on_the_fine_grid(mean[::-1, ::-1], scale)
  return Found(kernel, error, _MARGIN * error)


@functools.cache
def _parameters() -> Any:
  return parameters.load_params(_FILE)[0]


@jax.jit
def _apply(params: Any, parts: jax.Array) -> jax.Array:
  finder = kernel_finder.KernelFinder(together=True)
  found: Any = finder.apply({'params': params}, parts)
  return found[-1][0]


def _parts(image: np.ndarray) -> list[np.ndarray]:
  """Cuts squares that cover an image, those with the most structure."""
  side = min(_SIDE, min(image.shape) // _STEP * _STEP)
  places = [
    np.linspace(0, n - side, -(-n // side)).round().astype(int)
    for n in image.shape
  ]
  parts = [
    image[y : y + side, x : x + side] for y in places[0] for x in places[1]
  ]
  parts.sort(
    key=lambda a: (
      -np.square(np.diff(a, axis=0)).sum() - np.square(np.diff(a, axis=1)).sum()
    )
  )
  return parts[:_MOST_PARTS]


def _on_the_fine_grid(kernel: np.ndarray, scale: Scale) -> np.ndarray:
  """Stretches a kernel of the image's grid to that of the sharp one."""
  wide = resize.imresize(kernel[..., None], scale)[..., 0].clip(0)
  return blur_kernels.resample_kernel(
    wide / wide.sum(), scale, scale, center=True
  )
