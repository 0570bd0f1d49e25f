"""Photos of every container, read and written with what belongs to them."""

import dataclasses
import io
import struct
import sys
import zlib

import imagecodecs
import numpy as np
import pytest
import scipy.ndimage
import tifffile
from PIL import ExifTags, Image, PngImagePlugin

from zssr_jax.data import image_io, names, photo
from zssr_jax.errors import InputError

from .sample_files import (
  GEO,
  ICC,
  KEYS,
  PILLOW_MODES,
  WHEN,
  WHITE,
  XMP,
  as_image,
  cmyk_profile,
  deep_png,
  exif_bytes,
  plain_tiff,
  random_samples,
  rng,
  saved,
  tiff,
  with_chunks,
)


def decode(content):
  """Decodes what `encode` made, by another library than the one it used."""
  if content.startswith(b'\x89PNG'):
    deep, kind = content[24] == 16, content[25]
    if deep and kind == 0:  # grey
      with Image.open(io.BytesIO(content)) as image:
        samples = np.asarray(image).astype(np.uint16)
    elif deep and kind == 6:  # RGBA, all that this library takes
      samples = imagecodecs.spng_decode(content)
    else:
      samples = imagecodecs.png_decode(content)
  elif content.startswith(b'II'):
    samples = imagecodecs.tiff_decode(content)  # libtiff
  else:
    samples = imagecodecs.jpeg_decode(content)
  return samples[..., None] if samples.ndim == 2 else samples


def told(content):
  """What a file says beside its pixels, by Pillow, or tifffile where not."""
  try:
    with Image.open(io.BytesIO(content)) as image:
      exif = image.getexif()
      return {
        'icc': image.info.get('icc_profile'),
        'dpi': tuple(round(float(side)) for side in image.info.get('dpi', ())),
        'make': exif.get(ExifTags.Base.Make),
        'orientation': exif.get(ExifTags.Base.Orientation, 1),
        'xmp': image.info.get('xmp'),
      }
  except Image.UnidentifiedImageError:
    with tifffile.TiffFile(io.BytesIO(content)) as file:
      page = file.pages[0]
      tags = {tag.code: tag.value for tag in page.tags}
    return {
      'icc': page.iccprofile,
      'dpi': tuple(round(tags[tag][0] / tags[tag][1]) for tag in (282, 283)),
      'make': tags.get(271),
      'orientation': tags.get(274, 1),
      'xmp': tags.get(700),
    }


def written(tmp_path, content, name='a.bin'):
  path = tmp_path / name
  path.write_bytes(content)
  return path


def read(tmp_path, content, **options):
  return photo.read_photo(written(tmp_path, content), **options)


def doubled(array):
  return None if array is None else array.repeat(2, 0).repeat(2, 1)


def encode_doubled(like, **options):
  return photo.encode(
    doubled(like.colour), doubled(like.alpha), like, scale=(2, 2), **options
  )


def assert_refused(path, reason, read=photo.read_photo, **options):
  with pytest.raises(InputError) as caught:
    read(path, **options)
  message = str(caught.value)
  assert str(path) in message
  assert reason in message
  assert '\n' not in message


# ------------------------------------------------------------- the matrix


def make(container, channels, depth, metadata):
  """Returns a file and the samples that it holds, not yet turned."""
  options = {}
  if metadata:
    options = {'exif': exif_bytes(), 'icc_profile': ICC}
    if container in ('PNG', 'JPEG'):
      options['dpi'] = (300, 150)
  samples = random_samples(channels, depth)
  if container == 'TIFF':
    return plain_tiff(samples, metadata), samples
  if depth == 'uint16':
    return deep_png(samples, **options), samples
  if container == 'GIF':
    samples = samples & 0xE0 | 1
    image = as_image(samples[:4, :4]).convert('RGB').quantize(16)
    return saved(image, 'GIF'), np.asarray(image.convert('RGB'))
  if container == 'WEBP':
    options.update(lossless=True, exact=True)
  content = saved(as_image(samples), container, **options)
  if container in ('JPEG', 'AVIF'):
    with Image.open(io.BytesIO(content)) as image:
      samples = np.asarray(image).reshape(*samples.shape)
  return content, samples


MATRIX = [
  *[('PNG', c, d) for c in (1, 2, 3, 4) for d in ('uint8', 'uint16')],
  *[
    ('TIFF', c, d)
    for c in (1, 2, 3, 4, 5)
    for d in ('uint8', 'uint16', 'float16', 'float32')
  ],
  *[('TIFF', c, 'int16') for c in (1, 3, 6)],
  *[('JPEG', c, 'uint8') for c in (1, 3)],
  *[('WEBP', c, 'uint8') for c in (3, 4)],
  *[('AVIF', c, 'uint8') for c in (3, 4)],
]
PLAIN = [('BMP', 1, 'uint8'), ('BMP', 3, 'uint8'), ('GIF', 3, 'uint8')]


@pytest.mark.parametrize(
  ('container', 'channels', 'depth', 'metadata'),
  [(*case, m) for case in MATRIX for m in (False, True)]
  + [(*case, False) for case in PLAIN],
)
def test_every_kind_comes_back_as_it_was(
  tmp_path, container, channels, depth, metadata
):
  content, samples = make(container, channels, depth, metadata)
  path = written(tmp_path, content)
  found = photo.read_photo(path)
  if metadata:
    samples = np.rot90(samples, -1)  # orientation 6
  assert (found.container, found.depth) == (container, depth)
  assert photo.read_shape(path) == found.colour.shape
  assert found.colour.dtype == np.float32
  white = WHITE.get(depth, 1)
  has_alpha = channels in (2, 4)
  colours = samples[..., :-1] if has_alpha else samples
  np.testing.assert_array_equal(
    found.colour, colours.astype(np.float32) / np.float32(white)
  )
  assert (found.alpha is not None) == has_alpha
  if has_alpha:
    np.testing.assert_array_equal(
      found.alpha, samples[..., -1:].astype(np.float32) / np.float32(white)
    )

  output = encode_doubled(found)
  back = decode(output)
  assert back.dtype == depth
  np.testing.assert_array_equal(back, doubled(samples))
  if metadata:
    facts = told(output)
    assert facts['icc'] == ICC
    assert facts['make'] == 'MadeUpCam'
    assert facts['orientation'] == 1
    if container in ('PNG', 'TIFF', 'JPEG'):
      assert facts['dpi'] == (300, 150)
    if container == 'TIFF':
      assert facts['xmp'] == XMP.replace(b'"6"', b'"1"')


@pytest.mark.parametrize('target', ['PNG', 'TIFF', 'JPEG'])
def test_exif_is_updated_in_every_container(tmp_path, target):
  content = saved(
    as_image(random_samples(3, 'uint8')),
    'JPEG',
    exif=exif_bytes(),
    xmp=XMP,
    dpi=(300, 300),
    icc_profile=ICC,
  )
  output = encode_doubled(read(tmp_path, content), container=target)
  with Image.open(io.BytesIO(output)) as image:
    assert image.size == (24, 32)
    exif = image.getexif()
    details = exif.get_ifd(ExifTags.IFD.Exif)
    xmp = image.info['xmp']
    assert image.info['icc_profile'] == ICC
  assert exif[ExifTags.Base.Make] == 'MadeUpCam'
  assert exif.get(ExifTags.Base.Orientation, 1) == 1
  assert exif[ExifTags.Base.ImageWidth] == 24
  assert exif[ExifTags.Base.ImageLength] == 32
  assert details[ExifTags.Base.ExifImageWidth] == 24
  assert details[ExifTags.Base.ExifImageHeight] == 32
  assert details[ExifTags.Base.DateTimeOriginal] == WHEN
  assert exif.get_ifd(ExifTags.IFD.GPSInfo)[1] == 'N'
  assert xmp == XMP.replace(b'"6"', b'"1"')


@pytest.mark.parametrize('depth', ['uint8', 'uint16', 'float32'])
def test_exif_of_a_tiff_is_kept_at_every_depth(tmp_path, depth):
  content = saved(
    as_image(random_samples(3, 'uint8')), 'TIFF', exif=exif_bytes()
  )
  first = encode_doubled(read(tmp_path, content), depth=depth)
  for _ in range(2):  # of Pillow's file, and of ours
    again = read(tmp_path, first)
    assert again.depth == depth
    first = photo.encode(again.colour, None, again)
    with tifffile.TiffFile(io.BytesIO(first)) as file:
      tags = file.pages[0].tags
      assert tags[34665].value['DateTimeOriginal'] == WHEN
      assert tags[34665].value['PixelXDimension'] == 24
      assert tags[34853].value['GPSLatitudeRef'] == 'N'
      assert tags[271].value == 'MadeUpCam'


def test_the_thumbnail_is_dropped(tmp_path):
  tiny = saved(Image.new('RGB', (4, 4), 'red'), 'JPEG')
  exif = exif_bytes()
  exif = bytearray(exif.removeprefix(b'Exif\0\0'))
  order = '<' if exif[:2] == b'II' else '>'
  (start,) = struct.unpack_from(order + 'I', exif, 4)
  (count,) = struct.unpack_from(order + 'H', exif, start)
  second = len(exif)
  struct.pack_into(order + 'I', exif, start + 2 + 12 * count, second)
  exif += struct.pack(order + 'H', 2)
  exif += struct.pack(order + 'HHII', 513, 4, 1, second + 30)
  exif += struct.pack(order + 'HHII', 514, 4, 1, len(tiny))
  exif += struct.pack(order + 'I', 0) + tiny
  image = as_image(random_samples(3, 'uint8'))
  content = saved(image, 'JPEG', exif=b'Exif\0\0' + bytes(exif))
  assert tiny in content
  output = encode_doubled(read(tmp_path, content))
  assert tiny not in output
  assert told(content)['make'] == told(output)['make'] == 'MadeUpCam'


# ------------------------------------------------------- what is converted


def test_eight_bits_are_what_image_io_reads(tmp_path):
  for container, mode in [
    ('PNG', 'RGB'),
    ('PNG', 'L'),
    ('PNG', 'P'),
    ('JPEG', 'RGB'),
    ('JPEG', 'L'),
    ('TIFF', 'RGB'),
    ('TIFF', 'P'),
    ('BMP', 'P'),
  ]:
    image = as_image(random_samples(3, 'uint8')).convert(mode)
    path = written(tmp_path, saved(image, container))
    np.testing.assert_array_equal(
      photo.read_photo(path).colour, image_io.read_image(path)
    )


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('container', ['JPEG', 'TIFF', 'PNG', 'deep PNG'])
def test_orientation_is_applied_once_and_reset(
  tmp_path, orientation, container
):
  samples = random_samples(3, 'uint8')
  if container == 'deep PNG':
    deep = samples.astype(np.uint16) * 257
    content = deep_png(deep, exif=exif_bytes(orientation))
  elif container == 'TIFF':
    content = plain_tiff(samples, extratags=[(274, 'H', 1, orientation, True)])
  else:
    content = saved(as_image(samples), container, exif=exif_bytes(orientation))
  path = written(tmp_path, content)
  found = photo.read_photo(path)
  plain = saved(as_image(samples), 'PNG', exif=exif_bytes(orientation))
  expected = image_io.read_image(
    path if container == 'JPEG' else written(tmp_path, plain, 'b.png')
  )
  np.testing.assert_allclose(found.colour, expected, atol=1e-7)
  assert photo.read_shape(path) == found.colour.shape
  again = read(tmp_path, photo.encode(found.colour, None, found))
  np.testing.assert_array_equal(again.colour, found.colour)


@pytest.mark.parametrize('depth', ['uint8', 'uint16'])
@pytest.mark.parametrize('with_profile', [False, True])
def test_cmyk_is_converted_by_its_profile_or_the_plain_way(
  tmp_path, depth, with_profile
):
  white = WHITE[depth]
  inks = np.zeros((12, 16, 4), depth)
  inks[:, 4:8, 0] = white  # cyan
  inks[:, 8:, 3] = white  # black
  icc = cmyk_profile() if with_profile else None
  content = tiff(
    inks, photometric='separated', planarconfig='contig', iccprofile=icc
  )
  found = read(tmp_path, content)
  assert found.depth == depth
  assert found.icc is None
  assert 'CMYK' in found.notes[0]
  assert ('by its profile' in found.notes[0]) == with_profile
  cyan = [1, 1, 1] if with_profile else [0, 1, 1]
  pixels = found.colour[0, [0, 4, 8]]
  np.testing.assert_allclose(pixels, [[1, 1, 1], cyan, [0, 0, 0]], atol=0.01)
  output = encode_doubled(found)
  np.testing.assert_array_equal(
    decode(output), doubled(np.floor(found.colour * white + 0.5).astype(depth))
  )


def test_cmyk_of_a_jpeg_is_converted(tmp_path):
  image = Image.new('CMYK', (16, 12), (255, 0, 0, 0))
  for icc, expected in ((None, [0, 1, 1]), (cmyk_profile(), [1, 1, 1])):
    content = saved(image, 'JPEG', quality=95, icc_profile=icc)
    found = read(tmp_path, content)
    assert found.icc is None
    np.testing.assert_allclose(found.colour[0, 0], expected, atol=0.02)


@pytest.mark.parametrize('photometric', ['cielab', 'icclab'])
@pytest.mark.parametrize('depth', ['uint8', 'uint16'])
def test_lab_is_converted(tmp_path, photometric, depth):
  lab = np.array([[100, 0, 0], [0, 0, 0], [53.6, 0, 0], [54.3, 80.8, 69.9]])
  unit = 1 if depth == 'uint8' else 256
  light = 65280 if photometric == 'icclab' else 65535
  samples = lab * [255 / 100 if unit == 1 else light / 100, unit, unit]
  samples[:, 1:] += 128 * unit if photometric == 'icclab' else 0
  signed = np.round(samples).astype(np.int64)
  content = tiff(
    signed.astype(depth)[None].repeat(4, 0),
    photometric=photometric,
    planarconfig='contig',
  )
  found = read(tmp_path, content)
  assert found.depth == depth
  assert 'Lab' in found.notes[0]
  expected = [[1, 1, 1], [0, 0, 0], [0.503] * 3, [1, 0, 0]]
  np.testing.assert_allclose(found.colour[0], expected, atol=0.02)


def test_ycbcr_tiff_is_converted(tmp_path):
  image = as_image(random_samples(3, 'uint8')).convert('YCbCr')
  found = read(tmp_path, saved(image, 'TIFF'))
  expected = np.asarray(image.convert('RGB')) / np.float32(255)
  np.testing.assert_array_equal(found.colour, expected)


def test_one_bit_and_palette_come_out_as_eight(tmp_path):
  bits = rng.random((12, 16)) > 0.5
  for container in ('PNG', 'TIFF', 'BMP'):
    content = saved(Image.fromarray(bits), container)
    found = read(tmp_path, content)
    assert (found.depth, found.colour.shape) == ('uint8', (12, 16, 1))
    np.testing.assert_array_equal(found.colour[..., 0], bits)
  inverted = tiff(bits, photometric='miniswhite')
  np.testing.assert_array_equal(
    read(tmp_path, inverted).colour[..., 0], 1 - bits
  )


@pytest.mark.parametrize('bits', [1, 2, 4])
def test_few_bits_of_a_png_are_noted(tmp_path, bits):
  header = struct.pack('>IIBBBBB', 16, 8, bits, 0, 0, 0, 0)
  rows = rng.integers(0, 256, (8, 2 * bits)).astype(np.uint8)
  stream = io.BytesIO()
  stream.write(b'\x89PNG\r\n\x1a\n')
  data = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
  for name, body in ((b'IHDR', header), (b'IDAT', data), (b'IEND', b'')):
    PngImagePlugin.putchunk(stream, name, body)
  found = read(tmp_path, stream.getvalue())
  assert (found.depth, found.colour.shape) == ('uint8', (8, 16, 1))
  assert len(found.notes) == 1 and 'converted to 8-bit grey' in found.notes[0]
  first = np.unpackbits(rows[0, :1])[:bits] @ (1 << np.arange(bits)[::-1])
  np.testing.assert_allclose(found.colour[0, 0, 0], first / (2**bits - 1))


def test_the_libraries_print_nothing(tmp_path, capfd):
  # Of grey with a profile for RGB, libpng would.
  content = deep_png(random_samples(1, 'uint16'), icc_profile=ICC)
  output = encode_doubled(read(tmp_path, content))
  assert told(output)['icc'] == ICC
  read(tmp_path, output)
  assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize('container', ['PNG', 'GIF', 'WEBP'])
def test_palette_with_transparency_gives_alpha(tmp_path, container):
  palette = as_image(random_samples(3, 'uint8')).quantize(8)
  index = np.asarray(palette)
  options = {} if container == 'WEBP' else {'transparency': 3}
  if container == 'WEBP':
    palette.info['transparency'] = 3
    palette = palette.convert('RGBA')
    options = {'lossless': True}
  found = read(tmp_path, saved(palette, container, **options))
  np.testing.assert_array_equal(found.alpha[..., 0] == 0, index == 3)
  assert found.colour.shape[-1] == 3


def test_transparent_colour_of_a_png_gives_alpha(tmp_path):
  samples = random_samples(3, 'uint8')
  key = tuple(int(v) for v in samples[0, 0])
  found = read(tmp_path, saved(as_image(samples), 'PNG', transparency=key))
  assert found.alpha[0, 0, 0] == 0
  assert found.alpha.sum() == 12 * 16 - 1
  np.testing.assert_array_equal(
    found.colour, samples.astype(np.float32) / np.float32(255)
  )


def test_transparent_colour_of_sixteen_bits_gives_alpha(tmp_path):
  samples = random_samples(1, 'uint16')
  key = (b'tRNS', struct.pack('>H', samples[2, 3, 0]))
  found = read(tmp_path, with_chunks(deep_png(samples), [key]))
  assert found.alpha[2, 3, 0] == 0
  assert found.depth == 'uint16'
  np.testing.assert_array_equal(
    found.colour, samples.astype(np.float32) / np.float32(65535)
  )


# --------------------------------------------------------------- TIFF only


@pytest.mark.parametrize('compression', [None, 'lzw', 'zlib', 'zstd'])
@pytest.mark.parametrize('planar', ['contig', 'separate'])
@pytest.mark.parametrize(
  ('byteorder', 'bigtiff'), [('<', False), ('>', False), ('<', True)]
)
def test_layouts_of_tiff_are_read_alike(
  tmp_path, compression, planar, byteorder, bigtiff
):
  samples = random_samples(3, 'uint16')
  stored = samples if planar == 'contig' else np.moveaxis(samples, -1, 0)
  content = tiff(
    stored,
    photometric='rgb',
    planarconfig=planar,
    compression=compression,
    bigtiff=bigtiff,
    byteorder=byteorder,
    extratags=[(271, 's', 0, 'MadeUpCam', True)],
  )
  found = read(tmp_path, content)
  output = encode_doubled(found)
  np.testing.assert_array_equal(decode(output), doubled(samples))
  with Image.open(io.BytesIO(output)) as image:
    assert image.getexif()[271] == 'MadeUpCam'


def test_associated_alpha_is_divided_out_and_multiplied_back(tmp_path):
  alpha = np.array([0, 0.25, 0.5, 1], np.float32)[:, None].repeat(4, 1)
  colour = np.full((4, 4, 3), 0.8, np.float32)
  stored = np.concatenate([colour * alpha[..., None], alpha[..., None]], -1)
  content = tiff(stored, photometric='rgb', extrasamples=['assocalpha'])
  found = read(tmp_path, content)
  np.testing.assert_allclose(found.colour[1:], 0.8, atol=1e-6)
  np.testing.assert_array_equal(found.alpha[..., 0], alpha)
  output = encode_doubled(found)
  np.testing.assert_allclose(decode(output), doubled(stored), atol=1e-6)
  with tifffile.TiffFile(io.BytesIO(output)) as file:
    assert file.pages[0].extrasamples == (1,)


def test_colours_alpha_and_a_further_band_are_told_apart(tmp_path):
  samples = random_samples(5, 'uint8')
  content = tiff(
    samples, photometric='rgb', extrasamples=['unspecified', 'unassalpha']
  )
  found = read(tmp_path, content)
  assert found.colour.shape == (12, 16, 4)
  np.testing.assert_array_equal(
    found.alpha[..., 0], samples[..., 4] / np.float32(255)
  )
  output = encode_doubled(found)
  np.testing.assert_array_equal(decode(output), doubled(samples))
  with tifffile.TiffFile(io.BytesIO(output)) as file:
    assert file.pages[0].extrasamples == (0, 2)


def test_overviews_and_masks_are_no_pages(tmp_path):
  stream = io.BytesIO()
  samples = random_samples(3, 'uint8')
  with tifffile.TiffWriter(stream) as file:
    file.write(samples, photometric='rgb', metadata=None)
    file.write(samples[::2, ::2], subfiletype=1, metadata=None)
    file.write(samples[..., 0], subfiletype=1, metadata=None)
  content = bytearray(stream.getvalue())
  with tifffile.TiffFile(io.BytesIO(content)) as file:
    place = file.pages[2].tags[254].valueoffset
  struct.pack_into('<I', content, place, 4)  # a mask
  found = read(tmp_path, bytes(content))
  assert found.colour.shape == (12, 16, 3)
  assert found.notes == ('mask beside the pages left out',)


def world(tags, column, row):
  """Map coordinates of raster coordinates, as GeoTIFF defines them."""
  if 34264 in tags:
    matrix = np.reshape(tags[34264], (4, 4))
    return (matrix @ [column, row, 0, 1])[:2]
  i, j, _, x, y, _ = tags[33922]
  size = tags[33550]
  return np.array([x + (column - i) * size[0], y - (row - j) * size[1]])


def test_tie_points_of_another_type_become_doubles(tmp_path):
  tags = [
    (33550, 'd', 3, (2.0, 2.0, 0.0), True),
    (33922, 'I', 6, (0, 0, 0, 7, 9, 0), True),
  ]
  found = read(tmp_path, plain_tiff(random_samples(3, 'uint8'), extratags=tags))
  with tifffile.TiffFile(io.BytesIO(encode_doubled(found))) as file:
    made = file.pages[0].tags
    assert made[33550].value == (1, 1, 0)
    assert made[33922].dtype == 12 and made[33922].value[3:5] == (7, 9)


@pytest.mark.parametrize('raster', [1, 2])
@pytest.mark.parametrize('kind', ['scale', 'matrix'])
def test_georeference_names_the_same_places(tmp_path, raster, kind):
  matrix = (9.0, 1.0, 0.0, 5e5, 2.0, -8.0, 0.0, 4e6, *[0.0] * 7, 1.0)
  place = GEO if kind == 'scale' else [(34264, 'd', 16, matrix, True), *GEO[2:]]
  tags = [*place, (34735, 'H', 12, (*KEYS, raster), True)]
  samples = random_samples(3, 'uint8')
  found = read(tmp_path, plain_tiff(samples, extratags=tags))
  output = photo.encode(
    found.colour.repeat(3, 0).repeat(2, 1), None, found, scale=(3, 2)
  )
  before = {tag[0]: tag[3] for tag in tags}
  with tifffile.TiffFile(io.BytesIO(output)) as file:
    after = {tag.code: tag.value for tag in file.pages[0].tags}
  assert after[34735] == before[34735]
  assert after[42112] == '<GDALMetadata/>'
  assert after[42113] == '-9999'
  shift = 0.5 if raster == 2 else 0  # centres are counted, not corners
  for column, row in ((0, 0), (16, 12), (5, 3)):
    np.testing.assert_allclose(
      world(after, 2 * column - shift, 3 * row - shift),
      world(before, column - shift, row - shift),
      rtol=1e-12,
    )


def test_georeference_of_a_turned_image_is_left_out_with_a_note(tmp_path):
  tags = [*GEO, (274, 'H', 1, 6, True)]
  found = read(tmp_path, plain_tiff(random_samples(3, 'uint8'), extratags=tags))
  assert 'georeference' in found.notes[0]
  assert 33550 not in [tag[0] for tag in found.tiff.tags]


@pytest.mark.parametrize(
  ('depth', 'value', 'tag'),
  [
    ('float32', -9999, '-9999'),
    ('float32', np.finfo(np.float32).min, '-3.4028234663852886e+38'),
    ('float16', np.nan, 'nan'),
    ('float32', np.nan, None),
    ('float32', np.inf, '0.5'),
    ('int16', -32768, '-32768'),
    ('uint8', 0, '0'),
    ('uint16', 65535, '65535'),
  ],
)
@pytest.mark.parametrize('orientation', [1, 6])
def test_pixels_without_data_are_told_apart(
  tmp_path, depth, value, tag, orientation
):
  samples = random_samples(3, depth).clip(1, 200)
  expected = np.zeros(samples.shape, bool)
  expected[3:6, 4:9] = expected[8, 2, 1] = True
  samples[expected] = value
  tags = [(42113, 's', 0, tag, True)] if tag else []
  tags.append((274, 'H', 1, orientation, True))
  found = read(tmp_path, plain_tiff(samples, extratags=tags))
  if orientation == 6:
    expected, samples = np.rot90(expected, -1), np.rot90(samples, -1)
  np.testing.assert_array_equal(found.missing, expected)
  assert 'without data' in found.notes[0]
  filled = photo.fill(found)
  np.testing.assert_array_equal(filled[~expected], found.colour[~expected])
  white = WHITE.get(depth, 1)
  assert 1 <= filled.min() * white and filled.max() * white <= 200
  output = encode_doubled(found)
  np.testing.assert_array_equal(decode(output), doubled(samples))
  with tifffile.TiffFile(io.BytesIO(output)) as file:
    tags = {t.code: t.value for t in file.pages[0].tags}
  assert tags.get(42113) == tag
  if np.isnan(value):
    with pytest.raises(InputError, match='without data do not fit uint8'):
      encode_doubled(found, depth='uint8')


@pytest.mark.parametrize(
  ('depth', 'number'), [('uint16', 65535), ('float32', 1), ('uint8', 255)]
)
def test_the_number_for_no_data_is_of_the_depth_that_is_written(
  tmp_path, depth, number
):
  samples = random_samples(1, 'uint8').clip(0, 200)
  samples[2:5, 3:7] = 255
  tags = [(42113, 's', 0, '255', True)]
  found = read(tmp_path, plain_tiff(samples, extratags=tags))
  again = read(tmp_path, encode_doubled(found, depth=depth))
  (tag,) = [t for t in again.tiff.tags if t[0] == 42113]
  assert float(tag[3]) == number
  np.testing.assert_array_equal(again.missing, doubled(found.missing))


def test_a_band_without_any_data_is_filled_with_nothing(tmp_path):
  samples = random_samples(3, 'float32')
  samples[..., 1] = np.nan
  filled = photo.fill(read(tmp_path, plain_tiff(samples)))
  assert (filled[..., 1] == 0).all()
  np.testing.assert_array_equal(filled[..., ::2], samples[..., ::2])


def test_float_range_is_kept(tmp_path):
  samples = random_samples(1, 'float32') * 100
  found = read(tmp_path, plain_tiff(samples))
  assert found.colour.min() < -1 < 1 < found.colour.max()
  np.testing.assert_array_equal(decode(encode_doubled(found)), doubled(samples))


@pytest.mark.parametrize(
  ('kind', 'depth'),
  [
    ('int8', 'int16'),
    *[(kind, 'float32') for kind in ('int32', 'uint32', 'int64', 'uint64')],
  ],
)
@pytest.mark.parametrize('bands', [1, 4])
def test_other_integers_keep_their_numbers(tmp_path, kind, depth, bands):
  samples = rng.integers(0, 100, (12, 16, bands)).astype(kind)
  found = read(tmp_path, plain_tiff(samples))
  assert found.depth == depth and found.alpha is None
  assert len(found.notes) == 1 and 'converted to' in found.notes[0]
  np.testing.assert_array_equal(decode(encode_doubled(found)), doubled(samples))


def test_numbers_beyond_32_bit_floats_are_refused(tmp_path):
  samples = rng.random((8, 9))
  samples[0, 0], samples[1, 1] = np.nan, 1e39
  path = written(tmp_path, tiff(samples))
  assert_refused(path, '32-bit floats do not reach')
  samples[1, 1] = 3e38
  found = photo.read_photo(written(tmp_path, tiff(samples)))
  assert np.isfinite(found.colour[found.missing == 0]).all()


def test_complex_numbers_are_refused(tmp_path):
  samples = np.ones((12, 16), 'complex64')
  assert_refused(written(tmp_path, tiff(samples)), 'type complex64')


@pytest.mark.parametrize('depth', ['int16', 'float16', 'float32'])
def test_numbers_of_which_the_least_is_white_stay_so(tmp_path, depth):
  samples = random_samples(1, depth)
  output = encode_doubled(
    read(tmp_path, tiff(samples[..., 0], photometric='miniswhite'))
  )
  with tifffile.TiffFile(io.BytesIO(output)) as file:
    assert file.pages[0].photometric == 0
  np.testing.assert_array_equal(decode(output), doubled(samples))


def test_double_is_read_as_float_with_a_note(tmp_path):
  samples = rng.normal(size=(12, 16, 1))
  found = read(tmp_path, plain_tiff(samples))
  assert found.depth == 'float32'
  assert found.notes == ('64-bit float converted to 32-bit',)
  np.testing.assert_array_equal(found.colour, samples.astype(np.float32))


@pytest.mark.parametrize('bits', [1, 2, 4, 10, 12, 14])
@pytest.mark.parametrize('photometric', ['minisblack', 'miniswhite'])
def test_odd_depths_span_the_whole_range(tmp_path, bits, photometric):
  white = 2**bits - 1
  kind = bool if bits == 1 else np.uint8 if bits <= 8 else np.uint16
  samples = rng.integers(0, white, (12, 16), endpoint=True).astype(kind)
  content = tiff(samples, photometric=photometric, bitspersample=bits)
  found = read(tmp_path, content)
  expected = samples / white
  if photometric == 'miniswhite':
    expected = 1 - expected
  np.testing.assert_allclose(found.colour[..., 0], expected, atol=1e-6)
  assert found.depth == ('uint8' if bits <= 8 else 'uint16')
  assert len(found.notes) == 1
  assert found.notes[0].startswith(f'{bits} bit') and 'to' in found.notes[0]


@pytest.mark.parametrize('subsampling', [(1, 1), (2, 2)])
def test_jpeg_inside_a_tiff_is_read_as_by_image_io(tmp_path, subsampling):
  content = tiff(
    random_samples(3, 'uint8', (64, 64)),
    photometric='rgb',
    compression='jpeg',
    subsampling=subsampling,
  )
  path = written(tmp_path, content)
  np.testing.assert_array_equal(
    photo.read_photo(path).colour, image_io.read_image(path)
  )


def test_exif_that_cannot_be_read_is_noted(tmp_path):
  # Pillow takes no such BigTIFF.
  content = plain_tiff(random_samples(3, 'uint8'), byteorder='>', bigtiff=True)
  found = read(tmp_path, content)
  assert found.notes == ('EXIF that cannot be read left out',)
  assert found.colour.shape == (12, 16, 3)


# --------------------------------------------------------- frames and raws


def test_frames_are_chosen_from_one(tmp_path):
  images = [as_image(random_samples(3, 'uint8')) for _ in range(3)]
  for container, options in (
    ('PNG', {}),
    ('WEBP', {'lossless': True}),
    ('TIFF', {}),
  ):
    content = saved(
      images[0], container, save_all=True, append_images=images[1:], **options
    )
    path = written(tmp_path, content)
    assert_refused(path, 'holds 3')
    assert_refused(path, 'FILE[3]', read=photo.read_shape)
    assert_refused(path, 'has no [4]', page=4)
    assert_refused(path, 'has no [0]', page=0)
    for number, image in enumerate(images, 1):
      found = photo.read_photo(path, page=number)
      np.testing.assert_array_equal(
        found.colour, np.asarray(image) / np.float32(255)
      )
      assert photo.read_shape(path, page=number) == (12, 16, 3)


def test_the_only_frame_may_be_named(tmp_path):
  content = saved(as_image(random_samples(3, 'uint8')), 'PNG')
  assert read(tmp_path, content, page=1).colour.shape == (12, 16, 3)


def test_mpo_counts_as_a_jpeg(tmp_path):
  images = [as_image(random_samples(3, 'uint8')) for _ in range(2)]
  content = saved(images[0], 'MPO', save_all=True, append_images=images[1:])
  found = read(tmp_path, content)
  assert found.container == 'JPEG'
  assert found.notes == ('further pictures (1) left out',)


def test_split_page(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name, expected in {
    'a.tif[3]': ('a.tif', 3),
    'a.tif': ('a.tif', None),
    'a.tif[x]': ('a.tif[x]', None),
    'a.tif[]': ('a.tif[]', None),
    '[1]': ('[1]', None),
    'b[2].tif': ('b[2].tif', None),
    'b[2].tif[1]': ('b[2].tif', 1),
    'x' * 300 + '[1]': ('x' * 300, 1),
  }.items():
    path, page = names.split_page(name)
    assert (str(path), page) == expected
  (tmp_path / 'a.tif[3]').touch()
  assert names.split_page('a.tif[3]')[1] is None
  assert names.split_page('a.tif[3][2]') == (names.Path('a.tif[3]'), 2)


def raw_page(samples, **options):
  return tiff(samples, photometric='rgb', **options)


def test_raw_files_are_refused_by_content(tmp_path):
  samples = random_samples(3, 'uint8')
  dng = raw_page(samples, extratags=[(50706, 1, 4, b'\1\4\0\0', True)])
  assert_refused(written(tmp_path, dng, 'a.tif'), 'raw file')
  stream = io.BytesIO()
  with tifffile.TiffWriter(stream) as file:
    file.write(
      samples, photometric='rgb', subfiletype=1, subifds=1, metadata=None
    )
    file.write(samples.repeat(2, 0), photometric='rgb', metadata=None)
  assert_refused(written(tmp_path, stream.getvalue(), 'b.tif'), 'raw file')
  preview = raw_page(samples, subfiletype=1)
  assert_refused(written(tmp_path, preview, 'c.tif'), 'preview')
  cfa = tiff(
    samples[..., 0],
    photometric='cfa',
    extratags=[(33421, 'H', 2, (2, 2), True)],
  )
  assert_refused(written(tmp_path, cfa, 'd.tif'), 'raw file')


@pytest.mark.parametrize('suffix', ['.NEF', '.cr2', '.arw', '.orf', '.dng'])
def test_raw_files_are_refused_by_name(tmp_path, suffix):
  content = saved(as_image(random_samples(3, 'uint8')), 'TIFF')
  assert_refused(written(tmp_path, content, 'a' + suffix), 'raw file')


def heif_bytes(samples, depth='uint8', **options):
  heif = pytest.importorskip('pillow_heif', reason='pillow-heif is missing')
  mode = PILLOW_MODES[samples.shape[-1]] + (';16' if depth == 'uint16' else '')
  stream = io.BytesIO()
  file = heif.from_bytes(mode, samples.shape[1::-1], samples.tobytes())
  try:
    file.save(stream, quality=-1, chroma=444, **options)
  except RuntimeError as error:
    pytest.skip(f'no encoder for HEIF: {error}')
  return stream.getvalue()


@pytest.mark.parametrize('depth', ['uint8', 'uint16'])
@pytest.mark.parametrize('channels', [3, 4])
def test_heif_is_read(tmp_path, depth, channels):
  size = (64, 80)
  smooth = np.linspace(0, WHITE[depth], 80).astype(depth)
  samples = np.broadcast_to(smooth[:, None], (*size, channels)).copy()
  content = heif_bytes(samples, depth, exif=exif_bytes(1))
  path = written(tmp_path, content, 'a.heic')
  found = photo.read_photo(path)
  assert (found.container, found.depth) == ('HEIF', depth)
  expected = samples[..., :3] / WHITE[depth]
  np.testing.assert_allclose(found.colour, expected, atol=0.02)
  assert (found.alpha is not None) == (channels == 4)
  assert photo.read_shape(path) == (64, 80, 3)
  if depth == 'uint16':
    assert len(np.unique(found.colour)) > 256 // 4
  output = encode_doubled(found)
  assert decode(output).dtype == depth
  with Image.open(io.BytesIO(output)) as image:
    assert image.getexif()[ExifTags.Base.Make] == 'MadeUpCam'


@pytest.mark.parametrize('bits', [10, 12])
@pytest.mark.parametrize('brightness', [0.1, 1])
def test_deep_avif_comes_out_with_sixteen_bits(tmp_path, bits, brightness):
  white = 2**bits - 1
  ramp = np.linspace(0, brightness * white, 64 * 64).astype(np.uint16)
  samples = ramp.reshape(64, 64, 1).repeat(3, 2)
  content = imagecodecs.avif_encode(samples, bitspersample=bits, level=100)
  found = read(tmp_path, content)
  assert found.depth == 'uint16'
  assert found.notes == (f'{bits} bits a sample converted to 16',)
  np.testing.assert_allclose(found.colour, samples / white, atol=0.003)


@pytest.mark.parametrize(
  ('primaries', 'transfer', 'told'),
  [(1, 13, False), (2, 2, False), (9, 16, True), (12, 13, True), (1, 8, True)],
)
@pytest.mark.parametrize('container', ['AVIF', 'HEIF'])
def test_what_avif_says_of_its_colours_is_said_by_a_png(
  tmp_path, container, primaries, transfer, told
):
  samples = random_samples(3, 'uint8', (64, 64))
  if container == 'AVIF':
    content = imagecodecs.avif_encode(
      samples, level=100, primaries=primaries, transfer=transfer
    )
  else:
    content = heif_bytes(
      samples,
      save_nclx_profile=True,
      color_primaries=primaries,
      transfer_characteristics=transfer,
    )
  found = read(tmp_path, content)
  chunks = png_parts(encode_doubled(found))
  expected = [bytes((primaries, transfer, 0, 1))] if told else []
  assert [body for name, body in chunks if name == b'cICP'] == expected
  assert bool(photo.left_out(found, 'JPEG')) == told


def png_parts(content):
  """The chunks of a PNG, by Pillow."""
  stream = PngImagePlugin.PngStream(io.BytesIO(content[8:]))
  parts = []
  while not parts or parts[-1][0] != b'IEND':
    name, _, length = stream.read()
    parts.append((name, stream.fp.read(length)))
    stream.crc(*parts[-1])
  return parts


@pytest.mark.parametrize('depth', ['uint8', 'uint16'])
def test_chunks_that_stay_true_are_kept(tmp_path, depth):
  more = PngImagePlugin.PngInfo()
  kept = [
    (b'cHRM', struct.pack('>8I', 31270, 32900, 68000, 32000, *[20000] * 4)),
    (b'gAMA', struct.pack('>I', 100000)),
    (b'sRGB', b'\1'),
    (b'cICP', bytes((9, 16, 0, 1))),
    (b'mDCV', bytes(range(24))),
    (b'cLLI', bytes(range(8))),
  ]
  more.add_text('Title', 'caf\xe9')
  more.add_text('Comment', 'long ' * 99, zip=True)
  more.add_itxt('Author', '\u4e2d', 'zh', 'x')
  more.add_text('Raw profile type exif', 'turned')
  samples = random_samples(3, depth)
  if depth == 'uint16':
    content = deep_png(samples, pnginfo=more)
  else:
    content = saved(as_image(samples), 'PNG', pnginfo=more)
  content = with_chunks(content, [*kept, (b'sBIT', b'\5\6\5')])
  found = read(tmp_path, content)
  output = encode_doubled(found)
  np.testing.assert_array_equal(decode(output), doubled(samples))
  parts = png_parts(output)
  for part in kept:
    assert part in parts
  assert b'sBIT' not in [name for name, _ in parts]
  with Image.open(io.BytesIO(output)) as image:
    assert image.text == {
      'Title': 'caf\xe9',
      'Comment': 'long ' * 99,
      'Author': '\u4e2d',
    }
  assert photo.left_out(found) == ()
  for container in ('TIFF', 'JPEG'):
    first, second = photo.left_out(found, container)
    assert '(cHRM, gAMA, cICP)' in first
    assert '(Author, Comment, Title)' in second


def test_chunks_that_say_what_is_assumed_are_lost_without_a_word(tmp_path):
  more = PngImagePlugin.PngInfo()
  more.add(b'gAMA', struct.pack('>I', 45455))
  more.add(b'sRGB', b'\0')
  more.add(b'cICP', bytes((1, 13, 0, 1)))
  content = saved(as_image(random_samples(3, 'uint8')), 'PNG', pnginfo=more)
  found = read(tmp_path, content)
  assert len(found.chunks) == 3
  assert photo.left_out(found, 'JPEG') == ()


def test_damaged_chunks_do_not_cost_the_photo(tmp_path):
  samples = random_samples(3, 'uint8')
  chunks = [
    *[(b'cICP', bytes(size)) for size in (0, 1, 5)],
    *[(b'gAMA', bytes(size)) for size in (8, 5)],
    (b'cHRM', bytes(36)),
    (b'mDCV', b''),
    *[(b'tEXt', text) for text in (b'', b'\0a', b'k' * 200, b'key')],
  ]
  content = saved(as_image(samples), 'PNG')
  found = read(tmp_path, with_chunks(content, chunks))
  assert found.chunks == ((b'tEXt', b'key'),)
  np.testing.assert_array_equal(decode(encode_doubled(found)), doubled(samples))
  assert photo.left_out(found, 'TIFF') == (
    'text (key) left out; a PNG keeps it',
  )


@pytest.mark.parametrize('container', ['JPEG', 'GIF'])
def test_a_comment_is_a_text_of_the_png(tmp_path, container):
  image = as_image(random_samples(3, 'uint8'))
  content = saved(image, container, comment='caf\xe9'.encode())
  found = read(tmp_path, content)
  with Image.open(io.BytesIO(encode_doubled(found))) as image:
    assert image.text == {'Comment': 'caf\xe9'}
  assert photo.left_out(found, 'JPEG') == (
    'text (Comment) left out; a PNG keeps it',
  )


def test_iptc_is_kept_by_a_tiff_or_said(tmp_path):
  iptc = b'\x1c\x02\x05\0\x05Title'
  samples = random_samples(3, 'uint8')
  tags = [(33723, 7, len(iptc), iptc, True)]
  found = read(tmp_path, plain_tiff(samples, extratags=tags))
  with tifffile.TiffFile(io.BytesIO(encode_doubled(found))) as file:
    assert file.pages[0].tags[33723].value == iptc
  assert photo.left_out(found, 'PNG') == ('IPTC left out; a TIFF keeps it',)
  tags = [(33723, 'I', 2, (1, 2), True)]
  found = read(tmp_path, plain_tiff(samples, extratags=tags))
  assert found.notes == ('IPTC left out',)
  body = b'Photoshop 3.0\0' + b'8BIM\x04\x04\0\0' + struct.pack('>I', 11)
  marker = b'\xff\xed' + struct.pack('>H', 2 + len(body) + 12)
  jpeg = saved(as_image(samples), 'JPEG')
  found = read(tmp_path, jpeg[:2] + marker + body + iptc + b'e\0' + jpeg[2:])
  assert found.notes == ('IPTC left out',)


@pytest.mark.parametrize('container', ['PNG', 'JPEG'])
def test_a_georeference_that_has_no_place_is_said(tmp_path, container):
  found = read(tmp_path, plain_tiff(random_samples(3, 'uint8'), extratags=GEO))
  (note,) = photo.left_out(found, container)
  assert note.startswith('georeference left out')
  assert photo.left_out(found, 'TIFF') == ()


def test_heif_without_its_reader_says_what_to_install(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'pillow_heif', None)
  content = b'\0\0\0\x18ftypheic' + bytes(99)
  assert_refused(
    written(tmp_path, content, 'a.heic'), 'pip install pillow-heif'
  )


# ------------------------------------------------------- damage and bombs


def intact(kind):
  samples = random_samples(3, 'uint8', (64, 64))
  if kind == 'deep PNG':
    return deep_png(random_samples(3, 'uint16', (64, 64)))
  if kind == 'deep TIFF':
    return plain_tiff(samples.astype(np.float32), compression='zlib')
  if kind == 'HEIF':
    return heif_bytes(samples)
  return saved(as_image(samples), kind)


@pytest.mark.parametrize('share', [0.01, 0.3, 0.6, 0.95])
@pytest.mark.parametrize(
  'kind',
  'PNG JPEG WEBP BMP TIFF GIF AVIF HEIF'.split() + ['deep PNG', 'deep TIFF'],
)
def test_truncated_files_give_one_line(tmp_path, kind, share):
  content = intact(kind)
  cut = content[: int(len(content) * share)]
  assert_refused(written(tmp_path, cut), '')


def png_head(width, height, depth=8):
  header = struct.pack('>IIBBBBB', width, height, depth, 2, 0, 0, 0)
  stream = io.BytesIO()
  stream.write(b'\x89PNG\r\n\x1a\n')
  PngImagePlugin.putchunk(stream, b'IHDR', header)
  PngImagePlugin.putchunk(stream, b'IDAT', zlib.compress(b''))
  PngImagePlugin.putchunk(stream, b'IEND')
  return stream.getvalue()


@pytest.mark.parametrize('side', [13_400, 25_000, 60_000])
@pytest.mark.parametrize('depth', [8, 16])
def test_bombs_are_refused_before_decoding(tmp_path, side, depth):
  path = written(tmp_path, png_head(side, side, depth))
  assert_refused(path, 'crop or shrink')
  assert_refused(path, 'crop or shrink', read=photo.read_shape)


def test_absurd_tiffs_are_refused_before_decoding(tmp_path):
  content = bytearray(tiff(random_samples(1, 'uint8')))
  with tifffile.TiffFile(io.BytesIO(content)) as file:
    places = [file.pages[0].tags[tag].valueoffset for tag in (256, 257)]
  for place in places:
    struct.pack_into('<I', content, place, 2**31)
  assert_refused(written(tmp_path, bytes(content)), 'crop or shrink')


def test_the_limit_is_that_of_the_caller(tmp_path):
  for container in ('PNG', 'TIFF'):
    content = saved(as_image(random_samples(3, 'uint8')), container)
    path = written(tmp_path, content)
    assert_refused(path, '16x12', max_pixels=191)
    assert photo.read_photo(path, max_pixels=192).colour.shape == (12, 16, 3)


def test_what_is_no_photo_is_refused(tmp_path):
  assert_refused(tmp_path / 'none.png', 'no such file')
  assert_refused(tmp_path, 'not a file')
  assert_refused(written(tmp_path, b''), 'empty')
  assert_refused(written(tmp_path, b'this is text'), 'not an image')
  assert_refused(written(tmp_path, b'II*\0' + bytes(40)), '')
  assert_refused(written(tmp_path, b'II*\0\x08\0\0\0'), '')


def test_broken_exif_does_not_cost_the_photo(tmp_path):
  content = saved(
    as_image(random_samples(3, 'uint8')),
    'PNG',
    exif=b'Exif\0\0II*\0\x08\0\0\0\xff\xff' + bytes(30),
  )
  found = read(tmp_path, content)
  assert decode(encode_doubled(found)).shape == (24, 32, 3)


# ------------------------------------------------------ colours and alphas


def test_sixteen_bits_stay_finer_than_eight(tmp_path):
  ramp = np.linspace(0.5, 0.51, 400, dtype=np.float32)
  samples = np.floor(ramp * 65535 + 0.5).astype(np.uint16)
  samples = samples[None, :, None].repeat(8, 0).repeat(3, 2)
  for content in (deep_png(samples), plain_tiff(samples)):
    output = encode_doubled(read(tmp_path, content))
    assert len(np.unique(decode(output))) > 300
    coarse = encode_doubled(read(tmp_path, content), depth='uint8')
    assert len(np.unique(decode(coarse))) < 6


def test_halves_are_rounded_up_and_the_rest_clipped(tmp_path):
  like = read(tmp_path, deep_png(random_samples(1, 'uint16')))
  for depth, white in WHITE.items():
    values = np.array([-9, 0.5, 1.49, 2.5, white, white + 9]) / white
    output = photo.encode(values[None, :, None], None, like, depth=depth)
    np.testing.assert_array_equal(
      decode(output)[0, :, 0], [0, 1, 1, 3, white, white]
    )


def test_no_fringe_of_what_is_hidden():
  # A white disc on nothing, which is stored as black.
  y, x = np.mgrid[:32, :32] - 15.5
  alpha = ((y**2 + x**2) < 100).astype(np.float32)[..., None]
  colour = np.broadcast_to(alpha, (32, 32, 3)).copy()
  fringe = scipy.ndimage.zoom(colour, (2, 2, 1), order=1)
  clean = scipy.ndimage.zoom(photo.bleed(colour, alpha), (2, 2, 1), order=1)
  seen = scipy.ndimage.zoom(alpha, (2, 2, 1), order=1)[..., 0] > 0.01
  assert fringe[seen].min() < 0.5
  assert clean[seen].min() > 0.999


def test_bleed_leaves_what_is_visible_and_what_is_empty():
  colour = rng.random((6, 7, 3)).astype(np.float32)
  alpha = (rng.random((6, 7, 1)) > 0.5).astype(np.float32)
  filled = photo.bleed(colour, alpha)
  seen = alpha[..., 0] > 0
  np.testing.assert_array_equal(filled[seen], colour[seen])
  assert set(map(tuple, filled[~seen])) <= set(map(tuple, colour[seen]))
  nothing = np.zeros_like(alpha)
  np.testing.assert_array_equal(photo.bleed(colour, nothing), colour)


def test_an_opaque_alpha_is_in_the_output_again(tmp_path):
  samples = random_samples(4, 'uint8')
  samples[..., 3] = 255
  found = read(tmp_path, saved(as_image(samples), 'PNG'))
  output = photo.encode(doubled(found.colour), None, found)
  np.testing.assert_array_equal(decode(output), doubled(samples))
  jpeg = photo.encode(doubled(found.colour), None, found, container='JPEG')
  assert decode(jpeg).shape == (24, 32, 3)
  seen = dataclasses.replace(found, alpha=found.alpha * 0.5)
  with pytest.raises(ValueError, match='alpha'):
    photo.encode(doubled(found.colour), None, seen)


# ---------------------------------------------------------------- writing


def test_what_cannot_be_written_is_refused_before_there_is_a_result(tmp_path):
  like = read(tmp_path, saved(as_image(random_samples(4, 'uint8')), 'PNG'))
  photo.check_writable(like)
  with pytest.raises(InputError, match='choose one of PNG, JPEG, TIFF'):
    photo.check_writable(like, container='XCF')
  with pytest.raises(InputError, match='JPEG cannot hold transparency'):
    photo.check_writable(like, container='JPEG')
  with pytest.raises(InputError, match='PNG cannot hold float32'):
    photo.check_writable(like, depth='float32')


def test_jpeg_has_full_chroma_and_the_quality_asked_for(tmp_path):
  like = read(tmp_path, saved(as_image(random_samples(3, 'uint8')), 'BMP'))
  sizes = []
  for quality in (None, 95, 50):
    output = encode_doubled(like, container='JPEG', quality=quality)
    sizes.append(len(output))
    with Image.open(io.BytesIO(output)) as image:
      assert all(plane[1:3] == (1, 1) for plane in image.layer)
  assert sizes[0] == sizes[1] > sizes[2]


@pytest.mark.parametrize(
  ('channels', 'depth', 'options', 'reason'),
  [
    (4, 'uint8', {'container': 'JPEG'}, 'transparency; write PNG or TIFF'),
    (3, 'uint16', {'container': 'JPEG'}, 'uint16; write PNG or TIFF'),
    (5, 'uint8', {'container': 'PNG'}, '5 bands; write TIFF'),
    (5, 'uint8', {'container': 'JPEG'}, '5 bands; write TIFF'),
    (3, 'float32', {'container': 'PNG'}, 'float32; write TIFF'),
    (1, 'float32', {'depth': 'uint8'}, 'do not fit uint8'),
    (1, 'int16', {'depth': 'uint16'}, 'do not fit uint16'),
    (3, 'uint8', {'depth': 'int16'}, 'use uint16 or float32'),
    (3, 'uint8', {'depth': 'uint64'}, 'unknown'),
    (3, 'uint8', {'container': 'JPEG', 'quality': 0}, 'use 1 to 100'),
  ],
)
def test_what_a_container_cannot_hold_is_refused(
  tmp_path, channels, depth, options, reason
):
  like = read(tmp_path, plain_tiff(random_samples(channels, depth)))
  with pytest.raises(InputError) as caught:
    encode_doubled(like, **options)
  message = str(caught.value)
  assert like.name in message
  assert reason in message
  assert '\n' not in message


def test_tiff_is_compressed_without_loss(tmp_path):
  flat = np.full((300, 300, 3), 7, np.uint16)
  output = encode_doubled(read(tmp_path, plain_tiff(flat)))
  assert len(output) < 20_000
  with tifffile.TiffFile(io.BytesIO(output)) as file:
    assert file.pages[0].compression == 8
    assert file.pages[0].predictor == 2


# ------------------------------------------------- files that failed before


@pytest.mark.parametrize(
  ('name', 'shape', 'alpha', 'depth'),
  [
    ('a/rgba.png', (48, 64, 3), True, 'uint8'),
    ('a/la.png', (48, 64, 1), True, 'uint8'),
    ('a/pal_trans.png', (48, 64, 3), True, 'uint8'),
    ('a/rgba_opaque.png', (48, 64, 3), True, 'uint8'),
    ('a/g16.png', (48, 64, 1), False, 'uint16'),
    ('a/rgb16.png', (48, 64, 3), False, 'uint16'),
    ('tif/rgb16.tif', (48, 64, 3), False, 'uint16'),
    ('tif/greyf32.tif', (48, 64, 1), False, 'float32'),
    ('a/float_neg.tif', (48, 64, 1), False, 'float32'),
    ('a/cmyk.jpg', (48, 64, 3), False, 'uint8'),
    ('a/one.png', (48, 64, 1), False, 'uint8'),
    ('a/still.gif', (48, 64, 3), False, 'uint8'),
    ('a/f.avif', (48, 64, 3), False, 'uint8'),
    ('a/x.jfif', (48, 64, 3), False, 'uint8'),
    ('tif/rgbnir8.tif', (48, 64, 4), False, 'uint8'),
    ('tif/geo8.tif', (48, 64, 3), False, 'uint8'),
    ('icc/wide.png', (48, 64, 3), False, 'uint8'),
    ('icc/meta.jpg', (48, 64, 3), False, 'uint8'),
    ('noisy/n2.png', (100, 100, 3), False, 'uint8'),
    ('noisy/n4.png', (100, 100, 3), False, 'uint8'),
    ('noisy/n8.png', (100, 100, 3), False, 'uint8'),
    ('noisy/clean.png', (100, 100, 3), False, 'uint8'),
    ('noisy/truth.png', (200, 200, 3), False, 'uint8'),
    ('noisy/q30.jpg', (100, 100, 3), False, 'uint8'),
    ('nat/screenshot.png', (120, 160, 3), False, 'uint8'),
    ('k/psf16.png', (13, 13, 1), False, 'uint16'),
    ('k/psf32.tif', (13, 13, 1), False, 'float32'),
    ('srf/LR/img_001_SRF_2_LR.png', (48, 65, 3), False, 'uint8'),
    ('srf/HR/img_001_SRF_2_HR.png', (96, 130, 3), False, 'uint8'),
    ('div/LR/0801x2.png', (48, 65, 3), False, 'uint8'),
    ('div/HR/0801.png', (96, 130, 3), False, 'uint8'),
  ],
)
def test_cases_are_read_and_written(cases, name, shape, alpha, depth):
  found = photo.read_photo(cases / name)
  assert found.colour.shape == shape == photo.read_shape(cases / name)
  assert (found.alpha is not None) == alpha
  assert found.depth == depth
  output = decode(encode_doubled(found))
  bands = shape[-1] + alpha
  assert output.shape == (2 * shape[0], 2 * shape[1], bands)
  assert output.dtype == depth


@pytest.mark.parametrize(
  ('name', 'reason'),
  [
    ('a/anim.webp', 'holds 4 frames; choose'),
    ('a/multipage.tif', 'holds 4 pages; choose'),
    ('bad/fakeraw.dng', 'raw file'),
  ],
)
def test_cases_are_refused(cases, name, reason):
  assert_refused(cases / name, reason)


def test_cases_of_pages_are_chosen(cases):
  for name in ('a/anim.webp', 'a/multipage.tif'):
    path, page = names.split_page(f'{cases / name}[3]')
    assert photo.read_photo(path, page=page).colour.shape == (48, 64, 3)


def test_cases_keep_their_meaning(cases):
  wide = photo.read_photo(cases / 'icc/wide.png')
  with Image.open(io.BytesIO(encode_doubled(wide))) as image:
    assert image.info['icc_profile'] == wide.icc
  meta = photo.read_photo(cases / 'icc/meta.jpg')
  with Image.open(io.BytesIO(encode_doubled(meta))) as image:
    assert image.getexif()[ExifTags.Base.Make] == 'MadeUpCam'
    assert tuple(round(side) for side in image.info['dpi']) == (300, 300)
  assert photo.read_photo(cases / 'a/float_neg.tif').colour.min() < -1
  geo = encode_doubled(photo.read_photo(cases / 'tif/geo8.tif'))
  with tifffile.TiffFile(io.BytesIO(geo)) as file:
    assert file.pages[0].tags[33550].value == (5.0, 5.0, 0.0)
