"""Where the benchmark images lie, and which files belong together.

A data set is a folder of the data root:

  NAME/HR/*                          ground truth, or
  NAME/*                             the same without a subfolder
  NAME/LR_matlab_xS/*, NAME/LR_xS/*  low-resolution images at scale S, or
  NAME/LR/*                          those whose names say it, as below
  NAME/kernel.mat, NAME/kernel.npy   the blur kernel that made them, if known
  NAME/kernels/*.mat, *.npy          ... or one for each image

Files are paired by stem. An HR stem may end in `_GT`; a pair may be called
STEM_SRF_S_HR and STEM_SRF_S_LR, or STEM and STEMxS. Without any LR folder
the data set holds ground truth alone, and the low-resolution images are to be
made from it. Any folder laid out like this works, yours included.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Collection
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


def data_root(
  path: str | os.PathLike[str] | None = None, *, needed: bool = True
) -> Path | None:
  """Finds the folder that holds the data sets.

  Args:
    path: the folder, if the user named one. Otherwise the environment
      variable ZSSR_JAX_DATA, otherwise `../shared/data` beside the checkout.
    needed: whether something is to be read from it. Else a variable that
      names no folder counts as none.

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
    if folder.is_dir():
      return folder
    if needed or source != VARIABLE:
      raise FileNotFoundError(f'{folder}: no such data folder ({source})')
    return None
  folder = Path(__file__).resolve().parents[3] / 'shared' / 'data'
  return folder if folder.is_dir() else None


def find(root: str | os.PathLike[str], name: str) -> Path:
  """Finds the folder of a data set.

  Args:
    root: the data root, see `data_root`.
    name: of a folder in it, or the path of a folder elsewhere.

  Raises:
    FileNotFoundError: where there is neither.
  """
  for folder in (Path(root) / name, Path(name).expanduser()):
    if name and folder.is_dir():
      return folder
  known = [p.name for p in sorted(Path(root).glob('*')) if p.is_dir()]
  raise FileNotFoundError(
    f'no data set {name!r} in {root}, nor a folder of this name; there are: '
    + (', '.join(known) or 'none')
  )


def _files(folder: Path) -> list[Path]:
  """The image files of a folder."""
  return [
    file
    for file in sorted(folder.iterdir())
    if file.suffix.lower() in SUFFIXES and not file.name.startswith('.')
  ]


def _by_name(folder: Path, named: dict[Path, str]) -> dict[str, Path]:
  """Turns files and the names of their pairs about, each name once."""
  files: dict[str, Path] = {}
  for file, name in named.items():
    if name in files:
      raise ValueError(f'{folder}: {files[name].name} and {file.name} collide')
    files[name] = file
  return files


def _hr_name(file: Path) -> str:
  """The name of the pair that an HR file belongs to."""
  return re.sub(r'(_SRF_\d+(\.\d+)?_HR|_GT)$', '', file.stem)


def _lr_name(file: Path, known: Collection[str]) -> tuple[str, str | None]:
  """The name of the pair of an LR file, one of those that are known.

  And its scale, where the name says it.
  """
  name = file.stem.removesuffix('_GT')
  match = re.fullmatch(r'(.+)(?:_SRF_|x)(\d+(?:\.\d+)?)(?:_LR)?', name)
  if name in known or match is None or match[1] not in known:
    return name, None
  return match[1], match[2]


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


def _find_lr(
  folder: Path, known: Collection[str], scale: Scale
) -> dict[str, Path] | None:
  """The LR images of a data set by the names of its pairs; None: it has none.

  Raises:
    FileNotFoundError, ValueError: see `pairs`.
  """
  found = _lr_folders(folder)
  plain = folder / 'LR'
  named: dict[str, dict[Path, str]] = {}
  for scale_said, place in found.items():
    named[scale_said] = {
      file: _lr_name(file, known)[0] for file in _files(place)
    }
  if not found and plain.is_dir():
    for file in _files(plain):
      name, said = _lr_name(file, known)
      if said is None:
        raise ValueError(
          f'{file}: its name does not say the scale; call the folder LR_xS'
        )
      named.setdefault(said, {})[file] = name
  if not named:
    return None
  wanted = scale if isinstance(scale, (tuple, list)) else (scale, scale)
  matches = [s for s in named if (float(s), float(s)) == tuple(wanted)]
  if not matches:
    raise ValueError(
      f'{folder}: made at scale {", ".join(named)}, not at {scale}'
    )
  place = found.get(matches[0], plain)
  lr = _by_name(place, named[matches[0]])
  if missing := sorted(set(known) - set(lr)):
    raise FileNotFoundError(f'{place}: no image for {", ".join(missing)}')
  return lr


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
  folder = find(root, dataset)
  hr_folder = folder / 'HR' if (folder / 'HR').is_dir() else folder
  hr = _by_name(hr_folder, {f: _hr_name(f) for f in _files(hr_folder)})
  if not hr:
    raise FileNotFoundError(f'{hr_folder}: no images')
  if not with_lr:
    return [Pair(name, file, None, None) for name, file in sorted(hr.items())]
  lr = _find_lr(folder, hr, scale)
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
