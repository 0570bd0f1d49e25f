"""bin/eval_all as its users meet it: files, messages and exit codes."""

import json
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image

from zssr_jax import registry
from zssr_jax.command_line import evaluate
from zssr_jax.weights import parameters, starts

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = ROOT / 'bin' / 'eval_all'
SMOKE = f'--config={ROOT}/configs/smoke.py'


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
  """A folder of five small photographs, one of them greyscale."""
  from skimage import data

  folder = tmp_path_factory.mktemp('data') / 'photos'
  folder.mkdir()
  photo = data.astronaut()
  for number in range(5):
    crop = photo[60 * number :, 80:][:56, :64]
    crop = crop[..., 0] if number == 4 else crop
    Image.fromarray(crop).save(folder / f'photo{number}.png')
  return folder


@pytest.fixture
def cli(tmp_path, capsys):
  """Runs the command in this process: `cli(*flags) -> (code, out, err)`."""

  def run(*arguments, output=tmp_path / 'out'):
    argv = ['eval_all', SMOKE, f'--output={output}', *map(str, arguments)]
    # As for users: optax's Adam does not work under strict promotion.
    with jax.numpy_dtype_promotion('standard'):
      code = evaluate.main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err

  return run


def read(folder):
  lines = (folder / 'rows.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_a_folder_of_photos_gives_rows_a_table_and_a_report(
  cli, photos, tmp_path
):
  code, out, err = cli(
    f'--data={photos.parent}', '--datasets=photos', '--limit=2'
  )
  assert code == 0
  assert '4 rows' in out.splitlines()[-1]
  assert err.splitlines()[-1].startswith('4/4  photo1')
  assert 'mean' in err
  found = read(tmp_path / 'out')
  assert [r['method'] for r in found] == ['bicubic'] * 2 + ['zssr'] * 2
  assert {'seconds', 'psnr', 'ssim', 'seed', 'degradation'} <= set(found[0])
  table = (tmp_path / 'out' / 'table.md').read_text()
  assert '2 of 5, partial' in table and 'zssr (smoke)' in table
  page = (tmp_path / 'out' / 'report.html').read_text()
  assert 'photo1' in page and 'http://' not in page.replace(
    'http://www.w3.org', ''
  )


@pytest.mark.slow
def test_scales_degradations_seeds_and_devices_multiply(cli, photos, tmp_path):
  code, _, _ = cli(
    f'--datasets={photos}',
    '--scales=2,1.5',
    '--degradation=four,poor-jpeg',
    '--seeds=0,1',
    '--methods=nearest,zssr',
    '--limit=1',
    '--devices=2',
    '--config.max_steps=2',
  )
  assert code == 0
  found = read(tmp_path / 'out')
  # One image, two scales, five degradations; zssr with two seeds.
  assert len(found) == 2 * 5 * (1 + 2)
  assert len({r['key'] for r in found}) == len(found)
  assert {r['scale'] for r in found} == {2.0, 1.5}
  jpeg = [r for r in found if r['degradation'] == 'poor-jpeg']
  assert len(jpeg) == 6 and jpeg[0]['details']['quality'] == 45
  assert not any(r['kernel_given'] for r in found if r['method'] == 'zssr')


def test_a_cropped_jpeg_is_scored_against_its_part_of_the_truth(
  cli, photos, tmp_path
):
  code, _, _ = cli(
    f'--datasets={photos}',
    '--degradation=ideal,ideal-jpeg95-crop',
    '--methods=bicubic',
    '--limit=3',
  )
  assert code == 0
  found = read(tmp_path / 'out')
  clean, cropped = (
    np.mean([r['psnr'] for r in found if r['degradation'] == name])
    for name in ('ideal', 'ideal-jpeg95-crop')
  )
  # A pixel off, it would lose far more than quality 95 does.
  assert clean - 1.5 < cropped < clean + 1.5


def test_camera_shake_needs_the_data_root(cli, photos, tmp_path):
  code, _, err = cli(
    f'--datasets={photos}',
    f'--data={tmp_path}',
    '--degradation=mixed',
    '--methods=bicubic',
  )
  assert code == 2 and err.count('\n') == 1
  assert f'{tmp_path} has none; pass --data=FOLDER' in err


@pytest.mark.slow
def test_several_in_flight_give_the_same_rows(cli, photos, tmp_path):
  flags = (f'--datasets={photos}', '--methods=zssr', '--config.max_steps=3')
  assert cli(*flags)[0] == 0
  alone = {row['key']: row for row in read(tmp_path / 'out')}
  (tmp_path / 'out/rows.jsonl').unlink()
  assert cli(*flags, '--in_flight=3')[0] == 0
  together = {row['key']: row for row in read(tmp_path / 'out')}
  assert alone.keys() == together.keys() and len(alone) > 1
  for key, row in together.items():
    assert row['psnr'] == pytest.approx(alone[key]['psnr'], abs=1e-3)
    assert '3 in flight' in row['device'] != alone[key]['device']


@pytest.mark.slow
def test_a_variant_brings_its_config_and_takes_the_overrides(
  cli, photos, tmp_path
):
  code, _, err = cli(
    f'--datasets={photos}',
    '--limit=1',
    '--methods=zssr,transposed,pixel_shuffle',
    '--config.max_steps=1',
    '--config.width=8',
    '--config.copies=1',
  )
  assert code == 0, err
  found = {row['method']: row for row in read(tmp_path / 'out')}
  assert found['zssr']['config_name'] == 'smoke'
  assert found['zssr']['config']['depth'] == 4
  for name in ('transposed', 'pixel_shuffle'):
    config = found[name]['config']
    assert found[name]['config_name'] == config['model'] == name
    assert (config['depth'], config['crop']) == (8, 128)  # its own
    assert (config['max_steps'], config['width']) == (1, 8)
    assert config['copies'] == 1
  table = (tmp_path / 'out' / 'table.md').read_text()
  assert '| transposed |' in table and 'zssr (smoke)' in table


@pytest.mark.slow
def test_variants_that_need_trained_parameters_find_them(
  cli, photos, tmp_path, data_root
):
  code, _, err = cli(
    f'--datasets={photos}',
    f'--data={data_root}',
    '--limit=1',
    '--methods=transferred,hybrid_loss',
    '--config.max_steps=1',
    '--config.crop=16',
    '--config.copies=1',
    '--config.back_projection=1',
  )
  assert code == 0, err
  found = {row['method']: row for row in read(tmp_path / 'out')}
  assert len({row['psnr'] for row in found.values()}) == 2
  assert found['transferred']['start'] and not found['transferred']['vgg']
  assert found['hybrid_loss']['vgg'] and not found['hybrid_loss']['start']


def save_network(path, name, scale):
  shapes = registry.EXTERNAL[name].shapes(scale)
  random = np.random.default_rng(0)
  params = jax.tree.map(
    lambda s: random.normal(size=s.shape, scale=0.02).astype(np.float32), shapes
  )
  parameters.save_params(path, params, network=name, scale=scale)
  return path


@pytest.mark.slow
def test_other_systems_stand_beside_with_weights_of_ones_own(
  cli, photos, tmp_path
):
  edsr, srcnn = (
    save_network(tmp_path / f'{name}.safetensors', name, 2)
    for name in ('edsr', 'srcnn_955')
  )
  code, _, err = cli(
    f'--datasets={photos}',
    '--limit=1',
    '--degradation=gaussian',
    '--methods=lanczos,srcnn_955,edsr,edsr_plus,self_ex_sr,blind_sr',
    f'--weights=edsr={edsr}',
    f'--weights=srcnn_955={srcnn}',
  )
  assert code == 0, err
  found = {row['method']: row for row in read(tmp_path / 'out')}
  assert len({row['psnr'] for row in found.values()}) >= 5
  # They are not told the kernel, and the networks say what they are.
  assert not any(row['kernel_given'] for row in found.values())
  assert found['edsr']['weights'] == found['edsr_plus']['weights']
  assert found['edsr']['weights'] != found['srcnn_955']['weights']
  assert found['self_ex_sr']['weights'] is None
  assert found['self_ex_sr']['psnr'] > found['self_ex_sr']['bicubic_psnr']
  other = save_network(tmp_path / 'other.safetensors', 'srcnn_955', 3)
  code, _, err = cli(
    f'--datasets={photos}',
    '--methods=srcnn_955',
    f'--weights=srcnn_955={other}',
  )
  assert code == 2 and 'is not for scale 2' in err and err.count('\n') == 1


@pytest.mark.slow
def test_networks_that_come_with_the_package_need_no_weights(
  cli, photos, tmp_path, monkeypatch
):
  monkeypatch.setattr(starts, 'FOLDER', tmp_path)
  flags = (f'--datasets={photos}', '--methods=srcnn_955', '--limit=1')
  code, _, err = cli(*flags)
  assert code == 2 and 'the weights of srcnn_955 for scale 2 are missing' in err
  save_network(tmp_path / 'srcnn_955_x2.safetensors', 'srcnn_955', 2)
  code, _, err = cli(*flags)
  assert code == 0, err
  (row,) = read(tmp_path / 'out')
  assert row['weights'] and row['psnr'] != row['bicubic_psnr']
  # A file that the user names goes first.
  other = save_network(tmp_path / 'other.safetensors', 'srcnn_955', 3)
  code, _, err = cli(*flags, f'--weights=srcnn_955={other}')
  assert code == 2 and 'is not for scale 2' in err


@pytest.mark.slow
def test_networks_are_found_in_the_data_root(cli, photos, tmp_path, data_root):
  flags = (f'--datasets={photos}', f'--data={data_root}', '--limit=1')
  code, _, err = cli(*flags, '--methods=vdsr', '--scales=2,3')
  assert code == 0, err
  found = read(tmp_path / 'out')
  assert len({row['weights'] for row in found}) == 1
  assert all(row['psnr'] > row['bicubic_psnr'] for row in found)
  code, _, err = cli(*flags, '--methods=edsr')
  assert code == 2 and 'the weights of edsr for scale 2 are missing' in err


def test_what_defines_a_variant_is_not_overridden(cli, photos):
  code, _, err = cli(
    f'--datasets={photos}', '--methods=transposed', '--config.model=zssr'
  )
  assert code == 2 and '--config.model' in err and err.count('\n') == 1


@pytest.mark.slow
def test_the_true_kernel_is_used_where_the_config_asks(cli, photos, tmp_path):
  code, _, _ = cli(
    f'--datasets={photos}',
    '--degradation=gaussian',
    '--methods=zssr',
    '--limit=1',
    '--config.kernel=given',
    '--config.max_steps=2',
  )
  assert code == 0
  (row,) = read(tmp_path / 'out')
  assert row['kernel_given'] and len(row['details']['eigenvalues']) == 2
  table = (tmp_path / 'out' / 'table.md').read_text()
  assert 'zssr (smoke), true kernel' in table


@pytest.mark.slow
def test_lpips_is_a_column(cli, photos, data_root, tmp_path):
  code, _, _ = cli(
    f'--data={data_root}',
    f'--datasets={photos}',
    '--methods=bicubic',
    '--limit=2',
    '--lpips',
  )
  assert code == 0
  assert all(0 < row['lpips'] < 1 for row in read(tmp_path / 'out'))
  assert '| LPIPS |' in (tmp_path / 'out' / 'table.md').read_text()


@pytest.mark.parametrize(
  'flags, message',
  [
    (['--datasets=Nothing'], "no data set 'Nothing'"),
    (['--methods=magic'], "unknown method 'magic'"),
    (['--degradation=fog'], 'fog'),
    (['--degradation=kernel:/no/such.mat'], '/no/such.mat'),
    (['--devices=64'], 'there are 4'),
    (['--devices=0'], 'devices'),
    (['--in_flight=0'], 'in_flight'),
    (['--scales=0'], '--scale=0'),
    (['--scales='], '--scales: is empty'),
    (['--seeds=a'], '--seeds=a'),
    (['--data=/no/such'], '/no/such'),
    (['--config.wdith=3'], 'did you mean width'),
    (['--config.kernel=given'], 'needs a blur kernel'),
    (['stray'], 'stray'),
  ],
)
def test_bad_arguments_are_one_line_and_leave_nothing(
  cli, photos, tmp_path, flags, message
):
  named = any(flag.startswith('--datasets') for flag in flags)
  given = any(flag.startswith('--data=') for flag in flags)
  code, out, err = cli(
    *([] if named else [f'--datasets={photos}']),
    *([] if given else [f'--data={photos.parent}']),
    *flags,
  )
  assert code == 2 and out == ''
  assert err.startswith('error: ') and err.count('\n') == 1
  assert message in err
  assert not (tmp_path / 'out').exists()


def test_a_broken_image_is_named_and_leaves_the_others(cli, photos, tmp_path):
  folder = tmp_path / 'mine'
  folder.mkdir()
  for file in photos.iterdir():
    (folder / file.name).write_bytes(file.read_bytes())
  (folder / 'photo3.png').write_text('no image')
  code, _, err = cli(f'--datasets={folder}', '--methods=bicubic')
  assert code == 1 and 'photo3.png' in err.splitlines()[0]
  assert len(read(tmp_path / 'out')) == 4


def test_an_image_that_fails_leaves_the_others_and_exit_code_1(
  cli, photos, tmp_path
):
  folder = tmp_path / 'mine'
  folder.mkdir()
  Image.fromarray(np.zeros((14, 14), np.uint8)).save(folder / 'tiny.png')
  photo = photos / 'photo0.png'
  (folder / 'whole.png').write_bytes(photo.read_bytes())
  code, _, err = cli(f'--datasets={folder}', '--methods=zssr')
  assert code == 1
  assert f'error: {folder / "tiny.png"}: an image of 7x7' in err
  assert [row['image'] for row in read(tmp_path / 'out')] == ['whole']
  lines = (tmp_path / 'out' / 'failures.jsonl').read_text().splitlines()
  (failure,) = map(json.loads, lines)
  assert failure['image'] == 'tiny' and 'an image of 7x7' in failure['reason']


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_rows(photos, tmp_path):
  def start(folder):
    return subprocess.Popen(
      [
        sys.executable,
        SCRIPT,
        SMOKE,
        f'--datasets={photos}',
        f'--output={folder}',
        '--methods=bicubic,zssr',
        '--config.max_steps=40',
      ],
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )

  begin = time.monotonic()
  assert start(tmp_path / 'whole').wait() == 0
  usual = time.monotonic() - begin
  whole = read(tmp_path / 'whole')
  draw = random.Random(0)
  counts = []
  for _ in range(2):
    process = start(tmp_path / 'killed')
    time.sleep(draw.uniform(0.3, 0.9) * usual)
    process.send_signal(signal.SIGKILL)
    process.wait()
    rows = tmp_path / 'killed' / 'rows.jsonl'
    counts.append(len(read(tmp_path / 'killed')) if rows.exists() else 0)
  assert counts == sorted(counts)
  assert start(tmp_path / 'killed').wait() == 0
  facts = [
    {(r['key'], r['psnr'], r['ssim']) for r in rows}
    for rows in (whole, read(tmp_path / 'killed'))
  ]
  assert facts[0] == facts[1] and len(facts[0]) == 10
  assert (tmp_path / 'killed' / 'table.md').exists()
  # Nothing of the killed ones is left under a temporary name.
  kept = sorted(p.name for p in (tmp_path / 'killed' / 'images').iterdir())
  assert len([name for name in kept if not name.startswith('.')]) == 5


def test_an_image_that_cannot_be_read_fails_alone(tmp_path, cli, monkeypatch):
  """In a folder of one's own, with a data root that is not there."""
  folder = tmp_path / 'own photos'
  folder.mkdir()
  pixels = np.random.default_rng(0).integers(0, 255, (32, 36, 3), np.uint8)
  for name in 'ac':
    Image.fromarray(pixels).save(folder / f'{name}.png')
  (folder / 'b.png').write_text('no image')
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('ZSSR_JAX_DATA', str(tmp_path / 'nowhere'))
  code, _, err = cli('--datasets=own photos', '--methods=bicubic')
  assert code == 1
  assert 'b.png: not an image' in err
  assert {row['image'] for row in read(tmp_path / 'out')} == {'a', 'c'}
  (folder / 'a.png').write_text('no image')
  (folder / 'c.png').write_text('no image')
  code, _, err = cli('--datasets=own photos', '--methods=bicubic')
  assert code == 2
  assert err.splitlines()[-1].startswith('error: own photos/c.png: not an')
