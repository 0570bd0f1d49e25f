"""What bin/main.py is told of noise and compression, finds out, and says."""

import re
import types

import numpy as np
import pytest
from PIL import Image

import zssr_jax
from zssr_jax import super_resolution
from zssr_jax.command_line import arguments, findings, zssr
from zssr_jax.data import image_io
from zssr_jax.kernel_estimation.diagnosis import Candidate, Diagnosis
from zssr_jax.ops import jpeg

from .helpers import ROOT, photo, read_record, save

AUTO = f'--config={ROOT}/configs/auto.py'


def save_jpeg(path, quality=60, subsampling=0, **size):
  Image.fromarray(photo(**size)).save(
    path, quality=quality, subsampling=subsampling
  )
  return path


def parse(*chosen):
  return arguments.parse_options(
    ['main.py', *chosen], zssr.define_flags, example=ROOT
  )


def test_auto_is_the_default():
  config = parse('--input=a.png').config
  assert config == zssr_jax.load_config('auto')
  assert config.automatic and config.kernel == 'auto'


def test_the_example_is_diagnosed_and_compared_with_its_kernel(
  tmp_path, cli, quick
):
  code, out, err = cli(config=AUTO)
  assert code == 0, err
  assert quick[0]['kernel'] is None
  summary, comparison = out.splitlines()
  assert re.fullmatch(
    r'astronaut_lr_x2\.png  [\d.]+ dB / [\d.]+  \(bicubic [\d.]+ / [\d.]+\)'
    r'  Gaussian blur of 2\.0 x 1\.5 pixels, noise 1\.2/255: \d+ steps from a'
    r' trained start with blurred, noisy sons  \d+\.\d s',
    summary,
  )
  assert 'correlates' in comparison


@pytest.mark.parametrize('config', ['auto', 'fast', 'nonideal'])
@pytest.mark.parametrize(('text', 'std'), [('3', 3), ('0', 0), ('.5', 0.5)])
def test_noise_reaches_the_training(tmp_path, cli, quick, config, text, std):
  path = save(tmp_path / 'a.png')
  config = f'--config={ROOT}/configs/{config}.py'
  code, _, err = cli(f'--input={path}', f'--noise={text}', config)
  assert code == 0, err
  known = quick[0]['degradation']
  assert known.noise_std == pytest.approx(std / 255)
  assert known.noise_std.dtype == np.float32
  found = read_record(tmp_path)['degradation']['noise_std']
  assert found == pytest.approx(std / 255)


def test_noise_is_measured_when_asked_for(tmp_path, cli, quick):
  path = save(tmp_path / 'a.png')
  for flags in ((), ('--noise=auto',), ('--noise=auto', '--config=real')):
    assert cli(f'--input={path}', '--overwrite', *flags)[0] == 0
  plain, asked, real = quick
  assert plain['config'].estimate_noise == 0
  assert asked['config'].estimate_noise == 1
  assert real['config'].estimate_noise == 0.8  # its own share of it
  assert all(call['degradation'].noise_std is None for call in quick)
  # An automatic config does so anyway.
  assert parse('--input=a', '--noise=auto').config == parse('--input=a').config


@pytest.mark.parametrize('config', ['auto', 'smoke'])
def test_a_quality_stands_for_the_usual_tables(tmp_path, cli, quick, config):
  path = save_jpeg(tmp_path / 'a.jpg', 90)  # whose own do not count then
  config = f'--config={ROOT}/configs/{config}.py'
  code, _, err = cli(f'--input={path}', '--jpeg=60', config)
  assert code == 0, err
  used = quick[0]['degradation'].jpeg
  np.testing.assert_array_equal(used.tables, jpeg.of_quality(60).tables)
  assert used.sampling == (2, 2)
  record = read_record(tmp_path)['degradation']['jpeg']
  assert record['sampling'] == [2, 2]
  np.testing.assert_array_equal(record['tables'], used.tables)


def test_the_tables_may_be_those_of_another_file(tmp_path, cli, quick):
  other = save_jpeg(tmp_path / 'other.jpg', 40, 1)
  path = save(tmp_path / 'a.png')
  code, _, err = cli(f'--input={path}', f'--jpeg={other}')
  assert code == 0, err
  used = quick[0]['degradation'].jpeg
  np.testing.assert_array_equal(used.tables, jpeg.of_quality(40).tables)
  assert used.sampling == (1, 2)


def test_a_jpeg_input_tells_its_tables_where_they_count(tmp_path, cli, quick):
  path = save_jpeg(tmp_path / 'a.jpg')
  flags = (f'--input={path}', '--overwrite')
  for more in ((AUTO,), ('--jpeg=auto',), (AUTO, '--jpeg=none'), ()):
    assert cli(*flags, *more)[0] == 0
  used = [call['degradation'].jpeg for call in quick]
  for one in used[:2]:
    np.testing.assert_array_equal(one.tables, jpeg.of_quality(60).tables)
    assert one.sampling == (1, 1)
  assert used[2] is None and used[3] is None
  searched = [call['config'].find_jpeg for call in quick]
  assert searched == [True, True, False, True]


def test_other_inputs_have_no_tables(tmp_path, cli, quick):
  path = save(tmp_path / 'a.png')
  assert cli(f'--input={path}', AUTO, '--jpeg=auto')[0] == 0
  assert quick[0]['degradation'].jpeg is None
  assert read_record(tmp_path)['degradation']['jpeg'] is None


@pytest.mark.parametrize(
  ('flag', 'words'),
  [
    ('--noise=-1', '--noise=-1: must be auto, or a standard deviation'),
    ('--noise=256', 'from 0 to 255'),
    ('--noise=nan', 'from 0 to 255'),
    ('--noise=loud', '--noise=loud: must be auto'),
    ('--noise=', '--noise=: must be auto'),
    ('--jpeg=0', '--jpeg=0: must be a quality from 1 to 100'),
    ('--jpeg=101', '--jpeg=101: must be a quality from 1 to 100'),
    ('--jpeg=nan', '--jpeg=nan: must be a quality from 1 to 100'),
    ('--jpeg=nil', '--jpeg=nil: no such file, nor auto, none or a quality'),
    ('--jpeg=', '--jpeg=: no such file, nor auto'),
    ('--jpeg=gone.jpg', 'gone.jpg: no such file'),
    ('--jpeg=a.png', 'a.png: not a JPEG file'),
    ('--explain', '--explain: this config does not .* --config=auto'),
    (
      '--zero-shot --config.start=transferred',
      '--config.start=transferred: --zero-shot begins with random',
    ),
  ],
)
def test_flags_that_make_no_sense_are_one_line(
  tmp_path, monkeypatch, cli, quick, flag, words
):
  monkeypatch.chdir(tmp_path)
  save(tmp_path / 'a.png')
  code, out, err = cli('--input=a.png', *flag.split())
  assert (code, out) == (2, '') and err.count('\n') == 1
  assert re.match(rf'error: .*{words}', err), err
  assert not quick and not (tmp_path / 'out').exists()


@pytest.mark.parametrize('flag', ['--zero-shot', '--zero_shot'])
def test_zero_shot_begins_with_random_parameters(tmp_path, cli, quick, flag):
  path = save(tmp_path / 'a.png')
  assert cli(f'--input={path}', AUTO)[0] == 0
  assert cli(f'--input={path}', AUTO, flag, '--overwrite')[0] == 0
  (began, began_anew) = quick
  assert began['start'] is not None and began['config'].start == 'transferred'
  assert began_anew['start'] is None
  config = began_anew['config']
  assert config == zssr_jax.load_config(
    'auto', start='random', find_shake=False
  )
  assert config.in_force.max_steps == config.max_steps > 0
  # To say so twice is no contradiction, and it can be switched off.
  more = ('--config.start=random', '--overwrite')
  assert cli(f'--input={path}', flag, *more, config=AUTO)[0] == 0
  no = flag.replace('--zero', '--nozero')
  assert cli(f'--input={path}', AUTO, no, '--overwrite')[0] == 0
  assert quick[3]['config'].start == 'transferred'


@pytest.mark.parametrize(('scale', 'start'), [('3', True), ('3/2', False)])
def test_auto_does_without_a_start_where_there_is_none(
  tmp_path, cli, quick, scale, start
):
  path = save(tmp_path / 'a.png')
  code, _, err = cli(f'--input={path}', AUTO, f'--scale={scale}')
  assert code == 0, err
  assert (quick[0]['start'] is not None) == start
  # One that is asked for is missed.
  flags = ('--config.start=transferred', '--scale=3/2', '--overwrite')
  code, _, err = cli(f'--input={path}', *flags, config=AUTO)
  assert code == 2 and 'no transferred start for scale 1.5' in err


def test_a_network_that_the_start_does_not_fit_needs_a_word(
  tmp_path, cli, quick
):
  path = save(tmp_path / 'a.png')
  flags = (f'--input={path}', '--config.width=8')
  code, _, err = cli(*flags, config=AUTO)
  assert code == 2 and err.count('\n') == 1
  assert 'does not fit' in err and 'pass --config.start=random' in err
  assert cli(*flags, '--zero-shot', config=AUTO)[0] == 0


def test_explain_shows_the_hypotheses_and_where_all_is_from(
  tmp_path, cli, quick
):
  path = save_jpeg(tmp_path / 'a.jpg')
  code, out, err = cli(f'--input={path}', AUTO, '--explain')
  assert code == 0, err
  steps = jpeg.of_quality(60).tables[0]
  assert out.splitlines()[1:] == [
    '  blur    Gaussian blur of 2.0 x 1.5 pixels',
    '  sure to 100 %',
    '  noise   1.2/255, measured',
    f'  JPEG    tables of the file: steps of the luma {steps.min():g} to'
    f' {steps.max():g}, chroma 4:4:4',
    '  candidate   cost  misfit',
    '  gaussian     0.0   0.210  Gaussian blur of 2.0 x 1.5 pixels',
    '  none        12.3   0.600  no blur beyond bicubic',
  ]
  record = read_record(tmp_path)['degradation']
  assert record['blur'] == 'Gaussian blur of 2.0 x 1.5 pixels'
  assert [c['name'] for c in record['candidates']] == ['gaussian', 'none']
  assert record['candidates'][1]['cost'] == 12.34
  assert record['noise_std'] == pytest.approx(1.2 / 255)
  assert record['shot'] is None and record['reason'] is None


def test_explain_says_how_far_a_kernel_is_in_doubt():
  kernel = np.full((10, 10), 0.01, np.float32)
  doubtful = zssr_jax.Degradation(2, kernel, doubt=np.float32(0.01))
  candidate = Candidate('none', 0.0, 0.6, 'no blur beyond bicubic')
  found = Diagnosis(doubtful, (candidate,), 'camera shake', None, None)
  result = types.SimpleNamespace(diagnosis=found, estimate=None)
  known = findings.Known(zssr_jax.Degradation(2))
  told = findings.explain(result, known).splitlines()
  assert told[:3] == [
    '  blur    camera shake',
    '  kernel  by a trained network, off by some 50 %',
    '  noise   0.0/255, measured',
  ]
  assert findings.entry(result)['doubt'] == 0.01


def test_explain_tells_the_reason_and_what_was_given(tmp_path, cli, quick):
  flat = save(tmp_path / 'a.png', np.full((24, 28, 3), 99, np.uint8))
  flags = (f'--input={flat}', AUTO, '--explain', '--overwrite')
  code, out, err = cli(*flags, '--noise=3', '--jpeg=50')
  assert code == 0, err
  assert 'blur unknown' in out.splitlines()[0]
  told = out.splitlines()[1:]
  assert told[:3] == [
    '  blur    blur unknown',
    '  reason  the image is flat',
    '  noise   3.0/255, given',
  ]
  assert told[3].startswith('  JPEG    given: steps') and '4:2:0' in told[3]
  assert len(told) == 4  # no candidates
  assert read_record(tmp_path)['degradation']['reason'] == 'the image is flat'
  code, out, _ = cli(*flags, '--kernel=gaussian:1')
  assert '  kernel given, noise 1.2/255: ' in out.splitlines()[0]
  assert '  JPEG    no' in out.splitlines()


def test_a_report_says_what_was_found(tmp_path, cli, quick):
  path = save(tmp_path / 'a.png')
  assert cli(f'--input={path}', AUTO, '--report')[0] == 0
  page = (tmp_path / 'out/report.html').read_text()
  found = 'Gaussian blur of 2.0 x 1.5 pixels, noise 1.2/255'
  assert f'<th scope="row">found</th><td>{found}: ' in page


@pytest.mark.slow
def test_all_of_it_without_stand_ins(tmp_path, cli):
  path = save_jpeg(tmp_path / 'a.jpg', height=72, width=80)
  flags = ('--config.max_steps=2', '--config.copies=1', '--overwrite')
  flags += (f'--input={path}', '--explain')
  outs = []
  for config, *more in (
    (AUTO,),
    (AUTO, '--zero-shot', '--noise=4', '--jpeg=none'),
    (f'--config={ROOT}/configs/fast.py', '--jpeg=auto', '--kernel=auto'),
  ):
    code, out, err = cli(*flags, *more, config=config)
    assert code == 0, err
    outs.append(out)
    record = read_record(tmp_path)
    assert record['steps'] == 2
    has_tables = '--jpeg=none' not in more
    assert (record['degradation']['jpeg'] is not None) == has_tables
    assert ('tables of the file' in out) == has_tables
  assert '  noise   4.0/255, given\n' in outs[1]


@pytest.mark.slow
def test_noise_and_jpeg_change_the_result_of_any_config(tmp_path, cli):
  path = save(tmp_path / 'a.png')
  results = []
  for flags in ((), ('--noise=20',), ('--jpeg=10',)):
    assert cli(f'--input={path}', '--overwrite', *flags)[0] == 0
    results.append(image_io.read_image(tmp_path / 'out/a_x2.png'))
  plain, noisy, compressed = results
  for other in (noisy, compressed):
    assert np.abs(other - plain).max() > 3 / 255
  assert np.abs(noisy - compressed).max() > 3 / 255


def test_the_parts_are_offered_to_python_as_well():
  image = np.random.default_rng(0).random((20, 20, 3)).astype(np.float32)
  known = zssr_jax.Degradation(2, noise_std=np.float32(0.02))
  found = zssr_jax.estimate_degradation(image, 2, known=known)
  assert found.degradation.noise_std == np.float32(0.02)
  assert super_resolution.Degradation is zssr_jax.Degradation
