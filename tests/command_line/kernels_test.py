"""How --kernel reaches the training and what is written of a kernel."""

import re

import numpy as np
import pytest
import scipy.io
from PIL import Image

from zssr_jax import blur_kernels

from .helpers import (
  ESTIMATED,
  ROOT,
  outputs,
  read_record,
  save,
  save_beside_old_output,
)

rng = np.random.default_rng(0)


def test_kernel_file_reaches_the_training(tmp_path, cli, quick):
  blur = np.outer([1, 2, 1], [1, 3, 1]) / 20
  scipy.io.savemat(tmp_path / 'k.mat', {'Kernel': blur})
  code, _, _ = cli(
    f'--input={save(tmp_path / "a.png")}', f'--kernel={tmp_path / "k.mat"}'
  )
  assert code == 0
  np.testing.assert_array_equal(quick[0]['kernel'], blur.astype(np.float32))


def test_gaussian_kernel_reaches_the_training(tmp_path, cli, quick):
  code, out, err = cli(
    f'--input={save(tmp_path / "a.png")}',
    '--kernel=gaussian:3,1,20',
    '--scale=3',
  )
  assert code == 0, err
  expected = blur_kernels.gaussian_kernel((9, 1), np.radians(20), 3)
  np.testing.assert_array_equal(quick[0]['kernel'], expected)
  assert '  kernel given  ' in out
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
    rf'a_x2\.png  {words}, agreement 0\.97  \d+\.\d s\n',
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
  assert '  no kernel found, bicubic used  ' in out
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
