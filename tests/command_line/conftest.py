"""The command bin/main.py in this process, with and without training."""

import jax
import numpy as np
import pytest

import zssr_jax
from zssr_jax import super_resolution
from zssr_jax.kernel_estimation import estimate as estimation
from zssr_jax.kernel_estimation.diagnosis import Candidate, Diagnosis
from zssr_jax.ops import resize

from .helpers import ESTIMATED, SMOKE, bin_main


def diagnose(known, config, flat):
  """What there is to be told of an image of which a part is known."""
  found = known
  if known.noise_std is None:
    found = found.replace(noise_std=np.float32(1.2 / 255))
  if known.kernel is not None:
    return Diagnosis(found, (), 'kernel given', None, None)
  if config.kernel != 'auto':
    return Diagnosis(found, (), 'bicubic assumed', None, None)
  if flat:
    return Diagnosis(found, (), 'blur unknown', 'the image is flat', None)
  candidates = (
    Candidate('gaussian', 0.0, 0.2104, 'Gaussian blur of 2.0 x 1.5 pixels'),
    Candidate('none', 12.34, 0.6, 'no blur beyond bicubic'),
  )
  found = found.replace(kernel=ESTIMATED)
  return Diagnosis(found, candidates, candidates[0].words, None, None)


@pytest.fixture
def quick(monkeypatch):
  """Replaces the training by bicubic interpolation; returns the calls.

  Any image has the kernel ESTIMATED but a flat one, which has none.
  Where a config is automatic, that is said by a diagnosis.
  """
  calls = []

  def run_image(
    image, scale, *, kernel, degradation, config, key, planes, **trained
  ):
    yield from ()  # nothing is trained
    calls.append(
      {
        'scale': scale,
        'kernel': kernel,
        'degradation': degradation,
        'config': config,
        **trained,
      }
    )
    estimate, diagnosis = None, None
    flat = np.ptp(image) == 0
    used = degradation.replace(kernel=kernel)
    if config.automatic:
      diagnosis = diagnose(used, config, flat)
      used = diagnosis.degradation
      kernel = used.kernel
    elif kernel is None and config.kernel != 'bicubic':
      estimate = estimation.Estimate(
        kernel=None if flat else ESTIMATED,
        method=config.kernel,
        agreement=float('nan') if flat else 0.9666,
        warning='the image is flat;\nbicubic instead' if flat else None,
      )
      kernel = estimate.kernel
      used = used.replace(kernel=kernel)

    return zssr_jax.Result(
      image=np.clip(resize.imresize(image, scale), 0, 1),
      params={},
      history=zssr_jax.History(
        loss=np.array([0.1, np.nan], np.float32),
        learning_rate=np.array([1e-3, 1e-3], np.float32),
        error_steps=np.array([0], np.int32),
        error=np.array([0.25], np.float32),
        drops=(1,),
        rollbacks=(),
        stages=((2.0, 2.0, 2),),
      ),
      kernel=kernel,
      config=config.in_force,
      degradation=used,
      seconds={'train': 1.0},
      estimate=estimate,
      diagnosis=diagnosis,
      consistency=45.249,
      planes=(
        None
        if planes is None
        else np.clip(resize.imresize(planes, scale), 0, 1)
      ),
    )

  monkeypatch.setattr(super_resolution, 'run_image', run_image)
  return calls


@pytest.fixture
def cli(tmp_path, capsys):
  """Runs the command in this process: `cli(*flags) -> (code, out, err)`."""

  def run(*arguments, config=SMOKE):
    argv = ['main.py', *map(str, arguments)]
    if not any(a.startswith(('--output=', '-o')) for a in argv):
      argv.append(f'--output={tmp_path / "out"}')
    if not any(a.startswith('--config=') for a in argv):
      argv.append(config)
    # As for users: optax's Adam does not work under strict promotion.
    with jax.numpy_dtype_promotion('standard'):
      code = bin_main.main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err

  return run
