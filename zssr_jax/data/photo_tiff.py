"""Photos in TIFF files: any depth, any number of bands, georeferenced."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from zssr_jax.data import image_io, photo_parts
from zssr_jax.data.image_io import Refusal
from zssr_jax.data.photo_parts import Photo, Tiff

if TYPE_CHECKING:
  import tifffile  # which takes a while; at run time where there is a TIFF

Tags = tuple[tuple[int, int, int, Any], ...]

# How a classic TIFF and a BigTIFF begin, in either byte order.
MAGIC = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')

# Colours stored, and colours given, by photometric interpretation.
_STORED = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3, 9: 3}
_GIVEN = {0: 1, 1: 1, 2: 3, 3: 3, 5: 3, 6: 3, 8: 3, 9: 3}
_WHITE_IS_ZERO, _PALETTE, _CMYK, _YCBCR, _CIELAB, _ICCLAB = 0, 3, 5, 6, 8, 9

_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION, _GEO_KEYS = (
  33550,
  33922,
  34264,
  34735,
)
_POSITIONS = (_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION)
_NO_DATA = 42113
_IPTC = 33723
_GEOGRAPHIC = (*_POSITIONS, _GEO_KEYS, 34736, 34737, 42112, _NO_DATA)
_DOUBLE = 12  # a type of tags
_BYTES = (1, 7)  # types of tags that no byte order changes
_UNSIGNED = ('uint8', 'uint16')  # depths

# Only a camera's raw file says one of these: a DNG's version, the pattern of
# its colour filter, the slices of a CR2; a filter's pattern, linear raw.
_RAW_TAGS = (50706, 33421, 33422, 50752)
_RAW_PHOTOMETRIC = (32803, 34892)

# What describes a photo rather than its storage.
_DESCRIPTIVE = (
  ExifTags.Base.ImageDescription,
  ExifTags.Base.Make,
  ExifTags.Base.Model,
  ExifTags.Base.Software,
  ExifTags.Base.DateTime,
  ExifTags.Base.Artist,
  ExifTags.Base.HostComputer,
  ExifTags.Base.Copyright,
)
_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_TILE = 256
_MOST_PAGES = 10_000

RAW = (
  'a raw file, of which only a preview could be read; develop it and save a'
  ' 16-bit TIFF'
)


def _listed(
  pages: Iterable[tifffile.TiffPage | tifffile.TiffFrame],
) -> list[tifffile.TiffPage]:
  """Returns pages, of which each says where the next is: here, perhaps."""
  found: dict[int, tifffile.TiffPage] = {}
  for page in pages:
    if page.offset in found or len(found) == _MOST_PAGES:
      raise Refusal('its list of pages does not end; get a whole copy')
    found[page.offset] = page.aspage()
  return list(found.values())


def _refuse_raw(pages: list[tifffile.TiffPage]) -> None:
  """Refuses a camera's raw file, whose first page is a small preview."""
  first = pages[0]
  inside = first.pages if first.subifds and first.pages else ()
  details = _listed(inside)
  preview = bool(first.subfiletype & 1)
  for page in (*pages, *details):
    if (
      any(tag in page.tags for tag in _RAW_TAGS)
      or page.photometric in _RAW_PHOTOMETRIC
      or (preview and details)
    ):
      raise Refusal(RAW)


def _refuse_unknown(page: tifffile.TiffPage, max_pixels: int) -> None:
  """Refuses, by its head alone, a page that would be mangled."""
  image_io.check_size(page.imagewidth, page.imagelength, max_pixels)
  image_io.check_size(
    page.imagewidth * page.imagelength, page.samplesperpixel, 4 * max_pixels
  )
  if page.photometric not in _STORED or page.samplesperpixel < 1:
    raise Refusal(
      f'is a TIFF of photometric interpretation {int(page.photometric)}; save'
      ' it as RGB'
    )
  if page.imagedepth > 1 or page.dtype is None or 'Z' in page.axes:
    raise Refusal('is a TIFF volume; save one plane of it')
  if not isinstance(page.bitspersample, int):
    raise Refusal('has samples of unequal depth; save it with 8 or 16 bits')
  if _depth(page) is None:
    raise Refusal(
      f'has samples of type {page.dtype}; save it with 8 or 16 bits or as'
      ' 32-bit float'
    )


def _depth(page: tifffile.TiffPage) -> str | None:
  """Returns the depth that a page comes out with; None: not supported."""
  kind = np.dtype(page.dtype)
  if kind.kind in 'bu' and kind.itemsize <= 2:
    return 'uint8' if kind.itemsize == 1 else 'uint16'
  if page.photometric not in (_WHITE_IS_ZERO, 1, 2):
    return None
  if kind.kind == 'f':
    return 'float16' if kind.itemsize == 2 else 'float32'
  if kind.kind == 'i' and kind.itemsize <= 2:
    return 'int16'
  return 'float32' if kind.kind in 'iu' else None


@contextlib.contextmanager
def _opened(
  content: bytes, page: int | None, max_pixels: int
) -> Iterator[tifffile.TiffPage]:
  """Opens the page that is meant, undecoded."""
  import tifffile

  # The stream is closed, too: pages refer to their file and it to them, so
  # that the content would stay until those circles are collected.
  with io.BytesIO(content) as stream, tifffile.TiffFile(stream) as file:
    pages = _listed(file.pages)
    _refuse_raw(pages)
    # Reduced copies (1) and masks (4) belong to the page before them.
    shown = [p for p in pages if not p.subfiletype & 5]
    if not shown:
      raise Refusal('holds only a preview; save the photo itself')
    found = shown[photo_parts.chosen(len(shown), page, 'pages')]
    _refuse_unknown(found, max_pixels)
    yield found


def _value(page: tifffile.TiffPage, tag: int, default: Any = None) -> Any:
  """Returns a tag's value, or the default where there is no such tag."""
  return page.tags[tag].value if tag in page.tags else default


def _extras(page: tifffile.TiffPage) -> list[int]:
  """Returns what each sample beyond the colours is: 1 and 2 are alpha."""
  count = page.samplesperpixel - _STORED[int(page.photometric)]
  if count < 0:
    raise Refusal('has too few samples for its colours; get a whole copy')
  said = [int(e) for e in page.extrasamples or ()]
  return ([0] * count + said)[len(said) :][:count]


def _alpha_place(page: tifffile.TiffPage) -> int | None:
  """Returns the index of the alpha sample, or None."""
  # Of integers as they are stored it is not known what would be opaque.
  if np.dtype(page.dtype).kind != 'f' and _depth(page) not in _UNSIGNED:
    return None
  for place, extra in enumerate(_extras(page)):
    if extra in (1, 2):
      return _STORED[int(page.photometric)] + place
  return None


def read_shape(
  content: bytes, page: int | None, max_pixels: int
) -> tuple[int, int, int]:
  """Returns the shape of the colours that `read` gives, by the head alone."""
  with _opened(content, page, max_pixels) as found:
    rows, columns = found.imagelength, found.imagewidth
    if image_io.is_turned(_value(found, 274, 1)):
      rows, columns = columns, rows
    photometric = int(found.photometric)
    bands = _GIVEN[photometric]
    if photometric <= 2:
      bands += len(_extras(found)) - (_alpha_place(found) is not None)
    return rows, columns, bands


def _stored(page: tifffile.TiffPage, content: bytes) -> np.ndarray:
  """Decodes a page: `[H, W, samples]` as stored."""
  for start, size in zip(page.dataoffsets, page.databytecounts, strict=False):
    if start + size > len(content):
      raise Refusal('damaged or cut short; get a whole copy')
  samples = np.asarray(page.asarray())
  if 'S' not in page.axes:
    return samples[..., None]
  return np.moveaxis(samples, page.axes.index('S'), -1)


def _lab(samples: np.ndarray, photometric: int) -> np.ndarray:
  """Returns L*, a* and b* of a page's unsigned samples."""
  unit = 1 if samples.dtype == np.uint8 else 256  # of a* and b*
  if photometric == _ICCLAB:
    white = 255 * unit
    ab = samples[..., 1:3].astype(np.float32) / unit - 128
  else:
    white = np.iinfo(samples.dtype).max
    signed = np.int8 if unit == 1 else np.int16
    ab = samples[..., 1:3].astype(signed).astype(np.float32) / unit
  light = samples[..., :1].astype(np.float32) * (100 / white)
  return np.concatenate([light, ab], -1)


def _converted(
  page: tifffile.TiffPage, samples: np.ndarray
) -> tuple[np.ndarray, str | None]:
  """Makes grey or RGB samples of other colours; says what it did."""
  photometric, depth = int(page.photometric), samples.dtype.name
  if photometric == _PALETTE:
    if page.colormap is None:
      raise Refusal('has no palette; get a whole copy')
    palette = (np.asarray(page.colormap).T >> 8).astype(np.uint8)
    index = samples[..., 0].astype(np.intp)
    return palette[index], 'palette converted to 8-bit RGB'
  if photometric == _CMYK:
    return photo_parts.cmyk_to_rgb(samples, page.iccprofile)
  if photometric in (_CIELAB, _ICCLAB):
    lab = _lab(samples, photometric)
    return photo_parts.lab_to_rgb(lab, depth), 'Lab converted to sRGB'
  if photometric == _YCBCR and int(page.compression) not in (6, 7):
    if depth != 'uint8':
      raise Refusal('is YCbCr of more than 8 bits; save it as RGB')
    image = Image.fromarray(np.ascontiguousarray(samples), 'YCbCr')
    return np.asarray(image.convert('RGB')), 'YCbCr converted to RGB'
  return samples, None


def _white(page: tifffile.TiffPage, kind: np.dtype) -> float:
  """Returns the number of a page's samples that stands for white or opaque."""
  return 1.0 if kind.kind == 'f' else float(2**page.bitspersample - 1)


def _is_fractional(page: tifffile.TiffPage) -> bool:
  """Whether a page's samples are fractions of white, not numbers as stored."""
  return _depth(page) in _UNSIGNED


def _fractions(page: tifffile.TiffPage, colours: np.ndarray) -> np.ndarray:
  """Returns colours as float32: fractions of white, or as stored."""
  kind = colours.dtype
  if not _is_fractional(page):
    return colours.astype(np.float32)
  # Conversion leaves none of the odd depths, such as 4 or 12 bits.
  converted = int(page.photometric) > 2
  white = np.iinfo(kind).max if converted else _white(page, kind)
  out = photo_parts.to_fraction(colours, white)
  return 1 - out if page.photometric == _WHITE_IS_ZERO else out


def _pixels(
  page: tifffile.TiffPage, content: bytes
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, list[str]]:
  """Decodes a page into colour, alpha, what is missing, and notes."""
  samples = _stored(page, content)
  base, place = _STORED[int(page.photometric)], _alpha_place(page)
  bands = [i for i in range(samples.shape[-1]) if i != place]
  mixed = int(page.photometric) > 2
  notes = []
  if mixed and len(bands) > base:
    notes.append(f'{len(bands) - base} bands beside the colours left out')
    bands = bands[:base]
  whole = bands == list(range(samples.shape[-1]))  # which needs no copy
  colours, note = _converted(page, samples if whole else samples[..., bands])
  notes += [note] if note else []
  missing = None if mixed else _missing(page, colours)
  _check_extent(colours, missing)
  colour = _fractions(page, colours)
  alpha = None
  if place is not None:
    alpha = samples[..., place : place + 1]
    white = _white(page, alpha.dtype)
    alpha = photo_parts.to_fraction(alpha, white).clip(0, 1)
    if _is_associated(page):
      colour = colour / np.where(alpha > 0, alpha, 1)
      colour = colour.clip(0, 1) if white > 1 else colour
  return colour, alpha, missing, notes


def _check_extent(colours: np.ndarray, missing: np.ndarray | None) -> None:
  """Refuses 64-bit floats that are no data, and too large for 32 bits."""
  if colours.dtype.kind != 'f' or colours.dtype.itemsize <= 4:
    return
  beyond = np.abs(colours) > np.finfo(np.float32).max
  if missing is not None:
    beyond &= ~missing
  if beyond.any():
    raise Refusal(
      'holds numbers that 32-bit floats do not reach; scale them down'
    )


def _missing(page: tifffile.TiffPage, samples: np.ndarray) -> np.ndarray | None:
  """Tells which samples `[H, W, C]` stand for no data; None: none of them."""
  if samples.dtype.kind != 'f' and _NO_DATA not in page.tags:
    return None
  found = np.zeros(samples.shape, bool)
  if samples.dtype.kind == 'f':
    found |= ~np.isfinite(samples)
  with contextlib.suppress(ValueError, TypeError):
    empty = float(_value(page, _NO_DATA, 'nan'))
    # In float32 the number in the tag has more digits than the samples.
    exact = samples.dtype.kind != 'f' or samples.dtype.itemsize > 4
    found |= samples == (empty if exact else samples.dtype.type(empty))
  return found if found.any() else None


def _is_associated(page: tifffile.TiffPage) -> bool:
  """Whether colours are stored multiplied by alpha."""
  return next((e == 1 for e in _extras(page) if e), False)


def _description(content: bytes, page: tifffile.TiffPage) -> Image.Exif:
  """Returns the EXIF of a page: what describes the photo."""
  found = Image.Exif()
  found.bigtiff = content[2] == 43 or content[3] == 43
  found.endian = '<' if content.startswith(b'II') else '>'
  found.load_from_fp(io.BytesIO(content), page.offset)
  # Programs keep the shape of the array in it, which is about to change.
  own = page.is_shaped or page.is_imagej or page.is_ome
  new = Image.Exif()
  for tag in _DESCRIPTIVE:
    if tag in found and not (own and tag == ExifTags.Base.ImageDescription):
      new[tag] = found[tag]
  for directory in _DIRECTORIES:
    details = dict(found.get_ifd(directory)) if directory in found else {}
    if ExifTags.IFD.Interop in details:
      details[ExifTags.IFD.Interop] = found.get_ifd(ExifTags.IFD.Interop)
    if details:
      new[directory] = details
  return new


def _dpi(page: tifffile.TiffPage) -> tuple[float, float] | None:
  """Returns pixels per inch, x and y, where a page tells them."""
  per_inch = {2: 1.0, 3: 2.54}.get(int(_value(page, 296, 2)))
  sides = [_value(page, tag) for tag in (282, 283)]
  if per_inch is None or not all(sides) or not all(s[0] * s[1] for s in sides):
    return None
  x, y = (per_inch * s[0] / s[1] for s in sides)
  return x, y


def _kept_tags(page: tifffile.TiffPage, turned: bool) -> Tags:
  """Returns the tags that a Tiff holds; no places if the image was turned."""
  return tuple(
    (tag, int(page.tags[tag].dtype), page.tags[tag].count, page.tags[tag].value)
    for tag in (*_GEOGRAPHIC, _IPTC)
    if tag in page.tags
    and not (turned and tag in _POSITIONS)
    and (tag != _IPTC or _is_bytes(page, tag))
  )


def _remarks(
  page: tifffile.TiffPage, missing: np.ndarray | None, turned: bool
) -> list[str]:
  """Says what a user should know of a page that was read."""
  notes = []
  kind, bits, depth = np.dtype(page.dtype), page.bitspersample, _depth(page)
  if kind.kind == 'f' and kind.itemsize > 4:
    notes.append('64-bit float converted to 32-bit')
  elif bits == 1:
    notes.append('1 bit a pixel converted to 8-bit grey')
  elif depth == 'float32' and kind.kind != 'f':
    notes.append(f'{bits}-bit integers converted to 32-bit float')
  elif depth == 'int16' and bits < 16:
    notes.append(f'{bits} bits a sample converted to int16')
  elif _is_fractional(page) and bits not in (8, 16):
    if page.photometric != _PALETTE:  # which is noted itself
      notes.append(f'{bits} bits a sample converted to {8 * kind.itemsize}')
  if page.parent and any(p.aspage().subfiletype & 4 for p in page.parent.pages):
    notes.append('mask beside the pages left out')
  if turned and any(tag in page.tags for tag in _POSITIONS):
    notes.append('georeference left out, since the image was turned upright')
  if _IPTC in page.tags and not _is_bytes(page, _IPTC):
    notes.append('IPTC left out')
  if missing is not None:
    share = 100 * missing.mean()
    notes.append(f'{share:.2g} % without data, and so it is in the result')
  return notes


def _is_bytes(page: tifffile.TiffPage, tag: int) -> bool:
  """Whether a page has a tag of bytes, which can be written as they are."""
  return tag in page.tags and int(page.tags[tag].dtype) in _BYTES


def lost(facts: Tiff) -> list[str]:
  """Says, in a line each, what another container has no tags for."""
  tags = {tag[0] for tag in facts.tags}
  notes = []
  if tags - {_IPTC}:
    notes.append('georeference left out; a TIFF keeps it')
  if _IPTC in tags:
    notes.append('IPTC left out; a TIFF keeps it')
  return notes


def read(content: bytes, name: str, page: int | None, max_pixels: int) -> Photo:
  """Reads one page of a TIFF file; see `photo.read_photo`.

  Args:
    content: the file.
    name: its path.
    page: which page, from 1, or None for the only one.
    max_pixels: refuses larger images before they are decoded.

  Returns:
    The photo, upright.

  Raises:
    Refusal: when it cannot be taken, and whatever the library raises on
      damaged files; to be called inside `photo_parts.reading`.
  """
  with _opened(content, page, max_pixels) as found:
    colour, alpha, missing, notes = _pixels(found, content)
    orientation = _value(found, 274, 1)
    turned = orientation in range(2, 9)
    notes += _remarks(found, missing, turned)
    _, exif, unread = photo_parts.upright_exif(
      lambda: _description(content, found)
    )
    mixed = int(found.photometric) > 2
    photometric = 'rgb' if mixed or found.photometric == 2 else 'minisblack'
    if found.photometric == _WHITE_IS_ZERO and not _is_fractional(found):
      photometric = 'miniswhite'  # the numbers stay as they are
    if missing is not None:
      missing = photo_parts.upright(missing, orientation)
    return Photo(
      name=name,
      colour=photo_parts.upright(colour, orientation),
      alpha=None if alpha is None else photo_parts.upright(alpha, orientation),
      container='TIFF',
      depth='uint8' if found.photometric == _PALETTE else str(_depth(found)),
      icc=None if mixed and found.photometric != _PALETTE else found.iccprofile,
      exif=exif,
      xmp=photo_parts.upright_xmp(_value(found, 700)),
      dpi=_dpi(found),
      tiff=Tiff(
        photometric,
        alpha is not None and _is_associated(found),
        _kept_tags(found, turned),
      ),
      missing=missing,
      notes=(*notes, *unread),
    )


def _finer(tags: Tags, scale: tuple[float, float]) -> Tags:
  """Returns the georeference of an image enlarged by the scale (y, x).

  Raster coordinates are those of pixel corners, or of centres where the file
  says so; the centre of the first pixel moves by the enlarging.
  """
  values = {tag: value for tag, _, _, value in tags}
  keys = values.get(_GEO_KEYS, ())
  is_point = dict(zip(keys[4::4], keys[7::4], strict=False)).get(1025) == 2
  centre = 0.5 if is_point else 0.0
  factors = (scale[1], scale[0])  # columns, rows
  new = {}
  if _PIXEL_SCALE in values:
    size = values[_PIXEL_SCALE]
    new[_PIXEL_SCALE] = (size[0] / factors[0], size[1] / factors[1], *size[2:])
  if _TIE_POINTS in values:
    points = np.reshape(values[_TIE_POINTS], (-1, 6)).astype(np.float64)
    points[:, :2] = (points[:, :2] + centre) * factors - centre
    new[_TIE_POINTS] = tuple(points.ravel().tolist())
  if _TRANSFORMATION in values:
    matrix = np.reshape(values[_TRANSFORMATION], (4, 4)).astype(np.float64)
    for axis, factor in enumerate(factors):
      matrix[:, 3] += matrix[:, axis] * (centre / factor - centre)
      matrix[:, axis] /= factor
    new[_TRANSFORMATION] = tuple(matrix.ravel().tolist())
  # Whatever a file keeps them as, these are doubles by GeoTIFF.
  return tuple(
    (tag, _DOUBLE if tag in new else kind, count, new.get(tag, old))
    for tag, kind, count, old in tags
  )


def _rescaled(tags: Tags, before: str, after: str) -> Tags:
  """Returns tags whose no-data value is in the unit of another depth."""
  white = photo_parts.WHITE[before]
  new = []
  for tag, kind, count, value in tags:
    if tag == _NO_DATA and white and after != before:
      with contextlib.suppress(ValueError, TypeError):
        number = float(value) / white * (photo_parts.WHITE[after] or 1)
        value = f'{number:.9g}'
        count = len(value) + 1
    new.append((tag, kind, count, value))
  return tuple(new)


def _add_exif(file: BinaryIO, exif: Image.Exif) -> None:
  """Adds EXIF to a TIFF file: a new directory behind it takes the old's place.

  The pixels have to lie in tiles: the offsets of strips would be changed. A
  file of 4 GiB or more stays as it is, since EXIF has addresses of 32 bits.
  """
  size = file.seek(0, io.SEEK_END)
  file.seek(0)
  head = file.read(8)
  if not len(exif) or size >= 2**32 - 2**24 or head[2] != 42:
    return
  directory = TiffImagePlugin.ImageFileDirectory_v2(head)
  file.seek(directory.next)
  directory.load(file)
  for tag in list(directory):
    directory[tag]  # decodes it, so that it is written again
  for tag in _DESCRIPTIVE:
    if tag in exif:
      directory[tag] = exif[tag]
  for tag in _DIRECTORIES:
    details = exif.get_ifd(tag)
    if details:
      directory[tag] = details
      directory.tagtype[tag] = 4  # an address
  start = size + size % 2
  file.seek(size)
  file.write(b'\0' * (start - size) + directory.tobytes(start))
  file.seek(4)
  file.write(struct.pack('<I', start))


def stored(
  colour: np.ndarray, alpha: np.ndarray, like: Photo, depth: str
) -> tuple[np.ndarray, np.ndarray]:
  """Returns colour and alpha in the way that the photo's TIFF has them.

  Args:
    colour: `[H, W, C]` in the photo's unit.
    alpha: `[H, W, 1]` in [0, 1].
    like: the photo.
    depth: to be stored.
  """
  if like.tiff is not None and like.tiff.associated:
    colour = colour * alpha
  # In the unit of the colours.
  return colour, alpha * np.float32(32767) if depth == 'int16' else alpha


def _tiles(samples: photo_parts.Samples) -> Iterator[np.ndarray]:
  """Yields the tiles `[_TILE, _TILE, C]` of an image, filled up with zeros."""
  rows, columns = samples.shape[:2]
  for top in range(0, rows, _TILE):
    band = samples.band(top, min(top + _TILE, rows))
    for left in range(0, columns, _TILE):
      part = band[:, left : left + _TILE]
      tile = np.zeros((_TILE, _TILE, samples.shape[2]), samples.dtype)
      tile[: part.shape[0], : part.shape[1]] = part
      yield tile if samples.shape[2] > 1 else tile[..., 0]


def write(
  file: BinaryIO,
  samples: photo_parts.Samples,
  like: Photo,
  scale: tuple[float, float],
) -> None:
  """Writes a TIFF file, deflated, tile by tile; see `photo.encode`.

  Args:
    file: open to be written and read.
    samples: colours and, where the photo has one, alpha, as `stored`.
    like: the photo.
    scale: by how much it was enlarged.
  """
  import tifffile

  rows, columns, count = samples.shape
  colours = like.colour.shape[-1]
  facts = like.tiff or Tiff('rgb' if colours == 3 else 'minisblack')
  extras = ['unspecified'] * (
    colours - (3 if facts.photometric == 'rgb' else 1)
  )
  if count > colours:
    extras.append('assocalpha' if facts.associated else 'unassalpha')
  depth = samples.dtype.name
  kept = _rescaled(_finer(facts.tags, scale), like.depth, depth)
  tags = [(*tag, True) for tag in kept]
  if like.xmp:
    tags.append((700, 1, len(like.xmp), like.xmp, True))
  tifffile.imwrite(
    file,
    _tiles(samples),
    shape=samples.shape if count > 1 else samples.shape[:2],
    dtype=samples.dtype,
    byteorder='<',
    photometric=facts.photometric,
    planarconfig='contig' if count > 1 else None,
    extrasamples=extras or None,
    tile=(_TILE, _TILE),
    compression='zlib',
    predictor=True,
    iccprofile=like.icc,
    resolution=like.dpi,
    resolutionunit=2 if like.dpi else None,
    metadata=None,
    software=False,
    extratags=tags,
  )
  _add_exif(file, photo_parts.resized_exif(like.exif, columns, rows))
