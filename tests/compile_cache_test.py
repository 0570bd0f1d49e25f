"""Compiled programs are kept where told, and taken from there."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import jax
import pytest

from zssr_jax import compile_cache

# A user's script: prints where programs are kept, and what was there.
PROGRAM = """
import collections, json, os, sys, warnings
import jax, numpy as np, zssr_jax
events = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: events.update([name]))
config = zssr_jax.load_config('smoke', max_steps=1, depth=2, width=4)
image = np.random.default_rng(0).random((16, 16, 3), np.float32)
jax.numpy.zeros(3)  # something was compiled before
for setting in sys.argv[1:]:
  name, _, value = setting.partition('=')
  if name == 'user':
    os.seteuid(int(value))
  else:
    jax.config.update(name, value)
warnings.simplefilter('error')
zssr_jax.train_image(image, 2, config=config)
print(json.dumps({
  'folder': jax.config.jax_compilation_cache_dir,
  'hits': events['/jax/compilation_cache/cache_hits'],
  'misses': events['/jax/compilation_cache/cache_misses'],
}))
"""
NOBODY = 65534


def run(cache, *settings):
  hidden = ('JAX_COMPILATION_CACHE_DIR', 'ZSSR_JAX_CACHE')
  hidden += ('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS',)
  environment = {k: v for k, v in os.environ.items() if k not in hidden}
  done = subprocess.run(
    [sys.executable, '-c', PROGRAM, *settings],
    env=environment | {'ZSSR_JAX_CACHE': str(cache)},
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert (done.returncode, done.stderr) == (0, ''), done.stderr
  return json.loads(done.stdout)


@pytest.fixture
def folder():
  """One that others may look into, unlike pytest's."""
  path = pathlib.Path(tempfile.mkdtemp())
  path.chmod(0o755)
  yield path
  shutil.rmtree(path)


@pytest.mark.slow
def test_a_library_keeps_its_programs_and_takes_them(folder, tmp_path):
  cache = folder / 'cache'
  first = run(cache)
  assert first['folder'] == str(cache)
  kept = sorted(path.name for path in cache.iterdir())
  assert kept and first['misses'] >= len(kept)
  second = run(cache)
  assert second['misses'] == 0 and second['hits'] >= len(kept)
  # One that cannot be written is read, and nothing is said of it.
  next(cache.iterdir()).unlink()
  cache.chmod(0o555)
  settings = [f'user={NOBODY}'] if os.geteuid() == 0 else []
  third = run(cache, *settings)
  cache.chmod(0o755)
  assert third['folder'] == str(cache)
  assert third['misses'] >= 1 and third['hits'] >= len(kept) - 1
  assert len(list(cache.iterdir())) == len(kept) - 1
  # A setting of JAX's own goes first.
  own = f'jax_compilation_cache_dir={tmp_path / "own"}'
  assert run(cache, own)['folder'] == str(tmp_path / 'own')
  assert len(list(cache.iterdir())) == len(kept) - 1


@pytest.mark.slow
def test_an_empty_name_keeps_nothing():
  assert run('')['folder'] is None


@pytest.mark.parametrize(
  ('variables', 'folder'),
  [
    ({'ZSSR_JAX_CACHE': 'chosen'}, 'chosen'),
    ({'XDG_CACHE_HOME': 'xdg'}, 'xdg/zssr_jax'),
    ({'HOME': 'home'}, 'home/.cache/zssr_jax'),
    ({'ZSSR_JAX_CACHE': ''}, None),
    ({'ZSSR_JAX_CACHE': 'file/below'}, None),  # unwritable: done without
  ],
)
def test_compile_cache_lies_where_told(
  tmp_path, monkeypatch, variables, folder
):
  (tmp_path / 'file').touch()
  for name in ('ZSSR_JAX_CACHE', 'XDG_CACHE_HOME'):
    monkeypatch.delenv(name, raising=False)
  for name, value in variables.items():
    monkeypatch.setenv(name, value and str(tmp_path / value))
  names = (
    'jax_compilation_cache_dir',
    'jax_persistent_cache_min_compile_time_secs',
  )
  before = [getattr(jax.config, name) for name in names]
  jax.config.update(names[0], None)
  try:
    compile_cache.use_compile_cache.__wrapped__()
    chosen = jax.config.jax_compilation_cache_dir
    assert chosen == (folder and str(tmp_path / folder))
    assert not chosen or os.path.isdir(chosen)
  finally:
    for name, value in zip(names, before, strict=True):
      jax.config.update(name, value)
