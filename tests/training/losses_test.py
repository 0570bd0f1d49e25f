"""The content loss, and what it does to a step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zssr_jax
from zssr_jax import registry
from zssr_jax.config import Config
from zssr_jax.degradation import Degradation
from zssr_jax.models import vgg
from zssr_jax.ops import resize
from zssr_jax.training import losses

LAYERS = (('relu1_2', 1.0), ('relu2_1', 0.5))
TINY = Config(
  model='pixel_shuffle', depth=3, width=8, crop=24, max_steps=30, batch=1
)


@pytest.fixture(scope='module')
def variables():
  """VGG16 of random weights; the loss is the same for any."""
  model = vgg.Vgg16(tuple(name for name, _ in LAYERS))
  return model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))


@pytest.fixture(scope='module')
def image():
  random = np.random.default_rng(0).random((40, 44, 3))
  return np.float32(0.2 + 0.6 * random)


@pytest.mark.parametrize('share', [0.0, 0.3, 1.0])
def test_a_share_of_l1_is_that_of_the_luma(image, share):
  output, father = (np.float64(x)[None] for x in (image[:16], image[16:32]))
  weights = np.array([65.481, 128.553, 24.966]) / 255
  difference = output - father
  expected = share * np.abs(difference @ weights).mean()
  expected += (1 - share) * np.abs(difference).mean()
  output, father = (jnp.asarray(x, jnp.float32) for x in (output, father))
  mix = (('luma', share), ('l1', 1 - share))
  got, parts = losses.evaluate(losses.terms_of(mix, 3), output, father)
  assert set(parts) == {name for name, weight in mix if weight}
  np.testing.assert_allclose(sum(parts.values()), got, rtol=1e-6)
  np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize('channels', [1, 2, 4])
def test_other_than_three_channels_have_no_luma(channels):
  output, father = np.random.default_rng(1).random((2, 1, 8, 8, channels))
  output, father = (jnp.asarray(x, jnp.float32) for x in (output, father))
  mix = losses.terms_of((('l1', 0.1), ('luma', 0.9)), channels)
  assert [(term.name, term.weight) for term in mix] == [('l1', 1.0)]
  got, _ = losses.evaluate(mix, output, father)
  assert got == losses.l1(output, father)


@pytest.mark.slow
def test_a_run_is_trained_on_the_share_of_the_luma_that_its_config_says(image):
  first = {
    share: zssr_jax.train_image(
      image,
      2,
      config=TINY.replace(
        losses=(('luma', share), ('l1', 1 - share)), max_steps=1
      ),
    ).history.loss[0]
    for share in (0.0, 0.5, 1.0)
  }
  assert first[1.0] < 0.9 * first[0.0]
  np.testing.assert_allclose(first[0.5], (first[0.0] + first[1.0]) / 2, 1e-4)


@pytest.mark.slow
def test_the_content_loss_is_the_weighted_sum_a_loop_finds(variables, image):
  output = jnp.stack([image[20:36, 20:36], image[:16, 8:24]])
  father = jnp.stack([image[8:24, 8:24], image[:16, :16]])
  got = losses.content(output, father, variables, LAYERS)
  model = vgg.Vgg16(tuple(name for name, _ in LAYERS))
  a, b = (model.apply(variables, x) for x in (output, father))
  expected = sum(
    weight * np.abs(np.asarray(a[name]) - np.asarray(b[name])).mean()
    for name, weight in LAYERS
  )
  assert expected > 1e-3
  np.testing.assert_allclose(got, expected, rtol=1e-4)


@pytest.mark.slow
def test_an_image_has_no_content_loss_against_itself(variables, image):
  images = jnp.asarray(image[None, :16, :16])
  assert losses.content(images, images, variables, LAYERS) < 1e-6


@pytest.mark.slow
def test_grey_is_measured_as_grey_rgb(variables, image):
  grey = jnp.asarray(image[None, ..., :1])
  got = losses.features(variables, grey, dict(LAYERS))
  expected = losses.features(
    variables, jnp.tile(grey, (1, 1, 1, 3)), dict(LAYERS)
  )
  np.testing.assert_array_equal(got['relu1_2'], expected['relu1_2'])


@pytest.mark.slow
def test_training_lowers_the_content_loss_further_with_it(variables, image):
  """Measured on the whole input, of what the network makes of its son."""
  smooth = jax.image.resize(image, (80, 88, 3), 'cubic')[20:60, 20:64]
  smooth = np.clip(np.asarray(smooth), 0, 1)

  def run(weight):
    config = TINY.replace(
      losses=(('l1', 1.0), ('content', weight)) if weight else (('l1', 1.0),),
      content_layers=LAYERS,
      max_steps=40,
      learning_rate=2e-3,
      schedule='cosine',
    )
    with jax.numpy_dtype_promotion('standard'):
      return zssr_jax.train_image(
        smooth, 2, config=config, vgg=variables if weight else None
      )

  plain, hybrid = run(0.0), run(5.0)
  assert hybrid.history.loss[0] > 2 * plain.history.loss[0]

  son = Degradation(2).down(jnp.asarray(smooth))
  model = registry.NETWORKS['pixel_shuffle'].make(
    scale=(2.0, 2.0), depth=3, width=8, gain=1.0
  )

  def measured(result):
    out = model.apply(
      {'params': result.params}, son[None], resize.imresize(son, 2)[None]
    )
    father = jnp.asarray(smooth[None])
    return float(losses.content(out, father, variables, LAYERS))

  assert measured(hybrid) < 0.98 * measured(plain)


def test_a_content_loss_needs_weights_and_colours(variables, image):
  config = TINY.replace(
    losses=(('l1', 1.0), ('content', 0.1)), content_layers=LAYERS
  )
  with pytest.raises(ValueError, match='needs the weights of VGG16'):
    zssr_jax.train_image(image, 2, config=config)
  with pytest.raises(ValueError, match='1 or 3 channels, not 2'):
    zssr_jax.train_image(image[..., :2], 2, config=config, vgg=variables)


@pytest.mark.parametrize('layers', [(), (('relu1_2', -1),), ('relu1_2',), 3])
def test_layers_that_make_no_sense_are_refused(layers):
  with pytest.raises(ValueError, match='config.content_layers'):
    Config(content_layers=layers)
