"""What goes by a name: every line leads to a thing of its kind."""

import subprocess
import sys

import pytest

from zssr_jax import registry
from zssr_jax.kernel_estimation.estimator import Estimator
from zssr_jax.models.network import Network, Published
from zssr_jax.training.losses import Loss

KINDS = {
  'MODELS': Network,
  'EXTERNAL': Network,
  'NETWORKS': Network,
  'FEATURES': Published,
  'LOSSES': Loss,
  'ESTIMATORS': Estimator,
}


@pytest.mark.parametrize('table', list(KINDS))
def test_every_name_leads_to_its_kind(table):
  names = getattr(registry, table)
  assert len(names) > 0
  for name in names:
    assert isinstance(names[name], KINDS[table]), name


def test_all_tables_are_looked_at_here():
  tables = {
    name
    for name, value in vars(registry).items()
    if isinstance(value, registry.Registry)
  }
  assert tables == set(KINDS)


def test_an_unknown_name_is_told_with_the_known_ones():
  with pytest.raises(ValueError, match="unknown loss 'l3'; there are: l1, "):
    registry.LOSSES['l3']
  assert 'l3' not in registry.LOSSES and 'l1' in registry.LOSSES


def test_the_names_cost_no_import_of_jax():
  program = (
    'import sys, types\n'
    'package = types.ModuleType("zssr_jax")\n'
    'package.__path__ = [sys.argv[1]]\n'
    'sys.modules["zssr_jax"] = package\n'  # whose __init__ imports all
    'from zssr_jax import config, presets, registry\n'
    'assert "joint" in registry.ESTIMATORS and config.Config().depth == 8\n'
    'sys.exit(any(name in sys.modules for name in ("jax", "flax", "numpy")))'
  )
  folder = str(registry.__file__).rpartition('/')[0]
  assert subprocess.run([sys.executable, '-c', program, folder]).returncode == 0
