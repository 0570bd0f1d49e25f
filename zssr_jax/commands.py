"""The commands that come with the package: `zssr` and its three companions."""

from __future__ import annotations

import sys
from pathlib import Path

from zssr_jax.command_line import app


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

  return app.run_interruptibly(
    lambda: command.main(sys.argv, output=output, example=example)
  )


def zssr_eval() -> int:
  """Evaluates methods on data sets; see `zssr-eval --help`."""

  def work() -> int:
    from zssr_jax.command_line import evaluate

    return evaluate.main(sys.argv)

  return app.run_interruptibly(work)


def zssr_train() -> int:
  """Trains a network on folders of images; see `zssr-train --help`."""

  def work() -> int:
    from zssr_jax.command_line import pretrain

    return pretrain.main(sys.argv)

  return app.run_interruptibly(work)


def zssr_convert() -> int:
  """Converts published weights; see `zssr-convert --help`."""

  def work() -> int:
    from zssr_jax.command_line import convert

    return convert.main(sys.argv)

  return app.run_interruptibly(work)
