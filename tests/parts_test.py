"""Parts of large images, against a search of every place."""

import numpy as np
import pytest

from zssr_jax import parts
from zssr_jax.config import Config
from zssr_jax.training import pool


def patchwork(shape, *busy):
  """A flat image with noise in some rectangles (rows, columns)."""
  image = np.full((*shape, 3), 0.5, np.float32)
  rng = np.random.default_rng(0)
  for number, (rows, columns) in enumerate(busy):
    image[rows, columns] += rng.uniform(
      -0.4, 0.4, image[rows, columns].shape
    ).astype(np.float32) / (number + 1)
  return image.clip(0, 1)


def test_the_part_with_most_structure_is_found():
  busy = slice(160, 224), slice(320, 384)
  image = patchwork((400, 600), busy)
  ((rows, columns),) = parts.busiest(image, (64, 64))
  # Cells of 16 pixels: it holds all but what may stick out of the grid.
  assert (rows, columns) == busy
  whole = np.abs(np.diff(image.mean(2), axis=1)).sum()
  there = np.abs(np.diff(image[rows, columns].mean(2), axis=1)).sum()
  assert there > 0.9 * whole


def test_several_parts_come_by_structure_and_do_not_overlap():
  places = [
    (slice(0, 64), slice(0, 64)),
    (slice(128, 192), slice(256, 320)),
    (slice(256, 320), slice(64, 128)),
  ]
  found = parts.busiest(patchwork((400, 400), *places), (64, 64), 3)
  assert found == places
  many = parts.busiest(patchwork((400, 400), *places), (64, 64), 1000)
  seen = np.zeros((400, 400), int)
  for part in many:
    seen[part] += 1
  assert seen.max() == 1 and len(many) > 20


@pytest.mark.parametrize(
  'shape', [(1, 1), (5, 700), (700, 5), (63, 63), (300, 301)]
)
@pytest.mark.parametrize('side', [1, 16, 64, 500])
def test_any_image_has_a_part_inside_it(shape, side):
  image = patchwork(shape, (slice(None), slice(None)))
  for rows, columns in parts.busiest(image, (side, side), 4):
    assert 0 <= rows.start < rows.stop <= shape[0]
    assert 0 <= columns.start < columns.stop <= shape[1]
    assert rows.stop - rows.start == min(side, shape[0])
    assert rows.start % 16 == columns.start % 16 == 0


@pytest.mark.parametrize('shape', [(2000, 1500), (40, 60_000), (60_000, 40)])
def test_a_window_has_no_more_pixels_than_asked_for(shape):
  image = patchwork(shape)
  window = parts.window(image, 1_000_000)
  assert 700_000 < window.shape[0] * window.shape[1] <= 1_000_000
  assert parts.window(window, 1_000_000) is window


def test_a_pool_costs_the_same_for_any_large_image():
  config = Config(pool=1.0, crop=96)
  counts = []
  for shape in ((900, 1200), (2000, 3000)):
    image = patchwork(shape, (slice(300, 700), slice(100, 900)))
    chosen = pool.choose_parts(image, config)
    fathers = [
      father
      for part in chosen
      for father in pool.make_fathers(image[part], 96, config)
    ]
    pixels = sum(father.shape[0] * father.shape[1] for father in fathers)
    assert 0.6e6 < pixels <= 1.02e6
    counts.append(len(fathers))
  assert counts[0] == counts[1]


def test_a_small_image_is_its_own_only_part():
  image = patchwork((500, 800))
  chosen = pool.choose_parts(image, Config())
  assert chosen == ((slice(0, 500), slice(0, 800)),)


def test_parts_hold_a_crop_at_every_scale():
  config = Config(pool=0.1, crop=300)
  image = patchwork((1500, 1500))
  ((rows, columns),) = pool.choose_parts(image, config)
  assert rows.stop - rows.start == columns.stop - columns.start == 600
