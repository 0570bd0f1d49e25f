"""bin/train_backbone as its users meet it: files, messages and exit codes."""

import errno
import json
import pathlib
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from zssr_jax import registry
from zssr_jax.command_line import app, pretrain
from zssr_jax.data import files
from zssr_jax.pretraining import loop
from zssr_jax.weights import parameters

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = ROOT / 'bin' / 'train_backbone'


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
  """A folder of three photographs, one of them greyscale."""
  from skimage import data

  folder = tmp_path_factory.mktemp('data') / 'photos'
  folder.mkdir()
  for number in range(3):
    crop = data.astronaut()[80 * number :, 80:][:48, :56]
    crop = crop[..., 0] if number == 2 else crop
    Image.fromarray(crop).save(folder / f'photo{number}.png')
  return folder


@pytest.fixture
def cli(tmp_path, photos, capsys):
  """Runs the command in this process: `cli(*flags) -> (code, out, err)`."""

  def run(*arguments):
    code = pretrain.main(
      command(tmp_path / 'out.safetensors', photos, *arguments)
    )
    captured = capsys.readouterr()
    return code, captured.out, captured.err

  return run


def command(output, photos, *arguments):
  defaults = {
    '--network': 'srcnn',
    '--data': photos.parent,
    '--data_folders': 'photos',
    '--steps': 30,
    '--batch': 2,
    '--patch': 8,
    '--output': output,
  }
  # A flag may come once.
  chosen = {str(a).split('=')[0]: str(a) for a in arguments}
  kept = [f'{k}={v}' for k, v in defaults.items() if k not in chosen]
  return [str(SCRIPT), *kept, *chosen.values()]


def curve(tmp_path):
  lines = (tmp_path / 'out.safetensors.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_a_run_writes_parameters_and_its_curve(cli, tmp_path):
  code, out, err = cli('--scales=2,4', '--patch=16', '--validate=photos')
  assert (code, err) == (0, '')
  assert 'srcnn x2,4: 3 images, 8,129 weights' in out
  assert '30/30' in out
  params, facts = parameters.load_params(tmp_path / 'out.safetensors')
  parameters.check_shapes(params, registry.EXTERNAL['srcnn'].shapes(2))
  assert facts['network'] == 'srcnn'
  assert facts['step'] == 30
  assert 'scale' not in facts  # it is for any
  last = curve(tmp_path)[-1]
  assert last['step'] == 30
  assert {'loss', 'rate', 'psnr_x2', 'psnr_x4'} <= set(last)
  # The same command finds all done; another one is not mixed with it.
  code, out, _ = cli('--scales=2,4', '--patch=16', '--validate=photos')
  assert code == 0
  assert 'from step 30 of 30' in out
  code, _, err = cli('--scales=2,4', '--patch=16', '--rate=0.01')
  assert code == 2
  assert 'was made with rate=0.002, not 0.01; pass --overwrite' in err
  assert err.count('\n') == 1
  code, out, _ = cli('--overwrite', '--rate=0.01', '--half')
  assert code == 0
  assert 'from step 0 of 30' in out
  stored = safetensors.numpy.load_file(tmp_path / 'out.safetensors')
  assert stored['conv1/kernel'].dtype == np.float16
  assert parameters.load_params(tmp_path / 'out.safetensors')[1]['scale'] == 2


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_had_happened(cli, tmp_path, photos):
  assert cli('--steps=200')[0] == 0
  with np.load(tmp_path / 'out.safetensors.checkpoint') as file:
    whole = dict(file)
  killed = tmp_path / 'killed.safetensors'
  checkpoint = tmp_path / 'killed.safetensors.checkpoint'
  argv = command(killed, photos, '--steps=200')
  process = subprocess.Popen(
    [sys.executable, *argv, '--checkpoint_minutes=0', '--validate_minutes=0'],
    stdout=subprocess.DEVNULL,
  )
  end = time.monotonic() + 60
  while not checkpoint.exists() and time.monotonic() < end:
    time.sleep(0.01)
  process.send_signal(signal.SIGKILL)
  assert process.wait() == -signal.SIGKILL
  with np.load(checkpoint) as file:
    assert 0 < file['.step'] < 200
  assert pretrain.main(argv) == 0
  with np.load(checkpoint) as file:
    assert set(file) == set(whole)
    for name, array in whole.items():
      np.testing.assert_array_equal(file[name], array, err_msg=name)
  lines = pathlib.Path(f'{killed}.jsonl').read_text().splitlines()
  steps = [json.loads(line)['step'] for line in lines]
  assert steps == sorted(set(steps))
  assert steps[-1] == 200


@pytest.mark.slow
def test_a_start_may_come_from_another_file(cli, tmp_path):
  assert cli()[0] == 0
  start = (tmp_path / 'out.safetensors').rename(tmp_path / 'start.safetensors')
  again = ('--overwrite', '--steps=1', '--rate=1e-9', '--seed=1')
  code, out, _ = cli(*again, f'--init={start}')
  assert code == 0
  assert f'took over 6 of 6 parameters from {start}' in out
  old, _ = parameters.load_params(start)
  new, _ = parameters.load_params(tmp_path / 'out.safetensors')
  found = parameters.flatten(new)
  for name, array in parameters.flatten(old).items():
    np.testing.assert_allclose(found[name], array, atol=1e-7)
  # Without the file it would have been another.
  assert cli(*again)[0] == 0
  other, _ = parameters.load_params(tmp_path / 'out.safetensors')
  off = other['conv1']['kernel'] - old['conv1']['kernel']
  assert np.abs(off).max() > 0.01


@pytest.mark.slow
def test_a_start_has_the_depth_and_width_asked_for(cli, tmp_path):
  size = ('--network=transposed', '--depth=2', '--width=4', '--steps=1')
  code, _, err = cli(*size)
  assert (code, err) == (0, '')
  params, facts = parameters.load_params(tmp_path / 'out.safetensors')
  model = registry.NETWORKS['transposed'].make(
    scale=(2.0, 2.0), depth=2, width=4
  )
  low, high = jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 16, 16, 3))
  fresh = jax.eval_shape(model.init, jax.random.key(0), low, high)['params']
  parameters.check_shapes(params, fresh)
  expected = {'network': 'transposed', 'depth': 2, 'width': 4, 'scale': 2}
  assert {name: facts[name] for name in expected} == expected
  code, _, err = cli(*size, '--width=9')
  assert code == 2
  assert 'was made with width=4, not 9' in err


@pytest.mark.slow
def test_a_partial_start_is_said_and_not_needed_to_go_on(cli, tmp_path):
  start = tmp_path / 'start.safetensors'
  fresh = jax.tree.map(
    lambda leaf: np.full(leaf.shape, 0.01, np.float32),
    registry.EXTERNAL['srcnn_955'].shapes(2),
  )
  parameters.save_params(start, fresh)
  code, out, _ = cli(f'--init={start}')
  assert code == 0
  assert f'took over 5 of 6 parameters from {start}' in out
  start.unlink()
  code, out, _ = cli(f'--init={start}')
  assert code == 0
  assert 'from step 30 of 30' in out
  code, _, err = cli(f'--init={start}', '--overwrite')
  assert code == 2
  assert 'start.safetensors: no such weight file' in err
  assert (tmp_path / 'out.safetensors').exists()
  code, _, err = cli()
  assert code == 2
  assert 'was made with init=' in err


@pytest.mark.parametrize(
  ('flag', 'message'),
  [
    ('--network=resnet', 'must be one of pixel_shuffle'),
    ('--scale=two', 'whole numbers'),
    ('--scale=1', 'from 2 to 8'),
    ('--network=edsr --scale=5', 'for scale 2, 3 or 4'),
    ('--network=edsr --scale=2,3 --patch=12', 'made for one scale'),
    ('--depth=8', '--depth=8: is for pixel_shuffle, transposed, zssr; srcnn'),
    ('--network=vdsr --width=32', 'vdsr has its own'),
    ('--network=zssr --depth=1', '--depth=1'),
    ('--rate=0', 'rate must lie'),
    ('--loss=l7', 'loss must be'),
    ('--loss=content', 'loss must be'),
    ('--loss=l1:0', 'loss must be'),
    ('--loss=l1:1,l1:2', 'loss must be'),
    ('--loss=l1:a', 'loss must be'),
    ('--meta=2 --tasks=1', 'gaussian or mixed'),
    ('--patch=64', 'pass a smaller --patch'),
    ('--output=out/start.pkl', 'must end in .safetensors'),
    ('--output=', 'no --output'),
    ('--data_folders=Set5', 'is a test set'),
    ('--data_folders=photos,B100/HR', 'is a test set'),
    ('--data_folders=MZSR_g20_Set5', 'is a test set'),
    ('--data_folders=zssr_known_kernel', 'is a test set'),
    ('--data_folders=nowhere', "no data set 'nowhere'"),
    ('--data=nowhere', 'no such data folder'),
    ('--validate=nowhere', "no data set 'nowhere'"),
    ('--init=nowhere.safetensors', 'nowhere.safetensors'),
    ('--devices=64', '64 devices asked for'),
    ('--devices=3', 'multiple of the 3 devices'),
    ('--steps=many', 'steps'),
    ('--batch=1000000000', 'batch'),
    ('stray', 'not a flag'),
  ],
)
def test_what_is_wrong_is_said_in_one_line(cli, tmp_path, flag, message):
  code, out, err = cli(*flag.split())
  assert code == 2
  assert message in err
  assert err.startswith('error: ')
  assert err.count('\n') == 1
  assert not list(tmp_path.glob('out.safetensors*'))


def test_an_output_that_cannot_be_written_is_refused_at_once(cli, tmp_path):
  for name, message in (
    ('out.safetensors', '--output={}/out.safetensors: is a folder'),
    ('out.safetensors.jsonl', '{}/out.safetensors.jsonl: cannot be written'),
    ('out.safetensors.checkpoint', '{}/out.safetensors.checkpoint'),
  ):
    (tmp_path / name).mkdir()
    for flags in ([], ['--overwrite']):
      code, out, err = cli(*flags)
      assert (code, out, err.count('\n')) == (2, '', 1)
      assert message.format(tmp_path) in err
      assert [path.name for path in tmp_path.glob('*')] == [name]
    (tmp_path / name).rmdir()


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_ctrl_c_waits_for_writes(
  cli, tmp_path, monkeypatch
):
  def fail(*_, **__):
    assert app.WRITING.locked()
    raise OSError(errno.ENOSPC, 'No space left on device')

  with monkeypatch.context() as patch:
    patch.setattr(parameters, 'save_params', fail)
    code, _, err = cli()
  assert (code, err.count('\n')) == (2, 1)
  assert f'{tmp_path}/out.safetensors: cannot be written: No space left' in err
  with monkeypatch.context() as patch:
    patch.setattr(files, 'write_files', fail)
    code, _, err = cli()
  assert (code, err.count('\n')) == (2, 1)
  assert 'out.safetensors.jsonl: cannot be written: No space left' in err
  assert not list(tmp_path.glob('*.tmp'))
  code, out, _ = cli()  # the checkpoint had been written
  assert code == 0
  assert 'from step 30 of 30' in out


@pytest.fixture
def spoil(monkeypatch):
  """Multiplies the weights after the last of 30 steps: `spoil(factor)`."""
  run = loop.run

  def spoil(factor):
    def spoiled(*args):
      for look in run(*args):
        if int(look.state.step) == 30:
          params = jax.tree.map(lambda x: x * factor, look.state.params)
          state = look.state._replace(params=params, average=params)
          look = look._replace(state=state)
        yield look

    monkeypatch.setattr(loop, 'run', spoiled)

  return spoil


@pytest.mark.slow
def test_weights_that_are_no_numbers_do_not_replace_the_last_good_ones(
  cli, tmp_path, spoil
):
  spoil(np.float32(np.nan))
  code, _, err = cli('--checkpoint_minutes=0')
  assert (code, err.count('\n')) == (2, 1)
  assert 'no finite numbers after step 30; pass a lower --rate' in err
  assert parameters.load_params(tmp_path / 'out.safetensors')[1]['step'] < 30
  with np.load(tmp_path / 'out.safetensors.checkpoint') as file:
    assert 0 < file['.step'] < 30
    assert all(np.isfinite(file[n]).all() for n in file if n.startswith('.'))


@pytest.mark.slow
def test_weights_too_large_for_half_are_kept_in_the_checkpoint(
  cli, tmp_path, spoil
):
  spoil(np.float32(1e9))
  code, _, err = cli('--half')
  assert (code, err.count('\n')) == (2, 1)
  assert 'too large for float16' in err and 'go on without --half' in err
  assert not (tmp_path / 'out.safetensors').exists()
  assert cli()[0] == 0
  assert (tmp_path / 'out.safetensors').exists()


@pytest.mark.parametrize(
  'error', [MemoryError(), jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: x')]
)
def test_too_little_memory_is_one_line(cli, monkeypatch, error):
  def fail(*_):
    raise error

  monkeypatch.setattr(loop, 'run', fail)
  code, _, err = cli()
  assert (code, err.count('\n')) == (2, 1)
  assert 'not enough memory; pass a smaller --batch' in err


@pytest.mark.slow
def test_damaged_lines_of_a_curve_are_dropped(cli, tmp_path):
  assert cli()[0] == 0
  path = tmp_path / 'out.safetensors.jsonl'
  good = path.read_bytes()
  later = b'{"step": 31}\n'
  path.write_bytes(b'{"step": \n[1]\n\xff\n' + good + later + b'{"step": 3}')
  assert cli()[0] == 0
  assert path.read_bytes() == good


@pytest.mark.slow
def test_overwrite_removes_the_old_and_without_it_the_new_goes_on(
  cli, tmp_path, monkeypatch
):
  assert cli()[0] == 0
  run = loop.run

  def interrupted(*args):
    assert not (tmp_path / 'out.safetensors').exists()
    assert not (tmp_path / 'out.safetensors.checkpoint').exists()
    assert not (tmp_path / 'out.safetensors.jsonl').read_text()
    yield next(run(*args))
    raise KeyboardInterrupt

  new = ('--rate=0.001', '--checkpoint_minutes=0')
  with monkeypatch.context() as patch:
    patch.setattr(loop, 'run', interrupted)
    with pytest.raises(KeyboardInterrupt):
      cli(*new, '--overwrite')
  code, out, _ = cli(*new)
  assert code == 0
  assert 'from step 1 of 30' in out


@pytest.mark.slow
def test_a_damaged_checkpoint_is_refused(cli, tmp_path):
  checkpoint = tmp_path / 'out.safetensors.checkpoint'
  checkpoint.write_bytes(b'PK rubbish')
  code, _, err = cli()
  assert code == 2
  assert 'out.safetensors.checkpoint: not a whole .npz file' in err
  np.savez(tmp_path / 'other.npz', a=np.zeros(3))
  (tmp_path / 'other.npz').rename(checkpoint)
  code, _, err = cli()
  assert code == 2
  assert 'no checkpoint of this run' in err


def test_help_lists_the_flags(cli):
  code, out, _ = cli('--help')
  assert code == 0
  assert '--checkpoint_minutes' in out
  assert 'Leave it out to go on after an interruption' in ' '.join(out.split())


def test_an_image_that_cannot_be_read_is_left_out(
  cli, photos, tmp_path, monkeypatch
):
  monkeypatch.setenv('ZSSR_JAX_DATA', str(tmp_path / 'nowhere'))
  folder = tmp_path / 'photos'
  folder.mkdir()
  (folder / 'bad.png').write_text('no image')
  argv = ('--steps=1', '--overwrite', f'--data_folders={folder}')
  code, _, err = cli(*argv)
  assert code == 2
  assert 'bad.png: nor can any other image be read' in err
  (folder / 'good.png').write_bytes((photos / 'photo0.png').read_bytes())
  code, out, err = cli(*argv)
  assert code == 0, err
  assert 'bad.png: not an image' in err and 'trained without it' in err
  assert '1 images' in out
