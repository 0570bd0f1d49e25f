"""Lowered programs are kept on disk, and taken from there when they may be."""

import os
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zssr_jax
from zssr_jax import compile_cache, presets, programs, registry
from zssr_jax.training import losses


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """The folder of kept programs, of a package that was not just edited."""
  monkeypatch.setattr(compile_cache, 'own_folder', lambda: tmp_path)
  monkeypatch.setattr(programs, '_code', lambda: 'this version')
  monkeypatch.setattr(programs, '_loaded', {})
  return tmp_path / 'lowered'


def kept(folder):
  return sorted(folder.iterdir()) if folder.is_dir() else []


class Traced:
  """A function that counts how often it is traced."""

  def __init__(self):
    self.count = 0
    self.function = jax.jit(self.compute)

  def compute(self, state, scale):
    self.count += 1
    draw = jax.random.normal(state['key'], (3,))
    return {
      'key': jax.random.split(state['key'])[0],
      'x': jnp.sin(state['x']) * scale + draw,
    }


def arguments(size=3):
  state = {'key': jax.random.key(7), 'x': jnp.arange(size, dtype=jnp.float32)}
  return state, np.float32(0.3)


def keep(traced, facts='facts', given=None, monkeypatch=None):
  """Keeps a function as a new process would."""
  if monkeypatch:
    monkeypatch.setattr(programs, '_loaded', {})
  given = given or arguments()
  return programs.keep(traced.function, facts, given, given[0])(*given)


def assert_same(made, expected):
  for a, b in zip(*map(jax.tree.leaves, (made, expected)), strict=True):
    assert a.dtype == b.dtype
    if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
      a, b = map(jax.random.key_data, (a, b))
    np.testing.assert_array_equal(a, b, strict=True)


def test_a_second_process_does_not_trace(folder, monkeypatch):
  first, second = Traced(), Traced()
  expected = first.function(*arguments())
  assert_same(keep(Traced()), expected)
  assert len(kept(folder)) == 1
  assert_same(keep(second, monkeypatch=monkeypatch), expected)
  assert second.count == 0


def test_a_process_reads_a_file_once(folder):
  keep(Traced())
  kept(folder)[0].unlink()
  traced = Traced()
  keep(traced)
  assert traced.count == 0 and not kept(folder)


@pytest.mark.parametrize('damage', ['cut', 'changed', 'empty', 'folder'])
def test_damaged_files_are_made_again(folder, monkeypatch, damage):
  expected = keep(Traced())
  (path,) = kept(folder)
  content = path.read_bytes()
  if damage == 'folder':
    path.unlink()
    path.mkdir()
  else:
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    damaged = {'cut': content[:-9], 'changed': bytes(changed), 'empty': b''}
    path.write_bytes(damaged[damage])
  traced = Traced()
  assert_same(keep(traced, monkeypatch=monkeypatch), expected)
  assert traced.count == 1
  if damage != 'folder':
    traced = Traced()
    keep(traced, monkeypatch=monkeypatch)
    assert traced.count == 0


def test_what_jax_cannot_read_is_traced(folder, monkeypatch):
  expected = keep(Traced())
  (path,) = kept(folder)
  path.write_bytes(programs._HASH(b'nothing').digest() + b'nothing')
  traced = Traced()
  assert_same(keep(traced, monkeypatch=monkeypatch), expected)
  assert traced.count == 1


def test_each_difference_has_a_file_of_its_own(folder, monkeypatch):
  keep(Traced())
  keep(Traced(), given=arguments(1))
  keep(Traced(), facts=('facts', 1))
  keep(Traced(), facts=('facts', 1.0))
  state, scale = arguments()
  keep(Traced(), given=(state, jnp.float32(scale)[None]))
  assert len(kept(folder)) == 5
  with jax.default_matmul_precision('highest'):
    keep(Traced())
  with jax.numpy_dtype_promotion('standard'):
    keep(Traced())
  assert len(kept(folder)) == 7
  monkeypatch.setattr(programs, '_code', lambda: 'another version')
  traced = Traced()
  keep(traced)
  assert traced.count == 1 and len(kept(folder)) == 8


def test_without_a_cache_nothing_is_kept(folder, monkeypatch):
  monkeypatch.setattr(compile_cache, 'own_folder', lambda: None)
  function = jax.jit(jnp.sin)
  assert programs.keep(function, 'facts', (1.0,), 0) is function
  assert programs.remember(lambda: 3.5, 'facts') == 3.5
  assert not kept(folder)


def test_without_flatbuffers_nothing_is_traced_in_vain(folder, monkeypatch):
  monkeypatch.setattr(programs.importlib.util, 'find_spec', lambda _: None)
  traced = Traced()
  keep(traced)
  assert traced.count == 1 and not kept(folder)


def test_where_nothing_may_be_written_it_is_traced(folder, monkeypatch):
  def refuse(*_, **__):
    raise PermissionError(13, 'Permission denied')

  expected = Traced().function(*arguments())
  for name in ('write_bytes', 'mkdir'):
    with monkeypatch.context() as patch:
      patch.setattr(Path, name, refuse)
      assert_same(keep(Traced(), monkeypatch=patch), expected)
    assert not kept(folder)
  keep(Traced(), monkeypatch=monkeypatch)
  monkeypatch.setattr(os, 'utime', refuse)  # it is read all the same
  traced = Traced()
  assert_same(keep(traced, monkeypatch=monkeypatch), expected)
  assert traced.count == 0


def own_loss(output, father):
  return jnp.mean((output - father) ** 4)


class OwnModel(nn.Module):
  width: int = 8

  @nn.compact
  def __call__(self, lr, interpolated):
    return interpolated + nn.Conv(3, (3, 3))(interpolated)


@pytest.mark.parametrize(
  'own', [OwnModel(), losses.Term('own', 1.0, own_loss), lambda x: x, object()]
)
def test_what_is_the_users_own_is_not_kept(folder, own):
  model = registry.MODELS['zssr'].make(scale=2, depth=3, width=4, gain=1.0)
  config = presets.load_config('fast')
  term = losses.terms_of([('l1', 1.0)], 3)
  ours = (model, 32, term, config, 10)
  keep(Traced(), facts=ours)
  assert len(kept(folder)) == 1
  traced = Traced()
  keep(traced, facts=(*ours, own))
  assert traced.count == 1 and len(kept(folder)) == 1


def test_a_function_in_place_of_ours_is_not_taken_for_it(folder, monkeypatch):
  term = losses.terms_of([('l1', 1.0)], 3)
  monkeypatch.setattr(losses, 'l1', own_loss)
  keep(Traced(), facts=term)
  assert not kept(folder)


def test_settings_of_a_model_count(folder):
  make = registry.MODELS['pixel_shuffle'].make
  for scale, depth in (((2.0, 2.0), 3), ((3.0, 3.0), 3), ((2.0, 2.0), 4)):
    for _ in range(2):
      keep(Traced(), facts=make(scale=scale, depth=depth, width=4, gain=1.0))
  assert len(kept(folder)) == 3


def test_linear_algebra_is_there_when_it_is_called(folder, monkeypatch):
  matrix = jnp.array([[2.0, 1.0], [1.0, 3.0]])
  for _ in range(2):
    monkeypatch.setattr(programs, '_loaded', {})
    solve = programs.keep(jax.jit(jnp.linalg.inv), 'inv', (matrix,), 0)
    np.testing.assert_allclose(solve(matrix) @ matrix, np.eye(2), atol=1e-6)
  (path,) = kept(folder)
  assert b'lapack' in path.read_bytes()


def test_those_used_last_stay(folder, monkeypatch):
  monkeypatch.setattr(programs, '_MOST', 2)
  for number, fact in enumerate('ab'):
    keep(Traced(), facts=fact)
    for path in set(kept(folder)):
      os.utime(path, (number, number) if fact == 'a' else None)
  (first, *_) = sorted(kept(folder), key=lambda path: path.stat().st_mtime)
  keep(Traced(), facts='a', monkeypatch=monkeypatch)  # used again
  os.utime(first, (9, 9))
  keep(Traced(), facts='c')
  assert len(kept(folder)) == 2 and first not in kept(folder)


def test_sources_that_were_just_edited_keep_nothing(folder, monkeypatch):
  monkeypatch.undo()
  programs._code.cache_clear()
  try:
    monkeypatch.setattr(programs, '_IMPORTED', 0.0)
    with pytest.raises(programs._Unnamed):
      programs._code()
    monkeypatch.setattr(programs, '_IMPORTED', float('inf'))
    text = programs._code()
    assert jax.__version__ in text and len(text) > 64
  finally:
    programs._code.cache_clear()


def test_a_number_is_remembered(folder):
  assert programs.remember(lambda: 0.1 + 0.2, 'sum') == 0.1 + 0.2
  assert programs.remember(lambda: pytest.fail('again'), 'sum') == 0.1 + 0.2
  (path,) = kept(folder)
  path.write_bytes(b'damaged')
  assert programs.remember(lambda: 7.0, 'sum') == 7.0
  assert programs.remember(lambda: 8.0, 'sum') == 7.0
  assert programs.remember(lambda: 8.0, lambda: None) == 8.0


def test_a_training_is_the_same_to_the_bit(folder, monkeypatch):
  image = np.random.default_rng(0).random((20, 24, 3), np.float32)

  def train(**options):
    made = zssr_jax.train_image(image, 2, config='smoke', **options)
    return made.image, made.history.loss, made.params

  with monkeypatch.context() as patch:
    patch.setattr(compile_cache, 'own_folder', lambda: None)
    traced = train()
  names = []
  export = programs._export
  monkeypatch.setattr(
    programs, '_export', lambda *args: names.append(1) or export(*args)
  )
  for kept_now in (2, 0):  # the windows' and the training's
    names.clear()
    monkeypatch.setattr(programs, '_loaded', {})
    assert_same(train(), traced)
    assert len(names) == kept_now
  monkeypatch.setattr(programs, '_loaded', {})
  train(losses={'own': (0.1, own_loss)})
  assert not names  # the windows are there, the training is not kept
