"""Photos as people have them: read with all that belongs to them, and written.

Where `image_io` takes plain 8-bit images, this takes alpha, 16 bits, floats,
CMYK, many bands, profiles, EXIF and georeferences too, and gives them back
with the enlarged image. Host only.
"""

from __future__ import annotations

import importlib
import io
import os
import re
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import scipy  # loads its parts when they are first used
from PIL import Image, PngImagePlugin

from zssr_jax.data import (
  files,
  image_io,
  photo_parts,
  photo_tiff,
  png_chunks,
)
from zssr_jax.data.image_io import MAX_PIXELS, Refusal
from zssr_jax.data.names import SUFFIXES
from zssr_jax.data.photo_parts import Photo, Tiff
from zssr_jax.errors import InputError

__all__ = [
  'Photo',
  'Tiff',
  'bleed',
  'check_writable',
  'encode',
  'fill',
  'left_out',
  'of_pillow',
  'read_photo',
  'read_shape',
]

# All that Pillow can be trusted with; TIFF and HEIF have readers of their own.
_FORMATS = ('PNG', 'JPEG', 'BMP', 'WEBP', 'GIF', 'AVIF')
_JPEG_QUALITY = 95
# Of zlib. Its own 6 takes four times as long for files a twentieth smaller
# (benchmarks/png_levels.py).
_PNG_LEVEL = 2
_IPTC = 0x0404  # its number among the resources of Photoshop

_RAW_SUFFIXES = frozenset(
  '.3fr .ari .arw .bay .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .k25 .kdc'
  ' .mef .mos .mrw .nef .nrw .orf .pef .raf .rw2 .rwl .sr2 .srf .srw'
  ' .x3f'.split()
)
# Of an image that Pillow holds, the modes that say what its numbers mean.
_HELD_MODES = frozenset('1 L LA P PA RGB RGBA RGBX CMYK YCbCr HSV I;16'.split())
_MODES = {'1': '1 bit a pixel', 'P': 'palette', 'PA': 'palette'}
# The brands with which a HEIF file begins, after four bytes and 'ftyp'.
_HEIF_BRANDS = frozenset(
  b'heic heix heim heis hevc hevx hevm hevs mif1 msf1'.split()
)


def _content(path: Path) -> bytes:
  """Returns the bytes of a file that may hold a photo."""
  content = files.read_bytes(path)
  if path.suffix.lower() in _RAW_SUFFIXES:
    raise Refusal(photo_tiff.RAW)
  return content


def _is_heif(content: bytes) -> bool:
  """Whether a file is HEIF, but not AVIF, by its first bytes."""
  return content[4:8] == b'ftyp' and content[8:12] in _HEIF_BRANDS


def _is_avif_inside(content: bytes) -> bool:
  """Whether a file of a general brand says that it holds AVIF."""
  return b'avif' in content[12:64]


def read_photo(
  path: str | os.PathLike[str],
  *,
  page: int | None = None,
  max_pixels: int = MAX_PIXELS,
) -> Photo:
  """Reads a photo, upright, with what belongs to it.

  The numbers of the colours are those in the file, to be seen through its
  profile; only CMYK and Lab are converted, to sRGB, and lose their profile.

  Args:
    path: PNG, JPEG, TIFF, WebP, BMP, GIF, AVIF or HEIF file.
    page: which of several frames or pages, from 1.
    max_pixels: refuses larger images before they are decoded.

  Returns:
    The photo. What was converted is in its notes.

  Raises:
    InputError: when the file is missing, empty, damaged, too large, no image,
      a camera's raw file, has several frames or pages and none is chosen, or
      has numbers of a type that no network can take.
  """
  path = Path(path)
  with photo_parts.reading(str(path)):
    content = _content(path)
    if content.startswith(photo_tiff.MAGIC):
      return photo_tiff.read(content, str(path), page, max_pixels)
    if _is_heif(content) and not _is_avif_inside(content):
      return _read_heif(content, str(path), page, max_pixels)
    with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
      _seek(image, page, max_pixels)
      return _read_with_pillow(image, content, str(path))


def read_shape(
  path: str | os.PathLike[str], *, page: int | None = None
) -> tuple[int, int, int]:
  """Returns the shape of the colours that `read_photo` gives.

  It reads the whole file but decodes hardly anything.

  Args:
    path: the file.
    page: which of several frames or pages, from 1.

  Returns:
    Rows, columns and bands, upright and without alpha.

  Raises:
    InputError: as `read_photo` does, but for damage behind a file's head.
  """
  path = Path(path)
  with photo_parts.reading(str(path)):
    content = _content(path)
    if content.startswith(photo_tiff.MAGIC):
      return photo_tiff.read_shape(content, page, MAX_PIXELS)
    if _is_heif(content) and not _is_avif_inside(content):
      found = _open_heif(content, page, MAX_PIXELS)
      bands = 1 if found.mode.startswith('L') else 3
      return found.size[1], found.size[0], bands
    with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
      _seek(image, page, MAX_PIXELS)
      rows, columns = image.height, image.width
      bands = len(_plain_mode(image).rstrip('A'))
      # What stands behind the pixels is looked for there, so this comes last.
      if image_io.is_turned(photo_parts.upright_exif(image.getexif)[0]):
        rows, columns = columns, rows
      return rows, columns, bands


def _seek(image: Any, page: int | None, max_pixels: int) -> None:
  """Goes to the frame that is meant, undecoded where it is the first."""
  image_io.check_size(image.width, image.height, max_pixels)
  # MPO is a JPEG of a phone with a preview or a depth map behind the photo.
  frames = 1 if image.format == 'MPO' else getattr(image, 'n_frames', 1)
  index = photo_parts.chosen(frames, page, 'frames')
  if index:
    image.seek(index)


def _plain_mode(image: Any) -> str:
  """Returns which of L, LA, RGB and RGBA says the same as a file's mode."""
  grey = image.mode.startswith(('1', 'L', 'I;16'))
  # A grey PNG with alpha and 16 bits is RGBA to Pillow.
  grey = grey or (_is_deep(image) and 'LA;16' in str(image.tile))
  alpha = image.has_transparency_data
  return ('L' if grey else 'RGB') + ('A' if alpha else '')


def _is_deep(image: Any) -> bool:
  """Whether Pillow would cut the 16 bits of a PNG down to 8."""
  return image.format == 'PNG' and any(';16' in str(t) for t in image.tile)


def _samples(image: Any, content: bytes) -> tuple[np.ndarray, list[str]]:
  """Decodes an image: samples `[H, W, 1 to 4]`, and what was converted."""
  notes: list[str] = []
  if _is_deep(image):
    if getattr(image, 'n_frames', 1) > 1:
      raise Refusal('is an animation of 16 bits; save the frame as a file')
    samples = np.asarray(imagecodecs.png_decode(png_chunks.bare(content)))
    return np.atleast_3d(samples), notes
  few = re.search(r"'L;([24])'", str(image.tile))  # emptied by loading
  image.load()
  mode = _plain_mode(image)
  if image.mode == 'CMYK':
    icc = image.info.get('icc_profile')
    samples, note = photo_parts.cmyk_to_rgb(np.asarray(image), icc)
    return samples, [note]
  if image.mode == '1':
    notes.append('1 bit a pixel converted to 8-bit grey')
  if few:
    notes.append(f'{few[1]} bits a pixel converted to 8-bit grey')
  if image.mode in ('P', 'PA'):
    notes.append('palette converted to 8-bit RGB')
  direct = image if image.mode == mode else image.convert(mode)
  samples = np.atleast_3d(np.asarray(direct))
  if image.format == 'AVIF' and getattr(image, 'n_frames', 1) == 1:
    deep, bits = _deep_avif(content, samples)
    if deep is not None:
      notes.append(f'{bits} bits a sample converted to 16')
      samples = deep
  return samples, notes


def _deep_avif(
  content: bytes, coarse: np.ndarray
) -> tuple[np.ndarray | None, int]:
  """Decodes an AVIF of 10 or 12 bits, of which Pillow gives 8.

  Not frames of an animation, for which the library trusts a size that the
  file says elsewhere, and crashes where that is wrong.

  Args:
    content: the file.
    coarse: uint8 `[H, W, C]`, what Pillow gave.

  Returns:
    uint16 of the same shape, or None for a file of 8 bits; its bits.
  """
  try:
    fine = np.asarray(imagecodecs.avif_decode(content, 0))
  except (RuntimeError, ValueError):  # what Pillow gave is good enough
    return None, 8
  if fine.dtype != np.uint16 or fine.shape != coarse.shape:
    return None, 8
  # The depth is not told; with the right one the two are nearly the same.
  mean = fine.mean() / max(float(coarse.mean()), 1e-9) * 255
  bits = min((10, 12), key=lambda b: abs(mean - (2**b - 1)))
  fractions = fine / np.float32(2**bits - 1)
  return photo_parts.to_samples(fractions, 'uint16'), bits


def _split_alpha(
  samples: np.ndarray, white: int, orientation: int
) -> tuple[np.ndarray, np.ndarray | None]:
  """Returns colour and alpha of samples `[H, W, 1 to 4]`, upright."""
  turned = photo_parts.upright(samples, orientation)
  fractions = photo_parts.to_fraction(turned, white)
  if samples.shape[-1] in (1, 3):
    return fractions, None
  return fractions[..., :-1].copy(), fractions[..., -1:].copy()


def _read_with_pillow(image: Any, content: bytes, name: str) -> Photo:
  """Reads the frame that an opened image shows."""
  samples, notes = _samples(image, content)
  image.load()  # also reads what stands behind the pixels
  notes += _left_behind(image)
  return _photo_of(image, samples, name, _chunks(image, content), notes)


def _photo_of(
  image: Any,
  samples: np.ndarray,
  name: str,
  chunks: png_chunks.Chunks,
  notes: list[str],
) -> Photo:
  """Returns the photo of samples and of what an image of Pillow's says."""

  def load() -> Image.Exif:
    exif = Image.Exif()  # a copy, for what is taken out of it
    exif.load(image.getexif().tobytes())
    return exif

  white = int(np.iinfo(samples.dtype).max)
  orientation, exif, lost = photo_parts.upright_exif(load)
  colour, alpha = _split_alpha(samples, white, orientation)
  dpi = image.info.get('dpi')
  xmp = image.info.get('xmp') or image.info.get('XML:com.adobe.xmp')
  return Photo(
    name=name,
    colour=colour,
    alpha=alpha,
    container='JPEG' if image.format == 'MPO' else str(image.format),
    depth=samples.dtype.name,
    icc=None if image.mode == 'CMYK' else image.info.get('icc_profile') or None,
    exif=exif,
    xmp=photo_parts.upright_xmp(xmp),
    dpi=(float(dpi[0]), float(dpi[1])) if dpi and all(dpi) else None,
    chunks=chunks,
    notes=(*notes, *lost),
  )


def of_pillow(image: Image.Image, name: str) -> Photo:
  """Takes an image that Pillow holds for a photo, upright.

  Its pixels are what Pillow has made of a file: 8 bits of an RGB PNG that has
  16, the frame that it shows. Profile, EXIF, XMP and dpi are kept; what else
  stands in the file, such as a JPEG's tables, its path alone tells.

  Args:
    image: left as it is.
    name: for messages.

  Returns:
    The photo. What was converted is in its notes.

  Raises:
    InputError: when it is too large, damaged, or of a mode that holds neither
      8-bit samples nor 16-bit grey.
  """
  with photo_parts.reading(name):
    image_io.check_size(image.width, image.height, MAX_PIXELS)
    if image.mode not in _HELD_MODES:
      raise Refusal(
        f'is of the mode {image.mode}; convert it to RGB or L, or pass its'
        ' numbers as an array'
      )
    notes = []
    if _is_deep(image) and image.mode != 'I;16':
      notes.append('Pillow cut 16 bits a sample to 8; name the file instead')
    image.load()
    samples, converted = _held(image)
    notes += [*converted, *_left_behind(image)]
    return _photo_of(image, samples, name, (), notes)


def _held(image: Any) -> tuple[np.ndarray, list[str]]:
  """Returns the samples `[H, W, 1 to 4]` of an image that is loaded."""
  if image.mode == 'I;16':
    return np.asarray(image, np.uint16)[..., None], []
  if image.mode == 'CMYK':
    icc = image.info.get('icc_profile')
    samples, note = photo_parts.cmyk_to_rgb(np.asarray(image), icc)
    return samples, [note]
  mode = _plain_mode(image)
  notes = []
  if image.mode != mode:
    kind = '8-bit grey' if mode == 'L' else '8-bit RGB'
    notes.append(f'{_MODES.get(image.mode, image.mode)} converted to {kind}')
  direct = image if image.mode == mode else image.convert(mode)
  return np.atleast_3d(np.asarray(direct)), notes


def _left_behind(image: Any) -> list[str]:
  """Says what of a file no other container has a place for."""
  notes = []
  if image.format == 'MPO' and image.n_frames > 1:
    notes.append(f'further pictures ({image.n_frames - 1}) left out')
  resources = image.info.get('photoshop') or {}
  if isinstance(resources, dict) and _IPTC in resources:
    notes.append('IPTC left out')
  return notes


def _chunks(image: Any, content: bytes) -> png_chunks.Chunks:
  """Returns what a PNG of an image of any container has to say as chunks."""
  comment = image.info.get('comment') or b''
  if image.format == 'PNG':
    return png_chunks.kept(content)
  if image.format == 'AVIF':
    return png_chunks.of_nclx(content)
  if isinstance(comment, bytes):
    comment = comment.rstrip(b'\0').decode('utf-8', 'replace')
  return png_chunks.text('Comment', comment)


def _open_heif(content: bytes, page: int | None, max_pixels: int) -> Any:
  """Opens an image of a HEIF file, undecoded."""
  try:
    heif = importlib.import_module('pillow_heif')
  except ImportError:
    raise Refusal(
      'is HEIF; install its reader (pip install pillow-heif) or save it as PNG'
    ) from None
  images = heif.open_heif(io.BytesIO(content), convert_hdr_to_8bit=False)
  found = images[photo_parts.chosen(len(images), page, 'frames')]
  width, height = found.size
  image_io.check_size(width, height, max_pixels)
  return found


def _read_heif(
  content: bytes, name: str, page: int | None, max_pixels: int
) -> Photo:
  """Reads a HEIF file; its library turns the image upright."""
  found = _open_heif(content, page, max_pixels)
  samples = np.atleast_3d(np.asarray(found))
  white, notes = 255, []
  if samples.dtype == np.uint16:  # 10 or 12 bits, moved to the upper end
    bits = int(found.info.get('bit_depth', 16))
    white = (2**bits - 1) << (16 - bits)
    notes.append(f'{bits} bits a sample converted to 16')
  if found.info.get('depth_images') or found.info.get('aux'):
    notes.append('further pictures, such as a depth map, left out')
  colour, alpha = _split_alpha(samples, white, 1)
  loaded = Image.Exif()

  def load() -> Image.Exif:
    loaded.load(found.info.get('exif') or b'')
    return loaded

  _, exif, lost = photo_parts.upright_exif(load)
  return Photo(
    name=name,
    colour=colour,
    alpha=alpha,
    container='HEIF',
    depth=samples.dtype.name,
    icc=found.info.get('icc_profile') or None,
    exif=exif,
    xmp=photo_parts.upright_xmp(found.info.get('xmp')),
    chunks=png_chunks.of_nclx(content),
    notes=(*notes, *lost),
  )


def bleed(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
  """Gives fully transparent pixels the colour of the nearest visible one.

  What a file holds there, black as a rule, would otherwise be mixed into the
  edges of what is visible.

  Args:
    colour: `[H, W, C]`.
    alpha: `[H, W, 1]`, 0 for transparent.

  Returns:
    `[H, W, C]`, the same where anything is visible. An image that is all
    transparent is returned as it is.
  """
  hidden = alpha[..., 0] <= 0
  return colour if hidden.all() else colour[_nearest(hidden)]


def _nearest(hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the place of the nearest pixel that is not hidden, of every one.

  Args:
    hidden: bool `[H, W]`, not all of it.
  """
  rows, columns = scipy.ndimage.distance_transform_edt(
    hidden, return_distances=False, return_indices=True
  )
  return rows, columns


def fill(photo: Photo) -> np.ndarray:
  """Returns a photo's colours with numbers where data are missing.

  Each is that of the nearest pixel that has data, so that neither the range
  nor the edges of what there is are those of a number that means nothing.

  Args:
    photo: the photo.

  Returns:
    Finite `[H, W, C]`. A band without any data is 0.
  """
  if photo.missing is None:
    return photo.colour
  bands = []
  for band, missing in zip(
    np.moveaxis(photo.colour, -1, 0),
    np.moveaxis(photo.missing, -1, 0),
    strict=True,
  ):
    empty = missing.all()
    bands.append(np.zeros_like(band) if empty else band[_nearest(missing)])
  return np.stack(bands, -1)


def _container(like: Photo, container: str | None) -> str:
  """Returns the container of an output file."""
  container = container or ('TIFF' if like.container == 'TIFF' else 'PNG')
  if container not in SUFFIXES:
    raise InputError(
      f'{like.name}: {container} is not written; choose one of'
      f' {", ".join(SUFFIXES)}'
    )
  return container


def check_writable(
  like: Photo,
  *,
  container: str | None = None,
  depth: str | None = None,
  quality: int | None = None,
) -> None:
  """Refuses what `encode` would, before there is a result.

  Args:
    like: the photo.
    container: as in `encode`.
    depth: as in `encode`.
    quality: as in `encode`.

  Raises:
    InputError: when the container cannot hold what there is.
  """
  container = _container(like, container)
  transparent = like.alpha is not None and float(like.alpha.min()) < 1
  reason = _unfit(like, transparent, container, depth or like.depth, quality)
  if reason:
    raise InputError(f'{like.name}: {reason}')


def left_out(like: Photo, container: str | None = None) -> tuple[str, ...]:
  """Says what of a photo an output file of a container does not hold.

  Args:
    like: the photo.
    container: as in `encode`.

  Returns:
    A sentence, in one line, for each thing.
  """
  container = _container(like, container)
  notes = []
  if container != 'PNG':
    notes += png_chunks.lost(like.chunks, like.icc is not None)
  if container != 'TIFF' and like.tiff is not None:
    notes += photo_tiff.lost(like.tiff)
  return tuple(notes)


def encode(
  colour: np.ndarray,
  alpha: np.ndarray | None,
  like: Photo,
  *,
  scale: tuple[float, float] = (1, 1),
  container: str | None = None,
  depth: str | None = None,
  quality: int | None = None,
) -> bytes:
  """Makes a file of an enlarged image that means what the photo's file means.

  Samples are rounded half up; what does not fit is clipped.

  Args:
    colour: `[H', W', C]` in the unit of `like.colour`, with as many bands.
    alpha: `[H', W', 1]` in [0, 1], or None. None stands for opaque where
      `like` has an alpha that is opaque throughout.
    like: the photo, for profile, EXIF, XMP, dpi and georeference.
    scale: by how much it was enlarged, y and x; of use to a georeference.
    container: 'PNG', 'JPEG' or 'TIFF'; by default TIFF for a TIFF, otherwise
      PNG.
    depth: 'uint8', 'uint16', 'int16', 'float16' or 'float32'; by default that
      of `like`.
    quality: of a JPEG, 1 to 100, by default 95; no other container needs it.

  Returns:
    The bytes of the file.

  Raises:
    InputError: when the container cannot hold what there is.
    ValueError: when the arrays do not fit together.
  """
  canvas = Canvas(
    like,
    colour.shape[:2],
    scale=scale,
    container=container,
    depth=depth,
    quality=quality,
  )
  canvas.paint(0, colour, alpha)
  stream = io.BytesIO()
  canvas.save(stream)
  return stream.getvalue()


class Canvas:
  """An output file in the making, which takes rows and keeps its samples.

  Those of a large TIFF wait in a temporary file, so that they take no memory.
  """

  def __init__(
    self,
    like: Photo,
    shape: tuple[int, ...],
    *,
    scale: tuple[float, float] = (1, 1),
    container: str | None = None,
    depth: str | None = None,
    quality: int | None = None,
    folder: Path | None = None,
  ):
    """Checks what is asked for, and makes room.

    Args:
      like: as in `encode`, like all that follow but one.
      shape: rows and columns of the output.
      scale: as in `encode`.
      container: as in `encode`.
      depth: as in `encode`.
      quality: as in `encode`.
      folder: for the temporary file; None: everything is held in memory.

    Raises:
      InputError: when the container cannot hold what there is.
    """
    check_writable(like, container=container, depth=depth, quality=quality)
    self._like, self._scale, self._quality = like, scale, quality
    self._container = _container(like, container)
    self._depth = depth or like.depth
    self._has_alpha = like.alpha is not None and self._container != 'JPEG'
    bands = like.colour.shape[-1] + self._has_alpha
    self._samples = photo_parts.Samples(
      (*shape[:2], bands),
      self._depth,
      folder=folder if self._container == 'TIFF' else None,
    )

  @property
  def shape(self) -> tuple[int, ...]:
    """Rows, columns and bands of the file."""
    return self._samples.shape

  def paint(
    self, first: int, colour: np.ndarray, alpha: np.ndarray | None = None
  ) -> None:
    """Takes rows.

    Args:
      first: the number of the first one.
      colour: `[n, W', C]`, as in `encode`.
      alpha: `[n, W', 1]` or None, as in `encode`.

    Raises:
      ValueError: when the arrays do not fit together.
    """
    alpha = _complete_alpha(colour, alpha, self._like)
    pixels = colour
    if alpha is not None and self._has_alpha:
      if self._container == 'TIFF':
        colour, alpha = photo_tiff.stored(
          colour, alpha, self._like, self._depth
        )
      pixels = np.concatenate([colour, alpha], -1)
    self._samples.put(first, photo_parts.to_samples(pixels, self._depth))

  def save(self, file: BinaryIO) -> None:
    """Writes the file.

    Args:
      file: open to be written and read.

    Raises:
      InputError: when the container cannot hold what there is.
      OSError: when there is no room for it.
    """
    like = self._like
    if self._container == 'TIFF':
      photo_tiff.write(file, self._samples, like, self._scale)
      return
    samples = self._samples.whole()
    try:
      if self._container == 'PNG':
        content = _encode_png(samples, like)
      else:
        content = _encode_jpeg(samples, like, self._quality or _JPEG_QUALITY)
    except (OSError, ValueError, RuntimeError, SyntaxError) as error:
      raise InputError(
        f'{like.name}: cannot be written as {self._container}'
        f' ({files.one_line(error)}); choose another container'
      ) from None
    file.write(content)


def _complete_alpha(
  colour: np.ndarray, alpha: np.ndarray | None, like: Photo
) -> np.ndarray | None:
  """Checks shapes, and makes an opaque alpha where one was left out."""
  if colour.ndim != 3 or colour.shape[-1] != like.colour.shape[-1]:
    raise ValueError(
      f'colour of shape {colour.shape} for a photo of {like.colour.shape}'
    )
  if alpha is None and like.alpha is not None:
    if like.alpha.min() < 1:
      raise ValueError('the photo has an alpha that the result lacks')
    return np.ones((*colour.shape[:2], 1), np.float32)
  if alpha is not None and alpha.shape != (*colour.shape[:2], 1):
    raise ValueError(f'alpha of {alpha.shape} for colour of {colour.shape}')
  return alpha


def _unfit(
  like: Photo,
  transparent: bool,
  container: str,
  depth: str,
  quality: int | None,
) -> str | None:
  """Says why a container or depth cannot hold an image; None when it can."""
  bands = like.colour.shape[-1]
  if depth not in photo_parts.WHITE:
    return f'depth {depth!r} is unknown; use {", ".join(photo_parts.WHITE)}'
  if container != 'TIFF' and bands not in (1, 3):
    return f'{container} cannot hold {bands} bands; write TIFF'
  if container == 'JPEG' and transparent:
    return 'JPEG cannot hold transparency; write PNG or TIFF'
  if container == 'JPEG' and depth != 'uint8':
    return f'JPEG cannot hold {depth}; write PNG or TIFF, or 8 bits'
  if container == 'PNG' and depth not in ('uint8', 'uint16'):
    return f'PNG cannot hold {depth}; write TIFF, or 16 bits'
  if quality is not None and not 1 <= quality <= 100:
    return f'JPEG quality is {quality}; use 1 to 100'
  if depth == 'int16' and like.depth != 'int16':
    return 'int16 is for photos that are int16; use uint16 or float32'
  whole = photo_parts.WHITE[depth] is not None
  if whole and photo_parts.WHITE[like.depth] is None:
    if not np.isfinite(like.colour).all():
      return (
        f'pixels without data do not fit {depth}; write TIFF with {like.depth}'
      )
    low, high = float(like.colour.min()), float(like.colour.max())
    if low < 0 or high > 1:
      return (
        f'numbers from {low:.4g} to {high:.4g} do not fit {depth}; write TIFF'
        f' with {like.depth}'
      )
  return None


def _metadata(samples: np.ndarray, like: Photo) -> dict[str, Any]:
  """Returns what Pillow's writers take beside the pixels."""
  rows, columns = samples.shape[:2]
  exif = photo_parts.resized_exif(like.exif, columns, rows)
  found = {
    'icc_profile': like.icc,
    'exif': exif.tobytes() if len(exif) else None,
    'dpi': like.dpi,
  }
  return {key: value for key, value in found.items() if value}


def _encode_png(samples: np.ndarray, like: Photo) -> bytes:
  """Returns `[H, W, 1 to 4]` of 8 or 16 bits as the bytes of a PNG file."""
  metadata = _metadata(samples, like)
  if like.xmp:
    text = PngImagePlugin.PngInfo()
    packet = like.xmp.decode('utf-8', 'replace')
    text.add_itxt('XML:com.adobe.xmp', packet)
    metadata['pnginfo'] = text
  if samples.dtype == np.uint8:
    stream = io.BytesIO()
    image = image_io.to_pillow(samples)
    image.save(stream, 'PNG', compress_level=_PNG_LEVEL, **metadata)
    return png_chunks.insert(stream.getvalue(), like.chunks)
  # Pillow writes the metadata of a single pixel, another library the 16 bits.
  content = imagecodecs.png_encode(
    samples[..., 0] if samples.shape[-1] == 1 else samples, level=_PNG_LEVEL
  )
  made = tuple(
    (chunk, body)
    for chunk, body, _ in PngImagePlugin.getchunks(
      Image.new('L', (1, 1)), **metadata
    )
    if chunk not in (b'IHDR', b'IDAT', b'IEND')
  )
  return png_chunks.insert(bytes(content), like.chunks + made)


def _encode_jpeg(samples: np.ndarray, like: Photo, quality: int) -> bytes:
  """Returns 8-bit `[H, W, 1 or 3]` as the bytes of a JPEG file, 4:4:4."""
  metadata = _metadata(samples, like)
  if like.xmp:
    metadata['xmp'] = like.xmp
  stream = io.BytesIO()
  image_io.to_pillow(samples).save(
    stream, 'JPEG', quality=quality, subsampling=0, **metadata
  )
  return stream.getvalue()
