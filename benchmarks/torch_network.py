"""PyTorch's counterpart of our networks, for the comparisons."""

from __future__ import annotations

import ceiling
import torch
import torch.nn.functional as F


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
