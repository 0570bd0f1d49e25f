"""The draw of fathers and crops: its odds, and what it must never return."""

import contextlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from zssr_jax.config import Config
from zssr_jax.ops import resize
from zssr_jax.training import pool

SIDE = 16


def address_book(*shapes):
  """Fathers whose pixels say who and where they are.

  Channels: number of the father, row, column, each from 1 in steps that keep
  the image in [0, 1]. Padding would read 0.
  """
  fathers = []
  for number, (rows, columns) in enumerate(shapes):
    y, x = np.mgrid[:rows, :columns]
    pixels = np.stack([np.full_like(y, number), y, x], axis=-1) + 1
    fathers.append((pixels / 256).astype(np.float32))
  return fathers


def addresses(crop):
  """Inverts `address_book`: integers from 0; padding reads -1."""
  return np.rint(np.asarray(crop) * 256).astype(int) - 1


def draw_many(fathers, count, *, seed=0, **options):
  """`count` crops `[count, side, side, C]`."""
  options = {'side': SIDE, **options}

  @jax.jit
  def draw(keys, fathers):
    return jax.lax.map(
      lambda key: pool.draw_crop(key, fathers, **options), keys
    )

  keys = jax.random.split(jax.random.key(seed), count)
  return np.asarray(draw(keys, fathers))


def symmetries(crop):
  """The eight pictures of a crop, in NumPy's terms."""
  mirrored = np.flip(crop, 1)
  return [np.rot90(crop, k) for k in range(4)] + [
    np.rot90(mirrored, k) for k in range(4)
  ]


def locate(crop):
  """Father, corner and symmetry of a crop of an address book.

  Fails unless the crop is a window of one father, turned or mirrored.
  """
  seen = addresses(crop)
  number, top, left = seen.reshape(-1, 3).min(axis=0)
  y, x = np.mgrid[: seen.shape[0], : seen.shape[1]]
  window = np.stack([np.full_like(y, number), top + y, left + x], axis=-1)
  found = [
    k for k, s in enumerate(symmetries(window)) if np.array_equal(s, seen)
  ]
  assert len(found) == 1, 'the crop is no window of a father'
  return number, top, left, found[0]


def is_plausible(counts, expected):
  """Pearson's chi-square test at one in a thousand."""
  return stats.chisquare(counts, expected).pvalue > 1e-3


@pytest.fixture(scope='module')
def book():
  fathers = address_book((64, 90), (50, 70), (33, 47), (16, 23))
  return fathers, pool.make_pool(fathers, (64, 90))


@pytest.fixture(scope='module')
def crops(book):
  return draw_many(book[1], 4000)


@pytest.fixture(scope='module')
def located(crops):
  return np.array([locate(crop) for crop in crops])


@pytest.mark.parametrize('exponent', [1.0, 0.0, 2.5])
def test_a_father_is_drawn_in_proportion_to_its_size(exponent):
  shapes = [(64, 90), (50, 70), (33, 47), (16, 23)]
  fathers = pool.make_pool(address_book(*shapes), (64, 90), exponent)
  keys = jax.random.split(jax.random.key(0), 40000)
  drawn = jax.jit(jax.vmap(pool.draw_father, (0, None)))(keys, fathers)
  assert drawn.dtype == jnp.int32
  counts = np.bincount(np.asarray(drawn), minlength=4)
  ratio = np.array([math.sqrt(h * w / (64 * 90)) for h, w in shapes])
  odds = ratio**exponent / np.sum(ratio**exponent)
  assert len(counts) == 4, 'an empty slot was drawn'
  assert is_plausible(counts, 40000 * odds)
  other = ratio ** (exponent + 0.3)
  assert not is_plausible(counts, 40000 * other / other.sum())


def test_crops_come_from_fathers_by_the_same_odds(located, book):
  ratio = np.sqrt([f.shape[0] * f.shape[1] for f in book[0]])
  counts = np.bincount(located[:, 0], minlength=4)
  assert is_plausible(counts, len(located) * ratio / ratio.sum())


def test_a_crop_never_holds_padding(crops, located, book):
  assert np.all(addresses(crops) >= 0)
  for number, top, left, _ in located:
    rows, columns = book[0][number].shape[:2]
    assert top + SIDE <= rows and left + SIDE <= columns


def test_every_place_of_a_father_is_equally_likely(located, book):
  for number in range(4):
    mine = located[located[:, 0] == number]
    for axis in (0, 1):
      places = book[0][number].shape[axis] - SIDE + 1
      counts = np.bincount(mine[:, 1 + axis], minlength=places)
      assert len(counts) == places
      # At least five expected a bin, as the test needs: bins are merged.
      merge = math.ceil(5 * places / len(mine))
      edges = np.arange(0, places, merge)
      merged = np.add.reduceat(counts, edges)
      widths = np.diff(np.append(edges, places))
      if len(merged) > 1:
        assert is_plausible(merged, len(mine) * widths / places)


def test_the_first_and_last_places_occur(located):
  smallest = located[located[:, 0] == 3]
  assert set(smallest[:, 1]) == {0}
  assert set(smallest[:, 2]) == set(range(23 - SIDE + 1))


def test_the_eight_symmetries_are_equally_likely(located):
  counts = np.bincount(located[:, 3], minlength=8)
  assert len(counts) == 8 and is_plausible(counts, [len(located) / 8] * 8)


def test_without_symmetries_the_crop_stays_upright(book):
  upright = draw_many(book[1], 200, dihedrals=False)
  assert {locate(crop)[3] for crop in upright} == {0}


@pytest.mark.parametrize('affine', [0.0, 0.5])
def test_a_draw_does_not_depend_on_the_padding(book, affine, monkeypatch):
  monkeypatch.setattr(pool, 'BUCKET', 200)
  monkeypatch.setattr(pool, '_SLOTS', 32)
  roomy = pool.make_pool(book[0], (64, 90))
  assert roomy.images.shape == (32, 200, 200, 3)
  assert roomy.images.shape != book[1].images.shape
  np.testing.assert_array_equal(
    draw_many(roomy, 300, affine=affine),
    draw_many(book[1], 300, affine=affine),
  )


def test_the_same_key_draws_the_same_crop_and_another_does_not(book, crops):
  np.testing.assert_array_equal(draw_many(book[1], 4000), crops)
  other = draw_many(book[1], 4000, seed=1)
  assert np.mean(np.all(other == crops, axis=(1, 2, 3))) < 0.01


def test_a_father_may_be_as_small_as_the_crop():
  fathers = pool.make_pool(address_book((16, 16)), (16, 16))
  for crop in draw_many(fathers, 20):
    assert locate(crop)[:3] == (0, 0, 0)


def geometric_book(rows=100, columns=120):
  """Fathers by `make_fathers`' sizes that say where they are."""
  config = Config()
  image = np.zeros((rows, columns, 1), np.float32)
  shapes = [f.shape[:2] for f in pool.make_fathers(image, SIDE, config)]
  return address_book(*shapes), pool.make_pool(
    address_book(*shapes), (rows, columns)
  )


def test_a_warp_never_shows_padding():
  """On white fathers any trace of the black padding would be darker."""
  shapes = [(100, 120), (80, 96), (64, 77), (50, 60)]
  white = [np.ones((*shape, 1), np.float32) for shape in shapes]
  fathers = pool.make_pool(white, (100, 120))
  warped = draw_many(
    fathers, 1000, affine=1.0, affine_aspect_std=0.5, affine_shear_std=0.3
  )
  np.testing.assert_allclose(warped, 1, atol=1e-5)


def test_a_warp_is_affine_within_a_father_and_needs_no_low_pass():
  book, fathers = geometric_book()
  warped = draw_many(fathers, 400, affine=1.0) * 256 - 1
  offset = np.arange(SIDE) - (SIDE - 1) / 2
  design = np.stack(
    [
      np.ones(SIDE**2),
      np.repeat(offset, SIDE),
      np.tile(offset, SIDE),
    ],
    axis=1,
  )
  steps, turns = [], []
  for crop in warped:
    values = crop.reshape(-1, 3)
    line, *_ = np.linalg.lstsq(design, values, rcond=None)
    np.testing.assert_allclose(design @ line, values, atol=0.01)
    number = np.rint(line[0, 0])
    np.testing.assert_allclose(values[:, 0], number, atol=0.01)
    rows, columns = book[int(number)].shape[:2]
    assert values[:, 1:].min() > -0.01
    assert values[:, 1].max() < rows - 0.99
    assert values[:, 2].max() < columns - 0.99
    steps.append(np.linalg.svd(line[1:, 1:], compute_uv=False))
    turns.append(np.linalg.det(line[1:, 1:]))
  # A step of more than a pixel would alias.
  assert np.max(steps) <= 1.07
  # ... and one of much less would only show a magnified father.
  assert np.median(np.max(steps, axis=1)) > 0.85
  # Both mirrored and not; hardly any is a plain crop.
  assert 0.4 < np.mean(np.array(turns) > 0) < 0.6
  plain = np.all(np.abs(np.array(steps) - 1) < 1e-3, axis=1)
  assert np.mean(plain) < 0.3


def test_the_affine_share_is_that_of_the_config(book):
  _, fathers = geometric_book()
  count = 2000
  crops = draw_many(fathers, count, affine=0.25)

  def is_window(crop):
    try:
      locate(crop)
    except AssertionError:
      return False
    return np.abs(crop * 256 - np.rint(crop * 256)).max() < 1e-3

  share = 1 - np.mean([is_window(crop) for crop in crops])
  # Warps that would not fit are plain crops instead.
  assert 0.12 < share < 0.25 + 4 * math.sqrt(0.25 * 0.75 / count)


def test_a_warp_that_cannot_fit_is_a_plain_crop():
  fathers = pool.make_pool(address_book((17, 17)), (17, 17))
  for crop in draw_many(fathers, 100, affine=1.0, affine_min_scale=0.5):
    locate(crop)


def test_fathers_shrink_geometrically_down_to_the_crop():
  image = np.random.default_rng(0).random((60, 80, 3)).astype(np.float32)
  config = Config(father_step=0.8, min_father_scale=0.5)
  fathers = pool.make_fathers(image, 16, config)
  np.testing.assert_array_equal(fathers[0], image)
  assert [f.shape[:2] for f in fathers] == [
    (math.ceil(60 * s), math.ceil(80 * s)) for s in (1, 0.8, 0.64, 0.512)
  ]
  for father, scale in zip(fathers, (1, 0.8, 0.64, 0.512), strict=True):
    expected = np.clip(resize.imresize(image, scale), 0, 1)
    np.testing.assert_allclose(father, expected, atol=1e-6)
    assert father.dtype == np.float32
  shapes = [f.shape for f in pool.make_fathers(image, 45, config)]
  assert shapes == [(60, 80, 3), (48, 64, 3)]


@pytest.mark.parametrize('scale', [2, 3, 4, 1.5, (2, 3), (1.5, 1)])
@pytest.mark.parametrize('shape', [(500, 400), (60, 90), (33, 35), (228, 344)])
def test_a_crop_divides_into_whole_sons(shape, scale):
  config = Config()
  side = pool.crop_side(shape, resize.scale_pair(scale), config)
  assert side <= config.crop
  assert side <= max(config.crop_fraction * min(shape), 8)
  for s in resize.scale_pair(scale):
    assert abs(side / s - round(side / s)) < 1e-9
  # Nothing much larger would do as well.
  assert side > 0.8 * min(config.crop, config.crop_fraction * min(shape)) - 6


def crop_sides(scale, config, shorter=range(16, 400)):
  """The crop's side by the shorter side of images that can be trained on."""
  scale = resize.scale_pair(scale)
  sides = {}
  for n in shorter:
    with contextlib.suppress(ValueError):
      sides[n] = pool.crop_side((n, 400), scale, config)
  return sides


@pytest.mark.parametrize('scale', [2, 3, 4, 1.5, 1.3, (2, 3), (1.5, 1), 7, 16])
@pytest.mark.parametrize('crop', [8, 96, 128, 100, 300])
def test_crops_have_few_sides_and_grow_with_the_image(scale, crop):
  config = Config(crop=crop)
  sides = crop_sides(scale, config)
  limits = {n: min(crop, max(math.floor(0.75 * n), 8)) for n in sides}
  assert all(side <= limits[n] for n, side in sides.items())
  found = list(sides.values())
  assert found == sorted(found)
  # Those of the full crop are as they were, and some of the smallest images.
  full = [side for n, side in sides.items() if limits[n] == crop]
  assert len(set(full)) <= 1
  least = 4 * max(resize.scale_pair(scale)) + 16
  others = {s for n, s in sides.items() if least <= limits[n] < crop}
  assert len(others) <= 4 * math.log2(300 / 8)
  for n, side in sides.items():
    assert side > 0.8 * limits[n] - 16


@pytest.mark.parametrize('scale', [2, 3, 4, (2, 3), 16])
def test_no_image_is_too_small_for_having_its_crop_rounded(scale):
  least = max(8, 4 * max(resize.scale_pair(scale)))
  # The shorter side from which 3/4 of it, or 8, holds a crop.
  first = min(crop_sides(scale, Config()))
  assert first <= math.ceil((least + 5) / 0.75)


def test_images_below_a_size_have_pools_of_one_shape():
  pools = [
    pool.make_pool(address_book((rows, columns)), (rows, columns))
    for rows, columns in [(64, 64), (131, 97), (90, 140), (250, 200)]
  ]
  assert len({p.images.shape for p in pools}) == 1


@pytest.mark.parametrize(
  'shape, scale', [((1, 1), 2), ((7, 50), 2), ((15, 15), 4)]
)
def test_an_image_too_small_to_train_on_is_refused(shape, scale):
  with pytest.raises(ValueError, match='too small') as error:
    pool.crop_side(shape, resize.scale_pair(scale), Config())
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('scale', 'expected'),
  [((2, 2), 1), ((3, 3), 2), ((4, 4), 4), ((2, 4), 2), ((1, 1.5), 1)],
)
def test_as_many_crops_as_fill_a_son_of_scale_2(scale, expected):
  assert pool.crops_of(scale, Config(batch=0)) == expected
  assert pool.crops_of(scale, Config(batch=5)) == 5
