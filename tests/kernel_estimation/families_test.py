"""Transfer functions against the Fourier transform of the kernels' own taps."""

import math

import numpy as np
import pytest

from zssr_jax.kernel_estimation import families
from zssr_jax.ops import resize

FREQUENCIES = np.linspace(0, 0.4, 9)


def transform(kernel):
  """`|K|^2` of taps at FREQUENCIES x FREQUENCIES, by a plain sum."""
  kernel = np.asarray(kernel, np.float64)
  waves = [
    np.exp(-2j * math.pi * FREQUENCIES[:, None] * np.arange(n)[None])
    for n in kernel.shape
  ]
  return abs(waves[0] @ kernel @ waves[1].T) ** 2


@pytest.mark.parametrize(
  'family, parameters',
  [
    ('gaussian', [1.2, 0.4, 0.9]),
    ('gaussian', [2.0, 0.0, 2.0]),
    ('disc', [0.8, 2.5]),
    ('disc', [0.6, 4.0]),
    ('line', [0.8, 0.0, 7.0]),
    ('line', [0.7, 6.0, -4.0]),
  ],
)
@pytest.mark.parametrize('scale', [2, 3, 1.5])
def test_transfer_functions_are_those_of_the_kernels(
  family, parameters, scale, monkeypatch
):
  family = families.FAMILIES[family]
  scales = resize.scale_pair(scale)
  monkeypatch.setattr(families, '_SHARE', 1.0)
  nothing = np.zeros((len(parameters), len(parameters)))
  kernel = family.kernel(np.asarray(parameters), nothing, 1.0, scales)
  assert kernel.sum() == pytest.approx(1, abs=1e-5)
  y, x = np.meshgrid(FREQUENCIES, FREQUENCIES, indexing='ij')
  told = np.exp(family.log_transfer(np.asarray(parameters), y, x, scales))
  # Between whole scales taps are shared to centre the kernel, which blurs it.
  tolerance = 0.02 if scale == int(scale) else 0.06
  np.testing.assert_allclose(told, transform(kernel), atol=tolerance)


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_no_blur_is_what_bicubic_downscaling_does_to_waves(scale):
  size = 240
  y, x = np.meshgrid(FREQUENCIES, FREQUENCIES, indexing='ij')
  told = np.exp(families.NONE.log_transfer(np.empty(0), y, x, (scale, scale)))
  place = np.arange(size)
  for i, f in enumerate(FREQUENCIES):
    # Both phases of the wave, so that what comes out has one amplitude.
    amplitude = sum(
      resize.imresize(
        wave(2 * math.pi * f * place)[:, None, None], (1 / scale, 1)
      )[20:-20, 0, 0]
      ** 2
      for wave in (np.cos, np.sin)
    )
    assert told[i, 0] == pytest.approx(float(amplitude.mean()), abs=0.01)


def test_words_tell_size_and_direction():
  words = families.LINE.words(np.array([0.5, 3.0, 3.0]))
  assert words == 'motion of 4.2 pixels at 45 degrees'
  assert families.DISC.words(np.array([0.5, -2.5])) == (
    'defocus of radius 2.5 pixels'
  )
  assert families.GAUSSIAN.words(np.array([2.0, 0.0, 1.0])) == (
    'Gaussian blur of 2.0 x 1.0 pixels'
  )
