"""What every test runs under: strict JAX, four devices, a compile cache."""

import os
import pathlib

import pytest

CACHE = pathlib.Path(__file__).parents[1] / '.cache' / 'jax'

# Environment variables reach the scripts that tests start, too. Compiled
# programs are kept, so a second run of the suite spends little on compiling.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(CACHE))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.2')

import jax  # noqa: E402

jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')


@pytest.fixture(scope='module', autouse=True)
def _forget_programs():
  """Drops a file's compiled programs: kept, they fill the process's maps.

  Each takes a few memory maps of the 65,530 that Linux allows; past them LLVM
  crashes. The suite would take more.
  """
  yield
  jax.clear_caches()


@pytest.fixture(scope='session')
def data_root() -> pathlib.Path:
  """The folder of public test images; skips the test where there is none."""
  from zssr_jax.data import datasets

  root = datasets.data_root()
  if root is None:
    pytest.skip(f'no test images: set {datasets.VARIABLE} to their folder')
  return root


@pytest.fixture
def cases(data_root) -> pathlib.Path:
  """The folder of files that were refused once, described by its README."""
  folder = data_root.parent / 'cases'
  if not folder.is_dir():
    pytest.skip(f'no folder of cases beside {data_root}')
  return folder
