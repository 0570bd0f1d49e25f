"""Rows proven the same are carried over to the present code, no others."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from zssr_jax.config import Config
from zssr_jax.evaluation import cases, code, harness, methods, rows
from zssr_jax.parallel import devices

ROOT = pathlib.Path(__file__).parents[2]
TINY = Config(model='pixel_shuffle', depth=3, width=8, crop=24, max_steps=2)


@pytest.fixture
def script(load_script):
  return load_script('benchmarks/rekey_rows.py')


@pytest.fixture(scope='module')
def found(tmp_path_factory):
  """Two test images."""
  root = tmp_path_factory.mktemp('data')
  (root / 'Noise' / 'HR').mkdir(parents=True)
  for name in ('a', 'b'):
    pixels = np.random.default_rng(ord(name)).integers(0, 256, (48, 56, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(
      root / 'Noise' / 'HR' / f'{name}.png'
    )
  return cases.find_cases(root, 'Noise', 2.0)


def plan(found, config=TINY):
  recipe = harness.Recipe(config, 'tiny')
  return harness.plan(
    found, ['bicubic', methods.ZSSR], (3,), {methods.ZSSR: recipe}
  )


def make(found, folder, version=None):
  """Rows as code called `version` makes them; those that were missing."""
  with pytest.MonkeyPatch.context() as patch:
    if version:
      patch.setattr(code, 'method_version', lambda *_: version)
    tasks = plan(found)
  store = rows.Store(folder)
  return [*harness.run(tasks, store, devices=devices.available(1))]


@pytest.fixture(scope='module')
def made(found, tmp_path_factory):
  """Rows of two digests: both images by one, the first by another as well."""
  folder = tmp_path_factory.mktemp('rows')
  assert len(make(found, folder, 'aaaaaaaaaaaa')) == 4
  assert len(make(found[:1], folder, 'bbbbbbbbbbbb')) == 2
  return folder


@pytest.fixture
def folder(made, tmp_path):
  """A copy of them."""
  for path in made.rglob('*.*'):
    copy = tmp_path / path.relative_to(made)
    copy.parent.mkdir(exist_ok=True)
    copy.write_bytes(path.read_bytes())
  return tmp_path


def read(folder):
  return rows.read_rows(folder / rows.NAME)


def write(folder, changed):
  lines = [json.dumps(row) + '\n' for row in changed]
  (folder / rows.NAME).write_text(''.join(lines))


def everything(folder):
  return {p: p.read_bytes() for p in folder.rglob('*.*') if p.is_file()}


@pytest.mark.slow
def test_rows_carried_over_are_not_made_again(script, found, folder, capsys):
  before = read(folder)
  files = everything(folder)
  # Without, all would be: their code is not today's.
  tasks = plan(found)
  assert not {t.key for t in tasks} & {row['key'] for row in before}
  assert script.main([f'--rows={folder}', '--from=aaaaaaaaaaaa']) == 0
  assert make(found, folder) == []
  after = read(folder)
  assert {t.key for t in tasks} == {row['key'] for row in after[:4]}
  for old, new in zip(before[:4], after[:4], strict=True):
    config = TINY if new['config'] else None
    assert new['code'] == code.method_version(new['method'], config)
    assert list(new) == list(old)
    assert {**new, 'key': 0, 'code': 0} == {**old, 'key': 0, 'code': 0}
  # What lies beside the rows that were trained goes with them.
  store = rows.Store(folder)
  for path in (harness.image_path, harness.curves_path):
    for old, new in zip(before[2:4], after[2:4], strict=True):
      assert (
        path(store, new['key']).read_bytes() == files[path(store, old['key'])]
      )
      assert not path(store, old['key']).exists()
  # The others are as they were.
  assert after[4:] == before[4:]
  assert harness.image_path(store, after[5]['key']).is_file()
  assert 'bbbbbbbbbbbb' in (folder / 'table.md').read_text()
  said = capsys.readouterr().out
  assert '    4 rows re-keyed' in said and '    2 rows left' in said
  assert '2 not asked for: bbbbbbbbbbbb' in said
  today = code.method_version('zssr', TINY)
  assert f'2 zssr, tiny: aaaaaaaaaaaa -> {today}' in said


@pytest.mark.slow
def test_rows_of_other_code_are_made_again(script, found, folder):
  assert script.main([f'--rows={folder}', '--from=bbbbbbbbbbbb']) == 0
  again = make(found, folder)
  assert [(row['image'], row['method']) for row in again] == [
    ('b', 'bicubic'),
    ('b', 'zssr'),
  ]


def test_a_second_time_and_a_dry_run_change_nothing(script, folder, capsys):
  arguments = [f'--rows={folder}', '--from=aaaaaaaaaaaa']
  before = everything(folder)
  assert script.main([*arguments, '--dry-run']) == 0
  assert everything(folder) == before
  assert '    4 rows re-keyed' in capsys.readouterr().out
  assert script.main(arguments) == 0
  after = everything(folder)
  assert after != before
  today = {code.method_version('bicubic'), code.method_version('zssr', TINY)}
  assert script.main([f'--rows={folder}', f'--from={",".join(today)}']) == 0
  assert everything(folder) == after
  assert '4 they are those of today' in capsys.readouterr().out


def test_an_interrupted_run_is_finished_by_the_next(script, found, folder):
  # Stopped between the renaming and the rows.
  done = read(folder)
  plan = script.make_plan(done, lambda row: row['code'] == 'aaaaaaaaaaaa')
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(script.files, 'write_files', lambda files: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      script.write(plan, folder)
  assert read(folder) == done
  assert script.main([f'--rows={folder}', '--from=aaaaaaaaaaaa']) == 0
  store = rows.Store(folder)
  for row in read(folder)[2:4]:
    assert harness.image_path(store, row['key']).is_file()
    assert harness.curves_path(store, row['key']).is_file()


def test_two_rows_never_get_one_key(script, folder, capsys):
  before = everything(folder)
  arguments = [f'--rows={folder}', '--from=aaaaaaaaaaaa,bbbbbbbbbbbb']
  assert script.main(arguments) == 2
  assert everything(folder) == before
  said = capsys.readouterr().err
  assert 'would both be' in said and said.count('\n') == 1


def test_methods_and_configs_narrow_it_down(script, folder):
  both = [f'--rows={folder}', '--from=aaaaaaaaaaaa']

  def codes(*more):
    assert script.main([*both, *more]) == 0
    return [row['code'] for row in read(folder)]

  old = [row['code'] for row in read(folder)]
  assert codes('--configs=other') == codes('--methods=vdsr') == old
  assert codes('--configs=tiny')[:2] == old[:2]
  assert codes('--methods=bicubic')[0] == code.method_version('bicubic')


def earlier(folder, **fields):
  """Rewrites the rows as if their configs had had these fields, or not."""
  changed = []
  for row in read(folder):
    if row['config'] is not None:
      config = {**row['config'], **fields}
      row['config'] = {k: v for k, v in config.items() if v is not None}
      row['key'] = rows.key_of(rows.facts_of(row))
    changed.append(row)
  write(folder, changed)


def test_configs_are_translated_to_the_fields_of_today(
  script, found, folder, monkeypatch
):
  # `width` was called channels, and nobody had thought of a patience.
  earlier(folder, width=None, channels=8, patience=None)

  def rename(fields):
    if 'channels' in fields:
      fields['width'] = fields.pop('channels')
    return fields

  monkeypatch.setattr(script, 'MIGRATIONS', [rename])
  before = read(folder)
  assert script.main([f'--rows={folder}', '--from=aaaaaaaaaaaa']) == 0
  after = read(folder)
  tasks = plan(found)
  assert [row['key'] for row in after[:4]] == [task.key for task in tasks]
  assert after[2]['config_hash'] == harness.config_hash(TINY)
  assert after[2]['config']['width'] == 8
  assert after[4:] == before[4:]


@pytest.mark.parametrize(
  ('luma', 'content', 'losses'),
  [
    (0.9, 0.0, (('luma', 0.9), ('l1', 0.1))),  # as in `fast`
    (0.0, 0.005, (('l1', 1.0), ('content', 0.005))),  # ... `hybrid_loss`
    (0.0, 0.0, (('l1', 1.0),)),
    (1.0, 0.0, (('luma', 1.0),)),
  ],
)
def test_the_losses_were_two_numbers_once(script, luma, content, losses):
  fields = {'luma_share': luma, 'content_weight': content, 'width': 8}
  expected = Config(losses=losses, width=8)
  assert script.migrate(fields) == expected
  # What has been translated stays.
  assert script.migrate(vars(expected)) == expected


@pytest.mark.parametrize(('ensemble', 'copies'), [(True, 8), (False, 1)])
def test_copies_were_all_or_one_once(script, ensemble, copies):
  expected = Config(copies=copies)
  assert script.migrate({'self_ensemble': ensemble}) == expected
  assert script.migrate(vars(expected)) == expected


@pytest.mark.parametrize(
  ('fields', 'reason'),
  [
    ({'channels': 8}, "unexpected keyword argument 'channels'"),
    ({'width': 0}, 'config.width must lie in'),
  ],
)
def test_what_cannot_be_translated_is_left(
  script, folder, capsys, fields, reason
):
  earlier(folder, **fields)
  before = read(folder)
  assert script.main([f'--rows={folder}', '--from=aaaaaaaaaaaa']) == 0
  after = read(folder)
  assert after[2:] == before[2:] and after[:2] != before[:2]
  assert reason in capsys.readouterr().out


def test_a_row_with_a_foreign_key_is_left(script, folder, capsys):
  before = read(folder)
  before[0]['scale'] = 3.0
  before[1]['method'] = 'magic'
  before[1]['key'] = rows.key_of(rows.facts_of(before[1]))
  write(folder, before)
  assert script.main([f'--rows={folder}', '--from=aaaaaaaaaaaa']) == 0
  assert read(folder)[:2] == before[:2]
  said = capsys.readouterr().out
  assert '1 their key is not that of what they hold' in said
  assert "1 unknown method 'magic'" in said


@pytest.mark.slow
def test_another_checkout_tells_its_digests(script, folder):
  old = read(folder)
  old[0]['method'] = 'magic'
  found = script.versions_of(ROOT, old)
  assert [found[script._made_by(row)] for row in old[:3]] == [
    None,
    code.method_version('bicubic'),
    code.method_version('zssr', TINY),
  ]


@pytest.mark.slow
def test_what_cannot_be_read_is_named(script, tmp_path, capsys):
  assert script.main([f'--rows={tmp_path}', '--from=a']) == 2
  assert 'rows.jsonl: no such file' in capsys.readouterr().err
  (tmp_path / 'rows.jsonl').write_text('{"method": "bicubic"}\n')
  # The package that is installed does not answer for the other.
  (tmp_path / 'zssr_jax').mkdir()
  (tmp_path / 'zssr_jax' / '__init__.py').touch()
  for checkout, why in (
    (tmp_path, 'does not tell its digests'),
    (tmp_path / 'none', 'no checkout'),
  ):
    assert script.main([f'--rows={tmp_path}', f'--before={checkout}']) == 2
    said = capsys.readouterr().err
    assert f'{checkout}: {why}' in said and said.count('\n') == 1
  with pytest.raises(SystemExit):
    script.main([f'--rows={tmp_path}'])
