"""Bad input to bin/main.py: one line, exit code 2, nothing written."""

import os
import re

import numpy as np
import pytest
import scipy.io
from PIL import Image

from .helpers import SMOKE, photo, save, start

rng = np.random.default_rng(0)

# Each case makes its files in a folder, and returns the flags and what the one
# line on stderr has to name.


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
  Image.new('1', (13_400, 13_400)).save(folder / 'large.png')
  return ['--input=large.png'], r'large.png: .*the limit is 178'


def result_too_large(folder):
  Image.new('1', (13_300, 13_300)).save(folder / 'large.png')
  flags = ['--scale=16', '--bit_depth=16']
  return ['--input=large.png', *flags], 'large.png: needs about .* GB of memory'


def sized(height, width):
  def case(folder):
    save(folder / 'small.png', np.full((height, width, 3), 99, np.uint8))
    return ['--input=small.png'], 'small.png'

  case.__name__ = f'image_of_{height}x{width}'
  return case


def transparent_jpeg(folder):
  save(folder / 'a.png', np.dstack([photo(), photo(channels=1)]))
  flags = ['--input=a.png', '--output_format=jpg']
  return flags, 'a.png: JPEG cannot hold transparency'


def sixteen_bits_as_jpeg(folder):
  save(folder / 'deep.png', photo()[..., 0].astype(np.uint16) * 257)
  flags = ['--input=deep.png', '--output_format=jpg']
  return flags, 'deep.png: JPEG cannot hold uint16'


def float_as_png(folder):
  flags = ['--input=photo.png', '--bit_depth=32']
  return flags, 'photo.png: PNG cannot hold float32; write TIFF'


def several_pages(folder):
  pages = [Image.fromarray(photo()) for _ in range(3)]
  pages[0].save(folder / 'a.tif', save_all=True, append_images=pages[1:])
  return ['--input=a.tif'], r'a.tif: holds 3 pages; .* FILE\[1\] to FILE\[3\]'


def page_out_of_range(folder):
  return ['--input=photo.png[2]'], r'photo.png: has no \[2\] among its frames'


def flag(text, named):
  def case(folder):
    return ['--input=photo.png', *text.split()], named

  case.__name__ = text.replace('--', '').replace(' ', '_and_')
  return case


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
  return flags, '--kernel=estimat: no such file, nor one of bicubic, auto,'


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
  flags = ['photo.png', '--output=photo.png', '--overwrite']
  return flags, 'photo.png: is the input, too'


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


def scale_twice(folder):
  return ['photo.png', '--scale=3', '-s', '2'], 'scale.* already defined as 3'


def config_twice(folder):
  flags = ['photo.png', '--config=fast', '--config=smoke']
  return flags, '--config=smoke: is there twice'


def config_field_twice(folder):
  flags = ['photo.png', '--config.depth=3', '--config.depth=4']
  return flags, '--config.depth: is there twice'


def one_file_for_several(folder):
  save(folder / 'other.png')
  flags = ['photo.png', 'other.png', '--output=large.png']
  return flags, 'large.png: is one file, for 2 inputs'


def another_format_than_the_file(folder):
  flags = ['photo.png', '--output=large.png', '--output_format=tif']
  return flags, '--output_format=tif: contradicts --output=large.png'


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
  return ['--input=photo.png', '--reference=hr'], 'photo.png: hr holds no'


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
  transparent_jpeg,
  sixteen_bits_as_jpeg,
  float_as_png,
  several_pages,
  page_out_of_range,
  flag('--output_format=gif', 'output_format=gif.*png.jpg.tif'),
  flag('--bit_depth=12', 'bit_depth=12.*8.16.32'),
  flag('--quality=90', '--quality=90: .*--output_format=jpg'),
  flag('--quality=90 --output_format=png', '--quality=90: .*=jpg'),
  flag('--quality=0 --output_format=jpg', '--quality=0'),
  flag('--quality=101 --output_format=jpg', '--quality=101'),
  flag('--bit_depth=16 --output_format=jpg', '--bit_depth=16: jpg has.* 8;'),
  flag('--bit_depth=32 --output_format=png', '--bit_depth=32: png has.* 16;'),
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
  scale_twice,
  config_twice,
  config_field_twice,
  one_file_for_several,
  another_format_than_the_file,
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


@pytest.mark.slow
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
