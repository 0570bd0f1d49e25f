"""What a photo consists of, and what is done to its parts; host only.

The readers and the writers share this: the record itself, samples and their
rounding, the orientation, EXIF and XMP, and colours that are not RGB.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import imagecodecs
import numpy as np
from PIL import ExifTags, Image, ImageCms

from zssr_jax.data import image_io, png_chunks
from zssr_jax.data.image_io import Refusal
from zssr_jax.ops import color

# Of each depth, the number that stands for white; None: numbers as stored.
WHITE = {
  'uint8': 255,
  'uint16': 65535,
  'int16': None,
  'float16': None,
  'float32': None,
}

_XMP_ORIENTATIONS = (
  rb'(tiff:Orientation\s*=\s*["\'])[0-9](["\'])',
  rb'(<tiff:Orientation>)[0-9](</tiff:Orientation>)',
)


_IN_MEMORY = 1 << 28  # bytes of samples that a file is not made for


@dataclasses.dataclass(frozen=True)
class Tiff:
  """What a TIFF file says that an enlarged one has to say again.

  Attributes:
    photometric: 'rgb', 'minisblack' or 'miniswhite', of the colour bands.
    associated: whether colours are stored multiplied by alpha.
    tags: GeoTIFF's, GDAL's and IPTC's tags: number, type, count, value.
  """

  photometric: str
  associated: bool = False
  tags: tuple[tuple[int, int, int, Any], ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
  """An upright image and all that its file says about it.

  Attributes:
    name: the file's path, for messages.
    colour: float32 `[H, W, C]`: grey (C = 1), RGB (3) or the bands of a TIFF.
      In [0, 1] where the depth is unsigned; otherwise the numbers stored,
      which may be NaN or infinite where they are missing.
    alpha: float32 `[H, W, 1]` in [0, 1], or None; colours are not multiplied
      by it.
    container: 'PNG', 'JPEG', 'TIFF', 'WEBP', 'BMP', 'GIF', 'AVIF' or 'HEIF'.
    depth: 'uint8', 'uint16', 'int16', 'float16' or 'float32'.
    icc: the colour profile that gives the colours their meaning.
    exif: with the prefix 'Exif' and two zeros; its orientation is upright.
    xmp: as stored, but for an orientation, which is upright.
    dpi: pixels per inch, x and y.
    tiff: None unless the container is TIFF.
    chunks: of a PNG, those that are as true of the enlarged image.
    missing: bool `[H, W, C]`, where a raster says that it has no data, or None
      where it has data everywhere.
    notes: a sentence, in one line, for each thing that was converted.
  """

  name: str
  colour: np.ndarray
  alpha: np.ndarray | None
  container: str
  depth: str
  icc: bytes | None = None
  exif: bytes | None = None
  xmp: bytes | None = None
  dpi: tuple[float, float] | None = None
  tiff: Tiff | None = None
  chunks: png_chunks.Chunks = ()
  missing: np.ndarray | None = None
  notes: tuple[str, ...] = ()


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
  """Does what `image_io.decoding` does, and lets no library warn.

  Args:
    name: the file's path.

  Raises:
    InputError: see there.
  """
  with image_io.decoding(name), warnings.catch_warnings():
    warnings.simplefilter('ignore')  # damaged metadata is no news
    yield


def chosen(count: int, page: int | None, what: str) -> int:
  """Returns the index from 0 of the frame or page that is meant.

  Args:
    count: how many there are.
    page: the number that was asked for, from 1, or None.
    what: 'frames' or 'pages'.
  """
  if page is None and count == 1:
    return 0
  if page is None:
    raise Refusal(
      f'holds {count} {what}; choose one by a number behind the name, from'
      f' FILE[1] to FILE[{count}]'
    )
  if not 1 <= page <= count:
    raise Refusal(
      f'has no [{page}] among its {what}; choose from FILE[1] to FILE[{count}]'
    )
  return page - 1


def to_fraction(samples: np.ndarray, white: float) -> np.ndarray:
  """Returns unsigned samples as float32 fractions of white."""
  out = samples.astype(np.float32)
  out /= np.float32(white)  # in place: photos are large
  return out


def to_samples(image: np.ndarray, depth: str) -> np.ndarray:
  """Rounds `[H, W, C]` to the samples of a file, half up; clips the rest.

  Args:
    image: in [0, 1] where the depth is unsigned, otherwise numbers to store.
    depth: a key of `WHITE`.

  Returns:
    The same shape; its type is the depth's.
  """
  if depth == 'uint8':
    return color.to_uint8(image)
  if depth.startswith('float'):
    return image.astype(depth)
  limits = np.iinfo(depth)
  out = np.empty(image.shape, depth)
  for row in range(len(image)):  # all at once would take much memory
    scaled = image[row].astype(np.float64) * (WHITE[depth] or 1)
    out[row] = np.floor(scaled + 0.5).clip(limits.min, limits.max)
  return out


class Samples:
  """The samples `[H, W, C]` of a file in the making.

  They wait in memory or, where they are many and may, in a temporary file.
  """

  def __init__(
    self, shape: tuple[int, ...], depth: str, *, folder: Path | None = None
  ):
    """Makes room.

    Args:
      shape: `(H, W, C)`.
      depth: a key of `WHITE`.
      folder: for a temporary file; None: memory.

    Raises:
      OSError: where there is no room in the folder.
    """
    self.shape, self.dtype = shape, np.dtype(depth)
    self._file: IO[bytes] | None = None
    size = math.prod(shape) * self.dtype.itemsize
    if folder is not None and size > _IN_MEMORY:
      folder.mkdir(parents=True, exist_ok=True)
      self._file = tempfile.TemporaryFile(dir=folder)
    else:
      self._array = np.empty(shape, self.dtype)

  def put(self, first: int, rows: np.ndarray) -> None:
    """Takes `[n, W, C]`, the rows from `first` on."""
    if self._file is None:
      self._array[first : first + len(rows)] = rows
    else:
      self._file.seek(first * self._row)
      self._file.write(np.ascontiguousarray(rows).data)

  def band(self, first: int, stop: int) -> np.ndarray:
    """Returns rows from `first` to before `stop`, `[n, W, C]`."""
    if self._file is None:
      return self._array[first:stop]
    self._file.seek(first * self._row)
    content = self._file.read((stop - first) * self._row)
    return np.frombuffer(content, self.dtype).reshape(-1, *self.shape[1:])

  def whole(self) -> np.ndarray:
    """Returns `[H, W, C]`."""
    return self.band(0, self.shape[0])

  @property
  def _row(self) -> int:
    """Bytes of a row."""
    return math.prod(self.shape[1:]) * self.dtype.itemsize


def upright(samples: np.ndarray, orientation: int) -> np.ndarray:
  """Turns and mirrors `[H, W, ...]` as its EXIF orientation, 1 to 8, asks.

  Any other number leaves it as it is.
  """
  if orientation in (3, 4, 6, 7):
    samples = samples[::-1]
  if orientation in (2, 3, 7, 8):
    samples = samples[:, ::-1]
  if image_io.is_turned(orientation):
    samples = samples.swapaxes(0, 1)
  return np.ascontiguousarray(samples)


def upright_exif(
  load: Callable[[], Image.Exif],
) -> tuple[int, bytes | None, list[str]]:
  """Takes the orientation out of EXIF, and the thumbnail.

  Args:
    load: gives the EXIF; may raise anything, since damage to it must not cost
      the photo.

  Returns:
    The orientation, 1 where none is told; the rest, None where nothing is
    left; and a note where it could not be read.
  """
  orientation = 1
  try:
    exif = load()
    orientation = exif.get(ExifTags.Base.Orientation, 1)
    if ExifTags.Base.Orientation in exif:
      del exif[ExifTags.Base.Orientation]
    return orientation, exif.tobytes() if len(exif) else None, []
  except Exception:
    return orientation, None, ['EXIF that cannot be read left out']


def upright_xmp(xmp: bytes | str | None) -> bytes | None:
  """Returns XMP whose orientation, where it has one, says upright."""
  if not xmp:
    return None
  packet = xmp.encode() if isinstance(xmp, str) else bytes(xmp)
  for pattern in _XMP_ORIENTATIONS:
    packet = re.sub(pattern, rb'\g<1>1\g<2>', packet)
  return packet


def resized_exif(exif: bytes | None, width: int, height: int) -> Image.Exif:
  """Returns EXIF that tells a new size wherever it told the old one."""
  new = Image.Exif()
  new.load(exif or b'')
  # Asking for a directory that is not there would make one.
  has_details = ExifTags.IFD.Exif in new
  details = new.get_ifd(ExifTags.IFD.Exif) if has_details else {}
  for tags, size in (
    ((ExifTags.Base.ImageWidth, ExifTags.Base.ExifImageWidth), width),
    ((ExifTags.Base.ImageLength, ExifTags.Base.ExifImageHeight), height),
  ):
    for tag, directory in zip(tags, (new, details), strict=True):
      if tag in directory:
        directory[tag] = size
  return new


def cmyk_to_rgb(inks: np.ndarray, icc: bytes | None) -> tuple[np.ndarray, str]:
  """Converts CMYK to sRGB.

  Args:
    inks: uint8 or uint16 `[H, W, 4]`, 0 for no ink.
    icc: its profile. Without one, or with one that is not for CMYK, light is
      what the inks let through: (1 - ink) (1 - black).

  Returns:
    `[H, W, 3]` of the same type, and a note on how it was made.
  """
  if icc:
    try:
      rgb = imagecodecs.cms_transform(
        np.ascontiguousarray(inks),
        icc,
        imagecodecs.cms_profile('srgb'),
        colorspace='cmyk',
        outcolorspace='rgb',
        outdtype=inks.dtype,
      )
      return np.asarray(rgb), 'CMYK converted to sRGB by its profile'
    except (RuntimeError, ValueError):  # not a profile, or of another space
      pass
  depth = inks.dtype.name
  light = 1 - to_fraction(inks, np.iinfo(inks.dtype).max)
  rgb = to_samples(light[..., :3] * light[..., 3:], depth)
  return rgb, 'CMYK without a profile converted to RGB the plain way'


def lab_to_rgb(lab: np.ndarray, depth: str) -> np.ndarray:
  """Converts CIE L*a*b* (D50) to sRGB.

  Args:
    lab: float32 `[H, W, 3]`: L* in [0, 100], a* and b* about 0.
    depth: 'uint8' or 'uint16'.

  Returns:
    `[H, W, 3]` of that type.
  """
  profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('LAB'))
  return np.asarray(
    imagecodecs.cms_transform(
      np.ascontiguousarray(lab, np.float32),
      profile.tobytes(),
      imagecodecs.cms_profile('srgb'),
      colorspace='lab',
      outcolorspace='rgb',
      outdtype=np.dtype(depth),
    )
  )
