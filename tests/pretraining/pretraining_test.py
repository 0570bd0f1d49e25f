"""Training on many images: what is drawn, what a step does, going on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from zssr_jax import blur_kernels
from zssr_jax.models import zssr
from zssr_jax.ops import dihedral, metrics, resize
from zssr_jax.parallel import devices
from zssr_jax.pretraining import loop, patches
from zssr_jax.pretraining import step as step_lib

rng = np.random.default_rng(0)
IMAGES = [
  rng.integers(0, 256, shape).astype(np.uint8)
  for shape in ((52, 61, 3), (64, 49, 3))
]
MODEL = zssr.Zssr(depth=2, width=8)
TINY = step_lib.Recipe(patch=8, batch=4, steps=30, warmup=5, average=0.9)


def keys(count, seed=0):
  return jax.random.split(jax.random.key(seed), count)


def draw(plan, count, images=IMAGES, **kwargs):
  """Draws patches and returns them as a list of NumPy batches of one."""
  corpus = patches.make_corpus(images, plan)
  function = jax.jit(functools.partial(patches.draw, plan=plan))
  batch = function(keys(count), corpus, **kwargs)
  return [
    patches.Batch(*(np.asarray(x[i]) for x in batch)) for i in range(count)
  ]


def find(patch, images, unit):
  """Which image a patch is of, how turned, and its corner then."""
  pixels = np.round(patch * 255).astype(np.uint8)
  for image in images:
    rows, columns = (n // unit * unit for n in image.shape[:2])
    for turn in range(8):
      cut = image[:rows, :columns]
      windows = np.lib.stride_tricks.sliding_window_view(
        dihedral.dihedral(cut, turn), pixels.shape, (0, 1, 2)
      )[:, :, 0]
      hits = np.argwhere((windows == pixels).all((2, 3, 4)))
      if len(hits):
        return cut, turn, *hits[0]
  raise AssertionError('the patch is in none of the images')


@pytest.mark.slow
@pytest.mark.parametrize('scale', [2, 3, 4])
def test_a_patch_is_cut_from_the_images_that_matlab_makes(scale):
  plan = patches.Plan((scale,), 4 * scale, 'rgb')
  for lr, interpolated, hr in draw(plan, 12):
    image, turn, y, x = find(hr, IMAGES, scale)
    assert y % scale == x % scale == 0
    low = dihedral.dihedral(resize.imresize(image, 1 / scale), turn) / 255
    expected = low[y // scale :, x // scale :][:4, :4]
    np.testing.assert_allclose(lr, expected, atol=1e-6)
    up = resize.imresize(low, scale)[y:, x:][: 4 * scale, : 4 * scale]
    np.testing.assert_allclose(interpolated, up, atol=1e-5)


@pytest.mark.slow
def test_all_places_and_transforms_are_drawn_and_no_padding():
  y, x = np.mgrid[:40, :200].astype(np.uint8) + 1
  image = np.stack([y, x, np.full_like(x, 7)], -1)
  turned = np.stack([x.T, y.T, np.full_like(x.T, 9)], -1)
  plan = patches.Plan((2,), 8, 'rgb')
  batch = draw(plan, 3000, [image, turned])
  hr = np.stack([np.round(b.hr * 255) for b in batch])
  assert hr.min() > 0  # padding is 0
  first = hr[hr[..., 2].reshape(3000, -1)[:, 0] == 7]
  # The margin of the cubic upscale is 4 HR pixels.
  assert (first[..., 0].min(), first[..., 0].max()) == (5, 36)
  assert (first[..., 1].min(), first[..., 1].max()) == (5, 196)
  slopes = {tuple(p[0, 1, :2] - p[0, 0, :2]) for p in first}
  assert slopes == {(0, 1), (0, -1), (1, 0), (-1, 0)}


@pytest.mark.slow
def test_images_are_drawn_by_their_area():
  images = [
    np.full((shape), value, np.uint8)
    for value, shape in ((10, (40, 40, 3)), (200, (40, 120, 3)))
  ]
  batch = draw(patches.Plan((2,), 8, 'rgb'), 2000, images)
  share = np.mean([b.hr[0, 0, 0] > 0.5 for b in batch])
  assert abs(share - 0.75) < 0.04  # four standard deviations


def test_small_images_are_left_out_and_none_at_all_is_refused():
  plan = patches.Plan((2,), 8, 'rgb')
  small = np.zeros((15, 40, 3), np.uint8)
  assert patches.make_corpus([small, IMAGES[0]], plan).share.shape == (1,)
  with pytest.raises(ValueError, match='16 pixels a side'):
    patches.make_corpus([small], plan)


@pytest.mark.slow
@pytest.mark.parametrize('scale', [2, 3, 4])
def test_kernels_are_those_of_the_tables(scale):
  found = patches.draw_kernels(keys(6), scale)
  for key, kernel in zip(keys(6), found, strict=True):
    a, b, turn = np.asarray(jax.random.uniform(key, (3,)), np.float64)
    expected = blur_kernels.gaussian_kernel(
      (a * scale**2, b * scale**2), np.pi * turn, scale
    )
    assert kernel.shape == expected.shape
    np.testing.assert_allclose(kernel, expected, atol=2e-3 * expected.max())


@pytest.mark.slow
@pytest.mark.parametrize('scale', [2, 3])
def test_a_blurred_patch_meets_no_border_and_is_rounded(scale):
  plan = patches.Plan((scale,), 4 * scale, 'rgb', 'gaussian')
  kernel_keys = keys(6, seed=1)
  kernels = np.asarray(patches.draw_kernels(kernel_keys, scale), np.float64)
  noise = np.random.default_rng(1).integers(0, 256, (66, 75, 3))
  images = [noise.astype(np.uint8)]
  batch = draw(plan, 6, images, kernel_keys=kernel_keys)
  for (lr, _, hr), kernel in zip(batch, kernels, strict=True):
    image, turn, y, x = find(hr, images, scale)
    whole = dihedral.dihedral(image, turn)
    blurred = [
      scipy.signal.correlate2d(whole[..., c] / 255, kernel, 'same')
      for c in range(3)
    ]
    low = np.stack(blurred, -1)[y : y + 4 * scale : scale]
    low = np.floor(low[:, x : x + 4 * scale : scale] * 255 + 0.5)
    np.testing.assert_allclose(lr * 255, low, atol=1.01)
    assert np.mean(np.abs(lr * 255 - low) > 0.01) < 0.05


def test_mixed_has_a_quarter_of_bicubic_patches():
  make = functools.partial(patches.Plan, (2,), 8, 'rgb')
  corpus = patches.make_corpus(IMAGES, make('mixed'))
  # The places of 'bicubic' would differ: its margin is smaller.
  low, blurred = (
    jax.jit(functools.partial(patches.draw, plan=make(kernels)))(
      keys(200), corpus
    ).lr
    for kernels in ('mixed', 'gaussian')
  )
  same = np.asarray(jnp.all(low == blurred, axis=(1, 2, 3)))
  assert abs(same.mean() - 0.75) < 0.13  # four standard deviations


@pytest.mark.slow
def test_several_scales_share_a_batch():
  plan = patches.Plan((2, 4), 16, 'y')
  several = draw(plan, 16)
  # The unit and the margin of both is that of 4 alone: the same places.
  places = draw(patches.Plan((4,), 16, 'rgb'), 16)
  counts = [0, 0]
  for (lr, interpolated, y), (_, _, rgb) in zip(several, places, strict=True):
    np.testing.assert_array_equal(lr, interpolated)
    np.testing.assert_allclose(y, luma(rgb), atol=1e-6)
    image, turn, top, left = find(rgb, IMAGES, 4)
    errors = []
    for scale in plan.scales:
      low = dihedral.dihedral(resize.imresize(image, 1 / scale), turn)
      up = resize.imresize(luma(low / 255), scale)
      expected = up[top : top + 16, left : left + 16]
      errors.append(np.abs(expected - interpolated).max())
    assert min(errors) < 1e-5 < max(errors)
    counts[int(np.argmin(errors))] += 1
  assert min(counts) > 2


def luma(rgb):
  y = 16 + 65.481 * rgb[..., 0] + 128.553 * rgb[..., 1] + 24.966 * rgb[..., 2]
  return y[..., None] / 255


def start(recipe=TINY, model=MODEL, images=IMAGES):
  corpus = patches.make_corpus(images, recipe.plan)
  params = step_lib.init_params(jax.random.key(1), model, recipe)
  return step_lib.init_state(jax.random.key(2), params, recipe), corpus


def train(machine, state, corpus, recipe=TINY):
  looks = list(loop.run(machine, state, corpus, recipe))
  assert sum(look.steps for look in looks) == recipe.steps - int(state.step)
  return looks


def assert_same(a, b):
  for name, array in loop.pack(a).items():
    np.testing.assert_array_equal(array, loop.pack(b)[name], err_msg=name)


@pytest.mark.slow
def test_a_run_that_goes_on_from_a_checkpoint_ends_bit_for_bit_the_same():
  state, corpus = start()
  machine = loop.one_device(MODEL, TINY)
  whole = train(machine, state, corpus)[-1].state
  half, _ = machine.chunk(state, corpus, np.int32(20))
  again = loop.unpack(loop.pack(half), start()[0])
  # A new process compiles anew.
  rest = train(loop.one_device(MODEL, TINY), again, corpus)[-1].state
  assert int(rest.step) == 30
  assert_same(whole, rest)


@pytest.mark.slow
def test_training_lowers_the_loss_and_the_average_follows():
  y, x = np.mgrid[:60, :60]
  waves = 127 + 120 * np.sin(y / 2.5) * np.cos(x / 3)
  image = np.repeat(waves[..., None], 3, 2).astype(np.uint8)
  recipe = step_lib.Recipe(
    patch=8, batch=8, steps=150, rate=5e-3, warmup=10, average=0.9
  )
  state, corpus = start(recipe, images=[image])
  machine = loop.one_device(MODEL, recipe)
  looks = train(machine, state, corpus, recipe)
  assert looks[-1].loss < 0.6 * looks[0].loss
  low = resize.imresize(image, 1 / 2)
  before, after = (
    loop.validate(MODEL, params, [(low, image)], 2, 'rgb')
    for params in (state.params, looks[-1].state.average)
  )
  assert after > before + 1


def test_validation_of_a_network_that_adds_nothing_is_bicubic():
  params = jax.tree.map(jnp.zeros_like, start()[0].params)
  pairs = [(resize.imresize(i[:48, :48], 1 / 2), i[:48, :48]) for i in IMAGES]
  expected = np.mean(
    [
      metrics.score(np.clip(resize.imresize(lr / 255, 2.0), 0, 1), hr, 2)[0]
      for lr, hr in pairs
    ]
  )
  for color in ('rgb', 'y'):
    if color == 'y':
      recipe = step_lib.Recipe(patch=8, color='y')
      params = jax.tree.map(jnp.zeros_like, start(recipe)[0].params)
    found = loop.validate(MODEL, params, pairs, 2, color)
    # On luma alone there is no rounding of R, G and B before.
    assert abs(found - expected) < (1e-3 if color == 'rgb' else 0.05)


@pytest.mark.slow
def test_two_devices_share_a_batch_and_agree_with_one():
  state, corpus = start()
  results = []
  for machine in (
    loop.one_device(MODEL, TINY),
    devices.data_parallel(MODEL, TINY, devices.available(2)),
  ):
    data = machine.spread(state), machine.spread(corpus)
    after, loss = machine.collect(machine.chunk(*data, np.int32(10)))
    results.append((float(loss), jax.tree.leaves(after.average)))
  (one, first), (two, second) = results
  assert abs(one - two) < 1e-5
  for a, b in zip(first, second, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-3)
  with pytest.raises(ValueError, match='multiple of the 3 devices'):
    devices.data_parallel(MODEL, TINY, devices.available(3))


def test_the_rate_grows_then_follows_a_cosine_or_falls_in_quarters():
  recipe = step_lib.Recipe(steps=100, warmup=20, rate=0.5)
  rates = [float(step_lib.learning_rate(i, recipe)) for i in range(100)]
  np.testing.assert_allclose(rates[:20], 0.5 * np.arange(1, 21) / 20, rtol=1e-6)
  cosine = 0.25 * (1 + np.cos(np.pi * np.arange(80) / 80))
  np.testing.assert_allclose(rates[20:], cosine, atol=1e-6)
  recipe = step_lib.Recipe(steps=100, warmup=0, rate=0.5, optimizer='sgd')
  rates = [float(step_lib.learning_rate(i, recipe)) for i in (0, 24, 25, 75)]
  np.testing.assert_allclose(rates, [0.5, 0.5, 0.05, 0.0005], rtol=1e-5)


def test_vdsr_clips_each_gradient_by_the_rate_and_decays_the_weights():
  recipe = step_lib.Recipe(
    patch=8,
    batch=2,
    steps=8,
    loss='sum',
    optimizer='sgd',
    rate=0.1,
    warmup=0,
    clip=1e-4,
    weight_decay=1e-3,
  )
  state, corpus = start(recipe)
  after, _ = jax.jit(step_lib.make_step(MODEL, recipe))(state, corpus)
  for old, new in zip(
    jax.tree.leaves(state.params), jax.tree.leaves(after.params), strict=True
  ):
    kept = old * np.float32(1 - 0.1 * 1e-3)
    assert np.abs(new - kept).max() < 1.01e-4
    # The sum over pixels is far beyond the limit nearly everywhere.
    assert np.mean(np.abs(new - kept) > 0.99e-4) > 0.7


@pytest.mark.slow
def test_the_luma_loss_weighs_what_tables_score():
  loss = 'luma:0.9,l1:0.1'
  recipe = step_lib.Recipe(patch=8, batch=2, steps=8, loss=loss)
  state, corpus = start(recipe)
  _, loss = jax.jit(step_lib.make_step(MODEL, recipe))(state, corpus)
  keys = jax.random.split(jax.random.fold_in(state.key, 0), 2)
  batch = patches.draw(keys, corpus, recipe.plan)
  output = MODEL.apply({'params': state.params}, batch.lr, batch.interpolated)
  error = np.asarray(output, np.float64) - np.asarray(batch.hr)
  scored = error @ (np.array([65.481, 128.553, 24.966]) / 255)
  expected = 0.9 * np.abs(scored).mean() + 0.1 * np.abs(error).mean()
  np.testing.assert_allclose(loss, expected, rtol=1e-4)


@pytest.mark.slow
def test_meta_learning_follows_the_gradient_after_the_inner_steps():
  recipe = step_lib.Recipe(
    patch=8,
    batch=4,
    steps=8,
    kernels='gaussian',
    optimizer='sgd',
    rate=0.5,
    warmup=0,
    meta=2,
    inner_rate=0.3,
    tasks=2,
  )
  state, corpus = start(recipe)
  after, loss = jax.jit(step_lib.make_step(MODEL, recipe))(state, corpus)

  @jax.jit
  @jax.value_and_grad
  def slope_of(params, batch):
    out = MODEL.apply({'params': params}, batch.lr, batch.interpolated)
    return jnp.mean(jnp.abs(out - batch.hr))

  draw_two = jax.jit(functools.partial(patches.draw, plan=recipe.plan))
  losses, gradients = [], []
  for key in jax.random.split(jax.random.fold_in(state.key, 0), 2):
    batch = draw_two(
      jax.random.split(jax.random.fold_in(key, 0), 2),
      corpus,
      kernel_keys=jnp.stack([jax.random.fold_in(key, 1)] * 2),
    )
    seen, unseen = (
      patches.Batch(*(x[i : i + 1] for x in batch)) for i in (0, 1)
    )
    params = state.params
    for _ in range(2):
      _, slope = slope_of(params, seen)
      params = jax.tree.map(lambda p, g: p - 0.3 * g, params, slope)
    value, slope = slope_of(params, unseen)
    losses.append(float(value))
    gradients.append(slope)
  assert abs(float(loss) - np.mean(losses)) < 1e-6
  expected = jax.tree.map(
    lambda p, a, b: p - 0.5 * (a + b) / 2, state.params, *gradients
  )
  for a, b in zip(
    jax.tree.leaves(after.params), jax.tree.leaves(expected), strict=True
  ):
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_start_takes_over_the_leaves_that_fit():
  params = {'a': {'kernel': jnp.zeros((2, 3))}, 'b': {'kernel': jnp.zeros(4)}}
  given = {'a/kernel': np.ones((2, 3)), 'b/kernel': np.ones(5), 'c': np.ones(1)}
  out, taken = loop.fit(params, given)
  assert taken == 1
  assert out['a']['kernel'].tolist() == np.ones((2, 3)).tolist()
  assert out['b']['kernel'].tolist() == [0.0] * 4


def test_a_loss_that_is_no_number_ends_the_run():
  state, corpus = start()
  broken = jax.tree.map(lambda x: x * jnp.nan, state.params)
  state = state._replace(params=broken)
  with pytest.raises(FloatingPointError, match='after step 1'):
    train(loop.one_device(MODEL, TINY), state, corpus)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'scales': (1,)}, 'whole numbers from 2'),
    ({'scales': (2, 3), 'patch': 32}, 'multiple of 6'),
    ({'kernels': 'box'}, 'one of bicubic'),
    ({'loss': 'l3'}, 'one of l1'),
    ({'optimizer': 'lamb'}, 'one of adam'),
    ({'rate': 0.0}, 'rate'),
    ({'steps': 0}, 'steps'),
    ({'meta': 2}, 'gaussian or mixed'),
    ({'meta': 2, 'kernels': 'mixed', 'batch': 12}, 'multiple of twice'),
  ],
)
def test_a_recipe_says_what_is_wrong_with_it(changes, message):
  with pytest.raises(ValueError, match=message):
    step_lib.Recipe(**changes)
