"""The commands that come with the package: `zssr` and its three companions."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from zssr_jax.command_line import app


def _share_cores() -> None:
  """Keeps NumPy to one thread; JAX has its own for all cores.

  The host multiplies small matrices only, and for these OpenBLAS's threads wait
  for each other longer than they work, several times as long where other
  processes are at work.
  """
  os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')  # read when it is loaded


def zssr(output: str = '.', example: Path | None = None) -> int:
  """Super-resolves photos; see `zssr --help`.

  Args:
    output: where results go without --output.
    example: folder of the example that is taken without an input.
  """
  if sys.argv[1:2] == ['app']:
    # Not at the top of the module: each command imports what it needs.
    from zssr_jax.web import server

    return server.serve(sys.argv[2:])
  from zssr_jax.command_line import zssr as command

  _share_cores()
  return app.run_interruptibly(
    lambda: command.main(sys.argv, output=output, example=example)
  )


def zssr_eval() -> int:
  """Evaluates methods on data sets; see `zssr-eval --help`."""
  return _run('evaluate')


def zssr_train() -> int:
  """Trains a network on folders of images; see `zssr-train --help`."""
  return _run('pretrain')


def zssr_convert() -> int:
  """Converts published weights; see `zssr-convert --help`."""
  return _run('convert')


def _run(name: str) -> int:
  """Runs a command of `command_line`; each imports only what it needs."""

  def work() -> int:
    module = importlib.import_module(f'zssr_jax.command_line.{name}')
    code: int = module.main(sys.argv)
    return code

  _share_cores()
  return app.run_interruptibly(work)
