"""Reads damaged files of every kind by the project's own readers.

  python benchmarks/fuzz.py [--seed=0] [--count=10000] [--seconds=5]
      [--memory=2048] [--keep=FOLDER]

Small valid files are made and damaged: bits, runs of bytes, ends cut off,
numbers of headers set to extremes, chunks removed, doubled, exchanged or
damaged with their checksums made right, files spliced. Each is read in a
process of its own, which is given so many seconds and so many MB more than it
had. What is read has to be finite and in its range, and a photo has to be
writable again; anything else has to be refused by an `InputError`, one line
that names the file. All else is a finding: another error, a crash, too long,
too much memory, words of a library on stderr. Findings are kept in FOLDER;
the exit code is 1 where there is any.

The same seed and count give the same files, whatever the machine.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import functools
import io
import json
import multiprocessing
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from multiprocessing import connection
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

Part = tuple[bytes, bytes]  # a chunk's name and what is in it
_START = 120  # seconds that the reading process may take to begin
_LONGEST = 600  # characters of a refusal
_PIXELS = 1_000_000  # of photos that are written again


# Files to begin with.


def _samples(bands: int, depth: str, shape=(24, 20)) -> np.ndarray:
  """Smooth samples `[H, W, bands]` with some noise."""
  rng = np.random.default_rng(bands)
  y, x = np.mgrid[: shape[0], : shape[1]]
  waves = np.sin(x / 5)[..., None] * np.arange(1, bands + 1) + y[..., None] / 9
  waves = waves + rng.normal(0, 0.1, waves.shape)
  unit = (waves - waves.min()) / np.ptp(waves)
  if depth.startswith('float'):
    return unit.astype(depth)
  return np.round(unit * np.iinfo(depth).max).astype(depth)


def _squeezed(samples: np.ndarray) -> np.ndarray:
  return samples[..., 0] if samples.shape[-1] == 1 else samples


def _saved(container: str, bands: int = 3, mode='', **options) -> bytes:
  """An image file that Pillow writes."""
  from PIL import Image

  image = Image.fromarray(_squeezed(_samples(bands, 'uint8')))
  stream = io.BytesIO()
  (image.convert(mode) if mode else image).save(stream, container, **options)
  return stream.getvalue()


def _frames(container: str, **options) -> bytes:
  """One of three frames."""
  from PIL import Image

  more = [Image.fromarray(_samples(3, 'uint8')[::-1])] * 2
  return _saved(container, save_all=True, append_images=more, **options)


def _tiff(bands: int, depth: str, pages: int = 1, **options) -> bytes:
  """A TIFF that tifffile writes."""
  import tifffile

  stream = io.BytesIO()
  samples = _squeezed(_samples(bands, depth))
  frame = {n: options.pop(n) for n in ('bigtiff', 'byteorder') if n in options}
  with tifffile.TiffWriter(stream, **frame) as file:
    for _ in range(pages):
      file.write(samples, metadata=None, **options)
  return stream.getvalue()


@functools.cache
def _meant() -> tuple[bytes, Any]:
  """A profile and EXIF."""
  from PIL import Image, ImageCms

  srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
  # The time of day stands in its head, which no seed decides.
  srgb = srgb[:24] + bytes(12) + srgb[36:]
  exif = Image.Exif()
  exif[0x0112], exif[0x010F] = 6, 'MadeUpCam'
  exif.get_ifd(0x8769)[0x829A] = 0.01
  return srgb, exif


def _pngs() -> list[bytes]:
  import imagecodecs
  from PIL import PngImagePlugin

  srgb, exif = _meant()
  text = PngImagePlugin.PngInfo()
  text.add_itxt('XML:com.adobe.xmp', '<x tiff:Orientation="6"/>', zip=True)
  text.add_text('Comment', 'a word ' * 9, zip=True)
  return [
    *(_saved('PNG', bands) for bands in (1, 2, 3, 4)),
    _saved('PNG', mode='P'),
    _saved('PNG', 1, mode='1'),
    _saved('PNG', exif=exif, icc_profile=srgb, dpi=(72, 72), pnginfo=text),
    _frames('PNG'),
    *(
      bytes(imagecodecs.png_encode(_squeezed(_samples(bands, 'uint16'))))
      for bands in (1, 2, 3, 4)
    ),
    _interlaced(),
  ]


def _tiffs() -> list[bytes]:
  srgb, exif = _meant()
  rgb = {'photometric': 'rgb'}
  geo = [
    (33550, 12, 3, (1.0, 1.0, 0.0), True),
    (33922, 12, 6, (0.0,) * 6, True),
    (34735, 3, 8, (1, 1, 0, 1, 1025, 0, 1, 1), True),
    (42113, 2, 5, '-999', True),
  ]
  return [
    _tiff(1, 'uint8'),
    _tiff(3, 'uint8', compression='zlib', predictor=True, **rgb),
    _tiff(3, 'uint16', compression='lzw', tile=(16, 16), **rgb),
    _tiff(4, 'uint8', extrasamples=['assocalpha'], iccprofile=srgb, **rgb),
    _tiff(1, 'float32', compression='zstd', extratags=geo),
    _tiff(1, 'float64'),
    _tiff(6, 'int16', photometric='minisblack', planarconfig='separate'),
    _tiff(3, 'uint8', compression='jpeg', **rgb),
    _tiff(3, 'uint8', 3, rowsperstrip=5, **rgb),
    _tiff(4, 'uint8', photometric='separated', iccprofile=srgb),
    _tiff(3, 'uint8', photometric='cielab'),
    _tiff(1, 'uint16', bigtiff=True, byteorder='>'),
    _saved('TIFF', mode='P', compression='packbits'),
    _saved('TIFF', 1, mode='1', compression='group4'),
    _saved('TIFF', exif=exif, compression='tiff_deflate', dpi=(72, 72)),
    _saved('TIFF', mode='YCbCr'),
  ]


def _heifs() -> list[bytes]:
  """None where the extra is missing."""
  with contextlib.suppress(ImportError, RuntimeError):
    import pillow_heif

    stream = io.BytesIO()
    samples = _samples(3, 'uint8', (64, 64))
    pillow_heif.from_bytes('RGB', (64, 64), samples.tobytes()).save(
      stream, exif=_meant()[1].tobytes()
    )
    return [stream.getvalue()]
  return []


def _images() -> dict[str, list[bytes]]:
  """Valid image files by their kinds."""
  import imagecodecs

  srgb, exif = _meant()
  found = {
    'PNG': _pngs(),
    'JPEG': [
      _saved('JPEG', 1),
      _saved('JPEG', quality=60),
      _saved('JPEG', progressive=True, subsampling=0),
      _saved('JPEG', mode='CMYK', icc_profile=srgb),
      _saved('JPEG', exif=exif, icc_profile=srgb, comment='a word'),
      _frames('MPO'),
    ],
    'TIFF': _tiffs(),
    'WebP': [
      _saved('WEBP'),
      _saved('WEBP', 4, lossless=True, exif=exif, icc_profile=srgb),
      _frames('WEBP'),
    ],
    'AVIF': [
      _saved('AVIF'),
      _saved('AVIF', 4, exif=exif, icc_profile=srgb),
      _frames('AVIF'),
      imagecodecs.avif_encode(_samples(3, 'uint16') >> 6, bitspersample=10),
    ],
    'GIF': [_saved('GIF'), _saved('GIF', 4), _frames('GIF'), _saved('GIF', 1)],
    'BMP': [_saved('BMP'), _saved('BMP', 1), _saved('BMP', 4)],
    'HEIF': _heifs(),
  }
  return {kind: files for kind, files in found.items() if files}


def _interlaced() -> bytes:
  """A grey PNG in Adam7's seven passes, which no library here writes."""
  pixels = _samples(1, 'uint8')[..., 0]
  passes = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4)]
  passes += [(2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1)]
  lines = [
    b'\0' + row.tobytes()
    for top, down, left, right in passes
    for row in pixels[top::down, left::right]
  ]
  rows, columns = pixels.shape
  head = struct.pack('>IIBBBBB', columns, rows, 8, 0, 0, 0, 1)
  data = zlib.compress(b''.join(lines))
  return _join_png([(b'IHDR', head), (b'IDAT', data), (b'IEND', b'')])


def _written(write: Callable) -> bytes:
  """What a function writes to a stream."""
  stream = io.BytesIO()
  write(stream)
  return stream.getvalue()


def _hdf5(kernel: np.ndarray, layer: np.ndarray, *, matlab: bool) -> bytes:
  """An HDF5 file of two arrays and, for MATLAB, a cell of both."""
  import h5py

  def write(stream: io.BytesIO) -> None:
    with h5py.File(stream, 'w') as file:
      file['a/kernel'] = layer
      chunked = {'chunks': (8, 8), 'compression': 'gzip'}
      file.create_dataset('Kernel', data=kernel, **chunked)
      if matlab:
        place = file.create_dataset('cell', (1, 2), h5py.ref_dtype)
        place[0] = [file['Kernel'].ref, file['a/kernel'].ref]
        place.attrs['MATLAB_class'] = np.bytes_('cell')

  return _written(write)


def _own_weights(kernel: np.ndarray) -> tuple[bytes, bytes]:
  """Files of our own, whole and of half the precision."""
  from zssr_jax.weights import parameters

  with tempfile.TemporaryDirectory() as folder:
    ours = pathlib.Path(folder) / 'a.safetensors'
    tree = {'a': {'kernel': np.ones((3, 3), np.float32), 'bias': kernel[0]}}
    parameters.save_params(ours, tree, network='vdsr', scale=2)
    own = ours.read_bytes()
    parameters.save_params(ours, tree, half=True)
    return own, ours.read_bytes()


def _arrays() -> dict[str, list[bytes]]:
  """Valid files of kernels and weights by their kinds."""
  import safetensors.numpy
  import scipy.io

  from zssr_jax import blur_kernels

  kernel = blur_kernels.gaussian_kernel((4, 2.25), 0.5, 2)
  weights = {'a/kernel': np.ones((3, 3, 1, 4), np.float32), 'a/bias': kernel[0]}
  cell = np.empty((1, 2), object)
  cell[0, 0], cell[0, 1] = kernel, kernel.T

  def mat(**variables) -> bytes:
    packed = variables.pop('packed', False)
    content = _written(
      lambda s: scipy.io.savemat(s, variables, do_compression=packed)
    )
    # The time of day stands in its head.
    return b'MATLAB 5.0 MAT-file'.ljust(116) + content[116:]

  own, half = _own_weights(kernel)
  return {
    '.mat': [
      mat(Kernel=kernel),
      mat(kernels=cell, packed=True),
      mat(net={'layer': {'w': kernel, 'name': 'conv'}}, packed=True),
      mat(stack=np.stack([kernel] * 3), kernel=np.eye(5, dtype='u1')),
      _written(lambda s: scipy.io.savemat(s, {'Kernel': kernel}, format='4')),
      _hdf5(kernel, weights['a/kernel'], matlab=True),
    ],
    '.npy': [
      _written(lambda s: np.save(s, kernel)),
      _written(lambda s: np.save(s, np.asfortranarray(kernel.astype('>f8')))),
      _written(lambda s: np.save(s, np.stack([kernel] * 4))),
    ],
    '.npz': [
      _written(lambda s: np.savez(s, kernel=kernel)),
      _written(lambda s: np.savez_compressed(s, a=kernel, b=kernel.T)),
      _written(lambda s: np.savez_compressed(s, **weights)),
    ],
    '.safetensors': [
      own,
      half,
      safetensors.numpy.save(weights, {'format': 'pt'}),
    ],
    '.h5': [_hdf5(kernel, weights['a/kernel'], matlab=False)],
  }


def make_files() -> dict[str, list[bytes]]:
  """Returns valid files by their kinds."""
  return _images() | _arrays()


# Damage. What is a file's frame is taken apart and put together again, so that
# lengths and checksums fit and the damage reaches what lies behind them.

_EXTREMES = (0, 1, 2, 255, 256, 32767, 32768, 60000, 65535, 2**31 - 1)
_EXTREMES += (2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)


def _split_png(content: bytes) -> list[Part]:
  parts, at = [], 8
  while at + 8 <= len(content):
    (size,) = struct.unpack_from('>I', content, at)
    parts.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
    at += 12 + size
  return parts


def _join_png(parts: list[Part]) -> bytes:
  out = [b'\x89PNG\r\n\x1a\n']
  for name, body in parts:
    out.append(struct.pack('>I', len(body)) + name + body)
    out.append(struct.pack('>I', zlib.crc32(name + body)))
  return b''.join(out)


def _split_jpeg(content: bytes) -> list[Part]:
  parts, at = [], 2
  while at + 4 <= len(content) and content[at] == 0xFF:
    (size,) = struct.unpack_from('>H', content, at + 2)
    end = at + 2 + size
    if content[at + 1] == 0xDA:  # pixels follow, up to the next marker
      found = re.compile(rb'\xff[\x01-\xcf\xd8-\xfe]').search(content, end)
      end = found.start() if found else len(content)
    parts.append((content[at : at + 2], content[at + 4 : end]))
    at = end
  return [*parts, (b'', content[at:])]


def _join_jpeg(parts: list[Part]) -> bytes:
  out = [b'\xff\xd8']
  for name, body in parts:
    size = len(body) + 2
    if name == b'\xff\xda':  # only its head counts
      size = 2 + min(len(body), 4 + 2 * (body[0] if body else 0))
    out.append(name + struct.pack('>H', size & 65535) if name else b'')
    out.append(body)
  return b''.join(out)


def _split_webp(content: bytes) -> list[Part]:
  parts, at = [], 12
  while at + 8 <= len(content):
    (size,) = struct.unpack_from('<I', content, at + 4)
    parts.append((content[at : at + 4], content[at + 8 : at + 8 + size]))
    at += 8 + size + size % 2
  return parts


def _join_webp(parts: list[Part]) -> bytes:
  body = b''.join(
    name + struct.pack('<I', len(part)) + part + b'\0' * (len(part) % 2)
    for name, part in parts
  )
  return b'RIFF' + struct.pack('<I', len(body) + 4) + b'WEBP' + body


def _split_boxes(content: bytes) -> list[Part]:
  parts, at = [], 0
  while at + 8 <= len(content):
    (size,) = struct.unpack_from('>I', content, at)
    size = max(size, 8)
    parts.append((content[at + 4 : at + 8], content[at + 8 : at + size]))
    at += size
  return parts


def _join_boxes(parts: list[Part]) -> bytes:
  return b''.join(
    struct.pack('>I', len(body) + 8) + name + body for name, body in parts
  )


def _split_zip(content: bytes) -> list[Part]:
  with zipfile.ZipFile(io.BytesIO(content)) as archive:
    return [(n.encode(), archive.read(n)) for n in archive.namelist()]


def _join_zip(parts: list[Part]) -> bytes:
  stream = io.BytesIO()
  with zipfile.ZipFile(stream, 'w', zipfile.ZIP_DEFLATED) as archive:
    for name, body in parts:
      entry = zipfile.ZipInfo(name.decode('latin1'))  # without the time of day
      entry.compress_type = zipfile.ZIP_DEFLATED
      with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # a name may come twice
        archive.writestr(entry, body)
  return stream.getvalue()


def _split_npy(content: bytes) -> list[Part]:
  (size,) = struct.unpack_from('<H', content, 8)
  return [(b'head', content[10 : 10 + size]), (b'data', content[10 + size :])]


def _join_npy(parts: list[Part]) -> bytes:
  head, data = (b''.join(b for n, b in parts if n == m) for m in _NPY)
  return b'\x93NUMPY\1\0' + struct.pack('<H', len(head) & 65535) + head + data


def _split_safetensors(content: bytes) -> list[Part]:
  (size,) = struct.unpack_from('<Q', content)
  return [(b'head', content[8 : 8 + size]), (b'data', content[8 + size :])]


def _join_safetensors(parts: list[Part]) -> bytes:
  head, data = (b''.join(b for n, b in parts if n == m) for m in _NPY)
  return struct.pack('<Q', len(head)) + head + data


_NPY = (b'head', b'data')


def _split_mat(content: bytes) -> list[Part]:
  if not content.startswith(b'MATLAB 5.0'):
    return []
  parts, at = [(b'head', content[:128])], 128
  while at + 8 <= len(content):
    kind, size = struct.unpack_from('<II', content, at)
    body = content[at + 8 : at + 8 + size]
    packed = kind == 15
    parts.append(
      (b'packed' if packed else content[at : at + 4], body)
      if not packed
      else (b'packed', zlib.decompress(body))
    )
    at += 8 + size
  return parts


def _join_mat(parts: list[Part]) -> bytes:
  out = []
  for name, body in parts:
    if name == b'packed':
      name, body = struct.pack('<I', 15), zlib.compress(body)
    head = b'' if name == b'head' else name + struct.pack('<I', len(body))
    out.append(head + body)
  return b''.join(out)


_FRAMES: dict[str, tuple[Callable, Callable]] = {
  'PNG': (_split_png, _join_png),
  'JPEG': (_split_jpeg, _join_jpeg),
  'WebP': (_split_webp, _join_webp),
  'AVIF': (_split_boxes, _join_boxes),
  'HEIF': (_split_boxes, _join_boxes),
  '.mat': (_split_mat, _join_mat),
  '.npy': (_split_npy, _join_npy),
  '.npz': (_split_zip, _join_zip),
  '.safetensors': (_split_safetensors, _join_safetensors),
}

Random = np.random.Generator


def _place(rng: Random, size: int) -> int:
  """An index below `size`, near the start, where headers are, in half."""
  most = min(size, 128) if rng.random() < 0.5 else size
  return int(rng.integers(most)) if most else 0


def _flip(rng: Random, content: bytes) -> bytes:
  out = bytearray(content)
  for _ in range(int(rng.integers(1, 9))):
    out[_place(rng, len(out))] ^= 1 << int(rng.integers(8))
  return bytes(out)


def _run(rng: Random, content: bytes) -> bytes:
  at, size = _place(rng, len(content)), int(rng.integers(1, 33))
  kinds = (bytes(size), b'\xff' * size, rng.bytes(size))
  new = kinds[int(rng.integers(3))]
  return content[:at] + new + content[at + size * int(rng.integers(2)) :]


def _cut(rng: Random, content: bytes) -> bytes:
  return content[: _place(rng, len(content))]


def _number(rng: Random, content: bytes) -> bytes:
  form = '<>'[int(rng.integers(2))] + 'BHIQ'[int(rng.integers(4))]
  size = struct.calcsize(form)
  value = _EXTREMES[int(rng.integers(len(_EXTREMES)))] % 256**size
  at = _place(rng, max(len(content) - size, 1))
  return content[:at] + struct.pack(form, value) + content[at + size :]


def _text(rng: Random, content: bytes) -> bytes:
  """Sets a number that is written in digits, as in headers of .npy."""
  found = list(re.finditer(rb'\d+', content[:4096]))
  if not found:
    return _number(rng, content)
  match = found[int(rng.integers(len(found)))]
  words = [str(v).encode() for v in _EXTREMES]
  words += [b'-1', b'1e9', b'9' * 40, b'[' * 2000, b'nan', b'"a\\nb"']
  word = words[int(rng.integers(len(words)))]
  return content[: match.start()] + word + content[match.end() :]


def _repeat(rng: Random, content: bytes) -> bytes:
  """Removes or doubles a range of bytes."""
  start, end = sorted(_place(rng, len(content)) for _ in range(2))
  part = content[start:end]
  return content[:start] + part * (2 * int(rng.integers(2))) + content[end:]


_DAMAGES = (_flip, _flip, _run, _cut, _number, _number, _text, _repeat)


def _damage(rng: Random, content: bytes) -> bytes:
  for _ in range(int(rng.integers(1, 4))):
    if content:
      content = _DAMAGES[int(rng.integers(len(_DAMAGES)))](rng, content)
  return content


def _damage_parts(rng: Random, parts: list[Part], others: list[Part]) -> None:
  """Removes, doubles, exchanges or damages some of a file's chunks."""
  for _ in range(int(rng.integers(1, 3))):
    if not parts:
      return
    index = int(rng.integers(len(parts)))
    name, body = parts[index]
    what = int(rng.integers(8))
    if what == 0:
      del parts[index]
    elif what == 1:
      parts.insert(int(rng.integers(len(parts) + 1)), (name, body))
    elif what == 2:
      parts.append(parts.pop(index))
    elif what == 3 and others:
      parts.insert(index, others[int(rng.integers(len(others)))])
    else:
      parts[index] = name, _damage(rng, body)


def _damage_tiff(rng: Random, content: bytes) -> bytes:
  """Sets what an entry of the first directory says."""
  order = '<' if content.startswith(b'I') else '>'
  if content[2:4] not in (b'*\0', b'\0*'):
    return _damage(rng, content)
  (at,) = struct.unpack_from(order + 'I', content, 4)
  (count,) = struct.unpack_from(order + 'H', content, at)
  out = bytearray(content)
  for _ in range(int(rng.integers(1, 3))):
    entry = at + 2 + 12 * int(rng.integers(count))
    field, form = ((0, 'H'), (2, 'H'), (4, 'I'), (8, 'I'), (8, 'H'))[
      int(rng.integers(5))
    ]
    value = _EXTREMES[int(rng.integers(len(_EXTREMES)))]
    if rng.random() < 0.4:
      value = int(rng.integers(65536 if field == 0 else 20))
    value %= 256 ** struct.calcsize(form)
    struct.pack_into(order + form, out, entry + field, value)
  return bytes(out)


def mutate(rng: Random, kind: str, files: dict[str, list[bytes]]) -> bytes:
  """Returns a damaged file of a kind."""

  def any_of(kind: str) -> bytes:
    return files[kind][int(rng.integers(len(files[kind])))]

  content = any_of(kind)
  way = rng.random()
  if way < 0.08:  # the head of one and the tail of another
    kinds = list(files)
    other = kind if way < 0.05 else kinds[int(rng.integers(len(kinds)))]
    tail = any_of(other)
    return content[: _place(rng, len(content))] + tail[_place(rng, len(tail)) :]
  if way < 0.55 and kind == 'TIFF':
    return _damage_tiff(rng, content)
  if way < 0.55 and kind in _FRAMES:
    split, join = _FRAMES[kind]
    if parts := split(content):
      _damage_parts(rng, parts, split(any_of(kind)))
      return join(parts)
  return _damage(rng, content)


# Reading, in a process of its own.


class Finding(Exception):
  """What must not be."""


def _check(holds: bool, words: str) -> None:
  if not holds:
    raise Finding(words)


def _is_range(array: np.ndarray, low: float, high: float) -> bool:
  return bool(np.isfinite(array).all() and low <= array.min() <= high) and (
    bool(array.max() <= high)
  )


def _check_photo(path: pathlib.Path, page: int | None) -> None:
  """Reads a photo, and writes it and reads that."""
  from zssr_jax.data import photo

  found = photo.read_photo(path, page=page)
  colour = found.colour
  unsigned = found.depth.startswith('u')
  _check(colour.dtype == np.float32 and colour.ndim == 3, 'not float32 HWC')
  low, high = (0, 1) if unsigned else (-np.inf, np.inf)
  _check(_is_range(colour, low, high), 'colours out of range')
  if found.alpha is not None:
    _check(_is_range(found.alpha, 0, 1), 'alpha out of range')
    _check(found.alpha.shape == (*colour.shape[:2], 1), 'shape of alpha')
  _check(not any('\n' in note for note in found.notes), 'a note of lines')
  shape = photo.read_shape(path, page=page)
  _check(shape == colour.shape, f'{shape} told, {colour.shape} read')
  if colour.size > _PIXELS:
    return
  for container in ('TIFF', 'PNG'):
    try:
      photo.check_writable(found, container=container)
    except ValueError:
      continue
    again = path.with_name('again')
    again.write_bytes(
      photo.encode(colour, found.alpha, found, container=container)
    )
    back = photo.read_photo(again)
    lossy = found.tiff is not None and found.tiff.associated
    # Six bits, for example, come out as eight.
    rounding = 0.51 / (np.iinfo(found.depth).max if unsigned else 1)
    same = lossy or np.allclose(back.colour, colour, rtol=0, atol=rounding)
    _check(same or not unsigned, f'other colours after writing {container}')


def _read_photo(path: pathlib.Path) -> None:
  try:
    _check_photo(path, None)
  except ValueError as error:
    if ' frames; choose ' in str(error) or ' pages; choose ' in str(error):
      _check_photo(path, 2)
    else:
      raise


def _read_plain(path: pathlib.Path) -> None:
  from zssr_jax.data import image_io

  image = image_io.read_image(path)
  _check(_is_range(image, 0, 1) and image.shape[2] in (1, 3), 'out of range')


def _read_tables(path: pathlib.Path) -> None:
  from zssr_jax.data import image_io

  if found := image_io.read_jpeg(path):
    _check(_is_range(found.tables, 1, 65535), 'tables out of range')
    _check(all(1 <= s <= 4 for s in found.sampling), f'{found.sampling}')


def _read_shape(path: pathlib.Path) -> None:
  from zssr_jax.data import photo

  _check(min(photo.read_shape(path)) > 0, 'a side of nothing')


def _read_kernel(path: pathlib.Path) -> None:
  from zssr_jax.data import kernel_io

  kernel = kernel_io.read_kernel(path)
  _check(kernel.dtype == np.float32 and kernel.ndim == 2, 'not float32 [h, w]')
  _check(bool(np.isfinite(kernel).all()), 'a kernel that is not finite')
  total = float(kernel.sum(dtype=np.float64))
  _check(abs(total - 1) < 1e-3, f'a kernel that sums to {total}')
  _check(_is_range(kernel_io.picture(kernel), 0, 1), 'picture out of range')


def _read_arrays(path: pathlib.Path) -> None:
  from zssr_jax.weights import foreign

  for name, array in foreign.read_arrays(path).items():
    finite = np.isfinite(array.astype(np.float64)).all()
    _check(bool(finite), f'{name} is not finite')


def _read_weights(path: pathlib.Path) -> None:
  from zssr_jax.weights import parameters, starts

  params, _ = parameters.load_params(path)
  for name, leaf in parameters.flatten(params).items():
    _check(leaf.dtype == np.float32, f'{name} is {leaf.dtype}')
    _check(bool(np.isfinite(leaf).all()), f'{name} is not finite')
  starts.load_start(path, 2)


def _read_archive(path: pathlib.Path) -> None:
  from zssr_jax.weights import parameters

  parameters.load_archive(path)
  if parameters.is_old(path):
    parameters.load_old(path)


_PHOTO = (_read_photo, _read_plain, _read_tables, _read_shape)
_READERS: dict[str, tuple[Callable, ...]] = collections.defaultdict(
  lambda: _PHOTO,
  {
    'PNG': (*_PHOTO, _read_kernel),
    '.mat': (_read_kernel, _read_arrays),
    '.npy': (_read_kernel,),
    '.npz': (_read_kernel, _read_arrays, _read_archive),
    '.safetensors': (_read_arrays, _read_weights),
    '.h5': (_read_arrays,),
  },
)


def _outcome(read: Callable, path: pathlib.Path) -> str | None:
  """Returns what a reader refused a file with; None where it took it.

  Raises:
    Finding: for all else.
  """
  from zssr_jax.errors import InputError

  try:
    read(path)
    return None
  except Finding as finding:
    raise Finding(f'{read.__name__}: {finding}') from None
  except InputError as error:
    words, inner = str(error), error.__context__
    while inner is not None:
      _check(not isinstance(inner, MemoryError), f'{read.__name__}: memory')
      inner = inner.__context__
    good = len(words.splitlines()) == 1 and words.isprintable()
    good = good and path.name in words and len(words) < _LONGEST
    _check(good, f'{read.__name__}: refused by {words!r}')
    return words
  except BaseException as error:
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
      place = place.tb_next
    where = place and f'{place.tb_frame.f_code.co_filename}:{place.tb_lineno}'
    raise Finding(
      f'{read.__name__}: {type(error).__name__}: {error} ({where})'
    ) from None


def _work(descriptor: int, folder: pathlib.Path, memory: int) -> None:
  """Reads the files that come by a pipe; the other end of `_Reader`."""
  import resource

  from zssr_jax.data import kernel_io, photo  # noqa: F401
  from zssr_jax.weights import foreign, starts  # noqa: F401

  pipe = connection.Connection(descriptor)
  pages = int(pathlib.Path('/proc/self/statm').read_text().split()[0])
  limit = pages * os.sysconf('SC_PAGE_SIZE') + memory * 2**20
  resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
  pipe.send('ready')
  while True:
    kind, content = pipe.recv()
    path = folder / f'file{kind if kind[0] == "." else "." + kind.lower()}'
    path.write_bytes(content)
    finding, refused = None, []
    for read in _READERS[kind]:
      try:
        refused.append(_outcome(read, path))
      except Finding as error:
        finding = str(error)
        break
    sys.stderr.flush()
    if not finding and (said := os.lseek(2, 0, os.SEEK_CUR)):
      finding = f'{said} bytes on stderr'
    pipe.send((finding, all(refused)))
    path.unlink()


class _Reader:
  """A process that reads files, begun anew after each that it did not bear."""

  def __init__(self, folder: pathlib.Path, seconds: float, memory: int):
    self._folder, self._seconds, self._memory = folder, seconds, memory
    self._process: subprocess.Popen | None = None
    self._words = folder / 'stderr'

  def _start(self) -> None:
    self._pipe, theirs = multiprocessing.Pipe()
    with self._words.open('wb') as words:
      self._process = subprocess.Popen(
        [
          *(sys.executable, '-X', 'faulthandler', __file__),
          *(f'--work={theirs.fileno()}', f'--memory={self._memory}'),
          f'--keep={self._folder}',
        ],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=words,
        stderr=words,
        env=os.environ | {'JAX_PLATFORMS': 'cpu'},
      )
    theirs.close()
    if not self._pipe.poll(_START) or self._pipe.recv() != 'ready':
      raise RuntimeError('the reading process did not begin')

  def close(self) -> str:
    """Ends the process; returns the last that it said."""
    if self._process is not None:
      self._process.kill()
      self._process.wait()
      self._pipe.close()
      self._process = None
    if not self._words.exists():
      return ''
    words = self._words.read_text(errors='replace')
    return ' '.join(words.split())[-300:]

  def read(self, kind: str, content: bytes) -> tuple[str | None, bool, float]:
    """Reads a file; returns a finding or None, if it was refused, seconds."""
    if self._process is None:
      self._start()
    clock = time.perf_counter()
    try:
      self._pipe.send((kind, content))
      if not self._pipe.poll(self._seconds):
        self.close()
        return f'over {self._seconds:g} s', False, self._seconds
      finding, refused = self._pipe.recv()
    except (EOFError, OSError):
      assert self._process is not None
      code = self._process.wait()
      return f'crash, code {code}: {self.close()}', False, 0.0
    seconds = time.perf_counter() - clock
    if finding:  # a fresh one for the next, whatever state this is in
      said = self.close()
      finding += f': {said}' if said else ''
    return finding, refused, seconds


@dataclasses.dataclass
class Count:
  """What became of the files of a kind."""

  read: int = 0
  refused: int = 0
  findings: int = 0
  longest: float = 0.0  # seconds


def run(
  seed: int,
  count: int,
  *,
  seconds: float,
  memory: int,
  keep: pathlib.Path | None = None,
) -> tuple[dict[str, Count], list[str]]:
  """Reads so many damaged files.

  Args:
    seed: of the damage.
    count: of files, of all kinds in turn.
    seconds: that one may take.
    memory: MB that it may take beyond those of the program.
    keep: folder for the files of findings.

  Returns:
    Counts by kind, and a line a finding.
  """
  files = make_files()
  kinds = list(files)
  counts = {kind: Count() for kind in kinds}
  lines = []
  with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
    reader = _Reader(pathlib.Path(folder), seconds, memory)
    stack.callback(reader.close)
    for index, kind, content in mutations(seed, count, files):
      finding, refused, took = reader.read(kind, content)
      if finding and finding.startswith('over '):  # the machine's fault?
        finding, refused, took = reader.read(kind, content)
      found = counts[kind]
      found.longest = max(found.longest, took)
      if finding:
        found.findings += 1
        lines.append(f'{index} {kind}: {finding}')
        if keep:
          keep.mkdir(parents=True, exist_ok=True)
          (keep / f'{index}.{kind.lower().strip(".")}').write_bytes(content)
      elif refused:
        found.refused += 1
      else:
        found.read += 1
  return counts, lines


def mutations(
  seed: int, count: int, files: dict[str, list[bytes]]
) -> Iterator[tuple[int, str, bytes]]:
  """Yields the number, kind and content of damaged files."""
  kinds = list(files)
  for index in range(count):
    rng = np.random.default_rng([seed, index])
    kind = kinds[index % len(kinds)]
    yield index, kind, mutate(rng, kind, files)


def table(counts: dict[str, Count]) -> str:
  """Returns counts as Markdown."""
  lines = [
    '| kind | files | read | refused | findings | longest |',
    '|---|---:|---:|---:|---:|---:|',
  ]
  total = Count()
  for kind, c in counts.items():
    lines.append(_row(kind, c))
    total.read += c.read
    total.refused += c.refused
    total.findings += c.findings
    total.longest = max(total.longest, c.longest)
  return '\n'.join([*lines, _row('all', total)])


def _row(name: str, c: Count) -> str:
  files = c.read + c.refused + c.findings
  return (
    f'| {name} | {files} | {c.read} | {c.refused} | {c.findings} |'
    f' {c.longest:.2f} s |'
  )


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--count', type=int, default=10_000)
  parser.add_argument('--seconds', type=float, default=5)
  parser.add_argument('--memory', type=int, default=2048, help='MB')
  parser.add_argument('--keep', type=pathlib.Path, default='out/fuzz')
  parser.add_argument('--work', type=int, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.work is not None:
    _work(options.work, options.keep, options.memory)
  counts, lines = run(
    options.seed,
    options.count,
    seconds=options.seconds,
    memory=options.memory,
    keep=options.keep,
  )
  print(table(counts))
  for line in lines:
    print(json.dumps(line))
  return 1 if lines else 0


if __name__ == '__main__':
  sys.exit(main())
