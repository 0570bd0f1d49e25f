"""The command bin/main.py in this process, with and without training."""

import jax
import numpy as np
import pytest

import zssr_jax
from zssr_jax import super_resolution
from zssr_jax.kernel_estimation import estimate as estimation
from zssr_jax.ops import resize

from .helpers import ESTIMATED, SMOKE, bin_main


@pytest.fixture
def quick(monkeypatch):
  """Replaces the training by bicubic interpolation; returns the calls.

  Any image has the kernel ESTIMATED but a flat one, which has none.
  """
  calls = []

  def run_image(image, scale, *, kernel, config, key, **trained):
    yield from ()  # nothing is trained
    calls.append(
      {'scale': scale, 'kernel': kernel, 'config': config, **trained}
    )
    estimate = None
    if kernel is None and config.kernel != 'bicubic':
      flat = np.ptp(image) == 0
      estimate = estimation.Estimate(
        kernel=None if flat else ESTIMATED,
        method=config.kernel,
        agreement=float('nan') if flat else 0.9666,
        warning='the image is flat;\nbicubic instead' if flat else None,
      )
      kernel = estimate.kernel

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
      config=config,
      seconds={'train': 1.0},
      estimate=estimate,
      consistency=45.249,
    )

  monkeypatch.setattr(super_resolution, 'run_image', run_image)
  return calls


@pytest.fixture
def cli(tmp_path, capsys):
  """Runs the command in this process: `cli(*flags) -> (code, out, err)`."""

  def run(*arguments, config=SMOKE):
    output = f'--output={tmp_path / "out"}'
    argv = ['main.py', config, output, *map(str, arguments)]
    # As for users: optax's Adam does not work under strict promotion.
    with jax.numpy_dtype_promotion('standard'):
      code = bin_main.main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err

  return run
