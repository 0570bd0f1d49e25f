"""The shape of an image, from the head of its file."""

import numpy as np
import pytest
from PIL import Image

from zssr_jax.data import photo
from zssr_jax.errors import InputError


@pytest.mark.parametrize('suffix', ['png', 'jpg', 'tif', 'webp'])
@pytest.mark.parametrize('orientation', [None, 1, 3, 6, 8])
def test_orientation_counts(tmp_path, suffix, orientation):
  picture = Image.new('RGB', (12, 20))
  exif = Image.Exif()
  if orientation:
    exif[0x0112] = orientation
  path = tmp_path / f'a.{suffix}'
  picture.save(path, exif=exif)
  shape = photo.read_shape(path)
  assert shape == photo.read_photo(path).colour.shape
  assert shape == ((12, 20, 3) if orientation in (6, 8) else (20, 12, 3))


@pytest.mark.parametrize('mode', ['L', 'RGB', 'P'])
def test_channels_are_those_that_are_read(tmp_path, mode):
  path = tmp_path / 'a.png'
  Image.new('RGB', (12, 20), 'red').convert(mode).save(path)
  assert photo.read_shape(path) == photo.read_photo(path).colour.shape


def test_an_image_cut_short_has_a_shape_and_a_bad_one_has_none(tmp_path):
  path = tmp_path / 'a.jpg'
  noise = np.random.default_rng(0).integers(0, 255, (64, 48, 3), 'u1')
  Image.fromarray(noise).save(path)
  path.write_bytes(path.read_bytes()[:-700])
  assert photo.read_shape(path) == (64, 48, 3)
  with pytest.raises(InputError, match=r'a\.jpg: damaged'):
    photo.read_photo(path)
  with pytest.raises(InputError, match='none.png: .*no such file'):
    photo.read_shape(tmp_path / 'none.png')
