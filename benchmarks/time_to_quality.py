"""PSNR against seconds: our configs and a PyTorch loop of the published one.

  python benchmarks/time_to_quality.py [--images=butterfly,bird]
      [--torch_steps=3000] [--output=docs/results/time_to_quality]

Images of Set5 x2 (ZSSR_JAX_DATA). PyTorch trains the published network by the
published settings (a 128x128 crop a step, Adam at 1e-3, the plateau schedule;
ensemble by the median and back-projection at the end) and is stopped and
judged at several steps; its seconds are those of the training so far and of
that inference. Ours, configs/fast.py with other numbers of steps, are whole
runs of `train_image`, each its own, compiled before. Everything in one process,
on the same cores, one after the other.
Writes OUTPUT.md and OUTPUT.png. Needs the `bench` extra.
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import platform
import runpy
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
import torch_network

from zssr_jax import Config, inference, load_start, train_image
from zssr_jax.data import datasets, image_io
from zssr_jax.degradation import Degradation
from zssr_jax.evaluation import code
from zssr_jax.ops import conv, dihedral, metrics, resize

_SCALE = (2.0, 2.0)
_CUBIC = {'mode': 'bicubic', 'align_corners': False}
_FILE = pathlib.Path(__file__).parents[1] / 'configs/fast.py'
_FAST = Config(**runpy.run_path(str(_FILE))['get_config']().to_dict())
_RANDOM = _FAST.replace(start='random')
# What is run of ours: a name, configs from quick to slow.
_OURS = {
  'transferred start': [
    _FAST.replace(start_steps=n) for n in (0, 20, 50, 100, 200)
  ],
  'random start, LR resolution': [
    _RANDOM.replace(max_steps=n) for n in (100, 200, 400, 800, 1600)
  ],
}


class Point(NamedTuple):
  """A result and what it took."""

  method: str
  image: str
  steps: int
  seconds: float
  psnr: float


class Published:
  """ZSSR's published settings as a loop in PyTorch."""

  def __init__(self, lr: np.ndarray):
    torch.manual_seed(0)
    self._random = np.random.default_rng(0)
    self._network = torch_network.Network(shuffle=False)
    self._adam = torch.optim.Adam(self._network.parameters(), 1e-3)
    self._lr = lr
    whole = torch.from_numpy(lr).permute(2, 0, 1)[None]
    self._whole = whole.contiguous(memory_format=torch.channels_last)
    self._errors: list[tuple[int, float]] = []
    self._step = self._dropped = 0
    self.seconds = 0.0
    self.ended = False

  def _run(self, interpolated: torch.Tensor) -> torch.Tensor:
    return self._network(None, interpolated)

  def _draw(self) -> torch.Tensor:
    """A crop of the input at a random size, turned and mirrored."""
    ratio = 2 ** (-self._random.integers(0, 7) / 6)
    father = self._whole
    if ratio < 1:
      father = F.interpolate(
        father, scale_factor=float(ratio), antialias=True, **_CUBIC
      )
    side = min(128, *father.shape[2:]) // 2 * 2
    y, x = (self._random.integers(n - side + 1) for n in father.shape[2:])
    crop = father[:, :, y : y + side, x : x + side].clamp(0, 1)
    crop = torch.rot90(crop, int(self._random.integers(4)), (2, 3))
    return crop.flip(3) if self._random.integers(2) else crop

  def _son_of(self, father: torch.Tensor) -> torch.Tensor:
    son = F.interpolate(father, scale_factor=0.5, antialias=True, **_CUBIC)
    return F.interpolate(son, size=father.shape[2:], **_CUBIC)

  def _plan(self) -> None:
    """Divides the rate by ten where the errors' slope drowns in noise."""
    if self._step % 60 or self._step - self._dropped <= 256:
      return
    steps, values = (np.array(v) for v in zip(*self._errors[-5:], strict=True))
    steps = steps - steps.mean()
    slope = (steps * values).sum() / (steps**2).sum()
    residual = values - values.mean() - slope * steps
    std = np.sqrt((residual**2).sum() / (steps**2).sum())  # n - 4 is 1
    if -1.5 * slope < std:
      self._dropped = self._step
      for group in self._adam.param_groups:
        group['lr'] /= 10
        self.ended |= group['lr'] < 9e-6

  def train(self, steps: int) -> None:
    """Goes on to so many steps; `seconds` counts them."""
    begin = time.perf_counter()
    while self._step < steps and not self.ended:
      father = self._draw()
      self._adam.zero_grad()
      (self._run(self._son_of(father)) - father).abs().mean().backward()
      self._adam.step()
      if self._step % 50 == 0:
        with torch.no_grad():
          whole = self._run(self._son_of(self._whole)).clamp(0, 1)
          error = float(((whole - self._whole) ** 2).mean())
        self._errors.append((self._step, error))
      self._step += 1
      self._plan()
    self.seconds += time.perf_counter() - begin

  def result(self) -> np.ndarray:
    """The median over eight copies, back-projected."""
    outputs = []
    for k in range(dihedral.COUNT):
      copy = np.ascontiguousarray(dihedral.dihedral(self._lr, k))
      upscaled = torch.from_numpy(resize.imresize(copy, 2.0).astype(np.float32))
      with torch.no_grad():
        out = self._run(
          upscaled.permute(2, 0, 1)[None].contiguous(
            memory_format=torch.channels_last
          )
        )
      out = dihedral.undo_dihedral(out[0].permute(1, 2, 0).numpy(), k)
      outputs.append(self._back_project(out))
    return self._back_project(np.median(outputs, axis=0))

  def _back_project(self, sr: np.ndarray) -> np.ndarray:
    done = inference.back_project(
      jax.numpy.asarray(sr, jax.numpy.float32),
      jax.numpy.asarray(self._lr),
      Degradation(_SCALE),
      iterations=10,
    )
    return np.asarray(done)


def run_published(name, lr, hr, most: int) -> Iterator[Point]:
  """Points of the PyTorch loop."""
  loop = Published(lr)
  loop.result()  # compiles the back-projection
  for steps in (50, 100, 200, 400, 800, 1200, 1600, 2000, 2500, 3000):
    if steps > most or loop.ended:
      return
    loop.train(steps)
    begin = time.perf_counter()
    image = loop.result()
    seconds = loop.seconds + time.perf_counter() - begin
    psnr = metrics.score(image, hr, 2)[0]
    yield Point('PyTorch, published settings', name, steps, seconds, psnr)


def run_ours(name, lr, hr) -> Iterator[Point]:
  """Points of our configs."""
  for method, configs in _OURS.items():
    for config in configs:
      start = load_start(config.start, 2)
      for _ in range(2):  # the first one compiles
        begin = time.perf_counter()
        result = train_image(lr, 2, config=config, start=start)
        seconds = time.perf_counter() - begin
      psnr = metrics.score(result.image, hr, 2)[0]
      yield Point(method, name, config.in_force.max_steps, seconds, psnr)


def time_to(points: list[Point], psnr: float) -> float | None:
  """Seconds of the quickest point that is as good."""
  times = [p.seconds for p in points if p.psnr >= psnr]
  return min(times, default=None)


def make_table(points: list[Point]) -> str:
  """Markdown of all points, and the ratios of times to equal quality."""
  lines = [
    '| image | method | steps | seconds | PSNR |',
    '|---|---|---|---|---|',
    *(
      f'| {p.image} | {p.method} | {p.steps} | {p.seconds:.1f} | {p.psnr:.2f} |'
      for p in points
    ),
    '',
    "Seconds to the best PSNR of PyTorch's loop:",
    '',
    '| image | PSNR | PyTorch | method | ours | ratio |',
    '|---|---|---|---|---|---|',
  ]
  for image in dict.fromkeys(p.image for p in points):
    here = [p for p in points if p.image == image]
    theirs = [p for p in here if p.method not in _OURS]
    best = max(theirs, key=lambda p: p.psnr)
    for method in _OURS:
      ours = time_to([p for p in here if p.method == method], best.psnr)
      lines.append(
        f'| {image} | {best.psnr:.2f} | {best.seconds:.0f} | {method} |'
        + (
          ' not reached | |'
          if ours is None
          else f' {ours:.1f} | {best.seconds / ours:.0f}x |'
        )
      )
  lines += [
    '',
    f'Commit {code.commit()}, {conv.cores()} core(s) of a'
    f' {platform.processor() or platform.machine()}, jax {jax.__version__},'
    f' PyTorch {torch.__version__} with {torch.get_num_threads()} thread(s).',
  ]
  return '\n'.join(lines) + '\n'


def make_plot(points: list[Point], path: pathlib.Path) -> None:
  """PSNR over seconds, an axis an image."""
  images = list(dict.fromkeys(p.image for p in points))
  figure, axes = plt.subplots(
    1, len(images), figsize=(5.5 * len(images), 4), squeeze=False
  )
  for axis, image in zip(axes[0], images, strict=True):
    for method in dict.fromkeys(p.method for p in points):
      chosen = [p for p in points if (p.image, p.method) == (image, method)]
      axis.plot(
        [p.seconds for p in chosen],
        [p.psnr for p in chosen],
        marker='o',
        label=method,
      )
    axis.set(xscale='log', xlabel='seconds', ylabel='PSNR, dB', title=image)
    axis.grid(alpha=0.3)
  axes[0][0].legend()
  figure.tight_layout()
  figure.savefig(path, dpi=110)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--images', default='butterfly,bird')
  parser.add_argument('--torch_steps', type=int, default=3000)
  parser.add_argument('--output', default='docs/results/time_to_quality')
  options = parser.parse_args()
  torch.set_num_threads(conv.cores())
  root = datasets.data_root(None)
  if root is None:
    parser.error('no data: set ZSSR_JAX_DATA')
  wanted = options.images.split(',')
  pairs = {p.name: p for p in datasets.pairs(root, 'Set5', 2)}
  names = [n for w in wanted for n in pairs if w in n]
  points = []
  for name in names:
    lr = image_io.read_image(pairs[name].lr)
    hr = image_io.read_image(pairs[name].hr)
    for point in itertools.chain(
      run_ours(name, lr, hr),
      run_published(name, lr, hr, options.torch_steps),
    ):
      points.append(point)
      print(
        f'{point.image}  {point.method}  {point.steps} steps'
        f'  {point.seconds:.1f} s  {point.psnr:.2f} dB',
        flush=True,
      )
  output = pathlib.Path(options.output)
  output.parent.mkdir(parents=True, exist_ok=True)
  output.with_suffix('.md').write_text(make_table(points))
  make_plot(points, output.with_suffix('.png'))


if __name__ == '__main__':
  main()
