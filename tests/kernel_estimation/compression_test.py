"""Compression found in pixels, with Pillow as the compressor."""

import io
import pathlib

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from zssr_jax.data import image_io
from zssr_jax.kernel_estimation import compression, compression_error
from zssr_jax.ops import jpeg, resize

EXAMPLE = pathlib.Path(__file__).parents[2] / 'examples' / 'astronaut_hr.png'
SUBSAMPLING = {(1, 1): '4:4:4', (1, 2): '4:2:2', (2, 2): '4:2:0'}


def _picture(rows, columns, channels=3):
  """Edges, texture and colour, never clipped: 8 bits, `[H, W, C]`."""
  rng = np.random.default_rng(rows)
  noise = rng.normal(size=(rows, columns, 3))
  clouds = [ndimage.gaussian_filter(noise, (s, s, 0)) for s in (1, 4, 12)]
  smooth = sum(18 * c / c.std() for c in clouds)
  y, x = np.mgrid[:rows, :columns]
  edges = 25 * np.sign(np.sin(x / 11 + 2 * np.sin(y / 17)))
  levels = np.clip(np.round(125 + smooth + edges[..., None]), 8, 247)
  return levels[..., :channels].astype(np.uint8)


def _compressed(pixels, crop=(0, 0), **options):
  """Through Pillow, then cropped: `[H, W, C]` in [0, 1]."""
  stream = io.BytesIO()
  plain = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
  Image.fromarray(plain).save(stream, 'JPEG', **options)
  decoded = np.asarray(Image.open(stream)).reshape(pixels.shape)
  return _unit(decoded[crop[0] :, crop[1] :])


def _unit(pixels):
  return pixels.astype(np.float32) / np.float32(255)


@pytest.mark.parametrize('quality', [30, 60, 85, 95])
@pytest.mark.parametrize(
  'sampling, crop',
  [((2, 2), (0, 0)), ((2, 2), (13, 6)), ((1, 2), (3, 9)), ((1, 1), (5, 0))],
)
def test_quality_grid_and_sampling_are_found(quality, sampling, crop):
  image = _compressed(
    _picture(150, 170),
    crop,
    quality=quality,
    subsampling=SUBSAMPLING[sampling],
  )
  found = compression.find(image)
  assert found.quality == quality
  assert found.offset == (-crop[0] % 8, -crop[1] % 8)
  assert found.jpeg.sampling == sampling
  np.testing.assert_array_equal(
    found.jpeg.tables, jpeg.of_quality(quality).tables
  )


@pytest.mark.parametrize('quality', [40, 75, 92])
def test_a_grey_image_and_a_small_one(quality):
  grey = _compressed(_picture(90, 75, 1), (2, 7), quality=quality)
  small = _compressed(_picture(40, 41), (1, 4), quality=quality)
  for image, offset in ((grey, (6, 1)), (small, (7, 4))):
    found = compression.find(image)
    assert found.quality == quality
    assert found.offset == offset


def test_chroma_may_have_a_quality_of_its_own():
  tables = [
    jpeg.of_quality(80).tables[0].ravel().astype(int).tolist(),
    jpeg.of_quality(95).tables[1].ravel().astype(int).tolist(),
  ]
  image = _compressed(_picture(160, 160), qtables=tables, subsampling='4:2:0')
  found = compression.find(image)
  assert found.quality == 80
  np.testing.assert_array_equal(
    found.jpeg.tables[1], jpeg.of_quality(95).tables[1]
  )


def test_tables_of_another_kind_are_found_step_by_step():
  y, x = np.mgrid[:8, :8]
  table = np.round(5 + 1.7 * (y + x) + 0.5 * y).astype(int)
  image = _compressed(
    _picture(200, 220), (0, 3), qtables=[table.ravel().tolist()] * 2
  )
  found = compression.find(image)
  assert found.quality is None
  assert found.offset == (0, 5)
  low = (y + x > 0) & (y + x < 6)  # the others hold hardly a coefficient
  np.testing.assert_array_equal(found.jpeg.tables[0][low], table[low])
  ratio = found.jpeg.tables / table
  assert ratio.min() > 0.2 and ratio.max() < 5


def _screenshot(rows, columns):
  image = Image.new('RGB', (columns, rows), (240, 240, 235))
  draw = ImageDraw.Draw(image)
  for top in range(0, rows, 16):
    draw.rectangle((4, top, columns // 2, top + 9), (90, 120, 200), (9, 9, 9))
    draw.text((6, top), 'The quick brown fox 0123', (20, 20, 20))
  return np.asarray(image)


def _uncompressed():
  """Names and pictures that no JPEG made."""
  rng = np.random.default_rng(3)
  y, x = np.mgrid[:70, :81]
  three = np.ones(3)
  yield 'flat', np.full((64, 64, 3), 77)
  yield 'ramp', (20 + x + 1.3 * y)[..., None] * three
  yield 'steps', (8 * (x // 8) + 40)[..., None] * three
  yield 'checker', (100 * ((x // 8 + y // 8) % 2) + 50)[..., None] * three
  yield 'sine', (128 + 90 * np.cos(x * 0.7 + y * 0.3))[..., None] * three
  yield 'faint noise', 128 + rng.normal(size=(64, 96, 3))
  yield 'noise', 128 + 30 * rng.normal(size=(64, 96, 3))
  yield 'screenshot', _screenshot(128, 160)
  for size in (2, 4, 8):
    coarse = rng.integers(5, 250, (96 // size, 96 // size, 3))
    yield f'squares of {size}', np.kron(coarse, np.ones((size, size, 1)))
  yield 'picture', _picture(150, 170)
  yield 'small', _picture(32, 33)
  yield 'one pixel', np.full((1, 1, 3), 9)
  yield 'narrow', _picture(7, 200)


@pytest.mark.parametrize(
  'pixels', [pytest.param(p, id=name) for name, p in _uncompressed()]
)
def test_what_was_never_compressed_is_not_found(pixels):
  image = _unit(np.clip(np.round(pixels), 0, 255))
  assert compression.find(image) is None
  assert compression.find(image[..., :1]) is None


def test_a_jpeg_made_smaller_is_none_any_more(data_root):
  """The photos are JPEG files themselves."""
  for path in sorted((data_root / 'BSDS300_train').glob('*.jpg'))[:3]:
    photo = image_io.read_image(path)
    table = image_io.read_jpeg(path).tables[0]
    np.testing.assert_array_equal(compression.find(photo).jpeg.tables[0], table)
    half = np.round(255 * np.clip(resize.imresize(photo, 0.5), 0, 1))
    assert compression.find(_unit(half)) is None


def test_a_large_image_is_sampled():
  """Grids and quality are found where the evidence is in few places."""
  pixels = np.full((1203, 1501, 3), 128, np.uint8)
  pixels[700:860, 900:1070] = _picture(160, 170)
  found = compression.find(_compressed(pixels, (3, 1), quality=70))
  assert found.quality == 70
  assert found.offset == (5, 7)


def test_what_is_no_image_is_refused():
  with pytest.raises(ValueError, match='H, W, C'):
    compression.find(np.zeros((8, 8), np.float32))


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('quality', [40, 70, 90])
def test_the_error_is_estimated(quality, channels):
  photo = image_io.read_image(EXAMPLE)[..., :channels]
  pixels = np.round(255 * photo).astype(np.uint8)
  image = _compressed(pixels, (3, 6), quality=quality)
  truth = np.mean((image - photo[3:, 6:]) ** 2)
  some, offset = jpeg.of_quality(quality), (5, 2)
  estimate = compression_error.error_std(image, some, offset)
  assert 0.8 < estimate / np.sqrt(truth) < 1.25
  if channels == 1:
    loss = compression_error.luma_loss(image, some, offset)
    assert 0.65 < loss.variance.mean() / truth < 1.5


def test_emptied_frequencies_are_told():
  image = _compressed(_picture(150, 170, 1), quality=20)
  loss = compression_error.luma_loss(image, jpeg.of_quality(20))
  assert loss.kept[0, 0] > 0.3 and loss.kept[7, 7] < 0.01
  # What was emptied lost less than a uniform error would be.
  step = jpeg.of_quality(20).tables[0][7, 7] / 255
  assert loss.variance[7, 7] < step**2 / 12
