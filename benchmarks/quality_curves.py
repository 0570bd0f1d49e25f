"""What `time_to_quality.py` makes of its measurements: tables and a plot.

A row is a run: 'family', 'steps', 'image', 'seed', 'cores', 'scale', 'config'
(its settings but for the steps), 'seconds', 'psnr' and 'bicubic', the PSNR of
bicubic interpolation; and 'commit', 'machine', 'gflops', 'jax', 'torch'.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

# Behind the name of a family that another checkout has run.
BEFORE = ' (before)'


def current(rows: Sequence[Row], scale: int) -> list[Row]:
  """Leaves out other scales, and runs by what a family's settings once were."""
  rows = [row for row in rows if row['scale'] == scale]
  config = {row['family']: row['config'] for row in rows}
  return [row for row in rows if row['config'] == config[row['family']]]


def names(rows: Sequence[Row], field: str) -> list[Any]:
  """The values of a field, each once."""
  return list(dict.fromkeys(row[field] for row in rows if field in row))


def by_run(rows: Sequence[Row]) -> dict[tuple[str, int], list[Row]]:
  """Groups rows by image and seed."""
  groups: dict[tuple[str, int], list[Row]] = {}
  for row in rows:
    groups.setdefault((row['image'], row['seed']), []).append(row)
  return groups


def best_within(
  rows: Sequence[Row], family: str, seconds: float
) -> float | None:
  """Mean over the images of the best PSNR of a run that was quick enough.

  Args:
    rows: of one count of cores.
    family: of the runs.
    seconds: that a run may have taken.

  Returns:
    None unless each image in `rows` has such a run.
  """
  best = []
  for group in by_run(rows).values():
    scores = [
      row['psnr']
      for row in group
      if row['family'] == family and row['seconds'] <= seconds
    ]
    if not scores:
      return None
    best.append(max(scores))
  return statistics.fmean(best)


def quickest(rows: Sequence[Row], psnr: float) -> float | None:
  """Seconds of the quickest run that is at least so good, None without one."""
  return min((r['seconds'] for r in rows if r['psnr'] >= psnr), default=None)


def ratios(
  rows: Sequence[Row], family: str, reference: str
) -> tuple[int, list[tuple[float, float]]]:
  """Compares the times to the best PSNR of another family's runs.

  Args:
    rows: of one count of cores.
    family: whose times are asked for.
    reference: the other family.

  Returns:
    On how many images both were run; the seconds of the reference and of the
    family, for each image on which that got as far.
  """
  count, pairs = 0, []
  for group in by_run(rows).values():
    theirs = [row for row in group if row['family'] == reference]
    ours = [row for row in group if row['family'] == family]
    if not theirs or not ours:
      continue
    count += 1
    best = max(row['psnr'] for row in theirs)
    needed, taken = quickest(theirs, best), quickest(ours, best)
    if needed is not None and taken is not None:
      pairs.append((needed, taken))
  return count, pairs


def curve(rows: Sequence[Row], family: str) -> list[tuple[float, float]]:
  """Mean seconds and mean gain over bicubic by the number of steps.

  Only of the numbers of steps for which there is a run of every image.
  """
  images, points = by_run(rows).keys(), []
  chosen = [row for row in rows if row['family'] == family]
  for steps in sorted(names(chosen, 'steps')):
    here = {
      (row['image'], row['seed']): row
      for row in chosen
      if row['steps'] == steps
    }
    if here.keys() != images:
      continue
    seconds = statistics.fmean(row['seconds'] for row in here.values())
    gains = [row['psnr'] - row['bicubic'] for row in here.values()]
    points.append((seconds, statistics.fmean(gains)))
  return points


def seconds_table(rows: Sequence[Row], limits: Sequence[float]) -> str:
  """Markdown of the best PSNR within some seconds, a line a family.

  Args:
    rows: of one count of cores.
    limits: the seconds.
  """
  lines = [
    f'| family | {" | ".join(f"{limit:g} s" for limit in limits)} |',
    '|---' * (len(limits) + 1) + '|',
  ]
  for family in names(rows, 'family'):
    best = [best_within(rows, family, limit) for limit in limits]
    cells = ('-' if psnr is None else f'{psnr:.2f}' for psnr in best)
    lines.append(f'| {family} | {" | ".join(cells)} |')
  return '\n'.join(lines)


def ratio_table(rows: Sequence[Row], reference: str) -> str:
  """Markdown of the seconds to the best PSNR of a family, a line each other.

  Args:
    rows: of any counts of cores.
    reference: the family.
  """
  lines = [
    '| cores | family | images | theirs, s | ours, s | ratio |',
    '|---|---|---|---|---|---|',
  ]
  for cores in sorted(names(rows, 'cores')):
    here = [row for row in rows if row['cores'] == cores]
    for family in names(here, 'family'):
      count, pairs = ratios(here, family, reference)
      if family == reference or not count:
        continue
      line = f'| {cores} | {family} | {len(pairs)} of {count} |'
      if pairs:
        needed, taken = (statistics.fmean(n) for n in zip(*pairs, strict=True))
        ratio = statistics.geometric_mean(a / b for a, b in pairs)
        line += f' {needed:.1f} | {taken:.1f} | {ratio:.1f} |'
      else:
        line += ' - | - | - |'
      lines.append(line)
  return '\n'.join(lines)


def conditions(rows: Sequence[Row]) -> str:
  """Says on what and by which code rows of one count of cores were made."""
  rates = [row['gflops'] for row in rows]
  before = [row for row in rows if row['family'].endswith(BEFORE)]
  now = [row for row in rows if row not in before]
  facts = [
    *names(rows, 'machine'),
    f'matrix products at {min(rates):.0f} to {max(rates):.0f} GFLOP/s',
    *(f'commit {commit}' for commit in names(now, 'commit')),
    *(f'before: {commit}' for commit in names(before, 'commit')),
    *(f'jax {version}' for version in names(rows, 'jax')),
    *(f'PyTorch {version}' for version in names(rows, 'torch')),
  ]
  return ', '.join(facts) + '.'


def page(
  rows: Sequence[Row], limits: Sequence[float], reference: str, plot: str
) -> str:
  """Returns the Markdown of all rows, which are of one scale.

  Args:
    rows: as `current` has them.
    limits: seconds at which results are compared.
    reference: the family that the others' times are compared to.
    plot: the name of the file with the curves.
  """
  parts = [
    '# PSNR against seconds',
    'The mean over the images of the best PSNR, dB, of a run that took so many'
    ' seconds\nor fewer; - where an image has none.',
  ]
  for cores in sorted(names(rows, 'cores')):
    here = [row for row in rows if row['cores'] == cores]
    runs = by_run(here)
    bicubic = statistics.fmean(run[0]['bicubic'] for run in runs.values())
    parts += [
      f'## {_cores(cores)}',
      f'{", ".join(sorted(names(here, "image")))}; x{here[0]["scale"]},'
      f' bicubic {bicubic:.2f} dB.\n\n{conditions(here)}',
      seconds_table(here, limits),
    ]
  parts.append(f'![Gain over bicubic against seconds]({plot})')
  if reference in names(rows, 'family'):
    parts += [
      f'## Seconds to the best PSNR of {reference}',
      'Of the images on which a family gets that far: the mean seconds of both,'
      ' and the\ngeometric mean of their ratios.',
      ratio_table(rows, reference),
    ]
  parts.append(
    'Made by `python benchmarks/time_to_quality.py`; each run is a line of the'
    ' .jsonl\nbeside this.'
  )
  return '\n\n'.join(parts) + '\n'


def _cores(count: int) -> str:
  return 'One core' if count == 1 else f'{count} cores'


def draw(
  rows: Sequence[Row], ticks: Sequence[float], reference: str, path: Path
) -> None:
  """Draws the curves, an axis a count of cores; earlier code's are dashed."""
  import matplotlib.pyplot as plt

  counts = sorted(names(rows, 'cores'))
  figure, axes = plt.subplots(
    1, len(counts), figsize=(6.5 * len(counts), 5), sharey=True, squeeze=False
  )
  bases = names([{'of': _base(f)} for f in names(rows, 'family')], 'of')
  for axis, cores in zip(axes[0], counts, strict=True):
    here = [row for row in rows if row['cores'] == cores]
    for family in names(here, 'family'):
      points = curve(here, family)
      if not points:
        continue
      known = family == reference
      axis.plot(
        *zip(*points, strict=True),
        color='black' if known else f'C{bases.index(_base(family))}',
        linestyle='-' if _base(family) == family else '--',
        marker='o',
        markersize=4,
        label=family,
      )
    axis.set(xscale='log', xlabel='seconds', title=_cores(cores))
    axis.set_xticks(ticks, [f'{tick:g}' for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.grid(alpha=0.3)
  axes[0][0].set_ylabel('gain over bicubic, dB')
  axes[0][-1].legend(fontsize='small')
  figure.tight_layout()
  figure.savefig(path, dpi=110)


def _base(family: str) -> str:
  return family.removesuffix(BEFORE)
