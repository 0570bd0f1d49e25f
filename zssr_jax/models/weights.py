"""Published weights from `.npz` files into parameters of our modules.

The files lie in `weights/` of the data root (`data.datasets.data_root`) and
hold plain arrays, kernels as HWIO. They are read as arrays only, never as
pickles, which could run code. Whatever the type on disk, float32 is returned.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax.models import vgg

# The first holds float32, but only seven convolutions; the second float16.
VGG16_SHALLOW = 'weights/vgg16_upto_conv3_3_f32.npz'
VGG16_FULL = 'weights/vgg16_all13conv_f16.npz'
LPIPS_HEADS = 'weights/lpips_vgg16_lin_heads.npz'

# Parameters of a convolution, and how the files' names for them end.
_VGG16_SUFFIXES = {'kernel': '_kernel_HWIO', 'bias': '_bias'}

# What the heads weigh, in the file's order, and the channels there.
_LPIPS_LAYERS = {
  'relu1_2': 64,
  'relu2_2': 128,
  'relu3_3': 256,
  'relu4_3': 512,
  'relu5_3': 512,
}


def _read(
  path: pathlib.Path, shapes: Mapping[str, Sequence[int]]
) -> dict[str, jax.Array]:
  """Returns the named arrays of a `.npz` file, float32.

  Args:
    path: the file.
    shapes: the shape that each array must have; others are not read.

  Raises:
    OSError: when the file is missing or cannot be read.
    ValueError: when it is damaged or holds something else.
  """
  if not path.exists():
    raise FileNotFoundError(
      f'{path}: no such weight file; put it there, or name a data folder that'
      ' has it (ZSSR_JAX_DATA or --data)'
    )
  found = {}
  # An own handle: numpy leaves its open where the file is no archive.
  with path.open('rb') as stream:
    try:
      with np.load(stream, allow_pickle=False) as archive:
        for name in shapes:
          if name in archive.files:
            found[name] = archive[name]
    except Exception:  # text, a pickle, a cut or corrupted archive
      raise ValueError(
        f'{path}: not a whole .npz file of numbers; get a whole copy'
      ) from None
  for name, shape in shapes.items():
    if name not in found:
      raise ValueError(f'{path}: holds no {name}; get the original file')
    array = found[name]
    if array.shape != tuple(shape) or array.dtype.kind != 'f':
      raise ValueError(
        f'{path}: {name} is {array.dtype} {array.shape} where real numbers'
        f' {tuple(shape)} belong; get the original file'
      )
    if not np.isfinite(array).all():
      raise ValueError(
        f'{path}: {name} holds NaN or infinite values; get a whole copy'
      )
  return {n: jnp.asarray(a, jnp.float32) for n, a in found.items()}


def load_vgg16(
  root: str | os.PathLike[str], layers: Iterable[str]
) -> dict[str, Any]:
  """Loads what `vgg.Vgg16(layers)` needs, and no more.

  Args:
    root: the data root. Down to conv3_3 the weights are exact; for deeper
      layers all come from the file in float16, whose rounding moved LPIPS
      by 2.1e-5 at most on the images of `tests/evaluation/lpips_test.py`.
    layers: names of layers, see `vgg.Vgg16`.

  Returns:
    The variables for `Vgg16.apply`, float32.

  Raises:
    OSError: when the weight file is missing or cannot be read.
    ValueError: when it is damaged or holds something else, or for an unknown
      layer.
  """
  model = vgg.Vgg16(tuple(layers))
  # The network itself says which arrays of which shapes it takes; the
  # smallest image that has a pixel in the last block is enough for that.
  image = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
  wanted = jax.eval_shape(model.init, jax.random.key(0), image)['params']
  deep = 'conv4_1' in wanted
  arrays = _read(
    pathlib.Path(root, VGG16_FULL if deep else VGG16_SHALLOW),
    {
      name + suffix: params[part].shape
      for name, params in wanted.items()
      for part, suffix in _VGG16_SUFFIXES.items()
    },
  )
  return {
    'params': {
      name: {
        part: arrays[name + suffix] for part, suffix in _VGG16_SUFFIXES.items()
      }
      for name in wanted
    }
  }


def load_lpips_heads(root: str | os.PathLike[str]) -> dict[str, jax.Array]:
  """Loads the weights of LPIPS, version 0.1, for VGG16.

  Args:
    root: the data root.

  Returns:
    A weight per channel `[channels]`, float32, by layer of `vgg.Vgg16`.

  Raises:
    OSError: when the weight file is missing or cannot be read.
    ValueError: when it is damaged or holds something else.
  """
  arrays = _read(
    pathlib.Path(root, LPIPS_HEADS),
    {f'lin{i}': (n,) for i, n in enumerate(_LPIPS_LAYERS.values())},
  )
  return {layer: arrays[f'lin{i}'] for i, layer in enumerate(_LPIPS_LAYERS)}
