"""The arguments of `train_image`, checked and brought into one form."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from zssr_jax.ops import resize


def check_image(image: Any) -> np.ndarray:
  """Returns an image as float32 `[H, W, C]`.

  Raises:
    ValueError: unless it is `[H, W, C]` or `[H, W]`, not empty, of finite
      floats in [0, 1].
  """
  image = np.asarray(image)
  if image.ndim == 2:
    image = image[:, :, None]
  if image.ndim != 3 or 0 in image.shape:
    raise ValueError(f'an image is [H, W, C], not {image.shape}')
  if not np.issubdtype(image.dtype, np.floating):
    raise ValueError(f'an image is float in [0, 1], not {image.dtype}')
  low, high = image.min(), image.max()
  if not np.isfinite([low, high]).all():  # these find NaN, too
    raise ValueError('the image holds NaN or infinite values')
  if low < 0 or high > 1:
    raise ValueError(
      f'image values must lie in [0, 1], not [{low:g}, {high:g}]'
    )
  return image.astype(np.float32, copy=False)


def check_planes(planes: Any, shape: tuple[int, ...]) -> np.ndarray | None:
  """Returns the planes beside an image as float32 `[H, W, k]`, or None.

  Args:
    planes: `[H, W, k]` or None.
    shape: of the image.

  Raises:
    ValueError: unless they are of the image's size, finite floats in [0, 1].
  """
  if planes is None:
    return None
  planes = np.asarray(planes)
  if planes.ndim != 3 or planes.shape[:2] != shape[:2] or not planes.size:
    raise ValueError(
      f'planes are [H, W, k], here [{shape[0]}, {shape[1]}, k], not'
      f' {planes.shape}'
    )
  try:
    return check_image(planes)
  except ValueError as error:
    raise ValueError(f'the planes beside the image: {error}') from None


def check_scale(scale: Any) -> tuple[float, float]:
  """Returns a scale as a pair (y, x).

  Raises:
    ValueError: unless both lie in [1, 16] and one of them is above 1.
  """
  try:
    scales = resize.scale_pair(scale)
  except (TypeError, ValueError):
    raise ValueError(
      f'scale must be a number from 1 to 16 or a pair (y, x), not {scale!r}'
    ) from None
  if not all(1 <= s <= 16 for s in scales):
    raise ValueError(f'scale must lie between 1 and 16, not {scale}')
  if scales == (1.0, 1.0):
    raise ValueError('scale 1 leaves nothing to do')
  return scales


def check_model(model: Any, scale: tuple[float, float], channels: int) -> None:
  """Looks whether a user's module can be trained, without computing anything.

  Args:
    model: a flax module.
    scale: factors (y, x) that it is for.
    channels: of the image.

  Raises:
    ValueError: unless it is hashable, maps `(lr [N, h, w, C], interpolated
      [N, H, W, C])` to `[N, H, W, C]`, and all its variables are parameters.
  """
  try:
    hash(model)
  except TypeError as error:
    raise ValueError(
      'your network cannot be hashed: its attributes must be numbers, strings'
      ' or tuples'
    ) from error
  rows, columns = resize.scaled_shape((16, 16), scale)
  lr = jax.ShapeDtypeStruct((1, 16, 16, channels), np.float32)
  hr = jax.ShapeDtypeStruct((1, rows, columns, channels), np.float32)
  try:
    made, variables = jax.eval_shape(
      model.init_with_output, jax.random.key(0), lr, hr
    )
  except Exception as error:  # whatever the user's code may raise
    first = str(error).strip().split('\n')[0]
    raise ValueError(
      f'your network cannot be applied to an image of {lr.shape} and its'
      f' upscale of {hr.shape}: {type(error).__name__}: {first}'
    ) from error
  if getattr(made, 'shape', None) != hr.shape:
    raise ValueError(
      f'your network makes {getattr(made, "shape", type(made))} of an image of'
      f' {lr.shape} and its upscale of {hr.shape}; it must keep the shape of'
      ' the upscale'
    )
  if set(variables) != {'params'}:
    held = ', '.join(sorted(variables)) or 'none'
    raise ValueError(
      f'the variables of your network must be params, and nothing else: {held}'
    )


def check_kernel(kernel: Any, shape: tuple[int, ...]) -> np.ndarray:
  """Returns a blur kernel as float32 `[h, w]` that sums to 1.

  Args:
    kernel: `[h, w]`.
    shape: of the image, which no kernel is larger than.

  Raises:
    ValueError: unless it is `[h, w]`, finite, of a positive sum, and fits.
  """
  kernel = np.asarray(kernel, np.float32)
  if kernel.ndim != 2 or 0 in kernel.shape:
    raise ValueError(f'a kernel is [h, w], not {kernel.shape}')
  if not np.isfinite(kernel).all():
    raise ValueError('the kernel holds NaN or infinite values')
  total = float(kernel.sum(dtype=np.float64))
  if total <= 0:
    raise ValueError(f'the kernel sums to {total:g}; it must be positive')
  if kernel.shape[0] > shape[0] or kernel.shape[1] > shape[1]:
    raise ValueError(
      f'the kernel ({kernel.shape[0]}x{kernel.shape[1]}) is larger than the'
      f' image ({shape[0]}x{shape[1]})'
    )
  return kernel / np.float32(total)
