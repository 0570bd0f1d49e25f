"""Small image files of every container, with all that may belong to them.

Made by other means than the package's own writers; the tests of photos and
`benchmarks/formats.py` share them.
"""

import io
import struct

import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

rng = np.random.default_rng(0)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
ICC_GREY = imagecodecs.cms_profile('gray', gamma=2.2)
XMP = (
  b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description'
  b' tiff:Orientation="6" dc:title="caf\xc3\xa9"/></x:xmpmeta>'
)
WHEN = '2020:01:02 03:04:05'
PILLOW_MODES = {1: 'L', 2: 'LA', 3: 'RGB', 4: 'RGBA'}
WHITE = {'uint8': 255, 'uint16': 65535}


def exif_bytes(orientation=6):
  exif = Image.Exif()
  exif[ExifTags.Base.Make] = 'MadeUpCam'
  exif[ExifTags.Base.Orientation] = orientation
  exif[ExifTags.Base.ImageWidth] = 16
  exif[ExifTags.Base.ImageLength] = 12
  details = exif.get_ifd(ExifTags.IFD.Exif)
  details[ExifTags.Base.DateTimeOriginal] = WHEN
  details[ExifTags.Base.ExifImageWidth] = 16
  details[ExifTags.Base.ExifImageHeight] = 12
  exif.get_ifd(ExifTags.IFD.GPSInfo)[1] = 'N'
  return exif.tobytes()


def random_samples(channels, depth, shape=(12, 16)):
  """Noise; its alpha, where it has one, is 0 or white in places."""
  shape = (*shape, channels)
  if depth.startswith('float'):
    samples = rng.normal(0.4, 1, shape).astype(depth)
    alpha = rng.random(shape[:2])
  else:
    limits = np.iinfo(depth)
    samples = rng.integers(limits.min, limits.max, shape, depth, endpoint=True)
    alpha = samples[..., -1]
  if channels in (2, 4):
    samples[..., -1] = np.where(rng.random(shape[:2]) < 0.2, 0, alpha)
  return samples


def as_image(samples):
  return Image.fromarray(samples[..., 0] if samples.shape[-1] == 1 else samples)


def saved(image, container, **options):
  stream = io.BytesIO()
  image.save(stream, container, **options)
  return stream.getvalue()


def deep_png(samples, **metadata):
  """A PNG of 16 bits; Pillow makes the chunks of the metadata."""
  grey = samples.shape[-1] == 1
  content = imagecodecs.png_encode(samples[..., 0] if grey else samples)
  chunks = PngImagePlugin.getchunks(Image.new('L', (1, 1)), **metadata)
  return with_chunks(
    content,
    [c[:2] for c in chunks if c[0] not in (b'IHDR', b'IDAT', b'IEND')],
  )


def with_chunks(content, chunks):
  """A PNG with further chunks, `(name, body)` each, behind its head."""
  stream = io.BytesIO()
  stream.write(content[:33])
  for name, body in chunks:
    PngImagePlugin.putchunk(stream, name, body)
  return stream.getvalue() + content[33:]


def tiff(samples, metadata=False, **options):
  if metadata:
    options.update(iccprofile=ICC, resolution=(300, 150), resolutionunit=2)
    options['extratags'] = [
      (274, 'H', 1, 6, True),
      (271, 's', 0, 'MadeUpCam', True),
      (700, 1, len(XMP), XMP, True),
    ]
  stream = io.BytesIO()
  grey = samples.ndim == 3 and samples.shape[-1] == 1
  tifffile.imwrite(
    stream, samples[..., 0] if grey else samples, metadata=None, **options
  )
  return stream.getvalue()


def plain_tiff(samples, metadata=False, **options):
  """A TIFF of grey, RGB or n bands, of which the second or fourth is alpha."""
  channels = samples.shape[-1]
  base = 3 if channels in (3, 4) else 1
  alpha = ['unassalpha'] if channels in (2, 4) else []
  return tiff(
    samples,
    metadata,
    photometric='rgb' if base == 3 else 'minisblack',
    planarconfig='contig' if channels > 1 else None,
    extrasamples=alpha or ['unspecified'] * (channels - base) or None,
    **options,
  )


def cmyk_profile():
  """A profile by which black ink alone makes dark: lut8, to Lab."""
  table = bytes(range(256))
  grid = b''.join(
    bytes((0 if i & 1 else 255, 128, 128))
    for i in range(16)  # c m y k, k fastest
  )
  identity = [65536, 0, 0, 0, 65536, 0, 0, 0, 65536]
  lut = (
    b'mft1\0\0\0\0'
    + bytes((4, 3, 2, 0))
    + struct.pack('>9i', *identity)
    + table * 4
    + grid
    + table * 3
  )
  size = 128 + 4 + 12 + len(lut)
  head = struct.pack(
    '>I4sI4s4s4s', size, b'test', 0x02100000, b'prtr', b'CMYK', b'Lab '
  )
  head += struct.pack('>6H', 2020, 1, 1, 0, 0, 0) + b'acsp' + bytes(28)
  head += struct.pack('>3i', 0xF6D6, 0x10000, 0xD32D)
  tags = struct.pack('>I4sII', 1, b'A2B0', 144, len(lut))
  return head.ljust(128, b'\0') + tags + lut


GEO = [
  (33550, 'd', 3, (10.0, 20.0, 0.0), True),
  (33922, 'd', 6, (4.0, 2.0, 0.0, 5e5, 4.6e6, 0.0), True),
  (42112, 's', 0, '<GDALMetadata/>', True),
  (42113, 's', 0, '-9999', True),
]
KEYS = (1, 1, 0, 2, 1024, 0, 1, 1, 1025, 0, 1)
