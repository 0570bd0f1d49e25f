"""The degradations that make test images: an HR image in, an 8-bit LR out.

  ideal         MATLAB's bicubic imresize of 8-bit images
  gaussian      a random anisotropic Gaussian kernel, another for each image:
                variances along its two axes U(0, s^2), angle U(0, pi)
  disc          defocus: a disc of radius U(1.5, 4) s/2, blurred by a Gaussian
                of standard deviation U(0.3, 0.7) s/2
  line          motion: a line of length U(4, 14) s/2 and angle U(0, pi),
                blurred likewise
  shake         camera shake: one of ten kernels of the data root (see `draws`),
                in one of eight symmetries, centred; the same from x2 on
  mixed         one of these five, picked for each image, as it is or with
                -noise, -jpeg or -jpeg-crop (as often as with -jpeg)
  div2krk       as in the DIV2KRK set: 11x11, variances U(0.6, 5), every tap
                changed by up to 25%; made for x2 and used twice for x4
  poor          bicubic, then one of the next three, picked for each image
  poor-noise    ... Gaussian noise, its standard deviation 0.05 of full range
  poor-speckle  ... speckle: every pixel changed by N(0, 0.05) times itself
  poor-jpeg     ... JPEG of quality 45, as Pillow writes it (4:2:0)
  four          four fixed kernels of the family `gaussian`, the same for all
                images: four-0, four-1, four-2, four-3
  kernel:PATH   the kernel in a file, used as it is

The first five may be followed by these, in this order:

  -noise        white Gaussian noise, its standard deviation U(1, 8)/255
  -noiseN       ... N percent of full range
  -jpeg         JPEG as Pillow writes it (4:2:0), of a quality from 30 to 95
  -jpegQ        ... of quality Q
  -crop         (after a JPEG) cut off at the top left, by up to 7 LR pixels
                each, so that the blocks do not begin at the corner, and saved
                as PNG: no file tells the quantisation tables

What is random follows from the degradation, the seed and the name of the
image alone: not from the order of calls, and not from the scale, so that an
image's kernel at x4 is its kernel at x2, twice as wide (but for `shake`). The
parts of a name draw apart: `disc-noise3` has the kernel of `disc`.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from zssr_jax.data import kernel_io
from zssr_jax.degradation import Degradation
from zssr_jax.evaluation import draws
from zssr_jax.evaluation.draws import Details, Scales
from zssr_jax.ops import color, jpeg, resize
from zssr_jax.ops.jpeg import Jpeg
from zssr_jax.ops.resize import Scale

_FILE = 'kernel:'
_SIGMA = 0.05  # of noise and speckle, in image units (1 is white)
_QUALITY = 45

_MIXED = 'mixed'
_NOISE = (1 / 255, 8 / 255)  # of -noise, in image units
_QUALITIES = (30, 95)  # of -jpeg

# Kinds of blur that the suffixes may follow.
KINDS = ('ideal', 'gaussian', 'disc', 'line', 'shake')
_NAME = re.compile(
  f'(?P<kind>{"|".join(KINDS)})'
  r'(?P<noise>-noise(?P<percent>0\.\d+|[1-9]\d?(\.\d+)?)?)?'
  r'(?P<jpeg>-jpeg(?P<quality>[1-9]\d?)?(?P<crop>-crop)?)?'
)


class Degraded(NamedTuple):
  """A low-resolution image and how it came about."""

  lr: np.ndarray  # uint8 [h, w, C], what a file would hold
  kernel: np.ndarray | None  # float32 [kh, kw], sums to 1; None: bicubic
  details: Details  # what was drawn, fit for JSON
  # White noise in image units; None: none, or of another kind.
  noise_std: float | None = None
  # What the file says of its compression; None: not a JPEG file.
  jpeg: Jpeg | None = None
  # HR pixel (y, x) where the image begins: its ground truth is cropped there.
  corner: tuple[int, int] = (0, 0)


def parse(text: str, data: Path | None = None) -> tuple[str, ...]:
  """Returns the names for `degrade` that one value of --degradation means.

  That is the value itself, but 'four' means four names. Kernel files are read
  here already, so that a bad one stops a run before it starts.

  Args:
    text: the value.
    data: data root, which `shake` and `mixed` need.

  Raises:
    ValueError: for an unknown name; the message is one line that lists those
      there are.
    InputError: (a ValueError, too) for a kernel file that is missing or cannot
      be used.
  """
  if text == 'four':
    return _FOUR
  parts = _NAME.fullmatch(text)
  if text == _MIXED or (parts and parts['kind'] == 'shake'):
    draws.check_shakes(data)
  elif text.startswith(_FILE) and text != _FILE:
    kernel_io.read_kernel(text.removeprefix(_FILE))
  elif not parts and text not in (*_KERNELS, *_AFTER_BICUBIC, 'poor'):
    raise _unknown(text)
  return (text,)


def degrade(
  name: str,
  hr: np.ndarray,
  scale: Scale,
  *,
  image_name: str,
  seed: int,
  data: Path | None = None,
) -> Degraded:
  """Makes the low-resolution image of a test.

  Drawn kernels are aligned: no method has a shift to make up for. (DIV2KRK's
  changed taps and narrow support move its centre of mass by a tenth of an LR
  pixel at most.) A kernel from a file is used with whatever shift it has.

  Args:
    name: one that `parse` returns.
    hr: uint8 `[H, W, C]`, C = 1 or 3; cut to a multiple of a whole scale.
    scale: number or pair (y, x), above 1, whole or not. `gaussian`, `disc`,
      `line` and `four` need the same on both axes, `div2krk` 2 or 4.
    image_name: which image it is; decides, with `seed`, what is drawn.
    seed: any integer; `four` does not depend on it.
    data: data root, where `shake` and `mixed` find their kernels.

  Returns:
    The image, of the shape that `Degradation.down` gives unless it is cropped;
    its kernel, in the convention of `zssr_jax.degradation`; what was drawn:
    `eigenvalues` (variances, in HR pixels squared) and `angle` (radians from
    the x axis, towards growing y, to the axis of the first), for `div2krk` at
    4 those of the kernel used twice; `radius`, `length` and `gaussian_std` (HR
    pixels); the `file` and `symmetry` of a shake; `noise_std` (image units),
    `quality`, `crop` (LR pixels, y and x); or the `kind` of `poor` and its
    strength. Those of `mixed` begin with `drawn`, a name that makes the same.

  Raises:
    ValueError: for an unknown name, an image that is not of this kind or is
      smaller than the scale, or a scale that the degradation is not made for.
    InputError: for a kernel file that is missing or cannot be used.
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
  if name == _MIXED:
    name = _pick(_generator(_MIXED, seed, image_name))
    made = _compose(name, hr, scales, image_name, seed, data)
    return made._replace(details={'drawn': name, **made.details})
  if _NAME.fullmatch(name):
    return _compose(name, hr, scales, image_name, seed, data)
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
    return _AFTER_BICUBIC[name](bicubic, rng)
  raise _unknown(name)


def _pick(rng: np.random.Generator) -> str:
  """Draws the name that `mixed` stands for."""
  kind = KINDS[rng.integers(len(KINDS))]
  what = ('', '-noise', '-jpeg')[rng.integers(3)]
  crop = '-crop' if what == '-jpeg' and rng.integers(2) else ''
  return kind + what + crop


def _compose(
  name: str,
  hr: np.ndarray,
  scales: Scales,
  image_name: str,
  seed: int,
  data: Path | None,
) -> Degraded:
  """Blurs, adds noise, compresses and crops, as far as the name says so."""
  parts = _NAME.fullmatch(name)
  assert parts is not None
  kind = parts['kind']

  def generator(part: str) -> np.random.Generator:
    return _generator(kind + part, seed, image_name)

  kernel, details = _draw_kernel(kind, scales, generator(''), data)
  degradation = Degradation(scales, kernel)
  noise_std, written, corner = None, None, (0, 0)
  if parts['noise']:
    rng = generator('-noise')
    noise_std = rng.uniform(*_NOISE)
    if parts['percent']:
      noise_std = float(parts['percent']) / 100
    blurred = _blurred(hr, degradation) / 255
    lr = color.to_uint8(
      blurred + noise_std * rng.standard_normal(blurred.shape)
    )
    details['noise_std'] = noise_std
  elif kernel is None:
    lr = resize.imresize(hr, (1 / scales[0], 1 / scales[1]))
  else:
    lr = _blur(hr, degradation)
  if parts['jpeg']:
    low, high = _QUALITIES
    quality = int(generator('-jpeg').integers(low, high + 1))
    quality = int(parts['quality'] or quality)
    lr, written = _compress(lr, quality)
    details['quality'] = quality
  if parts['crop']:
    y, x = _draw_crop(lr.shape, scales, generator('-crop'))
    lr, written = lr[y:, x:], None
    corner = (int(y * scales[0]), int(x * scales[1]))
    details['crop'] = [y, x]
  return Degraded(lr, kernel, details, noise_std, written, corner)


def _draw_kernel(
  kind: str, scales: Scales, rng: np.random.Generator, data: Path | None
) -> tuple[np.ndarray | None, Details]:
  if kind == 'ideal':
    return None, {}
  if kind == 'shake':
    return draws.shake(scales, rng, data)
  return _KERNELS[kind](scales, rng)


def _draw_crop(
  shape: tuple[int, ...], scales: Scales, rng: np.random.Generator
) -> tuple[int, int]:
  """Draws how many LR pixels (y, x) to cut off; whole HR pixels, too."""
  least = 2 * jpeg.BLOCK
  if min(shape[:2]) < least:
    raise ValueError(
      f'{shape[0]}x{shape[1]} is too small to crop: needs {least}x{least}'
    )
  places = [
    (y, x)
    for y in range(jpeg.BLOCK)
    for x in range(jpeg.BLOCK)
    if (y * scales[0]).is_integer() and (x * scales[1]).is_integer()
  ][1:]  # the first is no crop
  if not places:
    raise ValueError(
      f'no crop of less than {jpeg.BLOCK} LR pixels is whole in HR pixels, too,'
      f' at scale {scales}'
    )
  return places[rng.integers(len(places))]


def _add_noise(lr: np.ndarray, rng: np.random.Generator) -> Degraded:
  noisy = lr / 255 + _SIGMA * rng.standard_normal(lr.shape)
  details = {'kind': 'noise', 'sigma': _SIGMA}
  return Degraded(color.to_uint8(noisy), None, details, noise_std=_SIGMA)


def _add_speckle(lr: np.ndarray, rng: np.random.Generator) -> Degraded:
  noisy = lr / 255 * (1 + _SIGMA * rng.standard_normal(lr.shape))
  details = {'kind': 'speckle', 'sigma': _SIGMA}
  return Degraded(color.to_uint8(noisy), None, details)


def _through_jpeg(lr: np.ndarray, rng: np.random.Generator) -> Degraded:
  decoded, written = _compress(lr, _QUALITY)
  details = {'kind': 'jpeg', 'quality': _QUALITY}
  return Degraded(decoded, None, details, jpeg=written)


def _compress(lr: np.ndarray, quality: int) -> tuple[np.ndarray, Jpeg]:
  """Writes and reads a JPEG file; says what `image_io.read_jpeg` would."""
  stream = io.BytesIO()
  grey = lr.shape[-1] == 1
  flat = lr[..., 0] if grey else lr
  Image.fromarray(flat).save(stream, 'JPEG', quality=quality)
  with Image.open(stream) as image:
    decoded = np.array(image).reshape(lr.shape)
  written = jpeg.of_quality(quality)
  if grey:
    written = Jpeg(written.tables[[0, 0]], (1, 1))
  return decoded, written


_FOUR = tuple(f'four-{i}' for i in range(4))
_POOR = ('poor-noise', 'poor-speckle', 'poor-jpeg')
# Each takes the scales (y, x) and returns a kernel and its details.
_KERNELS: dict[str, Callable[..., tuple[np.ndarray, Details]]] = {
  'gaussian': draws.gaussian,
  'disc': draws.disc,
  'line': draws.line,
  'div2krk': draws.div2krk,
  **dict.fromkeys(_FOUR, draws.gaussian),
}
# Each takes the bicubic image, uint8, and degrades it.
_AFTER_BICUBIC: dict[str, Callable[..., Degraded]] = {
  'poor-noise': _add_noise,
  'poor-speckle': _add_speckle,
  'poor-jpeg': _through_jpeg,
}


def _unknown(name: str) -> ValueError:
  known = ', '.join((_MIXED, 'div2krk', 'poor', *_POOR, 'four', *_FOUR))
  return ValueError(
    f'unknown degradation {name!r}; there are {", ".join(KINDS)}, each also'
    ' with -noise, -noise3 (percent), -jpeg, -jpeg60 (quality) and after a JPEG'
    f' -crop; {known}, {_FILE}PATH'
  )


def _check(hr: np.ndarray, scale: Scale, image_name: str) -> Scales:
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
  blurred = _blurred(hr, degradation)
  return np.floor(blurred.clip(0, 255) + 0.5).astype(np.uint8)


def _blurred(hr: np.ndarray, degradation: Degradation) -> np.ndarray:
  """Returns the LR image in grey levels, neither rounded nor clipped."""
  # It takes float64 and whole grey levels: sums of pixels often end in a half,
  # and any rounding error would send some of those down.
  with jax.enable_x64(True):
    if degradation.kernel is not None:
      kernel = jnp.asarray(degradation.kernel, jnp.float64)
      degradation = degradation.replace(kernel=kernel)
    return np.asarray(degradation.down(jnp.asarray(hr, jnp.float64)))
