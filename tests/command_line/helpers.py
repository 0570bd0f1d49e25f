"""What the tests of bin/main.py share: the script, photos, outputs."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image

from zssr_jax import blur_kernels

ROOT = pathlib.Path(__file__).parents[2]
SMOKE = f'--config={ROOT}/configs/smoke.py'
spec = importlib.util.spec_from_file_location('bin_main', ROOT / 'bin/main.py')
bin_main = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bin_main)

ESTIMATED = blur_kernels.gaussian_kernel((4, 2.25), np.radians(30), 2)


def photo(height=24, width=28, channels=3):
  """A smooth image with an edge, uint8."""
  y, x = np.mgrid[:height, :width]
  waves = np.sin(x / 5) + np.cos(y / 7) + (x > y)
  pixels = np.stack([waves * (c + 1) for c in range(channels)], -1)
  pixels = np.round(255 * (pixels - pixels.min()) / np.ptp(pixels))
  return np.squeeze(pixels.astype(np.uint8))


def save(path, pixels=None):
  Image.fromarray(photo() if pixels is None else pixels).save(path)
  return path


def start(*arguments, **options):
  """Starts the command as a process of its own."""
  return subprocess.Popen(
    [sys.executable, ROOT / 'bin/main.py', *map(str, arguments)],
    text=True,
    **{'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE} | options,
  )


def outputs(tmp_path):
  out = tmp_path / 'out'
  return sorted(os.listdir(out)) if out.exists() else []


def read_record(tmp_path, name='a_x2'):
  return json.loads((tmp_path / f'out/{name}.json').read_text())


def save_beside_old_output(folder, suffix):
  """Writes a photo and a file in the place of one of its outputs."""
  path = save(folder / 'a.png')
  (folder / 'out').mkdir()
  old = folder / f'out/a_x2{suffix}'
  old.write_text('old')
  return path, old
