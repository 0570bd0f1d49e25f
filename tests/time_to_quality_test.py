"""The tables, the curves and the plan of benchmarks/time_to_quality.py."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from zssr_jax.data import datasets


@pytest.fixture(scope='module')
def script(load_script):
  return load_script('benchmarks/time_to_quality.py')


@pytest.fixture(scope='module')
def curves(script):
  return script.quality_curves


def row(family, image, steps, seconds, psnr, **others):
  return {
    **{'family': family, 'image': image, 'steps': steps, 'seed': 0},
    **{'seconds': seconds, 'psnr': psnr, 'bicubic': 30.0, 'cores': 1},
    **{'scale': 2, 'config': {}, 'gflops': 50.0, 'machine': 'Abacus'},
    **{'commit': 'c0ffee', 'jax': '1.0'},
    **others,
  }


# On two images; the longest run of `quick` on `a` is worse than the one before.
ROWS = [
  row('quick', 'a', 1, 0.5, 31.0),
  row('quick', 'a', 2, 2.0, 33.0),
  row('quick', 'a', 3, 4.0, 32.5),
  row('quick', 'b', 1, 0.7, 35.0),
  row('quick', 'b', 2, 2.4, 36.0),
  row('loop', 'a', 9, 20.0, 32.0),
  row('loop', 'a', 18, 40.0, 31.8),
  row('loop', 'b', 9, 12.0, 36.5),
]


def test_best_within_takes_the_best_run_that_was_quick_enough(curves):
  assert curves.best_within(ROWS, 'quick', 0.6) is None  # none of b
  assert curves.best_within(ROWS, 'quick', 0.7) == (31.0 + 35.0) / 2
  assert curves.best_within(ROWS, 'quick', 2.0) == (33.0 + 35.0) / 2
  assert curves.best_within(ROWS, 'quick', 60.0) == (33.0 + 36.0) / 2
  assert curves.best_within(ROWS, 'loop', 10.0) is None


def test_seeds_count_like_images(curves):
  again = [*ROWS, row('quick', 'a', 1, 0.5, 31.6, seed=1)]
  assert curves.best_within(again, 'quick', 0.7) == (31.0 + 35.0 + 31.6) / 3
  assert curves.best_within(again, 'loop', 60.0) is None


def test_ratios_are_of_the_images_on_which_a_family_gets_as_far(curves):
  assert curves.ratios(ROWS, 'quick', 'loop') == (2, [(20.0, 2.0)])
  assert curves.ratios(ROWS[:6], 'quick', 'loop') == (1, [(20.0, 2.0)])


def test_a_curve_has_the_steps_that_were_run_on_every_image(curves):
  assert curves.curve(ROWS, 'quick') == [
    (pytest.approx(0.6), pytest.approx(3.0)),
    (pytest.approx(2.2), pytest.approx(4.5)),
  ]


def test_runs_by_former_settings_and_of_other_scales_do_not_count(curves):
  changed = [row('quick', n, 1, 0.1, 39.0, config={'width': 8}) for n in 'ab']
  other = row('quick', 'a', 1, 0.1, 40.0, scale=3, config={'width': 4})
  kept = curves.current([*ROWS, *changed, other], 2)
  assert kept == [*(r for r in ROWS if r['family'] == 'loop'), *changed]


def test_page_has_a_table_for_each_count_of_cores(curves):
  two = [{**r, 'cores': 2, 'seconds': r['seconds'] / 2} for r in ROWS]
  early = row('quick (before)', 'a', 1, 9.0, 30.5, commit='decade')
  page = curves.page([early, *ROWS, *two], (1, 30), 'loop', 'plot.png')
  one, both = page.split('## One core')[1].split('## 2 cores')
  assert '| family | 1 s | 30 s |\n|---|---|---|\n' in one
  assert '| quick | 33.00 | 34.50 |' in one
  assert '| quick (before) | - | - |' in one
  assert 'commit c0ffee, before: decade,' in one
  assert 'before:' not in both
  assert '| quick | 34.00 | 34.50 |' in both  # 33 and 35: 1.0 and 0.35 s
  assert '| 1 | quick (before) | 0 of 1 | - | - | - |' in both
  assert '| 1 | quick | 1 of 2 | 20.0 | 2.0 | 10.0 |' in both
  assert '| 2 | quick | 1 of 2 | 10.0 | 1.0 | 10.0 |' in both
  assert 'Seconds to' not in curves.page(ROWS[:5], (1, 30), 'loop', 'plot.png')


def test_plot_is_drawn(curves, tmp_path):
  pytest.importorskip('matplotlib').use('agg')
  curves.draw(ROWS, (1, 30), 'loop', tmp_path / 'plot.png')
  with Image.open(tmp_path / 'plot.png') as image:
    assert image.width > image.height > 100


def test_configs_of_a_family_differ_in_steps_alone(script):
  family = script.Family('fast', {'start': 'random'}, (5, None, 400, 20))
  configs = script.configs_of(family)
  assert [c.max_steps for c in configs] == [5, 400, 20]
  first, *others = (script.settings_of(c) for c in configs)
  assert first == others[0] == others[1]
  assert first['model'] == 'pixel_shuffle' and 'max_steps' not in first
  assert first == json.loads(json.dumps(first))
  started = script.configs_of(script.Family('fast', {}, (0, 7)))
  assert [c.max_steps for c in started] == [0, 7]
  assert started[0].start == 'transferred'


def test_plan_leaves_out_what_the_package_lacks(script, monkeypatch, capsys):
  families = {
    'good': script.Family('fast', {}, (3,)),
    'new preset': script.Family('unheard of', {}, (3,)),
    'new field': script.Family('fast', {'unheard_of': 1}, (3,)),
  }
  monkeypatch.setattr(script, 'FAMILIES', families)
  task = script.Task('a', 2, 0, [*families, script.PYTORCH], 100, '', None)
  planned = [row for row, _ in script.plan(task)]
  steps = [(row['family'], row['steps']) for row in planned]
  theirs = [(script.PYTORCH, 50), (script.PYTORCH, 100)]
  assert steps == [('good', 3), *theirs]
  assert len({script.key_of(row) for row in planned}) == 3
  said = capsys.readouterr().out
  assert 'new preset is left out' in said and 'new field is left out' in said
  before = script.plan(task._replace(before='elsewhere'))
  assert [row['family'] for row, _ in before] == ['good (before)']


def test_a_line_replaces_what_a_killed_run_left_of_one(script, tmp_path):
  path = tmp_path / 'rows.jsonl'
  good = row('quick', 'a', 1, 0.5, 31.0, train=0.1, ssim=0.9)
  script.append(path, good)
  with path.open('a') as file:
    file.write('{"family": "qu')
  assert script.read_lines(path) == [good]
  script.append(path, {**good, 'steps': 2})
  assert script.read_lines(path) == [good, {**good, 'steps': 2}]


def test_photos_without_an_lr_image_get_one(script, tmp_path):
  pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
  Image.fromarray(pixels).save(tmp_path / 'photo.png')
  pair = datasets.Pair('photo', tmp_path / 'photo.png', None, None)
  lr, hr = script.read_pair(pair, 3)
  assert lr.shape == (12, 16, 3) and hr.shape == (36, 48, 3)
  assert lr.dtype == np.float32
  np.testing.assert_array_equal(lr * 255, np.round(lr * 255))
  assert abs(lr.mean() - hr.mean()) < 0.01


@pytest.mark.slow
def test_a_warm_run_compiles_nothing(script):
  lr = np.random.default_rng(0).random((24, 30, 3), np.float32)
  changes = {'gradual': ((0.5, 0.5), (1, 1)), 'depth': 3}
  (config,) = script.configs_of(script.Family('smoke', changes, (13,)))
  compiled = []

  def listen(event, seconds, **facts):
    if event.endswith('backend_compile_duration'):
      compiled.append(facts)

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    script.warm_up(lr, 2, config, None)
    assert compiled
    compiled.clear()
    result = script.super_resolution.train_image(lr, 2, config=config)
    assert compiled == []
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
  assert [steps for *_, steps in result.history.stages] == [13, 13]
