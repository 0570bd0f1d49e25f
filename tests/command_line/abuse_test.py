"""Streams that take no words, disks that are full, names that play tricks."""

import os
import subprocess
import sys

import pytest

from zssr_jax.command_line import app

from .helpers import ROOT, SMOKE, outputs, save, start

TRICKS = (
  'two\nlines.png',
  '-dash.png',
  '--flag=3.png',
  'bell\a\x1b[31mred.png',
  '<script>alert(1)<script>.png',
  '"&quot;\'.png',
  'é ü \u202e.png',
  ' .png',
  '%s{0}.png',
)


@pytest.mark.slow
@pytest.mark.parametrize('streams', ['>&- 2>&-', '>/dev/full 2>/dev/full'])
def test_a_run_ends_well_though_nobody_listens(tmp_path, streams):
  save(tmp_path / 'a.png')
  command = f'"{sys.executable}" "{ROOT}/bin/main.py" {SMOKE} --input=a.png'
  for expected in (0, 2):  # the second finds its output there already
    result = subprocess.run(
      ['sh', '-c', f'{command} --report {streams}'], cwd=tmp_path, timeout=300
    )
    assert outputs(tmp_path) == ['a_x2.json', 'a_x2.png', 'report.html']
    assert result.returncode == expected
  assert (tmp_path / 'out/report.html').read_text().endswith('</html>')


@pytest.mark.slow
def test_ascii_streams_show_other_letters_as_escapes(tmp_path):
  save(tmp_path / 'é.png')
  process = start(
    *(SMOKE, '--input=*.png', '--config.max_steps=20'),
    cwd=tmp_path,
    env=os.environ | {'PYTHONIOENCODING': 'ascii', 'PYTHONUTF8': '0'},
  )
  out, err = process.communicate(timeout=300)
  assert process.returncode == 0, err
  assert out.startswith('\\xe9_x2.png')
  assert '\\xe9_x2  ' in err
  assert 'é_x2.png' in outputs(tmp_path)


@pytest.fixture
def small_disk(tmp_path):
  """A folder of 64 KiB; skips where none can be made."""
  folder = tmp_path / 'disk'
  folder.mkdir()
  options = ('-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder)
  try:
    subprocess.run(['mount', *options], check=True, capture_output=True)
  except (OSError, subprocess.CalledProcessError):
    pytest.skip('no file system may be mounted here')
  yield folder
  subprocess.run(['umount', folder], check=True)


def test_a_full_disk_names_the_output_and_keeps_no_part(
  tmp_path, small_disk, cli, quick
):
  path = save(tmp_path / 'a.png')
  (small_disk / 'ballast').write_bytes(bytes(60 * 1024))
  code, out, err = cli(f'--input={path}', f'--output={small_disk}')
  assert (code, out) == (2, '')
  [line] = err.splitlines()
  assert line.startswith(f'error: {small_disk}/a_x2')
  assert line.endswith('No space left on device')
  assert os.listdir(small_disk) == ['ballast']


def test_a_disk_too_full_for_the_report_keeps_the_results(
  tmp_path, small_disk, cli, quick
):
  path = save(tmp_path / 'a.png')
  (small_disk / 'ballast').write_bytes(bytes(40 * 1024))
  code, out, err = cli(f'--input={path}', f'--output={small_disk}', '--report')
  assert code == 2
  assert out.startswith('a_x2.png')
  [line] = err.splitlines()
  assert line == f'error: {small_disk}/report.html: No space left on device'
  assert set(os.listdir(small_disk)) == {'ballast', 'a_x2.png', 'a_x2.json'}


@pytest.mark.parametrize('name', TRICKS, ids=ascii)
def test_a_name_is_a_name(tmp_path, monkeypatch, cli, quick, name):
  monkeypatch.chdir(tmp_path)
  save(tmp_path / name)
  code, out, err = cli(f'--input={name}', '--report')
  assert code == 0, err
  stem = name.removesuffix('.png')
  assert set(outputs(tmp_path)) == {
    f'{stem}_x2.png',
    f'{stem}_x2.json',
    'report.html',
  }
  assert len(out.splitlines()) == 2
  assert all(line.isprintable() for line in [*out.splitlines(), err])
  page = (tmp_path / 'out/report.html').read_text()
  assert '<script>alert' not in page
  assert page.count('<script>') == 1


@pytest.mark.parametrize(
  ('name', 'words'),
  [
    ('loop.png', 'Too many levels of symbolic links|no such file'),
    ('a\0b.png', 'no such file|not the name of a file'),
    ('two\nlines.png', r'two\\nlines.png: no such file'),
    ('../nowhere/a.png', 'no such file'),
    ('.', 'no images in this folder'),
    ('pipe.png', 'not a file'),
    ('x' * 300 + '.png', 'too long'),
  ],
)
def test_what_is_no_file_is_told_in_one_line(
  tmp_path, monkeypatch, cli, quick, name, words
):
  import re

  monkeypatch.chdir(tmp_path)
  (tmp_path / 'loop.png').symlink_to('loop.png')
  os.mkfifo(tmp_path / 'pipe.png')
  if name == '.':
    (tmp_path / 'loop.png').unlink()
  code, out, err = cli(f'--input={name}')
  assert (code, out) == (2, '')
  assert re.fullmatch(rf'error: .*({words}).*\n', err), err


def test_a_name_that_leads_elsewhere_writes_into_the_output(
  tmp_path, monkeypatch, cli, quick
):
  (tmp_path / 'in').mkdir()
  save(tmp_path / 'a.png')
  monkeypatch.chdir(tmp_path / 'in')
  code, _, err = cli('--input=../a.png')
  assert code == 0, err
  assert outputs(tmp_path) == ['a_x2.json', 'a_x2.png']
  assert os.listdir(tmp_path / 'in') == []


def test_an_error_of_the_whole_run_is_one_printable_line(capsys):
  def work():
    raise OSError(28, 'No space left on device', 'two\nlines')

  assert app.run_command(['main.py'], None, work, usage='') == 2
  said = capsys.readouterr().err
  assert said == 'error: two lines: No space left on device\n'
