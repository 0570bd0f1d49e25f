"""The package as others install it: built, unpacked elsewhere, run."""

import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import numpy as np
import pytest
from PIL import Image

import zssr_jax

ROOT = pathlib.Path(__file__).parents[1]
DESCRIPTION = ('LICENSE', 'README.md', 'pyproject.toml', 'setup.py')

# What a user writes, and what it says of where it ran.
PROGRAM = """
import importlib.metadata, json
import jax, numpy as np, zssr_jax

image = np.random.default_rng(0).random((16, 16, 3)).astype(np.float32)
config = zssr_jax.Config(
  model='pixel_shuffle', start='transferred', start_steps=2, crop=16
)
result = zssr_jax.train_image(
  image, 2, config=config, key=jax.random.key(0),
  start=zssr_jax.load_start('transferred', 2),
)
print(json.dumps({
  'file': zssr_jax.__file__,
  'versions': [zssr_jax.__version__, importlib.metadata.version('zssr_jax')],
  'shape': result.image.shape,
  'finite': bool(np.isfinite(result.image).all()),
  'steps': len(result.history.loss),
}))
"""


def run(*command, cwd):
  """Runs a command that sees nothing of this checkout; returns its output."""
  hidden = ('PYTHONPATH', 'PYTHONHOME')
  result = subprocess.run(
    list(map(str, command)),
    cwd=cwd,
    env={k: v for k, v in os.environ.items() if k not in hidden},
    capture_output=True,
    text=True,
    timeout=600,
  )
  assert result.returncode == 0, result.stdout + result.stderr
  return result.stdout


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
  """The wheel, built by way of the source archive as `python -m build` does."""
  folder = tmp_path_factory.mktemp('wheel')
  source = folder / 'source'
  # A copy, because a build leaves folders behind, and takes files from those
  # of an earlier one.
  shutil.copytree(
    ROOT / 'zssr_jax',
    source / 'zssr_jax',
    ignore=shutil.ignore_patterns('__pycache__'),
  )
  for name in DESCRIPTION:
    shutil.copy(ROOT / name, source)
  build = 'from setuptools import build_meta; build_meta.build_sdist("..")'
  run(sys.executable, '-c', build, cwd=source)
  [archive] = folder.glob('*.tar.gz')
  run(
    *(sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-index'),
    *('--no-build-isolation', '--wheel-dir', folder, archive),
    cwd=folder,
  )
  [path] = folder.glob('*.whl')
  return path


def test_every_file_names_the_same_version():
  version = zssr_jax.__version__
  assert f'\nversion: {version}\n' in (ROOT / 'CITATION.cff').read_text()
  headings = re.findall('(?m)^## .*', (ROOT / 'CHANGELOG.md').read_text())
  assert version in headings[0]


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(wheel):
  assert wheel.name == f'zssr_jax-{zssr_jax.__version__}-py3-none-any.whl'
  with zipfile.ZipFile(wheel) as archive:
    names = {name for name in archive.namelist() if '.dist-info/' not in name}
  ignored = ('__pycache__', '.DS_Store')
  assert names == {
    str(path.relative_to(ROOT))
    for path in (ROOT / 'zssr_jax').rglob('*')
    if path.is_file() and not set(ignored) & set(path.parts)
  }
  assert {pathlib.Path(name).suffix for name in names} >= {'.css', '.js'}
  assert 'zssr_jax/py.typed' in names
  assert any(name.startswith('zssr_jax/weights/start_x2.') for name in names)


@pytest.mark.slow
def test_the_wheel_says_what_it_needs_and_may_be_used_for(wheel, tmp_path):
  with zipfile.ZipFile(wheel) as archive:
    archive.extractall(tmp_path)
  [folder] = tmp_path.glob('*.dist-info')
  metadata = importlib.metadata.PathDistribution(folder)
  assert metadata.metadata['License-Expression'] == 'Apache-2.0'
  assert (folder / 'licenses/LICENSE').read_bytes() == (
    ROOT / 'LICENSE'
  ).read_bytes()
  needed = [text for text in metadata.requires or () if 'extra' not in text]
  assert any(text.startswith('jax>=') for text in needed)
  assert not any(text.startswith(('torch', 'gradio')) for text in needed)


@pytest.fixture(scope='module')
def home(wheel, tmp_path_factory):
  """An environment that holds the wheel, and nothing of this checkout."""
  tmp_path = tmp_path_factory.mktemp('installed')
  home = tmp_path / 'environment'
  run(sys.executable, '-m', 'venv', '--without-pip', home, cwd=tmp_path)
  python = home / 'bin/python'
  run(
    *(sys.executable, '-m', 'pip', '--python', python, 'install', '--no-deps'),
    *('--no-index', wheel),
    cwd=tmp_path,
  )
  # Dependencies are borrowed. A .pth file that is read from another does not
  # count, so this leaves out checkouts that are installed to be edited.
  site = sysconfig.get_path(
    'purelib', 'venv', {'base': str(home), 'platbase': str(home)}
  )
  paths = dict.fromkeys(map(sysconfig.get_path, ('purelib', 'platlib')))
  (pathlib.Path(site) / 'borrowed.pth').write_text('\n'.join(paths) + '\n')
  return home


@pytest.mark.slow
def test_installed_elsewhere_it_upscales_an_image(home, tmp_path):
  elsewhere = tmp_path / 'elsewhere'
  elsewhere.mkdir()
  seen = json.loads(run(home / 'bin/python', '-c', PROGRAM, cwd=elsewhere))
  assert pathlib.Path(seen['file']).is_relative_to(home)
  assert seen['versions'] == [zssr_jax.__version__] * 2
  assert seen['shape'] == [32, 32, 3] and seen['finite']
  assert seen['steps'] == 2
  assert not list(elsewhere.iterdir())


@pytest.mark.slow
def test_installed_elsewhere_the_commands_run(home, tmp_path):
  pixels = np.random.default_rng(0).integers(0, 255, (20, 24, 3), np.uint8)
  Image.fromarray(pixels).save(tmp_path / 'photo.jpg')
  flags = ('--config=fast', '--config.start_steps=2')
  said = run(home / 'bin/zssr', 'photo.jpg', *flags, cwd=tmp_path)
  assert said.startswith('photo_x2.png  ')
  with Image.open(tmp_path / 'photo_x2.png') as image:
    assert image.size == (48, 40)
  assert sorted(path.name for path in tmp_path.iterdir()) == [
    'photo.jpg',
    'photo_x2.json',
    'photo_x2.png',
  ]
  for command in ('zssr', 'zssr-eval', 'zssr-train', 'zssr-convert'):
    assert f'  {command} ' in run(
      home / 'bin' / command, '--help', cwd=tmp_path
    )
