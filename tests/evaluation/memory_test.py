"""The peak is at least what was used, and is forgotten when reset."""

import jax
import numpy as np
import pytest

from zssr_jax.evaluation import memory


def test_the_peak_rises_with_use_and_falls_when_reset():
  device = jax.devices()[0]
  memory.reset_peak()
  before = memory.peak_megabytes(device)
  block = np.ones(200_000_000 // 8)
  risen = memory.peak_megabytes(device)
  assert risen - before == pytest.approx(200, abs=40)
  del block
  memory.reset_peak()
  assert memory.peak_megabytes(device) < risen - 100
