"""bin/main.py as its users meet it: files, messages and exit codes."""

import errno
import importlib.util
import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest
import scipy.io
from PIL import Image

import zssr_jax
from zssr_jax import blur_kernels, super_resolution
from zssr_jax.command_line import app, arguments, display
from zssr_jax.data import files, image_io, kernel_io
from zssr_jax.errors import InputError
from zssr_jax.kernel_estimation import estimate as estimation
from zssr_jax.models import registry
from zssr_jax.ops import resize
from zssr_jax.weights import parameters

# ml_collections loads config files in a way that Python is phasing out.
pytestmark = pytest.mark.filterwarnings(
  'ignore:.*load_module:DeprecationWarning'
)

ROOT = pathlib.Path(__file__).parents[1]
SMOKE = f'--config={ROOT}/configs/smoke.py'
spec = importlib.util.spec_from_file_location('bin_main', ROOT / 'bin/main.py')
bin_main = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bin_main)

rng = np.random.default_rng(0)
ESTIMATED = blur_kernels.gaussian_kernel((4, 2.25), np.radians(30), 2)


def photo(height=24, width=28, channels=3):
  """A smooth image with an edge, uint8."""
  y, x = np.mgrid[:height, :width]
  waves = np.sin(x / 5) + np.cos(y / 7) + (x > y)
  pixels = np.stack([waves * (c + 1) for c in range(channels)], -1)
  pixels = np.round(255 * (pixels - pixels.min()) / np.ptp(pixels))
  return np.squeeze(pixels.astype(np.uint8))


def save(path, pixels=None):
  Image.fromarray(photo() if pixels is None else pixels).save(path)
  return path


@pytest.fixture
def quick(monkeypatch):
  """Replaces the training by bicubic interpolation; returns the calls.

  Any image has the kernel ESTIMATED but a flat one, which has none.
  """
  calls = []

  def run_image(image, scale, *, kernel, config, key, **trained):
    yield from ()  # nothing is trained
    calls.append(
      {'scale': scale, 'kernel': kernel, 'config': config, **trained}
    )
    estimate = None
    if kernel is None and config.kernel != 'bicubic':
      flat = np.ptp(image) == 0
      estimate = estimation.Estimate(
        kernel=None if flat else ESTIMATED,
        method=config.kernel,
        agreement=float('nan') if flat else 0.9666,
        warning='the image is flat;\nbicubic instead' if flat else None,
      )
      kernel = estimate.kernel
    return zssr_jax.Result(
      image=np.clip(resize.imresize(image, scale), 0, 1),
      params={},
      history=zssr_jax.History(
        loss=np.array([0.1, np.nan], np.float32),
        learning_rate=np.array([1e-3, 1e-3], np.float32),
        error_steps=np.array([0], np.int32),
        error=np.array([0.25], np.float32),
        drops=(1,),
        rollbacks=(),
        stages=((2.0, 2.0, 2),),
      ),
      kernel=kernel,
      config=config,
      seconds={'train': 1.0},
      estimate=estimate,
      consistency=45.249,
    )

  monkeypatch.setattr(super_resolution, 'run_image', run_image)
  return calls


@pytest.fixture
def cli(tmp_path, capsys):
  """Runs the command in this process: `cli(*flags) -> (code, out, err)`."""

  def run(*arguments, config=SMOKE):
    output = f'--output={tmp_path / "out"}'
    argv = ['main.py', config, output, *map(str, arguments)]
    # As for users: optax's Adam does not work under strict promotion.
    with jax.numpy_dtype_promotion('standard'):
      code = bin_main.main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err

  return run


def start(*arguments, **options):
  """Starts the command as a process of its own."""
  return subprocess.Popen(
    [sys.executable, ROOT / 'bin/main.py', *map(str, arguments)],
    text=True,
    **{'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE} | options,
  )


def outputs(tmp_path):
  out = tmp_path / 'out'
  return sorted(os.listdir(out)) if out.exists() else []


# Bad input: each case makes its files in a folder, and returns the flags and
# what the one line on stderr has to name.


def missing(folder):
  return ['--input=none.png'], 'none.png: no such file'


def empty(folder):
  (folder / 'empty.png').touch()
  return ['--input=empty.png'], 'empty.png'


def truncated(suffix):
  def case(folder):
    path = save(
      folder / f'cut.{suffix}', rng.integers(0, 255, (64, 64, 3), 'u1')
    )
    path.write_bytes(path.read_bytes()[:-700])
    return [f'--input={path.name}'], path.name

  case.__name__ = f'truncated_{suffix}'
  return case


def text_named_png(folder):
  (folder / 'text.png').write_text('this is no picture')
  return ['--input=text.png'], 'text.png'


def name_too_long(folder):
  name = 251 * 'a' + '.png'
  save(folder / name)
  return [f'--input={name}'], 'aaa.png: the name is too long'


def too_large(folder):
  Image.new('1', (8100, 8000)).convert('L').save(folder / 'large.png')
  return ['--input=large.png'], r'large.png: .* the limit is 64'


def result_too_large(folder):
  Image.new('L', (4100, 4000)).save(folder / 'large.png')
  return ['--input=large.png', '--scale=16'], 'large.png: .* the limit is 256'


def sized(height, width):
  def case(folder):
    save(folder / 'small.png', np.full((height, width, 3), 99, np.uint8))
    return ['--input=small.png'], 'small.png'

  case.__name__ = f'image_of_{height}x{width}'
  return case


def mode(name):
  def case(folder):
    Image.fromarray(photo()).convert(name).save(folder / 'a.tif')
    return ['--input=a.tif'], 'a.tif'

  case.__name__ = f'mode_{name}'
  return case


def sixteen_bits(folder):
  save(folder / 'deep.png', photo()[..., 0].astype(np.uint16) * 257)
  return ['--input=deep.png'], 'deep.png: .*8 bits'


def kernel(name, array):
  def case(folder):
    np.save(folder / 'k.npy', array)
    return [
      '--input=photo.png',
      '--kernel=k.npy',
    ], 'k.npy|photo.png: the kernel'

  case.__name__ = f'kernel_{name}'
  return case


def kernel_missing(folder):
  flags = ['--input=photo.png', '--kernel=none.mat']
  return flags, 'none.mat: no such file'


def kernel_not_in_mat(folder):
  two = {'blur': np.ones((3, 3)), 'noise': np.ones((3, 3))}
  scipy.io.savemat(folder / 'k.mat', two)
  return ['--input=photo.png', '--kernel=k.mat'], 'k.mat: .*blur, noise'


def kernel_of_several(folder):
  np.save(folder / 'k.npy', np.ones((4, 3, 3)))
  flags = ['--input=photo.png', '--kernel=k.npy']
  return flags, 'k.npy: holds 4 kernels; choose one, k.npy:0 to k.npy:3'


def kernel_index_out_of_range(folder):
  np.save(folder / 'k.npy', np.ones((4, 3, 3)))
  return ['--input=photo.png', '--kernel=k.npy:4'], 'k.npy:4: .*4 kernels'


def kernel_word_misspelt(folder):
  flags = ['--input=photo.png', '--kernel=estimat']
  return flags, '--kernel=estimat: no such file, nor one of bicubic, estimate'


def kernel_gaussian_too_wide(folder):
  flags = ['--input=photo.png', '--kernel=gaussian:8.5']
  return flags, '--kernel=gaussian:8.5: must be .* STD <= 8 in'


def kernel_gaussian_for_two_scales(folder):
  flags = ['--input=photo.png', '--kernel=gaussian:1', '--scale=2,3']
  return flags, '--kernel=gaussian:1: .* both axes, not 2,3'


def kernel_needed(folder):
  flags = ['--input=photo.png', '--config.kernel=given']
  return flags, 'photo.png: .*=FILE.*=gaussian:STD.*=estimate.*=bicubic'


def scale(text):
  def case(folder):
    return ['--input=photo.png', f'--scale={text}'], f'--scale={text}: must'

  case.__name__ = f'scale_{text}'
  return case


def output_is_a_file(folder):
  return ['--input=photo.png', '--output=photo.png'], 'photo.png: cannot write'


def output_below_a_file(folder):
  return ['--input=photo.png', '--output=photo.png/a/b'], 'photo.png/a/b'


def output_unwritable(folder):  # for root, too
  return ['--input=photo.png', '--output=/proc/zssr'], '/proc/zssr: cannot'


def config_field_unknown(folder):
  flags = ['--input=photo.png', '--config.max_step=3']
  return flags, '--config.max_step=3: .*did you mean max_steps'


def config_field_out_of_range(folder):
  return ['--input=photo.png', '--config.depth=1'], 'config.depth must lie in'


def config_field_of_another_type(folder):
  return ['--input=photo.png', '--config.depth=deep'], 'config.depth=deep'


def config_name_misspelt(folder):
  flags = ['--input=photo.png', '--config=fats']
  return flags, '--config=fats: no such config; did you mean fast?'


def config_missing(folder):
  flags = ['--input=photo.png', '--config=none.py']
  return flags, 'none.py: no such config file'


def config_broken(folder):
  (folder / 'broken.py').write_text('def get_config(:')
  return ['--input=photo.png', '--config=broken.py'], 'broken.py'


def config_that_cannot_import(folder):
  (folder / 'imports.py').write_text('import nothing_of_that_name')
  return [
    '--input=photo.png',
    '--config=imports.py',
  ], 'imports.py: .*nothing_of'


def config_with_a_bad_value(folder):
  (folder / 'value.py').write_text(
    'from zssr_jax import Config\ndef get_config():\n  return Config(depth=0)\n'
  )
  flags = ['--input=photo.png', '--config=value.py']
  return flags, 'value.py: ValueError: config.depth must lie'


def config_file_with_unknown_field(folder):
  (folder / 'extra.py').write_text(
    'from ml_collections import ConfigDict\n'
    'def get_config():\n  return ConfigDict({"widht": 3})\n'
  )
  flags = ['--input=photo.png', '--config=extra.py']
  return flags, 'extra.py: .*widht.*did you mean width'


def flag_unknown(folder):
  return ['--input=photo.png', '--sacle=3'], 'sacle.*scale'


def flag_without_dashes(folder):
  return ['photo.png'], 'photo.png: .*--input=photo.png'


def seed(text):
  def case(folder):
    return ['--input=photo.png', f'--seed={text}'], f'--seed={text}'

  case.__name__ = f'seed_{text}'
  return case


def folder_without_images(folder):
  (folder / 'sub').mkdir()
  return ['--input=sub'], 'sub: no images'


def glob_without_matches(folder):
  return ['--input=*.webp'], r'\*.webp: no file matches'


def reference_missing(folder):
  return ['--input=photo.png', '--reference=none.png'], 'none.png: no such file'


def reference_of_another_size(folder):
  save(folder / 'hr.png', photo(50, 56))
  flags = ['--input=photo.png', '--reference=hr.png']
  return flags, 'hr.png: is 56x50, but photo.png gives 56x48'


def reference_of_another_colour(folder):
  save(folder / 'hr.png', photo(48, 56, 1))
  return ['--input=photo.png', '--reference=hr.png'], 'hr.png: has 1 channel'


def reference_too_small_to_score(folder):
  save(folder / 'tiny.png', photo(6, 6))
  save(folder / 'hr.png', photo(12, 12))
  flags = ['--input=tiny.png', '--reference=hr.png']
  return flags, 'tiny.png: .*too small to score'


def reference_not_in_folder(folder):
  (folder / 'hr').mkdir()
  return ['--input=photo.png', '--reference=hr'], 'hr: holds no images called'


def one_reference_for_several(folder):
  save(folder / 'other.png')
  return ['--input=*.png', '--reference=photo.png'], 'photo.png: must be a'


def example_at_another_scale(folder):
  return ['--scale=3'], '--scale=3: the bundled example is made for 2'


BAD_INPUT = [
  missing,
  empty,
  truncated('png'),
  truncated('jpg'),
  text_named_png,
  name_too_long,
  too_large,
  result_too_large,
  sized(1, 1),
  sized(1, 40),
  sized(3, 3),
  mode('RGBA'),
  mode('LA'),
  mode('CMYK'),
  mode('1'),
  sixteen_bits,
  kernel('nan', np.full((3, 3), np.nan)),
  kernel('all_zero', np.zeros((3, 3))),
  kernel('negative_sum', -np.ones((3, 3))),
  kernel('larger_than_the_image', np.ones((25, 25))),
  kernel_missing,
  kernel_not_in_mat,
  kernel_of_several,
  kernel_index_out_of_range,
  kernel_word_misspelt,
  kernel_gaussian_too_wide,
  kernel_gaussian_for_two_scales,
  kernel_needed,
  *[scale(s) for s in ('0', '-2', '1', '17', 'nan', 'inf', 'two', '2,2,2')],
  *[scale(s) for s in ('3/0', '0.5', '2,0.5', '1,1', '', '1e999')],
  output_is_a_file,
  output_below_a_file,
  output_unwritable,
  config_field_unknown,
  config_field_out_of_range,
  config_field_of_another_type,
  config_name_misspelt,
  config_missing,
  config_broken,
  config_that_cannot_import,
  config_with_a_bad_value,
  config_file_with_unknown_field,
  flag_unknown,
  flag_without_dashes,
  seed('x'),
  seed('-1'),
  seed('1.5'),
  folder_without_images,
  glob_without_matches,
  reference_missing,
  reference_of_another_size,
  reference_of_another_colour,
  reference_too_small_to_score,
  reference_not_in_folder,
  one_reference_for_several,
  example_at_another_scale,
]


@pytest.mark.parametrize('case', BAD_INPUT, ids=lambda case: case.__name__)
def test_bad_input_is_one_line_and_leaves_nothing(
  tmp_path, monkeypatch, cli, case
):
  monkeypatch.chdir(tmp_path)
  save(tmp_path / 'photo.png')
  flags, named = case(tmp_path)
  before = sorted(tmp_path.rglob('*'))
  code, out, err = cli(*flags)
  assert code == 2
  assert out == ''
  assert re.fullmatch(rf'error: .*({named}).*\n', err), err
  made = set(tmp_path.rglob('*')) - set(before)
  assert not [p for p in made if '__pycache__' not in str(p)]


@pytest.mark.parametrize('case', [missing, kernel_missing, flag_unknown])
def test_bad_input_of_a_real_process(tmp_path, case):
  save(tmp_path / 'photo.png')
  flags, named = case(tmp_path)
  process = start(SMOKE, *flags, cwd=tmp_path)
  out, err = process.communicate(timeout=120)
  assert process.returncode == 2
  assert out == ''
  assert re.fullmatch(rf'error: .*({named}).*\n', err), err
  assert os.listdir(tmp_path) == ['photo.png']


# Good input.


def test_photo_with_reference_gives_image_record_and_comparison(tmp_path, cli):
  truth = photo(48, 56)
  small = resize.imresize(truth, 0.5)
  code, out, err = cli(
    f'--input={save(tmp_path / "a.png", small)}',
    f'--reference={save(tmp_path / "truth.png", truth)}',
    '--seed=7',
  )
  assert code == 0, err
  assert outputs(tmp_path) == ['a_x2.json', 'a_x2.png', 'a_x2_side_by_side.png']
  assert image_io.read_image(tmp_path / 'out/a_x2.png').shape == (48, 56, 3)
  record = json.loads((tmp_path / 'out/a_x2.json').read_text())
  scores = record['metrics']
  assert set(scores) == {'psnr', 'ssim', 'bicubic_psnr', 'bicubic_ssim'}
  assert scores['psnr'] > 20
  assert record['seed'] == 7
  assert record['config']['max_steps'] == 20
  assert record['steps'] == len(record['history']['loss']) == 20
  assert record['device']['platform'] == 'cpu'
  assert record['versions']['jax']
  assert {'read', 'train', 'infer', 'total'} <= set(record['seconds'])
  assert re.fullmatch(
    rf'a_x2\.png  {scores["psnr"]:.2f} dB / {scores["ssim"]:.4f}'
    rf'  \(bicubic {scores["bicubic_psnr"]:.2f} /'
    rf' {scores["bicubic_ssim"]:.4f}\)  \d+\.\d s\n',
    out,
  )


def test_seed_decides_the_result(tmp_path, cli):
  path = save(tmp_path / 'a.png')
  results = []
  for seed_flag in ('--seed=1', '--seed=1', '--seed=2'):
    assert cli(f'--input={path}', seed_flag, '--overwrite')[0] == 0
    results.append((tmp_path / 'out/a_x2.png').read_bytes())
  assert results[0] == results[1] != results[2]


def test_bundled_example_brings_kernel_and_reference(tmp_path, cli, quick):
  code, out, err = cli()
  assert code == 0, err
  assert re.match(r'astronaut_lr_x2\.png .* dB .*bicubic', out)
  np.testing.assert_array_equal(
    quick[0]['kernel'],
    kernel_io.read_kernel(ROOT / 'examples/astronaut_kernel.npy'),
  )
  assert 'astronaut_lr_x2_side_by_side.png' in outputs(tmp_path)


def test_record_is_strict_json(tmp_path, cli, quick):
  cli(f'--input={save(tmp_path / "a.png")}')

  def refuse(constant):
    raise AssertionError(f'{constant} is not JSON')

  text = (tmp_path / 'out/a_x2.json').read_text()
  record = json.loads(text, parse_constant=refuse)
  assert record['history']['loss'] == [0.1, None]
  assert record['history']['drops'] == [1]
  assert record['metrics'] is None


@pytest.mark.parametrize(
  ('text', 'value', 'name', 'size'),
  [
    ('2', 2, '2', (48, 56)),
    ('3', 3, '3', (72, 84)),
    ('3/2', 1.5, '1.5', (36, 42)),
    ('1.1', 1.1, '1.1', (27, 31)),
    ('4/3', 4 / 3, '1.333', (32, 38)),
    ('2,3', (2, 3), '2x3', (48, 84)),
    ('1,3/2', (1, 1.5), '1x1.5', (24, 42)),
    ('2,2', 2, '2', (48, 56)),
  ],
)
def test_scale_names_the_output(tmp_path, cli, quick, text, value, name, size):
  code, out, _ = cli(f'--input={save(tmp_path / "a.png")}', f'--scale={text}')
  assert code == 0
  assert quick[0]['scale'] == value
  image = image_io.read_image(tmp_path / f'out/a_x{name}.png')
  assert image.shape[:2] == size


def test_greyscale_stays_greyscale(tmp_path, cli, quick):
  cli(f'--input={save(tmp_path / "a.png", photo(channels=1))}')
  with Image.open(tmp_path / 'out/a_x2.png') as image:
    assert image.mode == 'L'


def test_kernel_file_reaches_the_training(tmp_path, cli, quick):
  blur = np.outer([1, 2, 1], [1, 3, 1]) / 20
  scipy.io.savemat(tmp_path / 'k.mat', {'Kernel': blur})
  code, _, _ = cli(
    f'--input={save(tmp_path / "a.png")}', f'--kernel={tmp_path / "k.mat"}'
  )
  assert code == 0
  np.testing.assert_array_equal(quick[0]['kernel'], blur.astype(np.float32))


def read_record(tmp_path, name='a_x2'):
  return json.loads((tmp_path / f'out/{name}.json').read_text())


def test_gaussian_kernel_reaches_the_training(tmp_path, cli, quick):
  code, out, err = cli(
    f'--input={save(tmp_path / "a.png")}',
    '--kernel=gaussian:3,1,20',
    '--scale=3',
  )
  assert code == 0, err
  expected = blur_kernels.gaussian_kernel((9, 1), np.radians(20), 3)
  np.testing.assert_array_equal(quick[0]['kernel'], expected)
  assert '  kernel given, explains the input to 45.2 dB  ' in out
  kernel = read_record(tmp_path, 'a_x3')['kernel']
  assert kernel['source'] == 'gaussian:3,1,20'
  assert kernel['width']['angle'] == pytest.approx(20, abs=0.5)
  assert kernel['width']['std'] == pytest.approx([3, 1], abs=0.1)


def test_one_of_several_kernels_reaches_the_training(tmp_path, cli, quick):
  kernels = rng.random((4, 5, 5))
  np.save(tmp_path / 'k.npy', kernels)
  code, _, err = cli(
    f'--input={save(tmp_path / "a.png")}', f'--kernel={tmp_path / "k.npy"}:2'
  )
  assert code == 0, err
  expected = kernels[2] / kernels[2].sum()
  np.testing.assert_array_equal(quick[0]['kernel'], expected.astype(np.float32))


@pytest.mark.parametrize(
  ('word', 'words'),
  [
    ('estimate', 'kernel estimated'),
    ('kernelgan', 'kernel found by KernelGAN'),
    ('joint', 'kernel learned along'),
  ],
)
def test_kernel_is_estimated_and_written(tmp_path, cli, quick, word, words):
  code, out, err = cli(
    f'--input={save(tmp_path / "a.png")}',
    f'--kernel={word}',
    config=f'--config={ROOT}/configs/nonideal.py',
  )
  assert code == 0, err
  assert 'warning' not in err
  assert quick[0]['kernel'] is None
  assert quick[0]['config'].kernel == word
  assert re.fullmatch(
    rf'a_x2\.png  {words}, agreement 0\.97, explains the input to 45\.2 dB'
    r'  \d+\.\d s\n',
    out,
  )
  assert outputs(tmp_path) == [
    'a_x2.json',
    'a_x2.png',
    'a_x2_kernel.npy',
    'a_x2_kernel.png',
  ]
  written = np.load(tmp_path / 'out/a_x2_kernel.npy')
  assert written.dtype == np.float32
  np.testing.assert_array_equal(written, ESTIMATED)
  with Image.open(tmp_path / 'out/a_x2_kernel.png') as picture:
    assert picture.mode == 'L'
    assert picture.size == (247, 247)  # 19 taps of 13 pixels
    assert picture.getextrema() == (0, 255)
  kernel = read_record(tmp_path)['kernel']
  assert kernel['width'].keys() == {'std', 'angle'}
  assert kernel['width']['std'] == pytest.approx([2.02, 1.53], abs=0.02)
  assert kernel['width']['angle'] == pytest.approx(30, abs=0.5)
  del kernel['width']
  assert kernel == {
    'source': word,
    'method': word,
    'agreement': 0.9666,
    'warning': None,
    'consistency': 45.249,
    'shape': [19, 19],
  }


def test_kernel_that_cannot_be_estimated_is_a_warning(tmp_path, cli, quick):
  flat = save(tmp_path / 'a.png', np.full((24, 28, 3), 99, np.uint8))
  code, out, err = cli(f'--input={flat}', '--kernel=estimate')
  assert code == 0
  warnings = [line for line in err.splitlines() if 'a_x2  ' not in line]
  assert warnings == [f'warning: {flat}: the image is flat; bicubic instead']
  assert '  no kernel found, bicubic used, explains the input to 45.2' in out
  assert outputs(tmp_path) == ['a_x2.json', 'a_x2.png']
  kernel = read_record(tmp_path)['kernel']
  assert kernel['agreement'] is None and kernel['width'] is None
  assert kernel['warning'].startswith('the image is flat')


def test_bicubic_as_a_word_does_without_a_kernel(tmp_path, cli, quick):
  code, out, err = cli(
    f'--input={save(tmp_path / "a.png")}',
    '--kernel=bicubic',
    config=f'--config={ROOT}/configs/nonideal.py',
  )
  assert code == 0, err
  assert quick[0]['kernel'] is None and quick[0]['config'].kernel == 'bicubic'
  assert 'kernel' not in out
  assert outputs(tmp_path) == ['a_x2.json', 'a_x2.png']
  assert read_record(tmp_path)['kernel']['source'] == 'bicubic'


def test_file_named_like_a_word_needs_its_folder(
  tmp_path, monkeypatch, cli, quick
):
  monkeypatch.chdir(tmp_path)
  save(tmp_path / 'a.png')
  (tmp_path / 'estimate').write_text('no kernel')
  assert cli('--input=a.png', '--kernel=estimate')[0] == 0
  code, _, err = cli('--input=a.png', '--kernel=./estimate')
  assert code == 2 and 'error: estimate: a kernel must be a .mat' in err


def save_beside_old_output(folder, suffix):
  """Writes a photo and a file in the place of one of its outputs."""
  path = save(folder / 'a.png')
  (folder / 'out').mkdir()
  old = folder / f'out/a_x2{suffix}'
  old.write_text('old')
  return path, old


@pytest.mark.parametrize('suffix', ['_kernel.npy', '_kernel.png'])
def test_existing_kernel_is_kept_unless_told_otherwise(
  tmp_path, cli, quick, suffix
):
  path, old = save_beside_old_output(tmp_path, suffix)
  for word in ('estimate', 'gaussian:1'):
    code, out, err = cli(f'--input={path}', f'--kernel={word}')
    assert (code, out) == (2, '')
    assert f'{old}: exists already' in err
  assert cli(f'--input={path}', '--kernel=bicubic')[0] == 0  # needs none
  assert old.read_bytes() == b'old'
  flags = (f'--input={path}', '--kernel=estimate', '--overwrite')
  assert cli(*flags)[0] == 0
  assert old.read_bytes() != b'old'


@pytest.mark.parametrize('flag', ['--kernel', '--config.kernel'])
def test_estimate_on_the_example_is_compared_with_its_kernel(
  tmp_path, cli, quick, flag
):
  code, out, err = cli(f'{flag}=estimate')
  assert code == 0, err
  assert quick[0]['kernel'] is None
  expected = blur_kernels.kernel_correlation(
    ESTIMATED, np.load(ROOT / 'examples/astronaut_kernel.npy'), 2
  )
  assert out.splitlines()[1] == (
    f'astronaut_lr_x2.png  the estimate correlates {expected:.3f} with'
    ' examples/astronaut_kernel.npy, the kernel that made the photo'
  )


def test_example_may_be_run_on_any_kernel(tmp_path, cli, quick):
  for name in ('bicubic', 'gaussian:1', ROOT / 'examples/astronaut_kernel.npy'):
    code, out, err = cli(f'--kernel={name}', '--overwrite')
    assert code == 0, err
    assert 'correlates' not in out
  none, gaussian, own = (call['kernel'] for call in quick)
  assert none is None
  assert gaussian.shape == (19, 19)
  np.testing.assert_array_equal(
    own, np.load(ROOT / 'examples/astronaut_kernel.npy')
  )


@pytest.mark.parametrize('size', [(48, 56), (49, 57), (47, 55)])
def test_reference_may_differ_by_what_the_scale_leaves_over(
  tmp_path, cli, quick, size
):
  reference = save(tmp_path / 'hr.png', photo(*size))
  code, _, err = cli(
    f'--input={save(tmp_path / "a.png")}', f'--reference={reference}'
  )
  assert code == 0, err


def test_folder_goes_on_after_a_bad_file(tmp_path, cli, quick):
  (tmp_path / 'in').mkdir()
  save(tmp_path / 'in/a.png')
  (tmp_path / 'in/b.png').write_text('no image')
  save(tmp_path / 'in/c.JPG')
  (tmp_path / 'in/notes.txt').write_text('not an image, and none pretended')
  code, out, err = cli(f'--input={tmp_path / "in"}')
  assert code == 1
  assert [line.split()[0] for line in out.splitlines()] == [
    'a_x2.png',
    'c_x2.png',
  ]
  errors = [line for line in err.splitlines() if line.startswith('error')]
  assert len(errors) == 1
  assert 'b.png' in errors[0]
  assert outputs(tmp_path) == [
    'a_x2.json',
    'a_x2.png',
    'c_x2.json',
    'c_x2.png',
  ]


def test_files_are_read_and_written_while_others_train(
  tmp_path, cli, quick, monkeypatch
):
  """Each training waits for what is to go on beside it."""
  for name in 'abc':
    save(tmp_path / f'{name}.png')
  read = {name: threading.Event() for name in 'abc'}
  read_image, run_image = image_io.read_image, super_resolution.run_image
  seen = []

  def read_and_tell(path):
    image = read_image(path)
    read[path.stem].set()
    return image

  def run_and_wait(*args, **options):
    name = 'abc'[len(seen)]
    seen.append(name)
    if name != 'c':
      assert read['abc'[len(seen)]].wait(60)
    if name != 'a':
      earlier = tmp_path / f'out/{seen[-2]}_x2.json'
      deadline = time.monotonic() + 60
      while not earlier.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
      assert earlier.exists()
    return (yield from run_image(*args, **options))

  monkeypatch.setattr(image_io, 'read_image', read_and_tell)
  monkeypatch.setattr(super_resolution, 'run_image', run_and_wait)
  code, out, err = cli(f'--input={tmp_path}/*.png')
  assert code == 0, err
  assert [line[0] for line in out.splitlines()] == ['a', 'b', 'c'] == seen


def test_a_result_that_cannot_be_written_fails_alone(
  tmp_path, cli, quick, monkeypatch
):
  for name in 'abc':
    save(tmp_path / f'{name}.png')
  write = files.write_files

  def full_for_b(files):
    if any('b_x2' in str(path) for path in files):
      raise OSError(errno.ENOSPC, 'No space left on device', 'b_x2.png')
    write(files)

  monkeypatch.setattr(files, 'write_files', full_for_b)
  code, out, err = cli(f'--input={tmp_path}/*.png')
  assert code == 1
  assert [line[0] for line in out.splitlines()] == ['a', 'c']
  errors = [line for line in err.splitlines() if line.startswith('error')]
  assert errors == ['error: b_x2.png: No space left on device']


def test_glob_and_folder_of_references(tmp_path, cli, quick):
  (tmp_path / 'hr').mkdir()
  for name in 'ab':
    save(tmp_path / f'{name}.png')
    save(tmp_path / f'hr/{name}.bmp', photo(48, 56))
  code, out, err = cli(
    f'--input={tmp_path}/*.png', f'--reference={tmp_path / "hr"}'
  )
  assert code == 0, err
  assert out.count('dB') == 2


def test_colliding_stems_keep_their_full_names(tmp_path, cli, quick):
  (tmp_path / 'in').mkdir()
  for name in ('a.png', 'a.jpg', 'b.png'):
    save(tmp_path / 'in' / name)
  assert cli(f'--input={tmp_path / "in"}')[0] == 0
  assert [name for name in outputs(tmp_path) if name.endswith('.png')] == [
    'a.jpg_x2.png',
    'a.png_x2.png',
    'b_x2.png',
  ]


def test_equal_names_in_two_folders_are_refused(tmp_path, cli, quick):
  for name in ('one', 'two'):
    (tmp_path / name).mkdir()
    save(tmp_path / name / 'a.png')
  code, _, err = cli(f'--input={tmp_path}/*/a.png')
  assert code == 2
  assert 'one by one' in err
  assert outputs(tmp_path) == []


def test_name_with_glob_characters_is_a_name(tmp_path, cli, quick):
  save(tmp_path / 'a[1].png')
  assert cli(f'--input={tmp_path / "a[1].png"}')[0] == 0
  assert 'a[1]_x2.png' in outputs(tmp_path)


@pytest.mark.parametrize('suffix', ['.png', '.json'])
def test_existing_output_is_kept_unless_told_otherwise(
  tmp_path, cli, quick, suffix
):
  path, old = save_beside_old_output(tmp_path, suffix)
  code, out, err = cli(f'--input={path}')
  assert (code, out) == (2, '')
  assert (
    err == f'error: {old}: exists already; pass --overwrite to replace it\n'
  )
  assert not quick
  assert outputs(tmp_path) == [old.name]
  assert cli(f'--input={path}', '--overwrite')[0] == 0
  assert old.read_bytes() != b'old'


def test_folder_does_what_is_not_there_yet(tmp_path, cli, quick):
  (tmp_path / 'in').mkdir()
  save(tmp_path / 'in/a.png')
  assert cli(f'--input={tmp_path / "in"}')[0] == 0
  save(tmp_path / 'in/b.png')
  code, out, err = cli(f'--input={tmp_path / "in"}')
  assert code == 1
  assert out.startswith('b_x2.png')
  assert 'a_x2.png: exists already' in err


def test_full_disk_is_one_line_and_leaves_nothing(
  tmp_path, monkeypatch, cli, quick
):
  def write_bytes(path, data):
    raise OSError(28, 'No space left on device', str(path))

  path = save(tmp_path / 'a.png')
  monkeypatch.setattr(pathlib.Path, 'write_bytes', write_bytes)
  code, out, err = cli(f'--input={path}')
  assert (code, out) == (2, '')
  assert err.splitlines()[-1].endswith('No space left on device')
  assert outputs(tmp_path) == []


def test_own_mistakes_are_not_hidden(tmp_path, monkeypatch, cli):
  def nothing(*args, **options):
    yield from ()

  monkeypatch.setattr(super_resolution, 'run_image', nothing)
  with pytest.raises(AttributeError):
    cli(f'--input={save(tmp_path / "a.png")}')


def test_overrides_reach_the_config(tmp_path, cli, quick):
  cli(
    f'--input={save(tmp_path / "a.png")}',
    '--config.gradual=((0.5,0.5),(1,1))',
    '--config.max_steps=5',
    '--noconfig.dihedral',
    '--config.learning_rate=0.01',
  )
  config = quick[0]['config']
  assert config.gradual == ((0.5, 0.5), (1, 1))
  assert config.max_steps == 5
  assert not config.dihedral
  assert config.learning_rate == 0.01


def save_start(path, scale=2, width=4):
  """A start for the network of configs/smoke.py, or of another width."""
  model = registry.make_model(
    'pixel_shuffle', scale=(float(scale),) * 2, depth=4, width=width
  )
  image = np.zeros((1, 4, 4, 3), np.float32)
  large = np.zeros((1, 4 * scale, 4 * scale, 3), np.float32)
  params = model.init(jax.random.key(0), image, large)['params']
  parameters.save_params(path, params, scale=scale)
  return path


def test_a_start_is_loaded_for_the_training(tmp_path, cli, quick):
  path = save(tmp_path / 'photo.png')
  assert cli(f'--input={path}')[0] == 0
  start = save_start(tmp_path / 'start.npz')
  size = ('--config.model=pixel_shuffle', '--config.depth=4')
  code, _, err = cli(
    f'--input={path}',
    f'--config.start={start}',
    *size,
    '--config.width=4',
    '--overwrite',
  )
  assert code == 0, err
  assert quick[0]['start'] is None and quick[0]['vgg'] is None
  kernel = quick[1]['start']['Body_0']['Conv_0']['kernel']
  assert kernel.shape == (3, 3, 3, 4)


def test_the_transferred_start_comes_with_the_package(tmp_path, cli, quick):
  path = save(tmp_path / 'photo.png')
  config = f'--config={ROOT}/configs/transferred.py'
  assert cli(f'--input={path}', config)[0] == 0
  last = quick[0]['start']['Body_0']['Conv_7']['kernel']
  assert last.shape == (3, 3, 64, 12)


@pytest.mark.parametrize(
  ('flags', 'words'),
  [
    ((), '--config.start=transferred: start does not fit'),
    (('--config.width=64',), 'use --config=fast'),
    (('--config.gradual=((0.5,0.5),(1,1))',), '--config.gradual=()'),
  ],
)
def test_a_start_that_does_not_fit_is_refused_before_all_else(
  tmp_path, cli, quick, flags, words
):
  path = save(tmp_path / 'photo.png')
  code, out, err = cli(f'--input={path}', '--config.start=transferred', *flags)
  assert (code, out) == (2, '') and err.count('\n') == 1
  assert words in err and not quick


def test_weights_that_nothing_uses_are_refused(tmp_path, cli, quick):
  path = save(tmp_path / 'photo.png')
  unused = save_start(tmp_path / 'vdsr.npz')
  code, _, err = cli(f'--input={path}', f'--weights=vdsr={unused}')
  assert code == 2 and 'nothing in this run uses vdsr' in err


@pytest.mark.parametrize(
  ('flag', 'words'),
  [
    ('--config.start=nowhere.npz', 'nowhere.npz: no such weight file'),
    ('--scale=1.5', 'no transferred start for scale 1.5'),
    ('--weights=vgg=x.npz', 'NAME one of vgg16, '),
    ('--weights=vdsr=gone.npz', 'gone.npz: no such weight file'),
  ],
)
def test_parameters_that_are_missing_are_one_line(
  tmp_path, cli, quick, flag, words
):
  path = save(tmp_path / 'photo.png')
  code, out, err = cli(f'--input={path}', '--config.start=transferred', flag)
  assert (code, out) == (2, '')
  assert words in err and err.count('\n') == 1
  assert not quick and not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
  ('override', 'network'),
  [('model=vdsr_backbone', 'vdsr'), ('content_weight=0.1', 'vgg16')],
)
def test_without_weights_one_line_says_how_to_get_them(
  tmp_path, cli, quick, monkeypatch, override, network
):
  path = save(tmp_path / 'photo.png')
  empty = tmp_path / 'empty'
  empty.mkdir()
  for root in (None, empty):
    monkeypatch.setattr(app.datasets, 'data_root', lambda root=root: root)
    code, _, err = cli(f'--input={path}', f'--config.{override}')
    assert code == 2 and err.count('\n') == 1
    assert f'--weights={network}=FILE' in err and 'bin/convert_weights' in err
  start = save_start(tmp_path / 'other.npz')
  code, _, err = cli(
    f'--input={path}', f'--config.{override}', f'--weights={network}={start}'
  )
  assert code == 2 and f'{start}: holds something, not {network}' in err


def test_help_names_every_flag(capsys):
  assert bin_main.main(['main.py', '--help']) == 0
  out = capsys.readouterr().out
  assert out.startswith(bin_main.__doc__)
  for name in ('config', 'input', 'scale', 'kernel', 'seed', 'overwrite'):
    assert f'--{name}:' in out or f'--[no]{name}:' in out


def test_help_into_a_closed_pipe_is_quiet():
  reading, writing = os.pipe()
  os.close(reading)
  process = start('--help', stdout=writing)
  os.close(writing)
  _, err = process.communicate(timeout=60)
  assert (process.returncode, err) == (0, '')


@pytest.mark.parametrize('name', sorted(p.stem for p in ROOT.glob('configs/*')))
def test_config_files_say_how_to_run_them(name):
  flag = f'--config={ROOT}/configs/{name}.py'
  configs = [
    arguments.parse_flags(
      ['main.py', *chosen], bin_main.define_flags, configs=ROOT / 'configs'
    )[1]
    for chosen in ([flag], [f'--config={name}'], ['--config', name])
  ]
  assert isinstance(configs[0], zssr_jax.Config)
  assert configs[0] == configs[1] == configs[2]
  text = (ROOT / f'configs/{name}.py').read_text()
  assert f'  python bin/main.py --config=configs/{name}.py' in text


@pytest.mark.parametrize(
  ('flags', 'expected'),
  [
    ((), (100, 2e-4)),
    (('--config.max_steps=7',), (7, 2e-4)),
    (('--config.learning_rate=0.5',), (100, 0.5)),
    (('--config.max_steps=7', '--config.start_steps=8'), (8, 2e-4)),
    (('--config.start=random',), (800, 3e-3)),
    (('--config.start=random', '--config.max_steps=7'), (7, 3e-3)),
  ],
)
def test_steps_that_are_asked_for_hold_with_a_start_and_without(
  flags, expected
):
  _, config = arguments.parse_flags(
    ['main.py', '--config=fast', *flags],
    bin_main.define_flags,
    configs=ROOT / 'configs',
  )
  used = config.in_force
  assert (used.max_steps, used.learning_rate) == expected


# Gaussian kernels by their width.


@pytest.mark.parametrize(
  ('text', 'eigenvalues', 'degrees'),
  [
    ('gaussian:1.6', (2.56, 2.56), 0),
    ('gaussian:2.0,1.0,30deg', (4, 1), 30),
    ('gaussian:2,1,30', (4, 1), 30),
    ('gaussian:1,2, -60 deg', (1, 4), -60),
    ('gaussian:2,.5', (4, 0.25), 0),
    ('gaussian:8', (64, 64), 0),
  ],
)
def test_gaussian_kernel_in_words(text, eigenvalues, degrees):
  np.testing.assert_allclose(
    arguments.parse_gaussian(text, 2),
    blur_kernels.gaussian_kernel(eigenvalues, np.radians(degrees), 2),
    atol=1e-7,
  )


def test_the_angle_turns_from_x_towards_growing_y():
  kernel = arguments.parse_gaussian('gaussian:3,1,45deg', 2)
  center = kernel.shape[0] // 2
  # Down and to the right lies the long axis.
  assert kernel[center + 3, center + 3] > 5 * kernel[center + 3, center - 2]


@pytest.mark.parametrize(
  'text',
  [
    *('', '0', '-1', 'nan', 'inf', 'wide', '8.1', '1,2,3,4', '1,', ',1'),
    *('1,0', '1,2,x', '1,2,nan', '1,2,inf', '1,2,', '1deg', '1e999'),
  ],
)
def test_gaussian_that_makes_no_sense_is_one_line(text):
  with pytest.raises(InputError) as caught:
    arguments.parse_gaussian(f'gaussian:{text}', 2.0)
  assert str(caught.value).startswith(f'--kernel=gaussian:{text}: must be ')
  assert '0 < STD <= 8 in' in str(caught.value)
  assert '\n' not in str(caught.value)


def test_gaussian_is_for_one_scale_on_both_axes():
  with pytest.raises(InputError, match='not 2,3; pass a kernel file'):
    arguments.parse_gaussian('gaussian:1', (2.0, 3.0))


def test_progress_counts_gradual_stages_and_ends_early(capsys):
  with display.Display() as show:
    show.begin('a', 'a_x2')
    for stage, steps in ((0, (10, 20, 30)), (1, (10,))):
      for step in steps:
        show.show('a', zssr_jax.Progress(stage, 2, step, 50, 0.1, 1e-3, 1e-3))
  lines = capsys.readouterr().err.splitlines()
  assert [line.split()[1] for line in lines] == ['10%', '20%', '30%', '60%']
  assert 'stage 2/2  step 10/50  loss 0.1000  error 1.0e-03' in lines[-1]


# Processes.


def test_piped_progress_is_a_line_every_tenth(tmp_path):
  path = save(tmp_path / 'a.png')
  flags = (SMOKE, f'--input={path}', '--config.max_steps=100')
  process = start(*flags, cwd=tmp_path)
  out, err = process.communicate(timeout=300)
  assert process.returncode == 0, err
  assert re.fullmatch(r'a_x2\.png  \d+\.\d s\n', out)
  lines = [line for line in err.splitlines() if line.startswith('a_x2  ')]
  shares = [int(line.split()[1].rstrip('%')) for line in lines]
  assert shares == list(range(10, 101, 10))
  for word in ('step 100/100', 'loss', 'error', 'lr', 'left'):
    assert word in lines[-1]


def test_terminal_gets_a_bar(tmp_path):
  for name in 'abc':
    save(tmp_path / f'{name}.png')
  terminal, stderr = pty.openpty()
  environment = os.environ | {'TERM': 'xterm', 'COLUMNS': '120'}
  process = start(
    *(SMOKE, f'--input={tmp_path}/*.png', '--config.max_steps=100'),
    cwd=tmp_path,
    env=environment,
    stderr=stderr,
  )
  os.close(stderr)
  shown = b''
  while True:
    try:
      chunk = os.read(terminal, 4096)
    except OSError:  # Linux's way to say that the other end is closed
      break
    if not chunk:
      break
    shown += chunk
  os.close(terminal)
  out, _ = process.communicate(timeout=300)
  assert process.returncode == 0
  assert '━' in shown.decode()
  assert 'step 100/100' in shown.decode()
  assert [line[:8] for line in out.splitlines()] == [
    f'{name}_x2.png' for name in 'abc'
  ]


def test_interrupt_ends_at_once_and_leaves_nothing(tmp_path):
  path = save(tmp_path / 'a.png')
  process = start(
    *(SMOKE, f'--input={path}', '--config.max_steps=3000'), cwd=tmp_path
  )
  assert process.stderr.readline().startswith('a_x2  10%')
  process.send_signal(signal.SIGINT)
  clock = time.monotonic()
  out, err = process.communicate(timeout=60)
  assert time.monotonic() - clock < 5  # a second of it for a busy machine
  assert process.returncode == 130
  assert out == ''
  assert err.splitlines()[-1] == 'interrupted'
  assert 'Traceback' not in err
  assert os.listdir(tmp_path) == ['a.png']


@pytest.mark.parametrize(
  ('variables', 'folder'),
  [
    ({'ZSSR_JAX_CACHE': 'chosen'}, 'chosen'),
    ({'XDG_CACHE_HOME': 'xdg'}, 'xdg/zssr_jax'),
    ({'HOME': 'home'}, 'home/.cache/zssr_jax'),
    ({'ZSSR_JAX_CACHE': ''}, None),
    ({'ZSSR_JAX_CACHE': 'file/below'}, None),  # unwritable: done without
  ],
)
def test_compile_cache_lies_where_told(
  tmp_path, monkeypatch, variables, folder
):
  (tmp_path / 'file').touch()
  for name in ('ZSSR_JAX_CACHE', 'XDG_CACHE_HOME'):
    monkeypatch.delenv(name, raising=False)
  for name, value in variables.items():
    monkeypatch.setenv(name, value and str(tmp_path / value))
  names = (
    'jax_compilation_cache_dir',
    'jax_persistent_cache_min_compile_time_secs',
  )
  before = [getattr(jax.config, name) for name in names]
  jax.config.update(names[0], None)
  try:
    app.use_compile_cache()
    chosen = jax.config.jax_compilation_cache_dir
    assert chosen == (folder and str(tmp_path / folder))
    assert not chosen or os.path.isdir(chosen)
  finally:
    for name, value in zip(names, before, strict=True):
      jax.config.update(name, value)


def test_report_shows_every_input_that_worked(tmp_path, cli, quick):
  folder = tmp_path / 'photos'
  folder.mkdir()
  save(folder / 'a.png')
  save(folder / 'b.png', photo(channels=1))
  (folder / 'broken.png').write_text('nothing')
  code, out, _ = cli(f'--input={folder}', '--report')
  assert code == 1
  page = tmp_path / 'out' / 'report.html'
  assert out.splitlines()[-1] == str(page)
  text = page.read_text()
  assert 'a_x2' in text and 'b_x2' in text and 'broken' not in text


def test_report_is_not_written_unasked_nor_over_another(tmp_path, cli, quick):
  file = save(tmp_path / 'a.png')
  assert cli(f'--input={file}')[0] == 0
  page = tmp_path / 'out' / 'report.html'
  assert not page.exists()
  page.write_text('mine')
  code, _, err = cli(f'--input={file}', '--report')
  assert code == 2 and 'report.html: exists already' in err
  assert cli(f'--input={file}', '--report', '--overwrite')[0] == 0
  assert page.read_text() != 'mine'
