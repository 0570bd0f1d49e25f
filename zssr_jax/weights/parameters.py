"""Weight files: our own format, and the published ones of the data root.

Ours (`save_params`, `load_params`) is a `.safetensors` file whose arrays are
named by their path in the flax tree, such as `block00/conv1/kernel`, float32
or float16; the entry `zssr_jax` of its metadata holds facts about them as
JSON. Until version 0.1.0 it was an `.npz` file, which `load_old` reads.

Those in `weights/` of the data root (`data.datasets.data_root`) hold plain
arrays, kernels as HWIO. All are read as arrays only, never as pickles, which
could run code. Whatever the type on disk, float32 is returned.
"""

from __future__ import annotations

import json
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import traverse_util

from zssr_jax.data import files, numpy_files
from zssr_jax.errors import InputError
from zssr_jax.models import vgg

# How files begin that are whole, but not ours: HDF5, MATLAB's, pickles, zip.
_OTHERS = (b'\x89HDF', b'MATLAB', b'\x80', b'PK\x03\x04')
_AGAIN = 'get a whole copy'
# The entry of the metadata that makes a file ours, and its layout's version.
MARK = 'zssr_jax'
_VERSION = 2
_OLD_MARK = '#zssr_jax'  # an array of an `.npz` file, version 1

Fact = str | int | float | bool

# The first holds float32, but only seven convolutions; the second float16.
VGG16_SHALLOW = 'weights/vgg16_upto_conv3_3_f32.npz'
VGG16_FULL = 'weights/vgg16_all13conv_f16.npz'
LPIPS_HEADS = 'weights/lpips_vgg16_lin_heads.npz'

# What the heads weigh, in the file's order, and the channels there.
_LPIPS_LAYERS = {
  'relu1_2': 64,
  'relu2_2': 128,
  'relu3_3': 256,
  'relu4_3': 512,
  'relu5_3': 512,
}


def _check_exists(path: pathlib.Path) -> None:
  if not path.exists():
    raise FileNotFoundError(
      f'{path}: no such weight file; put it there, or name a data folder that'
      ' has it (ZSSR_JAX_DATA or --data)'
    )


def load_archive(
  path: pathlib.Path, names: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
  """Reads a `.npz` file, without unpickling anything.

  Args:
    path: the file.
    names: the arrays to read, where the file has them; all by default.

  Returns:
    Arrays by name.

  Raises:
    OSError: when the file is missing or cannot be read.
    InputError: when it is damaged or no archive of plain arrays.
  """
  _check_exists(path)
  content = path.read_bytes()
  try:
    return numpy_files.read_npz(
      content, None if names is None else frozenset(names)
    )
  except Exception:  # text, a pickle, a cut or corrupted archive
    raise InputError(
      f'{path}: not a whole .npz file of numbers; {_AGAIN}'
    ) from None


def is_real(array: np.ndarray) -> bool:
  """Whether an array holds real numbers, of whatever precision."""
  return array.dtype.kind == 'f' or array.dtype.name == 'bfloat16'


def flatten(params: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the leaves of a parameter tree by their '/'-joined paths.

  Raises:
    ValueError: for a name that cannot be part of a path.
  """
  leaves = traverse_util.flatten_dict(dict(params))
  for path in leaves:
    for name in path:
      if not isinstance(name, str) or not name or '/' in name:
        raise ValueError(f'{name!r} cannot name a parameter')
  return {'/'.join(path): leaf for path, leaf in leaves.items()}


def nest(leaves: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the tree that `flatten` made such leaves of.

  Raises:
    ValueError: when one path leads through another's leaf.
  """
  for path in leaves:
    parts = path.split('/')
    if any('/'.join(parts[:i]) in leaves for i in range(1, len(parts))):
      raise ValueError(f'{path} lies below another parameter')
  return traverse_util.unflatten_dict(dict(leaves), sep='/')


def check_shapes(params: Mapping[str, Any], shapes: Mapping[str, Any]) -> None:
  """Compares a parameter tree with what a network takes.

  Args:
    params: tree of arrays.
    shapes: tree of what has a shape, as `Network.shapes` gives it.

  Raises:
    ValueError: naming the first parameter that is missing, of another shape,
      or not the network's.
  """
  have, want = flatten(params), flatten(shapes)
  for path, like in want.items():
    if path not in have:
      raise ValueError(f'{path} is missing')
    if np.shape(have[path]) != tuple(like.shape):
      raise ValueError(
        f'{path} is {np.shape(have[path])} where {tuple(like.shape)} belongs'
      )
  if extra := sorted(set(have) - set(want)):
    raise ValueError(f'{extra[0]} is no parameter of this network')


def save_params(
  path: str | os.PathLike[str],
  params: Mapping[str, Any],
  *,
  half: bool = False,
  **facts: Fact,
) -> None:
  """Writes a parameter tree as a file of our own, whole or not at all.

  Args:
    path: the file, whatever its suffix; an existing one is replaced.
    params: nested dicts of real arrays.
    half: store float16, half the size, rounded to 11 binary digits.
    **facts: what is to be known of the weights, such as `network='vdsr'`,
      `scale=2`, or a note; strings, numbers or booleans.

  Raises:
    OSError: when the file cannot be written.
    ValueError: for a parameter that is not finite, or not in float16, or no
      parameter at all.
  """
  path = pathlib.Path(path)
  arrays = {}
  for name, leaf in flatten(params).items():
    leaf = np.asarray(leaf)
    if not is_real(leaf):
      raise ValueError(f'{path}: {name} is {leaf.dtype}, not real numbers')
    with np.errstate(over='ignore'):
      # The library writes the memory as it lies.
      array = leaf.astype(np.float16 if half else np.float32, order='C')
    if not np.isfinite(array).all():
      whole = half and np.isfinite(leaf).all()
      raise ValueError(
        f'{path}: {name} holds '
        + (
          'values too large for float16' if whole else 'NaN or infinite values'
        )
        + '; nothing was written'
      )
    arrays[name] = array
  if not arrays:
    raise ValueError(f'{path}: there is no parameter to write')
  for fact, value in facts.items():
    if not isinstance(value, Fact):
      raise ValueError(f'{path}: {fact} is a {type(value).__name__}, no fact')
  # One entry, for the library writes several in random order.
  header = {'version': _VERSION, 'facts': facts, 'crc32': _checksum(arrays)}
  content = safetensors.numpy.save(arrays, {MARK: json.dumps(header)})
  files.write_files({path: content})


def _checksum(arrays: Mapping[str, np.ndarray]) -> int:
  """Tells a damaged file, which the library does not."""
  total = 0
  for name in sorted(arrays):
    total = zlib.crc32(arrays[name].tobytes(), total)
  return total


def load_params(
  path: str | os.PathLike[str],
) -> tuple[dict[str, Any], dict[str, Fact]]:
  """Reads what `save_params` wrote.

  Args:
    path: the file.

  Returns:
    The parameter tree, float32, and the facts.

  Raises:
    OSError: when the file is missing or cannot be read.
    InputError: when it is damaged, holds NaN or is not one of ours.
  """
  path = pathlib.Path(path)
  _check_exists(path)
  with path.open('rb') as stream:  # its errors say more than the library's
    other = stream.read(8).startswith(_OTHERS)
  try:
    with safetensors.safe_open(path, framework='numpy') as file:
      header = (file.metadata() or {}).get(MARK)
      found = {name: file.get_tensor(name) for name in file.keys()}
  except Exception:
    raise InputError(
      f'{path}: not a whole .safetensors file; '
      + ('convert it with bin/convert_weights' if other else _AGAIN)
    ) from None
  if header is None:
    raise InputError(
      f'{path}: not a weight file of zssr_jax; convert it with'
      ' bin/convert_weights'
    )
  facts, checksum = _read_header(path, header, _VERSION)
  if checksum != _checksum(found):
    raise InputError(f'{path}: its numbers are damaged; {_AGAIN}')
  return _finish(path, found), facts


def is_old(path: str | os.PathLike[str]) -> bool:
  """Whether a file is one of ours as `load_old` reads it."""
  try:
    with zipfile.ZipFile(path) as archive:
      return f'{_OLD_MARK}.npy' in archive.namelist()
  except Exception:  # as many types as there are kinds of damage
    return False


def load_old(
  path: str | os.PathLike[str],
) -> tuple[dict[str, Any], dict[str, Fact]]:
  """Reads an `.npz` file of version 0.1.0, for which `is_old` holds.

  Returns, Raises: as `load_params`.
  """
  path = pathlib.Path(path)
  found = load_archive(path)
  mark = found.pop(_OLD_MARK, np.empty(0))
  facts, _ = _read_header(path, mark.tobytes(), 1)
  return _finish(path, found), facts


def _read_header(
  path: pathlib.Path, text: str | bytes, known: int
) -> tuple[dict[str, Fact], int | None]:
  """Returns the facts and the checksum, if there is one."""
  try:
    header = json.loads(text)
    version, facts = header['version'], dict(header['facts'])
    if not all(isinstance(v, Fact) for v in facts.values()):
      raise ValueError
  except Exception:  # whatever stands there instead
    raise InputError(f'{path}: its entry {MARK} is damaged; {_AGAIN}') from None
  if version != known:
    raise InputError(
      f'{path}: is of version {version}, this program reads {known}; update'
      ' the program or convert the weights again'
    )
  return facts, header.get('crc32')


def _finish(
  path: pathlib.Path, found: Mapping[str, np.ndarray]
) -> dict[str, Any]:
  """Returns the tree of a file's arrays, float32."""
  for name, array in found.items():
    if not is_real(array):
      raise InputError(f'{path}: {name} is {array.dtype}, not real numbers')
    if not np.isfinite(array).all():
      raise InputError(f'{path}: {name} holds NaN or infinite values; {_AGAIN}')
  try:
    tree = nest(found)
  except ValueError as error:
    raise InputError(f'{path}: {error}; convert the weights again') from None
  # Converted on the host, so that nothing is compiled.
  floats = jax.tree.map(lambda a: np.asarray(a, np.float32), tree)
  placed: dict[str, Any] = jax.device_put(floats)
  return placed


def load_vgg16(
  source: str | os.PathLike[str], layers: Iterable[str]
) -> dict[str, Any]:
  """Loads what `vgg.Vgg16(layers)` needs, and no more.

  Args:
    source: a file of bin/convert_weights, or the data root. From the root,
      the weights down to conv3_3 are exact; for deeper layers all come from
      the file in float16, whose rounding moved LPIPS by 2.1e-5 at most on the
      images of `tests/evaluation/lpips_test.py`.
    layers: names of layers, see `vgg.Vgg16`.

  Returns:
    The variables for `Vgg16.apply`, float32.

  Raises:
    OSError: when the weight file is missing or cannot be read.
    InputError: when it is damaged or holds something else, or for an unknown
      layer.
  """
  wanted = vgg.shapes(layers)
  source = pathlib.Path(source)
  if source.is_file():
    params, facts = load_params(source)
    if facts.get('network') != 'vgg16':
      raise InputError(
        f'{source}: holds {facts.get("network", "something")}, not vgg16;'
        ' convert the weights again'
      )
  else:
    source /= VGG16_FULL if 'conv4_1' in wanted else VGG16_SHALLOW
    paths = {
      layer + suffix: f'{layer}/{part}'
      for layer in wanted
      for part, suffix in (('kernel', '_kernel_HWIO'), ('bias', '_bias'))
    }
    found = load_archive(source, paths)
    params = _finish(source, {paths[name]: a for name, a in found.items()})
  params = {name: params[name] for name in wanted if name in params}
  return {'params': _fitting(source, params, wanted)}


def _fitting(
  path: pathlib.Path, params: dict[str, Any], shapes: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns parameters that are of these shapes."""
  try:
    check_shapes(params, shapes)
  except ValueError as error:
    raise InputError(
      f'{path}: {error}; convert it again, or get the original file'
    ) from None
  return params


def load_lpips_heads(root: str | os.PathLike[str]) -> dict[str, jax.Array]:
  """Loads the weights of LPIPS, version 0.1, for VGG16.

  Args:
    root: the data root.

  Returns:
    A weight per channel `[channels]`, float32, by layer of `vgg.Vgg16`.

  Raises:
    OSError: when the weight file is missing or cannot be read.
    InputError: when it is damaged or holds something else.
  """
  path = pathlib.Path(root, LPIPS_HEADS)
  shapes = {
    f'lin{i}': jax.ShapeDtypeStruct((channels,), jnp.float32)
    for i, channels in enumerate(_LPIPS_LAYERS.values())
  }
  heads = _fitting(path, _finish(path, load_archive(path)), shapes)
  return {layer: heads[f'lin{i}'] for i, layer in enumerate(_LPIPS_LAYERS)}
