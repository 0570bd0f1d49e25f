"""Where the benchmark images lie, and which files belong together.

A data set is a folder of the data root:

  NAME/HR/*                          ground truth, or
  NAME/*                             the same without a subfolder
  NAME/LR_matlab_xS/*, NAME/LR_xS/*  low-resolution images at scale S
  NAME/kernel.mat, NAME/kernel.npy   the blur kernel that made them, if known
  NAME/kernels/*.mat, *.npy          ... or one for each image

Files are paired by stem; an HR stem may end in `_GT`. Without any LR folder
the data set holds ground truth alone, and the low-resolution images are to be
made from it. Any folder laid out like this works, yours included.
"""

from __future__ import annotations

import os
import pathlib
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # commands look for data before they import JAX
  from zssr_jax.ops.resize import Scale

Path = pathlib.Path

VARIABLE = 'ZSSR_JAX_DATA'
SUFFIXES = ('.png', '.bmp', '.jpg', '.jpeg', '.tif', '.tiff')


class Pair(NamedTuple):
  """The files of one test image."""

  name: str  # the file's stem, without `_GT`
  hr: Path  # ground truth
  lr: Path | None  # its low-resolution image; None: not made yet
  kernel: Path | None  # the kernel that made `lr`; None: MATLAB's bicubic


def data_root(path: str | os.PathLike[str] | None = None) -> Path | None:
  """Finds the folder that holds the data sets.

  Args:
    path: the folder, if the user named one. Otherwise the environment
      variable ZSSR_JAX_DATA, otherwise `../shared/data` beside the checkout.

  Returns:
    The folder, or None where nothing was named and nothing lies beside the
    checkout.

  Raises:
    FileNotFoundError: where one was named that is no folder. (To go on
      without it would silently test nothing.)
  """
  source = '--data'
  if path is None:
    source, path = VARIABLE, os.environ.get(VARIABLE)
  if path:
    folder = Path(path).expanduser()
    if not folder.is_dir():
      raise FileNotFoundError(f'{folder}: no such data folder ({source})')
    return folder
  folder = Path(__file__).resolve().parents[3] / 'shared' / 'data'
  return folder if folder.is_dir() else None


def _images(folder: Path) -> dict[str, Path]:
  """The image files of a folder by stem, without `_GT`."""
  files: dict[str, Path] = {}
  for file in sorted(folder.iterdir()):
    if file.suffix.lower() not in SUFFIXES or file.name.startswith('.'):
      continue
    name = file.stem.removesuffix('_GT')
    if name in files:
      raise ValueError(f'{folder}: {files[name].name} and {file.name} collide')
    files[name] = file
  return files


def _lr_folders(folder: Path) -> dict[str, Path]:
  """The LR folders of a data set by their scale, as written in the name."""
  found: dict[str, Path] = {}
  for child in sorted(folder.iterdir()):
    match = re.fullmatch(r'LR(?:_matlab)?_x(\d+(?:\.\d+)?)', child.name)
    if match and child.is_dir():
      if match[1] in found:
        raise ValueError(
          f'{folder}: {found[match[1]].name} and {child.name} collide'
        )
      found[match[1]] = child
  return found


def pairs(
  root: str | os.PathLike[str],
  dataset: str,
  scale: Scale,
  *,
  with_lr: bool = True,
) -> list[Pair]:
  """Lists the test images of a data set, sorted by name.

  Args:
    root: the data root, see `data_root`.
    dataset: the name of a folder in it (Set5, Set14, B100, MZSR_g20_Set5 or
      your own), or the path of a folder elsewhere.
    scale: HR pixels per LR pixel; chooses the LR folder.
    with_lr: take the LR images and the kernel that come with the HR images;
      without, any scale will do.

  Returns:
    At least one pair.

  Raises:
    FileNotFoundError: for a missing data set, or one without images, or an LR
      image that is missing.
    ValueError: for a scale that the data set was not made at, or two files
      with one name.
  """
  root = Path(root)
  folder = root / dataset
  if not dataset or not folder.is_dir():
    known = [p.name for p in sorted(root.glob('*')) if p.is_dir()]
    raise FileNotFoundError(
      f'no data set {dataset!r} in {root}; there are: '
      + (', '.join(known) or 'none')
    )
  hr_folder = folder / 'HR' if (folder / 'HR').is_dir() else folder
  hr = _images(hr_folder)
  if not hr:
    raise FileNotFoundError(f'{hr_folder}: no images')
  lr: dict[str, Path] | None = None
  if not with_lr:
    return [Pair(name, file, None, None) for name, file in sorted(hr.items())]
  lr_folders = _lr_folders(folder)
  if lr_folders:
    wanted = scale if isinstance(scale, (tuple, list)) else (scale, scale)
    matches = [
      p for s, p in lr_folders.items() if (float(s), float(s)) == tuple(wanted)
    ]
    if not matches:
      raise ValueError(
        f'{folder}: made at scale {", ".join(lr_folders)}, not at {scale}'
      )
    lr = _images(matches[0])
    if missing := sorted(set(hr) - set(lr)):
      raise FileNotFoundError(
        f'{matches[0]}: no image for {", ".join(missing)}'
      )
  return [
    Pair(name, file, None if lr is None else lr[name], _kernel(folder, name))
    for name, file in sorted(hr.items())
  ]


def _kernel(folder: Path, name: str) -> Path | None:
  """The kernel of an image: its own in `kernels/`, or the whole set's."""
  files = [folder / stem for stem in (f'kernels/{name}', 'kernel')]
  for file in files:
    for suffix in ('.mat', '.npy'):
      if (found := file.with_name(file.name + suffix)).is_file():
        return found
  return None
