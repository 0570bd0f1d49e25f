"""Zero-shot super-resolution of one image, start to end.

  fathers  = the input and its smaller versions          training/pool.py
  son      = degrade(father)                             degradation.py
  network  = trained on (son, father) crops              training/step, loop
  result   = network(input), ensemble, back-projection   inference.py

In a gradual run each stage's result joins the fathers of the next (section
3.3 of the paper).
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Generator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax import blur_kernels, degradation, inference
from zssr_jax.config import Config
from zssr_jax.kernel_estimation import estimate as estimation
from zssr_jax.kernel_estimation import noise, spectrum
from zssr_jax.models import registry
from zssr_jax.ops import resize
from zssr_jax.parallel import devices
from zssr_jax.training import history, joint_kernel, loop, pool, step
from zssr_jax.weights import starts


@dataclasses.dataclass(frozen=True)
class Result:
  """What `train_image` returns."""

  image: np.ndarray  # float32 [ceil(H y), ceil(W x), C] in [0, 1]
  params: Any  # the network's after the last stage; a tuple for several
  history: history.History
  kernel: np.ndarray | None  # float32 [h, w] as used; None: bicubic
  config: Config  # noise_std as used
  seconds: dict[str, float]  # by phase: estimate, prepare, train, infer
  estimate: estimation.Estimate | None = None  # of the kernel
  consistency: float = math.nan  # PSNR, dB: `image` degraded again, and input


# What the spectrum says is taken this much narrower where the kernel is learnt
# along: less so than by `spectrum.estimate`, since learning narrows it, too.
_CAUTION = 0.85
_ROUNDING = 0.29 / 255  # standard deviation of 8 bits' rounding error
_MOST_NOISE = 0.1  # of the sons, when it follows from the input's

# An array `[h, w]`, or what makes one.
Kernel = np.ndarray | jax.Array | Callable[..., np.ndarray]
# Yields jobs, is sent what comes of each, returns the result.
Run = Generator[loop.Job, loop.Trained, Result]


def train_image(
  image: np.ndarray | jax.Array,
  scale: float | tuple[float, float] = 2,
  *,
  kernel: Kernel | None = None,
  config: Config = Config(),
  start: Any = None,
  vgg: Any = None,
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
    config: every other setting.
    start: parameters to start from instead of random ones, whole or some of
      the modules at the top of the tree (a trained `backbone`, say); see
      `load_start`.
    vgg: variables of VGG16, `registry.weights.load_vgg16`, which a config with
      a content loss needs.
    key: random key, by default `jax.random.key(0)`.
    progress: called with a `Progress` a few times a second while training.

  Returns:
    A `Result`.

  Raises:
    ValueError: with one line that says what is wrong, for an image, scale,
      kernel or start that cannot be used, or when the config needs a start
      or VGG16 and there is none.
  """
  run = run_image(
    image, scale, kernel=kernel, config=config, start=start, vgg=vgg, key=key
  )
  return devices.drive(run, progress)


def plan_stages(
  shape: tuple[int, ...], scale: float | tuple[float, float], config: Config
) -> list[tuple[tuple[float, float], int, int]]:
  """What is trained for an input of `shape`, gradual stage by stage.

  Args:
    shape: of the input.
    scale: upscaling factor or pair (y, x).
    config: gives the stages and the limits of the crop.

  Returns:
    For each stage its factors (y, x), the side of the crop, cut from its
    largest father, and the side of the windows of the reconstruction error, cut
    from the input.

  Raises:
    ValueError: for an image too small, or a scale out of range.
  """
  stages = []
  earlier: list[tuple[int, ...]] = []
  for factors in _stage_factors(_check_scale(scale), config):
    window = pool.crop_side(shape, factors, config)
    sources = _sources(earlier, tuple(shape), config)
    largest = max(sources, key=lambda s: min(s[:2]))
    stages.append((factors, pool.crop_side(largest, factors, config), window))
    earlier.append(resize.scaled_shape(shape, factors))
  return stages


def _sources(earlier: list[Any], image: Any, config: Config) -> list[Any]:
  """What the fathers of a stage are made of."""
  return [*earlier[-config.latest :], image]  # all, where latest is 0


def run_image(
  image: np.ndarray | jax.Array,
  scale: float | tuple[float, float] = 2,
  *,
  kernel: Kernel | None = None,
  config: Config = Config(),
  start: Any = None,
  vgg: Any = None,
  key: jax.Array | None = None,
) -> Run:
  """`train_image` with the training left to the caller.

  A generator: it yields one `loop.Job` a network and gradual stage, wants the
  `loop.Trained` sent back, and returns the `Result`. So several images can be
  trained together (`parallel.devices`). Arguments and errors are those of
  `train_image`; errors come at the first `next`.
  """
  image = _check_image(image)
  scales = _check_scale(scale)
  config = config.in_force
  if kernel is None and config.kernel == 'given':
    raise ValueError(
      'this config needs a blur kernel: pass one, or set kernel to estimate'
      ' or bicubic'
    )
  if start is None and config.start != 'random':
    raise ValueError(
      f'config.start is {config.start}: load it by load_start, and pass it as'
      ' start'
    )
  if config.content_weight:
    if vgg is None:
      raise ValueError(
        'a content loss needs the weights of VGG16: pass vgg, read by'
        ' registry.weights.load_vgg16'
      )
    if image.shape[2] not in (1, 3):
      raise ValueError(
        f'a content loss is for 1 or 3 channels, not {image.shape[2]}'
      )
  key = jax.random.key(0) if key is None else key
  clock = time.perf_counter()
  estimate = None
  # Of its own, so that the training is the same with a kernel passed in.
  kernel_key = jax.random.fold_in(key, 2**31 - 1)
  if callable(kernel):
    kernel = kernel(image, scales, kernel_key)
  elif kernel is None and config.kernel in estimation.ESTIMATORS:
    estimate = estimation.estimate(image, scales, config.kernel, kernel_key)
    kernel = estimate.kernel
  seconds = {'estimate': time.perf_counter() - clock}
  if kernel is not None:
    kernel = _check_kernel(kernel, image.shape)
    if config.center_kernel:
      kernel = blur_kernels.resample_kernel(kernel, scales, scales, center=True)
  fit = estimate.fit if estimate and estimate.method == 'joint' else None
  if fit is not None:
    prior = covariance = _CAUTION * fit.covariance
  stages = plan_stages(image.shape, scales, config)
  noise_std = _noise_std(image, config)
  if fit is not None:
    # To be compared with the input, sons need its rounding.
    config = config.replace(noise_std=max(config.noise_std, _ROUNDING))
    noise_std = max(noise_std, _ROUNDING)

  carried: list[Any] = []  # parameters of each network after a stage
  earlier: list[np.ndarray] = []
  histories = []
  seconds |= {'prepare': 0.0, 'train': 0.0, 'infer': 0.0}
  for number, (factors, side, window_side) in enumerate(stages):
    clock = time.perf_counter()
    init_key, window_key, train_key = jax.random.split(
      jax.random.fold_in(key, number), 3
    )
    stage_kernel = kernel
    if kernel is not None and factors != scales:
      stage_kernel = blur_kernels.resample_kernel(kernel, scales, factors)
    device_kernel = None if stage_kernel is None else jnp.asarray(stage_kernel)
    used: Any = device_kernel
    ratio = (factors[0] / scales[0], factors[1] / scales[1])
    if fit is not None:
      used = joint_kernel.make_blind(
        covariance,
        prior,
        fit.precision,
        ratio=ratio,
        progress=(number / len(stages), (number + 1) / len(stages)),
      )
    # A small crop is mostly border, so a large one goes before the variety
    # of small fathers.
    sources = _sources(earlier, image, config)
    sources = [s for s in sources if min(s.shape[:2]) >= side]
    fathers = pool.make_pool(
      [f for s in sources for f in pool.make_fathers(s, side, config)],
      image.shape,
      config.father_exponent,
    )
    windows = step.make_windows(
      window_key,
      image,
      device_kernel,
      side=window_side,
      scale=factors,
      config=config,
      noise_std=noise_std,
      vgg=vgg,
    )
    model = _make_model(config, factors)
    seconds['prepare'] += time.perf_counter() - clock
    results, covariances = [], []
    for member in range(config.networks):
      clock = time.perf_counter()
      # The first network is what a run of one would train.
      keys = [init_key, train_key]
      if member:
        keys = [jax.random.fold_in(k, member) for k in keys]
      params = _init_params(
        model, keys[0], windows.son[:1], windows.interpolated[:1]
      )
      if number == 0:
        carried.append(_begin(params, start, config))
      elif _shapes(carried[member]) != _shapes(params):
        carried[member] = params
      state = step.init_state(keys[1], carried[member], config, noise_std, used)
      seconds['prepare'] += time.perf_counter() - clock
      clock = time.perf_counter()
      trained = yield loop.Job(
        model=model,
        scale=factors,
        side=side,
        config=config,
        stage=(
          number * config.networks + member,
          len(stages) * config.networks,
        ),
        state=state,
        fathers=fathers,
        kernel=used,
        windows=windows,
      )
      carried[member] = trained.params
      histories.append(trained.history)
      seconds['train'] += time.perf_counter() - clock
      clock = time.perf_counter()
      if trained.covariance is not None:
        covariances.append(trained.covariance / np.outer(ratio, ratio))
        stage_kernel = spectrum.gaussian(covariances[-1], scales)
        if factors != scales:
          stage_kernel = blur_kernels.resample_kernel(
            stage_kernel, scales, factors
          )
      results.append(
        inference.super_resolve(
          model,
          carried[member],
          image,
          scale=factors,
          kernel=stage_kernel,
          config=config,
        )
      )
      seconds['infer'] += time.perf_counter() - clock
    if covariances:
      covariance = np.mean(covariances, axis=0)
      kernel = spectrum.gaussian(covariance, scales)
    result = results[0] if len(results) == 1 else np.mean(results, axis=0)
    earlier.append(result)
  return Result(
    image=result,
    params=carried[0] if config.networks == 1 else tuple(carried),
    history=history.join_histories(histories),
    kernel=kernel,
    config=config.replace(noise_std=noise_std),
    seconds=seconds,
    estimate=estimate,
    consistency=_consistency(result, image, scales, kernel, config),
  )


def _consistency(result, image, scales, kernel, config) -> float:
  """PSNR in dB between the result, degraded again, and the input."""
  again = np.asarray(
    degradation.downscale(
      jnp.asarray(result), scales, kernel, border=config.border
    )
  )
  rows, columns = np.minimum(again.shape, image.shape)[:2]
  error = again[:rows, :columns] - image[:rows, :columns]
  return float(-10 * np.log10(np.mean(error**2) + 1e-12))


def _stage_factors(
  scale: tuple[float, float], config: Config
) -> list[tuple[float, float]]:
  y, x = scale
  return [
    (1 + (y - 1) * share_y, 1 + (x - 1) * share_x)
    for share_y, share_x in config.gradual or ((1.0, 1.0),)
  ]


def _make_model(config: Config, factors: tuple[float, float]) -> nn.Module:
  return registry.make_model(
    config.model,
    scale=factors,
    depth=config.depth,
    width=config.width,
    gain=config.init_gain,
  )


@functools.partial(jax.jit, static_argnums=0)
def _init_params(model, key, son, interpolated) -> Any:
  return model.init(key, son, interpolated)['params']


def _begin(fresh: Any, start: Any, config: Config) -> Any:
  """The parameters of the first step: `start`, completed from `fresh`."""
  untrained = 'backbone' in fresh and 'backbone' not in (start or {})
  if untrained:
    raise ValueError(
      f'the {config.model} network needs a trained backbone: pass'
      " start={'backbone': parameters}"
    )
  if start is None:
    return fresh
  try:
    return starts.complete(fresh, start)
  except ValueError as error:
    raise ValueError(
      f'start does not fit the {config.model} network of depth'
      f' {config.depth} and width {config.width}: {error}'
    ) from None


def check_start(
  start: Any, scale: float | tuple[float, float], config: Config
) -> None:
  """Looks whether a start fits what a config trains, before there is an image.

  Args:
    start: as in `train_image`, or None.
    scale: upscaling factor or pair (y, x).
    config: of the training.

  Raises:
    ValueError: when it fits neither colour nor grey images.
  """
  factors = _stage_factors(_check_scale(scale), config)[0]
  model = _make_model(config, factors)
  error = None
  for channels in (3, 1):
    son = jax.ShapeDtypeStruct((1, 8, 8, channels), jnp.float32)
    shape = resize.scaled_shape(son.shape[1:3], factors)
    father = jax.ShapeDtypeStruct((1, *shape, channels), jnp.float32)
    fresh = jax.eval_shape(model.init, jax.random.key(0), son, father)
    try:
      _begin(fresh['params'], start, config)
      return
    except ValueError as misfit:
      error = error or misfit
  assert error is not None
  raise error


def _noise_std(image: np.ndarray, config: Config) -> float:
  """Of the noise on the sons of this image, in image units."""
  if not config.estimate_noise:
    return config.noise_std
  level = config.estimate_noise * noise.noise_level(image)
  return max(config.noise_std, min(level, _MOST_NOISE))


def _shapes(tree) -> Any:
  return jax.tree.map(jnp.shape, tree)


def _check_image(image) -> np.ndarray:
  image = np.asarray(image)
  if image.ndim == 2:
    image = image[:, :, None]
  if image.ndim != 3 or 0 in image.shape:
    raise ValueError(f'an image is [H, W, C], not {image.shape}')
  if not np.issubdtype(image.dtype, np.floating):
    raise ValueError(f'an image is float in [0, 1], not {image.dtype}')
  if not np.isfinite(image).all():
    raise ValueError('the image holds NaN or infinite values')
  if image.min() < 0 or image.max() > 1:
    raise ValueError(
      f'image values must lie in [0, 1], not [{image.min():g}, {image.max():g}]'
    )
  return image.astype(np.float32)


def _check_scale(scale) -> tuple[float, float]:
  try:
    scales = resize.scale_pair(scale)
  except (TypeError, ValueError):
    raise ValueError(
      f'scale must be a number from 1 to 16 or a pair (y, x), not {scale!r}'
    ) from None
  if not all(1 <= s <= 16 for s in scales):
    raise ValueError(f'scale must lie between 1 and 16, not {scale}')
  if scales == (1.0, 1.0):
    raise ValueError('scale 1 leaves nothing to do')
  return scales


def _check_kernel(kernel, shape: tuple[int, ...]) -> np.ndarray:
  kernel = np.asarray(kernel, np.float32)
  if kernel.ndim != 2 or 0 in kernel.shape:
    raise ValueError(f'a kernel is [h, w], not {kernel.shape}')
  if not np.isfinite(kernel).all():
    raise ValueError('the kernel holds NaN or infinite values')
  total = float(kernel.sum(dtype=np.float64))
  if total <= 0:
    raise ValueError(f'the kernel sums to {total:g}; it must be positive')
  if kernel.shape[0] > shape[0] or kernel.shape[1] > shape[1]:
    raise ValueError(
      f'the kernel ({kernel.shape[0]}x{kernel.shape[1]}) is larger than the'
      f' image ({shape[0]}x{shape[1]})'
    )
  return kernel / np.float32(total)
