"""The code version follows the code, and nothing else."""

import shutil

import pytest

from zssr_jax.evaluation import code

ROOT = code._ROOT


@pytest.fixture
def copy(tmp_path, monkeypatch):
  """A copy of the sources that the version is taken of."""
  folder = tmp_path / 'zssr_jax'
  shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns('__pycache__'))
  monkeypatch.setattr(code, '_ROOT', folder)
  return folder


def version():
  return code.code_version.__wrapped__('zssr_jax.zssr')


@pytest.mark.parametrize(
  'file', ['training/pool.py', 'ops/resize.py', 'models/conv.py', 'config.py']
)
def test_it_changes_with_every_module_the_method_uses(copy, file):
  before = version()
  with (copy / file).open('a') as source:
    source.write('\n_MORE = 1\n')
  assert version() != before


def test_it_ignores_comments_docstrings_and_other_modules(copy):
  before = version()
  pool = copy / 'training' / 'pool.py'
  text = pool.read_text().split('"""', 2)[2]
  pool.write_text(f'"""Another docstring."""\n# And a comment.\n\n{text}')
  (copy / 'models' / 'unused.py').write_text('x = 1\n')
  (copy / 'evaluation' / 'tables.py').write_text('')
  (copy / 'baselines' / 'interpolation.py').write_text('')
  assert version() == before


def test_another_root_has_another_version():
  whole = code.code_version('zssr_jax.zssr')
  assert whole == code.code_version('zssr_jax.zssr')
  assert whole != code.code_version('zssr_jax.ops.metrics')
  assert len(whole) == 12
