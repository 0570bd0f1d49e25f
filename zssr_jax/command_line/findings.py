"""What was found out about an image, in words and for its record."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zssr_jax import Result, pictures, registry
from zssr_jax.degradation import Degradation
from zssr_jax.kernel_estimation import diagnosis
from zssr_jax.ops.jpeg import Jpeg
from zssr_jax.pictures import Picture

# Pixels per chroma sample (y, x), as programs call it.
_SAMPLINGS = {(1, 1): '4:4:4', (1, 2): '4:2:2', (2, 2): '4:2:0'}


class Known(NamedTuple):
  """What was known of an image before anything was looked for in it."""

  degradation: Degradation  # None what was not
  of_file: bool = False  # whether its tables are those of the input file


def with_tables(known: Degradation, picture: Picture, path: Path) -> Known:
  """Adds what a JPEG file says of its compression.

  Args:
    known: of the image.
    picture: read from the file.
    path: the file.

  Raises:
    InputError: see `image_io.read_jpeg`.
  """
  tables = pictures.read_tables(picture, path)
  return Known(known.replace(jpeg=tables), of_file=tables is not None)


def summary(result: Result) -> str:
  """Says in a few words what was found and used; nothing of plain bicubic."""
  kernel = _kernel(result)
  if result.diagnosis is None:
    return kernel
  if result.estimate is None:
    return result.said
  return diagnosis.describe(result.diagnosis.degradation, kernel)


def _kernel(result: Result) -> str:
  """Where the kernel came from, and an estimator's trust in it."""
  if result.estimate is None:
    return '' if result.kernel is None else 'kernel given'
  if result.estimate.kernel is None:
    return 'no kernel found, bicubic used'
  words = registry.ESTIMATORS[result.estimate.method].summary
  if math.isnan(result.estimate.agreement):
    return words
  return f'{words}, agreement {result.estimate.agreement:.2f}'


def explain(result: Result, known: Known) -> str:
  """Tells how a diagnosis came about: candidates, noise, compression, reason.

  Args:
    result: of a run with a diagnosis.
    known: before it.

  Returns:
    Indented lines, without the last line's end.
  """
  found = result.diagnosis
  assert found is not None
  lines = [('blur', found.blur if result.estimate is None else _kernel(result))]
  if found.reason:
    lines.append(('reason', found.reason))
  elif not math.isnan(found.confidence):
    lines.append(('sure to', f'{100 * found.confidence:.0f} %'))
  if found.degradation.doubt is not None:
    share = 100 * found.degradation.relative_doubt**0.5
    lines.append(('kernel', f'by a trained network, off by some {share:.0f} %'))
  std, jpeg = _noise(found.degradation), found.degradation.jpeg
  measured = known.degradation.noise_std is None
  lines.append(('noise', f'{std}, {"measured" if measured else "given"}'))
  lines.append(('JPEG', 'no' if jpeg is None else _jpeg(jpeg, known)))
  told = [f'  {name:<8}{words}' for name, words in lines]
  if found.candidates:
    width = max(len(candidate.name) for candidate in found.candidates)
    told.append(f'  {"candidate":<{max(width, 9)}}   cost  misfit')
    told += [
      f'  {c.name:<{max(width, 9)}} {c.cost:6.1f}  {c.misfit:6.3f}  {c.words}'
      for c in found.candidates
    ]
  return '\n'.join(told)


def _noise(degradation: Degradation) -> str:
  words = [f'{255 * float(degradation.noise_std or 0):.1f}/255']
  if degradation.shot is not None:
    words.append(f'shot {float(degradation.shot):.2g}')
  if degradation.speckle is not None:
    words.append(f'speckle {float(degradation.speckle):.2g}')
  return ', '.join(words)


def _jpeg(jpeg: Jpeg, known: Known) -> str:
  steps = np.asarray(jpeg.tables[0])
  source = 'found in the pixels'
  if known.degradation.jpeg is not None:
    source = 'tables of the file' if known.of_file else 'given'
  sampling = _SAMPLINGS.get(
    jpeg.sampling, 'of {} x {} pixels'.format(*jpeg.sampling)
  )
  return (
    f'{source}: steps of the luma {steps.min():g} to {steps.max():g}, chroma'
    f' {sampling}'
  )


def entry(result: Result) -> dict[str, Any]:
  """Returns what a record says of the degradation.

  That is what was found, or, where nothing was looked for, what the sons were
  made by.
  """
  found = result.diagnosis
  degradation = result.degradation if found is None else found.degradation
  jpeg = degradation.jpeg
  return {
    # Noise in image units; its variance at intensity x is
    # noise_std^2 + shot x + (speckle x)^2.
    **{
      name: _number(getattr(degradation, name))
      for name in ('doubt', 'noise_std', 'shot', 'speckle')
    },
    'jpeg': jpeg
    and {
      'tables': np.asarray(jpeg.tables).tolist(),  # luma, chroma
      'sampling': jpeg.sampling,  # pixels per chroma sample (y, x)
    },
    'blur': found and found.blur,
    'candidates': found and [c._asdict() for c in found.candidates],
    'reason': found and found.reason,
  }


def _number(value: Any) -> float | None:
  """Returns no more digits than float32 has."""
  return None if value is None else float(str(np.float32(value)))
