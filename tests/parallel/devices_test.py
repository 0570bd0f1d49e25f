"""Several images at a time against one by one."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zssr_jax import stages, super_resolution
from zssr_jax.config import Config
from zssr_jax.models import vgg
from zssr_jax.ops import metrics, resize
from zssr_jax.parallel import devices
from zssr_jax.training import loop

pytestmark = pytest.mark.slow

TINY = Config(
  model='pixel_shuffle',
  depth=3,
  width=8,
  crop=24,
  max_steps=25,
  schedule='cosine',
  gradual=((0.5, 0.5), (1, 1)),
  back_projection=2,
)


@pytest.fixture(scope='module')
def photos():
  """Six images, one of them transposed and one smaller."""
  from skimage import data

  photo = data.astronaut().astype(np.float32) / 255
  shapes = [(48, 40), (40, 48), (48, 40), (36, 36), (48, 40), (48, 40)]
  corners = [(20, 180), (60, 200), (100, 100), (200, 50), (300, 300), (0, 0)]
  return [
    photo[y : y + h, x : x + w]
    for (h, w), (y, x) in zip(shapes, corners, strict=True)
  ]


def make_items(photos, config=TINY, kernels=None, started=None, **trained):
  def item(index, photo):
    kernel = None if kernels is None else kernels[index]

    def start():
      if started is not None:
        started.append(index)
      return super_resolution.run_image(
        photo,
        2,
        kernel=kernel,
        config=config,
        key=jax.random.key(index),
        **trained,
      )

    plan = stages.plan_stages(photo.shape, 2, config)
    return devices.Item(start, devices.shape_class(photo.shape, kernel, plan))

  return [item(index, photo) for index, photo in enumerate(photos)]


def one_by_one(photos, config=TINY, kernels=None, **trained):
  return [
    super_resolution.train_image(
      photo,
      2,
      kernel=None if kernels is None else kernels[i],
      config=config,
      key=jax.random.key(i),
      **trained,
    )
    for i, photo in enumerate(photos)
  ]


def compare(photos, singles, together):
  for photo, single, result in zip(photos, singles, together, strict=True):
    # Against a common yardstick, as two runs of one image differ by rounding.
    reference = resize.imresize(photo, 2)
    a, b = (metrics.score(r.image, reference, 2)[0] for r in (single, result))
    assert a == pytest.approx(b, abs=0.05)
    assert result.history.stages == single.history.stages
    np.testing.assert_allclose(
      result.history.loss[:20], single.history.loss[:20], rtol=0.02
    )
    np.testing.assert_allclose(
      result.history.learning_rate, single.history.learning_rate, rtol=1e-5
    )


def test_together_equals_one_by_one_and_no_image_is_lost_or_twice(photos):
  started = []
  items = make_items(photos, started=started)
  pairs = list(devices.map_images(items, devices.available(4)))
  assert sorted(index for index, _ in pairs) == list(range(len(photos)))
  assert sorted(started) == list(range(len(photos)))
  together = [result for _, result in sorted(pairs, key=lambda p: p[0])]
  compare(photos, one_by_one(photos), together)


def test_kernels_of_one_class_may_be_stretched_to_different_sizes(photos):
  photos = [photos[0], photos[2]]
  kernels = np.zeros((2, 9, 9), np.float32)
  kernels[0, 2:7, 3:7] = 1 / 20
  kernels[1, 4:6, 4:6] = 1 / 4
  items = make_items(photos, kernels=kernels)
  assert items[0].shape_class == items[1].shape_class
  pairs = dict(devices.map_images(items, devices.available(2)))
  singles = one_by_one(photos, kernels=kernels)
  compare(photos, singles, [pairs[0], pairs[1]])


def test_a_content_loss_and_a_start_are_stacked_like_the_rest(photos):
  photos = [photos[0], photos[2]]
  config = TINY.replace(
    gradual=(),
    crop=16,
    max_steps=4,
    copies=1,
    losses=(('l1', 1.0), ('content', 0.1)),
    content_layers=(('relu1_2', 1.0),),
  )
  network = vgg.Vgg16(('relu1_2',))
  first = super_resolution.train_image(
    photos[0], 2, config=config.replace(max_steps=0, losses=(('l1', 1.0),))
  )
  trained = {
    'vgg': network.init(jax.random.key(5), jnp.zeros((1, 8, 8, 3))),
    'start': first.params,
  }
  items = make_items(photos, config, **trained)
  pairs = dict(devices.map_images(items, devices.available(2)))
  singles = one_by_one(photos, config, **trained)
  compare(photos, singles, [pairs[0], pairs[1]])
  plain = one_by_one(photos, config.replace(losses=(('l1', 1.0),)), **trained)
  assert singles[0].history.loss[0] > 1.05 * plain[0].history.loss[0]


def test_the_plateau_stops_each_run_by_itself(photos):
  config = TINY.replace(gradual=(), schedule='plateau', max_steps=2000, crop=16)
  # Every look drops: the shortest run there is. A run of noise beside it.
  config = config.replace(
    plateau_slope_factor=0.0, check_every=10, min_steps=15, measure_every=5
  )
  photos = [photos[0], photos[2]]
  pairs = dict(
    devices.map_images(make_items(photos, config), devices.available(4))
  )
  for single, index in zip(one_by_one(photos, config), (0, 1), strict=True):
    assert pairs[index].history.drops == single.history.drops
    assert len(pairs[index].history.loss) == len(single.history.loss) < 200


def test_images_alone_in_their_class_run_beside_each_other(photos, monkeypatch):
  used = []
  train = loop.train

  def spy(job, *progress):
    used.append(next(iter(job.data.windows.son.devices())))
    return train(job, *progress)

  monkeypatch.setattr(loop, 'train', spy)
  photos = [photos[0], photos[0][:, :28], photos[0][:20, :20]]
  items = make_items(photos)
  assert len({item.shape_class for item in items}) == 3
  pairs = dict(devices.map_images(items, devices.available(2)))
  assert sorted(pairs) == [0, 1, 2]
  assert set(used) == set(devices.available(2))
  monkeypatch.undo()
  singles = one_by_one(photos)
  compare(photos, singles, [pairs[0], pairs[1], pairs[2]])


def test_several_images_of_one_device_train_beside_each_other(
  photos, monkeypatch
):
  photos = photos[:2]
  both = threading.Barrier(2, timeout=60)  # breaks where they take turns
  train = loop.train

  def spy(job, *progress):
    if job.stage[0] == 0:
      both.wait()
    return train(job, *progress)

  monkeypatch.setattr(loop, 'train', spy)
  items = make_items(photos)
  pairs = dict(devices.map_images(items, devices.available(1), in_flight=2))
  assert sorted(pairs) == [0, 1]
  monkeypatch.undo()
  compare(photos, one_by_one(photos), [pairs[0], pairs[1]])


@pytest.fixture(scope='module')
def large():
  """Two images that are large enough for a kernel, and a flat one between."""
  from skimage import data

  photo = data.astronaut().astype(np.float32) / 255
  photo = photo.reshape(256, 2, 256, 2, 3).mean((1, 3))
  flat = np.full((72, 68, 3), 0.25, np.float32)
  return [photo[20:92, 80:148], flat, photo[120:188, 150:222]]


@pytest.mark.parametrize(
  'config',
  [
    TINY.replace(kernel='joint', gradual=(), max_steps=20),
    TINY.replace(kernel='estimate', gradual=(), max_steps=20),
  ],
)
def test_kernels_are_found_together_as_one_by_one(large, config):
  items = make_items(large, config)
  assert len({item.shape_class for item in items}) == 1
  pairs = dict(devices.map_images(items, devices.available(4)))
  assert sorted(pairs) == [0, 1, 2]
  singles = one_by_one(large, config)
  photos = [0, 2]
  compare(
    [large[i] for i in photos],
    [singles[i] for i in photos],
    [pairs[i] for i in photos],
  )
  for i in photos:
    np.testing.assert_allclose(pairs[i].kernel, singles[i].kernel, atol=1e-3)
    assert pairs[i].consistency == pytest.approx(
      singles[i].consistency, abs=0.5
    )
  assert np.abs(pairs[0].kernel - pairs[2].kernel).max() > 1e-3
  # The flat one went on with bicubic.
  assert pairs[1].kernel is None and singles[1].kernel is None
  assert 'bicubic is assumed' in pairs[1].estimate.warning
  assert len(pairs[1].history.loss) == len(pairs[0].history.loss)
  np.testing.assert_allclose(pairs[1].image, singles[1].image, atol=0.01)


def test_a_group_in_which_no_kernel_is_found_trains_all_the_same(large):
  flat = [large[1], 0.5 + large[1]]
  config = TINY.replace(kernel='joint', gradual=(), max_steps=5)
  pairs = dict(
    devices.map_images(make_items(flat, config), devices.available(2))
  )
  for i, level in ((0, 0.25), (1, 0.75)):
    assert pairs[i].kernel is None
    np.testing.assert_allclose(pairs[i].image, level, atol=0.05)


def test_transposed_images_share_a_class_and_larger_ones_do_not():
  def shape_class(*shape, kernel=None):
    plan = stages.plan_stages(shape, 2, TINY)
    return devices.shape_class(shape, kernel, plan)

  assert shape_class(48, 40, 3) == shape_class(40, 48, 3)
  others = [
    shape_class(48, 40, 1),  # channels
    shape_class(48, 30, 3),  # a smaller crop
    shape_class(48, 300, 3),  # a larger pool
    shape_class(48, 40, 3, kernel=np.ones((3, 3))),
  ]
  assert len({shape_class(48, 40, 3), *others}) == 5


def test_an_image_that_cannot_be_trained_fails_alone(photos):
  items = make_items(photos[:3])
  bad = np.full_like(photos[1], np.nan)
  items[1] = items[1]._replace(
    start=lambda: super_resolution.run_image(bad, 2, config=TINY)
  )
  pairs = dict(devices.map_images(items, devices.available(4)))
  assert isinstance(pairs[1], ValueError) and 'NaN' in str(pairs[1])
  assert pairs[0].image.shape == pairs[2].image.shape == (96, 80, 3)


def test_a_nan_rolls_back_its_own_image_only(photos, monkeypatch):
  make_chunk = devices._make_chunk
  calls = []

  def sabotaged(*args):
    chunk = make_chunk(*args)

    def run_chunk(state, *data):
      after, record = chunk(state, *data)
      calls.append(np.asarray(state.rate).tolist())
      if len(calls) == 2:
        poison = np.array([1, np.nan], np.float32)
        params = jax.tree.map(
          lambda p: p * poison.reshape(-1, *[1] * (p.ndim - 1)), after.params
        )
        return (
          after._replace(params=params),
          record._replace(loss=record.loss * poison[:, None]),
        )
      return after, record

    return run_chunk

  monkeypatch.setattr(devices, '_make_chunk', sabotaged)
  config = TINY.replace(gradual=(), max_steps=30)
  items = make_items([photos[0], photos[2]], config)
  pairs = dict(devices.map_images(items, devices.available(2)))
  # The undisturbed run ends a chunk earlier and idles.
  assert calls == [[1, 1], [1, 1], [1, 0.5], [1, 0.5]]
  assert pairs[0].history.rollbacks == ()
  assert pairs[1].history.rollbacks == (10,)
  for index in (0, 1):
    assert len(pairs[index].history.loss) == 30
    assert np.isfinite(pairs[index].history.loss).all()
  single = one_by_one(photos[:1], config)[0]
  np.testing.assert_allclose(pairs[0].image, single.image, atol=0.02)


def test_a_run_given_up_keeps_its_last_good_state(photos, monkeypatch):
  monkeypatch.setattr(loop, '_MAX_ROLLBACKS', 1)
  make_chunk = devices._make_chunk

  def sabotaged(*args):
    chunk = make_chunk(*args)

    def run_chunk(state, *data):
      after, record = chunk(state, *data)
      if int(state.step[1]) == 10:
        loss = record.loss.at[1].set(np.nan)
        params = jax.tree.map(lambda p: p.at[1].set(np.nan), after.params)
        return after._replace(params=params), record._replace(loss=loss)
      return after, record

    return run_chunk

  monkeypatch.setattr(devices, '_make_chunk', sabotaged)
  config = TINY.replace(gradual=(), max_steps=30)
  items = make_items([photos[0], photos[2]], config)
  pairs = dict(devices.map_images(items, devices.available(2)))
  assert len(pairs[0].history.loss) == 30
  assert pairs[1].history.rollbacks == (10, 10)
  assert len(pairs[1].history.loss) == 10
  assert np.isfinite(pairs[1].image).all()
  leaves = jax.tree.leaves(pairs[1].params)
  assert all(np.isfinite(leaf).all() for leaf in leaves)


def test_asking_for_more_devices_than_there_are_says_how_many():
  with pytest.raises(ValueError, match='there are 4 of kind cpu'):
    devices.available(5)
  assert len(devices.available(3)) == 3
