"""Which code made a number: a digest of the modules it can have come from."""

from __future__ import annotations

import ast
import functools
import hashlib
import subprocess
from pathlib import Path

import zssr_jax

_PACKAGE = 'zssr_jax'
_ROOT = Path(zssr_jax.__file__).parent


def _find(module: str) -> Path | None:
  """The source file of a module of this package, None where there is none."""
  path = _ROOT.joinpath(*module.split('.')[1:])
  for file in (path.with_suffix('.py'), path / '__init__.py'):
    if file.is_file():
      return file
  return None


def _imports(tree: ast.AST) -> set[str]:
  """The modules of this package that a module imports, anywhere in it."""
  names = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
      names.add(node.module)
      # A name may be a module or something in one; `_find` tells.
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  # The package itself only gathers names.
  return {name for name in names if name.startswith(_PACKAGE + '.')}


def _strip_docstrings(tree: ast.AST) -> None:
  for node in ast.walk(tree):
    body = getattr(node, 'body', None)
    if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
      value = body[0].value
      if isinstance(value, ast.Constant) and isinstance(value.value, str):
        body[0] = ast.Pass()


@functools.cache
def code_version(*modules: str) -> str:
  """12 hex digits that change when the code of modules does.

  Covers what they import of this package, and that in turn. Comments,
  docstrings and formatting do not count.

  Args:
    modules: full names, such as `zssr_jax.zssr`.
  """
  todo, seen = sorted(modules), {}
  while todo:
    module = todo.pop()
    file = _find(module)
    if file is None or module in seen:
      continue
    tree = ast.parse(file.read_bytes())
    _strip_docstrings(tree)
    seen[module] = ast.dump(tree)
    todo.extend(_imports(tree))
  digest = hashlib.sha256()
  for module, text in sorted(seen.items()):
    digest.update(f'{module}\0{text}\0'.encode())
  return digest.hexdigest()[:12]


@functools.cache
def commit() -> str:
  """The checkout's commit, a plus behind it when there are changes."""
  try:
    return subprocess.run(
      ['git', 'describe', '--always', '--dirty=+'],
      capture_output=True,
      text=True,
      check=True,
      cwd=_ROOT,
    ).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return 'unknown'
