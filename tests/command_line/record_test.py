"""What bin/main.py writes about a run: its record and its report."""

import json
import re

from zssr_jax.data import image_io
from zssr_jax.ops import resize

from .helpers import outputs, photo, save


def test_photo_with_reference_gives_image_record_and_comparison(tmp_path, cli):
  truth = photo(48, 56)
  small = resize.imresize(truth, 0.5)
  code, out, err = cli(
    f'--input={save(tmp_path / "a.png", small)}',
    f'--reference={save(tmp_path / "truth.png", truth)}',
    '--seed=7',
  )
  assert code == 0, err
  assert outputs(tmp_path) == ['a_x2.json', 'a_x2.png', 'a_x2_side_by_side.png']
  assert image_io.read_image(tmp_path / 'out/a_x2.png').shape == (48, 56, 3)
  record = json.loads((tmp_path / 'out/a_x2.json').read_text())
  scores = record['metrics']
  assert set(scores) == {'psnr', 'ssim', 'bicubic_psnr', 'bicubic_ssim'}
  assert scores['psnr'] > 20
  assert record['seed'] == 7
  assert record['config']['max_steps'] == 20
  assert record['steps'] == len(record['history']['loss']) == 20
  assert record['device']['platform'] == 'cpu'
  assert record['versions']['jax']
  assert {'read', 'train', 'infer', 'total'} <= set(record['seconds'])
  assert re.fullmatch(
    rf'a_x2\.png  {scores["psnr"]:.2f} dB / {scores["ssim"]:.4f}'
    rf'  \(bicubic {scores["bicubic_psnr"]:.2f} /'
    rf' {scores["bicubic_ssim"]:.4f}\)  \d+\.\d s\n',
    out,
  )


def test_record_is_strict_json(tmp_path, cli, quick):
  cli(f'--input={save(tmp_path / "a.png")}')

  def refuse(constant):
    raise AssertionError(f'{constant} is not JSON')

  text = (tmp_path / 'out/a_x2.json').read_text()
  record = json.loads(text, parse_constant=refuse)
  assert record['history']['loss'] == [0.1, None]
  assert record['history']['drops'] == [1]
  assert record['metrics'] is None


def test_report_shows_every_input_that_worked(tmp_path, cli, quick):
  folder = tmp_path / 'photos'
  folder.mkdir()
  save(folder / 'a.png')
  save(folder / 'b.png', photo(channels=1))
  (folder / 'broken.png').write_text('nothing')
  code, out, _ = cli(f'--input={folder}', '--report')
  assert code == 1
  page = tmp_path / 'out' / 'report.html'
  assert out.splitlines()[-1] == str(page)
  text = page.read_text()
  assert 'a_x2' in text and 'b_x2' in text and 'broken' not in text


def test_report_is_not_written_unasked_nor_over_another(tmp_path, cli, quick):
  file = save(tmp_path / 'a.png')
  assert cli(f'--input={file}')[0] == 0
  page = tmp_path / 'out' / 'report.html'
  assert not page.exists()
  page.write_text('mine')
  code, _, err = cli(f'--input={file}', '--report')
  assert code == 2 and 'report.html: exists already' in err
  assert cli(f'--input={file}', '--report', '--overwrite')[0] == 0
  assert page.read_text() != 'mine'
