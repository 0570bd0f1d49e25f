"""Reading images and kernels, refusing what would be mangled, writing."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
import scipy.io
from PIL import Image

from zssr_jax.data import image_io

rng = np.random.default_rng(0)
PIXELS = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
KERNEL = np.outer([1, 2, 1], [1, 3, 1]) / 20.0


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
  with pytest.raises(image_io.InputError) as caught:
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
    image_io.to_uint8(image), np.asarray(palette.convert('RGB'))
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
    image_io.to_uint8(image_io.read_image(path)), np.rot90(PIXELS, -1)
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


@pytest.mark.parametrize('side', [10_000, 60_000])
def test_decompression_bomb_is_refused_before_decoding(tmp_path, side):
  path = tmp_path / 'a.png'
  path.write_bytes(png_bytes(side, side, 8, 2, b''))
  assert_refused(path, '64')


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
    image_io.write_files(
      {tmp_path / 'a.json': 'new', tmp_path / 'none' / 'b.json': 'new'}
    )
  assert os.listdir(tmp_path) == ['a.json']
  assert (tmp_path / 'a.json').read_text() == 'old'


def test_written_files_have_the_usual_permissions(tmp_path):
  (tmp_path / 'plain').touch()
  image_io.write_files({tmp_path / 'a.json': '{}'})
  modes = {p.name: p.stat().st_mode for p in tmp_path.iterdir()}
  assert modes['a.json'] == modes['plain']


def write_kernel(path, array, name='Kernel'):
  if path.suffix == '.mat':
    scipy.io.savemat(path, {name: array})
  elif path.suffix == '.npy':
    np.save(path, array)
  else:
    np.savez(path, **{name: array})
  return path


@pytest.mark.parametrize('name', ['Kernel', 'kernel', 'kernels'])
@pytest.mark.parametrize('suffix', ['mat', 'npy', 'npz'])
def test_kernel_is_used_as_given(tmp_path, suffix, name):
  path = write_kernel(tmp_path / f'k.{suffix}', KERNEL, name)
  kernel = image_io.read_kernel(path)
  assert kernel.dtype == np.float32
  np.testing.assert_array_equal(kernel, KERNEL.astype(np.float32))


def test_kernel_of_any_sum_is_normalised(tmp_path):
  path = write_kernel(tmp_path / 'k.npy', KERNEL * 37)
  np.testing.assert_allclose(image_io.read_kernel(path), KERNEL, rtol=1e-6)


def test_negative_taps_stay(tmp_path):
  kernel = np.array([[-0.1, 0.6, 0.6, -0.1]])
  path = write_kernel(tmp_path / 'k.npy', kernel)
  np.testing.assert_array_equal(
    image_io.read_kernel(path), kernel.astype(np.float32)
  )


def test_kernel_image_is_normalised_by_its_sum(tmp_path):
  pixels = np.array([[0, 64], [128, 64]], np.uint8)
  path = save(Image.fromarray(pixels), tmp_path / 'k.png')
  np.testing.assert_array_equal(
    image_io.read_kernel(path), [[0, 0.25], [0.5, 0.25]]
  )


def test_single_array_of_an_npz_may_have_any_name(tmp_path):
  path = write_kernel(tmp_path / 'k.npz', KERNEL, 'blur')
  assert image_io.read_kernel(path).shape == (3, 3)


def test_one_kernel_in_a_matlab_cell_or_with_an_extra_axis(tmp_path):
  cell = np.empty((1, 1), object)
  cell[0, 0] = KERNEL
  for array in (cell, KERNEL[None], KERNEL[..., None]):
    path = write_kernel(tmp_path / 'k.mat', array, 'kernels')
    assert image_io.read_kernel(path).shape == (3, 3)


def assert_kernel_refused(path, reason):
  assert_refused(path, reason, image_io.read_kernel)


@pytest.mark.parametrize(
  ('array', 'reason'),
  [
    (np.full((3, 3), np.nan), 'NaN'),
    (np.full((3, 3), np.inf), 'infinite'),
    (np.zeros((3, 3)), 'all zero'),
    (-KERNEL, 'positive sum'),
    (np.array([[-1.0, 1.0]]), 'positive sum'),
    (np.ones(9), '2-D'),
    (np.ones((2, 3, 3)), 'several kernels'),
    (np.ones((0, 3)), '2-D'),
    (np.ones((3, 3), complex), 'real'),
    (np.full((3, 3), 'x'), 'real'),
  ],
)
def test_senseless_kernels_are_refused(tmp_path, array, reason):
  assert_kernel_refused(write_kernel(tmp_path / 'k.npy', array), reason)


def test_several_kernels_in_a_cell_are_refused(tmp_path):
  cell = np.empty((1, 2), object)
  cell[0, 0] = cell[0, 1] = KERNEL
  path = write_kernel(tmp_path / 'k.mat', cell, 'kernels')
  assert_kernel_refused(path, 'several kernels')


def test_mat_without_a_kernel_names_what_it_holds(tmp_path):
  path = write_kernel(tmp_path / 'k.mat', KERNEL, 'blur')
  assert_kernel_refused(path, 'found blur')


def test_npz_with_several_unknown_arrays_names_them(tmp_path):
  np.savez(tmp_path / 'k.npz', a=KERNEL, b=KERNEL)
  assert_kernel_refused(tmp_path / 'k.npz', 'found a, b')


def test_matlab_73_says_how_to_save(tmp_path):
  path = tmp_path / 'k.mat'
  path.write_bytes(b'MATLAB 7.3 MAT-file, Platform: GLNXA64'.ljust(512))
  assert_kernel_refused(path, 'save it with -v7')


def test_pickled_kernel_is_not_unpickled(tmp_path):
  np.save(tmp_path / 'k.npy', np.array([KERNEL, None], object))
  assert_kernel_refused(tmp_path / 'k.npy', 'numpy.save')


@pytest.mark.parametrize('suffix', ['mat', 'npy', 'npz', 'png', 'txt'])
def test_text_is_no_kernel(tmp_path, suffix):
  path = tmp_path / f'k.{suffix}'
  path.write_text('0.1 0.2 0.1')
  assert_kernel_refused(path, '')


@pytest.mark.parametrize('suffix', ['mat', 'npy', 'npz'])
@pytest.mark.parametrize('share', [0.1, 0.5, 0.9])
def test_truncated_kernels_are_refused(tmp_path, suffix, share):
  path = write_kernel(tmp_path / f'k.{suffix}', np.tile(KERNEL, (4, 4)))
  content = path.read_bytes()
  path.write_bytes(content[: int(len(content) * share)])
  assert_kernel_refused(path, '')


def test_missing_kernel_is_refused(tmp_path):
  assert_kernel_refused(tmp_path / 'none.mat', 'no such file')


def test_coloured_kernel_image_is_refused(tmp_path):
  path = save(Image.fromarray(PIXELS), tmp_path / 'k.png')
  assert_kernel_refused(path, 'greyscale')
