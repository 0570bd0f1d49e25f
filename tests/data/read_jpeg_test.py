"""Quantisation tables and chroma sampling out of files."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from zssr_jax.data import image_io
from zssr_jax.errors import InputError
from zssr_jax.ops import jpeg

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
# Different at every frequency, so that no order but the right one fits.
TABLES = [np.arange(64) + 1, np.arange(64) + 101]


def _save(path, pixels=PIXELS, **options):
  Image.fromarray(pixels).save(path, **options)
  return path


@pytest.mark.parametrize(
  'name, sampling', [('4:4:4', (1, 1)), ('4:2:2', (1, 2)), ('4:2:0', (2, 2))]
)
def test_tables_and_sampling_of_a_file(tmp_path, name, sampling):
  path = _save(
    tmp_path / 'a.jpg', qtables=[t.tolist() for t in TABLES], subsampling=name
  )
  found = image_io.read_jpeg(path)
  assert found.sampling == sampling
  assert found.tables.dtype == np.float32
  np.testing.assert_array_equal(found.tables, np.reshape(TABLES, (2, 8, 8)))


def test_the_file_bears_out_the_order_of_the_tables(tmp_path):
  """A wave along x is lost when its horizontal frequency has a large step."""
  wave = 128 + 20 * np.cos(np.pi * 7 * (2 * np.arange(40) + 1) / 16)
  pixels = np.broadcast_to(np.round(wave), (24, 40)).astype(np.uint8)
  table = np.ones((8, 8), int)
  table[0, 7] = 255
  path = _save(tmp_path / 'a.jpg', pixels, qtables=[table.ravel().tolist()])
  assert np.ptp(image_io.read_image(path)) < 0.03
  np.testing.assert_array_equal(image_io.read_jpeg(path).tables[0], table)


def test_grey_has_its_one_table_twice(tmp_path):
  path = _save(tmp_path / 'a.jpg', PIXELS[..., 0], quality=40)
  found = image_io.read_jpeg(path)
  expected = jpeg.of_quality(40).tables[0]
  np.testing.assert_array_equal(found.tables, [expected, expected])
  assert found.sampling == (1, 1)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_a_turned_photo_has_turned_tables(tmp_path, orientation):
  exif = Image.Exif()
  exif[ExifTags.Base.Orientation] = orientation
  path = _save(
    tmp_path / 'a.jpg',
    qtables=[t.tolist() for t in TABLES],
    subsampling='4:2:2',
    exif=exif,
  )
  found = image_io.read_jpeg(path)
  tables = np.reshape(TABLES, (2, 8, 8))
  if image_io.read_image(path).shape[0] == 40:
    tables = tables.swapaxes(1, 2)
    assert found.sampling == (2, 1)
  else:
    assert found.sampling == (1, 2)
  np.testing.assert_array_equal(found.tables, tables)


def test_a_phones_file_is_a_jpeg(tmp_path):
  image = Image.fromarray(PIXELS)
  path = tmp_path / 'a.mpo'
  image.save(path, save_all=True, append_images=[image], quality=70)
  with Image.open(path) as opened:
    assert opened.format == 'MPO'
  np.testing.assert_array_equal(
    image_io.read_jpeg(path).tables, jpeg.of_quality(70).tables
  )


@pytest.mark.parametrize('name', ['a.png', 'a.tif', 'a.bmp', 'a.webp'])
def test_other_formats_were_not_compressed_like_that(tmp_path, name):
  assert image_io.read_jpeg(_save(tmp_path / name)) is None


def test_inks_have_no_tables_of_luma_and_chroma(tmp_path):
  path = tmp_path / 'a.jpg'
  Image.fromarray(PIXELS).convert('CMYK').save(path)
  assert image_io.read_jpeg(path) is None


def test_a_missing_file_is_said_so(tmp_path):
  with pytest.raises(InputError, match='missing.jpg'):
    image_io.read_jpeg(tmp_path / 'missing.jpg')
