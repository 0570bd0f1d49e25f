"""The network that finds a blur kernel, and its shipped parameters."""

import jax
import numpy as np
import pytest
import scipy.signal

from zssr_jax.models import kernel_finder
from zssr_jax.weights import parameters, starts

SIDE = kernel_finder.SIDE


@pytest.fixture(scope='module')
def params():
  found, facts = parameters.load_params(
    starts.FOLDER / 'kernel_finder.safetensors'
  )
  assert facts['network'] == 'kernel_finder'
  return found


def images(count, side=64):
  """Cartoons: overlapping rectangles, `[N, side, side]`."""
  rng = np.random.default_rng(0)
  made = np.zeros((count, side, side), np.float32)
  for image in made:
    for _ in range(40):
      y, x = rng.integers(0, side - 8, 2)
      h, w = rng.integers(4, side // 2, 2)
      image[y : y + h, x : x + w] = rng.random()
  return made


def test_the_shipped_parameters_are_the_networks(params):
  shapes = jax.eval_shape(
    kernel_finder.KernelFinder().init, jax.random.key(0), images(1)
  )
  parameters.check_shapes(params, shapes['params'])


def test_kernels_are_kernels_whatever_the_range_of_the_image(params):
  y = images(2)
  finder = kernel_finder.KernelFinder()
  found = finder.apply({'params': params}, y)
  assert len(found) == finder.stages
  for kernels in found:
    assert kernels.shape == (2, SIDE, SIDE)
    assert np.all(kernels >= 0)
    np.testing.assert_allclose(kernels.sum((1, 2)), 1, rtol=1e-5)
  again = finder.apply({'params': params}, 0.2 + 0.7 * y)
  np.testing.assert_allclose(again[-1], found[-1], atol=5e-3)


def test_images_of_one_kernel_are_looked_at_together(params):
  y = images(1)
  alone = kernel_finder.KernelFinder().apply({'params': params}, y)[-1]
  twice = kernel_finder.KernelFinder(together=True).apply(
    {'params': params}, np.concatenate([y, y])
  )[-1]
  assert twice.shape == (1, SIDE, SIDE)
  np.testing.assert_allclose(twice, alone, atol=1e-5)


def test_in_training_maps_are_held_to_the_sharp_image():
  """By the filters that a stage has: perfect maps have no error."""
  y = images(2)
  finder = kernel_finder.KernelFinder(stages=1)
  params = finder.init(jax.random.key(1), y)['params']
  # With these layers the maps are the image's own derivatives.
  params['stage0']['maps']['out']['kernel'] *= 0
  _, told = finder.apply({'params': params}, y, y, mutable='errors')
  (error,) = jax.tree.leaves(told)
  np.testing.assert_allclose(error, 0, atol=1e-6)
  _, told = finder.apply({'params': params}, y, y[::-1], mutable='errors')
  assert np.all(jax.tree.leaves(told)[0] > 0.5)


def comet():
  kernel = np.zeros((SIDE, SIDE), np.float32)
  kernel[8, 3:14] = np.linspace(0.1, 2, 11) ** 2
  return kernel / kernel.sum()


def hook():
  kernel = np.zeros((SIDE, SIDE), np.float32)
  kernel[4, 4:12], kernel[4:12, 12], kernel[12, 8:12] = 1, 1, 1
  kernel[12, 8] = 4
  return kernel / kernel.sum()


def likeness(a, b):
  """The largest correlation over shifts: a kernel's place is no part of it."""
  norm = np.sqrt((a**2).sum() * (b**2).sum())
  return float(scipy.signal.fftconvolve(a, b[::-1, ::-1]).max() / norm)


@pytest.mark.parametrize('turned', [False, True])
@pytest.mark.parametrize(('kernel', 'least'), [(comet(), 0.8), (hook(), 0.6)])
def test_it_finds_the_kernels_of_cartoons(params, kernel, least, turned):
  """Held against convolution by scipy; a kernel's spectrum knows no turning."""
  kernel = kernel[::-1, ::-1] if turned else kernel
  sharp = images(1, 160)[0]
  y = scipy.signal.fftconvolve(sharp, kernel, mode='valid')[:144, :144]
  found = np.asarray(
    kernel_finder.KernelFinder().apply({'params': params}, y[None])[-1][0]
  )
  right, wrong = likeness(found, kernel), likeness(found, kernel[::-1, ::-1])
  assert right > least and right > wrong + 0.02, (right, wrong)
