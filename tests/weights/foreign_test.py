"""Weight files of five kinds, written here byte by byte, and hostile ones."""

import io
import os
import pickle
import struct
import zipfile

import h5py
import numpy as np
import pytest
import scipy.io

from zssr_jax.errors import InputError
from zssr_jax.weights import foreign


def text(value):
  data = value.encode()
  return b'X' + struct.pack('<I', len(data)) + data


def number(value):
  return b'J' + struct.pack('<i', value)


def numbers(values):
  return b'(' + b''.join(map(number, values)) + b't'


ORDERED_DICT = b'ccollections\nOrderedDict\n)R'


def tensor(
  key,
  count,
  size,
  stride,
  *,
  offset=0,
  kind='FloatStorage',
  function='_rebuild_tensor_v2',
  view=b'',
):
  """The pickle's instructions for one tensor, as torch writes them."""
  rest = b'\x89' + ORDERED_DICT if function == '_rebuild_tensor_v2' else b''
  return b''.join(
    [
      f'ctorch._utils\n{function}\n('.encode(),
      b'(' + text('storage') + f'ctorch\n{kind}\n'.encode() + text(key),
      text('cpu') + number(count) + view + b'tQ',
      number(offset) + numbers(size) + numbers(stride) + rest,
      b'tR',
    ]
  )


def torch_file(tensors, storages, *, order=b'little', tail=b''):
  """A file of `torch.save(state_dict)`."""
  items = b''.join(text(name) + code for name, code in tensors.items())
  program = b'\x80\x02' + ORDERED_DICT + b'(' + items + b'u' + tail + b'.'
  stream = io.BytesIO()
  with zipfile.ZipFile(stream, 'w') as archive:
    archive.writestr('weights/data.pkl', program)
    archive.writestr('weights/byteorder', order)
    for key, raw in storages.items():
      archive.writestr(f'weights/data/{key}', raw)
    archive.writestr('weights/version', b'3\n')
  return stream.getvalue()


@pytest.fixture
def read(tmp_path):
  """Reads bytes from a file: `read(content, name)`."""

  def read(content, name='weights.pth'):
    path = tmp_path / name
    path.write_bytes(content)
    return foreign.read_arrays(path)

  return read


def test_a_state_dict_of_torch_is_read_without_torch(read):
  weight = np.arange(24, dtype='<f4').reshape(2, 3, 4)
  long = np.arange(3, dtype='<i8')
  # state_dict() hangs an attribute `_metadata` on its OrderedDict.
  metadata = b'}' + text('_metadata') + ORDERED_DICT + b'sb'
  arrays = read(
    torch_file(
      {
        'a.weight': tensor('0', 24, (2, 3, 4), (12, 4, 1)),
        'a.turned': tensor('0', 24, (4, 3), (1, 4), offset=12),
        'a.batches': tensor('1', 3, (3,), (1,), kind='LongStorage'),
        'a.scalar': tensor('0', 24, (), (), offset=5),
      },
      {'0': weight.tobytes(), '1': long.tobytes()},
      tail=metadata,
    )
  )
  assert sorted(arrays) == ['a.scalar', 'a.turned', 'a.weight']
  np.testing.assert_array_equal(arrays['a.weight'], weight)
  np.testing.assert_array_equal(arrays['a.turned'], weight[1].T)
  assert arrays['a.scalar'] == 5


@pytest.mark.parametrize(
  ('kind', 'dtype'),
  [('HalfStorage', 'f2'), ('FloatStorage', 'f4'), ('DoubleStorage', 'f8')],
)
@pytest.mark.parametrize('order', ['little', 'big'])
def test_every_precision_and_byte_order_is_read(read, kind, dtype, order):
  values = np.array([1.5, -2, 3]).astype(
    {'little': '<', 'big': '>'}[order] + dtype
  )
  content = torch_file(
    {'w': tensor('7', 3, (3,), (1,), kind=kind)},
    {'7': values.tobytes()},
    order=order.encode(),
  )
  np.testing.assert_array_equal(read(content)['w'], values)


def test_bfloat16_is_the_upper_half_of_a_float(read):
  values = np.array([1.5, -0.15625], '<f4')
  upper = (values.view('<u4') >> 16).astype('<u2')
  content = torch_file(
    {'w': tensor('0', 2, (2,), (1,), kind='BFloat16Storage')},
    {'0': upper.tobytes()},
  )
  np.testing.assert_array_equal(read(content)['w'], values)


def test_what_torch_itself_writes_is_read(tmp_path):
  torch = pytest.importorskip('torch')
  layer = torch.nn.Conv2d(3, 4, 3)
  torch.save({'state_dict': layer.state_dict(), 'epoch': 3}, tmp_path / 'w.pth')
  arrays = foreign.read_arrays(tmp_path / 'w.pth')
  assert sorted(arrays) == ['state_dict/bias', 'state_dict/weight']
  for name, array in layer.state_dict().items():
    np.testing.assert_array_equal(arrays[f'state_dict/{name}'], array.numpy())


@pytest.mark.parametrize(
  'code',
  [
    tensor('0', 3, (4,), (1,)),
    tensor('0', 3, (2,), (2,), offset=1),
    tensor('0', 3, (3,), (-1,), offset=2),
    tensor('0', 3, (100, 100, 100), (0, 0, 0)),
    tensor('0', 400, (400,), (1,)),
    tensor('1', 3, (3,), (1,)),
  ],
)
def test_a_tensor_beyond_its_storage_is_refused(read, code):
  with pytest.raises(InputError, match='not a whole file of weights'):
    read(torch_file({'w': code}, {'0': np.zeros(3, '<f4').tobytes()}))


class Call:
  """Pickles into a call of a function."""

  def __init__(self, function, *args):
    self.made = (function, args)

  def __reduce__(self):
    return self.made


def in_torch_zip(program):
  stream = io.BytesIO()
  with zipfile.ZipFile(stream, 'w') as archive:
    archive.writestr('x/data.pkl', program)
  return stream.getvalue()


@pytest.mark.parametrize('wrap', [bytes, in_torch_zip])
@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_a_pickle_that_calls_anything_is_refused(
  read, tmp_path, wrap, protocol
):
  trace = tmp_path / 'trace'
  for value in (
    Call(os.mkdir, str(trace)),
    {'w': [Call(open, str(trace), 'w')]},
    Call(eval, f'open({str(trace)!r}, "w")'),
    Call(getattr, dict, 'keys'),
  ):
    with pytest.raises(InputError, match='refused, for it asks for') as error:
      read(wrap(pickle.dumps(value, protocol)))
    assert '\n' not in str(error.value)
  assert not trace.exists()


@pytest.mark.parametrize(
  'program',
  [
    # The names on the list, with an attribute or a new state forced on them.
    b'\x80\x02cnumpy\ndtype\nN}X\x08\x00\x00\x00__code__K\x01s\x86b.',
    b'\x80\x02ccollections\nOrderedDict\n}X\x01\x00\x00\x00xK\x01sb.',
    b'\x80\x02cnumpy\nndarray\n}X\x01\x00\x00\x00xK\x01sb.',
    # A name reached through another, by protocol 4.
    b'\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93.',
    b'\x80\x02X\x01\x00\x00\x00xQ.',  # a reference to no storage
    b'\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.',  # a dict within itself
    b'\x80\x02K\x01.',  # a number
    b'\x80\x02]',  # cut short
  ],
)
def test_a_twisted_pickle_gives_one_line(read, program):
  with pytest.raises(InputError) as error:
    read(program)
  assert '\n' not in str(error.value)


def test_values_that_share_without_end_are_not_followed(read):
  value = [1.0]
  for _ in range(40):  # 2**40 leaves
    value = [value, value]
  with pytest.raises(InputError, match='too many values'):
    read(pickle.dumps(value, 2))


@pytest.mark.parametrize('protocol', [3, 4])
@pytest.mark.parametrize('dtype', ['<f4', '>f4', '<f2', '<f8'])
def test_a_pickle_of_numpy_arrays_is_read(read, protocol, dtype):
  kernel = np.arange(12).reshape(3, 4).astype(dtype)
  tree = {'a': {'kernel': kernel, 'by_columns': np.asfortranarray(kernel)}}
  tree |= {'step': np.arange(3), 'name': 'x'}
  arrays = read(pickle.dumps(tree, protocol), 'vgg16.ckpt')
  assert sorted(arrays) == ['a/by_columns', 'a/kernel']
  for array in arrays.values():
    np.testing.assert_array_equal(array, kernel)


def test_an_array_of_objects_is_not_read(read):
  content = pickle.dumps({'w': np.array([None, 'x'], object)}, 3)
  with pytest.raises(InputError, match='no array of real numbers'):
    read(content)


def test_npz_hdf5_and_matlab_give_the_same_arrays(tmp_path):
  a = np.arange(6, dtype=np.float32).reshape(2, 3)
  np.savez(tmp_path / 'w.npz', a=a, count=np.arange(3))
  scipy.io.savemat(tmp_path / 'w.mat', {'a': a, 'name': 'x'})
  with h5py.File(tmp_path / 'w73.mat', 'w', userblock_size=512) as file:
    file['a'] = a.T  # MATLAB stores columns first
    file['a'].attrs['MATLAB_class'] = np.bytes_('single')
  with (tmp_path / 'w73.mat').open('r+b') as stream:
    stream.write(b'MATLAB 7.3 MAT-file'.ljust(128))
  with h5py.File(tmp_path / 'w.h5', 'w') as file:
    file['a'] = a
    file['count'] = np.arange(3)
  for name in ('w.npz', 'w.mat', 'w73.mat', 'w.h5'):
    arrays = foreign.read_arrays(tmp_path / name)
    assert list(arrays) == ['a'], name
    np.testing.assert_array_equal(arrays['a'], a, err_msg=name)


def test_the_path_in_an_hdf5_file_is_the_name(tmp_path):
  with h5py.File(tmp_path / 'w.h5', 'w') as file:
    file['block/conv/kernel:0'] = np.ones((3, 3), np.float16)
  assert list(foreign.read_arrays(tmp_path / 'w.h5')) == ['block/conv/kernel:0']


NO_VIEW = b'N'
MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)


def old_torch_file(tensors, storages, *, version=1001):
  """A file of `torch.save(state_dict)` before 1.6."""
  items = b''.join(text(name) + code for name, code in tensors.items())
  about = {'protocol_version': 1001, 'little_endian': True}
  parts = [
    MAGIC,
    pickle.dumps(version, 2),
    pickle.dumps(about | {'type_sizes': {'short': 2, 'int': 4, 'long': 4}}, 2),
    b'\x80\x02' + ORDERED_DICT + b'(' + items + b'u.',
    pickle.dumps(list(storages), 2),
  ]
  for array in storages.values():
    parts += [struct.pack('<q', array.size), array.tobytes()]
  return b''.join(parts)


def test_a_file_of_torch_before_1_6_is_read(read):
  a, b = np.arange(6, dtype='<f4'), np.arange(100, 108, dtype='<f8')
  content = old_torch_file(
    {
      # As torch 0.1 wrote it, and torchvision's VGG16 is.
      'first': tensor(
        '94', 6, (2, 3), (3, 1), function='_rebuild_tensor', view=NO_VIEW
      ),
      'second': tensor(
        '17', 8, (3,), (2,), offset=1, kind='DoubleStorage', view=NO_VIEW
      ),
      'count': tensor('5', 3, (3,), (1,), kind='LongStorage', view=NO_VIEW),
      'part': tensor(
        '94',
        6,
        (2,),
        (1,),
        offset=1,
        view=b'(' + text('95') + number(2) + number(3) + b't',
      ),
    },
    {'17': b, '5': np.arange(3), '94': a},
  )
  arrays = read(content)
  assert sorted(arrays) == ['first', 'part', 'second']
  np.testing.assert_array_equal(arrays['first'], a.reshape(2, 3))
  np.testing.assert_array_equal(arrays['second'], [101, 103, 105])
  np.testing.assert_array_equal(arrays['part'], [3, 4])


def test_an_old_file_of_torch_cut_anywhere_gives_one_line(read):
  content = old_torch_file(
    {'w': tensor('1', 5, (5,), (1,), view=NO_VIEW)},
    {'1': np.arange(5, dtype='<f4')},
  )
  assert list(read(content)) == ['w']
  for size in (*range(len(MAGIC), len(content), 7), len(content) - 1):
    with pytest.raises(InputError, match='not a whole file of w') as error:
      read(content[:size])
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('view', 'changes'),
  [
    (NO_VIEW, {'version': 1002}),
    (b'(' + text('2') + number(3) + number(3) + b't', {}),
    (b'(' + text('2') + number(-3) + number(3) + b't', {}),
    (b'(' + text('2') + number(0) + number(2) + b't', {}),
    (b'K\x01', {}),
  ],
)
def test_an_old_file_of_torch_that_contradicts_itself_is_refused(
  read, view, changes
):
  code = tensor('1', 5, (3,), (1,), view=view)
  content = old_torch_file({'w': code}, {'1': np.zeros(5, '<f4')}, **changes)
  with pytest.raises(InputError, match='not a whole file of weights'):
    read(content)


def test_an_old_file_of_torch_runs_nothing(read, tmp_path):
  trace = tmp_path / 'trace'
  call = pickle.dumps(Call(os.mkdir, str(trace)), 2)
  head = [MAGIC, pickle.dumps(1001, 2), pickle.dumps({}, 2)]
  for place in (1, 2, 3):
    with pytest.raises(InputError, match='refused, for it asks for'):
      read(b''.join([*head[:place], call]))
  assert not trace.exists()


def test_what_old_torch_itself_writes_is_read(tmp_path):
  torch = pytest.importorskip('torch')
  layer = torch.nn.Conv2d(3, 4, 3)
  torch.save(
    layer.state_dict(),
    tmp_path / 'w.pth',
    _use_new_zipfile_serialization=False,
  )
  arrays = foreign.read_arrays(tmp_path / 'w.pth')
  assert sorted(arrays) == ['bias', 'weight']
  for name, array in layer.state_dict().items():
    np.testing.assert_array_equal(arrays[name], array.numpy())


def zeros(size, compression):
  """An archive of so many bytes, all 0."""
  stream = io.BytesIO()
  with zipfile.ZipFile(stream, 'w', compression) as archive:
    archive.writestr('w/data/0', bytes(size))
  return stream.getvalue()


def repeated(count):
  """A file with one storage that so many tensors are."""
  values = np.zeros(100_000, '<f4')
  code = tensor('0', values.size, values.shape, (1,))
  codes = {f'w{i}': code for i in range(count)}
  return torch_file(codes, {'0': values.tobytes()})


def repeated_numpy(count):
  """A pickle of so many views of one array's bytes."""
  array = np.zeros(100_000, '<f4')
  function, args, (version, _, *rest) = array.__reduce__()
  state = (version, array.shape, *rest)

  class Copy:
    def __reduce__(self):
      return function, args, state

  return pickle.dumps([Copy() for _ in range(count)], 4)


def test_arrays_that_share_what_is_stored_are_read(read):
  assert len(read(repeated(8))) == len(read(repeated_numpy(8))) == 8


@pytest.mark.parametrize(
  'content',
  [
    zeros(40_000_000, zipfile.ZIP_DEFLATED),
    repeated(60),
    repeated_numpy(60),
    b'\x80\x02]r\xff\xff\xff\x7f.',  # a memo of two billion places
    b'\x80\x02]p2000000000\n.',
    b'\x80\x02' + b']0' * 1_000_001 + b'].',
    # Keys: a tuple of 2**60 leaves, one that goes on and on.
    b'\x80\x02}(K\x01' + b'2\x86' * 20 + b'Nu.',
    b'\x80\x02}' + text('a' * 20_000) + b'}' + text('b') + b'Nss.',
  ],
)
def test_a_small_file_that_asks_for_much_is_refused(read, content):
  with pytest.raises(InputError, match='not a whole file of weights') as error:
    read(content)
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
    ('w.pth', b'weights', 'not a file of weights; it must be .pth'),
    ('w.pth', MAGIC, 'not a whole file of weights'),
    ('w.mat', b'MATLAB 5.0', 'not a whole MATLAB file'),
    ('w.npz', b'PK\x03\x04 and no more', 'not a whole file of weights'),
    ('w.h5', b'\x89HDF\r\n\x1a\n', 'not a whole file of weights'),
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
