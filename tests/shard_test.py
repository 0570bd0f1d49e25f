"""Parts of a run that other processes do, and their rows in one."""

import os
import subprocess
import sys

import pytest

from zssr_jax.command_line import arguments, evaluate, zssr
from zssr_jax.errors import InputError
from zssr_jax.evaluation.rows import read_rows


@pytest.fixture(scope='module')
def photos(tmp_path_factory, write_photos):
  folder = tmp_path_factory.mktemp('in') / 'photos'
  return write_photos(folder, [(24, 28)] * 5)


@pytest.mark.slow
def test_parts_of_photos_make_the_whole(photos, smoke, tmp_path, capsys):
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  assert smoke(zssr.main, photos, '-o', whole) == 0
  for number in range(2):
    flags = ['--report', f'--shard={number}/2']
    assert smoke(zssr.main, photos, '-o', parts, *flags) == 0
    assert (parts / f'report-{number}-of-2.html').exists()
  counts = [
    len(read_rows(parts / f'manifest-{number}-of-2.jsonl'))
    for number in range(2)
  ]
  assert counts == [3, 2]
  for path in whole.glob('*.png'):
    assert path.read_bytes() == (parts / path.name).read_bytes()
  capsys.readouterr()
  assert smoke(zssr.main, photos, '-o', parts, '--shard=0/2') == 0
  assert '3 of 3 inputs: finished before' in capsys.readouterr().err


def test_a_part_of_one_image_has_a_manifest(photos, smoke, tmp_path):
  bad = tmp_path / 'bad.png'
  bad.write_bytes(b'no image')
  flags = ['-o', tmp_path / 'out', '--shard=0/2']
  assert smoke(zssr.main, bad, photos / 'photo0.png', *flags) == 1
  (line,) = read_rows(tmp_path / 'out' / 'manifest-0-of-2.jsonl')
  assert line['status'] == 'failed' and 'bad.png' in line['reason']


@pytest.mark.slow
def test_rows_of_parts_are_merged(photos, smoke, tmp_path, capsys):
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  flags = [f'--datasets={photos}', '--methods=bicubic,zssr']
  assert smoke(evaluate.main, *flags, f'--output={whole}') == 0
  flags.append(f'--output={parts}')
  assert smoke(evaluate.main, *flags, '--shard=0/3') == 0
  assert smoke(evaluate.main, *flags, '--shard=2/3') == 0
  assert {p.name for p in parts.iterdir()} == {'shard-0-of-3', 'shard-2-of-3'}
  assert smoke(evaluate.main, *flags, '--merge') == 0
  assert len(read_rows(parts / 'rows.jsonl')) == 7  # of ten
  capsys.readouterr()
  # What is merged already is not made again, however the rest is divided.
  assert smoke(evaluate.main, *flags, '--shard=0/1') == 0
  assert '3/3' in capsys.readouterr().err
  for _ in range(2):  # a second time changes nothing
    assert smoke(evaluate.main, *flags, '--merge') == 0
    merged = read_rows(parts / 'rows.jsonl')
    assert len(merged) == 10
  expected = {
    row['key']: row['psnr'] for row in read_rows(whole / 'rows.jsonl')
  }
  assert {row['key']: row['psnr'] for row in merged} == expected
  for folder in ('images', 'curves'):
    names = {path.name for path in (whole / folder).iterdir()}
    assert names == {path.name for path in (parts / folder).iterdir()}
  assert 'photo4' in (parts / 'report.html').read_text()


def test_a_damaged_part_is_one_line(photos, smoke, tmp_path, capsys):
  part = tmp_path / 'shard-0-of-2'
  part.mkdir()
  (part / 'rows.jsonl').write_text('{"key": "a"}\nno row\n')
  flags = [f'--datasets={photos}', '--methods=bicubic']
  assert smoke(evaluate.main, *flags, f'--output={tmp_path}', '--merge') == 2
  err = capsys.readouterr().err.splitlines()
  assert len(err) == 1
  assert 'shard-0-of-2/rows.jsonl: line 2 is no row' in err[0]


@pytest.mark.slow
def test_processes_of_one_job_divide_by_themselves(photos, tmp_path):
  """As Slurm starts them: `jax.distributed` reads its variables."""
  code = """
import sys
from zssr_jax.command_line import zssr
words = ['zssr', sys.argv[1], '--config=smoke', '-o', 'out', '--shard=auto']
sys.exit(zssr.main(words))
"""
  started = [
    subprocess.Popen(
      [sys.executable, '-c', code, photos],
      cwd=tmp_path,
      env={
        **os.environ,
        'SLURM_JOB_ID': str(os.getpid()),  # chooses the port
        'SLURM_STEP_NODELIST': 'localhost',
        'SLURM_NTASKS': '2',
        'SLURM_STEP_NUM_TASKS': '2',
        'SLURM_PROCID': str(number),
        'SLURM_LOCALID': str(number),
        'SLURM_STEP_NUM_NODES': '1',
      },
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
    )
    for number in range(2)
  ]
  for process in started:
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
  counts = [
    len(read_rows(tmp_path / f'out/manifest-{number}-of-2.jsonl'))
    for number in range(2)
  ]
  assert counts == [3, 2]


@pytest.mark.parametrize(
  'text', ['2/2', '-1/2', '1', '1/2/3', 'a/b', '0/0', '']
)
def test_what_is_no_part_is_refused(text):
  with pytest.raises(InputError, match='must be I/N with I from 0 to N-1'):
    evaluate.parse_options(['eval_all', f'--shard={text}'])


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (['--shard=0/2', '--cluster=auto'], 'leave out --cluster or --shard'),
    (['--write=workers'], 'is for --cluster'),
    (['--merge', '--shard=0/2'], '--merge: trains nothing'),
    (['--shard=auto'], 'jax.distributed finds no processes'),
  ],
)
def test_flags_that_contradict_each_other_are_refused(words, message):
  with pytest.raises(InputError, match=message):
    evaluate.parse_options(['eval_all', *words])


def test_a_part_has_every_nth():
  parts = [arguments.Shard(number, 3) for number in range(3)]
  assert [[p for p in range(8) if part.has(p)] for part in parts] == [
    [0, 3, 6],
    [1, 4, 7],
    [2, 5],
  ]
