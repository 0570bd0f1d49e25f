"""Test images against scipy, Pillow, MATLAB's files and plain loops."""

import hashlib
import json
import math
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from PIL import Image

from zssr_jax.data import datasets
from zssr_jax.degradation import Degradation
from zssr_jax.errors import InputError
from zssr_jax.evaluation import protocols

ROOT = pathlib.Path(__file__).parents[2]
FOUR = ('four-0', 'four-1', 'four-2', 'four-3')
KINDS = ('ideal', 'gaussian', 'disc', 'line')  # 'shake' needs the data root
NAMES = (
  *('ideal', 'gaussian', 'disc', 'line', 'div2krk', 'poor'),
  *('poor-noise', 'poor-speckle', 'poor-jpeg'),
  *FOUR,
)
TINY = np.full((8, 8, 1), 128, np.uint8)


def random_image(*shape, seed=0):
  return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def make(name, hr, scale=2, image_name='some image', seed=0, data=None):
  return protocols.degrade(
    name, hr, scale, image_name=image_name, seed=seed, data=data
  )


def mass(kernel):
  k = kernel.astype(np.float64)
  y, x = np.mgrid[: k.shape[0], : k.shape[1]]
  return np.array([(k * y).sum(), (k * x).sum()]) / k.sum()


def moments(kernel):
  """Second moments (yy, yx, xx) about the centre of mass."""
  k = kernel.astype(np.float64) / kernel.sum(dtype=np.float64)
  y, x = np.mgrid[: k.shape[0], : k.shape[1]]
  y, x = y - (k * y).sum(), x - (k * x).sum()
  return np.array([(k * y * y).sum(), (k * y * x).sum(), (k * x * x).sum()])


def covariance(eigenvalues, angle):
  """`U diag(l1, l2) U^T` in (x, y), as (yy, yx, xx)."""
  rotation = np.array(
    [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
  )
  c = rotation @ np.diag(eigenvalues) @ rotation.T
  return np.array([c[1, 1], c[0, 1], c[0, 0]])


def save_kernel(folder, kernel):
  path = folder / 'kernel.npy'
  np.save(path, np.asarray(kernel, np.float32))
  return f'kernel:{path}'


# Names.


def test_every_name_is_its_own_but_four_means_four():
  for name in NAMES:
    assert protocols.parse(name) == (name,)
  assert protocols.parse('four') == FOUR


@pytest.mark.parametrize(
  'text',
  [
    *('bicubic', '', 'Ideal', 'four-4', 'poor-', 'kernel', 'kernel:'),
    *('disc-', 'disc3', 'disc-crop', 'disc-noise0', 'disc-noise-crop'),
    *('disc-jpeg0', 'disc-jpeg100', 'disc-jpeg60.5', 'disc-jpeg-noise'),
    *('mixed-jpeg', 'poor-noise3', 'four-0-jpeg', 'div2krk-noise'),
  ],
)
def test_an_unknown_name_is_told_the_known_ones(text):
  with pytest.raises(ValueError) as caught:
    protocols.parse(text)
  message = str(caught.value)
  assert repr(text) in message and '\n' not in message
  for name in (*NAMES, 'shake', 'mixed', 'four', 'kernel:PATH'):
    assert name in message


@pytest.mark.parametrize('name', ['bicubic', 'four', 'four-4', 'poor-'])
def test_what_parse_does_not_return_is_not_degraded(name):
  with pytest.raises(ValueError, match='unknown degradation'):
    make(name, TINY)


def test_suffixes_follow_each_kind():
  for kind in KINDS:
    for suffix in (
      *('-noise', '-noise3', '-noise0.5', '-noise12.25'),
      *('-jpeg', '-jpeg60', '-jpeg5', '-jpeg-crop', '-jpeg85-crop'),
      *('-noise-jpeg', '-noise1-jpeg30-crop'),
    ):
      assert protocols.parse(kind + suffix) == (kind + suffix,)


@pytest.mark.parametrize('name', ['shake', 'shake-noise1', 'mixed'])
def test_shakes_are_looked_for_at_once(data_root, tmp_path, name):
  assert protocols.parse(name, data_root) == (name,)
  with pytest.raises(InputError, match='no data root; pass --data=FOLDER'):
    protocols.parse(name)
  with pytest.raises(InputError, match=f'{tmp_path} has none'):
    protocols.parse(name, tmp_path)
  (tmp_path / 'kernels').mkdir()
  with pytest.raises(InputError, match='Levin09.mat: no such file'):
    protocols.parse(name, tmp_path)


def test_without_kernels_no_shake_is_made(tmp_path):
  with pytest.raises(InputError, match='no data root'):
    make('shake', TINY)


def test_a_kernel_file_is_checked_at_once(tmp_path):
  good = save_kernel(tmp_path, np.eye(3))
  assert protocols.parse(good) == (good,)
  missing = tmp_path / 'missing.mat'
  with pytest.raises(InputError, match='missing.mat: no such file'):
    protocols.parse(f'kernel:{missing}')
  with pytest.raises(InputError, match='no such file'):
    make(f'kernel:{missing}', TINY)


@pytest.mark.parametrize(
  'name, hr, scale, reason',
  [
    ('ideal', TINY, 1, 'above 1'),
    ('ideal', TINY, (2, 0.5), 'above 1'),
    ('ideal', TINY / 255, 2, 'uint8'),
    ('ideal', TINY[..., 0], 2, 'uint8'),
    ('ideal', np.zeros((8, 8, 4), np.uint8), 2, '8, 8, 4'),
    ('gaussian', TINY[:2], 3, 'some image: 2x8 is smaller'),
    ('gaussian', TINY, (2, 3), 'same scale on both axes'),
    ('four-0', TINY, (2, 3), 'same scale on both axes'),
    ('disc', TINY, (2, 3), 'same scale on both axes'),
    ('line', TINY, (2, 3), 'same scale on both axes'),
    (
      'ideal-jpeg-crop',
      np.full((31, 90, 3), 9, np.uint8),
      2,
      '15x45 is too sm',
    ),
    ('ideal-jpeg-crop', np.full((90, 90, 3), 9, np.uint8), 1.3, 'no crop of'),
    ('div2krk', TINY, 3, 'scales 2 and 4'),
    ('div2krk', TINY, (2, 4), 'scales 2 and 4'),
  ],
)
def test_what_cannot_be_made_is_refused(name, hr, scale, reason):
  with pytest.raises(ValueError, match=reason):
    make(name, hr, scale)


# What comes out.


@pytest.mark.slow
@pytest.mark.parametrize('scale, channels', [(2, 3), (1.5, 1)])
def test_all_are_images_of_one_shape_and_fit_for_json(scale, channels):
  hr = random_image(24, 36, channels)
  for name in NAMES:
    if name == 'div2krk' and scale == 1.5:
      continue
    made = make(name, hr, scale)
    assert made.lr.dtype == np.uint8, name
    assert made.lr.shape == (24 / scale, 36 / scale, channels), name
    assert json.loads(json.dumps(made.details)) == made.details
    if name == 'ideal' or name.startswith('poor'):
      assert made.kernel is None
      continue
    assert made.kernel.dtype == np.float32
    assert made.kernel.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    assert made.kernel.min() >= 0
    # The kernel that is handed out is the one that was used.
    image = jnp.asarray(hr, jnp.float32)
    again = Degradation(scale, jnp.asarray(made.kernel)).down(image)
    assert np.abs(again - made.lr.astype(np.float32)).max() < 0.5 + 1e-3


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_ideal_is_the_file_that_matlab_wrote(data_root, scale):
  pairs = datasets.pairs(data_root, 'Set5', scale)
  pair = next(p for p in pairs if p.name == 'bird')
  hr = np.asarray(Image.open(pair.hr).convert('RGB'))
  hr = hr[: len(hr) // scale * scale, : hr.shape[1] // scale * scale]
  with Image.open(pair.lr) as lr:
    np.testing.assert_array_equal(make('ideal', hr, scale).lr, lr)


@pytest.mark.parametrize(
  'scale, shape', [(2, (24, 30)), (1.5, (32, 40)), ((2, 3), (24, 20))]
)
def test_ideal_is_bicubic_as_pillow_has_it(scale, shape):
  """Pillow has the same cubic, but another border, and columns come first."""
  hr = random_image(48, 60, 3)
  lr = make('ideal', hr, scale).lr
  oracle = np.asarray(Image.fromarray(hr).resize(shape[::-1], 3), int)
  inside = slice(4, -4)
  off = np.abs(lr - oracle)[inside, inside]
  assert np.mean(off > 1) < 0.01 and off.mean() < 0.3


@pytest.mark.parametrize('name', ['baby', 'woman'])
def test_a_kernel_file_makes_the_published_images(data_root, name):
  pairs = datasets.pairs(data_root, 'MZSR_g20_Set5', 2)
  pair = next(p for p in pairs if p.name == name)
  with Image.open(pair.hr) as hr, Image.open(pair.lr) as lr:
    made = make(f'kernel:{pair.kernel}', np.asarray(hr))
    np.testing.assert_array_equal(made.lr, lr)
  assert made.details == {'file': str(pair.kernel)}


def test_a_kernel_file_is_used_as_it_is(tmp_path):
  """Whole numbers of sixteenths: exact, many ending in a half, some outside.

  The centre of a 2x2 kernel is its last tap, and the image is mirrored about
  its edge.
  """
  hr, chance = random_image(24, 36, 3), random_image(24, 36, 3, seed=1)
  hr[chance < 80], hr[chance > 175] = 0, 255
  weight = np.array([[-4, 3], [5, 12]])
  made = make(save_kernel(tmp_path, weight / 16), hr)
  np.testing.assert_array_equal(made.kernel, weight / 16)
  padded = np.pad(hr.astype(int), ((1, 0), (1, 0), (0, 0)), mode='symmetric')
  total = sum(
    weight[u, v] * padded[u : u + 24 : 2, v : v + 36 : 2]
    for u in range(2)
    for v in range(2)
  )
  assert np.sum(total % 16 == 8) > 20
  assert total.min() < 0 and total.max() > 16 * 255
  np.testing.assert_array_equal(made.lr, np.clip((total + 8) // 16, 0, 255))


# Gaussian kernels.


@pytest.mark.slow
@pytest.mark.parametrize('scale', [2, 3, 4])
def test_a_kernel_has_the_covariance_that_was_drawn(scale):
  checked = 0
  for i in range(12):
    made = make('gaussian', TINY, scale, f'image {i}')
    assert made.kernel.shape == ({2: 19, 3: 27, 4: 37}[scale],) * 2
    drawn = made.details
    assert drawn.keys() == {'eigenvalues', 'angle'}
    if min(drawn['eigenvalues']) < 0.3:
      continue  # narrower than the pixels: another test
    # A pixel is a box of variance 1/12.
    expected = covariance(drawn['eigenvalues'], drawn['angle'])
    expected += [1 / 12, 0, 1 / 12]
    np.testing.assert_allclose(
      moments(made.kernel), expected, atol=5e-3 * scale**2
    )
    checked += 1
  assert checked > 5


@pytest.mark.slow
@pytest.mark.parametrize(
  'name, scale, tolerance',
  [
    ('gaussian', 2, 0.01),
    ('gaussian', 3, 0.01),
    ('gaussian', 4, 0.01),
    ('gaussian', 1.5, 0.01),
    ('gaussian', 2.5, 0.01),
    ('disc', 2, 0.01),
    ('disc', 3, 0.01),
    ('disc', 1.5, 0.01),
    ('line', 2, 0.01),
    ('line', 4, 0.01),
    ('line', 2.5, 0.01),
    ('four-2', 2, 0.01),
    ('div2krk', 2, 0.1),
    ('div2krk', 4, 0.1),
  ],
)
def test_a_blob_lies_where_bicubic_puts_it(name, scale, tolerance):
  y, x = np.mgrid[:120, :120]
  blob = np.exp(-((y - 55.3) ** 2 + (x - 62.6) ** 2) / 200)
  hr = np.floor(255 * blob + 0.5).astype(np.uint8)[..., None]
  bicubic = mass(make('ideal', hr, scale).lr[..., 0])
  # The centre of LR pixel i lies at HR position s (i + 1/2) - 1/2.
  there = (np.array([55.3, 62.6]) + 0.5) / scale - 0.5
  np.testing.assert_allclose(bicubic, there, atol=0.01)
  for image_name in 'ab':
    lr = make(name, hr, scale, image_name).lr
    np.testing.assert_allclose(mass(lr[..., 0]), bicubic, atol=tolerance)


@pytest.mark.parametrize(
  'name, low, high', [('gaussian', 0, 4), ('div2krk', 0.6, 5)]
)
def test_draws_are_uniform_and_independent(name, low, high):
  drawn = [make(name, TINY, 2, str(i)).details for i in range(60)]
  first, second = np.array([d['eigenvalues'] for d in drawn]).T
  angle = np.array([d['angle'] for d in drawn])
  for values, a, b in (
    (first, low, high),
    (second, low, high),
    (angle, 0, np.pi),
  ):
    assert scipy.stats.kstest(values, 'uniform', (a, b - a)).pvalue > 0.01
  for one, other in ((first, second), (first, angle), (second, angle)):
    assert scipy.stats.spearmanr(one, other).pvalue > 0.01


def test_a_kernel_grows_with_the_scale():
  for name in ('gaussian', 'four-1'):
    two, three = (make(name, TINY, scale).details for scale in (2, 3))
    assert three['angle'] == two['angle']
    np.testing.assert_allclose(
      np.divide(three['eigenvalues'], two['eigenvalues']), 9 / 4
    )


def test_four_are_the_same_for_all_images_and_differ_among_themselves():
  kernels = [make(name, TINY).kernel for name in FOUR]
  for name, kernel in zip(FOUR, kernels, strict=True):
    again = make(name, random_image(16, 16, 3), 2, 'another', seed=7)
    np.testing.assert_array_equal(again.kernel, kernel)
    others = sum(np.abs(kernel - k).max() > 0.01 for k in kernels)
    assert others == 3


# DIV2KRK.


def test_div2krk_changes_every_tap_of_a_gaussian_by_up_to_a_quarter():
  y, x = np.mgrid[:11, :11] - 5.5
  changes = []
  for i in range(8):
    made = make('div2krk', TINY, 2, f'image {i}')
    assert made.kernel.shape == (11, 11)
    yy, yx, xx = covariance(made.details['eigenvalues'], made.details['angle'])
    power = (xx * y * y - 2 * yx * y * x + yy * x * x) / (xx * yy - yx**2)
    gaussian = np.exp(-0.5 * power)
    seen = gaussian > 1e-20  # float32 keeps no smaller ones
    change = made.kernel[seen] / gaussian[seen]
    # Only the normalisation is unknown: the range tells it.
    changes.append(change / (change.max() + change.min()) * 2)
  changes = np.concatenate(changes)
  assert 0.74 < changes.min() < 0.77 and 1.23 < changes.max() < 1.26
  assert changes.std() == pytest.approx(0.25 / math.sqrt(3), rel=0.06)


@pytest.mark.slow
def test_div2krk_at_4_is_the_kernel_for_2_twice():
  hr = random_image(120, 112, 1)
  two, four = make('div2krk', hr, 2), make('div2krk', hr, 4)
  assert four.kernel.shape == (31, 31)
  assert four.details == two.details
  image = jnp.asarray(hr, jnp.float32)
  once = Degradation(2, two.kernel).down(image)
  twice = Degradation(2, two.kernel).down(once)
  inside = slice(5, -5)
  np.testing.assert_allclose(
    Degradation(4, four.kernel).down(image)[inside, inside],
    twice[inside, inside],
    atol=1e-3,
  )
  off = four.lr.astype(np.float32) - twice
  assert np.abs(off)[inside, inside].max() < 0.5 + 1e-3


# Poor quality.


def test_poor_is_one_of_the_three_and_each_comes_up():
  kinds = [make('poor', TINY, 2, str(i)).details['kind'] for i in range(90)]
  counts = [kinds.count(kind) for kind in ('noise', 'speckle', 'jpeg')]
  assert sum(counts) == 90
  assert scipy.stats.chisquare(counts).pvalue > 0.01


def test_poor_is_what_the_forced_kind_makes():
  hr = random_image(24, 36, 3)
  for i in range(6):
    made = make('poor', hr, 2, str(i))
    forced = make(f'poor-{made.details["kind"]}', hr, 2, str(i))
    np.testing.assert_array_equal(made.lr, forced.lr)
    assert made.details == forced.details


@pytest.mark.parametrize('level', [50, 180])
@pytest.mark.parametrize('kind', ['noise', 'speckle'])
def test_noise_has_the_stated_spread(kind, level):
  made = make(f'poor-{kind}', np.full((240, 240, 3), level, np.uint8))
  assert made.details == {'kind': kind, 'sigma': 0.05}
  noise = made.lr - float(level)
  spread = 0.05 * (255 if kind == 'noise' else level)
  # Rounding to whole grey levels adds 1/12 to the variance.
  expected = math.sqrt(spread**2 + 1 / 12)
  count = noise.size
  assert noise.std() == pytest.approx(expected, rel=4 / math.sqrt(2 * count))
  assert abs(noise.mean()) < 4 * expected / math.sqrt(count)
  assert scipy.stats.kurtosis(noise.ravel()) == pytest.approx(0, abs=0.1)
  for other in (noise[1:], noise[:, 1:], noise[..., 1:]):
    this = noise[tuple(slice(n) for n in other.shape)]
    assert abs(np.mean(this * other)) < 4 * expected**2 / other.size**0.5


def test_noise_lies_on_the_bicubic_image_and_is_clipped():
  hr = np.repeat(np.repeat(random_image(20, 20, 3), 8, 0), 8, 1)
  hr[:40], hr[-40:] = 0, 255
  bicubic = make('ideal', hr).lr.astype(float)
  for kind in ('noise', 'speckle'):
    noise = make(f'poor-{kind}', hr).lr - bicubic
    assert np.abs(noise).max() < 5.5 * 0.05 * 255
    white = noise[-18:]
    assert white.max() == 0 and white.std() > 5
  assert not make('poor-speckle', hr).lr[:18].any()


@pytest.mark.parametrize('channels', [1, 3])
def test_jpeg_is_what_pillow_writes(tmp_path, channels):
  hr = np.asarray(Image.fromarray(random_image(9, 12, 3)).resize((120, 90), 3))[
    ..., :channels
  ]
  made = make('poor-jpeg', hr)
  assert made.details == {'kind': 'jpeg', 'quality': 45}
  path = tmp_path / 'lr.jpg'
  bicubic = make('ideal', hr).lr
  Image.fromarray(bicubic.squeeze()).save(path, quality=45)
  with Image.open(path) as image:
    np.testing.assert_array_equal(made.lr.squeeze(), image)
  assert 1 < np.abs(made.lr - bicubic.astype(float)).max() < 128


# What is drawn, and when.

RANDOM = (
  *('gaussian', 'div2krk', 'poor', 'poor-noise', 'poor-speckle', 'four-3'),
  *('disc-noise', 'line-jpeg', 'gaussian-noise3-jpeg-crop'),
)


def fingerprints(names):
  hr = random_image(36, 48, 3)
  out = {}
  for name in names:
    made = make(name, hr, image_name='Bäume 1', seed=3)
    kernel = b'' if made.kernel is None else made.kernel.tobytes()
    out[name] = hashlib.sha256(made.lr.tobytes() + kernel).hexdigest()
  return out


@pytest.mark.slow
def test_another_process_draws_the_same_in_any_order():
  program = (
    'import json, sys; sys.path.insert(0, "tests/evaluation");'
    'import protocols_test as t;'
    'print(json.dumps(t.fingerprints(t.RANDOM[::-1])))'
  )
  result = subprocess.run(
    [sys.executable, '-c', program],
    cwd=ROOT,
    env={**os.environ, 'PYTHONHASHSEED': '123', 'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
    check=True,
  )
  assert json.loads(result.stdout) == fingerprints(RANDOM)


@pytest.mark.parametrize(
  'name', ['gaussian', 'div2krk', 'poor-noise', 'disc', 'line-noise1']
)
def test_seed_and_image_decide_what_is_drawn(name):
  hr = random_image(24, 36, 3)
  variants = [('a', 0), ('b', 0), ('a', 1), ('a1', 0), ('a', 10), ('1', 0)]
  made = [
    make(name, hr, 2, image, seed).lr.tobytes() for image, seed in variants
  ]
  assert len(set(made)) == len(variants)
  assert make(name, hr, 2, 'a', np.int64(1)).lr.tobytes() == made[2]


def test_degradations_draw_apart():
  drawn = [
    make(name, TINY).details['eigenvalues'] for name in ('gaussian', *FOUR)
  ]
  assert len({tuple(d) for d in drawn}) == 5
  # ... and the global generators are left alone.
  before = np.random.get_state()[1].copy()
  make('poor-noise', TINY)
  np.testing.assert_array_equal(np.random.get_state()[1], before)
  assert not jax.config.jax_enable_x64
