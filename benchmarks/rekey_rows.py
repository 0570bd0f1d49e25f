"""Gives rows whose results are proven the same the keys of the present code.

  python benchmarks/rekey_rows.py --before=../other_checkout --dry-run
  python benchmarks/rekey_rows.py --from=c9a12ed5fdb6,29dcdce96379
  python benchmarks/rekey_rows.py --from=c9a12ed5fdb6 --configs=fast,best

A row of docs/results/rows.jsonl is keyed by its config and by a digest of the
code that made it, so that numbers of different code never mix. Where the code
or the fields of a config have changed and the results have not, which
benchmarks/same_results.py shows, this script carries the rows over: `code`,
`config`, `config_hash` and `key` become what bin/eval_all would make of them
today, and images and curves are renamed with their rows. All else stays, the
order and the `commit` that made a row included. Rows of other code are left.

Which rows are meant: those by --from=DIGESTS, `code` in the rows, or those by
the code of another checkout, --before. --methods and --configs, names as in
the rows, narrow that down. Where fields of `Config` are renamed or removed, a
function in MIGRATIONS translates them; new ones get their default, which must
be what was done before there were any. Nothing is written when two rows would
get one key. No evaluation may run on the folder meanwhile. Exit code: 0, or 2
where nothing was done.
"""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[1]
# The digests are to be those of the package beside this file.
sys.path.insert(0, str(ROOT))

from zssr_jax.command_line import evaluate  # noqa: E402
from zssr_jax.config import Config  # noqa: E402
from zssr_jax.data import files  # noqa: E402
from zssr_jax.errors import InputError  # noqa: E402
from zssr_jax.evaluation import (  # noqa: E402
  code,
  harness,
  methods,
  rows,
)

Fields = dict[str, Any]


def _name_losses(fields: Fields) -> Fields:
  """`luma_share` and `content_weight` have become `losses`."""
  luma = fields.pop('luma_share', 0.0)
  content = fields.pop('content_weight', 0.0)
  if 'losses' not in fields:
    # The difference is a decimal number, like the weights of the presets.
    weights = {'luma': luma, 'l1': round(1 - luma, 9), 'content': content}
    fields['losses'] = [[name, w] for name, w in weights.items() if w]
  return fields


def _count_copies(fields: Fields) -> Fields:
  """`self_ensemble` has become `copies`."""
  if 'self_ensemble' in fields:
    fields['copies'] = 8 if fields.pop('self_ensemble') else 1
  return fields


# Functions from the fields of a config in a row to those of today, the oldest
# change first. Each gets a copy, perhaps one that is in today's form already.
MIGRATIONS: list[Callable[[Fields], Fields]] = [_name_losses, _count_copies]

# Prints what the code behind rows is called in the checkout it runs in.
_VERSIONS = """
import inspect, json, pathlib, sys
from zssr_jax import Config
from zssr_jax.evaluation import code, methods

if not pathlib.Path(code.__file__).is_relative_to(pathlib.Path.cwd()):
  sys.exit('the one installed is found in its place')

def version(name, fields):
  if not hasattr(code, 'method_version'):
    # Until there was that function, digests were those of modules.
    method = methods.find(name)
    module = 'zssr_jax.zssr'
    if not method.trains:
      module = getattr(
        method.upscale, '__module__', 'zssr_jax.baselines.learned'
      )
    return code.code_version(module, 'zssr_jax.ops.metrics')
  return code.method_version(name, fields and Config(**fields))

def attempt(name, fields):
  try:
    return version(name, fields)
  except (TypeError, ValueError):  # of other methods, or other fields
    return None

json.dump([attempt(*made_by) for made_by in json.load(sys.stdin)], sys.stdout)
"""


def _made_by(row: rows.Row) -> str:
  """What the code of a row depends on beside the checkout, as JSON."""
  return json.dumps([row.get('method'), row.get('config')])


def versions_of(
  checkout: pathlib.Path, old: Iterable[rows.Row]
) -> dict[str, str | None]:
  """What `code` another checkout would give rows.

  Returns:
    The digests, None where it knows no such method or config, by what a row
    was made by.

  Raises:
    InputError: when it does not tell.
  """
  folder = checkout.resolve()
  if not (folder / 'zssr_jax').is_dir():
    raise InputError(f'{checkout}: no checkout, zssr_jax is not in it')
  wanted = [*dict.fromkeys(_made_by(row) for row in old)]
  done = subprocess.run(
    [sys.executable, '-c', _VERSIONS],
    input=f'[{",".join(wanted)}]',
    capture_output=True,
    text=True,
    env={**os.environ, 'PYTHONPATH': str(folder)},
    cwd=folder,
  )
  if done.returncode:
    last = (done.stderr.strip().splitlines() or ['it says nothing'])[-1]
    raise InputError(f'{checkout}: does not tell its digests: {last}')
  return dict(zip(wanted, json.loads(done.stdout), strict=True))


def migrate(fields: Fields) -> Config:
  """The config of today that a row's fields stand for.

  Raises:
    TypeError: for a field that there is none of any more.
    ValueError: for a value that is none.
  """
  for translate in MIGRATIONS:
    fields = translate(dict(fields))
  return Config(**fields)


def rekeyed(row: rows.Row) -> rows.Row:
  """A row as the present code would have made it, the numbers as they are.

  Raises:
    ValueError: with the reason, for a row that cannot be one of today's.
  """
  if rows.key_of(rows.facts_of(row)) != row['key']:
    raise ValueError('their key is not that of what they hold')
  if methods.find(row['method']).trains != (row['config'] is not None):
    raise ValueError('their method has come to train, or ceased to')
  new, config = dict(row), None
  if row['config'] is not None:
    try:
      config = migrate(row['config'])
    except (TypeError, ValueError) as error:
      raise ValueError(f'config: {files.one_line(error)}') from None
    new['config'] = dataclasses.asdict(config)
    new['config_hash'] = harness.config_hash(config)
  new['code'] = code.method_version(row['method'], config)
  return {**new, 'key': rows.key_of(rows.facts_of(new))}


class Plan(NamedTuple):
  """What is to become of a file of rows."""

  rows: list[rows.Row]  # all, in their order
  keys: dict[str, str]  # new by old, where they differ
  moved: collections.Counter[str]  # how many rows went from where to where
  left: collections.Counter[str]  # how many did not, and why


def make_plan(
  old: Iterable[rows.Row], wanted: Callable[[rows.Row], bool]
) -> Plan:
  """Says what every row becomes.

  Args:
    old: the rows.
    wanted: whether a row's result is proven to be that of the present code.

  Raises:
    InputError: when two rows would have one key.
  """
  plan = Plan([], {}, collections.Counter(), collections.Counter())
  seen: dict[str, str] = {}
  for row in old:
    new = row
    if wanted(row):
      try:
        new = rekeyed(row)
      except ValueError as error:
        plan.left[str(error)] += 1
      else:
        what = f'{row["method"]}, {row["config_name"] or "no config"}:'
        what += f' {row["code"]} -> {new["code"]}'
        plan.moved[what] += new['key'] != row['key']
        plan.left['they are those of today'] += new['key'] == row['key']
    else:
      plan.left[f'not asked for: {row["code"]}'] += 1
    if new['key'] in seen:
      raise InputError(
        f'rows {seen[new["key"]]} and {row["key"]} would both be'
        f' {new["key"]}: leave one of their digests, methods or configs out'
      )
    seen[new['key']] = row['key']
    plan.rows.append(new)
    if new['key'] != row['key']:
      plan.keys[row['key']] = new['key']
  return plan


def write(plan: Plan, folder: pathlib.Path) -> None:
  """Renames what lies beside the rows, then writes them and their table."""
  store = rows.Store(folder)
  for old, new in plan.keys.items():
    for path in (harness.image_path, harness.curves_path):
      # An interrupted run has renamed some, and no row yet.
      if path(store, old).is_file():
        path(store, old).replace(path(store, new))
  lines = [json.dumps(row, allow_nan=False) + '\n' for row in plan.rows]
  files.write_files({store.path: ''.join(lines)})
  evaluate.write_table(rows.Store(folder))


def parse(arguments: list[str]) -> argparse.Namespace:
  """The command line, with lists in place of commas."""

  def names(text: str) -> list[str]:
    return [name for name in text.split(',') if name]

  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--rows', type=pathlib.Path, default=ROOT / 'docs' / 'results'
  )
  parser.add_argument('--from', dest='digests', type=names, default=[])
  parser.add_argument('--before', type=pathlib.Path)
  parser.add_argument('--methods', type=names)
  parser.add_argument('--configs', type=names)
  parser.add_argument('--dry-run', action='store_true')
  options = parser.parse_args(arguments)
  if not options.digests and options.before is None:
    parser.error('which rows? pass --from=DIGESTS or --before=CHECKOUT')
  return options


def main(arguments: list[str]) -> int:
  """Carries rows over and returns the exit code."""
  options = parse(arguments)
  path = options.rows / rows.NAME
  try:
    files.read_bytes(path)  # says what is wrong with a file that is not there
    old = rows.read_rows(path)
    versions = versions_of(options.before, old) if options.before else {}

    def wanted(row: rows.Row) -> bool:
      return (
        row['code'] in (*options.digests, versions.get(_made_by(row)))
        and (options.methods is None or row['method'] in options.methods)
        and (options.configs is None or row['config_name'] in options.configs)
      )

    plan = make_plan(old, wanted)
    if plan.keys and not options.dry_run:
      write(plan, options.rows)
  except (OSError, ValueError) as error:
    print(files.one_line(error), file=sys.stderr)
    return 2
  for title, counts in (('re-keyed', plan.moved), ('left', plan.left)):
    print(f'{counts.total():5} rows {title}')
    for what, count in counts.most_common():
      if count:
        print(f'{count:7} {what}')
  if options.dry_run:
    print('nothing was written: --dry-run')
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
