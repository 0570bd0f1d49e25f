"""What README shows must run."""

import pathlib
import re

import pytest

README = pathlib.Path(__file__).parents[1] / 'README.md'
BLOCKS = re.findall(r'```python\n(.*?)```', README.read_text(), re.S)


@pytest.mark.slow
@pytest.mark.parametrize('block', BLOCKS)
def test_the_python_example_in_readme_prints_what_it_says(block, capsys):
  exec(compile(block, 'README.md', 'exec'), {})
  assert '(96, 96, 3)' in capsys.readouterr().out


def test_readme_has_an_example():
  assert BLOCKS
