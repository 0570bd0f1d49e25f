"""Which files are read and written: one job an input."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import os
import tempfile
from collections import Counter
from pathlib import Path

from zssr_jax.command_line.arguments import ESTIMATES, OUTPUT_FORMATS, Options
from zssr_jax.data import photo
from zssr_jax.errors import InputError
from zssr_jax.ops.resize import Scale


@dataclasses.dataclass(frozen=True)
class Job:
  """One input file and the files made of it."""

  input: Path
  page: int | None  # of the input, from 1
  reference: Path | None
  reference_page: int | None
  container: str  # of the result, a key of `photo.SUFFIXES`
  image: Path
  record: Path
  comparison: Path  # made when there is a reference
  kernel: Path  # this and its picture: made when a kernel is used
  kernel_picture: Path
  may_use_kernel: bool  # False: bicubic for sure

  def existing_output(self) -> Path | None:
    """Returns an output that is there already, if any."""
    outputs = [self.image, self.record]
    if self.reference:
      outputs.append(self.comparison)
    if self.may_use_kernel:
      outputs += [self.kernel, self.kernel_picture]
    return next((p for p in outputs if p.exists()), None)


def _images_in(folder: Path) -> list[Path]:
  return [
    p
    for p in sorted(folder.iterdir())
    if p.suffix.lower() in photo.INPUT_SUFFIXES
    and p.is_file()
    and not p.name.startswith('.')
  ]


def _list_inputs(pattern: str) -> tuple[list[Path], int | None]:
  """Returns the files that a file name, folder or glob stands for.

  And the page, where it is FILE[PAGE].
  """
  path = Path(pattern)
  if path.is_dir():
    found = _images_in(path)
    if not found:
      raise InputError(f'{pattern}: no images in this folder')
    return found, None
  if path.exists() or not glob.has_magic(pattern):
    return [path], None
  file, page = photo.split_page(pattern)
  if file.is_file():
    return [file], page
  found = [Path(p) for p in sorted(glob.glob(pattern)) if Path(p).is_file()]
  if not found:
    raise InputError(f'{pattern}: no file matches')
  return found, None


def _find_reference(reference: Path, name: Path, inputs: int) -> Path:
  """Returns the ground truth of the input `name`, one of so many inputs."""
  if not reference.is_dir():
    if inputs > 1:
      raise InputError(
        f'{reference}: must be a folder when there are {inputs} inputs'
      )
    return reference
  found = [p for p in _images_in(reference) if p.stem == name.stem]
  same = [p for p in found if p.name == name.name] or found
  if len(same) != 1:
    raise InputError(
      f'{reference}: holds {len(same) or "no"} images called {name.stem}'
    )
  return same[0]


def _container(path: Path, output_format: str | None) -> str:
  """Returns the container of the result.

  It goes by the input's name, not by what the file is, so that nothing has to
  be read for it: a TIFF named .png becomes a PNG named .png.
  """
  if output_format:
    return OUTPUT_FORMATS[output_format]
  return 'TIFF' if path.suffix.lower() in ('.tif', '.tiff') else 'PNG'


def plan(options: Options, scale: Scale) -> list[Job]:
  """Returns one job an input, none of which writes over another's output.

  Raises:
    InputError: when there is no input, a ground truth is missing, a name is
      too long, or two inputs would give outputs of the same name.
  """
  try:
    inputs, page = _list_inputs(options.input)
    stems = Counter(p.stem for p in inputs)
    factors = scale if isinstance(scale, tuple) else (scale,)
    suffix = '_x' + 'x'.join(f'{f:.4g}' for f in factors)
    if page is not None:
      suffix = f'_p{page}{suffix}'
    jobs: dict[str, Job] = {}
    for path in inputs:
      name = (path.stem if stems[path.stem] == 1 else path.name) + suffix
      if name in jobs:
        raise InputError(
          f'{path}: its result would be named like that of'
          f' {jobs[name].input}; run them one by one'
        )
      if len(os.fsencode(name)) > 200:  # most file systems end at 255
        raise InputError(f'{path}: the name is too long to name results by')
      reference, reference_page = None, None
      if options.reference:
        reference, reference_page = photo.split_page(options.reference)
        reference = _find_reference(reference, path, len(inputs))
      output = Path(options.output)
      container = _container(path, options.output_format)
      jobs[name] = Job(
        input=path,
        page=page,
        reference=reference,
        reference_page=reference_page,
        container=container,
        image=output / (name + photo.SUFFIXES[container]),
        record=output / f'{name}.json',
        comparison=output / f'{name}_side_by_side.png',
        kernel=output / f'{name}_kernel.npy',
        kernel_picture=output / f'{name}_kernel.png',
        may_use_kernel=bool(options.kernel)
        or options.config.kernel in ESTIMATES,
      )
    return list(jobs.values())
  except OSError as error:  # a forbidden folder
    raise InputError(f'{error.filename}: {error.strerror}') from None


def check_output_folder(folder: Path) -> None:
  """Raises InputError unless files can be made there; leaves nothing behind."""
  made: list[Path] = []
  try:
    made = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as error:
    raise InputError(
      f'{folder}: cannot write to this folder: {error.strerror}'
    ) from None
  finally:
    for path in made:
      with contextlib.suppress(OSError):
        path.rmdir()
