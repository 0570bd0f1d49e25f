"""Finding data sets and pairing their files."""

import pathlib

import pytest

from zssr_jax.data import datasets


def make(root, *names):
  """Creates empty files."""
  for name in names:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
  return root


@pytest.mark.parametrize(
  'name, count', [('Set5', 5), ('Set14', 14), ('B100', 100)]
)
@pytest.mark.parametrize('scale', [2, 3, 4])
def test_the_benchmark_sets_are_found_whole(data_root, name, count, scale):
  found = datasets.pairs(data_root, name, scale)
  assert len(found) == count
  assert [p.name for p in found] == sorted({p.name for p in found})
  for pair in found:
    assert pair.hr.is_file() and pair.lr.is_file() and pair.kernel is None
    assert pair.hr.stem == pair.lr.stem == pair.name
    assert pair.hr.parent.name == 'HR'
    assert pair.lr.parent.name == f'LR_matlab_x{scale}'


def test_the_known_kernel_set_brings_its_kernel(data_root):
  found = datasets.pairs(data_root, 'MZSR_g20_Set5', 2)
  names = ['baby', 'bird', 'butterfly', 'head', 'woman']
  assert [p.name for p in found] == names
  for pair in found:
    assert pair.hr.name == f'{pair.name}_GT.png'
    assert pair.lr.name == f'{pair.name}.png'
    assert pair.lr.parent.name == 'LR_x2'
    assert pair.kernel == data_root / 'MZSR_g20_Set5' / 'kernel.mat'


def test_a_scale_pair_chooses_the_same_folder_as_its_number(data_root):
  by_number = datasets.pairs(data_root, 'Set5', 2)
  assert datasets.pairs(data_root, 'Set5', (2.0, 2.0)) == by_number
  with pytest.raises(ValueError, match='made at scale 2, 3, 4, not at'):
    datasets.pairs(data_root, 'Set5', (2, 3))


def test_a_folder_of_images_alone_has_no_lr(tmp_path):
  make(tmp_path, 'mine/b.png', 'mine/a.JPG', 'mine/._a.png', 'mine/notes.txt')
  found = datasets.pairs(tmp_path, 'mine', 3)
  assert found == [
    datasets.Pair('a', tmp_path / 'mine/a.JPG', None, None),
    datasets.Pair('b', tmp_path / 'mine/b.png', None, None),
  ]


def test_a_folder_of_ones_own_may_have_lr_and_kernel(tmp_path):
  make(
    tmp_path,
    'mine/HR/a_GT.png',
    'mine/LR_x1.5/a.png',
    'mine/LR_x2/a.png',
    'mine/kernel.npy',
  )
  found = datasets.pairs('anywhere', str(tmp_path / 'mine'), 1.5)
  folder = tmp_path / 'mine'
  assert found == [
    datasets.Pair(
      'a',
      folder / 'HR/a_GT.png',
      folder / 'LR_x1.5/a.png',
      folder / 'kernel.npy',
    )
  ]


@pytest.mark.parametrize('name', ['Set6', ''])
def test_an_unknown_data_set_names_the_known_ones(tmp_path, name):
  make(tmp_path, 'Set5/HR/a.png', 'T91/t1.png')
  with pytest.raises(FileNotFoundError, match='there are: Set5, T91') as error:
    datasets.pairs(tmp_path, name, 2)
  assert '\n' not in str(error.value)


def test_an_empty_data_set_is_an_error(tmp_path):
  (tmp_path / 'mine/HR').mkdir(parents=True)
  with pytest.raises(FileNotFoundError, match='no images'):
    datasets.pairs(tmp_path, 'mine', 2)


def test_a_missing_lr_image_is_named(tmp_path):
  make(tmp_path, 'mine/HR/a.png', 'mine/HR/b.png', 'mine/LR_x2/a.png')
  with pytest.raises(FileNotFoundError, match='no image for b'):
    datasets.pairs(tmp_path, 'mine', 2)


def test_a_scale_that_was_not_made_is_an_error(tmp_path):
  make(tmp_path, 'mine/HR/a.png', 'mine/LR_x2/a.png')
  with pytest.raises(ValueError, match='made at scale 2, not at 3'):
    datasets.pairs(tmp_path, 'mine', 3)


@pytest.mark.parametrize(
  'files',
  [
    ('HR/a.png', 'HR/a.bmp'),
    ('HR/a.png', 'HR/a_GT.png'),
    ('HR/a.png', 'LR_x2/a.png', 'LR_matlab_x2/a.png'),
  ],
)
def test_files_that_collide_are_refused(tmp_path, files):
  make(tmp_path / 'mine', *files)
  with pytest.raises(ValueError, match='collide'):
    datasets.pairs(tmp_path, 'mine', 2)


def test_the_argument_comes_before_the_variable(tmp_path, monkeypatch):
  (tmp_path / 'named').mkdir()
  (tmp_path / 'set').mkdir()
  monkeypatch.setenv(datasets.VARIABLE, str(tmp_path / 'set'))
  assert datasets.data_root(tmp_path / 'named') == tmp_path / 'named'
  assert datasets.data_root() == tmp_path / 'set'


def test_a_root_that_is_named_but_missing_is_an_error(tmp_path, monkeypatch):
  with pytest.raises(FileNotFoundError, match=r'gone: .*\(--data\)'):
    datasets.data_root(tmp_path / 'gone')
  monkeypatch.setenv(datasets.VARIABLE, str(tmp_path / 'gone'))
  with pytest.raises(FileNotFoundError, match=datasets.VARIABLE):
    datasets.data_root()


def test_without_a_name_the_root_lies_beside_the_checkout(
  tmp_path, monkeypatch
):
  monkeypatch.delenv(datasets.VARIABLE, raising=False)
  module = tmp_path / 'checkout/zssr_jax/data/datasets.py'
  monkeypatch.setattr(datasets, '__file__', str(module))
  assert datasets.data_root() is None
  beside = tmp_path / 'shared/data'
  beside.mkdir(parents=True)
  assert datasets.data_root() == pathlib.Path(beside).resolve()


def test_the_hr_images_alone_serve_any_scale(tmp_path):
  make(tmp_path, 'mine/HR/a.png', 'mine/LR_x2/a.png', 'mine/kernel.npy')
  found = datasets.pairs(tmp_path, 'mine', 3, with_lr=False)
  assert found == [datasets.Pair('a', tmp_path / 'mine/HR/a.png', None, None)]


def test_an_image_may_have_a_kernel_of_its_own(tmp_path):
  make(
    tmp_path,
    'mine/HR/a.1.png',
    'mine/HR/b.png',
    'mine/LR_x2/a.1.png',
    'mine/LR_x2/b.png',
    'mine/kernels/a.1.npy',
    'mine/kernel.mat',
  )
  found = datasets.pairs(tmp_path, 'mine', 2)
  folder = tmp_path / 'mine'
  kernels = [pair.kernel for pair in found]
  assert kernels == [folder / 'kernels/a.1.npy', folder / 'kernel.mat']


@pytest.mark.parametrize('name', ['srf', 'div'])
def test_pairs_of_other_conventions(name):
  folder = pathlib.Path(__file__).parents[3] / 'shared/cases' / name
  if not folder.is_dir():
    pytest.skip(f'{folder} is not there')
  [pair] = datasets.pairs(folder.parent, name, 2)
  assert pair.name == {'srf': 'img_001', 'div': '0801'}[name]
  assert pair.lr is not None and pair.lr.parent.name == 'LR'
  with pytest.raises(ValueError, match='made at scale 2, not at 3'):
    datasets.pairs(folder.parent, name, 3)


def test_folder_of_ones_own_may_be_relative(tmp_path, monkeypatch):
  (tmp_path / 'photos').mkdir()
  monkeypatch.chdir(tmp_path)
  assert datasets.find('/nowhere', 'photos') == pathlib.Path('photos')
  with pytest.raises(FileNotFoundError, match='nor a folder of this name'):
    datasets.find('/nowhere', 'others')
