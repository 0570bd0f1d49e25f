"""SRCNN, VDSR and EDSR as methods of the tables, with weights from a file.

The networks for luma refine Y of the cubic upscale, in the studio range of
`ops.color`; Cb and Cr stay as they are interpolated.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from zssr_jax import inference, registry
from zssr_jax.degradation import Degradation
from zssr_jax.models.network import Network
from zssr_jax.ops import color, resize
from zssr_jax.ops.resize import Scale
from zssr_jax.weights import parameters

Upscale = Callable[[np.ndarray, Scale], np.ndarray]


def make_upscale(
  name: str, params: Mapping[str, Any], *, ensemble: bool = False
) -> Upscale:
  """Makes a method of the tables out of a network and its weights.

  Args:
    name: one of `registry.EXTERNAL`.
    params: its parameters, such as `parameters.load_params` gives.
    ensemble: average the results of the eight rotated and mirrored copies
      ('EDSR+'); four where the scale differs between the axes.

  Returns:
    `upscale(lr, scale) -> sr`: `lr` `[h, w, C]` in [0, 1] with C = 1 or 3,
    `sr` float32 `[ceil(h y), ceil(w x), C]` in [0, 1]. A greyscale image
    counts as RGB of three equal channels. It raises ValueError for another
    number of channels, and for a scale that the network is not made for.

  Raises:
    ValueError: for an unknown name, or parameters of another network.
  """
  network: Network = registry.EXTERNAL[name]
  if network.any_scale:
    _check(name, params, 2.0)  # for every scale the same

  def upscale(lr: np.ndarray, scale: Scale) -> np.ndarray:
    lr = np.asarray(lr, np.float32)
    if lr.ndim != 3 or lr.shape[2] not in (1, 3):
      raise ValueError(f'an image is [h, w, 1] or [h, w, 3], not {lr.shape}')
    scales = resize.scale_pair(scale)
    if not network.any_scale:
      _check(name, params, scales)
    run = functools.partial(_run, network, params, scales, ensemble)
    on_luma = network.color == 'y'
    out = _refine_luma(run, lr, scales) if on_luma else _on_rgb(run, lr)
    return np.clip(out, 0, 1)

  return upscale


def _check(name: str, params: Mapping[str, Any], scale: Scale) -> None:
  network = registry.EXTERNAL[name]
  shapes = network.shapes(scale)
  try:
    parameters.check_shapes(params, shapes)
  except ValueError as error:
    factor = resize.scale_pair(scale)[0]
    at = '' if network.any_scale else f' at scale {factor:g}'
    raise ValueError(f'these are no weights of {name}{at}: {error}') from None


def _refine_luma(
  run: Callable[..., np.ndarray],
  lr: np.ndarray,
  scale: tuple[float, float],
) -> np.ndarray:
  """Upscales and lets the network replace Y; the result may leave [0, 1]."""
  interpolated = resize.imresize(lr, scale)
  y = color.studio_luma(interpolated)
  refined = run(color.studio_luma(lr), y)
  # What is added to R, G and B alike changes Y alone, by 219/255 of it.
  return interpolated + (refined - y) * np.float32(255 / 219)


def _on_rgb(run: Callable[..., np.ndarray], lr: np.ndarray) -> np.ndarray:
  channels = lr.shape[2]
  out = run(np.repeat(lr, 3 // channels, axis=2))
  return out if channels == 3 else out.mean(axis=2, keepdims=True)


def _run(
  network: Network,
  params: Mapping[str, Any],
  scale: tuple[float, float],
  ensemble: bool,
  lr: np.ndarray,
  interpolated: np.ndarray | None = None,
) -> np.ndarray:
  """Runs a network, in tiles, over one image or its copies.

  Args:
    network: what to run.
    params: its parameters.
    scale: factors (y, x).
    ensemble: average over the copies.
    lr: `[h, w, C]`, C as the network takes it.
    interpolated: `[H, W, C]`, for the networks that look at it.

  Returns:
    float32 `[H, W, C]` in [0, 1].
  """
  model = network.make(scale=scale)
  shape = resize.scaled_shape(lr.shape, scale)
  if interpolated is None:  # its shape says where the tiles of the output go
    interpolated = np.zeros((*shape, lr.shape[2]), np.float32)
  factor = 1.0 if network.at_lr else min(scale)
  halo = math.ceil(network.reach(0) / factor)  # these have a depth of their own
  tile = max(math.ceil(network.tile / factor), 4 * halo)
  if max(lr.shape[:2]) > tile:
    # A scale between whole numbers allows tiles only of sizes that fit it.
    units = inference.units_of(scale) or (1, 1)
    lr = _extend(lr, [-n % u for n, u in zip(lr.shape, units, strict=False)])
    larger = resize.scaled_shape(lr.shape, scale)
    interpolated = _extend(
      interpolated, [n - m for n, m in zip(larger, shape, strict=True)]
    )
  copies = inference.upscale_copies(
    model,
    params,
    lr,
    interpolated,
    Degradation(scale).symmetries() if ensemble else (0,),
    scale=scale,
    tile=tile,
    halo=halo,
  )
  outputs = [out[: shape[0], : shape[1]] for out in copies]
  return outputs[0] if len(outputs) == 1 else np.mean(outputs, axis=0)


def _extend(image: np.ndarray, more: list[int]) -> np.ndarray:
  """Repeats the last row and column of `[h, w, C]` so many times."""
  return np.pad(image, ((0, more[0]), (0, more[1]), (0, 0)), mode='edge')
