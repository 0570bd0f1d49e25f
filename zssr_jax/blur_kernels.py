"""Blur kernels: how they are placed, stretched, measured and compared.

The convention is that of `degradation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # loads its parts when they are first used

from zssr_jax.ops import resize
from zssr_jax.ops.resize import Scale

# Points a side at which a Gaussian or a disc is read within one pixel.
_FINE = 16
# What the taps outside may sum to where a disc or a line is cut off.
_CUT = 1e-4


def aligned_center(shape: tuple[int, ...], scale: Scale) -> tuple[float, float]:
  """Centre of mass (y, x) that makes a kernel of `shape` shift nothing."""
  y, x = resize.scale_pair(scale)
  return shape[0] // 2 + (y - 1) / 2, shape[1] // 2 + (x - 1) / 2


def center_of_mass(kernel: np.ndarray) -> tuple[float, float]:
  """Centre of mass (y, x) of a kernel `[h, w]`, in taps from its corner."""
  kernel = np.asarray(kernel, np.float64)
  total = kernel.sum()
  rows = (kernel.sum(1) * np.arange(kernel.shape[0])).sum() / total
  columns = (kernel.sum(0) * np.arange(kernel.shape[1])).sum() / total
  return float(rows), float(columns)


def resample_kernel(
  kernel: np.ndarray, scale: Scale, new_scale: Scale, *, center: bool = False
) -> np.ndarray:
  """Stretches a kernel made for `scale` in space by `new_scale / scale`.

  Each tap moves as a point mass and is shared linearly between the taps next
  to its new place: nothing turns negative, the sum stays, and the centre of
  mass lands exactly. The offset from the aligned centre is stretched along,
  or removed with `center`; with equal scales that is plain centring.

  Args:
    kernel: `[h, w]`, sums to 1.
    scale: scale (y, x) that the kernel was given for.
    new_scale: scale it is wanted for, no larger than `scale` on either axis.
    center: put the centre of mass where nothing is shifted.

  Returns:
    float32 `[h', w']` with odd sides, sums to 1.

  Raises:
    ValueError: when `new_scale` is larger than `scale`.
  """
  old, new = resize.scale_pair(scale), resize.scale_pair(new_scale)
  if new[0] > old[0] or new[1] > old[1]:
    raise ValueError(f'a kernel for {old} cannot be stretched to {new}')
  kernel = np.asarray(kernel, np.float64)
  aligned = aligned_center(kernel.shape, old)
  mass = center_of_mass(kernel)
  out = kernel
  for axis in (0, 1):
    ratio = new[axis] / old[axis]
    offset = ratio * (0.0 if center else mass[axis] - aligned[axis])
    # Where each tap goes, relative to c of the new kernel.
    place = ratio * (np.arange(kernel.shape[axis]) - mass[axis])
    place += (new[axis] - 1) / 2 + offset
    low = np.floor(place).astype(int)
    reach = max(-low.min(), low.max() + 1, 1)
    share = place - low
    matrix = np.zeros((2 * reach + 1, kernel.shape[axis]))
    columns = np.arange(kernel.shape[axis])
    matrix[low + reach, columns] += 1 - share
    matrix[low + reach + 1, columns] += share
    out = np.moveaxis(np.tensordot(matrix, out, (1, axis)), 0, axis)
  return (out / out.sum()).astype(np.float32)


def gaussian_kernel(
  eigenvalues: tuple[float, float], angle: float, scale: float
) -> np.ndarray:
  """Returns an aligned Gaussian kernel, integrated over each tap's pixel.

  The integral keeps a Gaussian much narrower than a pixel from falling
  between the taps. It adds 1/12 to the variances of a wide one.

  Args:
    eigenvalues: variances along the two axes, in HR pixels squared, from 0.
    angle: from the x axis, towards growing y, to the axis of the first.
    scale: the scale that it is for; decides support and centre.

  Returns:
    float32 `[n, n]`, sums to 1, its centre of mass at `aligned_center`.
    n = 2 ceil(4 w + (s - 1) / 2) + 1 with w the larger of the scale and of
    the two standard deviations, so at least four of these; 19, 27 and 37 at
    scales 2, 3 and 4 for all up to the scale. Between whole scales n may be
    larger, so that the centre of mass can be put in its place.
  """
  widest = max(scale, math.sqrt(max(eigenvalues)))
  size = gaussian_side(widest, scale)
  center = aligned_center((size, size), scale)[0]
  fine = (np.arange(size * _FINE) + 0.5) / _FINE - 0.5 - center
  # Without a fine step's variance even the fine grid could miss it.
  step = 1 / (12 * _FINE**2)
  variances = (eigenvalues[0] + step, eigenvalues[1] + step)
  kernel = np.empty((size, size))
  for row in range(size):  # one by one: wide kernels would fill the memory
    part = fine[row * _FINE : (row + 1) * _FINE]
    density = gaussian_density(part, fine, variances, angle)
    kernel[row] = density.reshape(_FINE, size, _FINE).sum((0, 2))
  # It reaches as far on either side: cut askew, it would be off centre.
  inside = np.abs(np.arange(size) - center) < size - 0.5 - center
  kernel *= np.outer(inside, inside)
  kernel = (kernel / kernel.sum()).astype(np.float32)
  if scale == int(scale):
    return kernel
  # Here the taps lie unevenly about the centre: a narrow Gaussian falls to the
  # nearest of them, up to a quarter of a pixel away.
  return resample_kernel(kernel, scale, scale, center=True)


def gaussian_of(covariance: np.ndarray, scale: Scale) -> np.ndarray:
  """Returns the centred Gaussian kernel of a covariance, float32 `[h, w]`.

  Args:
    covariance: `[2, 2]` in (y, x), HR pixels squared.
    scale: number or pair (y, x).
  """
  scales = resize.scale_pair(scale)
  values, vectors = np.linalg.eigh(covariance)
  # A tap stands for a pixel, which itself has a variance of 1/12.
  variances = np.maximum(values - 1 / 12, 0)
  angle = math.atan2(vectors[0, 0], vectors[1, 0])
  kernel = gaussian_kernel(
    (float(variances[0]), float(variances[1])), angle, max(scales)
  )
  if scales[0] == scales[1]:
    return kernel
  return resample_kernel(kernel, scales, scales, center=True)


def gaussian_side(widest: float, scale: float) -> int:
  """Taps a side that four times the widest standard deviation takes.

  Args:
    widest: standard deviation, HR pixels.
    scale: decides where the centre lies.
  """
  return 2 * math.ceil(4 * widest + (scale - 1) / 2) + 1


def gaussian_density(
  y: np.ndarray, x: np.ndarray, eigenvalues: tuple[float, float], angle: float
) -> np.ndarray:
  """Returns a Gaussian that is 1 at its centre.

  Args:
    y: rows, `[h]`, relative to the centre.
    x: columns, `[w]`.
    eigenvalues: variances along the two axes, above 0.
    angle: as in `gaussian_kernel`.

  Returns:
    `[h, w]`.
  """
  y, x = y[:, None], x[None, :]
  first = math.cos(angle) * x + math.sin(angle) * y
  second = math.cos(angle) * y - math.sin(angle) * x
  return np.exp(-0.5 * (first**2 / eigenvalues[0] + second**2 / eigenvalues[1]))


def disc_kernel(radius: float, gaussian_std: float, scale: Scale) -> np.ndarray:
  """Returns the aligned kernel of a defocused lens: a disc, slightly blurred.

  It is a uniform disc convolved with an isotropic Gaussian, integrated over
  each tap's pixel.

  Args:
    radius: of the disc, HR pixels, from 0; below 1/16 it is 1/16.
    gaussian_std: standard deviation of the Gaussian, HR pixels, from 0.
    scale: number or pair (y, x) that it is for; decides where the centre is.

  Returns:
    float32 `[n, n]`, not negative, sums to 1, its centre of mass at
    `aligned_center`; no larger than it takes to cut off less than 1e-4 of it.
  """
  radius = max(radius, 1 / _FINE)
  count = 2 * math.ceil(radius * _FINE + 1)
  fine = (np.arange(count) + 0.5 - count / 2) / _FINE
  distance = np.hypot(fine[:, None], fine[None, :])
  # A soft edge, one fine step wide: the area changes smoothly with the radius.
  disc = ((radius - distance) * _FINE + 0.5).clip(0, 1)

  def render(offset: np.ndarray) -> np.ndarray:
    pixels = _gaussian_in_pixels(offset, fine, gaussian_std)
    return pixels @ disc @ pixels.T

  return _cut_and_align(render, radius + 1 + 5 * gaussian_std, scale)


def line_kernel(
  length: float, angle: float, gaussian_std: float, scale: Scale
) -> np.ndarray:
  """Returns the aligned kernel of a steady, straight motion.

  It is a line segment convolved with an isotropic Gaussian, integrated over
  each tap's pixel.

  Args:
    length: of the segment, HR pixels, from 0.
    angle: from the x axis, towards growing y; radians.
    gaussian_std: standard deviation of the Gaussian, HR pixels, from 0.
    scale: number or pair (y, x) that it is for; decides where the centre is.

  Returns:
    As from `disc_kernel`.
  """
  count = max(math.ceil(length * _FINE), 1)
  along = ((np.arange(count) + 0.5) / count - 0.5) * length
  y, x = math.sin(angle) * along, math.cos(angle) * along

  def render(offset: np.ndarray) -> np.ndarray:
    rows = _gaussian_in_pixels(offset, y, gaussian_std)
    return rows @ _gaussian_in_pixels(offset, x, gaussian_std).T

  return _cut_and_align(render, length / 2 + 1 + 5 * gaussian_std, scale)


def _gaussian_in_pixels(
  offset: np.ndarray, points: np.ndarray, std: float
) -> np.ndarray:
  """Returns how much of a Gaussian about each point falls into each pixel.

  Args:
    offset: centres of the pixels, `[n]`, which are 1 wide.
    points: `[p]`.
    std: standard deviation; 0 shares a point on an edge between both sides.

  Returns:
    `[n, p]`.
  """
  distance = offset[:, None] - points[None, :]
  std = max(std, 1e-6)
  upper = scipy.special.ndtr((distance + 0.5) / std)
  return np.asarray(upper - scipy.special.ndtr((distance - 0.5) / std))


def _cut_and_align(
  render: Callable[[np.ndarray], np.ndarray], reach: float, scale: Scale
) -> np.ndarray:
  """Renders a symmetric kernel and cuts off what is almost nothing.

  Args:
    render: takes the tap positions relative to the centre, `[n]`, the same on
      both axes, and returns the kernel there, `[n, n]`.
    reach: HR pixels from the centre beyond which nothing is worth rendering.
    scale: as in `disc_kernel`.
  """
  scales = resize.scale_pair(scale)
  largest = max(scales)
  lag = (largest - 1) / 2
  half = math.ceil(reach + lag)
  offset = np.arange(2 * half + 1) - half - lag
  kernel = render(offset)
  kernel /= kernel.sum()
  away = np.maximum(abs(offset)[:, None], abs(offset)[None, :])
  # `half - lag` taps fit on the narrower side, and as many are kept on the
  # other: cut askew, it would be off centre.
  least = math.ceil(lag)
  while half > least and kernel[away >= half - lag - 0.5].sum() < _CUT:
    half -= 1
  kernel = kernel * (away < half - lag + 0.5)
  cut = (len(offset) - 2 * half - 1) // 2
  kernel = kernel[cut : len(offset) - cut, cut : len(offset) - cut]
  kernel = (kernel / kernel.sum()).astype(np.float32)
  if all(s.is_integer() for s in scales) and scales[0] == scales[1]:
    return kernel
  # As with a Gaussian: taps that lie unevenly about the centre, see there.
  return resample_kernel(kernel, scales, scales, center=True)


def kernel_width(kernel: np.ndarray) -> tuple[float, float, float]:
  """Returns how wide a kernel is, taken for a Gaussian.

  Args:
    kernel: `[h, w]` with a positive sum.

  Returns:
    The standard deviations along its axes, the larger first, in HR pixels
    (0 where negative taps leave no variance), and the direction of the first:
    degrees in [0, 180) from the x axis, towards growing y.
  """
  kernel = np.asarray(kernel, np.float64)
  kernel = kernel / kernel.sum()
  center = center_of_mass(kernel)
  y, x = (np.arange(n) - c for n, c in zip(kernel.shape, center, strict=True))
  xy = y @ kernel @ x
  variances, axes = np.linalg.eigh(
    [[kernel.sum(0) @ x**2, xy], [xy, kernel.sum(1) @ y**2]]
  )
  second, first = np.sqrt(np.maximum(variances, 0)).tolist()
  angle = math.degrees(math.atan2(axes[1, 1], axes[0, 1])) % 180
  return first, second, angle % 180  # -1e-20 % 180 is 180


def kernel_correlation(a: np.ndarray, b: np.ndarray, scale: Scale) -> float:
  """Compares two kernels by shape alone, wherever their centres lie.

  Args:
    a: `[h, w]` with a positive sum.
    b: the same of any size.
    scale: the scale that both are for.

  Returns:
    Their inner product, both centred and of norm 1: 1 when they are the same,
    0 when they share no tap.
  """
  kernels = [resample_kernel(k, scale, scale, center=True) for k in (a, b)]
  shape = np.max([k.shape for k in kernels], axis=0).tolist()
  first, second = (
    np.asarray(pad_kernel(jnp.asarray(k), tuple(shape)), np.float64)
    for k in kernels
  )
  norms = np.linalg.norm(first) * np.linalg.norm(second)
  return float((first * second).sum() / norms)


def pad_kernel(kernel: jax.Array, shape: tuple[int, int]) -> jax.Array:
  """Pads `[h, w]` with zeros to a larger shape, `c = size // 2` in place."""
  padding = [
    (new // 2 - old // 2, (new + 1) // 2 - (old + 1) // 2)
    for old, new in zip(kernel.shape, shape, strict=True)
  ]
  return jnp.pad(kernel, padding)
