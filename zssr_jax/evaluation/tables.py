"""Makes table.md of rows: our numbers beside the published ones."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from zssr_jax import registry
from zssr_jax.evaluation import published, rows

_KEYS = (
  'dataset',
  'scale',
  'degradation',
  'degradation_seed',
  'method',
  'config_name',
  'config_hash',
  'kernel_given',
  'code',
)


# Loss against bicubic, in dB, that counts as harm.
_HARM = 0.1


class Group(NamedTuple):
  """The rows of one method, config and code on one data set."""

  facts: dict[str, Any]  # the values of `_KEYS`
  rows: list[rows.Row]
  part: bool = False  # those of a set that drew the same kind of degradation

  @property
  def images(self) -> int:
    """How many different images."""
    return len({row['image'] for row in self.rows})

  @property
  def seeds(self) -> list[int]:
    """The seeds that every image has been run with."""
    of_image: dict[str, set[int]] = {}
    for row in self.rows:
      of_image.setdefault(row['image'], set()).add(row['seed'])
    return sorted(set.intersection(*of_image.values()))

  def mean(self, name: str) -> float:
    """Mean over the images, and over the seeds all images have."""
    seeds = self.seeds
    chosen = [r for r in self.rows if not seeds or r['seed'] in seeds]
    return statistics.fmean(row[name] for row in chosen)

  def spread(self, name: str) -> float | None:
    """Standard deviation, between seeds, of the mean over the images."""
    if len(self.seeds) < 2:
      return None
    return statistics.stdev(
      statistics.fmean(row[name] for row in self.rows if row['seed'] == seed)
      for seed in self.seeds
    )

  @property
  def gain(self) -> float:
    """Mean gain over bicubic, in dB."""
    return self.mean('psnr') - self.mean('bicubic_psnr')

  @property
  def gains(self) -> list[float]:
    """Gain over bicubic of every row, in dB."""
    return [row['psnr'] - row['bicubic_psnr'] for row in self.rows]

  @property
  def automatic(self) -> bool:
    """Whether the method decided by itself what to do with an image."""
    return bool((self.rows[0].get('config') or {}).get('automatic'))


def group_rows(all_rows: Iterable[rows.Row]) -> list[Group]:
  """Sorts rows into groups whose rows differ in image and seed alone.

  Rows of `mixed` are in three: all of them, those of the same blur, and those
  with the same done to them afterwards.
  """
  groups: dict[tuple[Any, ...], Group] = {}
  for row in all_rows:
    facts = {name: row.get(name) for name in _KEYS}
    drawn = (row.get('details') or {}).get('drawn')
    kind, _, after = (drawn or '').partition('-')
    for part in (None, kind, after or 'clean') if drawn else (None,):
      shown = dict(facts)
      if part is not None:
        shown['degradation'] = f'{facts["degradation"]}: {part}'
      place = tuple(shown.values())
      group = groups.setdefault(place, Group(shown, [], part is not None))
      group.rows.append(row)
  return sorted(
    groups.values(),
    key=lambda group: [str(group.facts[name]) for name in _KEYS[:5]],
  )


def _kernel(config: Mapping[str, Any]) -> str:
  """What a config took for the kernel; nothing where it goes without saying."""
  name = str(config.get('kernel'))
  if name == 'given':
    return ', true kernel'
  if name == 'auto' and not config.get('automatic'):
    return ', kernel of a family'
  if name in registry.ESTIMATORS:
    return f', {registry.ESTIMATORS[name].label}'
  return ''


def labels(groups: Sequence[Group]) -> list[str]:
  """Names each group's method, telling apart what must be told apart."""
  named = []
  for group in groups:
    facts = group.facts
    name = facts['method']
    if facts['config_name']:
      if facts['config_name'] != name:
        name += f' ({facts["config_name"]})'
      config = group.rows[0].get('config') or {}
      name += _kernel(config)
      if (
        config.get('kernel') == 'bicubic' and facts['degradation'] == 'gaussian'
      ):
        name += ', bicubic assumed'
    named.append(name)
  places = [
    (name, *(group.facts[key] for key in _KEYS[:4]))
    for name, group in zip(named, groups, strict=True)
  ]
  for i, group in enumerate(groups):
    if places.count(places[i]) > 1:
      named[i] += f' [config {group.facts["config_hash"]}'
      named[i] += f', code {group.facts["code"]}]'
  return named


def _counterpart(group: Group) -> str:
  """The published row that a group stands beside, '' for none."""
  facts = group.facts
  if not facts['config_name'] or facts['kernel_given']:
    return facts['method']
  config = group.rows[0].get('config') or {}
  if config.get('kernel', 'bicubic') != 'bicubic':
    return f'{facts["method"]}, estimated kernel'
  # Published with a blur were those that knew of it.
  return '' if facts['degradation'] == 'gaussian' else facts['method']


def _signed(difference: float) -> str:
  """Two digits and a sign, and never -0.00."""
  return f'{round(difference, 2) + 0.0:+.2f}'


def _score(psnr: float, ssim: float | None) -> str:
  return f'{psnr:.2f}' + (f' / {ssim:.4f}' if ssim is not None else '')


def summary(all_rows: Iterable[rows.Row]) -> list[dict[str, str]]:
  """Returns the table as dicts of text, a group each, of the same columns."""
  groups = group_rows(all_rows)
  with_lpips = any('lpips' in row for group in groups for row in group.rows)
  lines = []
  for group, label in zip(groups, labels(groups), strict=True):
    facts = group.facts
    of = max(row['of'] for row in group.rows)
    spread = group.spread('psnr')
    place = (facts['dataset'], facts['scale'], facts['degradation'])
    table = published.PUBLISHED.get(place, {})
    other = published.OTHER_DRAWS.get(place, {})
    counterpart = _counterpart(group)
    paper = table.get(counterpart) or other.get(counterpart)
    whole = group.images == of or group.part
    images = f'{group.images}' if whole else f'{group.images} of {of}, partial'
    cells = {
      'data set': facts['dataset'],
      'scale': f'×{facts["scale"]:g}',
      'degradation': facts['degradation'],
      'method': label,
      'images': images,
      'seeds': ', '.join(str(seed) for seed in group.seeds) or 'mixed',
      'PSNR / SSIM': _score(group.mean('psnr'), group.mean('ssim'))
      + ('' if spread is None else f' (±{spread:.2f})'),
      'paper': '',
      'difference': '',
      'over bicubic': _signed(group.gain),
    }
    if paper:
      cells['paper'] = _score(*paper) + ('*' if other else '')
      # A partial mean is no counterpart of the whole set's.
      if whole and not other:
        cells['difference'] = _signed(group.mean('psnr') - paper[0])
    if with_lpips:
      has = all('lpips' in row for row in group.rows)
      cells['LPIPS'] = f'{group.mean("lpips"):.4f}' if has else ''
    cells['s / image'] = f'{group.mean("seconds"):.3g}'
    peaks = [row['peak_mb'] for row in group.rows if row['peak_mb']]
    cells['peak MB'] = f'{max(peaks):.0f}' if peaks else ''
    lines.append(cells)
  return lines


def harm(all_rows: Iterable[rows.Row]) -> list[dict[str, str]]:
  """How often an automatic method did worse than bicubic, a group each.

  Args:
    all_rows: rows of `harness.run`; those of other methods are left out.

  Returns:
    Dicts of text of the same columns, gains in dB.
  """
  groups = group_rows(all_rows)
  lines = []
  for group, label in zip(groups, labels(groups), strict=True):
    if not group.automatic:
      continue
    gains = group.gains
    below = sum(gain < -_HARM for gain in gains)
    worst = min(group.rows, key=lambda row: row['psnr'] - row['bicubic_psnr'])
    lines.append(
      {
        'data set': group.facts['dataset'],
        'scale': f'×{group.facts["scale"]:g}',
        'degradation': group.facts['degradation'],
        'method': label,
        'cases': f'{len(gains)}',
        'mean gain': _signed(statistics.fmean(gains)),
        f'below −{_HARM:g} dB': f'{below} ({below / len(gains):.1%})',
        'worst': f'{_signed(min(gains))} ({worst["image"]})',
      }
    )
  return lines


def origin(all_rows: Iterable[rows.Row]) -> list[str]:
  """Says which commits, packages and devices made the rows, a line each."""
  all_rows = list(all_rows)
  return [
    f'{title}: {"; ".join(sorted({str(row[name]) for row in all_rows}))}.'
    for name, title in (
      ('commit', 'Commits'),
      ('jax', 'JAX'),
      ('device', 'Devices'),
    )
  ]


def _markdown(lines: Sequence[Mapping[str, str]]) -> list[str]:
  head = list(lines[0])
  return [
    ' | '.join(['', *head, '']).strip(),
    '|---' * len(head) + '|',
    *(' | '.join(['', *line.values(), '']).strip() for line in lines),
  ]


def make_table(all_rows: Iterable[rows.Row]) -> str:
  """Markdown: the table, the published rows, and what made the numbers.

  Args:
    all_rows: rows of `harness.run`.
  """
  all_rows = list(all_rows)
  lines = summary(all_rows)
  if not lines:
    return 'No rows yet.\n'
  out = ['Mean over the images, PSNR in dB and SSIM on Y (shave = scale).', '']
  out += _markdown(lines)
  if harmed := harm(all_rows):
    out += ['', 'Against bicubic, image by image, gains in dB:', '']
    out += _markdown(harmed)
  places = dict.fromkeys(
    (g.facts['dataset'], g.facts['scale'], g.facts['degradation'])
    for g in group_rows(all_rows)
  )
  notes = []
  for place in places:
    for table, star in (
      (published.PUBLISHED, ''),
      (published.OTHER_DRAWS, '*'),
    ):
      if place in table:
        scores = ', '.join(
          f'{name} {_score(*score)}' for name, score in table[place].items()
        )
        notes.append(f'- {place[0]} ×{place[1]:g} {place[2]}{star}: {scores}')
  if notes:
    out += ['', 'Published:', '', *notes]
    if any('*:' in note for note in notes):
      out += ['', '\\* other random draws than ours: compare the gains.']
  for line in origin(all_rows):
    out += ['', line]
  return '\n'.join(out) + '\n'
