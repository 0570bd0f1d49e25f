"""Weight files: what arrives in the parameters, and what is refused."""

import json
import os
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import scipy.io

from zssr_jax.models import vgg
from zssr_jax.weights import parameters

LAYER = ['conv1_1']


def arrays(**changes):
  """What a file must hold for the first convolution."""
  rng = np.random.default_rng(0)
  good = {
    'conv1_1_kernel_HWIO': rng.normal(size=(3, 3, 3, 64)).astype(np.float16),
    'conv1_1_bias': rng.normal(size=64),
  }
  return {k: v for k, v in (good | changes).items() if v is not None}


@pytest.fixture
def file(tmp_path):
  """Where the shallow weights of VGG16 belong below a data root."""
  path = tmp_path / parameters.VGG16_SHALLOW
  path.parent.mkdir()
  return path


class Trap:
  """A pickle that leaves a trace when it is read."""

  def __init__(self, trace):
    self.trace = trace

  def __reduce__(self):
    return (open, (str(self.trace), 'w'))


def test_arrays_arrive_in_the_parameters_as_float32(tmp_path, file):
  stored = arrays(other=np.zeros(3))
  np.savez(file, **stored)
  variables = parameters.load_vgg16(tmp_path, LAYER)
  model = vgg.Vgg16(('conv1_1',))
  like = model.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))
  assert jax.tree.structure(variables) == jax.tree.structure(like)
  got = variables['params']['conv1_1']
  assert got['kernel'].dtype == got['bias'].dtype == jnp.float32
  np.testing.assert_array_equal(got['kernel'], stored['conv1_1_kernel_HWIO'])
  np.testing.assert_allclose(got['bias'], stored['conv1_1_bias'], rtol=1e-7)


def test_the_data_root_holds_both_files_and_they_agree(data_root):
  files = [parameters.VGG16_SHALLOW, parameters.VGG16_FULL]
  shallow, full = (np.load(data_root / name) for name in files)
  with shallow, full:
    exact = parameters.load_vgg16(data_root, ['relu3_3'])['params']
    deep = parameters.load_vgg16(data_root, ['relu1_1', 'conv4_1'])['params']
    assert len(exact) == 7 and len(deep) == 8
    for name, part in exact.items():
      for got, rounded, key in (
        (part['kernel'], deep[name]['kernel'], f'{name}_kernel_HWIO'),
        (part['bias'], deep[name]['bias'], f'{name}_bias'),
      ):
        np.testing.assert_array_equal(got, shallow[key])
        assert rounded.dtype == jnp.float32
        np.testing.assert_array_equal(rounded, full[key])
        np.testing.assert_array_equal(rounded, shallow[key].astype(np.float16))


def test_the_heads_go_to_their_layers(data_root):
  heads = parameters.load_lpips_heads(data_root)
  assert {layer: head.shape for layer, head in heads.items()} == {
    'relu1_2': (64,),
    'relu2_2': (128,),
    'relu3_3': (256,),
    'relu4_3': (512,),
    'relu5_3': (512,),
  }
  assert all(head.min() >= 0 for head in heads.values())
  with np.load(data_root / parameters.LPIPS_HEADS) as stored:
    for i, head in enumerate(heads.values()):
      np.testing.assert_array_equal(head, stored[f'lin{i}'])


@pytest.mark.parametrize(
  ('changes', 'complaint'),
  [
    ({'conv1_1_bias': None}, 'holds no conv1_1_bias'),
    ({'conv1_1_bias': np.zeros(32)}, r'conv1_1_bias is float64 \(32,\)'),
    ({'conv1_1_bias': np.zeros(64, int)}, 'conv1_1_bias is int64'),
    ({'conv1_1_bias': np.full(64, np.nan)}, 'conv1_1_bias holds NaN'),
    (
      {'conv1_1_kernel_HWIO': np.zeros((64, 3, 3, 3))},  # PyTorch's order
      r'real numbers \(3, 3, 3, 64\) belong',
    ),
  ],
)
def test_other_content_is_refused_by_name(tmp_path, file, changes, complaint):
  np.savez(file, **arrays(**changes))
  with pytest.raises(ValueError, match=complaint) as error:
    parameters.load_vgg16(tmp_path, LAYER)
  assert str(error.value).startswith(f'{file}: ')
  assert '\n' not in str(error.value)


def text(path, trace):
  path.write_text('not weights')


def empty(path, trace):
  path.touch()


def one_array(path, trace):
  with path.open('wb') as stream:
    np.save(stream, np.zeros(3))


def save_npz(path, **arrays):
  with path.open('wb') as stream:  # numpy would add a suffix to a name
    np.savez(stream, **arrays)


def half(path, trace):
  save_npz(path, **arrays())
  path.write_bytes(path.read_bytes()[:2000])


def flipped(path, trace):
  save_npz(path, **arrays())
  content = bytearray(path.read_bytes())
  content[500] ^= 255
  path.write_bytes(content)


def pickled(path, trace):
  path.write_bytes(np.array([Trap(trace)]).dumps())


def pickled_inside(path, trace):
  save_npz(path, **arrays(conv1_1_bias=np.array([Trap(trace)])))


@pytest.mark.parametrize(
  'write', [text, empty, one_array, half, flipped, pickled, pickled_inside]
)
def test_a_file_that_is_no_archive_of_arrays_is_refused(tmp_path, file, write):
  trace = tmp_path / 'trace'
  write(file, trace)
  with pytest.raises(ValueError, match='not a whole .npz file') as error:
    parameters.load_vgg16(tmp_path, LAYER)
  assert str(error.value).startswith(f'{file}: ')
  assert '\n' not in str(error.value)
  assert not trace.exists()


def test_a_missing_file_is_named_with_the_remedy(tmp_path):
  for load, name in (
    (
      lambda: parameters.load_vgg16(tmp_path, ['conv3_3']),
      parameters.VGG16_SHALLOW,
    ),
    (
      lambda: parameters.load_vgg16(tmp_path, ['conv4_1']),
      parameters.VGG16_FULL,
    ),
    (lambda: parameters.load_lpips_heads(tmp_path), parameters.LPIPS_HEADS),
  ):
    with pytest.raises(FileNotFoundError, match='ZSSR_JAX_DATA') as error:
      load()
    assert str(error.value).startswith(f'{tmp_path / name}: no such')
    assert '\n' not in str(error.value)


def test_an_unknown_layer_is_refused_before_any_file_is_read(tmp_path):
  with pytest.raises(ValueError, match="no layer 'relu9_9'"):
    parameters.load_vgg16(tmp_path, ['relu9_9'])


def tree():
  rng = np.random.default_rng(0)
  return {
    'block00': {'conv1': {'kernel': rng.normal(size=(3, 3, 2, 4))}},
    'tail': {'bias': np.array([1e-3, -2.0])},
    # Neither lies in memory as it is to be written.
    'columns': np.asfortranarray(rng.normal(size=(2, 3))),
    'steps': rng.normal(size=8).astype(np.float32)[::2],
  }


@pytest.mark.parametrize('half', [False, True])
def test_a_tree_comes_back_with_its_facts(tmp_path, half):
  path = tmp_path / 'w.safetensors'
  parameters.save_params(
    path, tree(), half=half, network='x', scale=2, note='n\0'
  )
  params, facts = parameters.load_params(path)
  assert facts == {'network': 'x', 'scale': 2, 'note': 'n\0'}
  dtype = np.float16 if half else np.float32
  expected = jax.tree.map(lambda a: a.astype(dtype).astype(np.float32), tree())
  assert jax.tree.structure(params) == jax.tree.structure(expected)
  jax.tree.map(np.testing.assert_array_equal, params, expected)
  assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(params))
  stored = safetensors.numpy.load_file(path)
  assert stored['block00/conv1/kernel'].dtype == dtype
  again = tmp_path / 'again.safetensors'
  parameters.save_params(
    again, tree(), half=half, network='x', scale=2, note='n\0'
  )
  assert again.read_bytes() == path.read_bytes()
  again.unlink()
  assert [p.name for p in tmp_path.iterdir()] == ['w.safetensors']


@pytest.mark.parametrize(
  ('params', 'options', 'complaint'),
  [
    ({'a': np.array([1.0, np.nan])}, {}, 'a holds NaN or infinite values'),
    ({'a': np.array([1e5])}, {'half': True}, 'a holds values too large for'),
    ({'a': {'b': np.arange(3)}}, {}, 'a/b is int64, not real'),
    ({}, {}, 'no parameter to write'),
    ({'a/b': np.ones(1)}, {}, "'a/b' cannot name a parameter"),
    ({'a': np.ones(1)}, {'note': [1]}, 'note is a list'),
  ],
)
def test_what_cannot_be_read_back_is_not_written(
  tmp_path, params, options, complaint
):
  path = tmp_path / 'w.safetensors'
  parameters.save_params(path, tree())
  before = path.read_bytes()
  with pytest.raises(ValueError, match=complaint) as error:
    parameters.save_params(path, params, **options)
  assert '\n' not in str(error.value)
  assert [p.name for p in tmp_path.iterdir()] == ['w.safetensors']
  assert path.read_bytes() == before


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
  path = tmp_path / 'w.safetensors'
  parameters.save_params(path, tree())
  before = path.read_bytes()

  def fail(*args, **kwargs):
    raise OSError('disk full')

  monkeypatch.setattr(os, 'replace', fail)
  with pytest.raises(OSError, match='disk full'):
    parameters.save_params(path, tree())
  assert [p.name for p in tmp_path.iterdir()] == ['w.safetensors']
  assert path.read_bytes() == before


def cut(path, trace):
  parameters.save_params(path, tree())
  path.write_bytes(path.read_bytes()[:-3])


def flipped_header(path, trace):
  parameters.save_params(path, tree())
  content = bytearray(path.read_bytes())
  content[9] ^= 255
  path.write_bytes(content)


@pytest.mark.parametrize(
  'write',
  [
    text,
    empty,
    one_array,
    half,
    flipped,
    pickled,
    pickled_inside,
    cut,
    flipped_header,
  ],
)
def test_load_params_refuses_what_is_no_file_of_ours(tmp_path, write):
  path, trace = tmp_path / 'w.safetensors', tmp_path / 'trace'
  write(path, trace)
  with pytest.raises(
    ValueError, match='not a whole .safetensors file'
  ) as error:
    parameters.load_params(path)
  assert str(error.value).startswith(f'{path}: ')
  assert not trace.exists()


def test_a_changed_number_is_noticed(tmp_path):
  path = tmp_path / 'w.safetensors'
  parameters.save_params(path, tree())
  content = bytearray(path.read_bytes())
  content[-2] ^= 1
  path.write_bytes(content)
  with pytest.raises(ValueError, match='its numbers are damaged; get') as error:
    parameters.load_params(path)
  assert str(error.value).startswith(f'{path}: ')


def hdf5(path):
  import h5py

  with h5py.File(path, 'w') as file:
    file['a'] = np.ones(2)


def torch_zip(path):
  import zipfile

  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('w/data.pkl', pickle.dumps({}))


@pytest.mark.parametrize(
  'write',
  [
    hdf5,
    torch_zip,
    lambda path: path.write_bytes(pickle.dumps({'a': np.ones(2)}, 2)),
    lambda path: scipy.io.savemat(path, {'a': np.ones(2)}, appendmat=False),
  ],
)
def test_weights_of_others_are_to_be_converted(tmp_path, write):
  path = tmp_path / 'w.safetensors'
  write(path)
  with pytest.raises(ValueError, match='convert it with bin/c') as error:
    parameters.load_params(path)
  assert str(error.value).startswith(f'{path}: ')
  assert 'whole copy' not in str(error.value)


def header(arrays, version=2):
  """The metadata that makes a file ours."""
  checksum = parameters._checksum(arrays)
  found = {'version': version, 'facts': {}, 'crc32': checksum}
  return {'zssr_jax': json.dumps(found)}


INFINITE = {'a': np.array([np.inf])}
WHOLE = {'a': np.arange(2)}
BELOW = {'a': np.ones(1), 'a/b': np.ones(1)}


@pytest.mark.parametrize(
  ('arrays', 'metadata', 'complaint'),
  [
    ({'a': np.ones(1)}, {}, 'not a weight file of zssr_jax; convert it'),
    ({}, {'zssr_jax': '\1\1\1'}, 'entry zssr_jax is damaged'),
    ({}, {'zssr_jax': '[2]'}, 'entry zssr_jax is damaged'),
    ({}, header({}, 3), 'is of version 3, this program reads 2'),
    (INFINITE, header(INFINITE), 'a holds NaN or infinite'),
    (WHOLE, header(WHOLE), 'a is int64'),
    (BELOW, header(BELOW), 'a/b lies below another'),
  ],
)
def test_load_params_names_file_and_fault(
  tmp_path, arrays, metadata, complaint
):
  path = tmp_path / 'w.safetensors'
  safetensors.numpy.save_file(arrays, path, metadata)
  with pytest.raises(ValueError, match=complaint) as error:
    parameters.load_params(path)
  assert str(error.value).startswith(f'{path}: ')
  assert '\n' not in str(error.value)
  with pytest.raises(FileNotFoundError, match='none.*: no such weight file'):
    parameters.load_params(tmp_path / 'none.safetensors')


OLD = np.frombuffer(b'{"version": 1, "facts": {"scale": 2}}', np.uint8)
NEWER = np.frombuffer(b'{"version": 2, "facts": {}}', np.uint8)


def test_a_file_of_version_0_1_0_is_read_where_it_is_asked_for(tmp_path):
  path = tmp_path / 'w.npz'
  kernel = np.arange(6, dtype=np.float16).reshape(2, 3)
  np.savez(path, **{'#zssr_jax': OLD, 'a/kernel': kernel})
  assert parameters.is_old(path)
  params, facts = parameters.load_old(path)
  assert facts == {'scale': 2}
  assert params['a']['kernel'].dtype == jnp.float32
  np.testing.assert_array_equal(params['a']['kernel'], kernel)
  with pytest.raises(ValueError, match='convert it with bin/convert_weights'):
    parameters.load_params(path)
  np.savez(path, a=kernel)
  assert not parameters.is_old(path)
  path.write_text('not weights')
  assert not parameters.is_old(path)


@pytest.mark.parametrize(
  ('arrays', 'complaint'),
  [
    ({'#zssr_jax': np.ones(3)}, 'entry zssr_jax is damaged'),
    ({'#zssr_jax': NEWER}, 'is of version 2, this program reads 1'),
    ({'#zssr_jax': OLD, 'a': np.array([np.inf])}, 'a holds NaN or infinite'),
    ({'#zssr_jax': OLD, 'a': np.arange(2)}, 'a is int64'),
    (
      {'#zssr_jax': OLD, 'a': np.ones(1), 'a/b': np.ones(1)},
      'a/b lies below another',
    ),
    (
      {'#zssr_jax': OLD, 'a/b': np.ones(1), 'a': np.ones(1)},
      'a/b lies below another',
    ),
  ],
)
def test_load_old_names_file_and_fault(tmp_path, arrays, complaint):
  path = tmp_path / 'w.npz'
  np.savez(path, **arrays)
  with pytest.raises(ValueError, match=complaint) as error:
    parameters.load_old(path)
  assert str(error.value).startswith(f'{path}: ')
  assert '\n' not in str(error.value)


def test_shapes_are_compared_by_path():
  good = {'a': {'kernel': np.zeros((3, 2))}, 'b': np.zeros(1)}
  parameters.check_shapes(good, good)
  for params, complaint in (
    ({'a': good['a']}, 'b is missing'),
    (good | {'b': np.zeros(2)}, r'b is \(2,\) where \(1,\) belongs'),
    (good | {'c': np.zeros(1)}, 'c is no parameter of this network'),
  ):
    with pytest.raises(ValueError, match=complaint):
      parameters.check_shapes(params, good)


def test_vgg16_comes_from_a_file_of_ours_as_from_the_data_root(
  tmp_path, data_root
):
  path = tmp_path / 'vgg16.safetensors'
  layers = ('relu1_2', 'relu3_3')
  from_root = parameters.load_vgg16(data_root, layers)
  parameters.save_params(path, from_root['params'], network='vgg16')
  from_file = parameters.load_vgg16(path, layers)
  jax.tree.map(np.testing.assert_array_equal, from_file, from_root)
  shallow = parameters.load_vgg16(path, ['conv1_1'])['params']
  assert list(shallow) == ['conv1_1']
  with pytest.raises(ValueError, match='conv4_1/bias is missing'):
    parameters.load_vgg16(path, ['conv4_1'])
  parameters.save_params(path, from_root['params'], network='vdsr')
  with pytest.raises(ValueError, match='holds vdsr, not vgg16'):
    parameters.load_vgg16(path, layers)
