"""Images from files, and results to files; host only.

Plain 8-bit images alone: what would come out mangled (alpha, 16 bits, CMYK) is
refused rather than converted; `photo` takes that, too. Whatever is wrong with a
file raises `InputError`, whose message is one line that names the file and the
remedy.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, JpegImagePlugin

from zssr_jax.data import files
from zssr_jax.errors import InputError
from zssr_jax.ops import color, jpeg

# Largest accepted image. The memory that a run takes grows with it.
MAX_PIXELS = 178_000_000  # Pillow refuses 178,956,971 by itself

_MOST_SAMPLING = 4  # of JPEG, by its standard
# Other formats that Pillow knows hide more than 8 bits, layers or frames.
_FORMATS = ('PNG', 'JPEG', 'BMP', 'TIFF', 'WEBP')


def _has_deep_samples(image: ImageFile.ImageFile) -> bool:
  """Whether Pillow would cut more than 8 bits a sample down to 8."""
  if image.mode.startswith(('I', 'F')):
    return True
  # The raw mode; BMP's 'BGR;16' is 16 bits a pixel, five or six a sample.
  return image.format != 'BMP' and any(';16' in str(t) for t in image.tile)


# What these log of a damaged file is said by an error; it goes where a program
# sends logs, but not to stderr, where it lands by default.
for _name in ('PIL', 'tifffile', 'imagecodecs'):
  logging.getLogger(_name).addHandler(logging.NullHandler())


class Refusal(Exception):
  """Why a file is not taken, without its name; never leaves `decoding`."""


@contextlib.contextmanager
def decoding(name: str, max_pixels: int = MAX_PIXELS) -> Iterator[None]:
  """Turns what goes wrong with an image's file into an `InputError`.

  Args:
    name: the file's path.
    max_pixels: the limit, for the message.

  Raises:
    InputError: for a `Refusal` and for what the image libraries raise.
  """
  try:
    yield
  except Refusal as refusal:
    raise InputError(f'{name}: {refusal}') from None
  except (InputError, MemoryError):
    raise
  except Image.UnidentifiedImageError:
    raise InputError(
      f'{name}: not an image in a known format; save it as PNG, TIFF or JPEG'
    ) from None
  except (Image.DecompressionBombWarning, Image.DecompressionBombError):
    raise InputError(
      f'{name}: the limit is {max_pixels / 1e6:g} megapixels; crop or shrink'
      ' it first'
    ) from None
  except NotImplementedError as error:
    raise InputError(
      f'{name}: a rare kind of image ({files.one_line(error)}); save it as'
      ' PNG or as a plain TIFF'
    ) from None
  except Exception as error:  # the libraries raise a dozen types on damage
    raise InputError(
      f'{name}: damaged or cut short ({files.one_line(error)}); get a whole'
      ' copy'
    ) from None


def check_size(width: int, height: int, max_pixels: int) -> None:
  """Refuses an image with more pixels than the limit, or with none."""
  pixels = width * height
  if pixels > max_pixels:
    raise Refusal(
      f'{width}x{height} is {pixels / 1e6:.1f} megapixels, the limit is'
      f' {max_pixels / 1e6:g}; crop or shrink it first'
    )
  if pixels < 1:
    raise Refusal('holds no pixels; get a whole copy')


def _refusal(image: ImageFile.ImageFile) -> str | None:
  """Says why an opened image is not plain, or None when it is."""
  alpha = image.mode in ('LA', 'La', 'PA', 'RGBA', 'RGBa')
  if alpha or 'transparency' in image.info:
    return 'has transparency; save it without an alpha channel'
  if _has_deep_samples(image):
    return 'has more than 8 bits a sample; save it with 8'
  if image.mode == '1':
    return 'has 1 bit a pixel; save it as 8-bit greyscale'
  if image.mode not in ('L', 'RGB', 'P'):
    return f'is {image.mode}; save it as 8-bit RGB or greyscale'
  # MPO is a JPEG of a phone with a preview or a depth map behind the photo.
  frames = getattr(image, 'n_frames', 1)
  if frames > 1 and image.format != 'MPO':
    return f'holds {frames} frames; save one as a file of its own'
  return None


@contextlib.contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
  """Opens a file's image undecoded; what goes wrong is an InputError."""
  content = files.read_bytes(path)
  with decoding(str(path), max_pixels), warnings.catch_warnings():
    # Damaged metadata is not worth a message; a bomb is, and only once.
    warnings.simplefilter('ignore')
    warnings.simplefilter('error', Image.DecompressionBombWarning)
    with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
      check_size(image.width, image.height, max_pixels)
      yield image


def is_turned(orientation: int) -> bool:
  """Whether an EXIF orientation makes rows of columns."""
  return orientation in (5, 6, 7, 8)


def read_image(
  path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
  """Reads an 8-bit greyscale, RGB or palette image, upright.

  The EXIF orientation is applied. A colour profile is not: the numbers in
  the file are the pixels.

  Args:
    path: PNG, JPEG, BMP, TIFF or WebP file.
    max_pixels: refuses larger images before they are decoded.

  Returns:
    float32 `[H, W, C]` in [0, 1], C = 1 (greyscale) or 3 (RGB).

  Raises:
    InputError: when the file is missing, empty, damaged, too large, no image,
      or holds alpha, more than 8 bits, 1 bit, CMYK or several frames.
  """
  with _opened(Path(path), max_pixels) as image:
    if reason := _refusal(image):
      raise Refusal(reason)
    if any(tile[0] == 'libtiff' for tile in image.tile):
      bands = 1 if image.mode == 'L' else 3
      return _decoded_tiff(Path(path), bands, max_pixels)
    image.load()
    # A palette is colours by number, so RGB says exactly the same.
    direct = image.convert('RGB') if image.mode == 'P' else image
    pixels = np.asarray(ImageOps.exif_transpose(direct))
  if pixels.ndim == 2:
    pixels = pixels[..., None]
  return pixels.astype(np.float32) / np.float32(255)


def _decoded_tiff(path: Path, bands: int, max_pixels: int) -> np.ndarray:
  """Decodes a compressed TIFF; Pillow's library writes to stderr."""
  from zssr_jax.data import photo  # builds upon this module

  colour = photo.read_photo(path, max_pixels=max_pixels).colour
  return colour[..., :bands]


def read_jpeg(
  path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS
) -> jpeg.Jpeg | None:
  """Tells how a file compressed its RGB or grey image.

  Only the head of the file is read. Where the EXIF orientation turns the
  image, the tables are turned with it. The block grid of a turned or mirrored
  image begins at its first pixel only if the sides are multiples of a block.

  Args:
    path: an image file.
    max_pixels: refuses larger images.

  Returns:
    None unless it is such a JPEG file (or MPO, a phone's). The chroma table is
    that of the first chroma plane; of a greyscale image it is the luma's.

  Raises:
    InputError: when the file is missing, empty, too large, no image, or
      damaged in its head.
  """
  with _opened(Path(path), max_pixels) as image:
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
      return None
    if image.mode not in ('L', 'RGB'):  # tables of inks
      return None
    # Of each plane: identifier, samples per block of pixels (x, y), table.
    planes = image.layer
    luma, chroma = planes[0], planes[min(1, len(planes) - 1)]
    tables = [image.quantization[plane[3]] for plane in (luma, chroma)]
    if not np.all(tables):
      raise Refusal('has steps of zero in its tables; get a whole copy')
    # The samples of a single plane are the pixels, whatever the file says.
    most = [max(p[i] for p in planes) for i in (2, 1)]
    sampling = (-(-most[0] // chroma[2]), -(-most[1] // chroma[1]))
    if max(sampling) > _MOST_SAMPLING:
      raise Refusal('has an impossible chroma sampling; get a whole copy')
    found = jpeg.Jpeg(
      np.asarray(tables, np.float32).reshape(2, jpeg.BLOCK, jpeg.BLOCK),
      sampling,
    )
    # The orientation stands at the end of some files; Pillow looks there.
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return found.transposed() if is_turned(orientation) else found


def to_pillow(pixels: np.ndarray) -> Image.Image:
  """Returns uint8 `[H, W, 1 to 4]` as an image of Pillow's."""
  return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def encode_png(image: np.ndarray) -> bytes:
  """Returns `[H, W, C]` in [0, 1], C = 1 or 3, as the bytes of a PNG file."""
  stream = io.BytesIO()
  to_pillow(color.to_uint8(image)).save(stream, 'PNG')
  return stream.getvalue()


def write_image(path: str | os.PathLike[str], image: np.ndarray) -> None:
  """Writes `[H, W, C]` in [0, 1] as PNG, rounding half up; see `write_files`.

  Raises:
    OSError: when the file cannot be written.
  """
  files.write_files({path: encode_png(image)})
