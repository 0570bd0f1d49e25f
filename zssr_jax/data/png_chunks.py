"""What a PNG says in chunks of its own: text, and the meaning of its colours.

Pillow reads some of them and writes none, so they are carried over as bytes.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator

from PIL import PngImagePlugin

Chunks = tuple[tuple[bytes, bytes], ...]  # name and body

_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_HEAD = 33  # bytes: the signature and IHDR, which is always the first
_PIXELS = (b'IHDR', b'PLTE', b'tRNS', b'IDAT', b'IEND')
_TEXTS = (b'tEXt', b'zTXt', b'iTXt')
_LONGEST_KEYWORD = 79  # bytes
_MOST_KEYWORDS = 5  # that are said
# What the numbers of the colours mean, and how bright a display is to be: the
# bytes of each.
_COLOURS = {
  b'cHRM': 32,
  b'gAMA': 4,
  b'sRGB': 1,
  b'cICP': 4,
  b'mDCV': 24,
  b'cLLI': 8,
}
# EXIF, XMP and profiles as text; `photo.Photo` has fields for them.
_ELSEWHERE = re.compile(
  rb'XML:com\.adobe\.xmp|Raw profile type (exif|app1|xmp|icc|icm)',
  re.IGNORECASE,
)
# What sRGB would say: it is how colours are seen that say nothing.
_PLAIN_GAMMA = 45455
_PLAIN_CHROMATICITIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
# Code points of ITU-T H.273 for what is seen as sRGB in practice, or unknown.
_PLAIN_PRIMARIES = (1, 2)
_PLAIN_TRANSFERS = (1, 2, 6, 13)


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
  """Yields name, place and size of a PNG's chunks, as far as it is whole.

  Each is its body's length, the name, the body and a checksum, 4 bytes but for
  the body.
  """
  place = len(_SIGNATURE)
  while place + 12 <= len(content):
    (length,) = struct.unpack_from('>I', content, place)
    if place + 12 + length > len(content):
      return
    yield content[place + 4 : place + 8], place, length + 12
    place += length + 12


def kept(content: bytes) -> Chunks:
  """Returns the chunks of a PNG that are as true of an enlarged one."""
  if not content.startswith(_SIGNATURE):
    return ()
  found = []
  for name, place, size in _chunks(content):
    body = content[place + 8 : place + size - 4]
    keyword = body[: _LONGEST_KEYWORD + 1].split(b'\0')[0]
    is_text = name in _TEXTS and 1 <= len(keyword) <= _LONGEST_KEYWORD
    if len(body) == _COLOURS.get(name) or (
      is_text and not _ELSEWHERE.fullmatch(keyword)
    ):
      found.append((name, body))
  return tuple(found)


def bare(content: bytes) -> bytes:
  """Returns a PNG without all that is not pixels.

  Libpng has remarks on profiles and the like, which it prints by itself.
  """
  return _SIGNATURE + b''.join(
    content[place : place + size]
    for name, place, size in _chunks(content)
    if name in _PIXELS
  )


def text(keyword: str, words: str) -> Chunks:
  """Returns the chunk that holds a text, or none where it is empty."""
  if not words:
    return ()
  body = keyword.encode('latin-1') + bytes(5) + words.encode()
  return ((b'iTXt', body),)


def of_nclx(content: bytes) -> Chunks:
  """Returns the chunk that says what an AVIF or a HEIF says of its colours.

  Args:
    content: the file.

  Returns:
    The chunk; none where nothing is told or it is what is assumed anyway.
  """
  place = content.find(b'colrnclx')
  if place < 0 or place + 12 > len(content):
    return ()
  primaries, transfer = struct.unpack_from('>HH', content, place + 8)
  plain = primaries in _PLAIN_PRIMARIES and transfer in _PLAIN_TRANSFERS
  if plain or max(primaries, transfer) > 255:
    return ()
  # What is written is RGB (0) of the full range (1).
  return ((b'cICP', bytes((primaries, transfer, 0, 1))),)


def _matters(name: bytes, body: bytes, icc: bool) -> bool:
  """Whether colours are seen differently without a chunk."""
  if name == b'cICP':
    return not (body[0] in _PLAIN_PRIMARIES and body[1] in _PLAIN_TRANSFERS)
  if icc:  # a profile goes before the rest
    return False
  if name == b'gAMA':
    (gamma,) = struct.unpack_from('>I', body)
    return abs(gamma - _PLAIN_GAMMA) > 1000
  if name == b'cHRM':
    found = struct.unpack('>8I', body)
    pairs = zip(found, _PLAIN_CHROMATICITIES, strict=True)
    return any(abs(a - b) > 1000 for a, b in pairs)
  return False


def lost(chunks: Chunks, icc: bool) -> list[str]:
  """Says, in a line each, what a file that is no PNG lacks of the chunks.

  Args:
    chunks: of a photo.
    icc: whether it has a profile.
  """
  notes = []
  names = [name for name, body in chunks if _matters(name, body, icc)]
  if names:
    words = ', '.join(name.decode() for name in names)
    notes.append(f'meaning of the colours ({words}) left out; a PNG keeps it')
  keys = {body.split(b'\0')[0] for name, body in chunks if name in _TEXTS}
  if keys:
    said = [key.decode('latin-1') for key in sorted(keys)[:_MOST_KEYWORDS]]
    words = ', '.join(said) + ('...' if len(keys) > _MOST_KEYWORDS else '')
    notes.append(f'text ({words}) left out; a PNG keeps it')
  return notes


def insert(content: bytes, chunks: Chunks) -> bytes:
  """Returns a PNG with chunks behind its head, before all that is there."""
  stream = io.BytesIO()
  stream.write(content[:_HEAD])
  for name, body in chunks:
    PngImagePlugin.putchunk(stream, name, body)
  stream.write(content[_HEAD:])
  return stream.getvalue()
