"""What of a photo is trained on and what only enlarged, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import scipy  # loads its parts when they are first used

from zssr_jax.data import image_io, photo, photo_parts
from zssr_jax.data.photo import Photo
from zssr_jax.ops import resize
from zssr_jax.ops.jpeg import Jpeg
from zssr_jax.ops.resize import Scale

_DEPTHS = {'8': 'uint8', '16': 'uint16', '32': 'float32'}
_OF_16_BITS = ('int16', 'float16')
_SUFFIXES_OF_8_BITS = frozenset('.jpg .jpeg .jfif .bmp .gif .webp'.split())


class Unit(NamedTuple):
  """What the network's [0, 1] is in a photo's own numbers."""

  low: float = 0.0
  span: float = 1.0


class Picture(NamedTuple):
  """A photo as the network is shown it."""

  photo: Photo
  image: np.ndarray  # float32 [H, W, 1 or 3] in [0, 1]
  planes: np.ndarray | None  # float32 [H, W, k] in [0, 1]: bands, then alpha
  unit: Unit


def channels(bands: int) -> int:
  """Returns how many of a photo's bands, the first ones, are the image."""
  return 3 if bands >= 3 else 1


def depth(found: Photo, bits: str | None) -> str:
  """Returns the depth to write a photo with.

  Args:
    found: the photo.
    bits: '8', '16', '32', or None for its own.
  """
  if bits is None or (bits == '16' and found.depth in _OF_16_BITS):
    return found.depth
  return _DEPTHS[bits]


def sample_bytes(path: Path, bits: str | None) -> int:
  """Returns the bytes of a sample of a result, before the photo is read.

  Args:
    path: of the photo, whose name tells whether it may have more than 8 bits.
    bits: as in `depth`.
  """
  if bits is not None:
    return np.dtype(_DEPTHS[bits]).itemsize
  return 1 if path.suffix.lower() in _SUFFIXES_OF_8_BITS else 2


def read(path: Path, page: int | None, unit: Unit | None = None) -> Picture:
  """Reads a photo, and divides it into image and planes.

  Args:
    path: the file.
    page: which of its pages, from 1, or None.
    unit: as in `divide`.

  Raises:
    InputError: see `photo.read_photo`.
  """
  return divide(photo.read_photo(path, page=page), unit)


def read_tables(picture: Picture, path: Path) -> Jpeg | None:
  """Returns how a picture's file compressed it, where that says it.

  Args:
    picture: from `read`.
    path: the file.

  Raises:
    InputError: see `image_io.read_jpeg`.
  """
  is_jpeg = picture.photo.container == 'JPEG'
  return image_io.read_jpeg(path) if is_jpeg else None


def divide(found: Photo, unit: Unit | None = None) -> Picture:
  """Divides a photo into image and planes.

  Args:
    found: the photo.
    unit: of another photo, to be shown with the same brightness; what lies
      outside is clipped. None: its own.
  """
  colour, alpha = photo.fill(found), found.alpha
  if alpha is not None:
    colour = photo.bleed(colour, alpha)
  own = unit_of(colour)
  unit = unit or own
  if unit != Unit():
    fractions = (colour.astype(np.float64) - unit.low) / unit.span
    colour = fractions.clip(0, 1).astype(np.float32)
  elif own != Unit():
    colour = colour.clip(0, 1)
  count = channels(colour.shape[-1])
  planes = [colour[..., count:]]
  # What is opaque everywhere stays so without a network.
  if alpha is not None and alpha.min() < 1:
    planes.append(alpha)
  beside = np.concatenate(planes, axis=-1)
  # Large photos are not held twice.
  image = colour if count == colour.shape[-1] else colour[..., :count]
  return Picture(found, image, beside if beside.size else None, unit)


def unit_of(colour: np.ndarray) -> Unit:
  """Returns [0, 1] where that holds all colours, else what they reach."""
  low, high = float(colour.min()), float(colour.max())
  if low >= 0 and high <= 1:
    return Unit()
  return Unit(low, high - low or 1.0)


class Canvas:
  """The file of an enlarged photo, in the making."""

  def __init__(
    self,
    picture: Picture,
    scale: Scale,
    *,
    container: str,
    bits: str | None,
    quality: int | None,
    folder: Path,
  ):
    """Makes room.

    Args:
      picture: what is enlarged.
      scale: by how much.
      container: see `photo.encode`.
      bits: see `depth`.
      quality: see `photo.encode`.
      folder: for a temporary file, where samples are many.

    Raises:
      InputError: see `photo.encode`.
    """
    self._picture, self._scale = picture, scale
    self._depth = depth(picture.photo, bits)
    self._canvas = photo.Canvas(
      picture.photo,
      resize.scaled_shape(picture.image.shape, scale),
      scale=resize.scale_pair(scale),
      container=container,
      depth=self._depth,
      quality=quality,
      folder=folder,
    )

  @property
  def shape(self) -> tuple[int, ...]:
    """Rows, columns and bands, alpha among them, of the file."""
    return self._canvas.shape

  def paint(self, first: int, rows: np.ndarray) -> None:
    """Takes rows of the result.

    Args:
      first: the number of the first one.
      rows: `[n, W', C + k]` in [0, 1], image and planes.
    """
    found, unit = self._picture.photo, self._picture.unit
    bands = found.colour.shape[-1]
    colour, alpha = rows[..., :bands], None
    if rows.shape[-1] > bands:
      assert found.alpha is not None
      alpha = _within(rows[..., bands:], found.alpha, self._scale, first)
    if unit != Unit():
      own = unit.low + unit.span * colour.astype(np.float64)
      colour = own.astype(np.float32)
    if found.missing is not None:
      colour = _with_holes(colour, found, self._scale, self._depth, first)
    self._canvas.paint(first, colour, alpha)

  def save(self, file: BinaryIO) -> None:
    """Writes the file; see `photo.Canvas.save`."""
    self._canvas.save(file)


def _with_holes(
  colour: np.ndarray, found: Photo, scale: Scale, depth: str, first: int
) -> np.ndarray:
  """Puts the numbers that stand for no data where there was none.

  Args:
    colour: `[n, W', C]` in the photo's own numbers.
    found: the photo, some of which is missing.
    scale: by how much it was enlarged.
    depth: to be written with. What would be rounded to the number that stands
      for no data, though there are data, is moved to the next.
    first: the number of the first row.
  """
  assert found.missing is not None
  places = _places(colour.shape, found.missing.shape, scale, first)
  holes = found.missing[places]
  if not depth.startswith('float') and not found.missing.all():
    step = 1 / (photo_parts.WHITE[depth] or 1)
    empty = found.colour[found.missing][0]
    aside = step if empty <= found.colour[~found.missing].mean() else -step
    near = np.abs(colour - empty) <= 0.5 * step
    colour = np.where(near, empty + np.float32(aside), colour)
  return np.where(holes, found.colour[places], colour)


def _within(
  result: np.ndarray, alpha: np.ndarray, scale: Scale, first: int = 0
) -> np.ndarray:
  """Keeps an enlarged alpha within what the 3x3 pixels about it hold.

  So what was opaque or transparent stays so exactly, whatever little the
  network adds.

  Args:
    result: `[n, W', 1]`.
    alpha: `[H, W, 1]`, before.
    scale: by how much it was enlarged.
    first: the number of the first row.
  """
  rows, columns = _places(result.shape, alpha.shape, scale, first)
  top = max(int(rows.min()) - 1, 0)
  near = alpha[top : int(rows.max()) + 2]
  low = scipy.ndimage.minimum_filter(near, (3, 3, 1))
  high = scipy.ndimage.maximum_filter(near, (3, 3, 1))
  places = rows - top, columns
  return result.clip(low[places], high[places])


def _places(
  shape: tuple[int, ...], before: tuple[int, ...], scale: Scale, first: int
) -> tuple[np.ndarray, ...]:
  """Returns in which pixel of an image each of the enlarged one lies.

  Args:
    shape: of rows of the enlarged image, `[n, W', ...]`.
    before: its shape before.
    scale: by how much it was enlarged.
    first: the number of the first row.

  Returns:
    Rows and columns, as an index of the image before.
  """
  return np.ix_(
    *(
      np.minimum(((np.arange(n) + start + 0.5) / s).astype(np.intp), most - 1)
      for n, s, most, start in zip(
        shape[:2], resize.scale_pair(scale), before, (first, 0), strict=False
      )
    )
  )


def notes(picture: Picture, container: str) -> tuple[str, ...]:
  """Says what of a photo was converted, and what its result does not hold."""
  found = picture.photo
  return found.notes + photo.left_out(found, container)
