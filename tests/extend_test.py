"""The examples of docs/extend.md run as they stand."""

import pathlib
import re

import pytest

PAGE = pathlib.Path(__file__).parents[1] / 'docs' / 'extend.md'
FIRST, *OTHERS = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.S)


@pytest.mark.parametrize('block', OTHERS, ids=['network', 'loss', 'estimator'])
# What the examples do with plain jax is not held to the suite's strictness.
@pytest.mark.slow
def test_an_example_runs(block):
  import jax

  with jax.numpy_dtype_promotion('standard'), jax.numpy_rank_promotion('allow'):
    exec(compile(FIRST + block, str(PAGE), 'exec'), {})
