"""Nothing is imported at start that Windows or macOS lacks."""

import subprocess
import sys

import pytest

# What is missing in Python for Windows, macOS or both.
MISSING = ('fcntl', 'resource', 'pwd', 'grp', 'termios', 'tty', 'pty', 'spwd')
PROGRAM = f"""
import os, runpy, sys
os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
# JAX and others know where they run; what counts is what we import ourselves.
import filelock, flax, h5py, imagecodecs, jax, jax.numpy, optax, orbax, rich
import rich.console, rich.progress, safetensors.numpy, scipy.io, tifffile
import absl.flags, ml_collections.config_flags, PIL.Image, psutil, gradio
for name in {MISSING}:
  sys.modules[name] = None
for name in ('sched_getaffinity', 'fork', 'getuid', 'mkfifo'):
  if hasattr(os, name):
    delattr(os, name)
import zssr_jax
for script in ('main.py', 'eval_all', 'train_backbone', 'convert_weights'):
  runpy.run_path('bin/' + script)
import pkgutil
for found in pkgutil.walk_packages(zssr_jax.__path__, 'zssr_jax.'):
  __import__(found.name)
from zssr_jax.evaluation import memory, rows
from zssr_jax.ops import conv
memory.reset_peak()
assert memory.peak_megabytes(jax.devices()[0]) >= 0
assert conv.cores() >= 1
"""


@pytest.mark.slow
def test_it_starts_without_what_other_systems_lack():
  result = subprocess.run(
    [sys.executable, '-c', PROGRAM], capture_output=True, text=True, timeout=300
  )
  assert result.returncode == 0, result.stderr
