"""What README shows must run."""

import pathlib
import re

import jax
import pytest

README = pathlib.Path(__file__).parents[1] / 'README.md'
BLOCKS = re.findall(r'```python\n(.*?)```', README.read_text(), re.S)


@pytest.mark.slow
@pytest.mark.parametrize('block', BLOCKS)
def test_the_python_example_in_readme_prints_what_it_says(
  block, capsys, monkeypatch, tmp_path
):
  (tmp_path / 'examples').symlink_to(README.parent / 'examples')
  monkeypatch.chdir(tmp_path)
  with jax.numpy_dtype_promotion('standard'):  # as for users
    exec(compile(block, 'README.md', 'exec'), {})
  assert '(344, 288, 3)' in capsys.readouterr().out
  assert (tmp_path / 'out/astronaut_x2.png').is_file()


def test_readme_has_an_example():
  assert BLOCKS
