"""Evaluates methods on data sets: one row an image, a table, a report.

  zssr-eval --datasets=Set5,Set14,B100 --methods=nearest,bilinear,bicubic
  zssr-eval --datasets=Set5 --scales=2 --config=fast --lpips
  zssr-eval --datasets=B100 --degradation=gaussian --seeds=0,1 --devices=8
  zssr-eval --datasets=my/photos --config.max_steps=300 --output=out/mine
  zssr-eval --datasets=B100 --shard=0/8        one of eight parts; then --merge

Appends to OUTPUT/rows.jsonl as images finish and goes on where an earlier run
stopped; writes OUTPUT/table.md and OUTPUT/report.html at the end. Methods:
nearest, bilinear, bicubic, lanczos; srcnn, srcnn_955, vdsr, edsr, edsr_plus,
networks trained on other images, by --weights; self_ex_sr and blind_sr, which
learn nothing; zssr, which takes --config; and pixel_shuffle, transposed,
vdsr_backbone, transferred, mzsr, hybrid_loss, which take the shipped
config of their name. --config.FIELD holds for all. Exit code: 0; 1 when some
images failed; 2 for bad arguments; 130 after Ctrl-C.

bin/eval_all is the same from a clone.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from zssr_jax import compile_cache, presets
from zssr_jax.baselines import interpolation, learned
from zssr_jax.command_line import app, arguments, hosts, networks
from zssr_jax.config import Config
from zssr_jax.data import datasets, files, image_io
from zssr_jax.display import Display
from zssr_jax.errors import InputError
from zssr_jax.evaluation import (
  cases,
  harness,
  lpips,
  methods,
  protocols,
  rows,
  tables,
)
from zssr_jax.parallel import cluster
from zssr_jax.parallel import devices as parallel
from zssr_jax.report import page
from zssr_jax.training.history import History
from zssr_jax.training.loop import Progress
from zssr_jax.weights import parameters

_LISTS = {
  'datasets': (['Set5'], 'Folders of the data root, or paths of your own.'),
  'scales': (['2'], 'Upscaling factors.'),
  'methods': (['bicubic', 'zssr'], 'Methods of the tables.'),
  'seeds': (['0'], 'Random seeds of the training.'),
  'degradation': (
    ['own'],
    "own: the data set's LR images, else bicubic; ideal, gaussian, disc, line,"
    ' shake, each also with -noise (1 to 8 of 255) or -noise3 (percent), and'
    ' with -jpeg (quality 30 to 95) or -jpeg60, and then -crop (off its grid,'
    ' a PNG), as in disc-noise1 or ideal-jpeg60-crop; mixed: one of all these'
    ' for each image; div2krk, poor, poor-noise, poor-speckle, poor-jpeg, four,'
    ' kernel:FILE.',
  ),
}


@dataclasses.dataclass(frozen=True)
class Given:
  """What the methods are made of, in plain values, which a host is sent."""

  configs: Mapping[str, tuple[Config, str]]  # of the methods that train
  methods: tuple[str, ...]
  files: networks.Files
  data: Path | None

  def recipes(self) -> dict[str, harness.Recipe]:
    """Returns what each of the methods that train takes."""
    recipes = {}
    for method, (config, name) in self.configs.items():
      trained = networks.load(config, self.files, self.data)
      recipes[method] = harness.Recipe(config, name, trained.start, trained.vgg)
    return recipes

  def networks(self) -> dict[str, Callable[[float], harness.Network]]:
    """Returns how each of the methods that need a network upscales."""

    def at_scale(method: methods.Method, scale: float) -> harness.Network:
      assert method.network is not None
      name, params = networks.load_network(
        method.network, scale, self.files, self.data
      )
      return harness.Network(
        learned.make_upscale(name, params, ensemble=method.ensemble),
        harness.digest_of(params),
      )

    return {
      name: functools.cache(functools.partial(at_scale, methods.REGISTRY[name]))
      for name in self.methods
      if name in methods.REGISTRY and methods.REGISTRY[name].network
    }


@dataclasses.dataclass(frozen=True)
class Options:
  """What the flags of bin/eval_all say, checked."""

  recipes: Mapping[str, harness.Recipe]  # of the methods that train
  data: Path
  output: Path
  datasets: tuple[str, ...]
  scales: tuple[float, ...]
  methods: tuple[str, ...]
  degradation: tuple[str, ...]
  degradation_seed: int
  seeds: tuple[int, ...]
  limit: int | None
  devices: int | None  # 1; of each host of a cluster all
  in_flight: int
  lpips: bool
  cluster: str | None
  write: str
  shard: arguments.Shard | None
  merge: bool
  given: Given

  @property
  def folder(self) -> Path:
    """Where the rows go: those of a part have a folder of their own."""
    if self.shard is None:
      return self.output
    return self.output / rows.PART.format(self.shard)


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags but --config, named as in `Options`."""
  for name, (default, text) in _LISTS.items():
    flags.DEFINE_list(name, default, text, flag_values=values)
  flags.DEFINE_multi_string(
    'weights',
    [],
    'NAME=FILE for vgg16 (content loss), vdsr (also a backbone), srcnn,'
    ' srcnn_955 or edsr (also edsr_plus), for several scales several; else'
    " the data root's.",
    flag_values=values,
  )
  flags.DEFINE_string(
    'data', None, 'Data root; else ZSSR_JAX_DATA.', flag_values=values
  )
  flags.DEFINE_string('output', 'out/eval', 'Folder.', flag_values=values)
  flags.DEFINE_integer(
    'degradation_seed', 0, 'Seed of what it draws.', flag_values=values
  )
  flags.DEFINE_integer(
    'limit', None, 'First so many images only.', 1, flag_values=values
  )
  arguments.define_parallel(values)
  flags.DEFINE_boolean(
    'lpips', False, 'Measure LPIPS as well.', flag_values=values
  )
  flags.DEFINE_boolean(
    'merge',
    False,
    'Take in the rows of all parts (--shard) in OUTPUT, and make none.',
    flag_values=values,
  )


def _configs(
  argv: list[str], parsed: arguments.Parsed
) -> dict[str, tuple[Config, str]]:
  """Returns the config, and its name, of each of the methods that train."""
  config, name = parsed.config, parsed.config_name
  wanted: Any = parsed.values['methods'].value
  chosen = {
    field: getattr(config, field) for field, _ in arguments.overrides(argv)
  }
  if 'model' in chosen and set(wanted) & set(methods.VARIANTS):
    raise InputError(
      '--config.model: would make other methods of the variants; use it with'
      f' --methods={methods.ZSSR}'
    )
  found = {methods.ZSSR: (config, name)} if methods.ZSSR in wanted else {}
  for variant in methods.VARIANTS:
    if variant in wanted:
      try:
        found[variant] = (presets.load_config(variant, **chosen), variant)
      except ValueError as error:
        raise InputError(f'--methods={variant}: {error}') from None
  return found


def _numbers(
  flag: Mapping[str, Any],
) -> tuple[tuple[float, ...], tuple[int, ...]]:
  """Reads the scales and seeds of the flags, whose lists must not be empty."""
  for name in ('datasets', 'scales', 'methods', 'seeds', 'degradation'):
    if not flag[name]:
      raise InputError(f'--{name}: is empty')
  try:
    seeds = tuple(int(text) for text in flag['seeds'])
  except ValueError:
    raise InputError(
      f'--seeds={",".join(flag["seeds"])}: must be whole numbers'
    ) from None
  scales = []
  for text in flag['scales']:
    scale = arguments.parse_scale(text)
    assert isinstance(scale, float)  # the list has split any pair
    scales.append(scale)
  return tuple(scales), seeds


def parse_options(argv: list[str]) -> Options:
  """Parses the command line.

  Overrides of --config.FIELD hold for the presets of the variants as well.

  Raises:
    InputError: for anything wrong, in one line.
  """
  parsed = arguments.parse_flags(argv, define_flags, default='gradual')
  if parsed.rest:
    word = parsed.rest[0]
    raise InputError(f'{word}: not a flag; use --datasets={word}')
  values = parsed.values
  flag: dict[str, Any] = {name: values[name].value for name in values}
  try:
    # Folders of one's own need no data root.
    own = all(Path(n).expanduser().is_dir() for n in flag['datasets'])
    data = datasets.data_root(flag['data'], needed=not own)
    kinds = [
      name
      for text in flag['degradation']
      for name in ([text] if text == cases.OWN else protocols.parse(text, data))
    ]
  except (OSError, ValueError) as error:
    raise InputError(str(error)) from None
  files = networks.parse(flag['weights'])
  shard = arguments.read_parallel(values)
  if flag['merge'] and (shard or flag['cluster']):
    raise InputError('--merge: trains nothing; leave --shard and --cluster out')
  if flag['cluster']:
    cluster.leave_devices()
  given = Given(_configs(argv, parsed), tuple(flag['methods']), files, data)
  recipes = given.recipes()
  networks.check_used(
    files,
    [recipe.config for recipe in recipes.values()],
    [
      methods.REGISTRY[name].network or ''
      for name in flag['methods']
      if name in methods.REGISTRY
    ],
  )
  if data is None:
    if not own:
      raise InputError('no data: pass --data=FOLDER or set ZSSR_JAX_DATA')
    data = Path()
  scales, seeds = _numbers(flag)
  return Options(
    recipes=recipes,
    data=data,
    output=Path(flag['output']),
    datasets=tuple(flag['datasets']),
    scales=scales,
    methods=tuple(flag['methods']),
    degradation=tuple(kinds),
    degradation_seed=flag['degradation_seed'],
    seeds=seeds,
    limit=flag['limit'],
    devices=flag['devices'],
    in_flight=flag['in_flight'],
    lpips=flag['lpips'],
    cluster=flag['cluster'],
    write=flag['write'],
    shard=shard,
    merge=flag['merge'],
    given=given,
  )


class _Watch:
  """Shows what is running, and the means of what is done."""

  def __init__(self, display: Display):
    self._display = display
    self._scores: dict[str, list[float]] = {}

  def progress(self, task: harness.Task, part: Progress) -> None:
    name = f'{task.case.image} ×{task.case.scale:g} {task.method}'
    self._display.begin(task.key, name)
    self._display.show(task.key, part)

  def row(self, row: rows.Row) -> None:
    self._display.end(row['key'])
    name = f'{row["dataset"]} ×{row["scale"]:g} {row["method"]}'
    seen = self._scores.setdefault(name, [])
    seen.append(row['psnr'])
    self._display.count(
      f'{name}: mean {np.mean(seen):.2f} dB of {len(seen)}',
      f'{row["image"]}  {row["psnr"]:.2f} / {row["ssim"]:.4f}'
      f'  (bicubic {row["bicubic_psnr"]:.2f})  {row["seconds"]:g} s',
    )

  def failure(self, task: harness.Task, reason: str) -> None:
    self._display.end(task.key)
    with self._display.aside():
      app.complain(reason)


def _explain(failure: harness.Failure) -> str:
  """Says why a task gave no row."""
  path = failure.task.case.pair.hr
  return app.explain(failure.error, path) or f'{path}: {failure.error}'


class Settings(NamedTuple):
  """What a worker of a cluster opens its bench with."""

  folder: str  # in which the driver was started
  given: Given
  in_flight: int
  lpips: Path | None  # the data root, where that is measured
  output: Path | None  # where the worker writes; None: the driver does
  mark: Path | None  # see `hosts.marked`


def open_bench(
  settings: Settings, devices: Sequence[jax.Device]
) -> cluster.Bench:
  """Loads what all rows need, on a worker's host.

  Raises:
    InputError: where something is missing there.
  """
  hosts.go_to(settings.folder)
  hosts.check(settings.mark)
  compile_cache.use_compile_cache()
  try:
    distance = _load_lpips(settings.lpips) if settings.lpips else None
  except (OSError, ValueError) as error:
    raise InputError(str(error)) from None
  return harness.Bench(
    settings.given.recipes(),
    settings.given.networks(),
    devices=devices,
    in_flight=settings.in_flight,
    lpips=distance,
    folder=settings.output,
  )


def run(options: Options) -> int:
  """Evaluates, writing `rows.jsonl`, `table.md` and `report.html`.

  Returns:
    Exit code: 0, or 1 when some image failed.

  Raises:
    InputError: before anything is run, for what concerns the whole run; later
      where a cluster has no host left.
  """
  if options.cluster is None:
    return _run(options)
  with cluster.joined(options.cluster):
    return _run(options)


def _run(options: Options) -> int:
  unusable: list[Path] = []

  def failed(path: Path, error: Exception) -> None:
    unusable.append(path)
    app.complain(app.explain(error, path))

  try:
    tasks, store, make = _prepare(options, failed)
  except (OSError, ValueError) as error:
    raise InputError(str(error)) from None
  failures = len(unusable) + _make_rows(tasks, store, make)
  write_table(store)
  _write_report(options, tasks, store)
  print(f'{store.folder}: {len(store.rows)} rows, table.md, report.html')
  return 1 if failures else 0


# `make(tasks, store, watch, display)` yields what becomes of the rows that are
# missing.
_Make = Callable[
  [Sequence[harness.Task], rows.Store, '_Watch', Display],
  Iterator[rows.Row | harness.Failure],
]


def _prepare(
  options: Options, failed: cases.Failed
) -> tuple[list[harness.Task], rows.Store, _Make]:
  """Finds what is to be done, where, and how.

  Raises:
    OSError, ValueError: for what concerns the whole run.
  """
  make = _find_maker(options)  # first: it is soon told what is missing
  found = cases.find_all(
    options.data,
    options.datasets,
    options.scales,
    options.degradation,
    seed=options.degradation_seed,
    limit=options.limit,
    failed=failed,
  )
  tasks = harness.plan(
    found,
    options.methods,
    options.seeds,
    options.recipes,
    options.given.networks(),
  )
  if options.shard is not None:
    tasks = _of_shard(tasks, options.shard, options.output)
  store = rows.Store(options.folder)
  if options.merge:
    for folder in sorted(options.output.glob(rows.PART.format('*'))):
      harness.take_in(store, folder)
  return tasks, store, make


def _find_maker(options: Options) -> _Make:
  """Who makes the rows: nobody, the hosts of a cluster, or this process.

  Raises:
    OSError, ValueError: where this process lacks what it needs.
  """
  if options.merge:
    return lambda *_: iter(())
  if options.cluster is not None:
    return functools.partial(_make_there, options)
  devices = parallel.available(options.devices or 1)
  distance = _load_lpips(options.data) if options.lpips else None

  def make_here(
    tasks: Sequence[harness.Task], store: rows.Store, watch: _Watch, _: Display
  ) -> Iterator[rows.Row | harness.Failure]:
    return harness.run(
      tasks,
      store,
      devices=devices,
      in_flight=options.in_flight,
      lpips=distance,
      progress=watch.progress,
    )

  return make_here


def _make_there(
  options: Options,
  tasks: Sequence[harness.Task],
  store: rows.Store,
  watch: _Watch,
  display: Display,
) -> Iterator[rows.Row | harness.Failure]:
  with hosts.marked(store.folder, options.write) as mark:
    yield from harness.run_on_cluster(
      tasks,
      store,
      open_bench,
      Settings(
        folder=os.getcwd(),
        given=options.given,
        in_flight=options.in_flight,
        lpips=options.data if options.lpips else None,
        output=store.folder if mark else None,
        mark=mark,
      ),
      limits=(options.devices, options.in_flight),
      progress=watch.progress,
      note=functools.partial(hosts.note, display),
    )


def _of_shard(
  tasks: Sequence[harness.Task], shard: arguments.Shard, output: Path
) -> list[harness.Task]:
  """Returns the tasks of a part that were not merged before."""
  whole = output / rows.NAME
  known = (
    {r.get('key') for r in rows.read_rows(whole)} if whole.exists() else {}
  )
  return [
    task
    for place, task in enumerate(tasks)
    if shard.has(place) and task.key not in known
  ]


def _make_rows(
  tasks: Sequence[harness.Task], store: rows.Store, make: _Make
) -> int:
  """Makes the rows that are missing; returns how many came to nothing."""
  wanted = {task.key for task in tasks}
  failures, done = 0, len(wanted & set(store.rows))
  with Display(len(wanted), done, counts=True, tenths=False) as display:
    watch = _Watch(display)
    for outcome in make(tasks, store, watch, display):
      if isinstance(outcome, harness.Failure):
        reason = _explain(outcome)
        watch.failure(outcome.task, reason)
        store.fail(outcome.facts(), reason)
        failures += 1
      else:
        watch.row(outcome)
  return failures


def _write_report(
  options: Options, tasks: Sequence[harness.Task], store: rows.Store
) -> None:
  finished = [task for task in tasks if task.key in store.rows]
  shown = [store.rows[task.key] for task in finished]
  made = page.make_report(
    f'{", ".join(options.datasets)} by {", ".join(options.methods)}',
    _entries(finished, store),
    summary=tables.summary(shown),
    notes=tables.origin(shown),
  )
  files.write_files({store.folder / app.REPORT: made})


def write_table(store: rows.Store) -> None:
  """Writes `table.md` from a store's rows."""
  table = tables.make_table(store.rows.values())
  files.write_files({store.folder / 'table.md': table})


def _load_lpips(data: Path) -> harness.Lpips:
  heads = parameters.load_lpips_heads(data)
  return lpips.make_lpips(parameters.load_vgg16(data, heads), heads)


def _entries(
  tasks: Sequence[harness.Task], store: rows.Store
) -> Iterator[page.Entry]:
  """What the report shows: every result that was kept."""
  for task in tasks:
    path = harness.image_path(store, task.key)
    if not path.is_file():
      continue
    row = store.rows[task.key]
    pixels = task.case.load()
    history: History | None = None
    others: dict[str, np.ndarray] = {}
    file = harness.curves_path(store, task.key)
    if file.is_file():
      history, others = History.load(file)
    numbers = {
      'PSNR': f'{row["psnr"]:.2f} dB',
      'bicubic': f'{row["bicubic_psnr"]:.2f} dB',
      'gain': f'{row["psnr"] - row["bicubic_psnr"]:+.2f} dB',
      'SSIM': f'{row["ssim"]:.4f} (bicubic {row["bicubic_ssim"]:.4f})',
    }
    if 'lpips' in row:
      numbers['LPIPS'] = f'{row["lpips"]:.4f}'
    if 'steps' in row:
      numbers['steps'] = f'{row["steps"]}'
    numbers |= {
      'time': f'{row["seconds"]:g} s',
      'seed': f'{row["seed"]}',
      'degradation': ' '.join(
        [row['degradation'], *(f'{k}={v}' for k, v in row['details'].items())]
      ),
    }
    yield page.Entry(
      title=f'{row["image"]} ×{row["scale"]:g}, {row["method"]}',
      before=interpolation.bicubic(pixels.lr, task.case.scale),
      after=image_io.read_image(path),
      reference=pixels.hr,
      kernel=others.get('kernel'),
      history=history,
      numbers=numbers,
    )


def main(argv: list[str]) -> int:
  """Runs a command line and returns its exit code."""

  def work() -> int:
    options = parse_options(argv)
    compile_cache.use_compile_cache()
    return run(options)

  return app.run_command(argv, define_flags, work, usage=__doc__ or '')
