"""A digest of the code that a function reaches, wherever it stands.

From a function, names are followed to the definitions they stand for, anywhere
in the package, and the digest is that of the bodies reached.

A definition is a statement at a module's top level: a function, a class with
all its methods, an assignment. Where a body names another definition, that
one's body stands in place of the name. So moving, reordering and renaming
functions, constants and modules changes nothing, nor do comments, docstrings,
what an error says, annotations (but those of fields), and code that is not
reached. Names of classes count, because flax draws parameters by them, and so
do those of attributes, parameters and local variables.

Names are looked up as Python does: through scopes, imports of every form and
attributes of modules. A string 'module:ATTRIBUTE', as a registry has them, is
a reference as well. A module that is used as a value, or has no such
attribute, counts as a whole. What else stands at a module's top level, such
as `f.defvjp(...)` or a definition that something of the package decorates,
counts as soon as anything of that module does, or of one inside it.

Not seen are: what is looked up by a string that is put together at run time;
the method behind `value.method()`, unless its class is reached by name; a
module that is imported only for what it does when imported; other packages and
their versions; files of data.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_SCOPES = (*_FUNCTIONS, *_COMPREHENSIONS, ast.ClassDef)
# Fields of a tree that change nothing, or differ between versions of Python.
_SILENT = {'ctx', 'kind', 'returns', 'simple', 'type_comment', 'type_params'}
_PLACE = re.compile(r'(\w+(?:\.\w+)*)(?::(\w+))?')  # module:ATTRIBUTE

# What is bound in a scope; of imports, what they bring, with all its dots.
_Scope = Mapping[str, str | None]
_CLASS: _Scope = {}  # that of a class, whose names its functions do not see


class _Statement(NamedTuple):
  """A statement at the top level of a module."""

  module: str
  number: int


class _Module(str):
  """The name of a module that is a value, or that an attribute is taken of."""


# A statement, and which of the names that it binds.
_Place = tuple[_Statement, int]
# A name bound, seldom by several statements; or all of a module.
_Reference = tuple[_Place, ...] | frozenset[_Place]
# A string is a name outside the package, None a value of any kind.
_Meaning = _Reference | _Module | str | None


class _Source:
  """What the top level of a file binds."""

  def __init__(self, name: str, file: Path):
    self._parents = name.split('.')
    if file.name != '__init__.py':
      self._parents.pop()
    self.statements = ast.parse(file.read_bytes()).body
    self.definitions: dict[str, tuple[_Place, ...]] = {}
    self.imports: dict[str, str] = {}
    self.stars: list[str] = []
    for number, node in enumerate(self.statements):
      place = 0
      for key, imported in self.bindings([node]).items():
        if imported is None:
          earlier = self.definitions.get(key, ())
          here = (_Statement(name, number), place)
          self.definitions[key] = (*earlier, here)
          place += 1
        elif key == '*':
          self.stars.append(imported.removesuffix('.*'))
        else:
          self.imports[key] = imported

  def bindings(self, nodes: Iterable[ast.AST]) -> dict[str, str | None]:
    """The names that statements bind in their scope, in order."""
    found: dict[str, str | None] = {}
    elsewhere: set[str] = set()
    todo = [*nodes][::-1]
    while todo:
      node: Any = todo.pop()
      if isinstance(node, ast.Import):
        for alias in node.names:
          top = alias.name.split('.')[0]
          found[alias.asname or top] = alias.name if alias.asname else top
      elif isinstance(node, ast.ImportFrom):
        above = len(self._parents) + 1 - node.level
        path = self._parents[:above] if node.level else []
        path = path + ([node.module] if node.module else [])
        for alias in node.names:
          found[alias.asname or alias.name] = '.'.join([*path, alias.name])
      elif isinstance(node, ast.Global | ast.Nonlocal):
        elsewhere.update(node.names)
      elif isinstance(node, ast.Name):
        if not isinstance(node.ctx, ast.Load):
          found.setdefault(node.id)
      elif not isinstance(node, ast.alias | ast.keyword | ast.Attribute):
        # Functions, classes, parameters, exceptions, parts of a match.
        for field in ('name', 'arg', 'rest'):
          name = getattr(node, field, None)
          if isinstance(name, str):
            found.setdefault(name)
      if not isinstance(node, _SCOPES):
        todo.extend([*ast.iter_child_nodes(node)][::-1])
    return {name: found[name] for name in found if name not in elsewhere}


def _says_nothing(node: ast.AST) -> bool:
  """Whether it is an import, a docstring or pass."""
  if isinstance(node, ast.Expr):
    return isinstance(node.value, ast.Constant)
  return isinstance(node, ast.Import | ast.ImportFrom | ast.Pass)


class Package:
  """The code of a package; a file is read once, when it is needed."""

  def __init__(self, root: Path):
    """Takes the package's folder, which has its name."""
    self._root = root
    self._source = functools.cache(self._load)
    self._tokens = functools.cache(self._read)
    self._effects = functools.cache(self._find_effects)

  def digest(self, *entries: str, without: str = '') -> str:
    """12 hex digits of the code that functions reach.

    Args:
      entries: 'package.module:function', in any order.
      without: a module that is not looked into, nor what only it leads to.

    Raises:
      ValueError: for a function that is not there.
    """
    starts: list[_Statement] = []
    for entry in entries:
      module, _, name = entry.partition(':')
      meaning = self._member(module, name) if self._source(module) else None
      if not isinstance(meaning, tuple):
        raise ValueError(f'there is no function {entry}')
      starts += [statement for statement, _ in meaning]
    names = _name_by_body(self._reach(starts, without))
    first = sorted({names[statement] for statement in starts})
    text = '\n'.join([*first, '', *sorted({*names.values()})])
    return hashlib.sha256(text.encode()).hexdigest()[:12]

  def _reach(
    self, starts: Iterable[_Statement], without: str
  ) -> dict[_Statement, list[str | _Reference]]:
    """All statements that count, with their tokens."""
    reached: dict[_Statement, list[str | _Reference]] = {}
    todo = [*starts]
    while todo:
      statement = todo.pop()
      if statement in reached:
        continue
      reached[statement] = []
      if statement.module == without:
        continue
      reached[statement] = self._tokens(statement)
      for token in reached[statement]:
        if not isinstance(token, str):
          todo.extend(other for other, _ in token)
      module = statement.module
      while module:
        todo.extend(self._effects(module))
        module = module.rpartition('.')[0]
    return reached

  def _load(self, module: str) -> _Source | None:
    """A module of this package, None where there is none."""
    first, *rest = module.split('.')
    path = self._root.joinpath(*rest)
    if first == self._root.name:
      for file in (path.with_suffix('.py'), path / '__init__.py'):
        if file.is_file():
          return _Source(module, file)
    return None

  def _find_effects(self, module: str) -> list[_Statement]:
    """What counts as soon as anything in a module does."""
    source = self._source(module)
    found = []
    for number, node in enumerate(source.statements if source else ()):
      if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
        tokens = self._write(node.decorator_list, module, (), [])
        counts = any(not isinstance(token, str) for token in tokens)
      elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = (
          node.targets if isinstance(node, ast.Assign) else [node.target]
        )
        counts = any(
          isinstance(part, ast.Attribute | ast.Subscript)
          for target in targets
          for part in ast.walk(target)
        )
      elif isinstance(node, ast.If):
        test = ast.unparse(node.test)
        counts = test not in ('TYPE_CHECKING', 'typing.TYPE_CHECKING')
      else:
        counts = not _says_nothing(node)
      found += [_Statement(module, number)] if counts else []
    return found

  def _member(self, module: str, name: str) -> _Meaning:
    """What an attribute of a module is; None where it has none."""
    source = self._source(module)
    assert source is not None
    full = f'{module}.{name}'
    if name in source.definitions:
      return source.definitions[name]
    if source.imports.get(name, full) != full:
      return self._imported(source.imports[name])
    if self._source(full):
      return _Module(full)
    for star in source.stars:
      if self._source(star) and (found := self._member(star, name)):
        return found
    return None

  def _imported(self, path: str) -> _Meaning:
    """What an import brings."""
    first, *rest = path.split('.')
    if first != self._root.name:
      return path
    meaning = _Module(first)
    for name in rest:
      found = self._member(meaning, name)
      if not isinstance(found, _Module):
        return found or self._whole(meaning)
      meaning = found
    return meaning

  def _attribute(self, of: _Meaning, name: str) -> _Meaning:
    """What an attribute is."""
    if isinstance(of, _Module):
      return self._member(of, name)
    return f'{of}.{name}' if isinstance(of, str) else None

  def _meaning(
    self, node: ast.AST, module: str, scopes: tuple[_Scope, ...]
  ) -> _Meaning:
    """What a name, with dots or in a string, stands for."""
    if isinstance(node, ast.Attribute):
      value = self._meaning(node.value, module, scopes)
      return self._attribute(value, node.attr)
    if isinstance(node, ast.Name):
      for scope in scopes:
        if node.id in scope:
          path = scope[node.id]
          return None if path is None else self._imported(path)
      return self._member(module, node.id) or node.id
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
      found, prefix = _PLACE.fullmatch(node.value), f'{self._root.name}.'
      if found and (found[2] or found[1].startswith(prefix)):
        place = prefix + found[1].removeprefix(prefix)
        if self._source(place):
          member = self._member(place, found[2]) if found[2] else None
          return member or _Module(place)
    return None

  def _whole(self, module: str) -> frozenset[_Place]:
    """All that a module defines, or imports from others by name."""
    source = self._source(module)
    assert source is not None
    found = [place for name in source.definitions.values() for place in name]
    for path in source.imports.values():
      meaning = self._imported(path)
      found += meaning if isinstance(meaning, tuple) else ()
    for star in source.stars:
      found += self._whole(star) if self._source(star) else ()
    return frozenset(found)

  def _read(self, statement: _Statement) -> list[str | _Reference]:
    """A statement as words and references."""
    source = self._source(statement.module)
    assert source is not None
    node = source.statements[statement.number]
    return self._write(node, statement.module, (), [])

  def _write(
    self,
    node: Any,
    module: str,
    scopes: tuple[_Scope, ...],
    out: list[str | _Reference],
  ) -> list[str | _Reference]:
    """Adds the tokens of a part of a tree.

    Args:
      node: the part.
      module: where it stands.
      scopes: around it, the innermost first; none at the top level.
      out: the tokens so far, which are returned.
    """
    if not isinstance(node, ast.AST):
      if isinstance(node, list):
        out.append('[')
        for item in node:
          self._write(item, module, scopes, out)
      out.append(']' if isinstance(node, list) else repr(node))
      return out
    if _says_nothing(node):
      return out
    in_class = bool(scopes) and scopes[0] is _CLASS
    if isinstance(node, ast.Name) and (in_class or not scopes):
      if not isinstance(node.ctx, ast.Load):
        # What is defined here: an attribute, whose name counts, or not.
        out.append(repr(node.id) if in_class else '=')
        return out
    if isinstance(node, ast.AnnAssign) and not in_class:
      if node.value is None:
        return out
      node = ast.Assign([node.target], node.value)
    meaning = self._meaning(node, module, scopes)
    if meaning is not None:
      if isinstance(meaning, _Module):
        meaning = self._whole(meaning)
      out.append(f'<{meaning}>' if isinstance(meaning, str) else meaning)
      return out
    out.append(f'({type(node).__name__}')
    if isinstance(node, ast.Raise):
      # Which error it is, and what is called for it, but not what it says.
      self._write(getattr(node.exc, 'func', node.exc), module, scopes, out)
      for part in ast.iter_child_nodes(node):
        tokens = self._write(part, module, scopes, [])
        out += [token for token in tokens if not isinstance(token, str)]
    else:
      self._write_fields(node, module, scopes, out)
    out.append(')')
    return out

  def _write_fields(
    self,
    node: ast.AST,
    module: str,
    scopes: tuple[_Scope, ...],
    out: list[str | _Reference],
  ) -> None:
    """Adds the tokens of what a node holds; see `_write`."""
    source = self._source(module)
    assert source is not None
    inner = scopes
    if isinstance(node, ast.ClassDef):
      inner = (_CLASS, *scopes)
    elif isinstance(node, _FUNCTIONS):
      body = node.body if isinstance(node.body, list) else [node.body]
      inner = (source.bindings([node.args, *body]), *scopes)
    elif isinstance(node, _COMPREHENSIONS):
      # Python looks there for the first iterable, before any name is bound.
      self._write(node.generators[0].iter, module, scopes, out)
      inner = (source.bindings(ast.iter_child_nodes(node)), *scopes)
    silent = set(_SILENT)
    if not isinstance(node, ast.AnnAssign):  # a field, here
      silent.add('annotation')
    if isinstance(node, ast.FunctionDef) and not scopes:
      silent.add('name')
    for field, value in ast.iter_fields(node):
      if field not in silent and value is not None and value != []:
        own = field == 'body' or isinstance(node, _COMPREHENSIONS)
        out.append(field)
        self._write(value, module, inner if own else scopes, out)


def _name_by_body(
  reached: Mapping[_Statement, Iterable[str | _Reference]],
) -> dict[_Statement, str]:
  """Names statements by what they say, and by what those they name say.

  At first references are all alike, then they are what the round before made
  of them, until a round tells no more statements apart.
  """
  names = dict.fromkeys(reached, '')
  while True:
    digests = {}
    for statement, tokens in reached.items():
      words = []
      for token in tokens:
        if isinstance(token, str):
          words.append(token)
          continue
        others = [f'@{names[other]}.{place}' for other, place in token]
        words += sorted(others) if isinstance(token, frozenset) else others
      text = '\0'.join(words)
      digests[statement] = hashlib.sha256(text.encode()).hexdigest()
    settled = len({*digests.values()}) == len({*names.values()})
    names = digests
    if settled:
      return names
