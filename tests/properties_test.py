"""Laws that hold for whatever input: files, resizing, kernels, settings."""

import dataclasses
import io
import math

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io
from hypothesis import strategies as st
from PIL import Image

from zssr_jax import blur_kernels, config, presets
from zssr_jax.data import image_io, kernel_io, matlab, photo
from zssr_jax.degradation import Degradation
from zssr_jax.ops import resize

TMP = hypothesis.HealthCheck.function_scoped_fixture


def laws(examples):
  """Settings by which every run tests the same examples."""
  return hypothesis.settings(
    derandomize=True,
    max_examples=examples,
    deadline=None,
    database=None,
    suppress_health_check=[TMP],
  )


sides = st.integers(1, 20)
seeds = st.integers(0, 2**32 - 1)


@laws(40)
@hypothesis.given(
  sides, sides, st.integers(1, 4), st.sampled_from(['uint8', 'uint16']), seeds
)
def test_samples_come_back_from_png_and_tiff(
  tmp_path, height, width, bands, depth, seed
):
  rng = np.random.default_rng(seed)
  most = np.iinfo(depth).max
  samples = rng.integers(0, most + 1, (height, width, bands)).astype(depth)
  fractions = samples.astype(np.float32) / np.float32(most)
  alpha = fractions[..., -1:] if bands in (2, 4) else None
  colour = fractions[..., :-1] if bands in (2, 4) else fractions
  like = photo.Photo('a', colour, alpha, 'PNG', depth)
  for container in ('PNG', 'TIFF'):
    path = tmp_path / 'a'
    path.write_bytes(photo.encode(colour, alpha, like, container=container))
    found = photo.read_photo(path)
    assert (found.container, found.depth) == (container, depth)
    np.testing.assert_array_equal(found.colour, colour)
    if alpha is None:
      assert found.alpha is None
    else:
      np.testing.assert_array_equal(found.alpha, alpha)
    assert photo.read_shape(path) == colour.shape


@laws(30)
@hypothesis.given(
  sides, sides, st.sampled_from(['1', 'L', 'LA', 'P', 'RGB', 'RGBA']), seeds
)
def test_every_mode_is_read_as_pillow_shows_it(
  tmp_path, height, width, mode, seed
):
  rng = np.random.default_rng(seed)
  pixels = rng.integers(0, 256, (height, width, 4)).astype(np.uint8)
  image = Image.fromarray(pixels).convert('RGB' if mode == 'P' else mode)
  image = image.convert(mode)
  stream = io.BytesIO()
  image.save(stream, 'PNG')
  path = tmp_path / 'a'
  path.write_bytes(stream.getvalue())
  found = photo.read_photo(path)
  shown = np.asarray(image.convert('RGBA'), np.float32) / np.float32(255)
  colour = np.broadcast_to(found.colour, (height, width, 3))
  np.testing.assert_array_equal(colour, shown[..., :3])
  if found.alpha is not None:
    np.testing.assert_array_equal(found.alpha, shown[..., 3:])
  if mode in ('L', 'P', 'RGB'):
    plain = image_io.read_image(path)
    np.testing.assert_array_equal(plain, found.colour)


def cubic(x):
  x = abs(x)
  if x <= 1:
    return 1.5 * x**3 - 2.5 * x**2 + 1
  return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def resized_by_a_loop(row, scale, border):
  """MATLAB's imresize of a list of numbers, as its manual has it."""
  out = []
  wide = max(1 / scale, 1)
  for i in range(math.ceil(len(row) * scale - 1e-9)):
    centre = (i + 0.5) / scale - 0.5
    places = range(
      math.floor(centre - 2 * wide) - 1, math.ceil(centre + 2 * wide) + 2
    )
    weights = [cubic((centre - p) / wide) for p in places]
    total = 0.0
    for weight, p in zip(weights, places, strict=True):
      mirrored = p % (2 * len(row))
      if border == 'replicate':
        p = min(max(p, 0), len(row) - 1)
      else:
        p = min(mirrored, 2 * len(row) - 1 - mirrored)
      total += weight * row[p]
    out.append(total / sum(weights))
  return out


borders = st.sampled_from(['replicate', 'symmetric'])
scales = st.sampled_from([2, 3, 4, 1.5, 1 / 2, 1 / 3, 2 / 3, 0.4])


@laws(25)
@hypothesis.given(*(sides, sides, st.integers(1, 3), scales, borders, seeds))
def test_resizing_obeys_its_laws(height, width, bands, scale, border, seed):
  rng = np.random.default_rng(seed)
  a, b = rng.random((2, height, width, bands)).astype(np.float32)
  shape = (*resize.scaled_shape(a.shape, scale), bands)

  def resized(image):
    return np.asarray(resize.imresize(image, scale, border=border))

  assert resized(a).shape == shape
  mixed = np.float32(0.25) * resized(a) - np.float32(2) * resized(b)
  np.testing.assert_allclose(
    resized(np.float32(0.25) * a - np.float32(2) * b), mixed, atol=1e-5
  )
  flat = np.full_like(a, 0.375)
  np.testing.assert_allclose(resized(flat), 0.375, atol=1e-6)
  rows = np.array([resized_by_a_loop(r, scale, border) for r in a[..., 0].T]).T
  loop = np.array([resized_by_a_loop(r, scale, border) for r in rows])
  np.testing.assert_allclose(resized(a)[..., 0], loop, atol=2e-5)


variances = st.floats(0.2, 9)
angles = st.floats(0, 3.14)
whole = st.sampled_from([2, 3])


@laws(25)
@hypothesis.given(variances, variances, angles, whole)
def test_kernels_sum_to_one_and_survive_every_file(
  tmp_path, first, second, angle, scale
):
  made = blur_kernels.gaussian_kernel((first, second), angle, scale)
  kernel = np.asarray(made)
  assert abs(kernel.sum() - 1) < 1e-5
  np.save(tmp_path / 'k.npy', kernel)
  np.savez_compressed(tmp_path / 'k.npz', kernel=kernel)
  scipy.io.savemat(tmp_path / 'k.mat', {'Kernel': kernel}, do_compression=True)
  for suffix in ('npy', 'npz', 'mat'):
    again = kernel_io.read_kernel(tmp_path / f'k.{suffix}')
    np.testing.assert_allclose(again, kernel, atol=1e-7)


@laws(25)
@hypothesis.given(sides, sides, whole, st.booleans(), seeds)
def test_a_stretched_kernel_keeps_its_sum_and_its_place(
  height, width, scale, center, seed
):
  kernel = np.random.default_rng(seed).random((height, width)) + 0.01
  kernel = (kernel / kernel.sum()).astype(np.float32)
  found = blur_kernels.resample_kernel(kernel, scale, 1.5, center=center)
  assert abs(found.sum(dtype=np.float64) - 1) < 1e-5
  assert found.min() >= 0
  mass = blur_kernels.center_of_mass(kernel)
  aligned = blur_kernels.aligned_center(kernel.shape, scale)
  offset = (np.array(mass) - aligned) * (0 if center else 1.5 / scale)
  place = np.array(blur_kernels.center_of_mass(found))
  goal = np.array(blur_kernels.aligned_center(found.shape, 1.5)) + offset
  np.testing.assert_allclose(place, goal, atol=1e-4)


few = st.sampled_from([0.5, 2.0])  # for each a program is compiled


@laws(6)
@hypothesis.given(few, angles, st.just(2), seeds)
def test_a_degradation_is_linear_and_its_adjoint_is_one(
  variance, angle, scale, seed
):
  rng = np.random.default_rng(seed)
  kernel = blur_kernels.gaussian_kernel((variance, 1.0), angle, scale)
  degradation = Degradation(scale, kernel=jnp.asarray(kernel))
  x, y = rng.random((2, 24, 24, 1)).astype(np.float32)
  low = rng.random((24 // scale, 24 // scale, 1)).astype(np.float32)
  down = np.asarray(degradation.down(x))
  assert down.shape == low.shape
  both = np.asarray(degradation.down(x + y))
  other = np.asarray(degradation.down(y))
  np.testing.assert_allclose(both, down + other, atol=1e-5)
  flat = np.asarray(degradation.down(np.full_like(x, 0.5)))
  np.testing.assert_allclose(flat, 0.5, atol=1e-5)
  back = np.asarray(degradation.adjoint(low, x.shape))
  np.testing.assert_allclose((down * low).sum(), (x * back).sum(), rtol=1e-4)


values = st.one_of(
  st.integers(-10, 10).map(lambda n: np.full((2, 3), n, np.int16)),
  st.floats(-9, 9).map(lambda n: np.array([[n, 1.0]])),
  st.just('text'),
)


@laws(40)
@hypothesis.given(
  st.dictionaries(
    st.sampled_from('abcde'),
    st.recursive(
      values,
      lambda inner: st.dictionaries(st.sampled_from('xyz'), inner, min_size=1),
      max_leaves=6,
    ),
    min_size=1,
  ),
  st.booleans(),
)
def test_matlab_files_are_read_as_scipy_reads_them(tmp_path, tree, packed):
  path = tmp_path / 'a.mat'
  scipy.io.savemat(path, tree, do_compression=packed)
  found = dict(matlab.flatten(matlab.read_variables(path, path.read_bytes())))

  def leaves(prefix, value):
    if isinstance(value, dict):
      for name, inner in value.items():
        yield from leaves(f'{prefix}.{name}' if prefix else name, inner)
    elif not isinstance(value, str):
      yield prefix, value

  for name, value in leaves('', tree):
    np.testing.assert_array_equal(found[name], value)


fields = st.sampled_from([f.name for f in dataclasses.fields(config.Config)])


@laws(150)
@hypothesis.given(
  fields,
  st.one_of(
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=8),
    st.none(),
    st.booleans(),
    st.lists(st.integers(-2, 9), max_size=3).map(tuple),
  ),
)
def test_a_setting_is_refused_by_its_name_or_kept(name, value):
  try:
    made = config.Config(**{name: value})
  except (ValueError, TypeError) as error:
    assert name in str(error), error
    assert len(str(error).splitlines()) == 1
    return
  settings = {f.name: getattr(made, f.name) for f in dataclasses.fields(made)}
  assert config.Config(**settings) == made
  hash(made)


@pytest.mark.parametrize('name', ['auto', 'fast', 'best', 'gradual', 'smoke'])
def test_shipped_settings_come_back_from_a_dict(name):
  made = presets.load_config(name)
  assert config.Config(**dataclasses.asdict(made)) == made
