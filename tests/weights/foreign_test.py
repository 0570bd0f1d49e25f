"""Weight files of five kinds, and hostile ones.

Files of PyTorch are read by PyTorch, which these tests do not need: where it is
absent, those that do skip.
"""

import io
import os
import pickle
import subprocess
import sys
import zipfile

import h5py
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import scipy.io

from zssr_jax.errors import InputError
from zssr_jax.weights import foreign, parameters

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)  # of torch before 1.6


@pytest.fixture
def torch():
  return pytest.importorskip(
    'torch', reason="reads files of PyTorch: pip install 'zssr_jax[convert]'"
  )


@pytest.fixture
def read(tmp_path):
  """Reads bytes from a file: `read(content, name)`."""

  def read(content, name='weights.pth'):
    path = tmp_path / name
    path.write_bytes(content)
    return foreign.read_arrays(path)

  return read


def torch_file(torch, value, *, old=False):
  """What `torch.save` writes; old: before 1.6."""
  stream = io.BytesIO()
  torch.save(value, stream, _use_new_zipfile_serialization=not old)
  return stream.getvalue()


@pytest.mark.parametrize('old', [False, True])
def test_what_torch_writes_is_read(torch, read, old):
  layer = torch.nn.Conv2d(3, 4, 3)
  content = torch_file(
    torch,
    {
      'state_dict': layer.state_dict(),
      'epoch': 3,
      'more': [torch.arange(3), layer.weight[1].permute(2, 0, 1)],
      'scalar': torch.tensor(5.0),
    },
    old=old,
  )
  arrays = read(content)
  assert sorted(arrays) == [
    'more/1',
    'scalar',
    'state_dict/bias',
    'state_dict/weight',
  ]
  for name, array in layer.state_dict().items():
    np.testing.assert_array_equal(arrays[f'state_dict/{name}'], array.numpy())
  turned = layer.weight.detach().numpy()[1].transpose(2, 0, 1)
  np.testing.assert_array_equal(arrays['more/1'], turned)
  assert arrays['scalar'] == 5


@pytest.mark.parametrize('dtype', ['float16', 'float32', 'float64', 'bfloat16'])
def test_every_precision_of_torch_is_read(torch, read, dtype):
  values = [1.5, -0.15625, 3]
  tensor = torch.tensor(values, dtype=getattr(torch, dtype))
  np.testing.assert_array_equal(
    read(torch_file(torch, {'w': tensor}))['w'], values
  )


class Call:
  """Pickles into a call of a function."""

  def __init__(self, function, *args):
    self.made = (function, args)

  def __reduce__(self):
    return self.made


@pytest.mark.parametrize('old', [False, True])
def test_a_torch_file_that_calls_anything_is_refused(
  torch, read, tmp_path, old
):
  trace = tmp_path / 'trace'
  for value, asked in (
    (Call(os.mkdir, str(trace)), 'posix.mkdir'),
    ({'w': [Call(open, str(trace), 'w')]}, 'io.open'),
    (Call(eval, f'open({str(trace)!r}, "w")'), 'eval'),
    (torch.nn.Conv2d(1, 1, 1), 'torch.nn.modules.conv.Conv2d'),
  ):
    with pytest.raises(
      InputError, match=f'refused, for it asks for {asked};'
    ) as error:
      read(torch_file(torch, value, old=old))
    assert '\n' not in str(error.value)
  assert not trace.exists()


def test_values_that_share_without_end_are_not_followed(torch, read):
  value = [1.0]
  for _ in range(40):  # 2**40 leaves
    value = [value, value]
  with pytest.raises(InputError, match='too many values'):
    read(torch_file(torch, value))


@pytest.mark.parametrize('old', [False, True])
def test_a_small_torch_file_that_asks_for_much_is_refused(torch, read, old):
  values = torch.zeros(100_000)
  few, many = ({f'w{i}': values for i in range(n)} for n in (8, 60))
  assert len(read(torch_file(torch, few, old=old))) == 8
  with pytest.raises(InputError, match='holds far more than a file of its'):
    read(torch_file(torch, many, old=old))
  with pytest.raises(InputError, match='holds far more than a file of its'):
    read(torch_file(torch, {'w': torch.zeros(1).expand(10**11)}, old=old))


@pytest.mark.parametrize('old', [False, True])
def test_a_torch_file_cut_anywhere_gives_one_line(torch, read, old):
  content = torch_file(torch, {'w': torch.arange(5.0)}, old=old)
  assert list(read(content)) == ['w']
  for size in (*range(len(MAGIC), len(content), 97), len(content) - 1):
    with pytest.raises(InputError, match='not a whole file|refused') as error:
      read(content[:size])
    assert '\n' not in str(error.value)


@pytest.fixture
def without_torch(monkeypatch):
  monkeypatch.setitem(sys.modules, 'torch', None)  # cannot be imported


def torch_zip(program=b'\x80\x02}.'):
  """The outline of a file of torch."""
  stream = io.BytesIO()
  with zipfile.ZipFile(stream, 'w') as archive:
    archive.writestr('weights/data.pkl', program)
  return stream.getvalue()


@pytest.mark.parametrize(
  'content', [torch_zip(), MAGIC + b'\x80\x02M\xe9\x03.']
)
def test_without_torch_one_line_says_how_to_get_it(
  read, tmp_path, without_torch, content
):
  with pytest.raises(InputError, match='needed to read it') as error:
    read(content)
  assert str(error.value).startswith(f'{tmp_path}/weights.pth: ')
  assert "pip install 'zssr_jax[convert]'" in str(error.value)
  assert '\n' not in str(error.value)


@pytest.mark.slow
def test_torch_is_not_imported_until_a_file_needs_it():
  program = 'import sys, zssr_jax.weights.foreign; assert "torch" not in '
  subprocess.run([sys.executable, '-c', program + 'sys.modules'], check=True)


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_pickles_are_refused_and_not_run(
  read, tmp_path, without_torch, protocol
):
  trace = tmp_path / 'trace'
  for value in (
    {'a': {'kernel': np.ones((3, 4), np.float32)}},
    Call(os.mkdir, str(trace)),
    1,
  ):
    with pytest.raises(InputError, match='is a pickle, which could') as error:
      read(pickle.dumps(value, protocol), 'vgg16.ckpt')
    assert str(error.value).startswith(f'{tmp_path}/vgg16.ckpt: refused')
    assert '\n' not in str(error.value)
  assert not trace.exists()


def test_every_other_kind_gives_the_same_arrays(tmp_path):
  a = np.arange(6, dtype=np.float32).reshape(2, 3)
  arrays = {'a': a, 'count': np.arange(3)}
  np.savez(tmp_path / 'w.npz', **arrays)
  safetensors.numpy.save_file(arrays, tmp_path / 'w.safetensors')
  scipy.io.savemat(tmp_path / 'w.mat', {'a': a, 'name': 'x'})
  with h5py.File(tmp_path / 'w73.mat', 'w', userblock_size=512) as file:
    file['a'] = a.T  # MATLAB stores columns first
    file['a'].attrs['MATLAB_class'] = np.bytes_('single')
  with (tmp_path / 'w73.mat').open('r+b') as stream:
    stream.write(b'MATLAB 7.3 MAT-file'.ljust(128))
  with h5py.File(tmp_path / 'w.h5', 'w') as file:
    file['a'] = a
    file['count'] = np.arange(3)
  for name in ('w.npz', 'w.safetensors', 'w.mat', 'w73.mat', 'w.h5'):
    found = foreign.read_arrays(tmp_path / name)
    assert list(found) == ['a'], name
    np.testing.assert_array_equal(found['a'], a, err_msg=name)


def test_bfloat16_of_safetensors_is_read(tmp_path):
  values = np.array([1.5, -0.15625], ml_dtypes.bfloat16)
  safetensors.numpy.save_file({'w': values}, tmp_path / 'w.safetensors')
  found = foreign.read_arrays(tmp_path / 'w.safetensors')['w']
  np.testing.assert_array_equal(found.astype(np.float64), [1.5, -0.15625])


def test_a_file_of_ours_needs_no_conversion(tmp_path):
  path = tmp_path / 'w.safetensors'
  parameters.save_params(path, {'a': np.ones(2)})
  with pytest.raises(InputError, match='is a file of zssr_jax already'):
    foreign.read_arrays(path)


def test_the_path_in_an_hdf5_file_is_the_name(tmp_path):
  with h5py.File(tmp_path / 'w.h5', 'w') as file:
    file['block/conv/kernel:0'] = np.ones((3, 3), np.float16)
  assert list(foreign.read_arrays(tmp_path / 'w.h5')) == ['block/conv/kernel:0']


def zeros(size, compression):
  """An archive of so many bytes, all 0."""
  stream = io.BytesIO()
  with zipfile.ZipFile(stream, 'w', compression) as archive:
    archive.writestr('w/data/0', bytes(size))
  return stream.getvalue()


def test_an_archive_of_nothing_but_zeros_is_refused(read):
  with pytest.raises(InputError, match='holds far more than a file') as error:
    read(zeros(40_000_000, zipfile.ZIP_DEFLATED))
  assert '\n' not in str(error.value)


def test_archives_compressed_in_unusual_ways_are_not_inflated(read):
  with pytest.raises(InputError, match='compressed in an unusual way'):
    read(zeros(1000, zipfile.ZIP_BZIP2))


def test_an_hdf5_file_of_nothing_but_fill_is_refused(tmp_path):
  with h5py.File(tmp_path / 'w.h5', 'w') as file:
    file.create_dataset('w', (10_000, 10_000), 'f4', chunks=True)
  with pytest.raises(InputError, match='holds far more than a file of its'):
    foreign.read_arrays(tmp_path / 'w.h5')


@pytest.mark.parametrize(
  ('name', 'content', 'complaint'),
  [
    ('w.pth', b'', 'the file is empty'),
    ('w.pth', b'weights', 'not a file of weights; it must be .safetensors'),
    ('w.mat', b'MATLAB 5.0', 'not a whole MATLAB file'),
    ('w.npz', b'PK\x03\x04 and no more', 'not a whole file of weights'),
    ('w.h5', b'\x89HDF\r\n\x1a\n', 'not a whole file of weights'),
    ('w.safetensors', bytes([9, *[0] * 7]) + b'{"a": 3}', 'not a whole file'),
  ],
)
def test_damage_gives_one_line_that_names_the_file(
  read, tmp_path, name, content, complaint
):
  with pytest.raises(InputError, match=complaint) as error:
    read(content, name)
  assert str(error.value).startswith(f'{tmp_path / name}: ')
  assert '\n' not in str(error.value)


def test_nan_and_missing_files_are_named(tmp_path):
  path = tmp_path / 'w.npz'
  with pytest.raises(InputError, match='no such file'):
    foreign.read_arrays(path)
  np.savez(path, good=np.zeros(2), bad=np.array([0, np.nan]))
  with pytest.raises(InputError, match='bad holds NaN'):
    foreign.read_arrays(path)
  np.savez(path, text=np.array('x'))
  with pytest.raises(InputError, match='holds no array of real numbers'):
    foreign.read_arrays(path)


def test_an_npz_with_a_pickle_inside_is_refused(read, tmp_path):
  trace = tmp_path / 'trace'
  stream = io.BytesIO()
  np.savez(stream, w=np.array([Call(os.mkdir, str(trace))]))
  with pytest.raises(InputError, match='not a whole file of weights'):
    read(stream.getvalue(), 'w.npz')
  assert not trace.exists()
