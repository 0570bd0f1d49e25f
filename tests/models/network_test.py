"""What the registry says of every network is true of it."""

import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zssr_jax
from zssr_jax import registry
from zssr_jax.models import network
from zssr_jax.ops import resize

REGISTRY = pathlib.Path(zssr_jax.__file__).with_name('registry.py')


def test_names_cost_no_import():
  program = (
    'import runpy, sys;'
    f' found = runpy.run_path({str(REGISTRY)!r});'
    ' assert "zssr" in found["MODELS"] and "vdsr" in list(found["NETWORKS"]);'
    ' assert not {"jax", "flax", "numpy"} & set(sys.modules)'
  )
  subprocess.run([sys.executable, '-c', program], check=True)


def test_sizes_of_a_network_go_by_one_name():
  assert registry.families() == {
    'srcnn': ['srcnn'],
    'srcnn_955': ['srcnn_955'],
    'vdsr': ['vdsr'],
    'edsr': ['edsr', 'edsr_full'],
  }


def test_an_unknown_name_is_answered_with_the_known_ones():
  with pytest.raises(ValueError, match="unknown network 'rcan'; there are: zs"):
    registry.NETWORKS['rcan']


@pytest.mark.slow
@pytest.mark.parametrize('name', registry.NETWORKS)
def test_what_must_come_trained_is_a_network_of_the_registry(name):
  known = registry.NETWORKS[name]
  assert known.color in ('any', 'y', 'rgb')
  whole = known.shapes(2)
  for part, of in known.parts.items():
    expected = registry.EXTERNAL[of].shapes(2)
    assert jax.tree.structure(whole[part]) == jax.tree.structure(expected)


@pytest.mark.slow
@pytest.mark.parametrize('name', registry.NETWORKS)
def test_one_set_of_weights_serves_the_scales_it_is_said_to_serve(name):
  known = registry.NETWORKS[name]
  shapes = [jax.tree.map(lambda a: a.shape, known.shapes(s)) for s in (2, 3)]
  if known.any_scale:
    assert shapes[0] == shapes[1]
    known.shapes((1.5, 2))
  else:
    assert shapes[0] != shapes[1] or known.parts


# The full EDSR, of 40 million weights, differs in its number of blocks only.
@pytest.mark.slow
@pytest.mark.parametrize(
  'name', [n for n in registry.NETWORKS if n[-5:] != '_full']
)
def test_nothing_further_away_than_the_reach_matters(name):
  known = registry.NETWORKS[name]
  reach = known.reach(3)
  model = known.make(scale=(2.0, 2.0), depth=3, width=8, gain=1.0)
  rng = np.random.default_rng(0)
  channels = 1 if known.color == 'y' else 3
  lr = rng.uniform(size=(4, reach + 16, channels)).astype(np.float32)
  images = [lr, resize.imresize(lr, 2)]
  shapes = jax.eval_shape(
    model.init, jax.random.key(0), *(i[None] for i in images)
  )
  params = jax.tree.map(
    lambda s: (np.prod(s.shape[:-1]) ** -0.5 * rng.normal(size=s.shape)).astype(
      np.float32
    ),
    shapes,
  )
  apply = jax.jit(model.apply)
  before = apply(params, *(jnp.asarray(image)[None] for image in images))[0]
  changed = images[0 if known.at_lr else 1]
  changed[:, 0] = 1 - changed[:, 0]
  after = apply(params, *(jnp.asarray(image)[None] for image in images))[0]
  change = np.abs(after - before).max((0, 2)) / np.abs(before).max()
  first = (2 if known.at_lr else 1) * (reach + 1)
  assert change[first:].max() < 1e-6
  assert (
    change[first // 4 : first].max() > 1e-5
  )  # a quarter would be too little


def test_weights_of_a_network_without_known_names_are_refused(monkeypatch):
  from zssr_jax.weights import conversion

  plain = network.Network(
    make=lambda scale, **_: None, color='rgb', reach=lambda _: 1
  )
  monkeypatch.setattr(conversion, 'PLAIN', plain, raising=False)
  place = 'weights.conversion:PLAIN'
  monkeypatch.setitem(registry.EXTERNAL._places, 'vdsr', place)
  with pytest.raises(ValueError, match='no names of weights of vdsr are known'):
    conversion.convert('vdsr', {})
