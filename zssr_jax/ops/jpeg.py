"""What JPEG compression does to an image, as a function that runs inside jit.

A JPEG file (ITU-T T.81) is lossy in three places: the chroma planes are
averaged over a few pixels, the 8x8 DCT coefficients of every plane are
rounded to multiples of a step, and the result is rounded to 8 bits. `compress`
does all of it, and decodes as libjpeg does; Huffman coding, which loses
nothing, is left out.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

BLOCK = 8

_HIGHEST = jax.lax.Precision.HIGHEST

# The example tables of T.81, annex K.1, which the IJG's library scales by
# its quality: luma, chroma.
_STANDARD = np.array(
  [
    [
      [16, 11, 10, 16, 24, 40, 51, 61],
      [12, 12, 14, 19, 26, 58, 60, 55],
      [14, 13, 16, 24, 40, 57, 69, 56],
      [14, 17, 22, 29, 51, 87, 80, 62],
      [18, 22, 37, 56, 68, 109, 103, 77],
      [24, 35, 55, 64, 81, 104, 113, 92],
      [49, 64, 78, 87, 103, 121, 120, 101],
      [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    [
      [17, 18, 24, 47, 99, 99, 99, 99],
      [18, 21, 26, 66, 99, 99, 99, 99],
      [24, 26, 56, 99, 99, 99, 99, 99],
      [47, 66, 99, 99, 99, 99, 99, 99],
      [99, 99, 99, 99, 99, 99, 99, 99],
      [99, 99, 99, 99, 99, 99, 99, 99],
      [99, 99, 99, 99, 99, 99, 99, 99],
      [99, 99, 99, 99, 99, 99, 99, 99],
    ],
  ],
  np.float32,
)


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=['tables', 'error_std'],
  meta_fields=['sampling'],
)
@dataclasses.dataclass(frozen=True, eq=False)
class Jpeg:
  """How an image was compressed; a pytree, the sampling static.

  Attributes:
    tables: float32 `[2, 8, 8]`, steps of the quantiser for luma and chroma,
      `[vertical, horizontal frequency]`, in the units of the file: those of
      the orthonormal DCT of grey levels 0 to 255.
    sampling: pixels per chroma sample (y, x): (1, 1) is 4:4:4, (1, 2) 4:2:2,
      (2, 2) 4:2:0.
    error_std: root mean square of the error that it left in the image at hand,
      in image units, as far as that is known.
  """

  tables: Any
  sampling: tuple[int, int] = (2, 2)
  error_std: Any = None

  def transposed(self) -> Jpeg:
    """Returns that of the image with rows and columns exchanged."""
    tables = np.swapaxes(self.tables, 1, 2)
    return Jpeg(tables, self.sampling[::-1], self.error_std)


def of_quality(quality: float, sampling: tuple[int, int] = (2, 2)) -> Jpeg:
  """Returns what the IJG's library, and most programs, do at a quality.

  Args:
    quality: 1 to 100; what lies between whole numbers is as good.
    sampling: pixels per chroma sample (y, x).

  Raises:
    ValueError: for a quality out of range.
  """
  if not 1 <= quality <= 100:
    raise ValueError(f'a JPEG quality is 1 to 100, not {quality}')
  percent = 5000 / quality if quality < 50 else 200 - 2 * quality
  # Whole percents, as in the library.
  steps = np.floor((_STANDARD * np.floor(percent) + 50) / 100)
  return Jpeg(np.clip(steps, 1, 255).astype(np.float32), sampling)


def quality_of(jpeg: Jpeg) -> int:
  """Returns the quality, 1 to 100, whose luma table is nearest; on the host."""
  table = np.log(np.asarray(jpeg.tables)[0])
  gaps = [
    np.abs(np.log(np.asarray(of_quality(q).tables)[0]) - table).mean()
    for q in range(1, 101)
  ]
  return 1 + int(np.argmin(gaps))


@functools.cache
def dct_matrix() -> np.ndarray:
  """Returns the orthonormal DCT-II, float32 `[frequency, position]`, 8x8."""
  frequency, position = np.mgrid[:BLOCK, :BLOCK]
  matrix = np.cos(np.pi * frequency * (2 * position + 1) / (2 * BLOCK))
  matrix *= np.sqrt(2 / BLOCK)
  matrix[0] /= np.sqrt(2)
  return matrix.astype(np.float32)


def compress(image: jax.Array, jpeg: Jpeg) -> jax.Array:
  """Compresses an image and decodes it again; runs inside jit.

  The gradient is zero almost everywhere.

  Args:
    image: `[H, W, C]` in [0, 1]. C = 3 is RGB; otherwise every channel is
      treated as luma.
    jpeg: tables and sampling; the block grid begins at the first pixel.

  Returns:
    `[H, W, C]` in [0, 1], multiples of 1/255.
  """
  tables = jnp.asarray(jpeg.tables, image.dtype)
  levels = jnp.clip(jnp.round(image * 255), 0, 255)
  if image.shape[-1] != 3:
    return _coded(levels, tables[0]) / 255
  y, cb, cr = _ycc_of_rgb(*(levels[..., i] for i in range(3)))
  y = _coded(y[..., None], tables[0])[..., 0]
  chroma = _shrunk(jnp.stack([cb, cr], -1), jpeg.sampling)
  chroma = _enlarged(_coded(chroma, tables[1]), jpeg.sampling)
  chroma = chroma[: image.shape[0], : image.shape[1]]
  return _rgb_of_ycc(y, chroma[..., 0], chroma[..., 1]) / 255


def _coded(planes: jax.Array, steps: jax.Array) -> jax.Array:
  """Quantises the DCT of `[H, W, N]` grey levels; returns grey levels."""
  rows, columns, count = planes.shape
  pads = (-rows % BLOCK, -columns % BLOCK)
  padded = jnp.pad(planes, ((0, pads[0]), (0, pads[1]), (0, 0)), mode='edge')
  # [block row, row, block column, column, plane]
  blocks = padded.reshape(
    (rows + pads[0]) // BLOCK, BLOCK, (columns + pads[1]) // BLOCK, BLOCK, count
  )
  dct = jnp.asarray(dct_matrix(), planes.dtype)
  product = functools.partial(jnp.einsum, precision=_HIGHEST)
  spectrum = product('ai,yixjn->yaxjn', dct, blocks - 128)
  spectrum = product('bj,yaxjn->yaxbn', dct, spectrum)
  spectrum = jnp.round(spectrum * 8) / 8  # libjpeg has three binary places
  step = steps[None, :, None, :, None]
  spectrum = step * _round_half_away(spectrum / step)
  blocks = product('ai,yaxbn->yixbn', dct, spectrum)
  blocks = product('bj,yixbn->yixjn', dct, blocks)
  levels = jnp.clip(jnp.round(blocks + 128), 0, 255)
  return levels.reshape(padded.shape)[:rows, :columns]


def _round_half_away(x: jax.Array) -> jax.Array:
  """Rounds halves away from zero, as libjpeg's quantiser does.

  Halves are frequent: the mean of a block is a multiple of 1/8.
  """
  return jnp.trunc(x + jnp.copysign(jnp.asarray(0.5, x.dtype), x))


def _shrunk(planes: jax.Array, sampling: tuple[int, int]) -> jax.Array:
  """Averages `[H, W, N]` over `sampling`; `[ceil(H/y), ceil(W/x), N]`.

  Halves go down and up in turn from column to column, as in libjpeg.
  """
  if sampling == (1, 1):
    return planes
  y, x = sampling
  rows, columns, count = planes.shape
  padded = jnp.pad(
    planes, ((0, -rows % y), (0, -columns % x), (0, 0)), mode='edge'
  )
  rows, columns = padded.shape[0] // y, padded.shape[1] // x
  total = padded.reshape(rows, y, columns, x, count).sum((1, 3))
  bias = np.full((columns, 1), y * x // 2)
  if (y, x) in ((1, 2), (2, 2)):
    bias[::2] -= 1
  return jnp.floor((total + jnp.asarray(bias[None], planes.dtype)) / (y * x))


def _enlarged(planes: jax.Array, sampling: tuple[int, int]) -> jax.Array:
  """Brings `[h, w, N]` back to `[y h, x w, N]` in libjpeg's default way.

  It interpolates linearly where the factors are 1 and 2 ("fancy upsampling",
  3/4 of the nearest sample and 1/4 of the next), and repeats otherwise.
  """
  if sampling == (1, 1):
    return planes
  if max(sampling) > 2 or (sampling[1] == 2 and planes.shape[1] <= 2):
    return jnp.repeat(jnp.repeat(planes, sampling[0], 0), sampling[1], 1)
  for axis in (0, 1):
    if sampling[axis] == 2:
      planes = _doubled(planes, axis)
  # Halves go down and up in turn, in quarters or sixteenths.
  size = planes.shape[axis := 1 if sampling[1] == 2 else 0]
  bias = np.resize([8, 7] if sampling == (2, 2) else [4, 8], size) / 16
  bias = np.expand_dims(bias, (1 - axis, 2))
  return jnp.floor(planes + jnp.asarray(bias, planes.dtype))


def _doubled(planes: jax.Array, axis: int) -> jax.Array:
  """Interpolates linearly to twice as many samples along an axis."""
  size = planes.shape[axis]
  widths = [(1, 1) if i == axis else (0, 0) for i in range(planes.ndim)]
  padded = jnp.pad(planes, widths, mode='edge')
  before, after = (
    jax.lax.slice_in_dim(padded, start, start + size, axis=axis)
    for start in (0, 2)
  )
  pairs = jnp.stack([3 * planes + before, 3 * planes + after], axis + 1) / 4
  shape = list(planes.shape)
  shape[axis] *= 2
  return pairs.reshape(shape)


def _ycc_of_rgb(r, g, b) -> tuple[jax.Array, jax.Array, jax.Array]:
  """JFIF's colours, rounded, all in [0, 255]."""
  y = 0.299 * r + 0.587 * g + 0.114 * b
  # Of the exact luma, not of the rounded one.
  cb = 128 + (b - y) / 1.772
  cr = 128 + (r - y) / 1.402
  y, cb, cr = (jnp.clip(jnp.round(plane), 0, 255) for plane in (y, cb, cr))
  return y, cb, cr


def _rgb_of_ycc(y, cb, cr) -> jax.Array:
  """Undoes `_ycc_of_rgb`: `[H, W, 3]`, rounded and clipped to [0, 255]."""
  r = y + 1.402 * (cr - 128)
  b = y + 1.772 * (cb - 128)
  g = (y - 0.299 * r - 0.114 * b) / 0.587
  return jnp.clip(jnp.round(jnp.stack([r, g, b], -1)), 0, 255)
