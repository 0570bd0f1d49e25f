"""Every kind of photo comes out as what it was, or a line says what changed."""

import jax
import pytest


@pytest.mark.slow
def test_nothing_is_lost_without_a_word(tmp_path, quick, load_script):
  script = load_script('benchmarks/formats.py')
  cases = script.all_cases()
  assert len(cases) >= 100
  with jax.numpy_dtype_promotion('standard'):
    results = script.outcomes(cases, tmp_path)
  rows = [
    script.row(case, *result)
    for case, result in zip(cases, results, strict=True)
  ]
  assert [line for line, fine in rows if not fine] == []
