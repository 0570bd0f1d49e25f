"""One image, start to end: our train_image against a PyTorch loop.

  python benchmarks/one_image.py [--json] [--steps=200] [--model=pixel_shuffle]

Both train the same network at the same crop and learning rate for the same
number of steps on the bundled example's low-resolution image, sons by bicubic
(PyTorch's loop draws, flips and downscales with its own antialiased resize),
and run it over the image once. In turns, so that a noisy machine hits both
alike; each side's time is its second run, with everything compiled.
`speed_vs_torch` is PyTorch's seconds over ours; `start_up` is what a fresh
process of ours needs before its first step with a warm compile cache. Needs
the `bench` extra.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import time

import jax
import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
import torch_network

from zssr_jax import Config, train_image

_EXAMPLE = pathlib.Path(__file__).parents[1] / 'examples/astronaut_lr.png'

_START_UP = """
import time
clock = time.time()
import sys
import numpy as np
from zssr_jax.command_line import upscale
from zssr_jax.compile_cache import use_compile_cache
use_compile_cache()
from zssr_jax import Config, train_image
image = np.random.default_rng(0).random((160, 160, 3), np.float32)
class Started(Exception): pass
def stop(progress):
  raise Started
try:
  train_image(image, 2, config=Config(model=sys.argv[1]), progress=stop)
except Started:
  print(time.time() - clock)
"""


def torch_run(image: np.ndarray, model_name: str, steps: int, crop: int):
  """The PyTorch loop; returns seconds."""
  shuffle = model_name == 'pixel_shuffle'
  network = torch_network.Network(shuffle)
  adam = torch.optim.Adam(network.parameters(), 1e-3)
  cubic = {'mode': 'bicubic', 'align_corners': False}

  whole = torch.from_numpy(image).permute(2, 0, 1)[None]
  begin = time.perf_counter()
  for _ in range(steps):
    y = np.random.randint(image.shape[0] - crop + 1)
    x = np.random.randint(image.shape[1] - crop + 1)
    father = whole[:, :, y : y + crop, x : x + crop]
    father = torch.rot90(father, np.random.randint(4), (2, 3))
    son = F.interpolate(father, scale_factor=0.5, antialias=True, **cubic)
    upscaled = F.interpolate(son, size=father.shape[2:], **cubic)
    adam.zero_grad()
    (network(son, upscaled) - father).abs().mean().backward()
    adam.step()
  with torch.no_grad():
    network(whole, F.interpolate(whole, scale_factor=2, **cubic))
  return time.perf_counter() - begin


def our_run(image: np.ndarray, model_name: str, steps: int) -> float:
  """The same by train_image; returns seconds."""
  config = Config(
    model=model_name,
    max_steps=steps,
    min_steps=steps,  # no drop: PyTorch's loop has none
    copies=1,
    back_projection=0,
  )
  begin = time.perf_counter()
  train_image(image, 2, config=config, key=jax.random.key(0))
  return time.perf_counter() - begin


def start_up(model_name: str) -> float:
  """Seconds from a fresh process to its first training steps."""
  command = [sys.executable, '-c', _START_UP, model_name]
  seconds = [
    float(subprocess.run(command, capture_output=True, check=True).stdout)
    for _ in range(2)
  ]
  return seconds[-1]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--json', action='store_true')
  parser.add_argument('--steps', type=int, default=200)
  parser.add_argument('--model', default='pixel_shuffle')
  options = parser.parse_args()
  with PIL.Image.open(_EXAMPLE) as file:
    image = np.asarray(file.convert('RGB'), np.float32) / 255
  config = Config(model=options.model)
  crop = int(min(image.shape[:2]) * config.crop_fraction) // 2 * 2
  crop = min(crop, config.crop)
  torch_times, our_times = [], []
  for _ in range(3):
    torch_times.append(torch_run(image, options.model, options.steps, crop))
    our_times.append(our_run(image, options.model, options.steps))
  theirs = float(np.median(torch_times[1:]))
  ours = float(np.median(our_times[1:]))
  report = {
    'model': options.model,
    'steps': options.steps,
    'crop': crop,
    'image': list(image.shape),
    'device': str(jax.devices()[0]),
    'torch_seconds': theirs,
    'our_seconds': ours,
    'speed_vs_torch': theirs / ours,
    'start_up_seconds': start_up(options.model),
  }
  if options.json:
    print(json.dumps(report))
    return
  print(f'{options.model}, {options.steps} steps of {crop}x{crop} crops')
  print(f'  PyTorch   {theirs:7.1f} s')
  print(f'  ours      {ours:7.1f} s   {theirs / ours:.2f}x')
  print(f'  start-up  {report["start_up_seconds"]:7.1f} s (warm cache)')


if __name__ == '__main__':
  main()
