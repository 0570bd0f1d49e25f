"""What users have for an image, and what a network is shown of it.

A path, an image of Pillow's, or an array of NumPy, JAX or torch becomes a
`pictures.Picture`. None of these libraries is imported for it.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from zssr_jax import checks, pictures
from zssr_jax.data import names, photo, photo_parts
from zssr_jax.errors import InputError
from zssr_jax.ops.jpeg import Jpeg
from zssr_jax.pictures import Picture

LAYOUTS = ('HWC', 'CHW')
_NAME = 'the image'  # of what has no path
_CHANNELS = 4  # that a first axis may have for [C, H, W] to be meant


class Source(NamedTuple):
  """An image, and what is known of how it came about."""

  picture: Picture
  name: str
  jpeg: Jpeg | None = None  # what its file says of its compression
  is_float: bool = False  # an array of floats, which has no depth of its own


def read(
  source: Any, layout: str | None, page: int | None, *, tables: bool = False
) -> Source:
  """Reads an image of any kind.

  Args:
    source: as in `photos.super_resolve`.
    layout: as in `photos.super_resolve`.
    page: as in `photos.super_resolve`.
    tables: whether those of a JPEG file are wanted.

  Raises:
    InputError: when it cannot be used; one line that names the remedy.
  """
  is_path = isinstance(source, (str, os.PathLike))
  if page is not None and not is_path:
    raise InputError(f'page={page} is for files that hold several')
  if layout is not None and layout not in LAYOUTS:
    raise InputError(f'layout is one of {", ".join(LAYOUTS)}, not {layout!r}')
  if layout is not None and (is_path or isinstance(source, Image.Image)):
    raise InputError(f'layout={layout!r} is for arrays')
  if is_path:
    return _of_path(os.fspath(source), page, tables)
  if isinstance(source, Image.Image):
    if source.mode == 'F':
      return _of_array(np.asarray(source), None)
    found = photo.of_pillow(source, _NAME)
    return Source(pictures.divide(found), _NAME)
  return _of_array(_array(source), layout)


def name_of(source: Any) -> str:
  """Returns what to call an image, before it is read."""
  if isinstance(source, (str, os.PathLike)):
    return names.split_page(os.fsdecode(source))[0].stem
  return _NAME


def _of_path(text: str | bytes, page: int | None, tables: bool) -> Source:
  if not isinstance(text, str):
    raise InputError('the path must be text, not bytes')
  path, bracketed = names.split_page(text)
  if text.startswith('~') and not path.exists():
    path = path.expanduser()
  picture = pictures.read(path, bracketed if page is None else page)
  jpeg = pictures.read_tables(picture, path) if tables else None
  return Source(picture, path.stem, jpeg)


def _array(source: Any) -> np.ndarray:
  """Returns what is an array, of whatever library, as NumPy's."""
  try:
    if hasattr(source, 'detach'):  # a tensor of torch, on whatever device
      source = source.detach().cpu().numpy()
    if hasattr(source, '__array__'):
      return np.asarray(source)
  except (TypeError, ValueError, RuntimeError) as error:
    words = ' '.join(str(error).split())
    raise InputError(
      f'the image is no array of plain numbers ({words}); convert it to uint8'
      ' or float32'
    ) from None
  raise InputError(
    'an image is a path, an image of Pillow or an array, not'
    f' {type(source).__name__}'
  )


def _of_array(array: np.ndarray, layout: str | None) -> Source:
  """Checks an array; all of its channels are bands."""
  array = _as_bands(array, layout)
  depth = array.dtype.name
  if depth in ('uint8', 'uint16'):
    colour = photo_parts.to_fraction(array, np.iinfo(array.dtype).max)
  elif array.dtype.kind == 'f':
    try:
      colour = checks.check_image(array)
    except ValueError as error:
      hint = ''
      if np.isfinite(array).all():
        hint = '; divide them by what is white, such as 255'
      raise InputError(f'{error}{hint}') from None
    depth = 'float32'
  else:
    raise InputError(
      f'an array is uint8, uint16 or float in [0, 1], not {depth}; convert it'
      ' to one of these'
    )
  found = photo.Photo(_NAME, colour, None, 'PNG', depth)
  return Source(pictures.divide(found), _NAME, is_float=depth == 'float32')


def _as_bands(array: np.ndarray, layout: str | None) -> np.ndarray:
  """Returns `[H, W, C]`; guesses nothing."""
  shape = 'x'.join(map(str, array.shape))
  if array.ndim == 2:
    array = array[..., None]
  elif array.ndim != 3:
    raise InputError(
      f'an array is [H, W, C] or [H, W], not {shape or "a number"}; pass one'
      ' image, without a batch'
    )
  elif layout == 'CHW':
    array = np.moveaxis(array, 0, -1)
  elif layout is None and array.shape[0] <= _CHANNELS < array.shape[2]:
    raise InputError(
      f'the array is {shape}: if that is [C, H, W], pass layout="CHW"; if it is'
      f' [H, W, C] with {array.shape[2]} channels, layout="HWC"'
    )
  if not array.size:
    raise InputError(f'the array is {shape}: it holds no pixels')
  return array
