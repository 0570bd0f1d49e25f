"""JPEG compression against Pillow, which is libjpeg."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from zssr_jax.ops import jpeg

_compress = jax.jit(jpeg.compress)


def _picture(rows, columns, channels):
  """Smooth colours, an edge, a texture: `[H, W, C]` in multiples of 1/255."""
  y, x = np.mgrid[:rows, :columns]
  rng = np.random.default_rng(0)
  planes = []
  for phase in range(channels):
    wave = 0.5 + 0.3 * np.sin(x / 9 + phase) * np.cos(y / 7 - phase)
    edge = 0.2 * (x + 2 * y > 50 + 9 * phase)
    planes.append(wave + edge + 0.03 * rng.normal(size=x.shape))
  image = np.clip(np.stack(planes, -1), 0, 1)
  return (np.round(image * 255) / 255).astype(np.float32)


def _pillow(image, quality, subsampling):
  """Encodes and decodes: the image, and the file as Pillow opened it."""
  pixels = np.round(image * 255).astype(np.uint8)
  stream = io.BytesIO()
  Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(
    stream, 'JPEG', quality=quality, subsampling=subsampling
  )
  opened = Image.open(stream)
  decoded = np.asarray(opened, np.float32) / 255
  return decoded.reshape(image.shape), opened


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('quality', [30, 60, 85, 95])
@pytest.mark.parametrize(
  'sampling, name', [((1, 1), '4:4:4'), ((1, 2), '4:2:2'), ((2, 2), '4:2:0')]
)
def test_agrees_with_pillow(quality, sampling, name, channels):
  image = _picture(61, 83, channels)
  ours = _compress(jnp.asarray(image), jpeg.of_quality(quality, sampling))
  theirs, _ = _pillow(image, quality, name)
  difference = 255 * np.abs(ours - theirs)
  # libjpeg's DCT has few bits: now and then it rounds to another multiple.
  assert difference.mean() < 0.4
  assert np.quantile(difference, 0.9) < 1.5
  # The compression itself is far larger.
  assert np.abs(255 * (image - theirs)).mean() > 4 * difference.mean()


@pytest.mark.parametrize('quality', [1, 23, 50, 77, 100])
def test_tables_of_a_quality_are_pillows(quality):
  _, opened = _pillow(_picture(16, 16, 3), quality, '4:2:0')
  tables = [np.reshape(opened.quantization[i], (8, 8)) for i in (0, 1)]
  np.testing.assert_array_equal(jpeg.of_quality(quality).tables, tables)


@pytest.mark.parametrize('quality', [0, 101, float('nan')])
def test_a_quality_out_of_range_is_refused(quality):
  with pytest.raises(ValueError, match='1 to 100'):
    jpeg.of_quality(quality)


def test_runs_inside_a_map_with_traced_tables():
  images = jnp.stack([_picture(24, 32, 3), _picture(24, 32, 3)[::-1]])
  mild = jpeg.of_quality(80)
  mapped = jax.jit(
    lambda images, jpg: jax.lax.map(lambda x: _compress(x, jpg), images)
  )(images, mild)
  for image, result in zip(images, mapped, strict=True):
    again = _compress(image, mild)
    assert np.mean(np.abs(result - again)) < 1e-3
  levels = 255 * np.asarray(mapped)
  np.testing.assert_allclose(levels, np.round(levels), atol=1e-3)
  assert levels.min() >= 0 and levels.max() <= 255.01


def test_other_channels_are_each_a_luma():
  image = _picture(20, 21, 5)
  some = jpeg.of_quality(50)
  together = _compress(jnp.asarray(image), some)
  for channel in range(5):
    alone = _compress(jnp.asarray(image[..., channel, None]), some)
    np.testing.assert_allclose(
      together[..., channel, None], alone, atol=1.5 / 255
    )


@pytest.mark.parametrize('sampling', [(1, 1), (2, 1), (1, 2), (2, 2), (1, 4)])
def test_the_transposed_image_has_the_transposed_tables(sampling):
  image = _picture(33, 48, 3)
  some = jpeg.of_quality(40, sampling)
  some = jpeg.Jpeg(some.tables + np.arange(8, dtype=np.float32), sampling)
  result = _compress(jnp.asarray(image), some)
  turned = _compress(
    jnp.asarray(image.swapaxes(0, 1)), some.transposed()
  ).swapaxes(0, 1)
  assert 255 * np.abs(result - turned).mean() < 0.6  # halves go another way
  wrong = _compress(jnp.asarray(image.swapaxes(0, 1)), some).swapaxes(0, 1)
  assert np.abs(result - wrong).mean() > 3 * np.abs(result - turned).mean()


@pytest.mark.parametrize('shape', [(1, 1, 3), (1, 9, 1), (17, 2, 3)])
def test_a_flat_image_stays_as_it_is(shape):
  image = np.full(shape, np.float32(128 / 255))
  result = _compress(jnp.asarray(image), jpeg.of_quality(20))
  np.testing.assert_allclose(result, image, atol=1e-6)
