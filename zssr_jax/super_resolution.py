"""Zero-shot super-resolution of one image, start to end.

  fathers  = the input and its smaller versions          training/pool.py
  son      = degrade(father)                             degradation.py
  network  = trained on (son, father) crops              training/step, loop
  result   = network(input), ensemble, back-projection   inference.py

In a gradual run each stage's result joins the fathers of the next (section
3.3 of the paper), see `stages.py`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from zssr_jax import (
  automatic,
  checks,
  compile_cache,
  forecast,
  inference,
  parts,
  presets,
  registry,
  stages,
  wiener,
)
from zssr_jax.config import Config
from zssr_jax.degradation import Degradation
from zssr_jax.kernel_estimation import diagnosis as diagnosis_lib
from zssr_jax.kernel_estimation import estimate as estimation
from zssr_jax.kernel_estimation import noise
from zssr_jax.models.network import Network
from zssr_jax.ops.resize import Scale
from zssr_jax.parallel import devices
from zssr_jax.training import history, joint_kernel, kernel_source, loop, pool
from zssr_jax.training import losses as loss_lib
from zssr_jax.units import MOST_NOISE, ROUNDING
from zssr_jax.weights import starts

# Pixels in which a degradation is looked for: the busiest of a larger image.
_LOOKED_AT = 2_000_000
_WHOLE = 1 << 20  # reach of a network that says none: more than any image

# An array `[h, w]`, or what makes one: `(image, scale (y, x), key) -> [h, w]`.
Kernel = np.ndarray | jax.Array | Callable[..., np.ndarray]
# A module `(lr, interpolated) -> hr`, or what makes one for factors (y, x).
Model = nn.Module | Callable[[tuple[float, float]], nn.Module]
# Takes the first row's number, and rows.
Rows = Callable[[int, np.ndarray], None]
# (weight, function `(output, father) -> scalar`) by name.
Losses = Mapping[str, tuple[float, loss_lib.Function]]


@dataclasses.dataclass(frozen=True)
class Result:
  """What `train_image` returns."""

  # float32 [ceil(H y), ceil(W x), C] in [0, 1]; no rows where `rows` had them
  image: np.ndarray
  params: Any  # the network's after the last stage; a tuple for several
  history: history.History
  kernel: np.ndarray | None  # float32 [h, w] as used; None: bicubic
  config: Config  # as used
  degradation: Degradation  # of the sons, as used
  seconds: dict[str, float]  # by phase: estimate, prepare, train, infer
  estimate: estimation.Estimate | None = None  # of the kernel
  diagnosis: diagnosis_lib.Diagnosis | None = None  # with `automatic`
  warning: str | None = None  # one line: what `automatic` had to give up
  # PSNR, dB: `image` degraded again, and the input; of a large one, of a part
  consistency: float = math.nan
  planes: np.ndarray | None = None  # float32 [H', W', k] in [0, 1], enlarged
  # What made the image, for others; see `photos.Upscaler`.
  upscaler: inference.Upscaler | None = None

  @property
  def said(self) -> str:
    """What `automatic` found and did, in one line; empty without it."""
    if self.diagnosis is None:
      return ''
    done = automatic.describe(self.config, self.degradation)
    return f'{self.diagnosis}: {done}'

  @property
  def warnings(self) -> tuple[str, ...]:
    """All that had to be given up, the kernel's estimate included."""
    found = (self.estimate and self.estimate.warning, self.warning)
    return tuple(' '.join(words.split()) for words in found if words)

  def __repr__(self) -> str:
    """What came out and at what cost, in three lines without arrays."""
    y, x, _ = self.history.stages[-1]
    image = _times(self.image.shape) if self.image.size else 'by rows'
    kernel = 'bicubic' if self.kernel is None else _times(self.kernel.shape)
    found = f' ({self.estimate.method})' if self.estimate else ''
    steps = sum(n for _, _, n in self.history.stages)
    seconds = ', '.join(f'{k} {s:.1f}' for k, s in self.seconds.items())
    return (
      f'Result(image {image}, scale (y, x) ({y:g}, {x:g}),'
      f' kernel {kernel}{found},\n  {steps} steps, seconds: {seconds},\n'
      f'  consistency {self.consistency:.2f} dB)'
    )


def _times(shape: tuple[int, ...]) -> str:
  return 'x'.join(map(str, shape))


# It yields jobs, is sent what comes of each, and returns the result.
Run = Generator[loop.Job, loop.Trained, Result]


def train_image(
  image: np.ndarray | jax.Array,
  scale: Scale = 2,
  *,
  kernel: Kernel | None = None,
  degradation: Degradation | None = None,
  config: Config | str = Config(),
  start: Any = None,
  vgg: Any = None,
  model: Model | None = None,
  losses: Losses | None = None,
  planes: np.ndarray | jax.Array | None = None,
  rows: Rows | None = None,
  key: jax.Array | None = None,
  progress: Callable[[loop.Progress], None] | None = None,
) -> Result:
  """Trains on one image and returns its super-resolution.

  Args:
    image: `[H, W, C]` in [0, 1], any number of channels; `[H, W]` counts as
      one channel.
    scale: upscaling factor, a number or a pair (y, x), each from 1 to 16.
    kernel: blur kernel `[h, w]` in the convention of `degradation`, used as
      it is apart from being made to sum to 1; or a function `(image, scale
      (y, x), key) -> kernel` that estimates one. None: what `config.kernel`
      says.
    degradation: what is known of it: parts that are not None hold whatever
      the config says, the others are as it says. Its scale is not read.
    config: every other setting, or the name of a shipped config, see
      `load_config`.
    start: parameters to start from, whole or some of the modules at the top of
      the tree (a trained `backbone`, say). None: those that `config.start`
      names; random ones where an `automatic` config has none for this scale.
    vgg: variables of VGG16, `weights.parameters.load_vgg16`, which a config
      with a content loss needs.
    model: a network of your own in place of `config.model`: a flax module
      `(lr, interpolated) -> hr`, see `models.zssr`, or a function from the
      factors (y, x) to one, called once a gradual stage. An attribute `reach`
      of the module says how many input pixels away its layers look at most;
      without it the image is enlarged in one piece.
    losses: losses of your own, added to those of `config.losses`: a weight
      and a function `(output, father) -> scalar` by name.
    planes: `[H, W, k]` in [0, 1], what belongs to the image but is not trained
      on, such as alpha or further bands: the trained network enlarges each as
      a grey image.
    rows: called with the number of the first row and with
      float32 `[n, W, C + k]` of the result, the enlarged planes behind the
      image's channels, from top to bottom, as they are made. Then the result
      holds neither image nor planes, and memory does not grow with the image.
    key: random key, by default `jax.random.key(0)`.
    progress: called with a `Progress` at the begin of every phase, and a few
      times a second while training and enlarging.

  Returns:
    A `Result`.

  Raises:
    ValueError: with one line that says what is wrong, for an image, planes, a
      scale, kernel, config or start that cannot be used, or when the config
      needs a start or VGG16 and there is none.
    OSError: when the file of a start is missing or cannot be read.
  """
  tracker = forecast.Tracker(progress, forecast.PHASES[1:-1])  # without files
  run = run_image(
    image,
    scale,
    kernel=kernel,
    degradation=degradation,
    config=config,
    start=start,
    vgg=vgg,
    model=model,
    losses=losses,
    planes=planes,
    rows=rows,
    key=key,
    tracker=tracker,
  )
  return devices.drive(run, tracker.trained)


def run_image(
  image: np.ndarray | jax.Array,
  scale: Scale = 2,
  *,
  kernel: Kernel | None = None,
  degradation: Degradation | None = None,
  config: Config | str = Config(),
  start: Any = None,
  vgg: Any = None,
  model: Model | None = None,
  losses: Losses | None = None,
  planes: np.ndarray | jax.Array | None = None,
  rows: Rows | None = None,
  key: jax.Array | None = None,
  tracker: forecast.Tracker | None = None,
) -> Run:
  """`train_image` with the training left to the caller.

  A generator: it yields one `loop.Job` a network and gradual stage, wants the
  `loop.Trained` sent back, and returns the `Result`. So several images can be
  trained together (`parallel.devices`). Arguments and errors are those of
  `train_image`; errors come at the first `next`. A `tracker` is told of all but
  the training, which is for the caller to report to it.
  """
  compile_cache.use_compile_cache()
  scale, config = checks.check_scale(scale), presets.config_of(config)
  if start is None:
    config = presets.choose_start(config, scale)
    start = starts.load_start(config.start, scale)
  return (
    yield from run_config(
      image,
      scale,
      kernel=kernel,
      degradation=degradation,
      config=config,
      start=start,
      vgg=vgg,
      model=model,
      losses=losses,
      planes=planes,
      rows=rows,
      key=key,
      tracker=tracker,
    )
  )


def run_config(
  image: np.ndarray | jax.Array,
  scale: Scale,
  *,
  kernel: Kernel | None,
  degradation: Degradation | None,
  config: Config,
  start: Any,
  vgg: Any,
  model: Model | None,
  losses: Losses | None,
  planes: np.ndarray | jax.Array | None,
  rows: Rows | None,
  key: jax.Array | None,
  tracker: forecast.Tracker | None,
) -> Run:
  """`run_image` once it is known by what config, and from what start.

  All that a result depends on is below here (`evaluation.code`); the settings
  of the shipped configs, which are found by name, are not.
  """
  tracker = tracker or forecast.Tracker(None)
  image, scale = checks.check_image(image), checks.check_scale(scale)
  planes = checks.check_planes(planes, image.shape)
  config = inference.settle(config.in_force, image.shape)
  key = jax.random.key(0) if key is None else key
  variables = {} if vgg is None else {'vgg16': vgg}
  terms = loss_lib.terms_of(config.losses, image.shape[2], config, losses)
  given = kernel is not None or (degradation and degradation.kernel) is not None
  _check_complete(config, given, terms, variables)
  clock = stages.Clock()
  tracker.expect(_expect(image.shape, scale, config))
  tracker.enter('estimate')
  with clock('estimate'):
    looked_at = parts.window(image, _LOOKED_AT)
    found = _find(looked_at, scale, kernel, degradation, config, key)
    config = found.config
  run = stages.Run(
    image=image,
    parts=pool.choose_parts(image, config),
    stages=stages.plan_stages(image.shape, scale, config),
    network=_find_network(model, config, image.shape[2]),
    name='your network' if model else stages.describe_network(config),
    losses=terms,
    variables=variables,
    start=start,
    config=config,
    key=key,
  )
  # What was found may have changed how it is trained.
  tracker.expect(_expect(image.shape, scale, config))
  tracker.enter('prepare')
  carried = yield from _train(run, found.source, clock)
  tracker.enter('infer')
  return (
    yield from _conclude(run, found, carried, planes, rows, clock, tracker)
  )


def _conclude(
  run: stages.Run,
  found: _Found,
  carried: stages.Carried,
  planes: np.ndarray | None,
  rows: Rows | None,
  clock: stages.Clock,
  tracker: forecast.Tracker,
) -> Run:
  """Enlarges image and planes by what was trained, if that may be shown."""
  config, warning = run.config, None
  with clock('infer'):
    fitted = _fit(carried, run.image)
  if config.automatic:
    carried, fitted, warning = yield from _judge(
      run, found, carried, fitted, clock
    )
  with clock('infer'):
    made = enlarge(fitted, run.image, planes, rows, tracker.at)
  tracker.enter('write')
  used = carried.source.degradation
  return Result(
    image=made.image,
    params=carried.params[0] if config.networks == 1 else carried.params,
    history=history.join_histories(list(carried.histories)),
    kernel=used.kernel,
    config=config.replace(noise_std=float(used.noise_std or 0.0)),
    degradation=used,
    seconds=clock.seconds,
    estimate=found.estimate,
    diagnosis=found.diagnosis,
    warning=warning,
    consistency=_consistency(used, fitted),
    planes=made.planes,
    upscaler=fitted.upscaler,
  )


def expect(
  shape: tuple[int, ...], scale: Scale, config: Config | str
) -> dict[str, float]:
  """Estimates how long the phases of a run take, before there is an image.

  That is by the network that the config names.

  Args:
    shape: of the image, `(H, W, C)`.
    scale: upscaling factor or pair (y, x).
    config: of the run, or its name.

  Returns:
    Seconds by phase, those of `forecast.PHASES`.

  Raises:
    ValueError: for an image that is too small, or a scale out of range.
  """
  return _expect(shape, scale, presets.config_of(config))


def _expect(
  shape: tuple[int, ...], scale: Scale, config: Config
) -> dict[str, float]:
  config = inference.settle(config.in_force, shape)
  factors, side, _ = stages.plan_stages(shape, scale, config)[-1]
  model = stages.make_model(registry.MODELS[config.model], factors, config)
  flops = forecast.flops_of(model, factors, shape[2])
  return forecast.seconds_of(shape, factors, config, side=side, flops=flops)


def _train(
  run: stages.Run, source: kernel_source.Source, clock: stages.Clock
) -> Generator[loop.Job, loop.Trained, stages.Carried]:
  """Goes through the stages of a run."""
  carried = stages.Carried(source)
  for number in range(len(run.stages)):
    carried = yield from stages.run_stage(run, number, carried, clock)
  return carried


def _fit(carried: stages.Carried, image: np.ndarray) -> inference.Fitted:
  """Tries what was trained on part of the image."""
  assert carried.upscaler is not None
  return inference.fit(carried.upscaler, image)


def _judge(
  run: stages.Run,
  found: _Found,
  carried: stages.Carried,
  fitted: inference.Fitted,
  clock: stages.Clock,
) -> Generator[
  loop.Job, loop.Trained, tuple[stages.Carried, inference.Fitted, str | None]
]:
  """Trains again where a kernel has done harm.

  Returns:
    The training, its upscaler with as much interpolation as is safe, and a
    warning or None.
  """
  assert found.diagnosis is not None
  scale, warning = found.source.degradation.scale, None
  diagnosis = found.diagnosis
  trial = fitted.trial
  if automatic.is_ruined(trial.result, trial.image, scale, diagnosis):
    warning = f'{diagnosis}: this made stripes or halos; not used'
    used = found.source.degradation
    if used.kernel is not None:
      unblurred = kernel_source.Known(used.replace(kernel=None, undo=None))
      carried = yield from _train(run, unblurred, clock)
      with clock('infer'):
        fitted = _fit(carried, run.image)
        trial = fitted.trial
  share = automatic.share_of_interpolation(
    trial.result, trial.image, scale, diagnosis
  )
  upscaler = fitted.upscaler._replace(share=share)
  return carried, fitted._replace(upscaler=upscaler), warning


class Made(NamedTuple):
  """What is returned of an image; nothing where it was handed out by rows."""

  image: np.ndarray
  planes: np.ndarray | None


def enlarge(
  fitted: inference.Fitted,
  image: np.ndarray,
  planes: np.ndarray | None,
  rows: Rows | None,
  report: Callable[[float], None],
) -> Made:
  """Enlarges an image and the planes beside it, each as a grey image.

  Args:
    fitted: what was trained, fitted to the image.
    image: float32 `[H, W, C]` in [0, 1].
    planes: float32 `[H, W, k]` in [0, 1], or None.
    rows: as in `train_image`.
    report: called with the share that is done.
  """
  upscaler, trial = fitted
  channels = image.shape[2]
  # Views, since there may be many bands.
  greys = [] if planes is None else list(np.moveaxis(planes, 2, 0))
  greys = [np.broadcast_to(g[..., None], image.shape) for g in greys]
  if rows is None:
    made = inference.enlarge_rest(fitted, image, report)
    if planes is None:
      return Made(made, None)
    enlarged = [inference.enlarge(upscaler, grey).mean(2) for grey in greys]
    return Made(made, np.stack(enlarged, axis=2))
  if trial.is_whole:
    sources = [iter([(0, inference.enlarge_rest(fitted, image))])]
  else:
    sources = [inference.strips(upscaler, image, report)]
  for grey in greys:
    own = inference.fit(upscaler, grey).upscaler
    sources.append(inference.strips(own, grey))
  for (first, strip), *others in zip(*sources, strict=True):
    beside = [plane.mean(2, keepdims=True) for _, plane in others]
    rows(first, np.concatenate([strip, *beside], axis=2))
  return Made(np.empty((0, 0, channels), np.float32), None)


def _check_complete(
  config: Config,
  given: bool,
  terms: tuple[loss_lib.Term, ...],
  variables: Mapping[str, Any],
) -> None:
  """Refuses a config that needs what was not passed."""
  if not given and config.kernel == 'given':
    raise ValueError(
      'this config needs a blur kernel: pass one, or set kernel to estimate'
      ' or bicubic'
    )
  for term in terms:
    if term.network is not None and term.network not in variables:
      raise ValueError(
        f'a {term.name} loss needs the weights of VGG16: pass vgg, read by'
        ' weights.parameters.load_vgg16'
      )


class _Found(NamedTuple):
  """What is known before the training."""

  source: kernel_source.Source  # of the sons' degradation
  config: Config  # to train by
  estimate: estimation.Estimate | None = None
  diagnosis: diagnosis_lib.Diagnosis | None = None


def _find(
  image: np.ndarray,
  scale: tuple[float, float],
  kernel: Kernel | None,
  degradation: Degradation | None,
  config: Config,
  key: jax.Array,
) -> _Found:
  """Finds out how sons are to be made, and with `auto` how to train."""

  def kernel_key() -> jax.Array:
    # Its own keeps the training the same when a kernel is passed in.
    return jax.random.fold_in(key, 2**31 - 1)

  if callable(kernel):
    kernel = kernel(image, scale, kernel_key())
  known = (degradation or Degradation(scale)).replace(
    scale=scale, border=config.border
  )
  kernel = known.kernel if kernel is None else kernel
  known = _with_kernel(known, kernel, config, image.shape)
  if not config.automatic and known.noise_std is None:
    known = known.replace(noise_std=_noise_std(image, config))
  diagnosis = None
  if config.automatic or config.kernel == 'auto':
    diagnosis = diagnosis_lib.estimate_degradation(
      image,
      scale,
      known=known,
      blurred=config.kernel == 'auto',
      compressed=config.automatic and config.find_jpeg,
      shaken=config.find_shake,
    )
    known = diagnosis.degradation
  else:
    known = diagnosis_lib.with_error(image, known)
  estimate = None
  if known.kernel is None and config.kernel in registry.ESTIMATORS:
    estimate = estimation.estimate(image, scale, config.kernel, kernel_key())
    known = _with_kernel(known, estimate.kernel, config, image.shape)
  if config.automatic:
    config, known = automatic.settle(config, known)
  fit = None
  if estimate and registry.ESTIMATORS[config.kernel].learnt_along:
    fit = estimate.fit
  if config.undo_blur and fit is None:
    known = known.replace(undo=wiener.filter_of(known, image))
  source: kernel_source.Source = kernel_source.Known(known)
  if fit is not None:
    # To be compared with the input, sons need its rounding.
    noise_std = np.maximum(known.noise_std or 0.0, ROUNDING)
    source = joint_kernel.make_joint_kernel(
      known.replace(noise_std=noise_std),
      fit.covariance,
      fit.covariance_precision,
    )
  return _Found(source, config, estimate, diagnosis)


def _with_kernel(
  known: Degradation,
  kernel: Any,
  config: Config,
  shape: tuple[int, ...],
) -> Degradation:
  """Checks a kernel, and puts it in its place."""
  if kernel is None:
    return known
  known = known.replace(kernel=checks.check_kernel(kernel, shape))
  return known.centered() if config.center_kernel else known


def _noise_std(image: np.ndarray, config: Config) -> float | None:
  """Chooses the noise on the sons of this image; in image units, or None."""
  if not config.estimate_noise:
    return config.noise_std or None
  level = config.estimate_noise * noise.noise_level(image)
  return max(config.noise_std, min(level, MOST_NOISE))


def _find_network(
  model: Model | None, config: Config, channels: int
) -> Network:
  """Returns the config's network, or the user's."""
  if model is None:
    return registry.MODELS[config.model]

  def make(scale, **_):
    made = model if isinstance(model, nn.Module) else model(scale)
    checks.check_model(made, scale, channels)
    return made

  # Where the module itself does not say more.
  return Network(make=make, color='any', reach=lambda depth: _WHOLE)


def _consistency(degradation: Degradation, fitted: inference.Fitted) -> float:
  """Measures how well a result, degraded again, explains the input: in dB."""
  (image, result, _), share = fitted.trial, fitted.upscaler.share
  result = inference.blend(result, image, degradation.scale, share)
  rest: Any = degradation.unexplained(result, image)
  return float(-10 * np.log10(np.mean(np.asarray(rest) ** 2) + 1e-12))


def check_start(start: Any, scale: Scale, config: Config | str) -> None:
  """Checks whether a start fits what a config trains, before there is an image.

  Args:
    start: as in `train_image`, or None.
    scale: upscaling factor or pair (y, x).
    config: of the training, or its name.

  Raises:
    ValueError: when it fits neither colour nor grey images.
  """
  config = presets.config_of(config)
  factors = stages.stage_factors(checks.check_scale(scale), config)[0]
  network = registry.MODELS[config.model]
  model = stages.make_model(network, factors, config)
  error = None
  for channels in (3, 1):
    fresh = stages.shapes_of(model, factors, channels)
    try:
      name = stages.describe_network(config)
      stages.complete_start(fresh, start, network, name)
      return
    except ValueError as misfit:
      error = error or misfit
  assert error is not None
  raise error
