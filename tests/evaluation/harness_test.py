"""Rows: what they hold, what they are keyed by, and going on with a run."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from zssr_jax import blur_kernels, super_resolution
from zssr_jax.baselines import interpolation
from zssr_jax.config import Config
from zssr_jax.data import image_io
from zssr_jax.degradation import Degradation
from zssr_jax.evaluation import cases, harness, methods, rows
from zssr_jax.kernel_estimation import estimate as estimation
from zssr_jax.kernel_estimation.diagnosis import Diagnosis
from zssr_jax.ops import jpeg, metrics
from zssr_jax.parallel import devices
from zssr_jax.training import history

TINY = Config(model='pixel_shuffle', depth=3, width=8, crop=24, max_steps=5)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  """A data set of three photographs, HR only."""
  from skimage import data

  root = tmp_path_factory.mktemp('data')
  folder = root / 'Photos' / 'HR'
  folder.mkdir(parents=True)
  photo = data.astronaut()
  for number, (y, x) in enumerate([(0, 0), (100, 180), (300, 20)]):
    crop = photo[y : y + 64, x : x + 72]
    Image.fromarray(crop).save(folder / f'photo{number}.png')
  return root


def find(root, **options):
  return cases.find_cases(root, 'Photos', 2.0, **options)


def recipes(config=TINY, name='tiny', **options):
  """What `zssr` and the variants take."""
  recipe = harness.Recipe(config, name, **options)
  return dict.fromkeys((methods.ZSSR, *methods.VARIANTS), recipe)


def evaluate(root, folder, names=('bicubic', 'zssr'), config=TINY, **options):
  count = options.pop('device_count', 1)
  tasks = harness.plan(
    find(root), names, options.pop('seeds', (0,)), recipes(config)
  )
  store = rows.Store(folder)
  outcomes = list(
    harness.run(tasks, store, devices=devices.available(count), **options)
  )
  return outcomes, store


@pytest.mark.slow
def test_a_row_holds_the_score_and_all_that_made_it(root, tmp_path):
  outcomes, store = evaluate(root, tmp_path, seeds=(3,))
  assert len(outcomes) == 6
  assert list(store.rows.values()) == outcomes
  row = outcomes[-1]
  case = find(root)[2]
  pixels = case.load()
  result = super_resolution.train_image(
    pixels.lr, 2.0, config=TINY, key=jax.random.key(3)
  )
  psnr, ssim = metrics.score(result.image, pixels.hr, 2)
  assert row['psnr'] == pytest.approx(psnr, abs=1e-4)
  assert row['ssim'] == pytest.approx(ssim, abs=1e-5)
  expected = {
    'dataset': 'Photos',
    'image': 'photo2',
    'of': 3,
    'scale': 2.0,
    'method': 'zssr',
    'degradation': 'ideal',
    'seed': 3,
    'config_name': 'tiny',
    'steps': 5,
    'kernel_given': False,
  }
  assert expected.items() <= row.items()
  assert row['seconds'] > 0 and row['peak_mb'] > 50
  json.dumps(row, allow_nan=False)
  # What it stands for lies beside it.
  kept = image_io.read_image(harness.image_path(store, row['key']))
  assert metrics.score(kept, pixels.hr, 2)[0] == pytest.approx(psnr, abs=1e-4)
  with np.load(harness.curves_path(store, row['key'])) as curves:
    assert curves['loss'].shape == curves['learning_rate'].shape == (5,)
  bicubic = outcomes[2]
  assert bicubic['method'] == 'bicubic' and bicubic['config'] is None
  assert bicubic['psnr'] == bicubic['bicubic_psnr'] == row['bicubic_psnr']


@pytest.mark.slow
def test_finished_rows_are_not_made_again(root, tmp_path, monkeypatch):
  _, store = evaluate(root, tmp_path)
  text = store.path.read_text()
  assert evaluate(root, tmp_path)[0] == []
  assert store.path.read_text() == text
  # One row lost: that one is made again, and comes out the same.
  lines = text.splitlines(keepends=True)
  store.path.write_text(''.join(lines[:4] + lines[5:]))
  (again,), _ = evaluate(root, tmp_path)
  lost = json.loads(lines[4])
  assert (again['key'], again['psnr']) == (lost['key'], lost['psnr'])


def test_the_key_changes_with_all_that_determines_a_number(root, monkeypatch):
  def keys(found, name='zssr', seeds=(0,), config=TINY, **options):
    made = recipes(config, 'any', **options)
    return [t.key for t in harness.plan(found, [name], seeds, made)]

  found = find(root)
  base = keys(found)
  assert len(set(base)) == 3
  assert not set(base) & set(keys(found, seeds=(1,)))
  assert not set(base) & set(keys(found, config=TINY.replace(width=9)))
  assert not set(base) & set(keys(found, name='bicubic'))
  starts = [
    keys(found, start=lambda scale, v=v: {'a': np.full(2, v)}) for v in (0, 1)
  ]
  assert not set(starts[0]) & {*starts[1], *base}
  noisy = find(root, degradation='poor-noise')
  assert not set(base) & set(keys(noisy))
  other = find(root, degradation='poor-noise', seed=1)
  assert not set(keys(noisy)) & set(keys(other))
  monkeypatch.setattr(harness.code, 'code_version', lambda *_, **__: 'other')
  assert not set(base) & set(keys(found))


def test_a_method_without_training_runs_once_whatever_the_seeds(root):
  plan = harness.plan(find(root), ['nearest', 'zssr'], (4, 5), recipes())
  assert len(plan) == 3 + 6
  same = harness.plan(find(root), ['nearest'], (9,), recipes())
  assert [t.key for t in same] == [t.key for t in plan[:3]]


def test_the_true_kernel_goes_to_the_configs_that_ask_for_it(root):
  found = find(root, degradation='gaussian')
  blind = harness.plan(found, ['zssr'], (0,), recipes(TINY, 'blind'))
  given = recipes(TINY.replace(kernel='given'), 'told')
  told = harness.plan(found, ['zssr'], (0,), given)
  assert blind[0].kernel is None
  np.testing.assert_array_equal(told[0].kernel, found[0].kernel)
  with pytest.raises(ValueError, match='needs a blur kernel'):
    harness.plan(find(root), ['zssr'], (0,), given)


@pytest.mark.parametrize(
  'degradation', ['disc-noise', 'disc-noise3-jpeg60', 'disc-jpeg60-crop']
)
def test_who_is_told_the_truth_is_told_all_of_it(root, degradation):
  (case, *_) = find(root, degradation=degradation)
  given = recipes(TINY.replace(kernel='given'), 'told')
  (task,) = harness.plan([case], ['zssr'], (0,), given)
  assert task.known.noise_std == case.details.get('noise_std')
  if 'jpeg60' in degradation:
    np.testing.assert_array_equal(
      task.known.jpeg.tables, jpeg.of_quality(60).tables
    )
  else:
    assert task.known.jpeg is None
  # Another noise or compression makes another row.
  other = case._replace(
    details={}, jpeg=None, noise_std=(case.noise_std or 0) + 0.01
  )
  (changed,) = harness.plan([other], ['zssr'], (0,), given)
  assert changed.key != task.key
  (blind,) = harness.plan([case], ['zssr'], (0,), recipes())
  assert blind.known.noise_std is None and blind.known.jpeg is None


def test_an_automatic_config_sees_the_tables_of_the_file(root):
  (case, *_) = find(root, degradation='ideal-jpeg60')
  for config, sees in ((TINY, False), (TINY.replace(automatic=True), True)):
    with_tables, without = (
      harness.plan([c], ['zssr'], (0,), recipes(config))[0]
      for c in (case, case._replace(jpeg=None))
    )
    assert (with_tables.known.jpeg is not None) == sees
    assert (with_tables.key != without.key) == sees
    assert with_tables.known.noise_std is None and not with_tables.told


def test_the_truth_of_a_mixed_set_may_be_that_there_is_no_kernel(
  root, tmp_path, monkeypatch
):
  (case, *_) = find(root, degradation='ideal-jpeg60')
  case = case._replace(details={**case.details, 'drawn': 'ideal-jpeg60'})
  given = recipes(TINY.replace(kernel='given'), 'told')
  tasks = harness.plan([case], ['zssr'], (0,), given)
  seen = []

  def run_image(*, image, kernel, degradation, config, **_):
    yield from ()
    seen.append((kernel, degradation, config))
    return make_result(np.repeat(np.repeat(image, 2, 0), 2, 1), None)

  monkeypatch.setattr(super_resolution, 'run_image', run_image)
  (row,) = harness.run(
    tasks, rows.Store(tmp_path), devices=devices.available(1)
  )
  ((kernel, degradation, config),) = seen
  assert kernel is None and config.kernel == 'bicubic'
  assert degradation.jpeg.sampling == (2, 2)
  assert row['kernel_given'] and row['config']['kernel'] == 'given'
  assert row['known'] and row['found'] is None
  # The row's facts are all that its key is made of.
  assert rows.key_of(rows.facts_of(row)) == row['key']


@pytest.mark.slow
def test_a_variant_is_trained_by_its_own_recipe(root, tmp_path):
  other = TINY.replace(model='transposed', max_steps=3)
  made = {**recipes(), 'transposed': harness.Recipe(other, 'transposed')}
  tasks = harness.plan(find(root)[:1], ['zssr', 'transposed'], (0,), made)
  store = rows.Store(tmp_path)
  first, second = harness.run(tasks, store, devices=devices.available(1))
  assert (first['method'], first['steps']) == ('zssr', 5)
  assert (second['method'], second['steps']) == ('transposed', 3)
  assert second['config']['model'] == second['config_name'] == 'transposed'


@pytest.mark.slow
def test_a_start_reaches_the_training(root, tmp_path):
  image = find(root)[0].load().lr
  trained = super_resolution.train_image(image, 2, config=TINY).params
  scales = []

  def start(scale):
    scales.append(scale)
    return trained

  still = TINY.replace(max_steps=0)
  made = recipes(still, start=start)
  tasks = harness.plan(find(root)[:1], ['zssr'], (0,), made)
  (row,) = harness.run(
    tasks, rows.Store(tmp_path), devices=devices.available(1)
  )
  expected = super_resolution.train_image(image, 2, config=still, start=trained)
  kept = image_io.read_image(
    harness.image_path(rows.Store(tmp_path), row['key'])
  )
  np.testing.assert_allclose(kept, expected.image, atol=0.5 / 255 + 1e-6)
  assert set(scales) == {2.0}


def test_other_trained_parameters_make_another_row(root):
  found = find(root)[:1]
  trees = [None, {'conv': np.zeros(3)}, {'conv': np.ones(3)}]
  starts = [
    harness.plan(found, ['zssr'], (0,), recipes(start=lambda scale, t=t: t))[0]
    for t in trees
  ]
  networks = [
    harness.plan(found, ['zssr'], (0,), recipes(vgg=tree))[0] for tree in trees
  ]
  # Without any, the key is the same.
  assert len({task.key for task in (*starts, *networks)}) == 5
  assert len({task.start for task in starts}) == 3
  assert len({task.vgg for task in networks}) == 3
  assert starts[0].start is None and networks[0].vgg is None


@pytest.mark.slow
def test_several_devices_give_the_same_rows(root, tmp_path):
  config = TINY.replace(max_steps=20, schedule='cosine')
  one, _ = evaluate(root, tmp_path / 'one', ['zssr'], config)
  four, _ = evaluate(root, tmp_path / 'four', ['zssr'], config, device_count=4)
  assert [r['key'] for r in one] == sorted(
    (r['key'] for r in four), key=[r['key'] for r in one].index
  )
  of = {row['key']: row for row in four}
  for row in one:
    assert of[row['key']]['psnr'] == pytest.approx(row['psnr'], abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize('device_count', [1, 2])
def test_an_image_too_small_fails_alone(root, tmp_path, device_count):
  folder = tmp_path / 'Photos' / 'HR'
  folder.mkdir(parents=True)
  Image.fromarray(np.zeros((14, 14, 3), np.uint8)).save(folder / 'tiny.png')
  photo = root / 'Photos' / 'HR' / 'photo0.png'
  (folder / 'whole.png').write_bytes(photo.read_bytes())
  config = TINY.replace(crop_fraction=0.5)
  outcomes, store = evaluate(
    tmp_path, tmp_path / 'out', ['zssr'], config, device_count=device_count
  )
  failures = [o for o in outcomes if isinstance(o, harness.Failure)]
  assert [f.task.case.image for f in failures] == ['tiny']
  assert 'too small' in str(failures[0].error)
  assert [row['image'] for row in store.rows.values()] == ['whole']


def make_result(image, estimate, kernel=None, diagnosis=None):
  nothing = np.zeros(3, np.float32)
  curves = history.History(
    loss=nothing,
    learning_rate=nothing,
    error_steps=np.zeros(1, np.int32),
    error=nothing[:1],
    drops=(),
    rollbacks=(),
    stages=((2.0, 2.0, 3),),
  )
  return super_resolution.Result(
    image=image,
    params={},
    history=curves,
    kernel=kernel,
    config=TINY,
    degradation=Degradation(2, kernel),
    seconds={'train': 1.0},
    estimate=estimate,
    diagnosis=diagnosis,
    consistency=41.2345,
  )


def returns(result):
  """A run that trains nothing."""

  def run_image(**_):
    yield from ()
    return result

  return run_image


def off_center(dy, dx):
  """A kernel of scale 2 whose mass lies so many pixels off its place."""
  kernel = np.pad(blur_kernels.gaussian_kernel((2.0, 1.0), 0.4, 2), 4)
  return np.roll(kernel, (dy, dx), (0, 1))


def judged(root, folder, true, result, config):
  (case,) = [c for c in find(root) if c.image == 'photo1']
  case = case._replace(kernel=true)
  tasks = harness.plan([case], ['zssr'], (0,), recipes(config))
  (row,) = harness.run(tasks, rows.Store(folder), devices=devices.available(1))
  return row


@pytest.mark.parametrize('offset', [(1, -2), (-2, 1), (0, 2)])
def test_what_an_estimate_cannot_know_of_the_kernel_is_undone(
  root, tmp_path, monkeypatch, offset
):
  from skimage import data

  # A kernel off by d shows, where it is thought centred, the scene at x + d.
  y, x = 100 + offset[0], 180 + offset[1]
  perfect = data.astronaut()[y : y + 64, x : x + 72].astype(np.float32) / 255
  true = off_center(*offset)
  kernel = off_center(0, 0)
  estimate = estimation.Estimate(kernel, 'estimate', 0.87654, 'careful')
  results = [
    make_result(perfect, estimate, kernel),
    make_result(perfect, None, true),
  ]
  monkeypatch.setattr(super_resolution, 'run_image', returns(results[0]))
  config = TINY.replace(kernel='estimate')
  row = judged(root, tmp_path / 'a', true, results[0], config)
  assert row['psnr'] > 60 and row['ssim'] > 0.9999
  assert row['shift'] == pytest.approx(offset, abs=1e-3)
  facts = row['kernel']
  assert facts['agreement'] == 0.8765 and facts['warning'] == 'careful'
  assert facts['correlation'] == pytest.approx(1, abs=1e-3)
  width = blur_kernels.kernel_width(kernel)
  assert facts['width'] == pytest.approx(width, abs=1e-3)
  assert row['consistency'] == 41.23 and row['kernel_given'] is False
  assert json.loads(json.dumps(row, allow_nan=False))['kernel'] == facts
  # A kernel that was given takes its offset along: nothing is moved.
  monkeypatch.setattr(super_resolution, 'run_image', returns(results[1]))
  given = TINY.replace(kernel='given')
  row = judged(root, tmp_path / 'b', true, results[1], given)
  assert row['psnr'] < 35 and row['shift'] is None and row['kernel'] is None
  assert row['kernel_given'] is True


def test_a_diagnosis_is_noted_and_its_result_aligned(
  root, tmp_path, monkeypatch
):
  from skimage import data

  perfect = data.astronaut()[101:165, 178:250].astype(np.float32) / 255
  kernel = off_center(0, 0)
  found = Diagnosis(
    Degradation(2, kernel, noise_std=2 / 255), (), 'a blur', 'a reason', None
  )
  result = make_result(perfect, None, kernel, found)
  monkeypatch.setattr(super_resolution, 'run_image', returns(result))
  for given, moved in (('auto', [1, -2]), ('given', None)):
    config = TINY.replace(kernel=given, automatic=True)
    row = judged(root, tmp_path / given, off_center(1, -2), result, config)
    assert row['found'] == 'a blur, noise 2.0/255'
    assert row['reason'] == 'a reason'
    assert row['shift'] == (moved and pytest.approx(moved, abs=1e-3))
    assert (row['kernel'] is None) == (given == 'given')
    json.dumps(row, allow_nan=False)
    if given == 'auto':
      assert row['psnr'] > 60
      assert row['kernel'].keys() == {'width', 'correlation'}


@pytest.mark.parametrize('shift', [(0.4, -0.7), (-0.25, 0.0)])
def test_shifts_of_parts_of_a_pixel_are_undone(root, shift):
  def scene(dy, dx):
    y, x = np.mgrid[:64, :72]
    wave = np.sin((y + dy) / 2.5) * np.cos((x + dx) / 3)
    return (0.5 + 0.4 * wave)[..., None].astype(np.float32)

  # Shared linearly between two places, the mass lies where it should.
  true = off_center(0, 0)
  for axis, part in enumerate(shift):
    whole = int(np.sign(part))
    true = (1 - abs(part)) * true + abs(part) * np.roll(true, whole, axis)
  case = find(root)[0]._replace(kernel=true)
  (task,) = harness.plan([case], ['zssr'], (0,), recipes())
  estimate = estimation.Estimate(None, 'joint', float('nan'), None)
  image, moved = harness._align(task, make_result(scene(*shift), estimate))
  assert moved == pytest.approx(shift, abs=1e-3)
  inside = np.s_[8:-8, 8:-8]
  np.testing.assert_allclose(image[inside], scene(0, 0)[inside], atol=2e-3)
  # Nothing to measure is null, not NaN.
  facts = harness._kernel_facts(task, make_result(image, estimate))
  assert facts == {'agreement': None, 'warning': None}


def test_a_row_tells_why_no_kernel_was_found(root, tmp_path):
  config = TINY.replace(kernel='estimate', max_steps=1)
  outcomes, store = evaluate(root, tmp_path, ['zssr'], config)
  assert len(outcomes) == 3
  for row in json.loads(json.dumps(outcomes, allow_nan=False)):
    assert row['kernel']['agreement'] is None
    assert '32x36 pixels are too few' in row['kernel']['warning']
    assert row['kernel'].keys() == {'agreement', 'warning'}
    assert row['shift'] is None and not row['kernel_given']
    assert 20 < row['consistency'] <= 120
    with np.load(harness.curves_path(store, row['key'])) as curves:
      assert 'kernel' not in curves


def test_a_centred_or_unknown_kernel_moves_nothing(root):
  image = np.random.default_rng(0).random((64, 72, 3)).astype(np.float32)
  estimate = estimation.Estimate(None, 'estimate', 0.9, None)
  for true in (off_center(0, 0), None):
    case = find(root)[0]._replace(kernel=true)
    (task,) = harness.plan([case], ['zssr'], (0,), recipes())
    same, moved = harness._align(task, make_result(image, estimate))
    assert moved is None
    np.testing.assert_array_equal(same, image)


@pytest.mark.slow
def test_a_distance_is_measured_when_asked_for(root, tmp_path):
  outcomes, _ = evaluate(
    root, tmp_path, ['bicubic'], lpips=lambda a, b: float(np.abs(a - b).mean())
  )
  pixels = find(root)[0].load()
  bicubic = interpolation.bicubic(pixels.lr, 2)
  expected = np.abs(bicubic - pixels.hr).mean()
  assert outcomes[0]['lpips'] == pytest.approx(expected, abs=1e-5)


def test_an_unknown_method_is_answered_with_the_known_ones():
  with pytest.raises(ValueError, match='there are: nearest, bilinear'):
    methods.find('magic')


def test_cases_of_a_data_set_with_lr_images_are_its_own(data_root):
  found = cases.find_cases(data_root, 'MZSR_g20_Set5', 2.0, limit=2)
  assert [(c.image, c.of, c.degradation) for c in found] == [
    ('baby', 5, 'own'),
    ('bird', 5, 'own'),
  ]
  assert found[0].kernel.shape == (21, 21)
  pixels = found[0].load()
  lr_file = data_root / 'MZSR_g20_Set5' / 'LR_x2' / 'baby.png'
  np.testing.assert_array_equal(pixels.lr, image_io.read_image(lr_file))


def test_ideal_cases_equal_matlabs_lr_images(data_root):
  own = cases.find_cases(data_root, 'Set5', 3.0, limit=2)
  ideal = cases.find_cases(data_root, 'Set5', 3.0, 'ideal', limit=2)
  assert [c.digest for c in own] == [c.digest for c in ideal]
