"""Tiles, back-projection and the self-ensemble against plain versions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from zssr_jax import blur_kernels, inference, registry, wiener
from zssr_jax.config import Config
from zssr_jax.degradation import Degradation
from zssr_jax.ops import resize

# How NumPy sees transform k of ops.dihedral, and its inverse.
TURN = [
  *(lambda x, k=k: np.rot90(x, k) for k in range(4)),
  *(lambda x, k=k: np.rot90(np.flip(x, 1), k) for k in range(4)),
]
TURN_BACK = [
  *(lambda x, k=k: np.rot90(x, -k) for k in range(4)),
  *(lambda x, k=k: np.flip(np.rot90(x, -k), 1) for k in range(4)),
]


def random_image(*shape, seed=0):
  """Values well inside [0, 1], so that clipping hides no difference."""
  noise = np.random.default_rng(seed).random(shape)
  return (0.3 + 0.4 * noise).astype(np.float32)


def make_network(name, scale, *, channels=3, depth=3, gain=1.8):
  """A network whose random weights change the image plainly."""
  scale = resize.scale_pair(scale)
  model = registry.NETWORKS[name].make(scale=scale, depth=depth, width=8)
  lr = jnp.zeros((1, 8, 8, channels))
  shape = resize.scaled_shape((8, 8), scale)
  params = model.init(jax.random.key(0), lr, jnp.zeros((1, *shape, channels)))[
    'params'
  ]
  return model, jax.tree.map(lambda p: gain * p, params)


def gaussian(size, center, variances):
  y, x = np.ogrid[:size, :size]
  kernel = np.exp(
    -((y - center[0]) ** 2) / (2 * variances[0])
    - (x - center[1]) ** 2 / (2 * variances[1])
  )
  return (kernel / kernel.sum()).astype(np.float32)


def apply_whole(model, params, lr, interpolated):
  out = model.apply({'params': params}, lr[None], interpolated[None])[0]
  return np.clip(np.asarray(out), 0, 1)


def tile_one(model, params, lr, interpolated, *, scale=2, halo=7):
  """`upscale_tiled` of a single image, in tiles of 32."""
  (out,) = inference.upscale_tiled(
    model,
    params,
    lr[None],
    interpolated[None],
    scale=resize.scale_pair(scale),
    tile=32,
    halo=halo,
  )
  return out


@pytest.fixture
def seen(monkeypatch):
  """The shapes (lr, interpolated) of all calls of a network."""
  shapes = []
  make = inference._make_apply

  def make_apply(model):
    def apply(params, lr, interpolated):
      shapes.append((lr.shape, interpolated.shape))
      return make(model)(params, lr, interpolated)

    return apply

  monkeypatch.setattr(inference, '_make_apply', make_apply)
  return shapes


# The others' trained parts reach further than a tile of this size allows.
@pytest.mark.slow
@pytest.mark.parametrize(
  'name', [n for n, known in registry.MODELS.items() if not known.parts]
)
@pytest.mark.parametrize(
  'shape, scale',
  [
    ((75, 53), 2),
    ((53, 101), 3),
    ((20, 90), 2),  # one side smaller than a tile
    ((66, 34), (2, 3)),
    ((64, 96), 1.5),
    ((75, 53), 1.5),
    ((67, 50), (1.5, 2)),
    ((75, 53), 4 / 3),
  ],
)
def test_tiles_leave_no_seam(name, shape, scale):
  model, params = make_network(name, scale)
  lr = random_image(*shape, 3)
  interpolated = resize.imresize(lr, scale)
  whole = apply_whole(model, params, lr, interpolated)
  assert np.abs(whole - interpolated).mean() > 0.01  # the network does a lot
  tiled = tile_one(model, params, lr, interpolated, scale=scale)
  assert tiled.shape == (*resize.scaled_shape(shape, scale), 3)
  np.testing.assert_allclose(tiled, whole, atol=1e-5)


@pytest.mark.parametrize('name', ['zssr', 'pixel_shuffle'])
def test_without_a_halo_there_would_be_seams(name):
  """The test above can fail."""
  model, params = make_network(name, 2)
  lr = random_image(75, 53, 3)
  interpolated = resize.imresize(lr, 2)
  whole = apply_whole(model, params, lr, interpolated)
  tiled = tile_one(model, params, lr, interpolated, halo=0)
  assert np.abs(tiled - whole).max() > 1e-3


def super_resolve(model, params, image, degradation, config, *, reach):
  """Enlarges an image by one network."""
  members = (inference.Member(params, degradation),)
  upscaler = inference.Upscaler(model, members, config, reach)
  return inference.enlarge(upscaler, image)


def least_squares(*args, **kwargs):
  """The image alone, without the steps."""
  return inference.least_squares(*args, **kwargs)[0]


def blurred_noise(height, width):
  """A picture with structure of all sizes."""
  rng = np.random.default_rng(height)
  out = np.full((height, width, 3), 0.5)
  for size in (1, 3, 9):
    noise = rng.normal(size=(height, width, 3))
    soft = ndimage.gaussian_filter(noise, (size, size, 0))
    out += 0.12 * soft / soft.std()
  return out.clip(0, 1).astype(np.float32)


def wiener_filter(kernel):
  """The filter that undoes a kernel in the middle of such a picture."""
  if kernel is None:
    return None
  rough = np.asarray(Degradation(2, kernel).down(blurred_noise(200, 200)))
  return wiener.filter_of(Degradation(2, kernel, noise_std=0.01), rough)


@pytest.mark.parametrize('unit', [1, 2, 20, 100])
@pytest.mark.parametrize('tile', [32, 100, 200, 256])
@pytest.mark.parametrize('halo', [7, 27])
def test_spans_cover_and_shield_every_pixel_whatever_the_tile(unit, tile, halo):
  size = 700
  spans = inference._spans(size, unit, tile, halo)
  covered = [p for *_, low, high in spans for p in range(low, high)]
  assert covered == list(range(size))
  assert len({stop - start for start, stop, *_ in spans}) == 1
  for start, stop, low, high in spans:
    assert start % unit == 0 and 0 <= start < stop <= size
    assert low - start >= halo or start == 0
    assert stop - high >= halo or stop == size


@pytest.mark.slow
@pytest.mark.parametrize('name', ['zssr', 'pixel_shuffle'])
@pytest.mark.parametrize('shape', [(9, 14), (32, 32), (1, 5)])
def test_an_image_smaller_than_a_tile_runs_whole(name, shape):
  model, params = make_network(name, 2)
  lr = random_image(*shape, 1)
  model, params = make_network(name, 2, channels=1)
  interpolated = resize.imresize(lr, 2)
  tiled = tile_one(model, params, lr, interpolated)
  whole = apply_whole(model, params, lr, interpolated)
  np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_tiles_of_one_size_serve_every_image_size(seen):
  """Nothing is compiled per image size: all calls have the same shapes."""
  model, params = make_network('pixel_shuffle', 2)
  for shape in ((75, 53), (40, 41), (33, 90)):
    lr = random_image(*shape, 3)
    tile_one(model, params, lr, resize.imresize(lr, 2))
  assert set(seen) == {((1, 32, 32, 3), (1, 64, 64, 3))}


@pytest.mark.slow
@pytest.mark.parametrize(
  ('budget', 'calls'),
  [
    (0, [1] * 8),  # one copy a call: what a CPU does
    (10**6, [4, 4]),  # all of one shape
    (3 * 80 * 60, [3, 1, 3, 1]),
  ],
)
def test_copies_go_together_as_memory_allows(monkeypatch, seen, budget, calls):
  model, params = make_network('pixel_shuffle', 2)
  lr = random_image(40, 30, 3)
  interpolated = resize.imresize(lr, 2)
  monkeypatch.setattr(inference, '_AT_ONCE', {'cpu': budget})
  members = range(8)
  copies = inference.upscale_copies(
    model,
    params,
    lr,
    interpolated,
    members,
    scale=(2.0, 2.0),
    tile=64,
    halo=7,
  )
  assert [shape[0] for shape, _ in seen] == calls
  for k, copy in zip(members, copies, strict=True):
    turned = apply_whole(model, params, TURN[k](lr), TURN[k](interpolated))
    np.testing.assert_allclose(copy, TURN_BACK[k](turned), atol=1e-5)


def down_slowly(image, scale, kernel, border):
  """Downscaling in float64 by scipy or by host-side imresize."""
  if kernel is None:
    inverse = tuple(1 / s for s in scale)
    return resize.imresize(image, inverse, border=border)
  blurred = np.stack(
    [
      ndimage.correlate(
        image[..., c],
        kernel.astype(np.float64),
        mode='reflect',
        # scipy's own centre is size // 2, too.
        origin=0,
      )
      for c in range(image.shape[2])
    ],
    axis=-1,
  )
  return blurred[:: int(scale[0]), :: int(scale[1])]


def back_project_slowly(sr, lr, scale, kernel, iterations, border='replicate'):
  sr, lr = sr.astype(np.float64), lr.astype(np.float64)
  for _ in range(iterations):
    down = down_slowly(sr, scale, kernel, border)[: lr.shape[0], : lr.shape[1]]
    up = resize.imresize(lr - down, scale, border=border)
    sr = np.clip(sr + up[: sr.shape[0], : sr.shape[1]], 0, 1)
  return sr


@pytest.mark.parametrize('border', ['replicate', 'symmetric'])
@pytest.mark.parametrize('scale', [2, 3, (1, 2), 1.5])
@pytest.mark.parametrize('shape', [(16, 22), (15, 21)])
@pytest.mark.parametrize('library', [np, jnp])
def test_back_projection_equals_plain_numpy(shape, scale, border, library):
  scale = resize.scale_pair(scale)
  lr = random_image(*shape, 2)
  sr = random_image(*resize.scaled_shape(shape, scale), 2, seed=1)
  made = inference.back_project(
    library.asarray(sr),
    library.asarray(lr),
    Degradation(scale, border=border),
    iterations=3,
  )
  assert isinstance(made, np.ndarray) == (library is np)
  assert made.dtype == np.float32
  expected = back_project_slowly(sr, lr, scale, None, 3, border)
  np.testing.assert_allclose(made, expected, atol=1e-5)


@pytest.mark.parametrize('scale', [2, 3, (1, 2), (3, 2)])
@pytest.mark.parametrize('size', [(5, 5), (4, 7)])
def test_back_projection_with_a_kernel_equals_scipy(scale, size):
  scale = resize.scale_pair(scale)
  kernel = np.random.default_rng(2).random(size) ** 2
  kernel = (kernel / kernel.sum()).astype(np.float32)
  lr = random_image(13, 18, 3)
  sr = random_image(*resize.scaled_shape((13, 18), scale), 3, seed=1)
  made = inference.back_project(
    sr, lr, Degradation(scale, kernel), iterations=3
  )
  expected = back_project_slowly(sr, lr, scale, kernel, 3)
  np.testing.assert_allclose(made, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('shape', [(16, 22), (15, 21)])
@pytest.mark.parametrize('scale', [1.5, (1.5, 2.0), 2.5])
def test_back_projection_with_a_kernel_between_whole_scales(scale, shape):
  """It runs, and afterwards the result explains the input better."""
  scale = resize.scale_pair(scale)
  kernel = gaussian(7, blur_kernels.aligned_center((7, 7), scale), (0.6, 0.9))
  smooth = ndimage.gaussian_filter(random_image(*shape, 1), (1, 1, 0))
  sr = resize.imresize(smooth, scale)

  def misfit(sr):
    down = Degradation(scale, kernel).down(jnp.asarray(sr))
    down = np.asarray(down)[: shape[0], : shape[1]]
    return np.abs(down - smooth)[2:-2, 2:-2].mean()

  made = inference.back_project(
    sr, smooth, Degradation(scale, kernel), iterations=8
  )
  assert made.shape == sr.shape
  assert misfit(made) < 0.3 * misfit(sr)


def test_back_projection_makes_the_result_explain_the_input():
  lr = ndimage.gaussian_filter(random_image(20, 24, 1), (0.7, 0.7, 0))
  sr = np.full((40, 48, 1), 0.5, np.float32)
  made = inference.back_project(sr, lr, Degradation((2.0, 2.0)), iterations=20)
  again = resize.imresize(np.asarray(made), 0.5)
  assert np.abs(again - lr).max() < 0.01 < np.abs(lr - 0.5).max()


def test_back_projection_stays_in_the_image_range():
  lr = np.random.default_rng(0).integers(0, 2, (12, 12, 1)).astype(np.float32)
  sr = resize.imresize(lr, 2)
  made = inference.back_project(
    np.clip(sr, 0, 1), lr, Degradation((2.0, 2.0)), iterations=5
  )
  assert made.min() == 0 and made.max() == 1


@pytest.mark.slow
@pytest.mark.parametrize('name', ['zssr', 'pixel_shuffle'])
@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize('iterations', [0, 2])
@pytest.mark.parametrize('combine', [np.median, np.mean])
def test_the_result_is_the_median_of_eight_corrected_copies_or_their_mean(
  name, channels, iterations, combine
):
  """Of a mean only the mean is corrected, not the copies."""
  each = iterations if combine is np.median else 0
  scale = (2.0, 2.0)
  model, params = make_network(name, scale, channels=channels)
  image = random_image(15, 18, channels)
  copies = []
  for turn, turn_back in zip(TURN, TURN_BACK, strict=True):
    turned = np.ascontiguousarray(turn(image))
    out = apply_whole(model, params, turned, resize.imresize(turned, scale))
    copies.append(back_project_slowly(turn_back(out), image, scale, None, each))
  assert np.std(copies, axis=0).mean() > 1e-3  # the copies differ
  expected = back_project_slowly(
    combine(copies, axis=0), image, scale, None, iterations
  )
  made = super_resolve(
    model,
    params,
    image,
    Degradation(scale),
    Config(
      model=name,
      depth=3,
      width=8,
      consistency='back_projection',
      back_projection=iterations,
      tile=32,
      ensemble=combine.__name__,
    ),
    reach=3,
  )
  assert made.dtype == np.float32
  np.testing.assert_allclose(made, expected, atol=2e-5)


def test_without_the_ensemble_one_corrected_copy_is_the_result():
  scale = (2.0, 3.0)
  kernel = gaussian(5, (2.4, 3.1), (0.7, 1.1))
  model, params = make_network('zssr', scale)
  image = random_image(15, 18, 3)
  out = apply_whole(model, params, image, resize.imresize(image, scale))
  made = super_resolve(
    model,
    params,
    image,
    Degradation(scale, kernel),
    Config(
      depth=3,
      width=8,
      consistency='back_projection',
      back_projection=2,
      copies=1,
      tile=32,
    ),
    reach=3,
  )
  expected = back_project_slowly(out, image, scale, kernel, 2)
  np.testing.assert_allclose(made, expected, atol=2e-5)


BLOCKS = {
  'paper': (None, {'consistency': 'back_projection', 'copies': 2}),
  'mean': (None, {'consistency': 'back_projection', 'ensemble': 'mean'}),
  'bicubic, least squares': (None, {'ensemble': 'mean', 'copies': 1}),
  'Gaussian': (
    blur_kernels.gaussian_kernel((4.0, 1.5), 0.4, 2),
    {'ensemble': 'mean', 'copies': 2},
  ),
  'line': (
    blur_kernels.line_kernel(9.0, 0.5, 0.6, (2.0, 2.0)),
    {'copies': 1},
  ),
  'Gaussian, back-projected': (
    blur_kernels.gaussian_kernel((2.0, 2.0), 0.0, 2),
    {'consistency': 'back_projection', 'copies': 1},
  ),
}


@pytest.mark.parametrize('name', list(BLOCKS))
def test_blocks_equal_the_whole(name, monkeypatch):
  kernel, settings = BLOCKS[name]
  model, params = make_network('pixel_shuffle', 2)
  degradation = Degradation(2, kernel, undo=wiener_filter(kernel))
  hr = np.asarray(blurred_noise(480, 400))
  image = np.asarray(degradation.down(jnp.asarray(hr))).clip(0, 1)
  config = Config(model='pixel_shuffle', depth=3, width=8, tile=32, **settings)
  upscaler = inference.Upscaler(
    model, (inference.Member(params, degradation),), config, reach=3
  )
  fitted, trial = inference.fit(upscaler, image)
  assert trial.is_whole
  np.testing.assert_array_equal(
    inference.enlarge(upscaler, image), trial.result
  )
  monkeypatch.setattr(inference, '_BLOCK', 64)
  assert len(inference._block_spans(fitted, image.shape)[0]) > 1
  shares: list[float] = []
  strips = list(inference.strips(fitted, image, shares.append))
  assert [first for first, _ in strips] == list(
    np.cumsum([0, *(len(strip) for _, strip in strips)])[:-1]
  )
  made = np.concatenate([strip for _, strip in strips])
  np.testing.assert_allclose(made, trial.result, atol=1e-5)
  assert shares == sorted(shares) and shares[-1] == 1
  # And the correction does something, so that it could be seen at the seams.
  uncorrected = fitted._replace(config=config.replace(back_projection=0))
  assert abs(inference.enlarge(uncorrected, image) - made).max() > 1e-2


@pytest.mark.parametrize('scale', [(1.5, 1.5), (3.0, 2.0), (1.1, 1.25)])
def test_blocks_of_any_scale_equal_the_whole(scale, monkeypatch):
  model, params = make_network('zssr', scale)
  image = np.asarray(blurred_noise(97, 101))
  config = Config(
    depth=3, width=8, tile=32, consistency='back_projection', copies=4
  )
  upscaler = inference.Upscaler(
    model, (inference.Member(params, Degradation(scale)),), config, reach=3
  )
  whole = inference.enlarge(upscaler, image)
  monkeypatch.setattr(inference, '_BLOCK', 40)
  spans = inference._block_spans(upscaler, image.shape)
  assert len(spans[0]) > 1 < len(spans[1])
  made = inference.enlarge(upscaler, image)
  np.testing.assert_allclose(made, whole, atol=1e-5)


def test_what_interpolation_has_its_share_in_goes_by_blocks_too(monkeypatch):
  model, params = make_network('pixel_shuffle', 2)
  image = np.asarray(blurred_noise(150, 90))
  upscaler = inference.Upscaler(
    model,
    (inference.Member(params, Degradation(2)),),
    Config(
      model='pixel_shuffle',
      depth=3,
      width=8,
      copies=1,
      tile=32,
      consistency='back_projection',
    ),
    reach=3,
  )
  plain = resize.imresize(image, 2).clip(0, 1)
  result = inference.enlarge(upscaler, image)
  monkeypatch.setattr(inference, '_BLOCK', 64)
  for share in (0.25, 1.0):
    made = inference.enlarge(upscaler._replace(share=share), image)
    expected = share * plain + (1 - share) * result
    np.testing.assert_allclose(made, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['zssr', 'pixel_shuffle'])
@pytest.mark.parametrize('shape', [(15, 18), (17, 40)])
@pytest.mark.parametrize('scale', [(1.5, 1.5), (2.0, 1.5), (4 / 3, 3.0)])
def test_any_scale_gives_the_ceiling_of_the_size(name, shape, scale):
  model, params = make_network(name, scale, channels=1)
  made = super_resolve(
    model,
    params,
    random_image(*shape, 1),
    Degradation(scale),
    Config(model=name, depth=3, width=8, back_projection=1, tile=32),
    reach=3,
  )
  expected = tuple(
    math.ceil(n * s - 1e-6) for n, s in zip(shape, scale, strict=True)
  )
  assert made.shape == (*expected, 1)
  assert np.isfinite(made).all()


KERNELS = {
  'isotropic': ((2.0, 2.0), (1.3, 1.3), set(range(8))),
  'upright': ((2.0, 2.0), (0.6, 1.8), {0, 2, 4, 6}),
  'shifted down': ((2.0, 2.0), (1.3, 1.3), {0, 4}),
  'three': ((3.0, 3.0), (1.3, 1.3), set(range(8))),
}


@pytest.mark.parametrize('name', list(KERNELS))
def test_only_transforms_that_leave_the_degradation_alone_take_part(name):
  """Checked on the degradation itself, on an image it divides evenly."""
  scale, variances, expected = KERNELS[name]
  center = blur_kernels.aligned_center((15, 15), scale)
  if name == 'shifted down':
    center = (center[0] + 0.8, center[1])
  kernel = gaussian(15, center, variances)
  image = random_image(36, 36, 1)

  def down(x):
    return np.asarray(Degradation(scale, kernel).down(jnp.asarray(x.copy())))

  unchanged = {
    k
    for k in range(8)
    if np.abs(down(TURN[k](image)) - TURN[k](down(image))).max() < 1e-3
  }
  assert unchanged == expected
  assert set(Degradation(scale, kernel).symmetries()) == expected


def test_bicubic_allows_all_eight_and_unequal_scales_only_four():
  assert Degradation((2.0, 2.0), None).symmetries() == tuple(range(8))
  assert Degradation((2.0, 3.0), None).symmetries() == (0, 2, 4, 6)


def matrix_of(degradation, shape):
  """`explained` as a matrix, pixel by pixel."""
  count = int(np.prod(shape))
  columns = [
    np.asarray(
      degradation.explained(unit.reshape(*shape, 1), shape_of_lr(shape))
    ).ravel()
    for unit in np.eye(count, dtype=np.float32)
  ]
  return np.stack(columns, axis=1)


def shape_of_lr(shape):
  return tuple(-(-n // 2) for n in shape)


def random_kernel(seed):
  rng = np.random.default_rng(seed)
  kernel = rng.random(rng.integers(1, 8, 2)) ** rng.integers(1, 8)
  return (kernel / kernel.sum()).astype(np.float32)


@pytest.mark.parametrize('shape', [(12, 10), (11, 13)])
@pytest.mark.parametrize('kernel', [None, random_kernel(0), random_kernel(1)])
def test_least_squares_finds_the_nearest_exact_solution(shape, kernel):
  degradation = Degradation(2, kernel)
  rng = np.random.default_rng(2)
  # Far from 0 and 1, so that nothing is clipped.
  scene = rng.uniform(0.45, 0.55, (*shape, 1)).astype(np.float32)
  sr = scene + rng.uniform(-0.02, 0.02, scene.shape).astype(np.float32)
  matrix = matrix_of(degradation, shape)
  seen = np.asarray(degradation.explained(scene, shape_of_lr(shape)))
  lr = np.zeros((*shape_of_lr(shape), 1), np.float32)
  lr[: seen.shape[0], : seen.shape[1]] = seen
  made = least_squares(sr, lr, degradation, 0.0, iterations=300)
  rest = seen.ravel() - matrix @ sr.ravel()
  exact = sr.ravel() + np.linalg.lstsq(matrix, rest, rcond=1e-5)[0]
  np.testing.assert_allclose(np.ravel(made), exact, atol=2e-4)


def test_least_squares_never_raises_what_is_unexplained():
  rng = np.random.default_rng(0)
  lr = rng.uniform(0.3, 0.7, (16, 12, 2)).astype(np.float32)
  sr = rng.uniform(0.3, 0.7, (32, 24, 2)).astype(np.float32)

  def unexplained(sr, degradation):
    rest = np.asarray(degradation.unexplained(sr, lr))
    return np.sqrt(np.mean(rest**2, (0, 1)))

  for seed in range(50):
    # Padded, so that one program serves all.
    degradation = Degradation(2, random_kernel(seed)).padded((9, 9))
    before = unexplained(sr, degradation)
    for iterations in (1, 10):
      made = least_squares(sr, lr, degradation, 0.0, iterations=iterations)
      after = unexplained(made, degradation)
      assert (after <= before + 1e-6).all(), seed
      before = after


def test_noise_stops_least_squares():
  degradation = Degradation(2, blur_kernels.gaussian_kernel((2, 1), 0.5, 2))
  rng = np.random.default_rng(0)
  scene = rng.uniform(0.3, 0.7, (40, 48, 1)).astype(np.float32)
  lr = np.asarray(degradation.down(scene))
  rough = np.asarray(degradation.up(lr))

  def unexplained(sr):
    return float(
      np.sqrt(np.mean(np.asarray(degradation.unexplained(sr, lr)) ** 2))
    )

  now = unexplained(rough)
  same = least_squares(rough, lr, degradation, now, iterations=9)
  np.testing.assert_array_equal(same, rough)
  level = now / 3
  made = least_squares(rough, lr, degradation, level, iterations=50)
  whole = least_squares(rough, lr, degradation, 0.0, iterations=50)
  assert unexplained(whole) < 0.5 * level < unexplained(made) < level * 1.001


def test_channels_are_corrected_as_if_alone():
  degradation = Degradation(2, random_kernel(3))
  rng = np.random.default_rng(0)
  lr = rng.uniform(0.3, 0.7, (16, 12, 2)).astype(np.float32)
  sr = rng.uniform(0.3, 0.7, (32, 24, 2)).astype(np.float32)
  sr[..., 1] *= 0.9
  both = least_squares(sr, lr, degradation, 0.01, iterations=6)
  for c in (0, 1):
    one = least_squares(
      sr[..., c : c + 1], lr[..., c : c + 1], degradation, 0.01, iterations=6
    )
    np.testing.assert_allclose(both[..., c], one[..., 0], atol=1e-5)


@pytest.mark.parametrize('ensemble', ['median', 'mean'])
def test_least_squares_corrects_the_ensemble_alone(ensemble):
  scale = (2.0, 2.0)
  model, params = make_network('zssr', scale)
  image = random_image(15, 18, 3)
  copies = [
    turn_back(
      apply_whole(
        model,
        params,
        np.ascontiguousarray(turn(image)),
        resize.imresize(np.ascontiguousarray(turn(image)), scale),
      )
    )
    for turn, turn_back in zip(TURN, TURN_BACK, strict=True)
  ]
  combine = {'median': np.median, 'mean': np.mean}[ensemble]
  degradation = Degradation(scale)
  expected = least_squares(
    combine(copies, axis=0).astype(np.float32),
    image,
    degradation,
    degradation.error_std(image),
    iterations=3,
  )
  config = Config(
    depth=3, width=8, back_projection=3, tile=32, ensemble=ensemble
  )
  made = super_resolve(model, params, image, degradation, config, reach=3)
  np.testing.assert_allclose(made, expected, atol=2e-5)
  untouched = super_resolve(
    model,
    params,
    image,
    degradation,
    config.replace(consistency='none'),
    reach=3,
  )
  np.testing.assert_allclose(
    untouched, combine(copies, axis=0).clip(0, 1), atol=2e-5
  )
