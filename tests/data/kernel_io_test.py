"""Reading kernels of every layout that they are published in."""

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from PIL import Image

from zssr_jax.data import kernel_io
from zssr_jax.errors import InputError

KERNEL = np.outer([1, 2, 1], [1, 3, 1]) / 20.0
# Neither square nor symmetric: a transposed or flipped copy is another one.
ODD = np.arange(1, 16).reshape(3, 5) / 120.0
OTHERS = [np.roll(ODD, i, axis=1) for i in range(4)]


def save(image, path):
  image.save(path)
  return path


def assert_kernel_refused(path, reason):
  with pytest.raises(InputError) as caught:
    kernel_io.read_kernel(path)
  message = str(caught.value)
  assert (str(path).rpartition(':')[0] or str(path)) in message
  assert reason in message
  assert '\n' not in message


def write_kernel(path, array, name='Kernel'):
  if path.suffix == '.mat':
    scipy.io.savemat(path, {name: array})
  elif path.suffix == '.npy':
    np.save(path, array)
  else:
    np.savez(path, **{name: array})
  return path


@pytest.mark.parametrize('name', ['Kernel', 'kernel', 'kernels'])
@pytest.mark.parametrize('suffix', ['mat', 'npy', 'npz'])
def test_kernel_is_used_as_given(tmp_path, suffix, name):
  path = write_kernel(tmp_path / f'k.{suffix}', KERNEL, name)
  kernel = kernel_io.read_kernel(path)
  assert kernel.dtype == np.float32
  np.testing.assert_array_equal(kernel, KERNEL.astype(np.float32))


def test_kernel_of_any_sum_is_normalised(tmp_path):
  path = write_kernel(tmp_path / 'k.npy', KERNEL * 37)
  np.testing.assert_allclose(kernel_io.read_kernel(path), KERNEL, rtol=1e-6)


def test_negative_taps_stay(tmp_path):
  kernel = np.array([[-0.1, 0.6, 0.6, -0.1]])
  path = write_kernel(tmp_path / 'k.npy', kernel)
  np.testing.assert_array_equal(
    kernel_io.read_kernel(path), kernel.astype(np.float32)
  )


def test_kernel_image_is_normalised_by_its_sum(tmp_path):
  pixels = np.array([[0, 64], [128, 64]], np.uint8)
  path = save(Image.fromarray(pixels), tmp_path / 'k.png')
  np.testing.assert_array_equal(
    kernel_io.read_kernel(path), [[0, 0.25], [0.5, 0.25]]
  )


def test_single_array_of_an_npz_may_have_any_name(tmp_path):
  path = write_kernel(tmp_path / 'k.npz', KERNEL, 'blur')
  assert kernel_io.read_kernel(path).shape == (3, 3)


def test_one_kernel_in_a_matlab_cell_or_with_an_extra_axis(tmp_path):
  cell = np.empty((1, 1), object)
  cell[0, 0] = KERNEL
  for array in (cell, KERNEL[None], KERNEL[..., None]):
    path = write_kernel(tmp_path / 'k.mat', array, 'kernels')
    assert kernel_io.read_kernel(path).shape == (3, 3)


@pytest.mark.parametrize(
  ('array', 'reason'),
  [
    (np.full((3, 3), np.nan), 'NaN'),
    (np.full((3, 3), np.inf), 'infinite'),
    (np.zeros((3, 3)), 'all zero'),
    (-KERNEL, 'positive sum'),
    (np.array([[-1.0, 1.0]]), 'positive sum'),
    (np.ones(9), '2-D'),
    (np.ones((2, 3, 3)), 'holds 2 kernels; choose one'),
    (np.ones((2, 3, 4)), 'cannot tell which axis'),
    (np.ones((2, 2, 3, 3)), '2-D'),
    (np.ones((0, 3)), '2-D'),
    (np.ones((3, 3), complex), 'real'),
    (np.full((3, 3), 'x'), 'real'),
  ],
)
def test_senseless_kernels_are_refused(tmp_path, array, reason):
  assert_kernel_refused(write_kernel(tmp_path / 'k.npy', array), reason)


def test_npz_with_several_unknown_arrays_names_them(tmp_path):
  np.savez(tmp_path / 'k.npz', a=KERNEL, b=KERNEL)
  assert_kernel_refused(tmp_path / 'k.npz', 'found a, b')


def test_pickled_kernel_is_not_unpickled(tmp_path):
  np.save(tmp_path / 'k.npy', np.array([KERNEL, None], object))
  assert_kernel_refused(tmp_path / 'k.npy', 'numpy.save')


@pytest.mark.parametrize('suffix', ['mat', 'npy', 'npz', 'png', 'txt'])
def test_text_is_no_kernel(tmp_path, suffix):
  path = tmp_path / f'k.{suffix}'
  path.write_text('0.1 0.2 0.1')
  assert_kernel_refused(path, '')


@pytest.mark.parametrize('suffix', ['mat', 'npy', 'npz'])
@pytest.mark.parametrize('share', [0.1, 0.5, 0.9])
def test_truncated_kernels_are_refused(tmp_path, suffix, share):
  path = write_kernel(tmp_path / f'k.{suffix}', np.tile(KERNEL, (4, 4)))
  content = path.read_bytes()
  path.write_bytes(content[: int(len(content) * share)])
  assert_kernel_refused(path, '')


def test_missing_kernel_is_refused(tmp_path):
  assert_kernel_refused(tmp_path / 'none.mat', 'no such file')


def test_coloured_kernel_image_is_refused(tmp_path):
  path = save(Image.new('RGB', (5, 5), (1, 2, 3)), tmp_path / 'k.png')
  assert_kernel_refused(path, 'greyscale')


# Several kernels in a file.


def cell(kernels, shape):
  out = np.empty(len(kernels), object)
  out[:] = kernels
  return out.reshape(shape, order='F')  # as MATLAB counts


def write_hdf5(path, variables, header=True):
  """Writes arrays, lists (cells) and dicts (structs) as MATLAB 7.3 does."""

  def put(group, name, value, refs):
    if isinstance(value, dict):
      inner = group.create_group(name)
      inner.attrs['MATLAB_class'] = np.bytes_('struct')
      for key, item in value.items():
        put(inner, key, item, refs)
    elif isinstance(value, list):
      made = []
      for item in value:
        put(refs, f'r{len(refs)}', item, refs)
        made.append(refs[f'r{len(refs) - 1}'].ref)
      data = np.array(made, h5py.ref_dtype)[:, None]  # 1 x n in MATLAB
      group.create_dataset(name, data=data, dtype=h5py.ref_dtype)
      group[name].attrs['MATLAB_class'] = np.bytes_('cell')
    else:
      text = isinstance(value, str)
      data = [[ord(c)] for c in value] if text else np.asarray(value).T
      group.create_dataset(name, data=np.array(data, 'u2') if text else data)
      kind = 'char' if text else 'double'
      group[name].attrs['MATLAB_class'] = np.bytes_(kind)

  with h5py.File(path, 'w', userblock_size=512 if header else 0) as file:
    refs = file.create_group('#refs#')
    for name, value in variables.items():
      put(file, name, value, refs)
  if header:
    with open(path, 'r+b') as stream:
      stream.write(b'MATLAB 7.3 MAT-file, Platform: GLNXA64'.ljust(128))
  return path


def assert_reads(path, kernel):
  np.testing.assert_array_equal(
    kernel_io.read_kernel(path), np.asarray(kernel, np.float32)
  )


@pytest.mark.parametrize('header', [True, False])
def test_hdf5_matrix_is_not_transposed(tmp_path, header):
  path = write_hdf5(tmp_path / 'k.mat', {'Kernel': ODD}, header)
  assert_reads(path, ODD)


def test_hdf5_without_any_sign_of_matlab_is_as_stored(tmp_path):
  with h5py.File(tmp_path / 'k.mat', 'w') as file:
    file['kernel'] = ODD
  assert_reads(tmp_path / 'k.mat', ODD)


@pytest.mark.parametrize('write', [write_hdf5, scipy.io.savemat])
def test_one_of_several_kernels_is_chosen_by_its_index(tmp_path, write):
  path = tmp_path / 'k.mat'
  value = OTHERS if write is write_hdf5 else cell(OTHERS, (1, 4))
  write(path, {'kernels': value, 'names': 'four kernels'})
  for i, kernel in enumerate(OTHERS):
    assert_reads(f'{path}:{i}', kernel)
  assert_kernel_refused(path, f'holds 4 kernels; choose one, {path}:0 to')
  assert_kernel_refused(f'{path}:4', f'4 kernels, {path}:0 to {path}:3')
  assert_kernel_refused(f'{path}:-1', "nor is '-1' the number")
  assert_kernel_refused(f'{path}:x', "nor is 'x' the number")
  assert_kernel_refused(f'{tmp_path}/none.mat:0', 'none.mat: no such file')


def test_cells_count_down_the_columns_as_in_matlab(tmp_path):
  path = tmp_path / 'k.mat'
  scipy.io.savemat(path, {'kernels': cell(OTHERS, (2, 2))})
  assert_reads(f'{path}:1', OTHERS[1])


def test_cells_in_cells_are_one_list(tmp_path):
  path = tmp_path / 'k.mat'
  pair = cell([cell(OTHERS[:2], (1, 2)), cell(OTHERS[2:], (1, 2))], (1, 2))
  scipy.io.savemat(path, {'kernels': pair})
  assert_reads(f'{path}:2', OTHERS[2])


def test_a_single_kernel_has_the_index_0(tmp_path):
  path = write_kernel(tmp_path / 'k.npy', ODD)
  assert_reads(f'{path}:0', ODD)
  assert_kernel_refused(f'{path}:1', 'holds 1 kernel')


def test_a_file_of_that_very_name_goes_before_an_index(tmp_path):
  write_kernel(tmp_path / 'k.npy', ODD)
  image = Image.fromarray(np.full((3, 3), 9, np.uint8))
  save(image, tmp_path / 'k:1.png')
  assert_reads(tmp_path / 'k:1.png', np.full((3, 3), 1 / 9))
  (tmp_path / 'k.npy:0').write_text('another file')
  assert_kernel_refused(tmp_path / 'k.npy:0', 'must be a .mat, .npy')


SQUARE = [np.pad(ODD, ((i, 2 - i), (0, 0))) for i in range(3)]


@pytest.mark.parametrize('suffix', ['mat', 'npy', 'npz'])
@pytest.mark.parametrize('axis', [0, 2])
@pytest.mark.parametrize(
  'kernels', [SQUARE, OTHERS, [*SQUARE, SQUARE[0].T, SQUARE[1].T]]
)
def test_a_stack_may_count_in_front_or_behind(tmp_path, suffix, axis, kernels):
  stack = np.stack(kernels, axis)
  path = write_kernel(tmp_path / f'k.{suffix}', stack)
  for i, kernel in enumerate(kernels):
    assert_reads(f'{path}:{i}', kernel)


def test_hdf5_stack_is_not_transposed(tmp_path):
  path = write_hdf5(tmp_path / 'k.mat', {'k': np.stack(SQUARE, 2)})
  assert_reads(f'{path}:1', SQUARE[1])


@pytest.mark.parametrize('write', [write_hdf5, scipy.io.savemat])
def test_the_only_matrix_may_have_any_name_or_be_in_a_struct(tmp_path, write):
  path = tmp_path / 'k.mat'
  write(path, {'blur': ODD, 'sigma': 1.5, 'method': 'estimated'})
  assert_reads(path, ODD)
  write(path, {'result': {'psf': ODD, 'size': np.array([[3.0, 5.0]])}})
  assert_reads(path, ODD)
  write(path, {'result': {'kernel': ODD, 'image': np.ones((8, 8))}})
  assert_reads(path, ODD)
  write(path, {'a': ODD, 'b': {'c': KERNEL}})
  assert_kernel_refused(path, 'no variable Kernel, kernel or kernels; found a')
  assert_kernel_refused(path, 'b.c')
  write(path, {'text': 'nothing else'})
  assert_kernel_refused(path, '2-D')


def test_array_of_structs_is_a_list_of_kernels(tmp_path):
  structs = np.zeros((1, 4), [('kernel', object), ('name', object)])
  for i in range(4):
    structs[0, i] = (OTHERS[i], f'kernel {i}')
  scipy.io.savemat(tmp_path / 'k.mat', {'all': structs})
  assert_reads(f'{tmp_path / "k.mat"}:3', OTHERS[3])


def test_sparse_and_empty_variables(tmp_path):
  path = tmp_path / 'k.mat'
  scipy.io.savemat(path, {'Kernel': scipy.sparse.csc_matrix(ODD)})
  assert_reads(path, ODD)
  scipy.io.savemat(path, {'Kernel': np.empty((0, 0), object)})
  assert_kernel_refused(path, '2-D')
  write_hdf5(path, {'Kernel': np.zeros((0, 0))})
  assert_kernel_refused(path, '2-D')


@pytest.mark.parametrize('share', [0.1, 0.5, 0.9])
def test_truncated_hdf5_is_refused(tmp_path, share):
  path = write_hdf5(tmp_path / 'k.mat', {'kernels': OTHERS})
  content = path.read_bytes()
  path.write_bytes(content[: int(len(content) * share)])
  assert_kernel_refused(path, 'not a whole MATLAB file')


# Published files.


def test_all_published_kernels_are_read(data_root):
  """Against scipy and h5py, called here with nothing in between."""
  folder = data_root / 'kernels'
  shapes = {}
  for path in sorted(folder.glob('*/*')):
    name = str(path.relative_to(folder))
    if path.suffix == '.png':
      with Image.open(path) as image:
        raw = [np.asarray(image, np.float64)]
    elif path.name == 'Levin09.mat':
      with h5py.File(path) as file:
        references = file['kernels'][:, 0]
        raw = [file[reference][()].T for reference in references]
    else:
      content = scipy.io.loadmat(path)
      (value,) = (v for k, v in content.items() if not k.startswith('__'))
      raw = list(value[0]) if value.dtype == object else [value]
    shapes[name] = [r.shape for r in raw]
    for i, expected in enumerate(raw):
      kernel = kernel_io.read_kernel(f'{path}:{i}')
      assert kernel.dtype == np.float32
      assert kernel.sum() == pytest.approx(1, abs=1e-6)
      np.testing.assert_allclose(
        kernel, expected / expected.sum(), rtol=1e-5, atol=1e-9
      )
    if len(raw) > 1:
      assert_kernel_refused(path, f'holds {len(raw)} kernels')
    else:
      np.testing.assert_array_equal(kernel_io.read_kernel(path), kernel)
  assert len(shapes) == 34
  sides = [19, 17, 15, 27, 13, 21, 23, 23]
  assert shapes['kair/Levin09.mat'] == [(n, n) for n in sides]
  assert shapes['kair/kernels_12.mat'] == 12 * [(25, 25)]
  assert shapes['kair/kernels_bicubicx234.mat'] == 3 * [(25, 25)]


def test_hdf5_and_older_files_agree_on_the_orientation(data_root):
  """Two of Levin's kernels are in a file of an older version, too."""
  folder = data_root / 'kernels' / 'kair'
  for new, old in ((6, 9), (7, 8)):
    levin = kernel_io.read_kernel(folder / f'Levin09.mat:{new}')
    other = kernel_io.read_kernel(folder / f'kernels_12.mat:{old}')
    padded = np.pad(levin, 1)
    np.testing.assert_allclose(padded, other, atol=1e-4)
    assert np.abs(padded.T - other).max() > 0.01


def test_picture_is_about_256_pixels_with_the_largest_tap_white():
  picture = kernel_io.picture(ODD - 0.02)
  assert picture.shape == (3 * 51, 5 * 51, 1)
  assert picture.dtype == np.float32
  assert picture[-1, -1] == 1 and picture[0, 0] == 0
  assert (picture[:51, 51:102] == picture[0, 51]).all()
  assert kernel_io.picture(np.ones((300, 1))).shape == (300, 1, 1)
