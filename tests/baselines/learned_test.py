"""The learned baselines: published scores, colours, tiles, copies."""

import dataclasses

import jax
import numpy as np
import pytest

from zssr_jax import registry
from zssr_jax.baselines import learned
from zssr_jax.command_line import networks
from zssr_jax.data import datasets, image_io
from zssr_jax.errors import InputError
from zssr_jax.ops import color, dihedral, metrics, resize
from zssr_jax.weights import conversion, foreign

VDSR = 'weights/vdsr_twtygqyy.npz'
SRCNN = 'weights/srcnn_915_x3_chxy95.npz'


def draw(name, scale=2):
  """Random parameters whose results are mostly within [0, 1]."""
  rng = np.random.default_rng(0)

  def leaf(like):
    scale = 0.01 if len(like.shape) == 1 else np.prod(like.shape[:3]) ** -0.5
    return (scale * rng.normal(size=like.shape)).astype(np.float32)

  params = jax.tree.map(leaf, registry.EXTERNAL[name].shapes(scale))
  if 'tail' in params:  # the blocks of EDSR add up
    params['tail']['kernel'] *= np.float32(0.005)
  return params


def change(monkeypatch, name, **changes):
  """Changes what is known of a network."""
  network = dataclasses.replace(registry.EXTERNAL[name], **changes)
  monkeypatch.setattr(learned, 'CHANGED', network, raising=False)
  place = 'baselines.learned:CHANGED'
  monkeypatch.setitem(registry.EXTERNAL._places, name, place)


def photo(shape):
  return np.random.default_rng(1).uniform(size=shape).astype(np.float32)


def published(root, name, file):
  return conversion.convert(name, foreign.read_arrays(root / file))[0]


def oracle_scores(root, name, params, scale, images):
  """PSNR in dB of Y, made smaller and larger without rounding in between."""
  apply = jax.jit(registry.EXTERNAL[name].make(scale=(scale, scale)).apply)
  scores = {}
  for pair in datasets.pairs(root, 'Set5', scale):
    if pair.name not in images:
      continue
    y = color.luma(color.to_uint8(image_io.read_image(pair.hr)))
    h, w = (n // scale * scale for n in y.shape[:2])
    y = y[:h, :w].astype(np.float64)
    lr = resize.imresize(y, 1 / scale)
    x = (resize.imresize(lr, scale) / 255).astype(np.float32)[None]
    out = np.asarray(apply({'params': params}, x, x))[0].astype(np.float64)
    rounded = np.clip(np.floor(255 * out + 0.5), 0, 255)
    error = (rounded - y)[scale:-scale, scale:-scale]
    scores[pair.name] = 10 * np.log10(255**2 / np.mean(error**2))
  return scores


@pytest.mark.slow
@pytest.mark.parametrize(
  ('scale', 'recorded'),
  [
    (2, {'bird': 42.494, 'butterfly': 34.705}),
    (3, {'bird': 36.771, 'butterfly': 30.026}),
    (4, {'bird': 33.689, 'butterfly': 27.233}),
  ],
)
def test_the_published_vdsr_scores_what_it_scored_on_all_of_set5(
  data_root, scale, recorded
):
  # Recorded in a run over all five images, whose means were 37.592, 33.750
  # and 31.437 dB: the weights' published 37.59, 33.75 and 31.43.
  params = published(data_root, 'vdsr', VDSR)
  scores = oracle_scores(data_root, 'vdsr', params, scale, recorded)
  assert scores == pytest.approx(recorded, abs=0.02)


@pytest.mark.slow
def test_the_published_srcnn_scores_what_was_published(data_root):
  params = published(data_root, 'srcnn', SRCNN)
  names = ('baby', 'bird', 'butterfly', 'head', 'woman')
  scores = oracle_scores(data_root, 'srcnn', params, 3, names)
  assert np.mean(list(scores.values())) == pytest.approx(32.46, abs=0.02)


def test_srcnn_as_a_method_beats_bicubic_by_what_the_oracle_says(data_root):
  # From the stored 8-bit LR image and through RGB; the oracle has 27.58.
  upscale = learned.make_upscale('srcnn', published(data_root, 'srcnn', SRCNN))
  pair = {p.name: p for p in datasets.pairs(data_root, 'Set5', 3)}['butterfly']
  sr = upscale(image_io.read_image(pair.lr), 3)
  psnr, _ = metrics.score(sr, image_io.read_image(pair.hr), 3)
  assert psnr == pytest.approx(27.57, abs=0.05)


def test_luma_changes_and_chroma_stays():
  lr = 0.4 + 0.2 * photo((9, 12, 3))
  sr = learned.make_upscale('srcnn', draw('srcnn'))(lr, 2)
  difference = sr - resize.imresize(lr, 2)
  assert np.abs(difference).max() > 0.05
  inside = ((sr > 0) & (sr < 1)).all(axis=2)
  assert inside.mean() > 0.5
  np.testing.assert_allclose(np.ptp(difference, axis=2)[inside], 0, atol=1e-6)


def test_luma_after_is_what_the_network_made():
  lr = 0.4 + 0.2 * photo((9, 12, 3))
  params = draw('srcnn')
  params['conv3']['bias'] = np.array([0.5], np.float32)
  params['conv3']['kernel'] *= np.float32(0.1)
  sr = learned.make_upscale('srcnn', params)(lr, 2)
  y = color.studio_luma(resize.imresize(lr, 2))[None]
  model = registry.EXTERNAL['srcnn'].make(scale=(2, 2))
  expected = jax.jit(model.apply)({'params': params}, y, y)[0]
  assert 0 < sr.min() and sr.max() < 1
  np.testing.assert_allclose(color.studio_luma(sr), expected, atol=1e-5)


@pytest.mark.parametrize('name', ['srcnn', 'edsr'])
def test_grey_counts_as_three_equal_channels(name):
  upscale = learned.make_upscale(name, draw(name))
  lr = photo((8, 10, 1))
  grey = upscale(lr, 2)
  assert grey.shape == (16, 20, 1) and grey.dtype == np.float32
  rgb = upscale(lr.repeat(3, axis=2), 2)
  np.testing.assert_allclose(grey, rgb.mean(2, keepdims=True), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
  ('name', 'scale', 'size'),
  [
    ('srcnn', 2, (9, 75)),
    ('srcnn_955', (2.0, 3.0), (70, 8)),
    ('vdsr', 2, (12, 110)),
    ('edsr', 2, (10, 200)),
  ],
)
def test_tiles_give_what_the_whole_image_gives(monkeypatch, name, scale, size):
  params = draw(name)
  lr = photo((*size, 3))
  whole = learned.make_upscale(name, params)(lr, scale)
  change(monkeypatch, name, tile=1)  # the smallest
  tiled = learned.make_upscale(name, params)(lr, scale)
  np.testing.assert_allclose(tiled, whole, atol=1e-5)
  change(monkeypatch, name, reach=lambda _: 1)
  seams = learned.make_upscale(name, params)(lr, scale) - whole
  seams = np.abs(seams).max()
  assert seams > 1e-4  # so the test can fail


@pytest.mark.slow
@pytest.mark.parametrize(
  ('scale', 'shape'),
  [(1.5, (17, 20)), ((2.0, 3.0), (22, 39)), (1.37, (16, 18)), (4, (44, 52))],
)
def test_any_scale_will_do_for_the_networks_on_luma(monkeypatch, scale, shape):
  upscale = learned.make_upscale('srcnn', draw('srcnn'), ensemble=True)
  small = upscale(photo((11, 13, 3)), scale)
  assert small.shape == (*shape, 3)
  assert 0 <= small.min() and small.max() <= 1
  lr = 0.4 + 0.2 * photo((41, 43, 3))
  whole = upscale(lr, scale)
  change(monkeypatch, 'srcnn', tile=1)
  upscale = learned.make_upscale('srcnn', draw('srcnn'), ensemble=True)
  tiled = upscale(lr, scale)
  assert tiled.shape == whole.shape
  # Tiles may need a few repeated pixels at the bottom and on the right.
  np.testing.assert_allclose(tiled[:-8, :-8], whole[:-8, :-8], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['srcnn', 'edsr'])
def test_the_ensemble_is_the_mean_of_eight_copies(name):
  params = draw(name)
  single = learned.make_upscale(name, params)
  lr = 0.4 + 0.2 * photo((8, 10, 3))
  copies = [
    dihedral.undo_dihedral(single(dihedral.dihedral(lr, k), 2), k)
    for k in range(8)
  ]
  sr = learned.make_upscale(name, params, ensemble=True)(lr, 2)
  # Where single copies were clipped depends on when that is done.
  inside = np.all([(c > 0) & (c < 1) for c in copies], axis=0)
  assert inside.mean() > 0.5
  np.testing.assert_allclose(
    sr[inside], np.mean(copies, axis=0)[inside], atol=1e-5
  )
  assert np.abs(sr - copies[0]).max() > 1e-3


def test_what_does_not_fit_is_refused_in_one_line():
  with pytest.raises(ValueError, match="unknown network 'rcan'"):
    learned.make_upscale('rcan', {})
  with pytest.raises(ValueError, match='no weights of vdsr: conv01/kernel is'):
    learned.make_upscale('vdsr', {})
  with pytest.raises(ValueError, match='srcnn_955: conv2/kernel is'):
    learned.make_upscale('srcnn_955', draw('srcnn'))
  upscale = learned.make_upscale('edsr', draw('edsr', 2))
  with pytest.raises(ValueError, match='no weights of edsr at scale 3: up1'):
    upscale(photo((8, 8, 3)), 3)
  with pytest.raises(ValueError, match='scale 2, 3 or 4, not 1.5 x 1.5'):
    upscale(photo((8, 8, 3)), 1.5)
  with pytest.raises(ValueError, match=r'not \(8, 8, 4\)'):
    upscale(photo((8, 8, 4)), 2)


def test_the_srcnn_of_the_package_is_found_and_beats_bicubic():
  """On an image shrunk by bicubic, which is what it was trained for."""
  from skimage import data

  name, params = networks.load_network('srcnn', 2.0, {}, None)
  hr = data.astronaut()[100:260, 150:310].astype(np.float32) / 255
  lr = np.clip(resize.imresize(hr, 0.5), 0, 1)
  sr = learned.make_upscale(name, params)(lr, 2)
  bicubic = np.clip(resize.imresize(lr, 2), 0, 1)
  ours, usual = (metrics.score(a, hr, 2)[0] for a in (sr, bicubic))
  assert ours > usual + 1
  with pytest.raises(InputError, match='missing'):
    networks.load_network('srcnn', 4.0, {}, None)
