"""bin/convert_weights as its users meet it: files, messages, exit codes."""

import os
import pathlib
import pickle
import subprocess
import sys

import h5py
import jax
import numpy as np
import pytest
import safetensors.numpy
import scipy.io

from zssr_jax import registry
from zssr_jax.command_line import convert
from zssr_jax.models import vgg
from zssr_jax.weights import parameters

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / 'bin' / 'convert_weights'


@pytest.fixture
def cli(tmp_path, capsys):
  """Runs the command in this process: `cli(*flags) -> (code, out, err)`."""

  def run(*arguments, output=tmp_path / 'out' / 'w.safetensors'):
    argv = ['convert_weights', f'--output={output}', *map(str, arguments)]
    code = convert.main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err

  return run


def srcnn_arrays():
  """Under the names, and in the layout, of two-dimensional MATLAB files."""
  rng = np.random.default_rng(0)
  shapes = {
    'weights_conv1': (81, 64),
    'biases_conv1': (64, 1),
    'weights_conv2': (64, 1, 32),
    'biases_conv2': (32, 1),
    'weights_conv3': (32, 25),
    'biases_conv3': (1, 1),
  }
  return {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}


def refused(result, tmp_path, complaint):
  """The run ended with exit code 2, one line, and nothing written."""
  code, out, err = result
  assert (code, out) == (2, '')
  assert err.startswith('error: ') and err.count('\n') == 1
  assert complaint in err
  assert not list(tmp_path.glob('out/*'))


@pytest.mark.parametrize('half', [False, True])
def test_a_matlab_file_becomes_a_file_of_ours(cli, tmp_path, half):
  arrays = srcnn_arrays()
  scipy.io.savemat(tmp_path / 'x3.mat', arrays)
  flags = ['--half'] if half else []
  code, out, err = cli(
    '--network=srcnn', f'--input={tmp_path}/x3.mat', '--scale=3', *flags
  )
  assert (code, err) == (0, '')
  assert out.startswith(
    f'{tmp_path}/out/w.safetensors  srcnn, scale 3, 8,129 weights'
  )
  params, facts = parameters.load_params(tmp_path / 'out' / 'w.safetensors')
  parameters.check_shapes(params, registry.EXTERNAL['srcnn'].shapes(3))
  assert (facts['network'], facts['scale']) == ('srcnn', 3)
  assert facts['source'] == 'x3.mat' and len(facts['source_sha256']) == 64
  dtype = np.float16 if half else np.float32
  np.testing.assert_array_equal(
    params['conv2']['kernel'][0, 0], arrays['weights_conv2'][:, 0].astype(dtype)
  )
  assert [p.name for p in (tmp_path / 'out').iterdir()] == ['w.safetensors']


def test_matlab_of_version_7_3_and_npz_give_the_same(cli, tmp_path):
  arrays = srcnn_arrays()
  with h5py.File(tmp_path / 'a.mat', 'w', userblock_size=512) as file:
    for name, array in arrays.items():
      file[name] = array.T  # MATLAB stores columns first
  with (tmp_path / 'a.mat').open('r+b') as stream:
    stream.write(b'MATLAB 7.3 MAT-file'.ljust(128))
  np.savez(tmp_path / 'a.npz', **arrays)
  found = []
  for name in ('a.mat', 'a.npz'):
    output = tmp_path / f'from_{name}.safetensors'
    code, _, _ = cli(
      '--network=srcnn', f'--input={tmp_path / name}', output=output
    )
    assert code == 0
    found.append(parameters.load_params(output)[0])
  jax.tree.map(np.testing.assert_array_equal, *found)


def test_keras_layers_go_through_hdf5(cli, tmp_path):
  rng = np.random.default_rng(0)
  kernel, bias = rng.normal(size=(3, 3, 3, 64)), rng.normal(size=64)
  with h5py.File(tmp_path / 'vgg16.h5', 'w') as file:
    file['block1_conv1/block1_conv1_W_1:0'] = kernel
    file['block1_conv1/block1_conv1_b_1:0'] = bias
    file['fc1/fc1_W_1:0'] = np.ones((2, 2))
  code, _, err = cli('--network=vgg16', f'--input={tmp_path}/vgg16.h5')
  assert (code, err) == (0, '')
  variables = parameters.load_vgg16(
    tmp_path / 'out' / 'w.safetensors', ['conv1_1']
  )
  grey = np.full((1, 5, 5, 3), 0.5, np.float32)
  got = vgg.Vgg16(('conv1_1',)).apply(variables, grey)['conv1_1'][0, 2, 2]
  pixel = 127.5 - np.array([103.939, 116.779, 123.68])
  expected = kernel.sum((0, 1)).T @ pixel + bias
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-2)


def test_vgg16_of_a_checkpoint_has_the_features_of_the_data_root(
  cli, tmp_path, data_root
):
  layers = ('relu1_2', 'relu3_3')
  from_root = parameters.load_vgg16(data_root, layers)
  arrays = {'NetLinLayer_0/Conv_0/kernel': np.ones((1, 1, 64, 1))}
  for i, name in enumerate(vgg.convolutions(layers)):
    for part, array in from_root['params'][name].items():
      arrays[f'VGG16_0/Conv_{i}/{part}'] = np.asarray(array)
  safetensors.numpy.save_file(arrays, tmp_path / 'vgg16.safetensors')
  code, _, err = cli('--network=vgg16', f'--input={tmp_path}/vgg16.safetensors')
  assert (code, err) == (0, '')
  from_file = parameters.load_vgg16(tmp_path / 'out' / 'w.safetensors', layers)
  image = np.random.default_rng(0).uniform(size=(1, 20, 24, 3))
  apply = jax.jit(vgg.Vgg16(layers).apply)
  jax.tree.map(
    np.testing.assert_array_equal,
    apply(from_file, image.astype(np.float32)),
    apply(from_root, image.astype(np.float32)),
  )


def test_the_published_vdsr_keeps_every_weight(cli, tmp_path, data_root):
  path = data_root / 'weights' / 'vdsr_twtygqyy.npz'
  assert cli('--network=vdsr', f'--input={path}')[0] == 0
  params, facts = parameters.load_params(tmp_path / 'out' / 'w.safetensors')
  assert 'scale' not in facts
  with np.load(path) as stored:
    for i in range(1, 21):
      np.testing.assert_array_equal(
        params[f'conv{i:02}']['kernel'].transpose(3, 2, 0, 1),
        stored[f'conv{i:02}_weight_OIHW'],
      )


class Trap:
  """A pickle that leaves a trace when it is read."""

  def __init__(self, trace):
    self.trace = trace

  def __reduce__(self):
    return (os.mkdir, (str(self.trace),))


def test_a_hostile_file_is_refused_and_does_nothing(cli, tmp_path):
  trace = tmp_path / 'trace'
  path = tmp_path / 'vdsr.pth'
  path.write_bytes(pickle.dumps({'input.weight': Trap(trace)}))
  refused(cli('--network=vdsr', f'--input={path}'), tmp_path, 'is a pickle')
  assert not trace.exists()
  torch = pytest.importorskip('torch', reason='reads files of PyTorch')
  torch.save({'input.weight': Trap(trace)}, path)
  refused(
    cli('--network=vdsr', f'--input={path}'), tmp_path, 'asks for posix.mkdir'
  )
  assert not trace.exists()


@pytest.mark.parametrize('old', [False, True])
def test_a_state_dict_of_torch_becomes_a_file_of_ours(cli, tmp_path, old):
  torch = pytest.importorskip('torch', reason='reads files of PyTorch')
  rng = np.random.default_rng(0)
  shapes = {'input': (64, 1), 'output': (1, 64)}
  shapes |= {f'residual_layer.{i}.conv': (64, 64) for i in range(18)}
  kernels = {
    f'{name}.weight': rng.normal(size=(*shape, 3, 3)).astype(np.float32)
    for name, shape in shapes.items()
  }
  torch.save(
    {'state_dict': {n: torch.from_numpy(k) for n, k in kernels.items()}},
    tmp_path / 'vdsr.pth',
    _use_new_zipfile_serialization=not old,
  )
  code, _, err = cli('--network=vdsr', f'--input={tmp_path}/vdsr.pth')
  assert (code, err) == (0, '')
  params, _ = parameters.load_params(tmp_path / 'out' / 'w.safetensors')
  np.testing.assert_array_equal(
    params['conv07']['kernel'],
    kernels['residual_layer.5.conv.weight'].transpose(2, 3, 1, 0),
  )


def test_a_file_of_version_0_1_0_keeps_weights_and_facts(cli, tmp_path):
  facts = b'{"version": 1, "facts": {"network": "zssr", "scale": 2, "step": 9}}'
  kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
  np.savez(
    tmp_path / 'old.npz',
    **{'#zssr_jax': np.frombuffer(facts, np.uint8), 'a/kernel': kernel},
  )
  old = f'--input={tmp_path}/old.npz'
  refused(cli(old, '--network=vdsr'), tmp_path, 'of network zssr, not vdsr')
  refused(cli(old, '--scale=3'), tmp_path, 'of scale 2, not 3')
  code, out, err = cli(old)
  assert (code, err) == (0, '')
  assert 'zssr, scale 2, 6 weights' in out
  params, facts = parameters.load_params(tmp_path / 'out' / 'w.safetensors')
  assert facts == {'network': 'zssr', 'scale': 2, 'step': 9}
  np.testing.assert_array_equal(params['a']['kernel'], kernel)


@pytest.mark.parametrize(
  ('flags', 'complaint'),
  [
    (['--network=srcnn_955', '--input={}/x.npz'], 'conv2/kernel is (1, 1, 64'),
    (['--network=vdsr', '--input={}/x.npz'], 'is no part of vdsr'),
    (['--network=srcnn', '--input={}/none.npz'], 'none.npz: no such file'),
    (['--network=srcnn', '--input={}'], 'a folder or a device, not a file'),
    (['--network=srcnn', '--input={}/huge.npz', '--half'], 'too large for'),
    (['--network=rcan', '--input={}/x.npz'], '<vgg16|srcnn|srcnn_955|vdsr'),
    (['--network=srcnn'], '--input: is missing'),
    (['--input={}/x.npz'], '--network: is missing'),
    (['--network=srcnn', '{}/x.npz'], 'not a flag; use --input='),
    (['--network=srcnn', '--input={}/x.npz', '--scale=1'], '--scale=1'),
    (['--network=srcnn', '--inptu={}/x.npz'], "flag 'inptu'"),
  ],
)
def test_mistakes_give_one_line_and_no_file(cli, tmp_path, flags, complaint):
  arrays = srcnn_arrays()
  np.savez(tmp_path / 'x.npz', **arrays)
  arrays['biases_conv3'] = np.array([[1e6]])
  np.savez(tmp_path / 'huge.npz', **arrays)
  refused(cli(*(f.format(tmp_path) for f in flags)), tmp_path, complaint)


def test_the_output_is_named_safetensors_and_not_replaced_unasked(
  cli, tmp_path
):
  np.savez(tmp_path / 'x.npz', **srcnn_arrays())
  flags = ['--network=srcnn', f'--input={tmp_path}/x.npz']
  result = cli(*flags, output=tmp_path / 'out' / 'w.bin')
  refused(result, tmp_path, 'must end in .safetensors')
  existing = tmp_path / 'there.safetensors'
  existing.write_text('mine')
  refused(cli(*flags, output=existing), tmp_path, 'exists already; pass')
  assert existing.read_text() == 'mine'
  assert cli(*flags, '--overwrite', output=existing)[0] == 0
  assert parameters.load_params(existing)[1]['network'] == 'srcnn'
  below = existing / 'w.safetensors'  # below a file
  refused(cli(*flags, output=below), tmp_path, 'cannot be written')


@pytest.mark.slow
def test_it_runs_as_a_script_and_explains_itself(tmp_path):
  result = subprocess.run(
    [sys.executable, SCRIPT, '--help'], capture_output=True, text=True
  )
  assert result.returncode == 0, result.stderr
  assert '--network' in result.stdout and 'zssr_jax[convert]' in result.stdout
  assert os.access(SCRIPT, os.X_OK)
