"""A user's own network or loss: what fits works, what does not is told."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zssr_jax
from zssr_jax import inference, super_resolution
from zssr_jax.models import zssr
from zssr_jax.parallel import devices

pytestmark = pytest.mark.slow

TINY = zssr_jax.Config(
  depth=3, width=4, crop=24, max_steps=2, back_projection=1, schedule='cosine'
)


class Own(nn.Module):
  """The published network of two layers, at whatever width."""

  width: int = 4
  reach = 2

  @nn.compact
  def __call__(self, lr, interpolated):
    x = nn.relu(zssr.Conv(self.width)(interpolated))
    return interpolated + zssr.Conv(interpolated.shape[-1], 0.1)(x)


class Constant(nn.Module):
  @nn.compact
  def __call__(self, lr, interpolated):
    return interpolated


class Small(Own):
  def __call__(self, lr, interpolated):
    return super().__call__(lr, interpolated)[:, ::2]


class Remembers(Own):
  @nn.compact
  def __call__(self, lr, interpolated):
    seen = self.variable('statistics', 'seen', lambda: jnp.zeros(()))
    return super().__call__(lr, interpolated) + seen.value


class Breaks(nn.Module):
  @nn.compact
  def __call__(self, lr, interpolated):
    raise RuntimeError('not for this\nat all')


class Listed(Own):
  widths: list = None


@pytest.fixture(scope='module')
def image():
  return np.random.default_rng(0).random((36, 32, 3)).astype(np.float32)


def run(image, **kwargs):
  options = {'config': TINY, 'key': jax.random.key(0), **kwargs}
  return zssr_jax.train_image(image, 2, **options)


@pytest.mark.parametrize('channels', [1, 3, 5])
def test_a_module_serves_any_image_and_gradual_stages(image, channels):
  image = np.repeat(image[..., :1], channels, axis=2)
  config = TINY.replace(gradual=((0.5, 0.5), (1, 1)), networks=2)
  result = run(image, model=Own(), config=config)
  assert result.image.shape == (72, 64, channels)
  assert len(result.params) == 2
  assert set(result.params[0]) == {'Conv_0', 'Conv_1'}


def test_a_function_makes_a_module_for_the_factors_of_each_stage(
  image, monkeypatch
):
  seen, reaches = [], []
  fit = inference.fit

  def spy(upscaler, image):
    reaches.append(upscaler.reach)
    return fit(upscaler, image)

  def make(factors):
    seen.append(factors)
    return Own(width=3)

  monkeypatch.setattr(inference, 'fit', spy)
  config = TINY.replace(gradual=((0.5, 0.5), (1, 1)))
  run(image, model=make, config=config)
  assert seen == [(1.5, 1.5), (2.0, 2.0)]
  assert reaches == [2, 2]  # the module says how far its layers look


def test_tiles_and_the_whole_are_the_same_for_a_module_of_any_reach(image):
  class Quiet(Own):
    reach = None  # it does not say: the image goes in one piece

  results = [
    run(image, model=model, config=TINY.replace(tile=32)).image
    for model in (Own(), Quiet())
  ]
  np.testing.assert_allclose(*results, atol=1e-6)


@pytest.mark.parametrize(
  ('model', 'words'),
  [
    (Constant(), 'must be params, and nothing else: none'),
    (Remembers(), 'nothing else: params, statistics'),
    (Small(), 'it must keep the shape of the upscale'),
    (Breaks(), 'cannot be applied .* RuntimeError: not for this$'),
    (Listed(widths=[1]), 'cannot be hashed: its attributes must be numbers'),
  ],
)
def test_a_module_that_does_not_fit_is_told_in_one_line(image, model, words):
  with pytest.raises(ValueError, match=words) as caught:
    run(image, model=model)
  assert '\n' not in str(caught.value)


def test_a_start_of_another_network_is_refused_by_the_right_name(image):
  start = run(image).params
  with pytest.raises(ValueError, match='does not fit your network: '):
    run(image, model=Own(), start=start)
  again = run(image, model=Own(), start=run(image, model=Own()).params)
  assert again.history.loss.size == 2


def half(output, father):
  return 0.5 * jnp.mean(jnp.abs(output - father))


def test_a_loss_may_be_the_only_one(image):
  alone = run(image, config=TINY.replace(losses=()), losses={'half': (2, half)})
  np.testing.assert_allclose(
    alone.history.loss, run(image).history.loss, rtol=1e-4
  )
  assert list(alone.history.losses) == ['half']
  with pytest.raises(ValueError, match='no loss to minimise'):
    run(image, config=TINY.replace(losses=()))
  with pytest.raises(ValueError, match="'l1' is there twice"):
    run(image, losses={'l1': (1.0, half)})


def test_a_loss_of_weight_0_asks_for_nothing(image):
  config = TINY.replace(losses=(('l1', 1.0), ('content', 0.0)))
  result = run(image, config=config)  # without VGG16
  assert list(result.history.losses) == ['l1']


def test_the_parts_of_the_loss_are_recorded_and_sum_to_it(image):
  config = TINY.replace(losses={'luma': 0.9, 'l1': 0.1}, max_steps=5)
  history = run(image, config=config).history
  assert list(history.losses) == ['luma', 'l1']
  parts = list(history.losses.values())
  assert all(part.shape == (5,) and (part > 0).all() for part in parts)
  np.testing.assert_allclose(sum(parts), history.loss, rtol=1e-5)


def test_images_with_networks_or_losses_of_their_own_are_not_mixed_up(image):
  """Side by side on two devices each is what it is alone."""
  kinds = [{}, {'model': Own()}, {'losses': {'half': (1, half)}}, {}]
  alone = [run(image, **kind) for kind in kinds]

  def start(kind):
    return super_resolution.run_image(
      image, 2, config=TINY, key=jax.random.key(0), **kind
    )

  # As if they could all be stacked.
  items = [devices.Item(lambda k=kind: start(k), 'same') for kind in kinds]
  found = dict(devices.map_images(items, devices.available(4)))
  for index, expected in enumerate(alone):
    np.testing.assert_allclose(found[index].image, expected.image, atol=2e-5)
    assert list(found[index].history.losses) == list(expected.history.losses)
