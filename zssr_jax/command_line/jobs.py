"""Which files are read and written: one job an input."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zssr_jax.command_line.arguments import ESTIMATES, OUTPUT_FORMATS, Options
from zssr_jax.data import names
from zssr_jax.errors import InputError
from zssr_jax.ops.resize import Scale

_COMPARISON, _KERNEL = '_side_by_side.png', '_kernel.npy'
_KERNEL_PICTURE = '_kernel.png'
_LONGEST = 200  # bytes of a name; most file systems end at 255
# Of records, kernels, manifests and reports, which nobody takes for photos.
_OWN_SUFFIXES = frozenset('.json .npy .jsonl .html'.split())
_FOLDER = 'a folder; pass --recursive to go into it'
_OVERWRITE = 'exists already; pass --overwrite to replace it'


@dataclasses.dataclass(frozen=True)
class Job:
  """One input file and the files made of it."""

  input: Path
  page: int | None  # of the input, from 1
  reference: Path | None
  reference_page: int | None
  container: str  # of the result, a key of `names.SUFFIXES`
  image: Path
  record: Path
  comparison: Path  # made when there is a reference
  kernel: Path  # this and its picture: made when a kernel is used
  kernel_picture: Path
  may_use_kernel: bool  # False: bicubic for sure

  @property
  def is_finished(self) -> bool:
    """Whether an earlier run made the result; its record comes first."""
    return self.image.exists() and is_record(self.record)

  def in_the_way(self) -> Path | None:
    """Returns a file in the place of an output that no run has made, if any.

    A record without its image is of a run that was interrupted.
    """
    if is_record(self.record):
      return None
    outputs = [self.image, self.record]
    if self.reference:
      outputs.append(self.comparison)
    if self.may_use_kernel:
      outputs += [self.kernel, self.kernel_picture]
    return next((p for p in outputs if p.exists()), None)


class Plan(NamedTuple):
  """What is to be done."""

  jobs: list[Job]
  finished: list[Job]  # by an earlier run
  refused: list[tuple[Path, str]]  # inputs, and why: one line naming the file
  notes: list[str]  # what of the folders is not read

  @property
  def total(self) -> int:
    """How many inputs there are."""
    return len(self.jobs) + len(self.finished) + len(self.refused)


class _Input(NamedTuple):
  """A file that was asked for."""

  path: Path
  page: int | None = None
  below: Path = Path()  # where its outputs go, under the output folder
  is_named: bool = False  # by itself, not by a folder or glob


class _Left(NamedTuple):
  """A file or folder that is not read, and why."""

  path: Path
  why: str


def is_record(path: Path) -> bool:
  """Whether a file is the record of a result; see `record.make_record`."""
  try:
    found = json.loads(path.read_bytes())
  except (OSError, ValueError, RecursionError):
    return False
  versions = found.get('versions') if isinstance(found, dict) else None
  return isinstance(versions, dict) and 'zssr_jax' in versions


def _is_result(path: Path) -> bool:
  """Whether a file was made by an earlier run: its record lies beside it."""
  for ending in (_COMPARISON, _KERNEL_PICTURE, path.suffix):
    if ending and path.name.endswith(ending):
      record = path.with_name(f'{path.name.removesuffix(ending)}.json')
      if record.is_file() and is_record(record):
        return True
  return False


def _walk(
  folder: Path, below: Path, recursive: bool
) -> Iterator[_Input | _Left]:
  """Lists a folder: its images, and what is not read."""
  subfolders = []
  for path in sorted(folder.iterdir()):
    if path.name.startswith('.'):
      continue
    suffix = path.suffix.lower()
    if path.is_dir():
      subfolders.append(path)
    elif path.is_file() and suffix in names.INPUT_SUFFIXES:
      yield _Input(path, below=below)
    elif suffix not in _OWN_SUFFIXES:
      yield _Left(path, 'not an image by its name')
  for path in subfolders:
    if not recursive:
      yield _Left(path, _FOLDER)
    elif not path.is_symlink():  # which may lead back here
      yield from _walk(path, below / path.name, recursive)


def _find(
  pattern: str, *, recursive: bool, alone: bool
) -> Iterator[_Input | _Left]:
  """Lists the files that a name, a folder or a glob stands for.

  Args:
    pattern: as the user wrote it.
    recursive: whether folders are gone into.
    alone: whether it is all that was asked for; else a folder's outputs go
      to a folder of its name.

  Raises:
    InputError: where there is nothing.
  """
  try:
    path = Path(pattern).expanduser()
  except RuntimeError as error:  # an unknown user
    raise InputError(f'{pattern}: {error}') from None
  if path.is_dir():
    below = Path() if alone else Path(path.resolve().name)
    found = list(_walk(path, below, recursive))
    if not any(isinstance(item, _Input) for item in found):
      deeper = _FOLDER in [i.why for i in found if isinstance(i, _Left)]
      hint = '; pass --recursive to go into its folders' if deeper else ''
      raise InputError(f'{pattern}: no images in this folder{hint}')
    yield from found
    return
  if path.exists() or not glob.has_magic(pattern):
    yield _Input(path, is_named=True)
    return
  file, page = names.split_page(path)
  if file.is_file():
    yield _Input(file, page, is_named=True)
    return
  matches = sorted(map(Path, glob.glob(str(path), recursive=True)))
  if not any(p.is_file() for p in matches):
    raise InputError(f'{pattern}: no file matches')
  for match in matches:
    if match.is_file():
      yield _Input(match)
    elif recursive:
      yield from _walk(match, Path(match.name), recursive)
    else:
      yield _Left(match, _FOLDER)


class _Found(NamedTuple):
  """What the inputs stand for."""

  inputs: list[_Input]
  refused: list[tuple[Path, str]]
  notes: list[str]


def _find_all(patterns: tuple[str, ...], recursive: bool) -> _Found:
  """Lists the files of all inputs, each once, and no results among them."""
  inputs: dict[tuple[str, int | None], _Input] = {}
  refused, left = [], []
  folders = sum(Path(p).expanduser().is_dir() for p in patterns)
  for pattern in patterns:
    try:
      for item in _find(pattern, recursive=recursive, alone=folders <= 1):
        if isinstance(item, _Left):
          left.append(item)
        else:
          inputs.setdefault((os.path.abspath(item.path), item.page), item)
    except InputError as error:
      refused.append((Path(pattern), str(error)))
    except OSError as error:  # a forbidden folder
      where = error.filename or pattern
      refused.append((Path(pattern), f'{where}: {error.strerror}'))
  kept = []
  for item in inputs.values():
    # One that is named alone is wanted, say to be enlarged once more.
    if not (item.is_named and len(inputs) == 1) and _is_result(item.path):
      left.append(_Left(item.path, 'a result of an earlier run'))
    else:
      kept.append(item)
  notes = [f'{item.path}: {item.why}; left out' for item in left]
  return _Found(kept, refused, notes)


def _find_reference(reference: Path, item: _Input) -> tuple[Path, int | None]:
  """Returns the ground truth, and its page, of an input."""
  path, page = names.split_page(reference)
  if not path.is_dir():
    return path, page
  folder = path / item.below if (path / item.below).is_dir() else path
  found = [
    p
    for p in folder.iterdir()
    if p.stem == item.path.stem
    and p.suffix.lower() in names.INPUT_SUFFIXES
    and p.is_file()
  ]
  same = [p for p in found if p.name == item.path.name] or found
  if len(same) != 1:
    raise InputError(
      f'{item.path}: {path} holds {len(same) or "no"} images called'
      f' {item.path.stem}'
    )
  return same[0], None


def _job(item: _Input, name: str, options: Options) -> Job:
  """Makes the job of an input, whose outputs are called `name`.

  Raises:
    InputError: where the name is too long, the ground truth missing, or the
      input in the place of the result.
  """
  container = names.default_container(item.path)
  if options.output_format:
    container = OUTPUT_FORMATS[options.output_format]
  folder = options.folder / item.below
  image = folder / (name + names.SUFFIXES[container])
  if (file := options.output_file) is not None:
    found = names.container_of(file)
    assert found is not None
    container, image, name = found, file, file.stem
  if len(os.fsencode(name)) > _LONGEST:
    raise InputError(f'{item.path}: the name is too long to name results by')
  reference, reference_page = None, None
  if options.reference:
    reference, reference_page = _find_reference(
      Path(options.reference).expanduser(), item
    )
  if image.exists() and image.samefile(item.path):
    raise InputError(
      f'{image}: is the input, too; choose another name for the result'
    )
  return Job(
    input=item.path,
    page=item.page,
    reference=reference,
    reference_page=reference_page,
    container=container,
    image=image,
    record=folder / f'{name}.json',
    comparison=folder / f'{name}{_COMPARISON}',
    kernel=folder / f'{name}{_KERNEL}',
    kernel_picture=folder / f'{name}{_KERNEL_PICTURE}',
    may_use_kernel=bool(options.kernel) or options.config.kernel in ESTIMATES,
  )


def plan(options: Options, scale: Scale) -> Plan:
  """Returns one job an input, none of which writes over another's output.

  An input that cannot be done is refused by itself, and the others are done.

  Raises:
    InputError: where one file is to hold the results of several inputs, or be
      the ground truth of several.
  """
  found = _find_all(options.input, options.recursive)
  count = len(found.inputs)
  if count > 1 and options.output_file is not None:
    raise InputError(
      f'{options.output}: is one file, for {count} inputs; name a folder'
    )
  truth = Path(options.reference or '.').expanduser()
  if count > 1 and not truth.is_dir():
    raise InputError(f'{truth}: must be a folder when there are {count} inputs')
  suffix = names.result_suffix(scale)
  # Names that differ in their suffix alone are told apart by it.
  stems = Counter(
    (below, Path(name).stem)
    for below, name in {(i.below, i.path.name) for i in found.inputs}
  )
  taken: dict[Path, Path] = {}  # records, and whose they are
  jobs: list[Job] = []
  finished: list[Job] = []
  refused = list(found.refused)
  for place, item in enumerate(found.inputs):
    path, page = item.path, '' if item.page is None else f'_p{item.page}'
    alone = stems[item.below, path.stem] == 1
    name = (path.stem if alone else path.name) + page + suffix
    is_ours = options.shard is None or options.shard.has(place)
    try:
      job = _job(item, name, options)
      if job.record in taken:
        raise InputError(
          f'{path}: its result would be named like that of'
          f' {taken[job.record]}; run them one by one'
        )
      taken[job.record] = path
      if not is_ours:
        continue
      if options.overwrite:
        jobs.append(job)
      elif job.is_finished:
        finished.append(job)
      elif other := job.in_the_way():
        del taken[job.record]
        raise InputError(f'{other}: {_OVERWRITE}')
      else:
        jobs.append(job)
    except (InputError, OSError) as error:
      words = str(error)
      if isinstance(error, OSError):  # a forbidden folder
        words = f'{error.filename or path}: {error.strerror}'
      if is_ours:  # else another process says so
        refused.append((path, words))
  return Plan(jobs, finished, refused, found.notes)


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
