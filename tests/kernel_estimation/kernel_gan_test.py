"""KernelGAN: the composed generator, the steps, the conventions, the result."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zssr_jax import blur_kernels
from zssr_jax.degradation import Degradation
from zssr_jax.kernel_estimation import kernel_gan
from zssr_jax.ops import resize


def random_image(*shape, seed=0):
  return np.random.default_rng(seed).random(shape).astype(np.float32)


def random_kernel(side, seed=0):
  kernel = np.random.default_rng(seed).random((side, side)) ** 3
  return (kernel / kernel.sum()).astype(np.float32)


def dead_leaves(height, width, seed=0):
  """Opaque discs whose sizes look alike at every scale, [0, 255]."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[: 2 * height, : 2 * width]
  image = np.full((2 * height, 2 * width, 3), 0.5)
  for _ in range(2500):
    radius = 4 / np.sqrt(1 - rng.random() * (1 - (4 / 150) ** 2))
    center = rng.uniform((-50, -50), (2 * height + 50, 2 * width + 50))
    rows, columns = (
      slice(int(max(c - radius, 0)), int(max(c + radius + 2, 0)))
      for c in center
    )
    inside = np.hypot(
      y[rows, columns] - center[0], x[rows, columns] - center[1]
    )
    image[rows, columns][inside < radius] = rng.random(3)
  image = image.reshape(height, 2, width, 2, 3).mean((1, 3))
  return (255 * image + 0.5).astype(np.uint8)


def correlation(one, other, scale=2):
  """Normalised correlation after both were centred."""
  one, other = (
    blur_kernels.resample_kernel(k, scale, scale, center=True)
    for k in (one, other)
  )
  side = max(*one.shape, *other.shape)
  one, other = (
    np.asarray(blur_kernels.pad_kernel(jnp.asarray(k), (side, side)))
    for k in (one, other)
  )
  return (one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum())


def layer_by_layer(layers, image):
  """The generator as the paper draws it: `[C, H, W]`, stride 2 at the end."""
  x = image[..., None]
  for index, layer in enumerate(layers):
    stride = 2 if index == len(layers) - 1 else 1
    x = jax.lax.conv_general_dilated(
      x,
      layer,
      (stride, stride),
      'VALID',
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      precision=jax.lax.Precision.HIGHEST,
    )
  return x[..., 0]


@pytest.mark.slow
def test_composed_kernel_is_the_generator_in_value_and_gradient():
  widths, sides = (1, 5, 6, 7, 6, 5, 1), (7, 5, 3, 1, 1, 1)
  layers = tuple(
    jnp.asarray(random_image(side, side, width, out, seed=side + out)) - 0.5
    for side, width, out in zip(sides, widths, widths[1:], strict=False)
  )
  image = jnp.asarray(random_image(3, 20, 20))
  target = jnp.asarray(random_image(3, 4, 4, seed=1))

  def one_kernel(layers, image):
    kernel = kernel_gan.compose(layers)
    assert kernel.shape == (13, 13)
    return kernel_gan.generate(kernel, kernel_gan.patches(image, 13, 2))

  def loss(layers, generator):
    made = generator(layers, image)
    return jnp.sum((made - target) ** 2), made

  (slow, made), (fast, other) = (
    jax.jit(jax.grad(loss, has_aux=True), static_argnums=1)(layers, generator)
    for generator in (layer_by_layer, one_kernel)
  )
  np.testing.assert_allclose(
    made, other, atol=1e-5 * float(jnp.abs(made).max())
  )
  for a, b in zip(slow, fast, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.abs(a).max()))


@pytest.mark.slow
def test_generator_follows_the_kernel_convention():
  kernel, image = random_kernel(13), random_image(40, 40, 1)
  windows = kernel_gan.patches(jnp.asarray(image.transpose(2, 0, 1)), 13, 2)
  made = kernel_gan.generate(jnp.asarray(kernel), windows)
  # Its first output has tap (0, 0) at pixel (0, 0): 6 pixels, 3 outputs, in.
  whole = Degradation(2, jnp.asarray(kernel)).down(jnp.asarray(image))
  np.testing.assert_allclose(made[0], whole[3:-3, 3:-3, 0], atol=1e-5)


def test_bicubic_target_is_imresize():
  image = random_image(40, 40, 1)
  made = Degradation(2, jnp.asarray(kernel_gan.bicubic_kernel())).down(
    jnp.asarray(image)
  )
  true = resize.imresize(image, 0.5)
  np.testing.assert_allclose(made[3:-3, 3:-3], true[3:-3, 3:-3], atol=1e-5)


def test_patches_are_windows_in_reading_order():
  image = random_image(2, 11, 12)
  for side, stride in ((3, 1), (4, 2)):
    found = kernel_gan.patches(jnp.asarray(image), side, stride)
    view = np.lib.stride_tricks.sliding_window_view(
      image, (side, side), axis=(1, 2)
    )[:, ::stride, ::stride]
    np.testing.assert_array_equal(found, view.reshape(*view.shape[:3], -1))


def test_power_iteration_finds_the_spectral_norm():
  weight = jnp.asarray(random_image(5, 7, 9)) - 0.5
  direction = jnp.asarray(random_image(5, 9, seed=1))
  for _ in range(100):
    normal, direction = kernel_gan.normalise(weight, direction)
  norms = np.linalg.svd(np.asarray(normal), compute_uv=False)[:, 0]
  np.testing.assert_allclose(norms, 1, atol=1e-3)


def test_bicubic_weight_fades_once_the_loss_was_low_three_times():
  def fade(step, low, weight, loss):
    low, weight = kernel_gan.fade(
      jnp.int32(step), jnp.int32(low), jnp.float32(weight), jnp.float32(loss)
    )
    return int(low), pytest.approx(float(weight))

  assert fade(200, 1, 5.0, 0.3) == (2, 5.0)
  assert fade(200, 2, 5.0, 0.5) == (0, 5.0)
  assert fade(200, 2, 5.0, 0.3) == (3, 0.05)
  assert fade(199, 3, 5.0, 0.3) == (3, 5.0)
  assert fade(400, 3, 0.05, 9.0) == (3, 5e-4)
  assert fade(800, 3, 5e-6, 0.0) == (3, 5e-6)


def test_crops_prefer_detail_and_stay_inside():
  image = np.zeros((100, 90, 1), np.float32)
  image[70:80, 60:70] = random_image(10, 10, 1)
  points = np.linspace(0, 1, 500, endpoint=False)
  corners = kernel_gan.crop_corners(image, 26, 2.0, points)
  assert corners.min() >= 0
  assert (corners + 26 <= (100, 90)).all()
  center = corners + 13
  near = np.abs(center - (75, 65)).max(1) < 12
  assert near.mean() > 0.95


def check_kernel(kernel, scale, *, atol):
  assert kernel.dtype == np.float32
  assert all(side % 2 for side in kernel.shape)
  assert kernel.min() >= 0
  assert kernel.sum() == pytest.approx(1, abs=1e-5)
  np.testing.assert_allclose(
    blur_kernels.center_of_mass(kernel),
    blur_kernels.aligned_center(kernel.shape, scale),
    atol=atol,
  )


def test_finished_kernel_is_centred_and_sparse():
  raw = random_kernel(13) - 0.002
  kernel = kernel_gan.finish(raw)
  check_kernel(kernel, 2, atol=1e-4)
  with pytest.raises(ValueError, match='no kernel'):
    kernel_gan.finish(np.full((13, 13), np.nan))
  with pytest.raises(ValueError, match='no kernel'):
    kernel_gan.finish(-raw.clip(0))


def test_kernel_of_four_is_that_of_two_used_twice():
  kernel = blur_kernels.resample_kernel(random_kernel(13), 2, 2, center=True)
  image = jnp.asarray(random_image(160, 160, 1))
  once = Degradation(2, jnp.asarray(kernel)).down(image)
  both = Degradation(2, jnp.asarray(kernel)).down(once)
  four = kernel_gan.twice(kernel)
  direct = Degradation(4, jnp.asarray(four)).down(image)
  np.testing.assert_allclose(
    direct[10:-10, 10:-10], both[10:-10, 10:-10], atol=1e-5
  )
  np.testing.assert_allclose(
    blur_kernels.center_of_mass(four),
    blur_kernels.aligned_center(four.shape, 4),
    atol=1e-3,
  )


@pytest.mark.slow
@pytest.mark.parametrize('scale', [2, (4.0, 4.0)])
def test_estimate_keeps_the_contract_and_follows_the_key(scale):
  image = random_image(64, 75, 1)

  def run(seed):
    return kernel_gan.estimate(
      image, scale, jax.random.key(seed), iterations=50
    )

  kernel = run(0)
  check_kernel(kernel, scale, atol=1e-3)
  np.testing.assert_array_equal(kernel, run(0))
  assert not np.array_equal(kernel, run(1))


@pytest.mark.slow
@pytest.mark.parametrize('eigenvalues', [(0.8, 3.3), (3.3, 0.8)])
def test_estimate_of_a_gaussian_beats_bicubic(eigenvalues):
  true = blur_kernels.gaussian_kernel(eigenvalues, 0.0, 2)
  hr = jnp.asarray(dead_leaves(320, 400)[..., :1] / 255, jnp.float32)
  lr = np.asarray(Degradation(2, jnp.asarray(true)).down(hr))
  found = kernel_gan.estimate(lr, 2, jax.random.key(0), iterations=500)
  bicubic = correlation(kernel_gan.bicubic_kernel(), true)
  assert correlation(found, true) > bicubic + 0.05
  # Spread along the same axis.
  offset = [
    np.arange(n) - c
    for n, c in zip(
      found.shape, blur_kernels.center_of_mass(found), strict=True
    )
  ]
  rows = found.sum(1) @ offset[0] ** 2
  columns = found.sum(0) @ offset[1] ** 2
  assert (rows > columns) == (eigenvalues[1] > eigenvalues[0])


@pytest.mark.parametrize(
  ('shape', 'scale', 'iterations', 'message'),
  [
    ((64, 64, 1), 3, 9, 'KernelGAN is for x2 and x4, not 3'),
    ((64, 64, 1), (2, 4), 9, 'KernelGAN is for x2 and x4'),
    ((64, 64), 2, 9, r'an image is \[H, W, C\]'),
    ((31, 64, 1), 2, 9, '31x64 pixels is too small'),
    ((64, 64, 1), 2, 0, 'at least 1'),
  ],
)
def test_what_cannot_be_estimated_is_refused(shape, scale, iterations, message):
  with pytest.raises(ValueError, match=message) as error:
    kernel_gan.estimate(
      random_image(*shape), scale, jax.random.key(0), iterations=iterations
    )
  assert '\n' not in str(error.value)
