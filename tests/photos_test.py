"""super_resolve as a newcomer meets it: any kind of image in, a file out."""

import importlib.util
import io
import pathlib
import sys
import types
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageCms

import zssr_jax
from zssr_jax import errors, presets, saved_upscaler
from zssr_jax.degradation import Degradation
from zssr_jax.models import zssr
from zssr_jax.ops import jpeg
from zssr_jax.weights import parameters

ROOT = pathlib.Path(__file__).parents[1]
# Flags of the command line, and the config that they make.
CHANGES = {'depth': 3, 'width': 8, 'crop': 24, 'max_steps': 2}
FLAGS = [f'--config.{name}={value}' for name, value in CHANGES.items()]
TINY = presets.override('smoke', CHANGES)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


@pytest.fixture(autouse=True)
def _as_for_users():
  """Optax's Adam does not work under strict promotion."""
  with jax.numpy_dtype_promotion('standard'):
    yield


@pytest.fixture(scope='module')
def pixels():
  """A crop of a photograph, uint8 `[40, 44, 3]`."""
  from skimage import data

  return np.ascontiguousarray(data.astronaut()[20:60, 180:224])


def enlarge(source, scale=2, **options):
  return zssr_jax.super_resolve(source, scale, config=TINY, **options)


@pytest.fixture(scope='module')
def plain(pixels):
  with jax.numpy_dtype_promotion('standard'):
    return enlarge(pixels)


@pytest.fixture
def command(tmp_path):
  """Runs bin/main.py in this process; returns the picture's bytes."""
  spec = importlib.util.spec_from_file_location(
    'bin_main_of_photos', ROOT / 'bin/main.py'
  )
  script = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(script)

  def run(config, path, *flags):
    argv = ['main.py', f'--config={config}', f'--input={path}', *FLAGS, *flags]
    output = tmp_path / 'out'
    assert script.main([*argv, f'--output={output}']) == 0
    [found] = [p for p in output.iterdir() if p.suffix != '.json']
    return found

  return run


class Tensor:
  """Looks like one of torch's that is on another device and has a gradient."""

  def __init__(self, array, state=''):
    self._array, self._state = array, state

  def detach(self):
    return Tensor(self._array, 'detached')

  def cpu(self):
    assert self._state == 'detached'
    return Tensor(self._array, 'here')

  def numpy(self):
    if self._array is None:
      raise TypeError('Got unsupported\nScalarType BFloat16')
    assert self._state == 'here'
    return self._array


def test_all_kinds_of_source_are_one_image(pixels, plain, tmp_path):
  path = tmp_path / 'photo.png'
  Image.fromarray(pixels).save(path)
  floats = pixels.astype(np.float32) / 255
  assert plain.image.shape == (80, 88, 3)
  assert plain.image.dtype == np.float32
  for source, options in (
    (path, {}),
    (str(path), {'page': 1}),
    (f'{path}[1]', {}),
    (Image.fromarray(pixels), {}),
    (Image.open(path), {}),
    (floats, {}),
    (floats.astype(np.float64), {'layout': 'HWC'}),
    (jnp.asarray(floats), {}),
    (jnp.asarray(pixels), {}),
    (Tensor(pixels), {}),
    (Tensor(np.moveaxis(pixels, -1, 0)), {'layout': 'CHW'}),
    (np.moveaxis(floats, -1, 0), {'layout': 'CHW'}),
  ):
    # What a double is rounded to may differ in the last bit.
    made = plain.upscaler(source, **options)
    np.testing.assert_allclose(made.image, plain.image, atol=1e-5)
    assert made.result is None and made.said == '' and made.warning is None
  # ... of training, too.
  np.testing.assert_array_equal(enlarge(path).image, plain.image)


def test_the_result_says_what_it_is(plain):
  assert repr(plain) == (
    'Enlarged(the image, 88x80 pixels (width x height), 3 bands)'
  )
  assert repr(plain.upscaler) == (
    'Upscaler(scale (y, x) (2, 2), kernel bicubic, 1 pixel_shuffle network)'
  )
  assert (plain.said, plain.warning, plain.notes) == ('', None, ())
  np.testing.assert_array_equal(plain.result.image, plain.image)
  assert 'array' not in repr(plain.result)
  shown = Image.open(io.BytesIO(plain._repr_png_()))
  assert (shown.size, shown.mode) == ((88, 80), 'RGB')


def test_a_notebook_shows_no_more_than_it_needs(plain, pixels):
  source = Image.fromarray(np.dstack([pixels, pixels[..., :1]]))
  made = plain.upscaler(source)
  big = np.tile(made.image, (40, 30, 1))
  shown = zssr_jax.Enlarged(big, plain.upscaler, None, made._source)
  picture = Image.open(io.BytesIO(shown._repr_png_()))
  assert max(picture.size) <= 1024 and picture.mode == 'RGBA'
  assert picture.size[0] / picture.size[1] == pytest.approx(88 * 3 / 320, 0.02)


def test_seed_and_scale_are_used(pixels, plain):
  other = enlarge(pixels, seed=1)
  assert np.abs(other.image - plain.image).max() > 1e-5
  assert enlarge(pixels, (1.5, 2)).image.shape == (60, 88, 3)


def test_floats_are_saved_with_8_bits_or_as_they_are(plain, pixels, tmp_path):
  made = plain.upscaler(pixels.astype(np.float32) / 255)
  made.save(tmp_path / 'a.png')
  made.save(tmp_path / 'b.png', bit_depth=16)
  made.save(str(tmp_path / 'new/c.tif'))
  made.save(tmp_path / 'd.jpeg', quality=80)
  with Image.open(tmp_path / 'a.png') as image:
    assert (image.mode, image.size) == ('RGB', (88, 80))
    np.testing.assert_allclose(
      np.asarray(image) / 255, made.image, atol=0.51 / 255
    )
  again = plain.upscaler(tmp_path / 'b.png')
  assert again._source.picture.photo.depth == 'uint16'
  with Image.open(tmp_path / 'd.jpeg') as image:
    assert image.format == 'JPEG'
  import tifffile

  kept = tifffile.imread(tmp_path / 'new/c.tif')
  np.testing.assert_array_equal(kept, made.image)
  plain.save(tmp_path / 'e.tif')
  assert tifffile.imread(tmp_path / 'e.tif').dtype == np.uint8


def test_all_channels_of_an_array_are_bands(plain, pixels, tmp_path):
  five = np.concatenate([pixels, pixels[..., :2]], 2)
  made = plain.upscaler(five)
  np.testing.assert_array_equal(made.image[..., :3], plain.image)
  assert made.image.shape == (80, 88, 5)
  four = plain.upscaler(five[..., :4])
  with pytest.raises(errors.InputError, match='cannot hold 4 bands'):
    four.save(tmp_path / 'a.png')
  four.save(tmp_path / 'a.tif')
  assert plain.upscaler(tmp_path / 'a.tif').image.shape == (160, 176, 4)
  # Of Pillow's the fourth is alpha.
  image = Image.fromarray(five[..., :4])
  plain.upscaler(image).save(tmp_path / 'b.png')
  with Image.open(tmp_path / 'b.png') as saved:
    assert saved.mode == 'RGBA'
  image.putalpha(255)
  assert plain.upscaler(image).image.shape == (80, 88, 3)


def test_other_channels_than_were_trained_go_one_by_one(plain, pixels):
  grey = plain.upscaler(pixels[..., 0])
  assert grey.image.shape == (80, 88, 1)
  three = plain.upscaler(np.repeat(pixels[..., :1], 3, 2))
  np.testing.assert_allclose(
    grey.image, three.image.mean(2, keepdims=True), atol=1e-6
  )
  of_grey = enlarge(pixels[..., 0]).upscaler
  made = of_grey(pixels)
  np.testing.assert_allclose(
    made.image[..., 1:2], of_grey(pixels[..., 1]).image, atol=1e-6
  )


def test_pillow_keeps_what_an_image_says(plain, pixels, tmp_path):
  image = Image.fromarray(pixels)
  exif = image.getexif()
  exif[0x0112] = 6  # to be turned by a quarter
  exif[0x010F] = 'a maker'
  image.info |= {'icc_profile': ICC, 'dpi': (72, 72)}
  before = dict(image.getexif())
  for _ in range(2):  # nothing of it is used up
    made = plain.upscaler(image)
    assert made.image.shape == (88, 80, 3)
  assert dict(image.getexif()) == before
  turned = plain.upscaler(np.ascontiguousarray(np.rot90(pixels, -1)))
  np.testing.assert_allclose(made.image, turned.image, atol=1e-6)
  made.save(tmp_path / 'a.png')
  with Image.open(tmp_path / 'a.png') as saved:
    assert saved.info['icc_profile'] == ICC
    assert saved.getexif()[0x010F] == 'a maker'
    assert 0x0112 not in saved.getexif()
    assert saved.info['dpi'] == pytest.approx((72, 72), abs=0.1)


def test_pillows_modes_are_read_as_files_are(plain, pixels):
  image = Image.fromarray(pixels)
  grey = plain.upscaler(image.convert('L'))
  deep = np.asarray(image.convert('L'), np.uint16) * 257
  for other in (Image.fromarray(deep), deep):
    np.testing.assert_allclose(
      plain.upscaler(other).image, grey.image, atol=1e-6
    )
  half = Image.fromarray(np.asarray(image.convert('L'), np.float32) / 255)
  np.testing.assert_allclose(plain.upscaler(half).image, grey.image, atol=1e-6)
  palette = plain.upscaler(image.quantize(16))
  assert palette.image.shape == (80, 88, 3)
  assert palette.notes == ('palette converted to 8-bit RGB',)
  inks = plain.upscaler(image.convert('CMYK'))
  assert inks.image.shape == (80, 88, 3) and 'CMYK' in inks.notes[0]
  bits = plain.upscaler(image.convert('1'))
  assert bits.notes == ('1 bit a pixel converted to 8-bit grey',)


@pytest.mark.slow
def test_it_writes_what_the_command_line_writes(command, pixels, tmp_path):
  path = tmp_path / 'photo.jpg'
  exif = Image.Exif()
  exif[0x0112] = 8
  photo = Image.fromarray(pixels)
  photo.save(path, quality=70, exif=exif, icc_profile=ICC)
  config = presets.override('auto', {**CHANGES, 'start': 'random'})
  written = command('auto', path, '--seed=3', '--config.start=random')
  made = zssr_jax.super_resolve(path, config=config, seed=3)
  made.save(tmp_path / 'photo.png')
  assert (tmp_path / 'photo.png').read_bytes() == written.read_bytes()
  assert made.said and made.result.degradation.jpeg is not None


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['alpha', 'tiff', 'jpeg out'])
def test_it_writes_the_same_of_other_formats(command, pixels, tmp_path, kind):
  flags, options = ['--seed=1'], {}
  path = tmp_path / 'photo.png'
  if kind == 'alpha':
    alpha = np.where(np.arange(44) > 20, 255, 40).astype(np.uint8)
    alpha = np.broadcast_to(alpha[None, :, None], (40, 44, 1))
    Image.fromarray(np.concatenate([pixels, alpha], 2)).save(path)
  elif kind == 'tiff':
    import tifffile

    path = tmp_path / 'photo.tif'
    deep = np.repeat(pixels, 2, 2).astype(np.uint16) * 100
    tifffile.imwrite(path, deep[..., :5], photometric='rgb')
  else:
    Image.fromarray(pixels[..., 0]).save(path)
    flags += ['--output_format=jpg', '--quality=77']
    options['quality'] = 77
  written = command(ROOT / 'configs/smoke.py', path, *flags)
  made = enlarge(path, seed=1)
  made.save(tmp_path / f'again{written.suffix}', **options)
  again = (tmp_path / f'again{written.suffix}').read_bytes()
  assert again == written.read_bytes()


def test_what_a_format_cannot_hold_is_said(plain, pixels, tmp_path):
  path = tmp_path / 'photo.png'
  from PIL import PngImagePlugin

  text = PngImagePlugin.PngInfo()
  text.add_text('Title', 'astronaut')
  Image.fromarray(pixels).save(path, pnginfo=text)
  made = plain.upscaler(path)
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    made.save(tmp_path / 'a.png')
  with pytest.warns(UserWarning, match='a.jpg: .*Title'):
    made.save(tmp_path / 'a.jpg')


def test_a_kernel_and_what_else_is_known_are_used(pixels, tmp_path):
  kernel = np.outer([1, 2, 2, 1], [1, 2, 2, 1]).astype(np.float32)
  np.save(tmp_path / 'kernel.npy', kernel)
  made = enlarge(pixels, kernel=tmp_path / 'kernel.npy')
  np.testing.assert_allclose(made.result.kernel, kernel / kernel.sum())
  known = Degradation(2, kernel / kernel.sum(), np.float32(0.01))
  again = enlarge(pixels, degradation=known)
  assert again.upscaler.degradation.noise_std == np.float32(0.01)
  assert 'kernel 4x4' in repr(again.upscaler)


@pytest.mark.parametrize(
  'changes',
  [
    {},
    {'networks': 2, 'gradual': ((0.5, 0.5), (1, 1)), 'ensemble': 'mean'},
    {'model': 'zssr', 'noise_std': 0.02, 'border': 'symmetric'},
  ],
  ids=['plain', 'several', 'noisy'],
)
def test_an_upscaler_comes_back_from_its_file(pixels, tmp_path, changes):
  kernel = np.outer([1, 3, 3, 1], [1, 2, 2, 1]).astype(np.float32)
  found = jpeg.Jpeg(jpeg.of_quality(60).tables, (2, 1), np.float32(0.01))
  known = Degradation(2, kernel, jpeg=found)
  made = zssr_jax.super_resolve(
    pixels, config=TINY.replace(**changes), degradation=known
  )
  path = tmp_path / 'mine.safetensors'
  made.upscaler.save(path)
  loaded = zssr_jax.load_upscaler(path)
  assert repr(loaded) == repr(made.upscaler)
  assert loaded.config == made.upscaler.config and loaded.scale == (2, 2)
  for source in (pixels, pixels[5:33, 3:40], pixels[..., 0]):
    np.testing.assert_allclose(
      loaded(source).image, made.upscaler(source).image, atol=1e-6
    )
  np.testing.assert_array_equal(made.upscaler(pixels).image, made.image)
  assert jax.tree.structure(loaded._trained) == jax.tree.structure(
    made.upscaler._trained._replace(
      members=tuple(
        m._replace(steps=None) for m in made.upscaler._trained.members
      )
    )
  )


def test_interpolation_stays_in_an_upscaler(plain, pixels, tmp_path):
  trained = plain.upscaler._trained._replace(share=0.25)
  mixed = zssr_jax.Upscaler(trained, 3)
  mixed.save(tmp_path / 'a.safetensors')
  loaded = zssr_jax.load_upscaler(tmp_path / 'a.safetensors')
  image = mixed(pixels).image
  assert np.abs(image - plain.image).max() > 1e-4
  np.testing.assert_allclose(loaded(pixels).image, image, atol=1e-6)


@pytest.mark.slow
def test_a_network_of_ones_own_enlarges_but_is_not_saved(pixels, tmp_path):
  result = zssr_jax.train_image(
    pixels.astype(np.float32) / 255, model=zssr.Zssr(3, 4), config=TINY
  )
  upscaler = zssr_jax.Upscaler.of(result)
  np.testing.assert_array_equal(upscaler(pixels).image, result.image)
  with pytest.raises(ValueError, match='your own cannot be saved') as caught:
    upscaler.save(tmp_path / 'a.safetensors')
  assert '\n' not in str(caught.value)
  assert not list(tmp_path.iterdir())


def test_files_that_are_no_upscalers_are_refused(plain, tmp_path):
  path = tmp_path / 'a.safetensors'

  def refused(match):
    with pytest.raises((ValueError, OSError), match=match) as caught:
      zssr_jax.load_upscaler(path)
    assert 'a.safetensors' in str(caught.value)
    assert '\n' not in str(caught.value)

  refused('no such weight file')
  path.write_bytes(b'')
  refused('not a whole')
  path.write_bytes(b'\x80\x04pickle')
  refused('not a whole')
  parameters.save_params(path, {'a': np.zeros(2)}, network='vdsr')
  refused('holds vdsr, no upscaler')
  plain.upscaler.save(path)
  content = path.read_bytes()
  path.write_bytes(content[: len(content) // 2])
  refused('not a whole')
  path.write_bytes(content[:-9] + bytes(9))
  refused('damaged')


@pytest.mark.parametrize(
  ('facts', 'arrays', 'match'),
  [
    ({'config': '{"width": 9}'}, {}, 'does not fit together'),
    ({'config': '{"wdith": 9}'}, {}, 'does not fit together'),
    ({'config': 'none'}, {}, 'does not fit together'),
    ({'scale': '[3.0, 3.0]'}, {}, 'does not fit together'),
    ({'scale': '[2.0, "2"]'}, {}, 'does not fit together'),
    ({'share': 7.0}, {}, 'share is 7'),
    ({'channels': 'three'}, {}, 'does not fit together'),
    ({}, {'degradation': {'blur': np.zeros(1)}}, 'does not fit together'),
    ({}, {'degradation': {'kernel': np.zeros(3)}}, 'the kernel is'),
    ({}, {'degradation': {'noise_std': np.zeros(3)}}, 'noise is no number'),
    ({}, {'jpeg': {'tables': np.zeros((2, 3))}}, 'does not fit together'),
    ({}, {'params': np.zeros(3)}, 'does not fit together'),
    (
      {},
      {'degradation': {'kernel': {'a': np.zeros(3)}}},
      'does not fit together',
    ),
    ({'config': '[' * 10**5}, {}, 'does not fit together'),
  ],
)
def test_a_file_that_does_not_fit_together_is_refused(
  plain, tmp_path, facts, arrays, match
):
  path = tmp_path / 'a.safetensors'
  plain.upscaler.save(path)
  tree, found = parameters.load_params(path)
  tree['member0'] |= arrays
  parameters.save_params(path, tree, **{**found, **facts})
  with pytest.raises(errors.InputError, match=match) as caught:
    saved_upscaler.load(path)
  assert '\n' not in str(caught.value)


def test_a_stripped_result_has_no_upscaler(plain):
  import dataclasses

  with pytest.raises(ValueError, match='holds no networks'):
    zssr_jax.Upscaler.of(dataclasses.replace(plain.result, upscaler=None))


WHITE = np.full((32, 32, 3), 0.5, np.float32)


@pytest.mark.parametrize(
  ('source', 'options', 'match'),
  [
    ('missing.png', {}, 'missing.png: no such file'),
    (b'a.png', {}, 'an image is a path, .* not bytes'),
    (None, {}, 'an image is a path, an image of Pillow or an array, not None'),
    ([[0.5]], {}, 'not list'),
    (np.zeros((3, 32, 32), np.uint8), {}, 'pass layout="CHW"'),
    (np.zeros((1, 3, 32, 32), np.uint8), {}, 'without a batch'),
    (np.uint8(3), {}, 'not a number'),
    (np.zeros((0, 4, 3), np.uint8), {}, 'holds no pixels'),
    (np.zeros((32, 32), bool), {}, 'not bool'),
    (np.zeros((32, 32), np.int64), {}, 'not int64'),
    (np.zeros((32, 32), np.int8), {}, 'not int8'),
    (np.zeros((32, 32), np.complex64), {}, 'not complex64'),
    (np.zeros((32, 32), object), {}, 'not object'),
    (jnp.zeros((32, 32), jnp.bfloat16), {}, 'not bfloat16'),
    (255 * WHITE, {}, 'divide them by what is white, such as 255'),
    (WHITE - 1, {}, r'must lie in \[0, 1\]'),
    (np.where(WHITE > 0, np.nan, 0), {}, 'NaN'),
    (np.where(WHITE > 0, np.inf, 0), {}, 'infinite'),
    (Tensor(None), {}, 'no array of plain numbers .*BFloat16'),
    (Image.new('I', (32, 32)), {}, 'mode I; convert it to RGB'),
    (Image.new('LAB', (32, 32)), {}, 'mode LAB'),
    (Image.new('RGB', (0, 0)), {}, 'no pixels'),
    (WHITE, {'layout': 'CWH'}, 'layout is one of HWC, CHW'),
    (WHITE, {'page': 2}, 'page=2 is for files'),
    ('a.png', {'layout': 'CHW'}, 'is for arrays'),
    (Image.new('L', (9, 9)), {'layout': 'CHW'}, 'is for arrays'),
    (WHITE[:4], {'layout': 'HWC'}, 'too small'),
    (WHITE, {'scale': 99}, 'between 1 and 16'),
    (WHITE, {'config': 'fats'}, 'did you mean fast'),
    (WHITE, {'config': 'fast', 'scale': 1.5}, 'no transferred start for scale'),
    (WHITE, {'kernel': 'missing.mat'}, 'missing.mat: no such file'),
  ],
)
def test_what_cannot_be_used_is_refused_in_a_line(source, options, match):
  options = {'config': TINY, **options}
  with pytest.raises(ValueError, match=match) as caught:
    zssr_jax.super_resolve(source, **options)
  assert '\n' not in str(caught.value)


def test_too_little_memory_is_told_before_it_is_taken(monkeypatch):
  monkeypatch.setattr(
    'zssr_jax.photos.forecast.free_memory', lambda: 100_000_000
  )
  with pytest.raises(ValueError, match='needs about .* GB of memory, 0.1 GB'):
    enlarge(WHITE)


@pytest.mark.parametrize(
  ('name', 'options', 'match'),
  [
    ('a', {}, 'a: the suffix chooses the format; take one of .png, .jpg, .tif'),
    ('a.webp', {}, 'the suffix chooses'),
    ('a.png', {'quality': 3}, 'only a JPEG has a quality'),
    ('a.jpg', {'quality': 300}, 'quality is 300; use 1 to 100'),
    ('a.png', {'bit_depth': 12}, 'bit_depth is 8, 16 or 32, not 12'),
    ('a.png', {'bit_depth': 32}, 'PNG cannot hold float32'),
    ('a.jpg', {'bit_depth': 16}, 'JPEG cannot hold uint16'),
  ],
)
def test_what_cannot_be_saved_is_refused(plain, tmp_path, name, options, match):
  with pytest.raises(errors.InputError, match=match):
    plain.save(tmp_path / name, **options)
  assert not list(tmp_path.iterdir())


def test_home_is_understood(plain, pixels, tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  Image.fromarray(pixels).save(tmp_path / 'a.png')
  made = plain.upscaler('~/a.png')
  made.save('~/b.png')
  assert (tmp_path / 'b.png').is_file()


def test_progress_is_of_all_phases(pixels, plain, tmp_path, capsys):
  told = []
  made = enlarge(pixels, progress=told.append)
  phases = [part.phase for part in told]
  order = [p for i, p in enumerate(phases) if i == 0 or phases[i - 1] != p]
  assert order == ['read', 'estimate', 'prepare', 'train', 'infer']
  assert told[-1].share == 1
  told.clear()
  made.save(tmp_path / 'a.png')
  assert {part.phase for part in told} == {'write'} and told[-1].share == 1
  told.clear()
  plain.upscaler(pixels, progress=told.append)
  assert [part.phase for part in told][0] == 'read'
  assert told[-1].phase == 'infer' and told[-1].share == 1
  # Where nobody looks, and where it is not wanted, nothing is shown.
  capsys.readouterr()
  plain.upscaler(pixels)
  plain.upscaler(pixels, progress=False)
  assert capsys.readouterr() == ('', '')


def test_progress_is_shown_where_there_is_a_notebook(pixels, monkeypatch):
  shown = []

  class Handle:
    def update(self, bundle, raw):
      assert raw
      shown.append(bundle['text/plain'])

  def display(bundle, raw, display_id):
    assert raw and display_id is True
    return Handle()

  shell = types.SimpleNamespace(kernel=object())
  for name, module in (
    ('IPython', types.SimpleNamespace(get_ipython=lambda: shell)),
    ('IPython.display', types.SimpleNamespace(display=display)),
  ):
    monkeypatch.setitem(sys.modules, name, module)
  enlarge(pixels)
  assert shown[0].startswith('the image  ─') and 'reading' in shown[0]
  assert any('step 2/2' in line for line in shown)
  assert any('━' in line and 'enlarging' in line for line in shown)
  assert shown[-1] == '' and not any('\n' in line for line in shown)
  shown.clear()
  enlarge(pixels, progress=False)
  assert not shown
