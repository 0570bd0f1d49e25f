"""Parameters to start from: files, scales, and what the package brings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zssr_jax
from zssr_jax import presets, registry
from zssr_jax.models import backbone, vdsr
from zssr_jax.ops import resize
from zssr_jax.weights import parameters, starts

TINY = zssr_jax.Config(model='zssr', depth=3, width=8, crop=24, max_steps=5)


def smooth(side=32, channels=3):
  y, x = np.mgrid[:side, :side]
  wave = 0.5 + 0.2 * np.sin(x / 3) + 0.2 * np.cos(y / 4 + x / 7)
  return np.float32(np.repeat(wave[..., None], channels, -1))


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_the_package_brings_a_start_that_fits_its_network(scale):
  params = zssr_jax.load_start('transferred', scale)
  model = registry.NETWORKS['pixel_shuffle'].make(scale=(float(scale),) * 2)
  lr = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
  hr = jax.ShapeDtypeStruct((1, 8 * scale, 8 * scale, 3), jnp.float32)
  fresh = jax.eval_shape(model.init, jax.random.key(0), lr, hr)['params']
  parameters.check_shapes(params, fresh)


def test_the_starts_of_the_package_are_small():
  sizes = [
    path.stat().st_size for path in starts.FOLDER.glob('start_*.safetensors')
  ]
  assert len(sizes) == 3 and sum(sizes) <= 1.5e6


@pytest.mark.slow
def test_a_transferred_start_beats_bicubic_without_a_step():
  """On a chart of sharp edges, which no bicubic brings back."""
  y, x = np.mgrid[:96, :96]
  chart = ((x - 40) ** 2 + (y - 50) ** 2 < 900) ^ (x + 2 * y > 150)
  hr = np.repeat(np.float32(0.2 + 0.6 * chart)[..., None], 3, -1)
  lr = np.clip(resize.imresize(hr, 0.5), 0, 1)
  config = zssr_jax.Config(
    model='pixel_shuffle', start='transferred', max_steps=0
  )
  start = zssr_jax.load_start('transferred', 2)
  result = zssr_jax.train_image(lr, 2, config=config, start=start)
  bicubic = np.clip(resize.imresize(lr, 2), 0, 1)
  error, usual = (np.mean((a - hr) ** 2) for a in (result.image, bicubic))
  assert error < 0.6 * usual


def test_random_is_no_start():
  assert starts.load_start('random', 2) is None


def test_a_start_for_another_scale_is_refused(tmp_path):
  path = tmp_path / 'start.safetensors'
  parameters.save_params(path, {'a': np.zeros(2, np.float32)}, scale=3)
  assert starts.load_start(path, 3)['a'].shape == (2,)
  for scale in (2, (3, 2)):
    with pytest.raises(ValueError, match='start.safetensors: is for scale 3'):
      starts.load_start(path, scale)
  with pytest.raises(ValueError, match='no transferred start for scale 1.5'):
    starts.load_start('transferred', 1.5)


def test_a_file_that_names_no_scale_is_for_all(tmp_path):
  path = tmp_path / 'any.safetensors'
  parameters.save_params(path, {'a': np.zeros(2, np.float32)}, network='zssr')
  for scale in (2, (1.5, 2)):
    assert starts.load_start(path, scale)['a'].shape == (2,)


@pytest.mark.slow
@pytest.mark.parametrize('model', ['zssr', 'pixel_shuffle', 'transposed'])
def test_a_colour_start_serves_grey_as_three_equal_channels(model):
  # Neither the median nor the clipping of each correction is linear.
  config = TINY.replace(model=model, max_steps=0, copies=1, back_projection=0)
  colour = zssr_jax.train_image(smooth(), 2, config=config.replace(max_steps=3))
  rgb, grey = (
    zssr_jax.train_image(
      smooth(channels=n), 2, config=config, start=colour.params
    )
    for n in (3, 1)
  )
  np.testing.assert_allclose(grey.image[..., 0], rgb.image.mean(-1), atol=1e-5)
  moved = zssr_jax.train_image(smooth(channels=1), 2, config=config)
  assert np.abs(moved.image - grey.image).max() > 1e-2


def test_the_start_of_the_package_takes_grey_images():
  start = zssr_jax.load_start('transferred', 3)
  config = zssr_jax.Config(
    model='pixel_shuffle', start='transferred', max_steps=0
  )
  result = zssr_jax.train_image(smooth(24, 1), 3, config=config, start=start)
  assert result.image.shape == (72, 72, 1)
  with pytest.raises(ValueError, match=r'Conv_0/kernel is \(3, 3, 3, 64\)'):
    zssr_jax.train_image(smooth(24, 4), 3, config=config, start=start)


def test_a_start_is_found_by_its_name_and_the_config_by_its():
  still = zssr_jax.load_config('fast', start_steps=0, copies=1)
  found = zssr_jax.train_image(smooth(), 2, config=still)
  start = zssr_jax.load_start('transferred', 2)
  given = zssr_jax.train_image(smooth(), 2, config=still, start=start)
  np.testing.assert_array_equal(found.image, given.image)
  told = []

  class Enough(Exception):
    pass

  def stop(part):
    told.append(part)
    if part.phase == 'train':
      raise Enough

  with pytest.raises(Enough):
    zssr_jax.train_image(smooth(), 2, config='fast', progress=stop)
  assert told[-1].max_steps == 100  # of a start


def test_a_start_that_is_missing_is_told_in_a_line(tmp_path):
  fast = zssr_jax.load_config('fast')
  with pytest.raises(ValueError, match='no transferred start for scale 1.5'):
    zssr_jax.train_image(smooth(), 1.5, config='fast')
  path = tmp_path / 'mine.safetensors'
  with pytest.raises(OSError, match='mine.safetensors: no such weight file'):
    zssr_jax.train_image(smooth(), 2, config=fast.replace(start=str(path)))


def test_only_a_config_that_decides_itself_does_without_a_start():
  auto, fast = (zssr_jax.load_config(name) for name in ('auto', 'fast'))
  assert presets.choose_start(auto, 1.5).start == 'random'
  assert presets.choose_start(auto, (2, 3)).start == 'random'
  assert presets.choose_start(auto, 3) == auto
  assert presets.choose_start(fast, 1.5) == fast
  config = zssr_jax.load_config(
    'auto', width=8, depth=3, max_steps=1, kernel='bicubic'
  )
  result = zssr_jax.train_image(smooth(), 1.5, config=config)
  assert result.config.start == 'random'


def test_a_start_completes_or_fits_or_is_refused():
  image = smooth()
  first = zssr_jax.train_image(image, 2, config=TINY)
  again = zssr_jax.train_image(
    image, 2, config=TINY.replace(max_steps=0), start=first.params
  )
  np.testing.assert_array_equal(again.image, first.image)
  for bad in ({'Body_1': {}}, {'Body_0': {'Conv_0': {}}}, 3):
    with pytest.raises(ValueError, match='start does not fit'):
      zssr_jax.train_image(image, 2, config=TINY, start=bad)


@pytest.fixture(scope='module')
def trained_vdsr():
  """Of VDSR's shape; random, and strong enough to change an image."""
  image = jnp.zeros((1, 8, 8, 1))
  params = vdsr.Vdsr().init(jax.random.key(3), image, image)['params']
  params['conv20'] = jax.tree.map(lambda w: 0.3 * w, params['conv20'])
  return params


@pytest.mark.slow
def test_the_backbone_stays_as_it_was_and_the_rest_learns(trained_vdsr):
  config = TINY.replace(model='vdsr_backbone', max_steps=3)
  with pytest.raises(ValueError, match='needs a trained backbone'):
    zssr_jax.train_image(smooth(), 2, config=config)
  start = {'backbone': trained_vdsr}
  results = [
    zssr_jax.train_image(
      smooth(), 2, config=config.replace(max_steps=n), start=start
    )
    for n in (0, 3)
  ]
  jax.tree.map(
    np.testing.assert_array_equal, results[1].params['backbone'], trained_vdsr
  )
  before, after = (r.params['Body_0']['Conv_1']['kernel'] for r in results)
  assert np.abs(before - after).max() > 1e-4


def test_the_backbone_raises_luma_and_leaves_colours_alone(trained_vdsr):
  rgb = smooth(24)[None] * np.float32([1, 0.8, 0.6])
  rgb = jnp.asarray(rgb)
  model = backbone.VdsrBackbone(depth=2, width=4)
  params = model.init(jax.random.key(0), rgb, rgb)['params']
  params = jax.tree.map(jnp.zeros_like, params) | {'backbone': trained_vdsr}
  residual = np.asarray(model.apply({'params': params}, rgb, rgb) - rgb)
  np.testing.assert_allclose(residual[..., 0], residual[..., 2], atol=1e-6)
  luma = np.array([65.481, 128.553, 24.966]) / 255
  y = jnp.asarray((np.asarray(rgb) @ luma)[..., None] + 16 / 255, jnp.float32)
  expected = vdsr.Vdsr().apply({'params': trained_vdsr}, y, y) - y
  np.testing.assert_allclose(
    residual @ luma, np.asarray(expected)[..., 0], atol=1e-5
  )


@pytest.mark.slow
def test_the_backbone_takes_other_channels_one_by_one(trained_vdsr):
  # In the range of Y that VDSR was trained on: grey as three equal channels.
  image = jnp.asarray(smooth(16, 2) * np.float32([1, 0.5]))[None]
  model = backbone.VdsrBackbone(depth=2, width=4)
  params = model.init(jax.random.key(0), image, image)['params']
  params = jax.tree.map(jnp.zeros_like, params) | {'backbone': trained_vdsr}
  out = model.apply({'params': params}, image, image)
  for channel in (0, 1):
    grey = image[..., channel : channel + 1]
    y = (16 + 219 * grey) / 255
    expected = vdsr.Vdsr().apply({'params': trained_vdsr}, y, y)
    expected = (255 * expected - 16) / 219
    np.testing.assert_allclose(
      out[..., channel : channel + 1], expected, atol=1e-5
    )


@pytest.mark.slow
def test_tiles_are_wide_enough_for_the_backbone(trained_vdsr):
  y, x = np.mgrid[:84, :16]
  image = np.float32(0.5 + 0.4 * np.sin(x * 1.3 + y * y / 40))[..., None]
  config = TINY.replace(
    model='vdsr_backbone', max_steps=0, copies=1, back_projection=0
  )
  start = {'backbone': trained_vdsr}
  whole, tiled = (
    zssr_jax.train_image(
      image, 2, config=config.replace(tile=tile), start=start
    )
    for tile in (256, 32)
  )
  assert np.abs(whole.image - resize.imresize(image, 2)).mean() > 1e-3
  np.testing.assert_allclose(tiled.image, whole.image, atol=1e-5)
