"""imresize against MATLAB's own images, a plain loop and jax.image."""

import fractions
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from zssr_jax.data import datasets
from zssr_jax.ops import metrics, resize

# PSNR of bicubic upscaling, from the published tables.
BICUBIC = {
  ('Set5', 2): 33.64,
  ('Set5', 3): 30.39,
  ('Set5', 4): 28.42,
  ('Set14', 2): 30.22,
  ('Set14', 3): 27.53,
  ('Set14', 4): 25.99,
  ('B100', 2): 29.55,
  ('B100', 3): 27.20,
  ('B100', 4): 25.96,
}


def read(path):
  with Image.open(path) as image:
    pixels = np.asarray(image)
  return pixels[..., None] if pixels.ndim == 2 else pixels


def random_image(*shape, seed=0):
  return np.random.default_rng(seed).random(shape)


def kernel_at(method, x):
  x = abs(x) if method != 'nearest' else x
  if method == 'nearest':
    return float(-0.5 <= x < 0.5)
  if method == 'linear':
    return max(0.0, 1 - x)
  if method == 'lanczos':  # as MATLAB has it: its eps is for x = 0 alone
    near = np.sin(np.pi * x) * np.sin(np.pi * x / 3)
    eps = np.finfo(float).eps
    return (near + eps) / (np.pi**2 * x**2 / 3 + eps) if x < 3 else 0.0
  if x <= 1:
    return 1.5 * x**3 - 2.5 * x**2 + 1
  return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def resize_row(row, scale, method, antialias, border):
  """MATLAB's algorithm for one row of numbers, as its source comments it."""
  size = len(row)
  width = {'lanczos': 6, 'cubic': 4, 'linear': 2, 'nearest': 1}[method]
  stretch = 1.0
  if scale < 1 and antialias and method != 'nearest':
    stretch, width = scale, width / scale
  out = []
  # A product that is a whole number up to rounding is that number.
  for x in range(1, math.ceil(round(size * scale, 6)) + 1):
    u = x / scale + 0.5 * (1 - 1 / scale)
    left = math.floor(u - width / 2)
    total = value = 0.0
    for p in range(left, left + math.ceil(width) + 2):
      weight = stretch * kernel_at(method, stretch * (u - p))
      if border == 'replicate':
        source = min(max(p, 1), size)
      else:
        mirror = [*range(1, size + 1), *range(size, 0, -1)]
        source = mirror[(p - 1) % (2 * size)]
      total += weight
      value += weight * row[source - 1]
    out.append(value / total)
  return out


def resize_slowly(image, scale, method='cubic', antialias=True, border=None):
  """The oracle: rows and columns one by one, smaller scale first."""
  border = border or 'replicate'
  out = image.astype(np.float64)
  for axis in sorted((0, 1), key=lambda a: scale[a]):
    out = np.apply_along_axis(
      resize_row, axis, out, scale[axis], method, antialias, border
    )
    if image.dtype == np.uint8:
      out = np.clip(np.floor(out + 0.5), 0, 255)
  return out.astype(image.dtype)


@pytest.mark.slow
@pytest.mark.parametrize('dataset, scale', list(BICUBIC))
def test_matlab_images_are_reproduced_bit_for_bit(data_root, dataset, scale):
  """Also scores their bicubic upscaling, since the files are open."""
  different, scores = [], []
  for pair in datasets.pairs(data_root, dataset, scale):
    hr, lr = read(pair.hr), read(pair.lr)
    rows, columns = (n // scale * scale for n in hr.shape[:2])
    made = resize.imresize(hr[:rows, :columns], 1 / scale)
    if not np.array_equal(made, lr):
      different.append(pair.name)
    sr = resize.imresize(lr, scale)
    a, b = metrics.scored_luma(sr, hr, scale)
    mse = np.mean((a.astype(np.float64) - b) ** 2)
    scores.append(10 * np.log10(255**2 / mse))
  assert not different
  assert len(scores) == {'Set5': 5, 'Set14': 14, 'B100': 100}[dataset]
  assert np.mean(scores) == pytest.approx(BICUBIC[dataset, scale], abs=0.01)


@pytest.mark.parametrize('border', ['replicate', 'symmetric'])
@pytest.mark.parametrize('method', ['lanczos', 'cubic', 'linear', 'nearest'])
@pytest.mark.parametrize(
  'scale', [(0.5, 0.5), (1 / 3, 0.7), (1.5, 2), (2.7, 0.4), (3, 1), (0.1, 5)]
)
def test_it_equals_a_plain_loop_of_the_algorithm(scale, method, border):
  image = random_image(11, 14, 2)
  expected = resize_slowly(image, scale, method, border=border)
  made = resize.imresize(image, scale, method=method, border=border)
  assert made.dtype == np.float64
  np.testing.assert_allclose(made, expected, atol=1e-12)


@pytest.mark.parametrize('method', ['cubic', 'linear'])
def test_without_antialiasing_the_kernel_is_not_stretched(method):
  image = random_image(12, 13, 1)
  expected = resize_slowly(image, (0.5, 0.4), method, antialias=False)
  made = resize.imresize(image, (0.5, 0.4), method=method, antialias=False)
  np.testing.assert_allclose(made, expected, atol=1e-12)
  blurred = resize.imresize(image, (0.5, 0.4), method=method)
  assert np.abs(made - blurred).max() > 0.05


@pytest.mark.parametrize('scale', [(0.5, 0.5), (0.7, 0.4), (2.0, 0.5), (3, 2)])
def test_uint8_is_rounded_after_each_pass_in_matlabs_order(scale):
  image = np.random.default_rng(1).integers(0, 256, (15, 18, 3), np.uint8)
  made = resize.imresize(image, scale)
  assert made.dtype == np.uint8
  np.testing.assert_array_equal(made, resize_slowly(image, scale))


def test_the_two_borders_differ_at_the_border_alone():
  image = random_image(24, 24, 1)
  replicated = resize.imresize(image, 0.5)
  mirrored = resize.imresize(image, 0.5, border='symmetric')
  differs = np.abs(replicated - mirrored)[..., 0] > 1e-12
  assert differs[0].any() and differs[:, -1].any()
  assert not differs[2:-2, 2:-2].any()


@pytest.mark.slow
@pytest.mark.parametrize('scale', [0.5, 1 / 3, 0.75, 2.0, 3.0, 1.5])
@pytest.mark.parametrize('method', ['lanczos', 'cubic', 'linear'])
def test_the_interior_equals_that_of_jax_image(scale, method):
  image = random_image(36, 48, 3).astype(np.float32)
  made = resize.imresize(image, scale, method=method)
  other = jax.image.resize(
    jnp.asarray(image),
    made.shape,
    'lanczos3' if method == 'lanczos' else method,
    antialias=True,
  )
  # jax.image leaves out what lies beyond the border.
  edge = 4 * math.ceil(max(scale, 1))
  inside = slice(edge, -edge)
  np.testing.assert_allclose(
    made[inside, inside], np.asarray(other)[inside, inside], atol=1e-5
  )


@pytest.mark.parametrize('border', ['replicate', 'symmetric'])
@pytest.mark.parametrize('scale', [0.5, (1 / 3, 2.0), (1.37, 0.81)])
def test_jax_and_numpy_agree_also_inside_jit(scale, border):
  image = random_image(21, 30, 3).astype(np.float32)
  on_host = resize.imresize(image, scale, border=border)
  assert isinstance(on_host, np.ndarray) and on_host.dtype == np.float32

  def on_device(x):
    return resize.imresize(x, scale, border=border)

  eager = on_device(jnp.asarray(image))
  jitted = jax.jit(on_device)(image)
  assert isinstance(eager, jax.Array) and eager.dtype == jnp.float32
  np.testing.assert_allclose(eager, on_host, atol=2e-6)
  np.testing.assert_allclose(jitted, on_host, atol=2e-6)


@pytest.mark.parametrize('border', ['replicate', 'symmetric'])
@pytest.mark.parametrize(
  ('scale', 'repeats'),
  [(2.0, True), (0.5, True), (1.1, True), (0.9, True), (1.2345, False)],
)
@pytest.mark.parametrize('size', [1, 3, 50, 400])
def test_weights_that_repeat_and_those_that_do_not(
  size, scale, repeats, border
):
  count = resize.scaled_shape((size, size), scale)[0]
  taps = resize._taps(count, scale, 'cubic', True)
  if size == 400:
    assert (resize._period(*taps) is not None) == repeats
  for axis, shape in enumerate([(size, 3, 2), (3, size, 2)]):
    image = random_image(*shape).astype(np.float32)
    factors = (scale, 1.0) if axis == 0 else (1.0, scale)
    on_device = jax.jit(lambda x: resize.imresize(x, factors, border=border))  # noqa: B023
    on_host = resize.imresize(image, factors, border=border)
    np.testing.assert_allclose(on_device(image), on_host, atol=2e-6)


@pytest.mark.parametrize('scale', ['1/2', '1/3', '3/2', '11/10', '7/3', '0.37'])
@pytest.mark.parametrize('size', [1, 7, 10, 30, 101, 477])
def test_the_output_has_the_ceiling_of_the_scaled_size(scale, size):
  exact = fractions.Fraction(scale)
  expected = math.ceil(exact * size)
  assert resize.scaled_shape((size, 3), float(exact)) == (
    expected,
    math.ceil(exact * 3),
  )
  image = np.zeros((size, 3, 1), np.float32)
  assert resize.imresize(image, (float(exact), 1)).shape == (expected, 3, 1)


def test_a_given_shape_keeps_the_sampling_grid():
  image = random_image(9, 10, 1)
  whole = resize.imresize(image, (1.5, 2))
  assert whole.shape == (14, 20, 1)
  part = resize.imresize(image, (1.5, 2), shape=(13, 20))
  np.testing.assert_array_equal(part, whole[:13])


def test_scale_one_returns_the_image():
  image = random_image(5, 6, 1)
  np.testing.assert_array_equal(resize.imresize(image, 1), image)


def test_the_matrix_is_what_is_applied_to_a_column():
  matrix = resize.resize_matrix(12, 5, 0.4)
  assert matrix.shape == (5, 12)
  column = random_image(12, 1, 1)
  np.testing.assert_allclose(
    matrix @ column[:, 0, 0],
    resize.imresize(column, (0.4, 1))[:, 0, 0],
    atol=1e-12,
  )


@pytest.mark.parametrize('border', ['replicate', 'symmetric'])
@pytest.mark.parametrize('scale', [0.1, 0.4, 0.5625, 0.8, 1.5, 2.0, 3.7])
def test_small_images_are_resized_as_large_ones(monkeypatch, scale, border):
  image = random_image(13, 31, 2)
  image[12, 30] = math.nan  # and what is no number spreads no further
  small = resize.imresize(image, scale, border=border)
  monkeypatch.setattr(resize, '_FEW_SAMPLES', 0)
  large = resize.imresize(image, scale, border=border)
  np.testing.assert_array_equal(small, large, strict=True)
  assert np.isfinite(large).any()


@pytest.mark.parametrize('scale', [0, -1, math.nan, math.inf])
def test_a_scale_that_is_no_scale_is_refused(scale):
  with pytest.raises(ValueError):
    resize.imresize(random_image(8, 8, 1), scale)


def test_unknown_options_are_refused():
  image = random_image(8, 8, 1)
  with pytest.raises(ValueError, match='method'):
    resize.imresize(image, 2, method='spline')
  with pytest.raises(ValueError, match='border'):
    resize.imresize(image, 2, border='wrap')
  with pytest.raises(ValueError, match=r'\[H, W, C\]'):
    resize.imresize(image[..., 0], 2)
