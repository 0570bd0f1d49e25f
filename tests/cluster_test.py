"""Images on the hosts of a real Ray cluster: processes of this machine.

In most tests workers train nothing: each order says what happens to it.
"""

import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import jax
import numpy as np
import pytest
from PIL import Image

from zssr_jax.command_line import evaluate, hosts, upscale, zssr
from zssr_jax.errors import InputError, NoRoomError
from zssr_jax.evaluation.rows import read_rows
from zssr_jax.parallel import cluster
from zssr_jax.training.loop import Progress

ray = pytest.importorskip('ray', reason='Ray is not installed')

from ray import cloudpickle  # noqa: E402

pytestmark = [
  pytest.mark.slow,
  # A node is started by fork, which JAX warns of.
  pytest.mark.filterwarnings('ignore:os.fork:RuntimeWarning'),
]

# Hosts cannot import what a test holds, so it is sent whole.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Work(NamedTuple):
  value: int
  seconds: float = 0.0
  dies: bool = False
  breaks: bool = False  # its device, as JAX reports it
  error: Exception | None = None
  file: str = ''  # that only some hosts see
  needs: str = ''  # a file that all must see


class Bench:
  def __init__(self, settings):
    self.settings = settings

  def item(self, what, report):
    def start():
      if what.file and node_id() == self.settings:
        raise cluster.NotHereError(f'{what.file}: not here')

      def run():
        yield from ()
        report(Progress(step=1, max_steps=2))
        time.sleep(what.seconds)
        if what.dies:
          os.kill(os.getpid(), signal.SIGKILL)
        if what.breaks:
          raise jax.errors.JaxRuntimeError('INTERNAL: the device is lost')
        if what.error is not None:
          raise what.error
        return what.value

      return run()

    return start, report

  def finish(self, what, outcome):
    assert what.value == outcome
    return 2 * outcome, node_id(), os.getpid()


def node_id():
  return ray.get_runtime_context().get_node_id()


def open_bench(settings, local):
  assert len(local) == 1
  if settings == 'nothing here':
    raise InputError('weights.safetensors: no such file')
  return Bench(settings)


@pytest.fixture(scope='module')
def script(load_script):
  return load_script('benchmarks/cluster.py')


@pytest.fixture(scope='module')
def machines(script):
  """A head that does no work, and two nodes of a processor each."""
  with script.nodes(2) as made:
    yield made


def map_all(work, settings='', **options):
  orders = [
    cluster.Order(w, w.value % 3, (pathlib.Path(w.needs),) if w.needs else ())
    for w in work
  ]
  options = {'limits': (None, 1), **options}
  return cluster.map_images(orders, open_bench, settings, **options)


def check_all(work, outcomes):
  """Each image once, with the result that it must have."""
  assert sorted(index for index, _ in outcomes) == list(range(len(work)))
  for index, outcome in outcomes:
    if work[index].dies or work[index].breaks:
      assert isinstance(outcome, ValueError)
      assert 'died 3 times' in str(outcome)
    elif work[index].needs:
      assert isinstance(outcome, FileNotFoundError)
      assert outcome.filename == work[index].needs
    elif work[index].error is not None:
      assert isinstance(outcome, type(work[index].error))
    else:
      assert outcome[0] == 2 * work[index].value


def test_images_errors_and_one_that_kills(machines):
  work = [Work(value, seconds=0.02) for value in range(24)]
  work[3] = work[3]._replace(error=InputError('photo.png: damaged'))
  work[4] = work[4]._replace(error=OSError(28, 'No space left', 'x.png'))
  work[5] = work[5]._replace(error=MemoryError('much'))
  work[6] = work[6]._replace(error=NoRoomError('photo.png: needs 99 GB'))
  work[7] = work[7]._replace(dies=True)
  work[8] = work[8]._replace(breaks=True)
  work[9] = work[9]._replace(seconds=2.5)  # longer than progress takes
  seen, notes = set(), []
  outcomes = list(
    map_all(work, progress=lambda index, p: seen.add(index), note=notes.append)
  )
  check_all(work, outcomes)
  assert str(dict(outcomes)[3]) == 'photo.png: damaged'
  assert dict(outcomes)[4].filename == 'x.png'
  assert 9 in seen and seen <= set(range(24))
  assert 'the device is lost' in str(dict(outcomes)[8])
  nodes = {outcome[1] for _, outcome in outcomes if isinstance(outcome, tuple)}
  assert len(nodes) == 2
  assert sum('its worker died' in line for line in notes) >= 3


def test_a_host_that_does_not_see_the_files_is_given_no_more(machines):
  blind = machines.list_all_nodes()[1].node_id
  work = [Work(value, seconds=0.05, file='photo.png') for value in range(20)]
  notes = []
  outcomes = list(map_all(work, settings=blind, note=notes.append))
  check_all(work, outcomes)
  assert blind not in {outcome[1] for _, outcome in outcomes}
  assert sum('given no more work: photo.png' in line for line in notes) == 1


def test_files_that_nobody_sees_stop_no_host(machines, tmp_path):
  del machines
  work = [
    Work(value, needs=str(tmp_path / f'{value}.png') if value < 8 else '')
    for value in range(16)
  ]
  check_all(work, list(map_all(work)))


def test_where_no_host_can_do_it_the_run_ends(machines):
  del machines
  with pytest.raises(InputError, match='no host of the cluster can do this'):
    list(map_all([Work(0)], settings='nothing here'))


def test_a_mistake_of_the_program_comes_out(machines):
  del machines
  work = [Work(0), Work(1, error=TypeError('a bug')), Work(2)]
  with pytest.raises(TypeError, match='a bug'):
    list(map_all(work))


def test_hosts_with_other_sources_are_refused(machines, monkeypatch):
  del machines
  mine = {**cluster._versions(), 'its sources': '0123456789ab'}
  monkeypatch.setattr(cluster, '_versions', lambda: mine)
  with pytest.raises(InputError, match='its sources is .* at the driver'):
    list(map_all([Work(0)]))


@pytest.fixture(scope='module')
def photos(tmp_path_factory, write_photos):
  """A folder with six small photos of two sizes, and a damaged one."""
  folder = tmp_path_factory.mktemp('in') / 'photos'
  write_photos(folder, [(40 - 8 * (n % 2), 48, 3) for n in range(6)])
  (folder / 'torn.png').write_bytes(b'\x89PNG\r\n\x1a\n torn')
  return folder


@pytest.fixture(scope='module')
def here(photos, smoke):
  """The results of the photos by this process."""
  folder = photos.parent / 'here'
  assert smoke(zssr.main, photos, '-o', folder) == 1
  return folder


@pytest.mark.parametrize('write', ['driver', 'workers'])
def test_photos_are_the_same_as_on_one_machine(
  machines, photos, here, smoke, tmp_path, capsys, monkeypatch, write
):
  there = tmp_path / 'there'
  by_driver = []
  monkeypatch.setattr(
    upscale,
    'write',
    lambda job, made, write=upscale.write: by_driver.append(write(job, made)),
  )
  capsys.readouterr()
  flags = [f'--cluster={machines.address}', f'--write={write}']
  assert smoke(zssr.main, photos, '-o', there, '--report', *flags) == 1
  out, err = capsys.readouterr()
  shown = [line for line in out.splitlines() if ' s' in line]
  assert [line.split()[0].rpartition('/')[2] for line in shown] == [
    f'photo{number}_x2.png' for number in range(6)
  ]
  assert err.count('error:') == 1 and 'torn.png' in err
  assert '/there/report.html' in out
  assert len(by_driver) == (6 if write == 'driver' else 0)
  made = {path.name for path in there.iterdir()} - {'report.html'}
  assert made == {path.name for path in here.iterdir()}
  for path in here.glob('*.png'):
    assert path.read_bytes() == (there / path.name).read_bytes()
  lines = read_rows(there / 'manifest.jsonl')
  assert sorted(line['status'] for line in lines) == ['done'] * 6 + ['failed']
  # What is finished is passed over.
  assert smoke(zssr.main, photos, '-o', there, *flags[:1]) == 1
  assert '6 of 7 inputs: finished before' in capsys.readouterr().err


def test_rows_are_the_same_as_on_one_machine(
  machines, photos, smoke, tmp_path, capsys
):
  flags = [f'--datasets={photos}', '--methods=bicubic,zssr']
  whole, there = tmp_path / 'whole', tmp_path / 'there'
  assert smoke(evaluate.main, f'--output={whole}', *flags) == 1  # one is torn
  flags.append(f'--output={there}')
  assert smoke(evaluate.main, f'--cluster={machines.address}', *flags) == 1
  assert '12/12' in capsys.readouterr().err
  scores = [
    {
      (row['key'], row['psnr'], row['ssim'])
      for row in read_rows(folder / 'rows.jsonl')
    }
    for folder in (whole, there)
  ]
  assert scores[0] == scores[1] and len(scores[0]) == 12
  for folder in ('images', 'curves'):
    names = {path.name for path in (whole / folder).iterdir()}
    assert len(names) == 6
    assert names == {path.name for path in (there / folder).iterdir()}


def test_workers_do_not_write_to_disks_of_their_own(tmp_path):
  with hosts.marked(tmp_path / 'out', 'workers') as mark:
    hosts.check(mark)
  with pytest.raises(cluster.NotHereError, match='out: is another folder here'):
    hosts.check(mark)
  assert os.listdir(tmp_path / 'out') == []
  with hosts.marked(tmp_path / 'none', 'driver') as mark:
    hosts.check(mark)
  assert not (tmp_path / 'none').exists()


def test_after_a_driver_is_killed_the_next_goes_on(
  machines, photos, smoke, tmp_path
):
  code = (
    'import sys; from zssr_jax.command_line import zssr; zssr.main(sys.argv)'
  )
  words = [photos, '--config=smoke', '--config.max_steps=200', '-o', 'out']
  driver = subprocess.Popen(
    [sys.executable, '-c', code, *words, f'--cluster={machines.address}'],
    cwd=tmp_path,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  manifest = tmp_path / 'out' / 'manifest.jsonl'
  for _ in range(600):
    if manifest.exists() and '"done"' in manifest.read_text():
      break
    time.sleep(0.1)
  driver.kill()
  driver.wait()
  before = set(map(str, (tmp_path / 'out').glob('*_x2.png')))
  assert 0 < len(before) < 6
  again = [photos, words[2], '-o', tmp_path / 'out']
  assert smoke(zssr.main, *again, f'--cluster={machines.address}') == 1  # torn
  assert len(list((tmp_path / 'out').glob('*_x2.png'))) == 6
  assert not list((tmp_path / 'out').glob('*.tmp'))
  skipped = [r for r in read_rows(manifest) if r['status'] == 'skipped']
  assert len(skipped) >= len(before)


@pytest.mark.parametrize(
  ('address', 'words'),
  [
    ('ray://somewhere:10001', 'must be auto or HOST:PORT'),
    ('somewhere', 'must be auto or HOST:PORT'),
    ('127.0.0.1:1', 'no cluster answers'),
  ],
)
def test_where_no_cluster_answers_one_line_says_so(address, words, tmp_path):
  code = f"""
import sys
from zssr_jax.command_line import zssr
sys.exit(zssr.main(['zssr', 'photo.png', '--cluster={address}']))
"""
  Image.fromarray(np.zeros((24, 24, 3), np.uint8)).save(tmp_path / 'photo.png')
  done = subprocess.run(
    [sys.executable, '-c', code],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 2, done.stderr
  assert words in done.stderr.splitlines()[-1]
  assert os.listdir(tmp_path) == ['photo.png']


def test_a_node_that_joins_works_and_one_that_goes_loses_nothing(
  machines, script
):
  work = [Work(value, seconds=0.3) for value in range(60)]
  outcomes, new, killed = [], None, 0
  for number, pair in enumerate(map_all(work)):
    outcomes.append(pair)
    if number == 4:
      new = script.add(machines)
    elif number == 8 and not killed:
      killed = pair[1][2]
      os.kill(killed, signal.SIGKILL)
    elif number == 50:
      machines.remove_node(new, allow_graceful=False)
  check_all(work, outcomes)
  by_node = [outcome[1] for _, outcome in outcomes]
  assert by_node.count(new.node_id) > 2
