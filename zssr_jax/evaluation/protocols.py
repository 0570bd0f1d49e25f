"""The degradations that make test images: an HR image in, an 8-bit LR out.

  ideal         MATLAB's bicubic imresize of 8-bit images
  gaussian      a random anisotropic Gaussian kernel, another for each image:
                variances along its two axes U(0, s^2), angle U(0, pi)
  div2krk       as in the DIV2KRK set: 11x11, variances U(0.6, 5), every tap
                changed by up to 25%; made for x2 and used twice for x4
  poor          bicubic, then one of the next three, picked for each image
  poor-noise    ... Gaussian noise, its standard deviation 0.05 of full range
  poor-speckle  ... speckle: every pixel changed by N(0, 0.05) times itself
  poor-jpeg     ... JPEG of quality 45, as Pillow writes it (4:2:0)
  four          four fixed kernels of the family `gaussian`, the same for all
                images: four-0, four-1, four-2, four-3
  kernel:PATH   the kernel in a file, used as it is

What is random follows from the degradation, the seed and the name of the
image alone: not from the order of calls, and not from the scale, so that an
image's kernel at x4 is its kernel at x2, twice as wide.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.signal
from PIL import Image

from zssr_jax import blur_kernels
from zssr_jax.data import kernel_io
from zssr_jax.degradation import Degradation
from zssr_jax.ops import color, resize
from zssr_jax.ops.resize import Scale

_FILE = 'kernel:'
_SIGMA = 0.05  # of noise and speckle, in image units (1 is white)
_QUALITY = 45

Details = dict[str, Any]


class Degraded(NamedTuple):
  """A low-resolution image and how it came about."""

  lr: np.ndarray  # uint8 [h, w, C], what a file would hold
  kernel: np.ndarray | None  # float32 [kh, kw], sums to 1; None: bicubic
  details: Details  # what was drawn, fit for JSON


def parse(text: str) -> tuple[str, ...]:
  """Returns the names for `degrade` that one value of --degradation means.

  That is the value itself, but 'four' means four names. A kernel file is read
  here already, so that a bad one stops a run before it starts.

  Raises:
    ValueError: for an unknown name; the message is one line that lists those
      there are.
    InputError: (a ValueError, too) for a kernel file that cannot be used.
  """
  if text == 'four':
    return _FOUR
  if text.startswith(_FILE) and text != _FILE:
    kernel_io.read_kernel(text.removeprefix(_FILE))
  elif text not in (*_KERNELS, *_AFTER_BICUBIC, 'poor'):
    raise _unknown(text)
  return (text,)


def degrade(
  name: str,
  hr: np.ndarray,
  scale: Scale,
  *,
  image_name: str,
  seed: int,
) -> Degraded:
  """Makes the low-resolution image of a test.

  Drawn kernels are aligned: no method has a shift to make up for. (DIV2KRK's
  changed taps and narrow support move its centre of mass by a tenth of an LR
  pixel at most.) A kernel from a file is used with whatever shift it has.

  Args:
    name: one that `parse` returns.
    hr: uint8 `[H, W, C]`, C = 1 or 3; cut to a multiple of a whole scale.
    scale: number or pair (y, x), above 1, whole or not. `gaussian` and `four`
      need the same on both axes, `div2krk` 2 or 4.
    image_name: which image it is; decides, with `seed`, what is drawn.
    seed: any integer; `four` does not depend on it.

  Returns:
    The image, of the shape that `Degradation.down` gives; its kernel, in
    the convention of `zssr_jax.degradation`; what was drawn: `eigenvalues`
    (variances, in HR pixels squared) and `angle` (radians from the x axis,
    towards growing y, to the axis of the first), for `div2krk` at 4 those of
    the kernel used twice; or the `kind` of `poor` and its strength.

  Raises:
    ValueError: for an unknown name, an image that is not of this kind or is
      smaller than the scale, or a scale that the degradation is not made for.
    InputError: for a kernel file that cannot be used.
  """
  scales = _check(hr, scale, image_name)
  rows, columns = (
    size // int(factor) * int(factor) if factor.is_integer() else size
    for size, factor in zip(hr.shape[:2], scales, strict=True)
  )
  hr = hr[:rows, :columns]
  if name.startswith(_FILE):
    path = name.removeprefix(_FILE)
    kernel = kernel_io.read_kernel(path)
    lr = _blur(hr, Degradation(scales, kernel))
    return Degraded(lr, kernel, {'file': path})
  if name == 'poor':
    name = _POOR[_generator(name, seed, image_name).integers(len(_POOR))]
  if name in _FOUR:
    seed, image_name = 0, ''
  rng = _generator(name, seed, image_name)
  if name in _KERNELS:
    kernel, details = _KERNELS[name](scales, rng)
    lr = _blur(hr, Degradation(scales, kernel))
    return Degraded(lr, kernel, details)
  if name in _AFTER_BICUBIC:
    bicubic = resize.imresize(hr, (1 / scales[0], 1 / scales[1]))
    lr, details = _AFTER_BICUBIC[name](bicubic, rng)
    return Degraded(lr, None, details)
  raise _unknown(name)


def _draw_gaussian(
  scales: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, Details]:
  scale = scales[0]
  if scales[1] != scale:
    raise ValueError(
      f'a Gaussian kernel needs the same scale on both axes, not {scales}'
    )
  first, second = (rng.uniform(0, 1, 2) * scale**2).tolist()
  angle = rng.uniform(0, math.pi)
  kernel = blur_kernels.gaussian_kernel((first, second), angle, scale)
  return kernel, {'eigenvalues': [first, second], 'angle': angle}


def _draw_div2krk(
  scales: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, Details]:
  if scales not in ((2.0, 2.0), (4.0, 4.0)):
    raise ValueError(f'div2krk is made for scales 2 and 4, not {scales}')
  first, second = rng.uniform(0.6, 5, 2).tolist()
  angle = rng.uniform(0, math.pi)
  center = blur_kernels.aligned_center((11, 11), 2)[0]
  offset = np.arange(11) - center
  kernel = blur_kernels.gaussian_density(offset, offset, (first, second), angle)
  kernel *= rng.uniform(0.75, 1.25, kernel.shape)
  kernel /= kernel.sum()
  if scales[0] == 4:
    # Twice in a row is once with the kernel and its copy of doubled spacing.
    spaced = np.zeros((21, 21))
    spaced[::2, ::2] = kernel
    kernel = scipy.signal.convolve2d(kernel, spaced)
  return kernel.astype(np.float32), {
    'eigenvalues': [first, second],
    'angle': angle,
  }


def _keep(
  lr: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, Details]:
  return lr, {}


def _add_noise(
  lr: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, Details]:
  noisy = lr / 255 + _SIGMA * rng.standard_normal(lr.shape)
  return color.to_uint8(noisy), {'kind': 'noise', 'sigma': _SIGMA}


def _add_speckle(
  lr: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, Details]:
  noisy = lr / 255 * (1 + _SIGMA * rng.standard_normal(lr.shape))
  return color.to_uint8(noisy), {'kind': 'speckle', 'sigma': _SIGMA}


def _through_jpeg(
  lr: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, Details]:
  stream = io.BytesIO()
  flat = lr[..., 0] if lr.shape[-1] == 1 else lr
  Image.fromarray(flat).save(stream, 'JPEG', quality=_QUALITY)
  with Image.open(stream) as image:
    decoded = np.array(image).reshape(lr.shape)
  return decoded, {'kind': 'jpeg', 'quality': _QUALITY}


_FOUR = tuple(f'four-{i}' for i in range(4))
_POOR = ('poor-noise', 'poor-speckle', 'poor-jpeg')
# Each takes the scales (y, x) and returns a kernel and its details.
_KERNELS: dict[str, Callable[..., tuple[np.ndarray, Details]]] = {
  'gaussian': _draw_gaussian,
  'div2krk': _draw_div2krk,
  **dict.fromkeys(_FOUR, _draw_gaussian),
}
# Each takes the bicubic image, uint8, and returns it degraded, with details.
_AFTER_BICUBIC: dict[str, Callable[..., tuple[np.ndarray, Details]]] = {
  'ideal': _keep,
  'poor-noise': _add_noise,
  'poor-speckle': _add_speckle,
  'poor-jpeg': _through_jpeg,
}


def _unknown(name: str) -> ValueError:
  known = ', '.join(
    ('ideal', 'gaussian', 'div2krk', 'poor', *_POOR, 'four', *_FOUR)
  )
  return ValueError(
    f'unknown degradation {name!r}; there are {known}, {_FILE}PATH'
  )


def _check(
  hr: np.ndarray, scale: Scale, image_name: str
) -> tuple[float, float]:
  """Returns the scale as a pair; see `degrade` for what it refuses."""
  scales = resize.scale_pair(scale)
  if min(scales) < 1 or max(scales) == 1:
    raise ValueError(f'scale must be above 1, not {scale!r}')
  if hr.dtype != np.uint8 or hr.ndim != 3 or hr.shape[-1] not in (1, 3):
    raise ValueError(
      f'{image_name}: needs uint8 [H, W, 1 or 3], not {hr.dtype} {hr.shape}'
    )
  if hr.shape[0] < scales[0] or hr.shape[1] < scales[1]:
    raise ValueError(
      f'{image_name}: {hr.shape[0]}x{hr.shape[1]} is smaller than the scale'
      f' {scale!r}'
    )
  return scales


def _generator(name: str, seed: int, image_name: str) -> np.random.Generator:
  # As JSON, no two triples read alike.
  text = json.dumps([name, int(seed), image_name])
  digest = hashlib.sha256(text.encode()).digest()
  return np.random.default_rng(int.from_bytes(digest, 'big'))


def _blur(hr: np.ndarray, degradation: Degradation) -> np.ndarray:
  # It takes float64 and whole grey levels: sums of pixels often end in a half,
  # and any rounding error would send some of those down.
  with jax.enable_x64(True):
    kernel = jnp.asarray(degradation.kernel, jnp.float64)
    lr = degradation.replace(kernel=kernel).down(jnp.asarray(hr, jnp.float64))
    return np.floor(np.asarray(lr).clip(0, 255) + 0.5).astype(np.uint8)
