"""Every kind of photo comes out as what it was, or a line says what changed."""

import importlib.util

import jax
import pytest

from .helpers import ROOT


@pytest.mark.slow
def test_nothing_is_lost_without_a_word(tmp_path, quick):
  path = ROOT / 'benchmarks' / 'formats.py'
  spec = importlib.util.spec_from_file_location('formats', path)
  script = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(script)
  cases = script.all_cases()
  assert len(cases) >= 100
  with jax.numpy_dtype_promotion('standard'):
    results = script.outcomes(cases, tmp_path)
  rows = [
    script.row(case, *result)
    for case, result in zip(cases, results, strict=True)
  ]
  assert [line for line, fine in rows if not fine] == []
