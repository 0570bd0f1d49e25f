"""Reading images, refusing what would be mangled, writing."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from zssr_jax.data import files, image_io
from zssr_jax.errors import InputError
from zssr_jax.ops import color

rng = np.random.default_rng(0)
PIXELS = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)


def save(image, path, **options):
  image.save(path, **options)
  return path


def png_chunk(name, body):
  checksum = zlib.crc32(name + body)
  return (
    struct.pack('>I', len(body)) + name + body + struct.pack('>I', checksum)
  )


def png_bytes(width, height, depth, color_type, rows):
  """A PNG of any bit depth, also of those that Pillow does not write."""
  header = struct.pack('>IIBBBBB', width, height, depth, color_type, 0, 0, 0)
  return (
    b'\x89PNG\r\n\x1a\n'
    + png_chunk(b'IHDR', header)
    + png_chunk(b'IDAT', zlib.compress(rows))
    + png_chunk(b'IEND', b'')
  )


def assert_refused(path, reason, read=image_io.read_image):
  with pytest.raises(InputError) as caught:
    read(path)
  message = str(caught.value)
  assert str(path) in message
  assert reason in message
  assert '\n' not in message


def test_rgb_comes_back_exactly(tmp_path):
  image = image_io.read_image(save(Image.fromarray(PIXELS), tmp_path / 'a.png'))
  assert image.dtype == np.float32
  np.testing.assert_array_equal(image, PIXELS.astype(np.float32) / 255)


def test_greyscale_has_one_channel(tmp_path):
  grey = PIXELS[..., 0]
  image = image_io.read_image(save(Image.fromarray(grey), tmp_path / 'a.png'))
  np.testing.assert_array_equal(image[..., 0], grey.astype(np.float32) / 255)
  assert image.shape == (12, 16, 1)


def test_four_bit_greyscale_spans_the_whole_range(tmp_path):
  path = tmp_path / 'a.png'
  path.write_bytes(png_bytes(2, 1, 4, 0, b'\x00\x0f'))
  np.testing.assert_array_equal(image_io.read_image(path)[0, :, 0], [0, 1])


def test_palette_is_read_as_its_colours(tmp_path):
  palette = Image.fromarray(PIXELS).quantize(16)
  image = image_io.read_image(save(palette, tmp_path / 'a.png'))
  np.testing.assert_array_equal(
    color.to_uint8(image), np.asarray(palette.convert('RGB'))
  )


@pytest.mark.parametrize('suffix', ['png', 'bmp', 'tif', 'webp', 'jpg'])
def test_formats_are_recognised(tmp_path, suffix):
  path = save(Image.fromarray(PIXELS), tmp_path / f'a.{suffix}')
  assert image_io.read_image(path).shape == (12, 16, 3)


def test_exif_orientation_is_applied(tmp_path):
  exif = Image.Exif()
  exif[0x0112] = 6  # shown after a quarter turn clockwise
  path = save(Image.fromarray(PIXELS), tmp_path / 'a.png', exif=exif)
  np.testing.assert_array_equal(
    color.to_uint8(image_io.read_image(path)), np.rot90(PIXELS, -1)
  )


@pytest.mark.parametrize(
  'mode', ['RGBA', 'LA', 'CMYK', '1', 'I;16', 'F', 'LAB']
)
def test_modes_that_would_be_mangled_are_refused(tmp_path, mode):
  source = Image.fromarray(PIXELS)
  if mode == 'I;16':
    image = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
  elif mode == 'LAB':
    image = Image.frombytes('LAB', source.size, source.tobytes())
  else:
    image = source.convert(mode)
  reason = {
    'RGBA': 'alpha',
    'LA': 'alpha',
    'CMYK': 'CMYK; save it as 8-bit RGB',
    'LAB': 'LAB; save it as 8-bit RGB',
    '1': '1 bit',
  }.get(mode, 'more than 8 bits')
  assert_refused(save(image, tmp_path / 'a.tif'), reason)


def test_jpeg_in_cmyk_is_refused(tmp_path):
  image = Image.fromarray(PIXELS).convert('CMYK')
  assert_refused(save(image, tmp_path / 'a.jpg'), 'CMYK')


def test_transparent_colour_of_a_png_is_refused(tmp_path):
  image = Image.fromarray(PIXELS)
  path = save(image, tmp_path / 'a.png', transparency=(1, 2, 3))
  assert_refused(path, 'alpha')


def test_sixteen_bit_rgb_is_not_silently_cut_to_eight(tmp_path):
  path = tmp_path / 'a.png'
  path.write_bytes(png_bytes(2, 1, 16, 2, b'\x00' + bytes(12)))
  assert_refused(path, 'more than 8 bits')


def test_animation_is_refused(tmp_path):
  frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
  path = save(
    frames[0], tmp_path / 'a.png', save_all=True, append_images=frames[1:]
  )
  assert_refused(path, '2 frames')


def test_missing_empty_text_and_folder_are_refused(tmp_path):
  assert_refused(tmp_path / 'none.png', 'no such file')
  assert_refused(tmp_path, 'not a file')
  empty = tmp_path / 'empty.png'
  empty.touch()
  assert_refused(empty, 'empty')
  text = tmp_path / 'text.png'
  text.write_text('this is text')
  assert_refused(text, 'not an image')


@pytest.mark.parametrize('suffix', ['png', 'jpg', 'webp', 'bmp', 'tif'])
@pytest.mark.parametrize('share', [0.01, 0.3, 0.6, 0.95])
def test_truncated_files_are_refused(tmp_path, suffix, share):
  stream = io.BytesIO()
  large = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
  name = {'jpg': 'JPEG', 'tif': 'TIFF'}.get(suffix, suffix)
  Image.fromarray(large).save(stream, name)
  path = tmp_path / f'a.{suffix}'
  content = stream.getvalue()
  path.write_bytes(content[: int(len(content) * share)])
  assert_refused(path, '')


def test_large_image_is_refused_with_the_limit(tmp_path):
  path = save(Image.fromarray(PIXELS), tmp_path / 'a.png')
  assert_refused(
    path, '16x12', lambda p: image_io.read_image(p, max_pixels=100)
  )
  assert image_io.read_image(path, max_pixels=12 * 16).shape == (12, 16, 3)


@pytest.mark.parametrize('side', [13_400, 60_000])
def test_decompression_bomb_is_refused_before_decoding(tmp_path, side):
  path = tmp_path / 'a.png'
  path.write_bytes(png_bytes(side, side, 8, 2, b''))
  assert_refused(path, '178')


def test_written_image_is_rounded_half_up_and_clipped(tmp_path):
  values = np.array([-1, 0, 0.5, 127.49, 127.5, 128.5, 255, 300]) / 255
  image = values.astype(np.float64).reshape(1, 8, 1)
  image_io.write_image(tmp_path / 'a.png', image)
  with Image.open(tmp_path / 'a.png') as back:
    np.testing.assert_array_equal(
      np.asarray(back)[0], [0, 0, 1, 127, 128, 129, 255, 255]
    )


def test_written_image_survives_the_round_trip(tmp_path):
  image = PIXELS.astype(np.float32) / np.float32(255)
  image_io.write_image(tmp_path / 'a.png', image)
  np.testing.assert_array_equal(image_io.read_image(tmp_path / 'a.png'), image)
  assert os.listdir(tmp_path) == ['a.png']


def test_files_are_written_all_or_none(tmp_path):
  (tmp_path / 'a.json').write_text('old')
  with pytest.raises(OSError, match='none'):
    files.write_files(
      {tmp_path / 'a.json': 'new', tmp_path / 'none' / 'b.json': 'new'}
    )
  assert os.listdir(tmp_path) == ['a.json']
  assert (tmp_path / 'a.json').read_text() == 'old'


def test_written_files_have_the_usual_permissions(tmp_path):
  (tmp_path / 'plain').touch()
  files.write_files({tmp_path / 'a.json': '{}'})
  modes = {p.name: p.stat().st_mode for p in tmp_path.iterdir()}
  assert modes['a.json'] == modes['plain']
