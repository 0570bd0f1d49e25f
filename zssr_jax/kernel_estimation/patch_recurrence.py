"""The kernel under which patches of one image recur across scales.

Michaeli and Irani, "Nonparametric Blind Super-Resolution", ICCV 2013; also
described in US patent 9,692,939. The right kernel turns the image's own large
patches, downscaled with it, into patches that the image has already:

  q_i  patches of n x n pixels           r_j  their would-be parents,
  R_j  blurs r_j and subsamples by s          s (n - 1) + m pixels a side
  k    m x m:   argmin_k  sum_ij w_ij |q_i - R_j k|^2 + |C k|^2

and w_ij says how alike q_i and R_j k are under the k of the last iteration,
the first being a delta.

Three things are not as published. Patches are compared, and fitted, without
their mean and up to a gain; and there are two iterations, not fifteen. Smooth
patches are nearer to everything, so each iteration's kernel comes out wider
than the last: it correlates with the true kernel to .76 after one and .60 after
fifteen with plain distances, to .91 after one, .85 after four and .77 after
twelve with these (trials on 8 to 12 images of BSDS300 train, x2, with a
smoothness of 1e-3). And smoothness weighs more, by scale: with 1e-3 throughout,
kernels at x3 and x4 are combs with teeth as far apart as the scale
(docs/kernels.md).
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # loads its parts when they are first used

from zssr_jax import blur_kernels, errors
from zssr_jax.kernel_estimation.estimator import Estimator
from zssr_jax.ops import resize
from zssr_jax.ops.resize import Scale

_PATCH = 5  # n
_TAPS = {2: 9, 3: 13, 4: 17}  # m, by scale
_ITERATIONS = 2
_CHILDREN = 3000  # q_i, of highest contrast
_PARENTS = 12000  # r_j, of highest contrast
_SPREAD = 0.01  # by so much less correlation a weight is e times smaller
_ALIKE = 0.7  # correlation below which the best parent is no match
_GAINS = 0.4, 2.5  # ratio of contrasts between which patches are compared
# Weight of |C k|^2, relative to the mean of the normal matrix, by scale: what
# the subsampling does not see grows with it.
_SMOOTH = {2: 0.1, 3: 0.5, 4: 1.0}


def estimate(image: np.ndarray, scale: Scale, key: jax.Array) -> np.ndarray:
  """Estimates the kernel nonparametrically.

  Args:
    image: `[H, W, C]` in [0, 1]; the channels are averaged.
    scale: 2, 3 or 4, a number or an equal pair.
    key: random key; picks among the patches of high contrast.

  Returns:
    float32 `[h, w]`, non-negative, sums to 1, centred.

  Raises:
    ValueError: for another scale; `NoKernelError`, which is one, for an image
      with a side below twice the parent's: 34, 50 and 66 pixels at scales 2,
      3 and 4.
  """
  scales = resize.scale_pair(scale)
  factor = scales[0]
  if scales[1] != factor or factor not in _TAPS:
    raise ValueError(f'patch recurrence is for x2, x3 and x4, not {scale!r}')
  factor = int(factor)
  taps = _TAPS[factor]
  parent = factor * (_PATCH - 1) + taps
  if min(image.shape[:2]) < 2 * parent:
    raise errors.NoKernelError(
      f'an image of {image.shape[0]}x{image.shape[1]} pixels is too small for'
      f' patch recurrence: its shorter side needs {2 * parent} pixels'
    )
  grey = np.asarray(image, np.float32).mean(2)
  rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
  kernel = _solve(
    jnp.asarray(grey),
    jnp.asarray(_pick(grey, _PATCH, _CHILDREN, 2, rng)),
    jnp.asarray(_pick(grey, parent, _PARENTS, 3, rng)),
    jnp.asarray(_roughness(taps)),
    taps=taps,
    scale=factor,
  )
  return blur_kernels.resample_kernel(
    np.asarray(kernel), factor, factor, center=True
  )


def _pick(
  grey: np.ndarray, side: int, count: int, among: int, rng
) -> np.ndarray:
  """Corners (y, x) `[count, 2]` of patches, drawn from those of most contrast.

  Args:
    grey: `[H, W]`.
    side: of the patches.
    count: how many; fewer when there are no more.
    among: the draw is from the best `among * count`.
    rng: numpy's generator.
  """
  y, x = np.gradient(grey)
  energy = scipy.ndimage.uniform_filter(y**2 + x**2, side, mode='nearest')
  low = side // 2
  rows, columns = (n - side + 1 for n in grey.shape)
  energy = energy[low : low + rows, low : low + columns].ravel()
  best = np.argsort(-energy, kind='stable')[: among * count]
  chosen = rng.choice(best, min(count, len(best)), replace=False)
  return np.stack([chosen // columns, chosen % columns], 1).astype(np.int32)


def _roughness(taps: int) -> np.ndarray:
  """`C.T @ C` of the differences between taps, those outside being 0."""
  padded = np.pad(np.arange(taps**2).reshape(taps, taps), 1, constant_values=-1)
  total = np.zeros((taps**2 + 1, taps**2 + 1), np.float32)
  for a, b in (
    (padded[1:], padded[:-1]),
    (padded[:, 1:], padded[:, :-1]),
  ):
    for i, j in zip(a.ravel(), b.ravel(), strict=True):
      total[i, i] += 1
      total[j, j] += 1
      total[i, j] -= 1
      total[j, i] -= 1
  return total[:-1, :-1]  # the last is the outside


@functools.partial(jax.jit, static_argnames=('taps', 'scale'))
def _solve(
  grey: jax.Array,
  children: jax.Array,
  parents: jax.Array,
  roughness: jax.Array,
  *,
  taps: int,
  scale: int,
) -> jax.Array:
  """Runs the iterations and returns the kernel `[taps, taps]`.

  Args:
    grey: `[H, W]`.
    children: corners of the q_i `[I, 2]`.
    parents: corners of the r_j `[J, 2]`.
    roughness: `C.T @ C`.
    taps: m.
    scale: s.
  """
  area = _PATCH**2
  # All windows of the kernel's size: R_j is n^2 of their rows.
  windows = _windows(grey, taps)
  columns = grey.shape[1] - taps + 1
  offset = jnp.arange(_PATCH) * scale
  y = parents[:, 0, None, None] + offset[None, :, None]
  x = parents[:, 1, None, None] + offset[None, None]
  rows = (y * columns + x).reshape(-1, area)
  means = jax.lax.map(lambda row: windows[row].mean(0), rows)  # [J, m^2]
  child_corner = children[:, 0] * (grey.shape[1] - _PATCH + 1) + children[:, 1]
  child = _windows(grey, _PATCH)[child_corner]
  child, contrast = _unit(child)
  # A parent that holds the child has the answer in it, at another scale.
  parent = scale * (_PATCH - 1) + taps
  # The distance of the centres is in half pixels.
  distance = jnp.abs(
    (2 * children[:, None] + _PATCH) - (2 * parents[None] + parent)
  ).max(2)
  apart = distance > parent + _PATCH

  def iterate(kernel, _):
    small, its_contrast = _unit((windows @ kernel)[rows])
    alike = child @ small.T  # [I, J]
    gain = alike * contrast / its_contrast.T
    good = apart & (gain > _GAINS[0]) & (gain < _GAINS[1])
    alike = jnp.where(good, alike, -1.0)
    best = alike.max(1, keepdims=True)
    weight = jax.nn.softmax(alike / _SPREAD, axis=1)
    weight = jnp.where(best > _ALIKE, weight, 0.0)
    # |q - g R k|^2 / |q|^2, summed: quadratic in k, by rows of the windows.
    square = (weight * (gain / contrast) ** 2).sum(0)  # [J]
    target = (weight * gain / contrast).T @ child  # [J, n^2]
    zero = jnp.zeros(len(windows))
    spread = jnp.broadcast_to(square[:, None], rows.shape)
    matrix = windows.T @ (windows * zero.at[rows].add(spread)[:, None])
    matrix -= area * means.T @ (means * square[:, None])
    vector = windows.T @ zero.at[rows].add(target)
    smooth = _SMOOTH[scale] * jnp.trace(matrix) / taps**2 + 1e-12
    solution = jnp.linalg.solve(matrix + smooth * roughness, vector)
    solution = jnp.maximum(solution, 0.0)
    total = solution.sum()
    # Nothing alike anywhere leaves the kernel as it was.
    kernel = jnp.where(total > 0, solution / jnp.maximum(total, 1e-12), kernel)
    return kernel, None

  delta = jnp.zeros(taps**2).at[taps**2 // 2].set(1.0)
  kernel, _ = jax.lax.scan(iterate, delta, length=_ITERATIONS)
  return kernel.reshape(taps, taps)


def _windows(grey: jax.Array, side: int) -> jax.Array:
  """Cuts `[H, W]` into all its windows, by rows: `[N, side * side]`."""
  rows, columns = (n - side + 1 for n in grey.shape)
  shifted = [
    grey[u : u + rows, v : v + columns].ravel()
    for u in range(side)
    for v in range(side)
  ]
  return jnp.stack(shifted, -1)


def _unit(patches: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Patches `[N, D]` without mean and of norm 1, and the norms `[N, 1]`."""
  patches = patches - patches.mean(1, keepdims=True)
  norm = jnp.sqrt((patches**2).sum(1, keepdims=True)) + 1e-4
  return patches / norm, norm


ESTIMATOR = Estimator(
  estimate, 'kernel found by patch recurrence', 'kernel by patch recurrence'
)
