"""The JSON record of a run: what was done, with what, and how it went."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from zssr_jax import Result, blur_kernels
from zssr_jax.command_line import findings
from zssr_jax.command_line.arguments import Options
from zssr_jax.command_line.jobs import Job
from zssr_jax.ops.resize import Scale

if TYPE_CHECKING:
  from zssr_jax.evaluation.judge import Scores

_PACKAGES = ('zssr_jax', 'jax', 'jaxlib', 'flax', 'optax', 'numpy')


def _versions() -> dict[str, str | None]:
  versions: dict[str, str | None] = {'python': platform.python_version()}
  for package in _PACKAGES:
    try:
      versions[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      versions[package] = None  # run from a clone
  return versions


def strict(value: Any) -> Any:
  """Makes a value fit for strict JSON: plain types, null for NaN."""
  if isinstance(value, dict):
    return {str(k): strict(v) for k, v in value.items()}
  if isinstance(value, (list, tuple)):
    return [strict(v) for v in value]
  if isinstance(value, np.ndarray):
    if value.dtype == np.float32:  # no more digits than it has
      return [strict(float(str(v))) for v in value.ravel()]
    return strict(value.tolist())
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  return str(value) if isinstance(value, Path) else value


def _kernel(options: Options, result: Result) -> dict[str, Any]:
  """Where the kernel came from, how wide it is, and whether to trust it."""
  about: dict[str, Any] = {
    'source': options.kernel or options.config.kernel,
    'method': None,
    'agreement': None,
    'warning': None,
    # dB between the result, degraded by this kernel again, and the input.
    'consistency': float(result.consistency),
    'shape': None,  # null, like the width: the bicubic kernel
    'width': None,
  }
  if result.estimate:
    about |= {
      'method': result.estimate.method,
      'agreement': float(result.estimate.agreement),
      'warning': result.estimate.warning,
    }
  if result.kernel is not None:
    first, second, angle = blur_kernels.kernel_width(result.kernel)
    about['shape'] = result.kernel.shape
    # Standard deviations in pixels of the result; the angle, in degrees, of
    # the first from the x axis towards growing y.
    about['width'] = {
      'std': [round(first, 4), round(second, 4)],
      'angle': round(angle, 2),
    }
  return about


def make_record(
  job: Job,
  options: Options,
  scale: Scale,
  result: Result,
  *,
  shape: tuple[int, ...],
  metrics: Scores | None,
  seconds: dict[str, float],
) -> str:
  """Returns the record of a finished job as strict JSON, a line a key.

  Args:
    job: the files.
    options: the flags.
    scale: factor or pair (y, x).
    result: what `train_image` returned.
    shape: of the picture that is written, alpha and further bands included.
    metrics: where there is a ground truth.
    seconds: per phase.
  """
  device = jax.devices()[0]
  record = {
    'input': job.input,
    'page': job.page,  # of the input, from 1
    'kernel': _kernel(options, result),
    'degradation': findings.entry(result),
    'reference': job.reference,
    'scale': scale,
    'seed': options.seed,
    'weights': options.weights,
    'output_shape': shape,
    'metrics': metrics and metrics._asdict(),
    'steps': len(result.history.loss),
    'seconds': {k: round(v, 3) for k, v in seconds.items()},
    'device': {
      'platform': device.platform,
      'kind': device.device_kind,
      'count': options.devices,
      'in_flight': options.in_flight,  # images that share each of them
    },
    'versions': _versions(),
    'config': dataclasses.asdict(result.config),
    # Reconstruction errors are MSEs; steps count through all stages.
    'history': result.history.to_dict(),
  }
  # A line a key: histories are long, and nobody reads them as columns.
  lines = (
    f'  {json.dumps(key)}: {json.dumps(value, allow_nan=False)}'
    for key, value in strict(record).items()
  )
  return '{\n' + ',\n'.join(lines) + '\n}\n'
