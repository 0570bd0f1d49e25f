"""Test images of defocus, motion, noise and JPEG against scipy and Pillow."""

import collections
import math

import numpy as np
import pytest
import scipy.io
import scipy.ndimage
import scipy.signal
import scipy.stats
from PIL import Image

from zssr_jax import blur_kernels
from zssr_jax.data import kernel_io
from zssr_jax.evaluation import cases, protocols
from zssr_jax.ops import dihedral

NONE = np.full((48, 48, 1), 128, np.uint8)


def natural(height, width, channels=3, seed=0):
  """Blocks of colour with soft and hard edges, some of them clipped."""
  rng = np.random.default_rng(seed)
  coarse = rng.integers(0, 256, (height // 8, width // 8, channels))
  image = np.repeat(np.repeat(coarse, 8, 0), 8, 1).astype(float)
  image[height // 2 :] = scipy.ndimage.gaussian_filter(
    image[height // 2 :], (2, 2, 0)
  )
  return image.round().astype(np.uint8)


def make(name, hr, scale=2, image_name='some image', seed=0, data=None):
  return protocols.degrade(
    name, hr, scale, image_name=image_name, seed=seed, data=data
  )


def blurred(hr, kernel, scale):
  """Correlation and subsampling by scipy, in grey levels.

  Its 'reflect' is half-sample symmetric, and odd kernels have their middle
  where the convention has it.
  """
  planes = np.moveaxis(hr.astype(float), -1, 0)
  out = [
    scipy.ndimage.correlate(plane, kernel.astype(float), mode='reflect')
    for plane in planes
  ]
  return np.stack(out, -1)[::scale, ::scale]


def disc_kernel(radius, std, scale, fine=20):
  """A disc on a fine grid, blurred by scipy, summed over the pixels."""
  side = 2 * math.ceil(radius + 5 * std + scale) + 1
  center = (side // 2 + (scale - 1) / 2 + 0.5) * fine - 0.5
  y, x = np.mgrid[: side * fine, : side * fine] - center
  disc = (np.hypot(y, x) <= radius * fine).astype(float)
  disc = scipy.ndimage.gaussian_filter(disc, std * fine, mode='constant')
  out = disc.reshape(side, fine, side, fine).sum((1, 3))
  return out / out.sum()


def line_kernel(length, angle, std, scale, fine=20):
  """A chain of dots on a fine grid, likewise."""
  side = 2 * math.ceil(length / 2 + 5 * std + scale) + 1
  center = (side // 2 + (scale - 1) / 2 + 0.5) * fine - 0.5
  along = np.linspace(-length / 2, length / 2, 4001) * fine
  dots = np.zeros((side * fine, side * fine))
  y, x = center + along * math.sin(angle), center + along * math.cos(angle)
  np.add.at(dots, (np.rint(y).astype(int), np.rint(x).astype(int)), 1)
  dots = scipy.ndimage.gaussian_filter(dots, std * fine, mode='constant')
  out = dots.reshape(side, fine, side, fine).sum((1, 3))
  return out / out.sum()


def oracle_kernel(name, details, scale):
  if name == 'disc':
    return disc_kernel(details['radius'], details['gaussian_std'], scale)
  return line_kernel(
    details['length'], details['angle'], details['gaussian_std'], scale
  )


# Defocus and motion.


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('name', ['disc', 'line'])
def test_an_image_is_what_scipy_makes_of_the_drawn_numbers(name, scale):
  hr = natural(96, 120)
  for image_name in 'ab':
    made = make(name, hr, scale, image_name)
    kernel = oracle_kernel(name, made.details, scale)
    expected = blurred(hr, kernel, scale)
    assert made.lr.shape == expected.shape
    assert np.abs(made.lr - expected).max() < 2.5
    assert np.abs(made.lr - expected).mean() < 0.35  # 0.25 is the rounding


@pytest.mark.parametrize('name', ['disc', 'line'])
def test_between_whole_scales_an_image_is_blurred_as_much(name):
  """By frequency: what a wave loses is what the kernel's spectrum says."""
  y = np.arange(150)
  wave = 127.5 + 100 * np.cos(2 * np.pi * y / 15)
  hr = np.repeat(wave[:, None, None], 60, 1).round().astype(np.uint8)
  made = make(name, hr, 1.5)
  kernel = oracle_kernel(name, made.details, 1.5).sum(1)
  response = abs(kernel @ np.exp(2j * np.pi * np.arange(len(kernel)) / 15))
  inside = made.lr[20:80, 20, 0] - 127.5
  phase = np.exp(2j * np.pi * np.arange(20, 80) / 10)
  amplitude = 2 * abs(np.mean(inside * phase))
  assert amplitude == pytest.approx(100 * response, abs=2)


def test_draws_are_uniform_in_their_ranges_and_grow_with_the_scale():
  ranges = {
    'disc': {'radius': (1.5, 4), 'gaussian_std': (0.3, 0.7)},
    'line': {
      'length': (4, 14),
      'angle': (0, math.pi),
      'gaussian_std': (0.3, 0.7),
    },
  }
  for name, fields in ranges.items():
    drawn = [make(name, NONE, 2, str(i)).details for i in range(60)]
    assert drawn[0].keys() == fields.keys()
    for field, (low, high) in fields.items():
      values = [d[field] for d in drawn]
      test = scipy.stats.kstest(values, 'uniform', (low, high - low))
      assert test.pvalue > 0.01, (name, field)
    at_3 = make(name, NONE, 3, '0').details
    for field in fields:
      ratio = 1 if field == 'angle' else 1.5
      assert at_3[field] == pytest.approx(ratio * drawn[0][field])


# Camera shake.


@pytest.mark.slow
def test_shakes_are_the_files_turned_and_centred(data_root):
  files, symmetries = set(), set()
  for i in range(60):
    made = make('shake', NONE, 2, str(i), data=data_root)
    assert made.kernel.sum(dtype=float) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(
      blur_kernels.center_of_mass(made.kernel),
      blur_kernels.aligned_center(made.kernel.shape, 2),
      atol=1e-4,
    )
    files.add(made.details['file'])
    symmetries.add(made.details['symmetry'])
    # Shifted by less than a pixel, it has the moments of the file.
    path = f'{data_root}/{made.details["file"]}'
    kernel = kernel_io.read_kernel(path)
    turned = dihedral.dihedral(kernel, made.details['symmetry'])
    assert covariance(made.kernel) == pytest.approx(
      covariance(turned), abs=0.26
    )
    assert blur_kernels.kernel_correlation(made.kernel, turned, 2) > 0.9
  assert len(files) == 10 and len(symmetries) == 8


def covariance(kernel):
  k = kernel.astype(np.float64) / kernel.sum()
  y, x = np.mgrid[: k.shape[0], : k.shape[1]]
  y, x = y - (k * y).sum(), x - (k * x).sum()
  return np.array([(k * y * y).sum(), (k * y * x).sum(), (k * x * x).sum()])


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_a_shaken_image_is_what_scipy_makes_of_the_kernel(data_root, scale):
  hr = natural(96, 120)
  made = make('shake', hr, scale, data=data_root)
  assert made.kernel.shape[0] % 2 == made.kernel.shape[1] % 2 == 1
  expected = blurred(hr, made.kernel, scale)
  assert np.abs(made.lr - expected).max() < 0.51


@pytest.mark.parametrize('scale', [1.5, 3, 4, (2, 3)])
def test_a_shake_is_the_same_from_x2_on_and_shrinks_below(data_root, scale):
  at_2 = make('shake', NONE, 2, data=data_root)
  other = make('shake', NONE, scale, data=data_root)
  assert other.details == at_2.details
  ratio = 0.75**2 if scale == 1.5 else 1
  assert covariance(other.kernel) == pytest.approx(
    ratio * covariance(at_2.kernel), abs=0.3
  )


# Noise.


@pytest.mark.parametrize('kind', ['ideal', 'gaussian', 'disc', 'line', 'shake'])
@pytest.mark.parametrize('suffix', ['-noise', '-noise1', '-noise3'])
def test_noise_is_white_and_of_the_stated_strength(data_root, kind, suffix):
  hr = np.full((200, 200, 3), 100, np.uint8)
  made = make(kind + suffix, hr, 2, data=data_root)
  std = {'-noise1': 0.01, '-noise3': 0.03}.get(suffix, made.noise_std)
  assert made.noise_std == made.details['noise_std'] == std
  assert 1 / 255 <= std <= 8 / 255
  noise = made.lr - 100.0
  # Rounding to whole grey levels adds 1/12 to the variance.
  expected = math.sqrt((255 * std) ** 2 + 1 / 12)
  assert noise.std() == pytest.approx(
    expected, rel=4 / math.sqrt(2 * noise.size)
  )
  assert abs(noise.mean()) < 4 * expected / math.sqrt(noise.size)
  for other in (noise[1:], noise[:, 1:], noise[..., 1:]):
    this = noise[tuple(slice(n) for n in other.shape)]
    assert abs(np.mean(this * other)) < 4 * expected**2 / other.size**0.5


@pytest.mark.parametrize('scale', [1.5, 3, 4])
def test_noise_lies_on_the_blurred_image(scale):
  hr = natural(96, 120)
  for kind in ('ideal', 'disc'):
    clean, noisy = make(kind, hr, scale), make(f'{kind}-noise1', hr, scale)
    assert noisy.lr.shape == clean.lr.shape
    off = noisy.lr - clean.lr.astype(float)
    assert np.abs(off).max() < 5.5 * 2.55
    middle = (clean.lr > 20) & (clean.lr < 235)
    assert off[middle].std() == pytest.approx(2.55, rel=0.06)


def test_strengths_are_uniform():
  drawn = [make('ideal-noise', NONE, 2, str(i)).noise_std for i in range(60)]
  test = scipy.stats.kstest(drawn, 'uniform', (1 / 255, 7 / 255))
  assert test.pvalue > 0.01
  quality = [
    make('ideal-jpeg', NONE, 2, str(i)).details['quality'] for i in range(200)
  ]
  assert min(quality) >= 30 and max(quality) <= 95
  assert scipy.stats.kstest(quality, 'uniform', (29.5, 66)).pvalue > 0.01


def test_the_parts_of_a_name_draw_apart():
  hr = natural(96, 96)
  plain = make('disc', hr)
  for suffix in ('-noise', '-noise3', '-jpeg', '-jpeg60-crop'):
    np.testing.assert_array_equal(
      make(f'disc{suffix}', hr).kernel, plain.kernel
    )
  weak, strong = make('disc-noise1', hr), make('disc-noise3', hr)
  first, second = (m.lr - plain.lr.astype(float) for m in (weak, strong))
  inside = (plain.lr > 40) & (plain.lr < 215)
  assert np.corrcoef(first[inside], second[inside])[0, 1] > 0.98


# JPEG.


def through_pillow(image, quality, folder):
  path = folder / 'image.jpg'
  Image.fromarray(image.squeeze()).save(path, quality=quality)
  with Image.open(path) as file:
    return np.asarray(file).reshape(image.shape), dict(file.quantization)


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('scale', [2, 3, 1.5])
@pytest.mark.parametrize('kind', ['ideal', 'gaussian', 'disc', 'line'])
def test_jpeg_is_what_pillow_writes(tmp_path, kind, scale, channels):
  hr = natural(72, 120, channels)
  clean = make(kind, hr, scale).lr
  for suffix in ('-jpeg', '-jpeg30', '-jpeg85'):
    made = make(kind + suffix, hr, scale)
    quality = made.details['quality']
    if suffix != '-jpeg':
      assert quality == int(suffix.removeprefix('-jpeg'))
    decoded, tables = through_pillow(clean, quality, tmp_path)
    np.testing.assert_array_equal(made.lr, decoded)
    assert made.jpeg.tables.dtype == np.float32
    np.testing.assert_array_equal(made.jpeg.tables[0].ravel(), tables[0])
    np.testing.assert_array_equal(
      made.jpeg.tables[1].ravel(), tables[1 if channels == 3 else 0]
    )
    assert made.jpeg.sampling == ((2, 2) if channels == 3 else (1, 1))
    assert made.noise_std is None and made.corner == (0, 0)


def test_the_tables_are_in_natural_order():
  table = make('ideal-jpeg50', natural(64, 64)).jpeg.tables[0]
  # Annex K.1 of T.81: the first row, and the first column.
  np.testing.assert_array_equal(table[0], [16, 11, 10, 16, 24, 40, 51, 61])
  np.testing.assert_array_equal(table[:, 0], [16, 12, 14, 14, 18, 24, 49, 72])


@pytest.mark.parametrize('scale', [2, 3, 1.5, (2, 3)])
def test_a_crop_is_the_jpeg_without_its_grid_and_tables(scale):
  hr = natural(144, 120)
  scales = np.broadcast_to(scale, 2)
  seen = set()
  for i in range(12):
    whole = make('ideal-jpeg60', hr, scale, str(i))
    made = make('ideal-jpeg60-crop', hr, scale, str(i))
    y, x = made.details['crop']
    assert (y, x) != (0, 0) and 0 <= y < 8 and 0 <= x < 8
    np.testing.assert_array_equal(made.lr, whole.lr[y:, x:])
    assert made.corner == (y * scales[0], x * scales[1])
    assert all(isinstance(c, int) for c in made.corner)
    assert made.jpeg is None and whole.jpeg is not None
    seen.add((y, x))
  assert len(seen) > 5


def test_noise_comes_before_the_compression(tmp_path):
  hr = natural(96, 96)
  noisy = make('line-noise3', hr).lr
  made = make('line-noise3-jpeg60', hr)
  decoded, _ = through_pillow(noisy, 60, tmp_path)
  np.testing.assert_array_equal(made.lr, decoded)
  assert made.noise_std == 0.03


# All of them.


def test_mixed_draws_all_alike():
  drawn = [
    protocols._pick(protocols._generator('mixed', 0, str(i)))
    for i in range(3000)
  ]
  names = [name.split('-', 1) for name in drawn]
  kinds = collections.Counter(parts[0] for parts in names)
  assert sorted(kinds) == sorted(protocols.KINDS)
  assert scipy.stats.chisquare(list(kinds.values())).pvalue > 0.01
  expected = {'': 1000, 'noise': 1000, 'jpeg': 500, 'jpeg-crop': 500}
  after = collections.Counter(''.join(parts[1:]) for parts in names)
  assert after.keys() == expected.keys()
  counts = [after[name] for name in expected]
  assert scipy.stats.chisquare(counts, list(expected.values())).pvalue > 0.01


def test_mixed_is_what_the_drawn_name_makes(data_root):
  hr = natural(96, 96)
  for i in range(8):
    mixed = make('mixed', hr, 2, str(i), 5, data=data_root)
    name = mixed.details['drawn']
    forced = make(name, hr, 2, str(i), 5, data=data_root)
    np.testing.assert_array_equal(mixed.lr, forced.lr)
    assert mixed.details == {'drawn': name, **forced.details}
    assert mixed.corner == forced.corner
    assert mixed.noise_std == forced.noise_std
    assert (mixed.jpeg is None) == ('jpeg' not in name or 'crop' in name)


def test_a_case_knows_its_noise_and_jpeg_and_crops_the_truth(tmp_path):
  hr = natural(120, 128, 1)
  Image.fromarray(hr[..., 0]).save(tmp_path / 'a.png')
  folder = str(tmp_path)

  def load(name):
    (case,) = cases.find_cases(tmp_path, folder, 2.0, name)
    return case, case.load()

  case, pixels = load('ideal-noise3')
  assert case.noise_std == pixels.noise_std == 0.03 and case.jpeg is None
  case, pixels = load('ideal-jpeg60')
  assert case.jpeg.sampling == pixels.jpeg.sampling == (1, 1)
  np.testing.assert_array_equal(case.jpeg.tables, pixels.jpeg.tables)
  case, pixels = load('ideal-jpeg95-crop')
  y, x = case.details['crop']
  np.testing.assert_array_equal(np.rint(pixels.hr * 255), hr[2 * y :, 2 * x :])
  assert pixels.lr.shape == case.lr_shape and case.jpeg is None
  # Box averages of the truth: misplaced by a pixel, they would be far off.
  means = pixels.hr.reshape(60 - y, 2, 64 - x, 2, 1).mean((1, 3))
  assert np.abs(means - pixels.lr).mean() < 0.03
  assert np.abs(means[1:] - pixels.lr[:-1]).mean() > 0.05


def test_an_lr_file_of_the_data_set_tells_its_tables(tmp_path):
  hr = natural(96, 96)
  (tmp_path / 'HR').mkdir()
  (tmp_path / 'LR_x2').mkdir()
  Image.fromarray(hr).save(tmp_path / 'HR' / 'a.png')
  made = make('ideal-jpeg70', hr)
  path = tmp_path / 'LR_x2' / 'a.jpg'
  Image.fromarray(make('ideal', hr).lr).save(path, quality=70)
  (case,) = cases.find_cases(tmp_path, str(tmp_path), 2.0)
  np.testing.assert_array_equal(case.jpeg.tables, made.jpeg.tables)
  assert case.jpeg.sampling == made.jpeg.sampling
  np.testing.assert_array_equal(np.rint(case.load().lr * 255), made.lr)
