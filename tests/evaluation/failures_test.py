"""One bad image never stops the evaluation of the others."""

import numpy as np
import pytest
from PIL import Image

from zssr_jax import super_resolution
from zssr_jax.config import Config
from zssr_jax.errors import InputError
from zssr_jax.evaluation import cases, harness, methods, rows
from zssr_jax.parallel import devices

TINY = Config(model='pixel_shuffle', depth=3, width=8, crop=16, max_steps=1)


@pytest.fixture
def found(tmp_path):
  folder = tmp_path / 'mine'
  folder.mkdir()
  y, x = np.mgrid[:48, :52]
  pixels = (128 + 60 * np.sin(x / 5) + 60 * np.cos(y / 7)).astype(np.uint8)
  for name in 'abc':
    Image.fromarray(pixels).save(folder / f'{name}.png')
  return cases.find_cases(tmp_path, str(folder), 2.0)


def evaluate(found, folder, name, **options):
  recipes = {methods.ZSSR: harness.Recipe(TINY, 'tiny')}
  tasks = harness.plan(found, [name], (0,), recipes)
  store = rows.Store(folder)
  outcomes = list(
    harness.run(tasks, store, devices=devices.available(1), **options)
  )
  failures = [o for o in outcomes if isinstance(o, harness.Failure)]
  return failures, [row['image'] for row in store.rows.values()]


@pytest.mark.slow
@pytest.mark.parametrize('name', ['bicubic', 'zssr'])
@pytest.mark.parametrize('in_flight', [1, 2])
def test_a_file_that_went_away_fails_alone(found, tmp_path, name, in_flight):
  found[1].pair.hr.unlink()
  failures, made = evaluate(found, tmp_path / 'out', name, in_flight=in_flight)
  assert sorted(made) == ['a', 'c']
  ((task, error),) = failures
  assert task.case.image == 'b' and isinstance(error, InputError)
  assert 'b.png: no such file' in str(error)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['bicubic', 'zssr'])
def test_an_image_too_small_to_score_fails_alone(found, tmp_path, name):
  Image.fromarray(np.zeros((14, 14), np.uint8)).save(found[1].pair.hr)
  found = cases.find_cases(tmp_path, str(found[1].pair.hr.parent), 2.0)
  failures, made = evaluate(found, tmp_path / 'out', name)
  assert made == ['a', 'c']
  assert [f.task.case.image for f in failures] == ['b']
  assert 'too small' in str(failures[0].error)


@pytest.mark.slow
def test_memory_that_is_short_fails_the_image_alone(
  found, tmp_path, monkeypatch
):
  run_image = super_resolution.run_image
  seen = []

  def short(**arguments):
    seen.append(arguments)
    if len(seen) == 2:
      raise MemoryError
    return (yield from run_image(**arguments))

  monkeypatch.setattr(super_resolution, 'run_image', short)
  failures, made = evaluate(found, tmp_path / 'out', 'zssr')
  assert made == ['a', 'c']
  assert isinstance(failures[0].error, MemoryError)


def test_a_disk_that_is_full_stops_the_run(found, tmp_path, monkeypatch):
  def full(contents):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(harness.files, 'write_files', full)
  with pytest.raises(OSError, match='No space left'):
    evaluate(found, tmp_path / 'out', 'zssr')


def test_the_memory_of_an_image_is_measured_while_it_is_alone(
  found, tmp_path, monkeypatch
):
  log = []
  run_image = super_resolution.run_image

  def logged(**arguments):
    log.append('begin')
    result = yield from run_image(**arguments)
    log.append('end')
    return result

  def peak(device):
    log.append('peak')
    return 1.0

  monkeypatch.setattr(super_resolution, 'run_image', logged)
  monkeypatch.setattr(harness.memory, 'reset_peak', lambda: log.append('reset'))
  monkeypatch.setattr(harness.memory, 'peak_megabytes', peak)
  evaluate(found, tmp_path / 'out', 'zssr')
  assert log == ['reset', 'begin', 'end', 'peak'] * 3


def test_progress_is_told_of_each_task(found, tmp_path):
  told = []
  evaluate(
    found,
    tmp_path / 'out',
    'zssr',
    progress=lambda task, part: told.append((task.case.image, part.step)),
  )
  assert told == [('a', 1), ('b', 1), ('c', 1)]
