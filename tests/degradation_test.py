"""The kernel convention against published examples and a plain loop."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io
import scipy.stats
from PIL import Image
from scipy import ndimage

from zssr_jax import blur_kernels
from zssr_jax import degradation as degradation_lib
from zssr_jax.data import datasets
from zssr_jax.degradation import Degradation
from zssr_jax.ops import color, jpeg, resize


def read(path):
  with Image.open(path) as image:
    return np.asarray(image)


def random_image(*shape, seed=0):
  return np.random.default_rng(seed).random(shape).astype(np.float32)


def random_kernel(*shape, seed=0):
  """An asymmetric kernel, so that a flip or a shift cannot go unnoticed."""
  kernel = np.random.default_rng(seed).random(shape) ** 3
  return (kernel / kernel.sum()).astype(np.float32)


def gaussian(shape, center, covariance):
  grid = np.stack(
    np.meshgrid(*(np.arange(n) for n in shape), indexing='ij'), axis=-1
  )
  offset = grid - np.asarray(center)
  power = np.einsum('...i,ij,...j', offset, np.linalg.inv(covariance), offset)
  kernel = np.exp(-0.5 * power)
  return (kernel / kernel.sum()).astype(np.float32)


def covariance(eigenvalues, angle):
  """`U diag(l1, l2) U^T` in (x, y), as (yy, yx, xx)."""
  rotation = np.array(
    [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
  )
  c = rotation @ np.diag(eigenvalues) @ rotation.T
  return np.array([c[1, 1], c[0, 1], c[0, 0]])


def mass(kernel):
  k = kernel.astype(np.float64)
  y, x = np.mgrid[: k.shape[0], : k.shape[1]]
  return (k * y).sum() / k.sum(), (k * x).sum() / k.sum()


def downscale_slowly(image, scale, kernel):
  """`LR[i,j] = sum K[u,v] HR[s i + u - c, s j + v - c]`, word for word."""

  def mirror(position, size):
    position %= 2 * size
    return position if position < size else 2 * size - 1 - position

  (sy, sx), (cy, cx) = scale, (n // 2 for n in kernel.shape)
  rows, columns = image.shape[0] // sy, image.shape[1] // sx
  lr = np.zeros((rows, columns, image.shape[2]))
  for i in range(rows):
    for j in range(columns):
      for u in range(kernel.shape[0]):
        for v in range(kernel.shape[1]):
          y = mirror(sy * i + u - cy, rows * sy)
          x = mirror(sx * j + v - cx, columns * sx)
          lr[i, j] += float(kernel[u, v]) * image[y, x]
  return lr


def assert_made(hr, kernel, lr):
  """Checks that `hr` gives `lr`: bit for bit where rounding is exact enough.

  Sums that end in a half are common with 8-bit pixels. float64 gets them all
  right; float32 may round such a pixel, and no other, the wrong way.
  """
  with jax.enable_x64(True):
    made = Degradation(2, jnp.asarray(kernel, jnp.float64)).down(
      jnp.asarray(hr, jnp.float64) / 255
    )
    np.testing.assert_array_equal(color.to_uint8(made), lr)
  downscale = jax.jit(lambda x: Degradation(2, kernel).down(x))
  made = downscale(jnp.asarray(hr, jnp.float32) / 255)
  assert made.dtype == jnp.float32
  assert np.abs(np.asarray(made) * 255 - lr).max() < 0.5 + 1e-3


def test_the_example_of_zssr_is_reproduced_bit_for_bit(data_root):
  folder = data_root / 'zssr_known_kernel'
  kernel = scipy.io.loadmat(folder / 'BSD100_100_lr_rand_ker_c_X2_0.mat')
  kernel = kernel['Kernel'].astype(np.float32)
  lr = read(folder / 'BSD100_100_lr_rand_ker_c_X2.png')
  hr = read(data_root / 'B100' / 'HR' / '97033.png')
  assert_made(hr, kernel, lr)
  # The convention matters: neither a flip nor another phase comes close.
  image = jnp.asarray(hr, jnp.float32) / 255
  for wrong in (kernel[::-1, ::-1], np.pad(kernel, ((0, 2), (0, 2)))):
    other = color.to_uint8(Degradation(2, wrong).down(image))
    assert np.mean(np.asarray(other) != lr) > 0.3
  # ... and this kernel is aligned up to a fraction of a pixel.
  np.testing.assert_allclose(mass(kernel), (4.48, 4.46), atol=0.01)
  np.testing.assert_allclose(
    blur_kernels.center_of_mass(kernel), mass(kernel), atol=1e-5
  )


@pytest.mark.slow
@pytest.mark.parametrize('name', ['baby', 'bird', 'butterfly', 'head', 'woman'])
def test_the_known_kernel_set_is_reproduced_bit_for_bit(data_root, name):
  found = datasets.pairs(data_root, 'MZSR_g20_Set5', 2)
  pair = next(p for p in found if p.name == name)
  kernel = scipy.io.loadmat(pair.kernel)['kernel'].astype(np.float32)
  assert_made(read(pair.hr), kernel, read(pair.lr))


@pytest.mark.parametrize(
  'shape, scale, size',
  [
    ((8, 10), (2, 2), (5, 5)),
    ((9, 11), (2, 2), (3, 7)),
    ((10, 13), (3, 3), (4, 6)),
    ((9, 8), (1, 2), (5, 4)),
    ((8, 13), (4, 2), (1, 3)),
    ((4, 6), (2, 2), (9, 11)),  # mirrored more than once
  ],
)
def test_it_equals_the_formula_of_the_convention(shape, scale, size):
  image = random_image(*shape, 2)
  kernel = random_kernel(*size)
  made = Degradation(scale, jnp.asarray(kernel)).down(jnp.asarray(image))
  expected = downscale_slowly(image, scale, kernel)
  assert made.shape == expected.shape
  np.testing.assert_allclose(made, expected, atol=2e-6)


@pytest.mark.parametrize('border', ['replicate', 'symmetric'])
@pytest.mark.parametrize('scale', [2, 3, 1.5, (2, 1.5)])
def test_without_a_kernel_it_is_bicubic(scale, border):
  image = random_image(18, 25, 3)
  made = Degradation(scale, border=border).down(jnp.asarray(image))
  inverse = tuple(1 / s for s in resize.scale_pair(scale))
  expected = resize.imresize(image, inverse, border=border)
  np.testing.assert_allclose(made, expected, atol=2e-6)


@pytest.mark.parametrize('scale', [2, 3, 4, 1.5, 2.5, (1.5, 2), (1, 1.5)])
def test_a_kernel_at_the_aligned_centre_shifts_nothing(scale):
  sy, sx = resize.scale_pair(scale)
  shape = (13, 11)
  center = blur_kernels.aligned_center(shape, scale)
  assert center == (6 + (sy - 1) / 2, 5 + (sx - 1) / 2)
  kernel = gaussian(shape, center, np.diag([0.8, 0.6]))
  y, x = np.mgrid[:48, :48].astype(np.float32)
  ramp = np.stack([y, x], axis=-1) / 48
  made = 48 * np.asarray(Degradation(scale, kernel).down(ramp))
  # The centre of LR pixel i lies at HR position s (i + 1/2) - 1/2.
  i, j = np.mgrid[: made.shape[0], : made.shape[1]]
  inside = slice(9, -9)
  expected = np.stack([sy * (i + 0.5) - 0.5, sx * (j + 0.5) - 0.5], axis=-1)
  np.testing.assert_allclose(
    made[inside, inside], expected[inside, inside], atol=0.02
  )


@pytest.mark.parametrize('scale', [1.5, 2.5, (1.5, 2.0)])
def test_between_pixels_a_kernel_is_read_off_at_phase_zero(scale):
  """A wave, blurred by a wide kernel, has a known value anywhere."""
  scales = resize.scale_pair(scale)
  kernel = gaussian((11, 11), (5.3, 4.8), np.array([[1.5, 0.4], [0.4, 1.0]]))
  size, frequency = 60, np.array([0.25, 0.15])

  def wave(y, x):
    return 0.5 + 0.4 * np.sin(frequency[0] * y + frequency[1] * x)

  y, x = np.mgrid[:size, :size]
  image = wave(y, x)[..., None].astype(np.float32)
  made = np.asarray(Degradation(scale, kernel).down(image))[..., 0]
  assert made.shape == tuple(int(np.ceil(size / s)) for s in scales)
  i, j = np.mgrid[: made.shape[0], : made.shape[1]]
  expected = sum(
    float(kernel[u, v]) * wave(scales[0] * i + u - 5, scales[1] * j + v - 5)
    for u in range(11)
    for v in range(11)
  )
  inside = slice(6, -6)
  np.testing.assert_allclose(
    made[inside, inside], expected[inside, inside], atol=2e-4
  )


@pytest.mark.parametrize('scale', [2, 3, 1.5, (2, 3)])
@pytest.mark.parametrize('shape', [(9, 9), (6, 11), (21, 21)])
def test_centring_moves_the_centre_of_mass_and_nothing_else(shape, scale):
  kernel = random_kernel(*shape)
  kernel[:2] = 0
  kernel /= kernel.sum()
  made = blur_kernels.resample_kernel(kernel, scale, scale, center=True)
  assert made.dtype == np.float32
  assert made.min() >= 0
  assert made.sum() == pytest.approx(1, abs=1e-5)
  expected = [
    n // 2 + (s - 1) / 2
    for n, s in zip(made.shape, resize.scale_pair(scale), strict=True)
  ]
  np.testing.assert_allclose(mass(made), expected, atol=1e-4)
  # Linear sharing between two taps widens an axis by at most 1/4.
  widened = np.subtract(variances(made), variances(kernel))
  assert np.all(widened > -1e-3) and np.all(widened < 0.2501)


def variances(kernel):
  k = kernel.astype(np.float64)
  y, x = np.mgrid[: k.shape[0], : k.shape[1]]
  cy, cx = mass(kernel)
  return (k * (y - cy) ** 2).sum(), (k * (x - cx) ** 2).sum()


def test_centring_a_centred_kernel_changes_nothing():
  kernel = gaussian((14, 14), (7.5, 7.5), np.diag([1.0, 0.7]))
  made = blur_kernels.resample_kernel(kernel, 2, 2, center=True)
  image = random_image(24, 24, 1)
  np.testing.assert_allclose(
    Degradation(2, made).down(image)[4:-4, 4:-4],
    Degradation(2, kernel).down(image)[4:-4, 4:-4],
    atol=1e-5,
  )


def test_equal_scales_leave_a_kernel_as_it_is():
  kernel = random_kernel(7, 7)
  made = blur_kernels.resample_kernel(kernel, 2, 2)
  image = random_image(20, 20, 1)
  np.testing.assert_allclose(
    Degradation(2, made).down(image),
    Degradation(2, kernel).down(image),
    atol=2e-6,
  )


@pytest.mark.parametrize('new', [1.5, (1.5, 2.0), (1.0, 1.5)])
def test_a_kernel_for_a_smaller_scale_is_the_same_one_shrunk(new):
  new_y, new_x = resize.scale_pair(new)
  kernel = gaussian((15, 15), (8.0, 7.2), np.diag([4.0, 3.0]))
  made = blur_kernels.resample_kernel(kernel, 2, new)
  assert made.min() >= 0
  assert made.sum() == pytest.approx(1, abs=1e-5)
  shrink = np.array([new_y / 2, new_x / 2])
  # Its offset from the aligned centre (7.5, 7.5) shrinks along.
  offset = shrink * np.subtract(mass(kernel), 7.5)
  aligned = [
    n // 2 + (s - 1) / 2
    for n, s in zip(made.shape, (new_y, new_x), strict=True)
  ]
  np.testing.assert_allclose(mass(made), aligned + offset, atol=1e-4)
  # Sharing between taps widens it by at most 1/4.
  widened = variances(made) - shrink**2 * variances(kernel)
  assert np.all(widened > -1e-3) and np.all(widened < 0.2501)


def test_a_kernel_cannot_be_stretched_to_a_larger_scale():
  with pytest.raises(ValueError, match='cannot be stretched'):
    blur_kernels.resample_kernel(random_kernel(5, 5), 2, (2, 3))


def test_noise_has_the_stated_spread_and_no_structure():
  image = jnp.full((200, 200, 2), 0.5)
  key = jax.random.key(3)
  son = Degradation(2, noise_std=0.05).son(key, image)
  noise = np.asarray(son) - 0.5
  count = noise.size
  assert noise.shape == (100, 100, 2)
  assert abs(noise.mean()) < 4 * 0.05 / np.sqrt(count)
  assert noise.std() == pytest.approx(0.05, rel=4 / np.sqrt(2 * count))
  kurtosis = np.mean((noise / noise.std()) ** 4)
  assert kurtosis == pytest.approx(3, abs=4 * np.sqrt(24 / count))
  for other in (noise[1:, :, :], noise[:, 1:, :]):
    this = noise[: other.shape[0], : other.shape[1]]
    correlation = np.mean(this * other) / 0.05**2
    assert abs(correlation) < 4 / np.sqrt(other.size)
  assert abs(np.mean(noise[..., 0] * noise[..., 1])) / 0.05**2 < 0.04
  again = Degradation(2, noise_std=0.05).son(key, image)
  np.testing.assert_array_equal(son, again)
  other = Degradation(2, noise_std=0.05).son(jax.random.key(4), image)
  assert np.mean(np.asarray(son) == np.asarray(other)) < 0.01


def test_a_son_never_leaves_the_image_range():
  image = jnp.asarray(np.random.default_rng(0).integers(0, 2, (40, 40, 1)))
  image = image.astype(jnp.float32)
  raw = Degradation(2).down(image)
  assert raw.min() < 0 and raw.max() > 1  # bicubic overshoots
  clean = Degradation(2).son(jax.random.key(0), image)
  np.testing.assert_array_equal(clean, np.clip(raw, 0, 1))
  noisy = Degradation(2, noise_std=0.3).son(jax.random.key(0), image)
  assert noisy.min() == 0 and noisy.max() == 1


def test_noise_comes_after_the_blur():
  image = jnp.asarray(random_image(16, 16, 1)) * 0.2 + 0.4
  kernel = jnp.asarray(random_kernel(5, 5))
  key = jax.random.key(1)
  son = Degradation(2, kernel, noise_std=0.01).son(key, image)
  noise = np.asarray(son - Degradation(2, kernel).down(image))
  assert noise.std() == pytest.approx(0.01, rel=0.3)


# Gaussian kernels.


def test_taps_are_probabilities_of_their_pixels():
  eigenvalues, angle = (2.5, 0.15), 0.5
  kernel = blur_kernels.gaussian_kernel(eigenvalues, angle, 2)
  yy, yx, xx = covariance(eigenvalues, angle)
  normal = scipy.stats.multivariate_normal((9.5, 9.5), [[yy, yx], [yx, xx]])
  corner = np.stack(np.mgrid[5:15, 5:15], axis=-1) - 0.5
  expected = normal.cdf(corner + 1, lower_limit=corner)
  np.testing.assert_allclose(kernel[5:15, 5:15], expected, atol=3e-4)
  # Sampled at the middle of the pixels, it would be another kernel.
  sampled = normal.pdf(corner + 0.5)
  assert np.abs(sampled - expected).max() > 0.01


def test_a_gaussian_without_width_still_hits_the_taps():
  quarter = blur_kernels.gaussian_kernel((0, 0), 0.3, 2)
  expected = np.zeros((19, 19))
  expected[9:11, 9:11] = 0.25
  np.testing.assert_allclose(quarter, expected, atol=1e-6)
  one = blur_kernels.gaussian_kernel((0, 0), 0.3, 3)
  expected = np.zeros((27, 27))
  expected[14, 14] = 1
  np.testing.assert_allclose(one, expected, atol=1e-6)
  # A line along x, along y, and from the upper left to the lower right.
  line = blur_kernels.gaussian_kernel((4, 0), 0, 3)
  assert line[14].sum() == pytest.approx(1, abs=1e-6)
  line = blur_kernels.gaussian_kernel((4, 0), np.pi / 2, 3)
  assert line[:, 14].sum() == pytest.approx(1, abs=1e-6)
  line = blur_kernels.gaussian_kernel((4, 0), np.pi / 4, 3)
  assert np.trace(line) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize('scale', [2, 3, 4, 1.5, 1.7, 2.5])
@pytest.mark.parametrize('relative', [(0, 0), (1, 0), (0.04, 0.01), (1, 1)])
def test_the_centre_of_mass_is_where_nothing_shifts(scale, relative):
  eigenvalues = tuple(r * scale**2 for r in relative)
  kernel = blur_kernels.gaussian_kernel(eigenvalues, 0.7, scale)
  aligned = [n // 2 + (scale - 1) / 2 for n in kernel.shape]
  np.testing.assert_allclose(mass(kernel), aligned, atol=1e-6)
  # Four standard deviations either side of the centre.
  assert aligned[0] + 0.5 >= 4 * scale
  assert kernel.shape[0] - 0.5 - aligned[0] >= 4 * scale


@pytest.mark.parametrize(
  'scale, stds, side', [(2, (2, 2), 19), (2, (0.1, 3), 27), (1.5, (6, 1), 53)]
)
def test_the_support_grows_with_a_wide_gaussian(scale, stds, side):
  kernel = blur_kernels.gaussian_kernel(
    (stds[0] ** 2, stds[1] ** 2), 0.4, scale
  )
  assert kernel.shape == (side, side)
  aligned = [side // 2 + (scale - 1) / 2] * 2
  np.testing.assert_allclose(mass(kernel), aligned, atol=1e-6)
  # Cut at four standard deviations, a normal loses 1e-3 of its variance.
  first, second, angle = blur_kernels.kernel_width(kernel)
  wide, narrow = max(stds), min(stds)
  assert first**2 == pytest.approx(wide**2 + 1 / 12, rel=3e-3)
  assert second == pytest.approx(np.hypot(narrow, 12**-0.5), abs=0.15)


@pytest.mark.parametrize('angle', [0, 30, 90, 135, 179])
def test_width_is_that_of_the_gaussian(angle):
  for eigenvalues, turn in (((9, 2), 0), ((2, 9), 90)):
    kernel = blur_kernels.gaussian_kernel(eigenvalues, np.radians(angle), 3)
    first, second, axis = blur_kernels.kernel_width(kernel)
    assert first**2 == pytest.approx(9 + 1 / 12, rel=3e-3)
    assert second**2 == pytest.approx(2 + 1 / 12, rel=3e-3)
    assert (axis - angle - turn + 90) % 180 - 90 == pytest.approx(0, abs=0.1)
    assert 0 <= axis < 180


def test_width_of_one_tap_and_of_negative_taps():
  assert blur_kernels.kernel_width(np.ones((1, 1)))[:2] == (0, 0)
  sharpening = np.array([[-1.0, 3.0, -1.0]])
  assert blur_kernels.kernel_width(sharpening)[:2] == (0, 0)


# Two kernels compared.


def test_correlation_does_not_mind_shift_size_and_scale_of_values():
  kernel = random_kernel(5, 7)
  shifted = np.pad(kernel, ((0, 4), (3, 0))) * 3
  for scale in (2, 3, 1.5, (2, 1)):
    same = blur_kernels.kernel_correlation(kernel, shifted, scale)
    assert same == pytest.approx(1, abs=1e-5)


def test_correlation_is_the_inner_product_of_aligned_kernels():
  narrow = blur_kernels.gaussian_kernel((1, 1), 0, 2)
  wide = blur_kernels.gaussian_kernel((25, 4), 0.5, 2)
  expected = blur_kernels.gaussian_kernel((1, 1), 0, 2).astype(np.float64)
  pad = (wide.shape[0] - narrow.shape[0]) // 2
  expected = np.pad(expected, pad)
  expected = (expected * wide).sum() / np.sqrt(
    (expected**2).sum() * (wide.astype(np.float64) ** 2).sum()
  )
  for a, b in ((narrow, wide), (wide, narrow)):
    got = blur_kernels.kernel_correlation(a, b, 2)
    assert got == pytest.approx(expected, abs=1e-6)
  assert expected < 0.6


def test_correlation_knows_a_flip():
  kernel = random_kernel(5, 5)
  assert blur_kernels.kernel_correlation(kernel, kernel[::-1, ::-1], 2) < 0.95


def test_noise_grows_with_the_signal_as_its_three_parts_say():
  degradation = Degradation(1, noise_std=0.02, shot=0.001, speckle=0.05)
  shades = np.linspace(0.2, 0.8, 4)
  image = jnp.asarray(np.broadcast_to(shades, (500, 40, 4)), jnp.float32)
  son = np.asarray(degradation.son(jax.random.key(0), image))
  expected = 0.02**2 + 0.001 * shades + (0.05 * shades) ** 2
  np.testing.assert_allclose(son.mean((0, 1)), shades, atol=2e-3)
  np.testing.assert_allclose(son.var((0, 1)), expected, rtol=0.05)
  level = degradation.error_std(np.asarray(image))
  assert level == pytest.approx(np.sqrt(expected.mean()), rel=1e-3)


def test_a_result_is_to_explain_an_image_up_to_its_noise():
  image = np.full((8, 8, 1), 0.5, np.float32)
  clean = Degradation(2).error_std(image)
  assert 0 < clean < 1 / 255
  assert Degradation(2, noise_std=0.2 / 255).error_std(image) == clean
  assert Degradation(2, noise_std=0.01).error_std(image) == pytest.approx(0.01)


def soft_image(shape):
  rng = np.random.default_rng(0)
  image = ndimage.gaussian_filter(rng.random(shape), 2)
  return ((image - image.min()) / np.ptp(image)).astype(np.float32)


def test_a_doubtful_kernel_is_to_explain_no_more_than_it_can():
  """Held against what random errors of its taps make of an image, by scipy."""
  rng = np.random.default_rng(0)
  image = soft_image((64, 96))
  kernel = np.full((10, 10), 0.01, np.float32)
  doubtful = Degradation(2, kernel, doubt=np.float32(0.03))
  made = []
  for _ in range(400):  # on the grid of the image: 5x5 taps of 0.04
    error = 0.2 * rng.standard_normal((5, 5))
    error -= 0.04 * error.sum()
    error *= np.sqrt(0.03)
    made.append(np.square(ndimage.correlate(image, error)).mean())
  sure = doubtful.replace(doubt=None)
  image = image[..., None]
  expected = degradation_lib._SHARPER * np.mean(made)
  expected += sure.error_std(image) ** 2
  assert doubtful.error_std(image) ** 2 == pytest.approx(expected, rel=0.15)
  assert doubtful.relative_doubt == pytest.approx(0.03 / 0.04)
  assert sure.relative_doubt == 0
  # Without a kernel there is nothing to doubt.
  plain = Degradation(2).error_std(image)
  assert doubtful.replace(kernel=None).error_std(image) == plain


def test_sons_of_a_doubtful_kernel_scatter_about_the_right_one():
  rng = np.random.default_rng(0)
  father = soft_image((24, 32))
  kernel = rng.random((5, 5)).astype(np.float32)
  kernel /= kernel.sum()
  degradation = Degradation(2, kernel, doubt=np.float32(1e-3))
  keys = jax.random.split(jax.random.key(0), 600)
  sons = np.stack([degradation.son(k, father[..., None])[..., 0] for k in keys])
  plain = np.asarray(degradation.down(jnp.asarray(father[..., None])))[..., 0]
  # sum k x^2 - (sum k x)^2, by scipy.
  mean = ndimage.correlate(father, kernel, mode='reflect')[::2, ::2]
  square = ndimage.correlate(father**2, kernel, mode='reflect')[::2, ::2]
  variance = 1e-3 * (square - mean**2)
  inside = (slice(2, -2), slice(2, -2))
  np.testing.assert_allclose(
    sons.mean(0)[inside], plain[inside], atol=4 * np.sqrt(variance.max() / 600)
  )
  ratio = sons.var(0)[inside].mean() / variance[inside].mean()
  assert ratio == pytest.approx(1, rel=0.1)
  again = degradation.son(keys[0], father[..., None])
  np.testing.assert_array_equal(again[..., 0], sons[0])


@pytest.mark.parametrize('channels', [1, 3])
def test_sons_of_a_jpeg_are_what_pillow_makes_of_them(channels):
  rng = np.random.default_rng(0)
  rough = ndimage.gaussian_filter(rng.random((48, 64, channels)), (2, 2, 0))
  father = ((rough - rough.min()) / np.ptp(rough)).astype(np.float32)
  degradation = Degradation(2, jpeg=jpeg.of_quality(60, (1, 1)))
  son = np.asarray(degradation.son(jax.random.key(0), jnp.asarray(father)))
  plain = color.to_uint8(np.asarray(degradation.down(jnp.asarray(father))))
  stream = io.BytesIO()
  Image.fromarray(plain.squeeze()).save(
    stream, 'JPEG', quality=60, subsampling=0
  )
  expected = np.asarray(Image.open(stream)).reshape(son.shape) / 255
  # libjpeg's transform is of whole numbers: now and then a level apart.
  assert np.abs(son - expected).mean() < 0.5 / 255
  assert np.abs(expected - plain / 255).mean() > 2 / 255
