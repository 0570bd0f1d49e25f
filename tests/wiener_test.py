"""The filter that undoes a blur before the network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zssr_jax
from zssr_jax import blur_kernels, presets, wiener
from zssr_jax.degradation import Degradation
from zssr_jax.ops import jpeg, resize
from zssr_jax.training import step

GAUSSIAN = blur_kernels.gaussian_kernel((3, 1), 0.5, 2)
DISC = blur_kernels.disc_kernel(3.0, 0.5, 2)
DEGRADATIONS = {
  'gaussian': Degradation(2, GAUSSIAN),
  'disc': Degradation(2, DISC),
  'line': Degradation(2, blur_kernels.line_kernel(9, 0.4, 0.5, 2)),
  'noise': Degradation(2, DISC, noise_std=np.float32(0.02)),
  'x3': Degradation(3, blur_kernels.gaussian_kernel((6, 3), 1, 3)),
  'x1.5': Degradation(1.5, blur_kernels.gaussian_kernel((2, 1), 1, 1.5)),
  'two scales': Degradation(
    (2, 3), blur_kernels.gaussian_of(np.diag([2.0, 4.0]), (2, 3))
  ),
}


def scene(seed, shape):
  """A power-law image `[H, W, 1]`."""
  rng = np.random.default_rng(seed)
  y, x = (np.fft.fftfreq(n) for n in shape)
  radius = np.maximum(np.hypot(y[:, None], x), 1 / max(shape))
  made = np.fft.ifft2(np.fft.fft2(rng.standard_normal(shape)) / radius).real
  made = 0.5 + 0.12 * made / made.std()
  return made.clip(0, 1)[..., None].astype(np.float32)


def pair(degradation, seed=0, side=288):
  """A degraded scene, and what bicubic downscaling makes of the scene."""
  sharp = scene(seed, (side, side))
  son = np.asarray(degradation.son(jax.random.key(seed), jnp.asarray(sharp)))
  wanted = np.asarray(Degradation(degradation.scale).down(jnp.asarray(sharp)))
  return son, wanted


def error(image, wanted):
  return float(np.sqrt(((image - wanted)[20:-20, 20:-20] ** 2).mean()))


def shown(degradation, image):
  return np.asarray(degradation.shown(jnp.asarray(image)))


@pytest.mark.parametrize('name', DEGRADATIONS)
def test_the_filter_undoes_most_of_the_blur(name):
  degradation = DEGRADATIONS[name]
  son, wanted = pair(degradation)
  taps = wiener.filter_of(degradation, son)
  assert taps.shape == (wiener.SIDE, wiener.SIDE)
  assert taps.sum() == pytest.approx(1, abs=1e-5)
  after = error(shown(degradation.replace(undo=taps), son), wanted)
  assert after < (0.9 if name == 'noise' else 0.6) * error(son, wanted)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['gaussian', 'disc', 'noise'])
def test_it_is_nearly_the_best_linear_filter(name):
  """Held against the filter that least squares finds on the pixels."""
  degradation, reach = DEGRADATIONS[name], 7
  son, wanted = pair(degradation)
  windows = np.lib.stride_tricks.sliding_window_view(
    son[..., 0], (2 * reach + 1,) * 2
  ).reshape(-1, (2 * reach + 1) ** 2)
  target = wanted[reach:-reach, reach:-reach, 0].ravel()
  best, *_ = np.linalg.lstsq(windows, target, rcond=1e-6)
  best = best.reshape(2 * reach + 1, 2 * reach + 1).astype(np.float32)
  son, wanted = pair(degradation, seed=1)  # another than the best was found on
  least = error(shown(degradation.replace(undo=best), son), wanted)
  taps = wiener.filter_of(degradation, son)
  assert error(shown(degradation.replace(undo=taps), son), wanted) < 1.1 * least


def test_more_noise_means_a_milder_filter():
  son, _ = pair(DEGRADATIONS['disc'])
  power = [
    float(
      (
        wiener.filter_of(Degradation(2, DISC, noise_std=np.float32(s)), son)
        ** 2
      ).sum()
    )
    for s in (0.001, 0.01, 0.05)
  ]
  assert power[0] > 2 * power[1] > 4 * power[2]


def mistaken_kernels(doubt, count):
  """A disc's kernel, its taps in error as `Degradation.doubt` says."""
  rng = np.random.default_rng(0)
  for _ in range(count):
    error = np.sqrt(DISC) * rng.standard_normal(DISC.shape)
    error -= DISC * error.sum()
    yield (DISC + np.sqrt(doubt) * error).astype(np.float32)


def test_a_kernel_in_doubt_means_a_milder_filter_which_errs_less():
  doubt = 0.02
  told = Degradation(2, DISC, noise_std=np.float32(0.004))
  errors = []
  for kernel in mistaken_kernels(doubt, 6):
    son, wanted = pair(told.replace(kernel=kernel))
    for degradation in (told, told.replace(doubt=np.float32(doubt))):
      taps = wiener.filter_of(degradation, son)
      errors.append(error(shown(degradation.replace(undo=taps), son), wanted))
  sure, doubtful = np.mean(errors[::2]), np.mean(errors[1::2])
  assert doubtful < 0.9 * sure


def test_without_a_kernel_or_a_known_error_there_is_no_filter():
  image = scene(0, (64, 64))
  assert wiener.filter_of(Degradation(2), image) is None
  unknown = Degradation(2, GAUSSIAN, jpeg=jpeg.of_quality(50))
  assert wiener.filter_of(unknown, image) is None
  for side in (8, 9):  # smaller than the windows of the spectrum
    tiny = scene(0, (side, 12))
    assert np.isfinite(wiener.filter_of(Degradation(2, GAUSSIAN), tiny)).all()
  flat = np.full((64, 64, 3), 0.5, np.float32)
  assert wiener.filter_of(Degradation(2, GAUSSIAN), flat) is None


def test_sons_and_input_are_shown_through_the_same_filter():
  taps = np.zeros((3, 3), np.float32)
  taps[1, 1], taps[1, 2] = 3, -2
  plain = Degradation(2, GAUSSIAN)
  father = jnp.asarray(scene(0, (32, 32)))
  son, _ = step.make_pair(jax.random.key(0), father, plain)
  sharper, up = step.make_pair(
    jax.random.key(0), father, plain.replace(undo=taps)
  )
  wide = np.pad(np.asarray(son), ((1, 1), (1, 1), (0, 0)), mode='symmetric')
  expected = 3 * wide[1:-1, 1:-1] - 2 * wide[1:-1, 2:]
  np.testing.assert_allclose(sharper, expected, atol=1e-6)
  np.testing.assert_allclose(
    up, resize.imresize(sharper, 2, shape=(32, 32)), atol=1e-5
  )
  assert plain.shown(son) is son
  for changed in (
    plain.replace(undo=taps).at(1.5),
    plain.replace(undo=taps).padded((41, 41)),
  ):
    np.testing.assert_array_equal(changed.undo, taps)


@pytest.mark.slow
def test_the_result_is_better_for_it():
  sharp = scene(3, (192, 192))
  degradation = Degradation(2, DISC)
  lr = np.asarray(degradation.down(jnp.asarray(sharp)))
  errors = []
  for undo in (True, False):
    config = presets.load_config(
      'nonideal_fast',
      start='random',
      max_steps=60,
      depth=3,
      width=16,
      kernel='given',
      undo_blur=undo,
      consistency='none',
      copies=1,
    )
    result = zssr_jax.train_image(lr, 2, kernel=DISC, config=config)
    assert (result.degradation.undo is not None) == undo
    errors.append(error(result.image, sharp))
  assert errors[0] < 0.85 * errors[1]


def test_the_published_procedure_has_no_filter():
  for name in ('ideal', 'pixel_shuffle', 'transposed', 'vdsr_backbone', 'mzsr'):
    assert not presets.PRESETS[name].undo_blur
  assert presets.PRESETS['auto'].undo_blur
