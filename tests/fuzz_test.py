"""A short run of benchmarks/fuzz.py, and files made to fill the memory."""

import importlib.util
import io
import json
import pathlib
import pickle
import struct
import sys
import time
import zipfile
import zlib

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
import tifffile

from zssr_jax.data import image_io, kernel_io, photo
from zssr_jax.errors import InputError
from zssr_jax.weights import foreign, parameters

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope='module')
def fuzz():
  path = ROOT / 'benchmarks' / 'fuzz.py'
  spec = importlib.util.spec_from_file_location('fuzz', path)
  module = importlib.util.module_from_spec(spec)
  sys.modules['fuzz'] = module  # for its dataclass
  spec.loader.exec_module(module)
  yield module
  del sys.modules['fuzz']


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='limits memory by Linux')
def test_damaged_files_are_read_or_refused(fuzz):
  counts, findings = fuzz.run(3, 300, seconds=10, memory=2048)
  assert findings == []
  assert sum(c.read for c in counts.values()) > 60
  assert sum(c.refused for c in counts.values()) > 60


def test_every_file_to_begin_with_is_read_and_damage_is_repeatable(
  fuzz, tmp_path
):
  files = fuzz.make_files()
  for kind, contents in files.items():
    for number, content in enumerate(contents):
      suffix = kind if kind[0] == '.' else f'.{kind.lower()}'
      path = tmp_path / f'{number}{suffix}'
      path.write_bytes(content)
      said = [fuzz._outcome(read, path) for read in fuzz._READERS[kind]]
      several = any(words and 'choose one' in words for words in said)
      assert None in said or several, (kind, number, said)
  first, second = (list(fuzz.mutations(5, 40, files)) for _ in range(2))
  assert first == second


# Small files that ask for far more than there is, or for worse.


def png_of_60000(path):
  head = struct.pack('>IIBBBBB', 60000, 60000, 8, 2, 0, 0, 0)
  chunks = ((b'IHDR', head), (b'IDAT', zlib.compress(b'')), (b'IEND', b''))
  path.write_bytes(
    b'\x89PNG\r\n\x1a\n'
    + b''.join(
      struct.pack('>I', len(body)) + name + body
      + struct.pack('>I', zlib.crc32(name + body))
      for name, body in chunks
    )
  )  # fmt: skip


def tiff_of(side):
  def make(path):
    tifffile.imwrite(path, np.zeros((8, 8), 'u1'), metadata=None)
    content = bytearray(path.read_bytes())
    for tag in (256, 257):  # its entry: tag, type, count, value
      entry = content.index(struct.pack('<HH', tag, 4), 8)
      struct.pack_into('<I', content, entry + 8, side)
    path.write_bytes(content)

  return make


def npy_head(path, shape=(2**40, 2**20)):
  stream = io.BytesIO()
  head = {'descr': '<f8', 'fortran_order': False, 'shape': shape}
  np.lib.format.write_array_header_1_0(stream, head)
  path.write_bytes(stream.getvalue() + bytes(64))


def npz_of_such_a_head(path):
  inner = path.with_suffix('.inner')
  npy_head(inner)
  with zipfile.ZipFile(path, 'w') as archive:
    archive.write(inner, 'kernel.npy')


def npz_of_zeros(path):
  np.savez_compressed(path, kernel=np.zeros((2000, 2000)))


def npz_of_a_pickle(path):
  np.savez(path, kernel=np.array([print], object))


def npy_of_a_pickle(path):
  with path.open('wb') as stream:
    np.save(stream, np.array([print], object))


def pickled(path):
  path.write_bytes(pickle.dumps(np.ones((3, 3))))


def mat_of_zeros(path):
  zeros = {'Kernel': np.zeros((2000, 2000))}
  scipy.io.savemat(path, zeros, do_compression=True)


def mat_of_a_sparse_one(path):
  one = scipy.sparse.coo_array(([1.0], ([0], [0])), shape=(10**6, 10**6))
  scipy.io.savemat(path, {'Kernel': one.tocsc()})


def hdf5_of_nothing(path):
  with h5py.File(path, 'w') as file:
    file.create_dataset('Kernel', (10**5, 10**5), 'f8', chunks=(100, 100))


def mat_of_cells_of_cells(path):
  """Twenty cells, each of the one before, ten times over."""
  with h5py.File(path, 'w') as file:
    last = file.create_dataset('#refs#/0', data=np.ones((3, 3)))
    for i in range(20):
      cell = file.create_dataset(f'Kernel{i}', (10,), h5py.ref_dtype)
      cell[:] = [last.ref] * 10
      last = cell


def safetensors_head(path):
  path.write_bytes(struct.pack('<Q', 2**62) + b'{' + bytes(64))


def safetensors_shape(path):
  head = {'a': {'dtype': 'F32', 'shape': [2**40], 'data_offsets': [0, 2**42]}}
  text = json.dumps(head).encode()
  path.write_bytes(struct.pack('<Q', len(text)) + text + bytes(64))


def safetensors_depth(path):
  text = b'{"a":' * 10**5
  path.write_bytes(struct.pack('<Q', len(text)) + text)


IMAGE = (photo.read_photo, photo.read_shape, image_io.read_image)
KERNEL = (kernel_io.read_kernel,)
BOTH = (kernel_io.read_kernel, foreign.read_arrays)
BOMBS = [
  ('a.png', png_of_60000, (*IMAGE, kernel_io.read_kernel)),
  ('a.tif', tiff_of(60000), IMAGE),
  ('a.tif', tiff_of(2**31), IMAGE),
  ('a.npy', npy_head, KERNEL),
  ('a.npz', npz_of_such_a_head, (*BOTH, parameters.load_archive)),
  ('a.npz', npz_of_zeros, (*BOTH, parameters.load_archive)),
  ('a.npz', npz_of_a_pickle, (*BOTH, parameters.load_archive)),
  ('a.npy', npy_of_a_pickle, KERNEL),
  ('a.npy', pickled, BOTH),
  ('a.mat', mat_of_zeros, BOTH),
  ('a.mat', mat_of_a_sparse_one, BOTH),
  ('a.mat', hdf5_of_nothing, BOTH),
  ('a.mat', mat_of_cells_of_cells, BOTH),
  ('a.h5', hdf5_of_nothing, (foreign.read_arrays,)),
  ('a.safetensors', safetensors_head, (foreign.read_arrays,)),
  ('a.safetensors', safetensors_head, (parameters.load_params,)),
  ('a.safetensors', safetensors_shape, (parameters.load_params,)),
  ('a.safetensors', safetensors_depth, (parameters.load_params,)),
]


@pytest.mark.parametrize(('name', 'make', 'readers'), BOMBS)
def test_what_would_fill_the_memory_is_refused_at_once(
  tmp_path, name, make, readers
):
  path = tmp_path / name
  make(path)
  for read in readers:
    clock = time.perf_counter()
    with pytest.raises(InputError) as caught:
      read(path)
    assert time.perf_counter() - clock < 5
    message = str(caught.value)
    assert name in message and message.isprintable() and len(message) < 600


def test_the_message_of_an_error_is_one_line_whatever_a_name_holds(tmp_path):
  for name in ('two\nlines.png', 'bell\a.png', 'red\x1b[31m.png'):
    path = tmp_path / name
    path.write_text('no image')
    with pytest.raises(InputError) as caught:
      photo.read_photo(path)
    assert str(caught.value).isprintable()
