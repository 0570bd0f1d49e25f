"""Compiled programs are kept where told, and taken from there."""

import json
import os
import subprocess
import sys

import jax
import pytest

from zssr_jax import compile_cache

# A user's script: prints where programs are kept, and what was there.
PROGRAM = """
import collections, json, pathlib, sys, tempfile, warnings
import jax, numpy as np, zssr_jax
events = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: events.update([name]))
image = np.random.default_rng(0).random((16, 16, 3), np.float32)
jax.numpy.zeros(3)  # something was compiled before
if 'locked' in sys.argv:  # whoever runs this, who may be allowed everything
  def refuse(*_, **__):
    raise PermissionError(13, 'Permission denied')
  tempfile.TemporaryFile = pathlib.Path.write_bytes = refuse
warnings.simplefilter('error')

class Enough(Exception):
  pass

def stop(progress):
  raise Enough

try:  # it is the library that turns the cache on
  zssr_jax.train_image(image, 2, config='smoke', progress=stop)
except Enough:
  pass
for name in sys.argv[1]:
  jax.jit(lambda x: ord(name) * x + 1)(jax.numpy.ones(7))
print(json.dumps({
  'folder': jax.config.jax_compilation_cache_dir,
  'hits': events['/jax/compilation_cache/cache_hits'],
  'misses': events['/jax/compilation_cache/cache_misses'],
}))
"""


def run(cache, *words):
  hidden = ('JAX_COMPILATION_CACHE_DIR', 'ZSSR_JAX_CACHE')
  hidden += ('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS',)
  environment = {k: v for k, v in os.environ.items() if k not in hidden}
  done = subprocess.run(
    [sys.executable, '-c', PROGRAM, *words],
    env=environment | {'ZSSR_JAX_CACHE': str(cache)},
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert (done.returncode, done.stderr) == (0, ''), done.stderr
  return json.loads(done.stdout)


@pytest.mark.slow
def test_a_library_keeps_its_programs_and_takes_them(tmp_path):
  cache = tmp_path / 'cache'
  first = run(cache, 'ab')
  assert first['folder'] == str(cache)
  kept = sorted(path.name for path in cache.glob('*-cache'))
  assert kept and first['misses'] >= len(kept)
  second = run(cache, 'ab')
  assert (second['misses'], second['hits']) == (0, first['misses'])
  # One that cannot be written is read, and nothing is said of it.
  third = run(cache, 'abc', 'locked')
  assert third['folder'] == str(cache)
  assert third['hits'] == second['hits']
  assert sorted(path.name for path in cache.glob('*-cache')) == kept


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
    own = compile_cache.own_folder()
    assert own == (folder and tmp_path / folder)
  finally:
    for name, value in zip(names, before, strict=True):
      jax.config.update(name, value)


def test_a_setting_of_jaxs_own_goes_first(monkeypatch, tmp_path):
  monkeypatch.setenv('ZSSR_JAX_CACHE', str(tmp_path / 'ours'))
  before = jax.config.jax_compilation_cache_dir
  jax.config.update('jax_compilation_cache_dir', str(tmp_path / 'own'))
  try:
    compile_cache.use_compile_cache.__wrapped__()
    chosen = jax.config.jax_compilation_cache_dir
    assert chosen == str(tmp_path / 'own')
    assert not (tmp_path / 'ours').exists()
    assert compile_cache.own_folder() is None
  finally:
    jax.config.update('jax_compilation_cache_dir', before)
