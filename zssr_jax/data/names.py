"""What the names of image files say; read without JAX."""

from __future__ import annotations

import os
import re
from pathlib import Path

# Of plain images, which are read whole, by `image_io`.
IMAGE_SUFFIXES = frozenset('.png .jpg .jpeg .bmp .tif .tiff .webp'.split())
# What is read of a folder; any file is read that is named.
INPUT_SUFFIXES = IMAGE_SUFFIXES | {'.gif', '.avif', '.heic', '.heif', '.jfif'}
# Of the containers that are written.
SUFFIXES = {'PNG': '.png', 'JPEG': '.jpg', 'TIFF': '.tif'}
_OTHER_SUFFIXES = {'.jpeg': 'JPEG', '.jfif': 'JPEG', '.tiff': 'TIFF'}


def container_of(path: Path) -> str | None:
  """Returns the container that a name asks for, if it is written at all."""
  suffix = path.suffix.lower()
  known = {s: container for container, s in SUFFIXES.items()}
  return (known | _OTHER_SUFFIXES).get(suffix)


def default_container(path: Path) -> str:
  """Returns the container of a result by its input's name.

  Not by what the file is, so that nothing has to be read for it: a TIFF named
  .png becomes a PNG named .png.
  """
  return 'TIFF' if container_of(path) == 'TIFF' else 'PNG'


def result_suffix(scale: float | tuple[float, float]) -> str:
  """Returns what a result's stem has behind its input's, such as '_x2'."""
  factors = scale if isinstance(scale, tuple) else (scale,)
  return '_x' + 'x'.join(f'{f:.4g}' for f in factors)


def split_page(text: str | os.PathLike[str]) -> tuple[Path, int | None]:
  """Tells the page from the name in 'photo.tif[3]'.

  Args:
    text: a path, with a page number from 1 in brackets behind it or without.
      A file that has the brackets in its name is taken as it is.

  Returns:
    The path, and the number or None.
  """
  text = os.fspath(text)
  match = re.fullmatch(r'(.+)\[([0-9]{1,9})\]', text, re.DOTALL)
  if match is None or os.path.exists(text):
    return Path(text), None
  return Path(match[1]), int(match[2])
