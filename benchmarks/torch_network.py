"""PyTorch's counterpart of our networks and of the published training."""

from __future__ import annotations

import time

import ceiling
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F

from zssr_jax import inference
from zssr_jax.degradation import Degradation
from zssr_jax.ops import dihedral, resize

_CUBIC = {'mode': 'bicubic', 'align_corners': False}


class Network(torch.nn.Module):
  """The published network, or the one at LR resolution; x2, in colour."""

  def __init__(self, shuffle: bool, width: int = 64, depth: int = 8):
    """Makes random weights; arguments as in `ceiling.channels`."""
    super().__init__()
    self._shuffle = shuffle
    maps = ceiling.channels(shuffle, width, depth)
    self.layers = torch.nn.ModuleList(
      torch.nn.Conv2d(i, o, 3, padding=1, bias=False)
      for i, o in zip(maps, maps[1:], strict=False)
    )
    self.to(memory_format=torch.channels_last)

  def forward(
    self, lr: torch.Tensor | None, interpolated: torch.Tensor
  ) -> torch.Tensor:
    """Super-resolves; only the network at LR resolution looks at `lr`."""
    x = lr if self._shuffle else interpolated
    for layer in self.layers[:-1]:
      x = torch.relu(layer(x))
    x = self.layers[-1](x)
    return interpolated + (F.pixel_shuffle(x, 2) if self._shuffle else x)


class Published:
  """ZSSR's published settings as a loop in PyTorch."""

  def __init__(self, lr: np.ndarray, scale: int, seed: int):
    """Makes random weights; `lr` is float32 `[H, W, 3]` in [0, 1]."""
    torch.manual_seed(seed)
    self._random = np.random.default_rng(seed)
    self._scale = scale
    self._network = Network(shuffle=False)
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
    side = min(128, *father.shape[2:]) // self._scale * self._scale
    y, x = (self._random.integers(n - side + 1) for n in father.shape[2:])
    crop = father[:, :, y : y + side, x : x + side].clamp(0, 1)
    crop = torch.rot90(crop, int(self._random.integers(4)), (2, 3))
    return crop.flip(3) if self._random.integers(2) else crop

  def _son_of(self, father: torch.Tensor) -> torch.Tensor:
    size = [n // self._scale for n in father.shape[2:]]
    son = F.interpolate(father, size=size, antialias=True, **_CUBIC)
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
      upscaled = torch.from_numpy(resize.imresize(copy, self._scale))
      upscaled = upscaled.permute(2, 0, 1)[None]
      with torch.no_grad():
        out = self._run(upscaled.contiguous(memory_format=torch.channels_last))
      out = dihedral.undo_dihedral(out[0].permute(1, 2, 0).numpy(), k)
      outputs.append(self._back_project(out))
    return self._back_project(np.median(outputs, axis=0))

  def _back_project(self, sr: np.ndarray) -> np.ndarray:
    done = inference.back_project(
      jnp.asarray(sr, jnp.float32),
      jnp.asarray(self._lr),
      Degradation((float(self._scale), float(self._scale))),
      iterations=10,
    )
    return np.asarray(done)
