"""The import rule of pyproject.toml holds, and its check can fail."""

import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def lint_imports(folder: pathlib.Path) -> subprocess.CompletedProcess:
  """Checks the package in `folder` against the contracts beside it."""
  program = 'from importlinter import cli; cli.lint_imports_command()'
  return subprocess.run(
    [sys.executable, '-c', program, '--no-cache', '--no-logo'],
    cwd=folder,
    capture_output=True,
    text=True,
  )


@pytest.fixture
def copy(tmp_path: pathlib.Path) -> pathlib.Path:
  """A folder with a copy of the package and of its contracts."""
  shutil.copy(ROOT / 'pyproject.toml', tmp_path)
  shutil.copytree(
    ROOT / 'zssr_jax',
    tmp_path / 'zssr_jax',
    ignore=shutil.ignore_patterns('__pycache__'),
  )
  return tmp_path


def test_imports_go_downwards_only():
  result = lint_imports(ROOT)
  assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
  ('file', 'line', 'complaint'),
  [
    (
      'ops/__init__.py',
      'import zssr_jax.training.loop',
      'zssr_jax.ops is not allowed to import zssr_jax.training',
    ),
    (
      'models/__init__.py',
      'import zssr_jax.data.datasets',
      'zssr_jax.models is not allowed to import zssr_jax.data',
    ),
    (
      'training/pool.py',
      'import zssr_jax.training.step',
      'zssr_jax.training.pool is not allowed to import zssr_jax.training.step',
    ),
    (
      'config.py',
      'import torch',
      'zssr_jax is not allowed to import torch',
    ),
    (
      'weights/parameters.py',
      'import torch',
      'zssr_jax is not allowed to import torch',
    ),
    ('stray.py', '', 'stray'),
  ],
)
def test_violations_are_found(copy, file, line, complaint):
  with (copy / 'zssr_jax' / file).open('a') as f:
    f.write(f'\n{line}\n')
  result = lint_imports(copy)
  assert result.returncode == 1, result.stderr
  # The report wraps its lines.
  assert complaint in ' '.join(result.stdout.split())
