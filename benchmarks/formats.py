"""What every kind of photo comes out as: makes docs/formats.md.

  python benchmarks/formats.py

Small files of every combination of container, mode, depth and metadata go
through bin/main.py with configs/smoke.py, x2, a folder at a time. Pillow and
tifffile say what is in the results, so that the package does not judge itself.
Ends with 1 where something is lost without a word.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import io
import re
import struct
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import jax
import numpy as np
import tifffile
from PIL import ExifTags, Image, PngImagePlugin

from zssr_jax.evaluation import code

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'tests' / 'data'))
import sample_files as make  # noqa: E402

SHAPE = (28, 36)
IPTC = b'\x1c\x02\x05\0\x05Title\0'  # to an even number of bytes
GEOGRAPHIC = (33550, 33922, 34735, 42112, 42113)
_ORIENTED = 6
_TOLERANCE = 0.06  # of the range: what a few steps of a tiny network add


class Case(NamedTuple):
  """A kind of file, with what it holds as it should be seen."""

  container: str
  mode: str
  depth: str
  content: bytes
  suffix: str
  samples: np.ndarray | None  # [H, W, C], upright; None: to be refused
  told: tuple[str, ...] = ()  # what it says beside its pixels
  page: int | None = None
  flags: tuple[str, ...] = ()


def smooth(channels: int, depth: str = 'uint8') -> np.ndarray:
  """Waves with an edge; alpha, where there is one, is 0 and 1 in places."""
  y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
  phases = np.arange(channels)
  waves = np.sin(x[..., None] / 5 + phases) + np.cos(y[..., None] / 7 * phases)
  waves = (waves + (x > y)[..., None] + 2) / 5
  if channels in (2, 4):
    alpha = np.clip(1.5 - np.hypot(y - 14, x - 18) / 10, 0, 1)
    waves[..., -1] = alpha
  if depth.startswith('float'):
    return (3 * waves - 1 if channels not in (2, 4) else waves).astype(depth)
  if depth.startswith('int'):
    return np.round(8000 * waves - 3000).astype(depth)
  return np.round(make.WHITE.get(depth, 255) * waves).astype(depth)


def as_fractions(samples: np.ndarray) -> np.ndarray:
  """Returns unsigned samples as fractions of white, others as they are."""
  if samples.dtype == bool:
    return samples.astype(np.float64)
  return samples.astype(np.float64) / make.WHITE.get(samples.dtype.name, 1)


def turned(samples: np.ndarray) -> np.ndarray:
  """What EXIF's orientation 6 makes of samples."""
  return np.rot90(samples, -1)


def decoded(content: bytes, mode: str) -> np.ndarray:
  """What Pillow makes of a file: for what is stored with loss."""
  with Image.open(io.BytesIO(content)) as image:
    return np.atleast_3d(np.asarray(image.convert(mode)))


def _exif(orientation: int = _ORIENTED) -> bytes:
  return make.exif_bytes(orientation)


# ------------------------------------------------------------- the files


def png_cases():
  yield from _png_modes()
  yield from _png_chunks()
  yield from _png_depths()
  yield from _png_alphas()


def _png_modes():
  modes = {1: 'grey', 2: 'grey + alpha', 3: 'RGB', 4: 'RGBA'}
  for channels, mode in modes.items():
    for depth in ('uint8', 'uint16'):
      samples = smooth(channels, depth)
      write = (
        make.deep_png
        if depth == 'uint16'
        else lambda s, **o: make.saved(make.as_image(s), 'PNG', **o)
      )
      yield Case('PNG', mode, depth, write(samples), '.png', samples)
      content = write(
        samples,
        exif=_exif(),
        icc_profile=make.ICC_GREY if channels < 3 else make.ICC,
        dpi=(300, 150),
      )
      yield Case(
        'PNG',
        mode,
        depth,
        content,
        '.png',
        turned(samples),
        ('ICC', 'EXIF, turned', 'dpi'),
      )


def _png_chunks():
  rgb = smooth(3)
  text = PngImagePlugin.PngInfo()
  text.add_itxt('XML:com.adobe.xmp', make.XMP.decode())
  text.add_text('Title', 'waves')
  content = make.saved(make.as_image(rgb), 'PNG', pnginfo=text)
  yield Case(
    'PNG', 'RGB', 'uint8', content, '.png', turned(rgb), ('XMP, turned', 'text')
  )
  chunks = [(b'gAMA', struct.pack('>I', 100000)), (b'cICP', b'\x09\x10\0\1')]
  content = make.with_chunks(make.saved(make.as_image(rgb), 'PNG'), chunks)
  yield Case('PNG', 'RGB', 'uint8', content, '.png', rgb, ('gAMA', 'cICP'))
  for suffix in ('tif', 'jpg'):
    yield Case(
      'PNG',
      'RGB',
      'uint8',
      content,
      '.png',
      rgb,
      ('gAMA', 'cICP'),
      flags=(f'--output_format={suffix}',),
    )


def _png_depths():
  for bits in (1, 2, 4):
    grey = smooth(1)[..., 0] >> (8 - bits)
    header = struct.pack('>IIBBBBB', SHAPE[1], SHAPE[0], bits, 0, 0, 0, 0)
    wide = np.unpackbits(grey[..., None], axis=-1)[..., -bits:]
    rows = np.packbits(wide.reshape(SHAPE[0], -1), axis=-1)
    content = _png(header, rows)
    samples = (grey[..., None] * (255 // (2**bits - 1))).astype(np.uint8)
    yield Case('PNG', 'grey', f'{bits} bit', content, '.png', samples)


def _png_alphas():
  """And palettes and frames."""
  rgb = smooth(3)
  palette = make.as_image(rgb).quantize(16)
  colours = np.asarray(palette.convert('RGB'))
  content = make.saved(palette, 'PNG')
  yield Case('PNG', 'palette', 'uint8', content, '.png', colours)
  content = make.saved(palette, 'PNG', transparency=3)
  seen = decoded(content, 'RGBA')
  yield Case('PNG', 'palette, transparent', 'uint8', content, '.png', seen)
  key = tuple(int(v) for v in rgb[3, 4])
  content = make.saved(make.as_image(rgb), 'PNG', transparency=key)
  seen = decoded(content, 'RGBA')
  yield Case('PNG', 'RGB, one transparent', 'uint8', content, '.png', seen)
  opaque = np.dstack([rgb, np.full(SHAPE, 255, np.uint8)])
  content = make.saved(make.as_image(opaque), 'PNG')
  yield Case('PNG', 'RGBA, all opaque', 'uint8', content, '.png', opaque)
  content = make.saved(
    make.as_image(rgb), 'PNG', save_all=True, append_images=[palette]
  )
  yield Case('PNG', 'RGB, frames', 'uint8', content, '.png', None)
  yield Case('PNG', 'RGB, frame 1', 'uint8', content, '.png', rgb, page=1)


def _png(header: bytes, rows: np.ndarray) -> bytes:
  """A PNG of packed rows."""
  lines = np.pad(rows, ((0, 0), (1, 0)))
  data = imagecodecs.zlib_encode(lines.tobytes())
  stream = io.BytesIO()
  stream.write(b'\x89PNG\r\n\x1a\n')
  for name, body in ((b'IHDR', header), (b'IDAT', data), (b'IEND', b'')):
    PngImagePlugin.putchunk(stream, name, body)
  return stream.getvalue()


def jpeg_cases():
  for channels, mode in ((1, 'grey'), (3, 'RGB')):
    image = make.as_image(smooth(channels))
    pillow = make.PILLOW_MODES[channels]
    for options, told in (
      ({}, ()),
      (
        {
          'exif': _exif(),
          'icc_profile': make.ICC if channels == 3 else make.ICC_GREY,
          'dpi': (300, 150),
          'xmp': make.XMP,
          'comment': 'made up',
        },
        ('ICC', 'EXIF, turned', 'dpi', 'XMP', 'comment'),
      ),
    ):
      content = make.saved(image, 'JPEG', quality=95, **options)
      samples = decoded(content, pillow)
      samples = turned(samples) if options else samples
      yield Case('JPEG', mode, 'uint8', content, '.jpg', samples, told)
  yield Case(
    'JPEG',
    'RGB',
    'uint8',
    content,
    '.jpg',
    samples,
    told,
    flags=('--output_format=jpg',),
  )
  plain = make.saved(make.as_image(smooth(3)), 'JPEG', quality=95)
  body = b'Photoshop 3.0\0' + b'8BIM\x04\x04\0\0' + struct.pack('>I', len(IPTC))
  marker = b'\xff\xed' + struct.pack('>H', 2 + len(body) + len(IPTC))
  content = plain[:2] + marker + body + IPTC + plain[2:]
  seen = decoded(content, 'RGB')
  yield Case('JPEG', 'RGB', 'uint8', content, '.jpg', seen, ('IPTC',))
  inks = Image.fromarray(smooth(4) // 2, 'CMYK')
  light = 1 - smooth(4)[..., :4] // 2 / 255
  seen = np.round(255 * light[..., :3] * light[..., 3:]).astype(np.uint8)
  content = make.saved(inks, 'JPEG', quality=95, subsampling=0)
  yield Case('JPEG', 'CMYK', 'uint8', content, '.jpg', seen)
  dark = Image.new('CMYK', SHAPE[::-1], (0, 0, 0, 255))
  content = make.saved(dark, 'JPEG', icc_profile=make.cmyk_profile())
  black = np.zeros((*SHAPE, 3), np.uint8)
  yield Case('JPEG', 'CMYK', 'uint8', content, '.jpg', black, ('ICC',))
  image = make.as_image(smooth(3))
  content = make.saved(image, 'MPO', save_all=True, append_images=[image])
  seen = decoded(content, 'RGB')
  yield Case('JPEG', 'RGB, MPO', 'uint8', content, '.jpg', seen, ('pictures',))


_TIFF_MODES = {
  1: 'grey',
  2: 'grey + alpha',
  3: 'RGB',
  4: 'RGBA',
  5: '5 bands',
}


def tiff_cases():
  yield from _tiff_depths()
  yield from _tiff_places()
  yield from _tiff_holes()
  yield from _tiff_bits()
  yield from _tiff_colours()
  yield from _tiff_pages()


def _tiff_depths():
  modes = _TIFF_MODES
  for channels, mode in modes.items():
    for depth in ('uint8', 'uint16', 'float16', 'float32'):
      samples = smooth(channels, depth)
      content = make.plain_tiff(samples)
      yield Case('TIFF', mode, depth, content, '.tif', samples)
  for channels in (1, 3):
    for depth in ('int8', 'int16', 'int32', 'uint32', 'float64'):
      samples = (smooth(channels) // 4).astype(depth)
      content = make.plain_tiff(samples)
      yield Case('TIFF', modes[channels], depth, content, '.tif', samples)
  for depth in ('uint8', 'uint16', 'float32'):
    samples = smooth(3, depth)
    content = make.plain_tiff(samples, metadata=True)
    told = ('ICC', 'EXIF, turned', 'dpi', 'XMP')
    yield Case('TIFF', 'RGB', depth, content, '.tif', turned(samples), told)


def _tiff_places():
  modes = _TIFF_MODES
  keys = [(34735, 'H', 12, (*make.KEYS, 1), True)]
  for depth, channels in (('uint8', 3), ('uint8', 5), ('float32', 1)):
    samples = smooth(channels, depth)
    place = [*make.GEO[:2], *keys]
    missing = ()
    if depth == 'float32':
      samples[4:9, 20:30] = -9999
      place = [*make.GEO, *keys]
      missing = ('no data',)
    content = make.plain_tiff(samples, extratags=place)
    told = ('georeference', *missing)
    yield Case('TIFF', modes[channels], depth, content, '.tif', samples, told)
  yield Case(
    'TIFF',
    'RGB',
    'uint8',
    make.plain_tiff(smooth(3), extratags=[*make.GEO[:2], *keys]),
    '.tif',
    smooth(3),
    ('georeference',),
    flags=('--output_format=png',),
  )


def _tiff_holes():
  """And what else is not colour: IPTC, associated alpha."""
  for depth, value in (('int16', -32768), ('uint16', 0)):
    samples = smooth(1, depth)
    samples[4:9, 20:30] = value
    tags = [(42113, 's', 0, str(value), True)]
    content = make.plain_tiff(samples, extratags=tags)
    yield Case('TIFF', 'grey', depth, content, '.tif', samples, ('no data',))
  samples = smooth(1, 'float32')
  samples[4:9, 20:30] = np.nan
  content = make.plain_tiff(samples)
  yield Case('TIFF', 'grey', 'float32', content, '.tif', samples, ('NaN',))
  tags = [(33723, 7, len(IPTC), IPTC, True)]
  content = make.plain_tiff(smooth(3), extratags=tags)
  yield Case('TIFF', 'RGB', 'uint8', content, '.tif', smooth(3), ('IPTC',))
  rgba = smooth(4, 'float32')
  stored = rgba.copy()
  stored[..., :3] *= rgba[..., 3:]
  content = make.tiff(stored, photometric='rgb', extrasamples=['assocalpha'])
  yield Case('TIFF', 'RGBA, associated', 'float32', content, '.tif', stored)


def _tiff_bits():
  for bits in (1, 4, 12):
    kind = {1: bool, 4: np.uint8, 12: np.uint16}[bits]
    grey = (smooth(1)[..., 0].astype(np.uint16) << 8) >> (16 - bits)
    fractions = grey[..., None] / (2**bits - 1)
    for photometric in ('minisblack', 'miniswhite'):
      stored = grey if photometric == 'minisblack' else 2**bits - 1 - grey
      content = make.tiff(
        stored.astype(kind), photometric=photometric, bitspersample=bits
      )
      mode = 'grey' if photometric == 'minisblack' else 'grey, white is 0'
      yield Case('TIFF', mode, f'{bits} bit', content, '.tif', fractions)
  grey = smooth(1, 'float32')
  content = make.tiff(grey[..., 0], photometric='miniswhite')
  yield Case('TIFF', 'grey, white is 0', 'float32', content, '.tif', grey)


def _tiff_colours():
  palette = make.as_image(smooth(3)).quantize(16)
  colours = np.asarray(palette.convert('RGB'))
  content = make.saved(palette, 'TIFF')
  yield Case('TIFF', 'palette', 'uint8', content, '.tif', colours)
  for depth in ('uint8', 'uint16'):
    inks = smooth(4, depth) // 2
    light = 1 - as_fractions(inks)
    seen = light[..., :3] * light[..., 3:]
    content = make.tiff(inks, photometric='separated', planarconfig='contig')
    yield Case('TIFF', 'CMYK', depth, content, '.tif', seen)
    unit = 1 if depth == 'uint8' else 256
    lab = np.zeros((*SHAPE, 3), depth)
    lab[..., 0] = smooth(1, depth)[..., 0]
    lab[..., 1:] = 128 * unit
    for photometric in ('cielab', 'icclab'):
      lab[..., 1:] = 0 if photometric == 'cielab' else 128 * unit
      content = make.tiff(lab, photometric=photometric, planarconfig='contig')
      white = 65280 if photometric == 'icclab' and unit > 1 else 255 * unit
      white = 65535 if photometric == 'cielab' and unit > 1 else white
      seen = _srgb_of_lightness(lab[..., :1] * (100.0 / white))
      mode = 'Lab' if photometric == 'cielab' else 'Lab (ICC)'
      yield Case('TIFF', mode, depth, content, '.tif', seen.repeat(3, 2))
  ycc = make.as_image(smooth(3)).convert('YCbCr')
  seen = np.asarray(ycc.convert('RGB'))
  yield Case('TIFF', 'YCbCr', 'uint8', make.saved(ycc, 'TIFF'), '.tif', seen)


def _tiff_pages():
  """And what is refused."""
  palette = make.as_image(smooth(3)).quantize(16)
  rgb = make.as_image(smooth(3))
  stream = io.BytesIO()
  rgb.save(stream, 'TIFF', save_all=True, append_images=[palette])
  content = stream.getvalue()
  yield Case('TIFF', 'RGB, pages', 'uint8', content, '.tif', None)
  yield Case('TIFF', 'RGB, page 1', 'uint8', content, '.tif', smooth(3), page=1)
  complex_ = smooth(1, 'float32')[..., 0].astype(np.complex64)
  yield Case('TIFF', 'grey', 'complex64', make.tiff(complex_), '.tif', None)
  dng = [(50706, 1, 4, b'\1\4\0\0', True)]
  content = make.tiff(smooth(3), photometric='rgb', extratags=dng)
  yield Case('TIFF', 'raw file (DNG)', 'uint8', content, '.tif', None)


def _srgb_of_lightness(light: np.ndarray) -> np.ndarray:
  """sRGB of neutral colours of a CIE lightness, 0 to 100."""
  f = (light + 16) / 116
  y = np.where(light > 8, f**3, light / 903.3)
  return np.where(y > 0.0031308, 1.055 * y ** (1 / 2.4) - 0.055, 12.92 * y)


def other_cases():
  rgb, rgba = smooth(3), smooth(4)
  facts: dict[str, Any] = {'exif': _exif(), 'icc_profile': make.ICC}
  told = ('ICC', 'EXIF, turned', 'XMP')
  for samples, mode in ((rgb, 'RGB'), (rgba, 'RGBA')):
    image = make.as_image(samples)
    lossless = {'lossless': True, 'exact': True}
    content = make.saved(image, 'WEBP', **lossless)
    yield Case('WebP', mode, 'uint8', content, '.webp', samples)
    content = make.saved(image, 'WEBP', **lossless, **facts, xmp=make.XMP)
    yield Case('WebP', mode, 'uint8', content, '.webp', turned(samples), told)
    content = make.saved(image, 'AVIF', quality=95, subsampling='4:4:4')
    seen = decoded(content, mode)
    yield Case('AVIF', mode, 'uint8', content, '.avif', seen)
    content = make.saved(
      image, 'AVIF', quality=95, subsampling='4:4:4', **facts, xmp=make.XMP
    )
    yield Case('AVIF', mode, 'uint8', content, '.avif', turned(seen), told)
  stream = io.BytesIO()
  make.as_image(rgb).save(
    stream, 'WEBP', save_all=True, append_images=[make.as_image(rgb[::-1])]
  )
  yield Case('WebP', 'RGB, frames', 'uint8', stream.getvalue(), '.webp', None)
  for bits in (10, 12):
    deep = smooth(3, 'uint16') >> (16 - bits)
    content = imagecodecs.avif_encode(deep, bitspersample=bits, level=100)
    seen = deep / (2**bits - 1)
    yield Case('AVIF', 'RGB', f'{bits} bit', content, '.avif', seen)
  content = imagecodecs.avif_encode(rgb, level=100, primaries=9, transfer=16)
  yield Case('AVIF', 'RGB', 'uint8', content, '.avif', rgb, ('cICP',))
  for mode in ('1', 'L', 'P', 'RGB'):
    image = make.as_image(rgb).convert(mode, dither=Image.Dither.NONE)
    seen = np.atleast_3d(
      np.asarray(image.convert('RGB' if mode in 'PRGB' else 'L'))
    )
    name = {'1': 'grey', 'L': 'grey', 'P': 'palette', 'RGB': 'RGB'}[mode]
    depth = '1 bit' if mode == '1' else 'uint8'
    content = make.saved(image, 'BMP', dpi=(300, 150))
    yield Case('BMP', name, depth, content, '.bmp', seen, ('dpi',))
  yield Case('BMP', 'RGBA', 'uint8', _bmp(rgba), '.bmp', rgba)
  palette = make.as_image(rgb).quantize(16)
  content = make.saved(palette, 'GIF', comment=b'made up')
  seen = np.asarray(palette.convert('RGB'))
  yield Case('GIF', 'palette', 'uint8', content, '.gif', seen, ('comment',))
  content = make.saved(palette, 'GIF', transparency=3)
  seen = decoded(content, 'RGBA')
  yield Case('GIF', 'palette, transparent', 'uint8', content, '.gif', seen)
  grey = make.as_image(smooth(1))
  content = make.saved(grey, 'GIF')
  seen = smooth(1).repeat(3, 2)
  yield Case('GIF', 'palette of greys', 'uint8', content, '.gif', seen)
  with contextlib.suppress(ImportError, RuntimeError):
    yield from heif_cases()


def _bmp(rgba: np.ndarray) -> bytes:
  """A BMP with alpha: its header is of the version that has masks."""
  pixels = rgba[::-1, :, [2, 1, 0, 3]].tobytes()
  header = struct.pack(
    '<IiiHHIIiiII', 108, *rgba.shape[1::-1], 1, 32, 3, len(pixels), 0, 0, 0, 0
  )
  masks = struct.pack('<5I', 0xFF0000, 0xFF00, 0xFF, 0xFF000000, 0x73524742)
  header = (header + masks).ljust(108, b'\0')
  start = 14 + len(header)
  return (
    struct.pack('<2sIII', b'BM', start + len(pixels), 0, start)
    + header
    + pixels
  )


def heif_cases():
  heif = importlib.import_module('pillow_heif')
  for channels in (3, 4):
    for depth in ('uint8', 'uint16'):
      samples = smooth(channels, depth)
      mode = make.PILLOW_MODES[channels]
      for options, told in (
        ({}, ()),
        ({'exif': _exif(), 'xmp': make.XMP}, ('EXIF, turned', 'XMP')),
      ):
        stream = io.BytesIO()
        heif.from_bytes(
          mode + (';16' if depth == 'uint16' else ''),
          SHAPE[::-1],
          samples.tobytes(),
        ).save(stream, quality=-1, chroma=444, **options)
        depth_ = '10 bit' if depth == 'uint16' else depth
        content = stream.getvalue()
        seen = turned(samples) if told else samples
        yield Case('HEIF', mode, depth_, content, '.heic', seen, told)


def all_cases() -> list[Case]:
  """Returns every combination."""
  makers: tuple[Callable[[], Any], ...] = (
    png_cases,
    jpeg_cases,
    tiff_cases,
    other_cases,
  )
  return [case for maker in makers for case in maker()]


# ----------------------------------------------------- through the command


def run(arguments: list[str]) -> tuple[int, str]:
  """Runs bin/main.py in this process: its exit code and stderr."""
  path = ROOT / 'bin' / 'main.py'
  spec = importlib.util.spec_from_file_location('bin_main', path)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  err = io.StringIO()
  with (
    contextlib.redirect_stderr(err),
    contextlib.redirect_stdout(io.StringIO()),
  ):
    code = module.main(['main.py', *arguments])
  jax.clear_caches()
  return code, err.getvalue()


def outcomes(
  cases: list[Case], folder: Path
) -> list[tuple[Path | None, list[str]]]:
  """Returns of every case the file that was made of it, and what was said."""
  said: dict[int, list[str]] = {i: [] for i in range(len(cases))}
  groups: dict[Any, list[int]] = {}
  for i, case in enumerate(cases):
    # What is not the only page is named; so are files with flags of their own.
    alone = i if case.page else None
    groups.setdefault((case.flags, alone), []).append(i)
  smoke = f'--config={ROOT}/configs/smoke.py'
  for number, ((flags, alone), members) in enumerate(groups.items()):
    source = folder / f'in{number}'
    source.mkdir()
    for i in members:
      (source / f'{i:03}{cases[i].suffix}').write_bytes(cases[i].content)
    named = source
    if alone is not None:
      case = cases[alone]
      named = source / f'{alone:03}{case.suffix}[{case.page}]'
    _, err = run([smoke, f'--input={named}', f'--output={folder}/out', *flags])
    for line in err.splitlines():
      found = re.search(r'/in\d+/(\d{3})\.[a-z]+(?:\[\d\])?: (.*)', line)
      if found:  # the others tell of progress
        said[int(found[1])].append(found[2])
  results = []
  for i in range(len(cases)):
    made = [
      p for p in (folder / 'out').glob(f'{i:03}_*') if p.suffix != '.json'
    ]
    results.append((made[0] if made else None, said[i]))
  return results


# --------------------------------------------------------- what came of it


class Found(NamedTuple):
  """What another library finds in a result."""

  container: str
  mode: str
  depth: str
  samples: np.ndarray
  told: dict[str, Any]


def inspect(path: Path) -> Found:
  """Reads a result with Pillow, tifffile or imagecodecs."""
  content = path.read_bytes()
  told: dict[str, Any] = {}
  if path.suffix == '.tif':
    with tifffile.TiffFile(path) as file:
      page = file.pages[0].aspage()
      samples = page.asarray()
      tags = {tag.code: tag.value for tag in page.tags}
      extras = [int(e) for e in page.extrasamples]
      photometric = page.photometric.name
    samples = samples[..., None] if samples.ndim == 2 else samples
    bands = {
      'RGB': 'RGB',
      'MINISBLACK': 'grey',
      'MINISWHITE': 'grey, white is 0',
    }
    mode = bands[photometric]
    if 0 in extras:
      mode = f'{samples.shape[-1]} bands'
    elif extras:
      mode = {'RGB': 'RGBA', 'grey': 'grey + alpha'}[mode]
      mode += ', associated' if extras == [1] else ''
    if 282 in tags:
      told['dpi'] = tuple(round(tags[t][0] / tags[t][1]) for t in (282, 283))
    told |= {
      'ICC': tags.get(34675),
      'make': tags.get(271),
      'orientation': tags.get(274, 1),
      'XMP': tags.get(700),
      'IPTC': tags.get(33723),
      'tags': {t: tags[t] for t in GEOGRAPHIC if t in tags},
    }
    return Found('TIFF', mode, samples.dtype.name, samples, told)
  with warnings.catch_warnings(), Image.open(path) as image:
    warnings.simplefilter('ignore')
    image.load()
    exif, info = image.getexif(), image.info
    text = dict(getattr(image, 'text', {}))
    samples, container = np.asarray(image), str(image.format)
  if container == 'PNG' and content[24] == 16:
    samples = imagecodecs.png_decode(content)
  samples = samples[..., None] if samples.ndim == 2 else samples
  mode = ('grey', 'grey + alpha', 'RGB', 'RGBA')[samples.shape[-1] - 1]
  dpi = info.get('dpi', ())
  told |= {
    'ICC': info.get('icc_profile'),
    'make': exif.get(ExifTags.Base.Make),
    'orientation': exif.get(ExifTags.Base.Orientation, 1),
    'XMP': info.get('xmp'),
    'text': text.get('Title'),
    'comment': text.get('Comment'),
    'gAMA': b'gAMA' in content[:400],
    'cICP': b'cICP' in content[:400],
    'dpi': tuple(round(float(side)) for side in dpi),
  }
  return Found(container, mode, samples.dtype.name, samples, told)


def is_kept(fact: str, found: Found) -> bool:
  """Whether a result says a fact that its input says."""
  told = found.told
  if fact.startswith('EXIF'):
    return told['make'] == 'MadeUpCam' and told['orientation'] == 1
  if fact == 'ICC':
    return told['ICC'] in (make.ICC, make.ICC_GREY)
  if fact == 'dpi':
    return told['dpi'] == (300, 150)
  if fact.startswith('XMP'):
    packet = told['XMP']
    return packet == make.XMP.replace(b'"6"', b'"1"')
  if fact == 'IPTC':
    return told.get('IPTC') == IPTC
  if fact == 'georeference':
    return told.get('tags', {}).get(33550) == (5.0, 10.0, 0.0)
  if fact == 'no data':
    return 42113 in told['tags']
  if fact == 'NaN':
    return bool(np.isnan(found.samples).any())
  return bool(told.get(fact))


def looks_alike(case: Case, found: Found) -> bool:
  """Whether a result, made small again, is what the input shows."""
  assert case.samples is not None
  before, after = as_fractions(case.samples), as_fractions(found.samples)
  rows, columns, bands = before.shape
  if after.shape != (2 * rows, 2 * columns, bands):
    return False
  small = after.reshape(rows, 2, columns, 2, bands).mean((1, 3))
  missing = ~np.isfinite(before) | (before == -9999) | (before == -32768)
  if (missing != (~np.isfinite(small) | np.isin(small, (-9999, -32768)))).any():
    return False
  if bands in (2, 4) and case.mode != '5 bands':
    visible = (before[..., -1:] > 0.5) & (small[..., -1:] > 0.5)
    missing = missing | np.where(np.arange(bands) < bands - 1, ~visible, False)
  valid = before[~missing]
  span = max(float(np.ptp(valid)), 1e-9) if valid.size else 1.0
  span = max(span, 1.0) if case.samples.dtype.kind in 'ub' else span
  difference = np.abs(before - small)[~missing].mean()
  return bool(difference <= _TOLERANCE * span)


# How the loss of a fact is said, where it is not by its own name.
_WORDS = {
  'comment': 'Comment',
  'ICC': 'by its profile',
  'pictures': 'further pictures',
}


def row(case: Case, path: Path | None, words: list[str]) -> tuple[str, bool]:
  """Returns a line of the table, and whether nothing was lost in silence."""
  lines = '; '.join(words).replace('|', '\\|').replace(str(path), '')
  facts = ', '.join(case.told) or '-'
  flags = f' `{" ".join(case.flags)}`' if case.flags else ''
  given = f'| {case.container}{flags} | {case.mode} | {case.depth} | {facts}'
  if path is None:
    fine = case.samples is None and len(words) == 1
    return f'{given} | refused | | | | {lines} |', fine
  found = inspect(path)
  kept = [fact for fact in case.told if is_kept(fact, found)]
  lost = [fact for fact in case.told if fact not in kept]
  same = case.samples is not None and looks_alike(case, found)
  depth_same = found.depth == case.depth
  said = all(_WORDS.get(fact, fact) in lines for fact in lost)
  fine = same and (depth_same or bool(words)) and said
  marks = ', '.join(kept) or '-'
  marks += '' if same else ' **(pixels differ)**'
  return (
    f'{given} | {found.container} | {found.mode} | {found.depth} | {marks} |'
    f' {lines} |',
    fine,
  )


def page(lines: list[str], picture: str) -> str:
  """Returns docs/formats.md."""
  return (
    f"""# Formats: what goes in and what comes out

{len(lines)} small files, each of another kind, went through `bin/main.py`
with `configs/smoke.py`, x2. What is in the results was found by Pillow and
tifffile, not by this package; the pixels, made small again, are those of the
input. The last column is what the command says of the file, word for word.
Written by

    python benchmarks/formats.py

at commit {code.commit()} on {datetime.date.today()}, on a 2-core AMD EPYC.
{picture}
- A TIFF gives a TIFF and any other file a PNG, of the same depth; the flags
  `--output_format` and `--bit_depth` say otherwise.
- "EXIF, turned" is an image whose orientation says that it lies on its side:
  it comes out upright, and says so.
- Profiles are kept and the numbers of the colours are not converted, but for
  CMYK and Lab, which become sRGB.
- Where a raster has no data (NaN, infinite, or GDAL's no-data value) the result
  has none either: the network sees the nearest data instead, so that the number
  that stands for none neither stretches the range nor bleeds into its
  surroundings.
- GIF, WebP, AVIF, HEIF and BMP are read but not written.

| container | mode | depth | says | container | mode | depth | kept | words |
|---|---|---|---|---|---|---|---|---|
"""
    + '\n'.join(lines)
    + '\n'
  )


PICTURE = """
![text, a cut-out and a gradient, enlarged](pictures/formats.jpg)

Text comes out crisp and grey, with a lighter rim about it, and a cut-out has no
dark fringe on a light ground, since hidden colours never reach the network. A
16-bit gradient whose contrast is stretched has bands if it was written with 8
bits and none with its own 16 (`benchmarks/format_pictures.py`).
"""


def main() -> int:
  cases = all_cases()
  with tempfile.TemporaryDirectory() as folder:
    results = outcomes(cases, Path(folder))
    rows = [row(c, *r) for c, r in zip(cases, results, strict=True)]
  lines = [line for line, _ in rows]
  (ROOT / 'docs' / 'formats.md').write_text(page(lines, PICTURE))
  silent = [line for line, fine in rows if not fine]
  print(f'{len(rows)} combinations, {len(silent)} with something unsaid')
  print('\n'.join(silent))
  return 1 if silent else 0


if __name__ == '__main__':
  sys.exit(main())
