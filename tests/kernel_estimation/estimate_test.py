"""An estimator by its name, and what guards it: no image breaks it."""

import math
import pathlib
import types
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from zssr_jax import blur_kernels, registry
from zssr_jax.config import KERNELS
from zssr_jax.data import image_io
from zssr_jax.degradation import Degradation
from zssr_jax.kernel_estimation import estimate as estimation
from zssr_jax.kernel_estimation import kernel_gan, patch_recurrence

EXAMPLES = pathlib.Path(__file__).parents[2] / 'examples'


def blurred(hr, kernel, scale):
  """`[H, W, C]` in [0, 255] blurred and subsampled by scipy, 8 bits."""
  y, x = np.broadcast_to(scale, 2)
  kernel = np.asarray(kernel, np.float64)[..., None]
  full = scipy.ndimage.correlate(hr.astype(np.float64), kernel, mode='reflect')
  lr = np.round(full[::y, ::x].clip(0, 255)) / 255
  return lr.astype(np.float32)


def photo(name):
  from skimage import data

  image = getattr(data, name)()
  return image[..., None] if image.ndim == 2 else image


def estimate(image, scale, *args, **kwargs):
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    return estimation.estimate(image, scale, *args, **kwargs)


def check_kernel(kernel, scale):
  assert kernel.dtype == np.float32
  assert kernel.min() >= 0
  assert kernel.sum() == pytest.approx(1, abs=1e-4)
  np.testing.assert_allclose(
    blur_kernels.center_of_mass(kernel),
    blur_kernels.aligned_center(kernel.shape, scale),
    atol=1e-3,
  )


def nothing_to_see(side=96):
  rng = np.random.default_rng(0)
  ramp = np.tile(np.linspace(0, 1, side)[:, None, None], (1, side, 3))
  noise = rng.standard_normal((side, side, 3))
  number = np.arange(side)
  images = {
    'black': np.zeros((side, side, 3)),
    'grey': np.full((side, side, 1), 0.5),
    'white': np.ones((side, side, 3)),
    'one colour': np.tile([0.9, 0.2, 0.4], (side, side, 1)),
    'uniform noise': rng.random((side, side, 3)),
    'grey noise': 0.5 + 0.1 * noise[..., :1],
    'colour noise': 0.5 + 0.1 * noise,
    'faint noise': 0.5 + 0.01 * noise,
    'noise on a colour': [0.2, 0.5, 0.8] + 0.05 * noise[..., :1],
    'gradient': ramp,
    'gradient across': ramp.swapaxes(0, 1),
    'slanted gradient': (ramp + ramp.swapaxes(0, 1)) / 2,
    'step': np.tile((number > side // 2)[None, :, None], (side, 1, 1)),
  }
  for period in (4, 8, 16, 32):
    stripes = np.tile((number // (period // 2) % 2)[:, None, None], (side, 1))
    images[f'stripes {period}'] = stripes
    images[f'faint stripes {period}'] = 0.45 + 0.1 * stripes.swapaxes(0, 1)
  return {
    name: (np.round(np.clip(image, 0, 1) * 255) / 255).astype(np.float32)
    for name, image in images.items()
  }


NOTHING = nothing_to_see()


@pytest.mark.slow
@pytest.mark.parametrize('name', NOTHING)
def test_an_image_without_detail_gets_bicubic_and_one_line(name):
  found = estimate(NOTHING[name], 2)
  assert found.kernel is None and found.fit is None
  assert found.method == 'estimate' and math.isnan(found.agreement)
  assert 'bicubic is assumed' in found.warning
  assert '\n' not in found.warning


@pytest.mark.slow
@pytest.mark.parametrize('scale', [3, 4, 1.5, (2, 1), (2, 3.5)])
@pytest.mark.parametrize(
  'name', ['black', 'colour noise', 'gradient', 'stripes 8']
)
def test_that_holds_at_every_scale(name, scale):
  found = estimate(NOTHING[name], scale)
  assert found.kernel is None and 'bicubic is assumed' in found.warning


@pytest.mark.slow
@pytest.mark.parametrize(
  'image',
  [
    # Waves, a board, a dot: whatever comes out, it must say so.
    np.round(127 + 127 * np.sin(np.indices((96, 96, 1))[0] / 3)) / 255,
    np.indices((96, 96)).sum(0)[..., None] // 8 % 2,
    np.pad(np.ones((1, 1, 1)), ((48, 47), (48, 47), (0, 0))),
  ],
)
def test_what_is_no_photo_earns_a_warning(image):
  found = estimate(image.astype(np.float32), 2)
  assert '\n' not in found.warning
  if found.kernel is not None:
    check_kernel(found.kernel, 2)


@pytest.mark.parametrize('method', registry.ESTIMATORS)
@pytest.mark.parametrize('shape', [(32, 32, 3), (63, 500, 1), (1, 1, 3)])
def test_a_small_image_gets_bicubic(method, shape):
  image = np.random.default_rng(0).random(shape).astype(np.float32)
  found = estimate(image, 2, method)
  assert found.kernel is None
  assert f'{shape[0]}x{shape[1]} pixels are too few' in found.warning
  assert '64x64; bicubic is assumed' in found.warning


def test_an_unknown_method_is_answered_with_the_known_ones():
  with pytest.raises(ValueError, match="'magic'; there are: estimate, rec"):
    estimate(NOTHING['grey'], 2, 'magic')


def test_every_estimator_may_be_asked_for_by_a_config():
  assert set(registry.ESTIMATORS) | {'auto', 'bicubic', 'given'} == set(KERNELS)


@pytest.mark.slow
def test_finds_the_kernel_of_the_bundled_photo():
  image = image_io.read_image(EXAMPLES / 'astronaut_lr.png')
  kernel = np.load(EXAMPLES / 'astronaut_kernel.npy')
  found = estimate(image, 2)
  assert found.warning is None and found.agreement > 0.9
  assert blur_kernels.kernel_correlation(kernel, found.kernel, 2) > 0.97
  check_kernel(found.kernel, 2)
  grey = estimate(image.mean(2, keepdims=True), 2)
  np.testing.assert_allclose(grey.kernel, found.kernel, atol=1e-4)
  # Nothing is random, and `joint` starts from the same.
  joint = estimate(image, 2, 'joint', jax.random.key(7))
  np.testing.assert_array_equal(joint.kernel, found.kernel)
  assert joint.method == 'joint'
  np.testing.assert_array_equal(joint.fit.covariance, found.fit.covariance)


@pytest.mark.slow
@pytest.mark.parametrize(
  ('name', 'scale', 'variances', 'angle'),
  [
    ('astronaut', 2, (3.0, 1.0), 0.5),
    ('camera', 2, (1.0, 4.0), 0.2),
    ('coffee', 3, (6.0, 2.0), 1.0),
    ('astronaut', 4, (12.0, 5.0), -0.7),
    ('chelsea', (2, 2), (2.0, 2.0), 0.0),
    ('astronaut', (2, 1), (3.0, 1.0), 0.4),
    ('astronaut', (2, 3), (5.0, 2.0), 0.4),
  ],
)
def test_finds_the_kernel_of_a_photo(name, scale, variances, angle):
  kernel = blur_kernels.gaussian_kernel(variances, angle, np.max(scale))
  found = estimate(blurred(photo(name), kernel, scale), scale)
  assert found.warning is None and found.agreement > 0.9
  assert blur_kernels.kernel_correlation(kernel, found.kernel, scale) > 0.97
  check_kernel(found.kernel, scale)


@pytest.mark.slow
def test_a_scale_between_whole_numbers_will_do():
  hr = photo('astronaut')[:390].astype(np.float32) / 255
  kernel = blur_kernels.gaussian_kernel((2.0, 0.8), 0.5, 1.5)
  lr = Degradation(1.5, jnp.asarray(kernel)).down(jnp.asarray(hr))
  found = estimate(np.asarray(lr).clip(0, 1), 1.5)
  assert found.warning is None
  assert blur_kernels.kernel_correlation(kernel, found.kernel, 1.5) > 0.97
  check_kernel(found.kernel, 1.5)


@pytest.mark.slow
@pytest.mark.parametrize('axis', [0, 1])
def test_halves_with_different_kernels_disagree(axis):
  one, other = (
    blurred(
      photo('astronaut'), blur_kernels.gaussian_kernel(variances, 0.0, 2), 2
    )
    for variances in ((6.0, 0.5), (0.5, 6.0))
  )
  half = 100
  parts = [
    np.moveaxis(np.moveaxis(image, axis, 0)[part], 0, axis)
    for image, part in ((one, slice(0, half)), (other, slice(half, 2 * half)))
  ]
  image = np.concatenate(parts, axis)
  # Longer along the axis on which they lie side by side.
  image = image[:, :180] if axis == 0 else image[:180]
  found = estimate(image, 2)
  assert found.agreement < 0.9
  assert 'the two halves of the image disagree' in found.warning
  assert f'({found.agreement:.2f} correlation)' in found.warning
  check_kernel(found.kernel, 2)


def test_halves_too_narrow_are_not_compared():
  image = image_io.read_image(EXAMPLES / 'astronaut_lr.png')[:90, :70]
  found = estimate(image, 2)
  assert found.kernel is not None and math.isnan(found.agreement)


@pytest.fixture
def quick(monkeypatch):
  """Few patches, and no GAN."""
  monkeypatch.setattr(patch_recurrence, '_CHILDREN', 200)
  monkeypatch.setattr(patch_recurrence, '_PARENTS', 400)

  # KernelGAN takes a minute to compile; it has tests of its own.
  kernel = blur_kernels.gaussian_kernel((2.0, 1.0), 0.3, 2)[3:16, 3:16]
  monkeypatch.setattr(kernel_gan, '_train', lambda *_: kernel)


@pytest.mark.slow
@pytest.mark.parametrize(
  ('method', 'scale'),
  [
    ('estimate', 2),
    ('joint', 2),
    ('recurrence', 2),
    ('recurrence', 3),
    ('kernelgan', 2),
    ('kernelgan', 4),
  ],
)
def test_every_method_gives_a_kernel_by_its_name(quick, method, scale):
  kernel = blur_kernels.gaussian_kernel((2.5, 1.0), 0.3, 2)
  image = blurred(photo('astronaut')[:220, 80:300], kernel, 2)
  found = estimate(image, scale, method, jax.random.key(0))
  assert found.method == method and found.agreement > 0.9
  check_kernel(found.kernel, scale)
  again = estimate(image, scale, method)
  np.testing.assert_array_equal(again.kernel, found.kernel)


@pytest.mark.parametrize(
  ('method', 'scale'),
  [('recurrence', 1.5), ('recurrence', (2, 3)), ('kernelgan', 3)],
)
def test_a_scale_that_a_method_is_not_made_for_is_refused(method, scale):
  image = image_io.read_image(EXAMPLES / 'astronaut_lr.png')
  with pytest.raises(ValueError, match='is for x2'):
    estimate(image, scale, method)


def test_an_image_too_small_for_the_method_alone_gets_bicubic():
  image = image_io.read_image(EXAMPLES / 'astronaut_lr.png')[:65, :100]
  found = estimate(image, 4, 'recurrence')
  assert found.kernel is None and found.method == 'recurrence'
  assert 'too small for patch recurrence' in found.warning
  assert 'bicubic is assumed' in found.warning


def test_a_gan_that_fails_leaves_bicubic(monkeypatch):
  image = image_io.read_image(EXAMPLES / 'astronaut_lr.png')[:80, :80]
  monkeypatch.setattr(
    kernel_gan, '_train', lambda *_: np.full((13, 13), np.nan)
  )
  found = estimate(image, 2, 'kernelgan')
  assert found.kernel is None and 'bicubic is assumed' in found.warning


def test_a_kernel_larger_than_the_image_is_not_returned():
  image = image_io.read_image(EXAMPLES / 'astronaut_lr.png')[:64, :100]
  found = estimate(image, 8)
  assert found.kernel is None
  assert '(73x73) is larger than the image (64x100)' in found.warning


def test_an_estimators_words_are_those_of_summary_and_table():
  from zssr_jax.command_line import findings
  from zssr_jax.evaluation import tables

  found = {name: registry.ESTIMATORS[name] for name in registry.ESTIMATORS}
  assert found['estimate'].summary == 'kernel estimated'
  assert found['joint'].learnt_along
  assert [n for n in found if found[n].learnt_along] == ['joint']
  for words in ('summary', 'label'):
    assert len({getattr(e, words) for e in found.values()}) == len(found)
  for name, estimator in found.items():
    result = types.SimpleNamespace(
      estimate=estimation.Estimate(np.ones((1, 1)), name, 0.5, None),
      kernel=np.ones((1, 1)),
      diagnosis=None,
    )
    assert findings.summary(result).startswith(estimator.summary)
    assert tables._kernel({'kernel': name}) == f', {estimator.label}'
  assert tables._kernel({'kernel': 'given'}) == ', true kernel'
  assert tables._kernel({'kernel': 'bicubic'}) == tables._kernel({}) == ''
