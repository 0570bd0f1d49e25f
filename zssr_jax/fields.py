"""Fields of a record of settings, each with its range and meaning beside it.

A frozen dataclass declares its fields by `ranged`, `one_of`, `switch` and
`checked`, and calls `check` in `__post_init__`. What they say of a field is
said once: `check` holds values to it, and `attributes` makes the text of
`help` from it.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

Names = Iterable[str] | Callable[[], Iterable[str]]

_KEY = 'setting'  # in a field's metadata


@dataclasses.dataclass(frozen=True)
class _Setting:
  # From what a caller passed to a plain, hashable value; raises ValueError
  # with the rule it breaks ('must ...').
  read: Callable[[Any], Any]
  allowed: Callable[[], str]  # for the reader of `help`
  meaning: str
  group: str  # heading of this field and those that follow, '' for the same


def checked(
  default: Any,
  read: Callable[[Any], Any],
  allowed: str | Callable[[], str],
  meaning: str,
  *,
  group: str = '',
) -> Any:
  """Declares a field whose values a function checks.

  Args:
    default: the field's default.
    read: takes what a caller passed and returns the value to keep; raises
      ValueError with the rule, such as 'must be positive'.
    allowed: type and range in words, for `help`.
    meaning: a sentence without its full stop, for `help`.
    group: heading above this field and those that follow.
  """
  says = (lambda: allowed) if isinstance(allowed, str) else allowed
  setting = _Setting(read, says, meaning, group)
  return dataclasses.field(default=default, metadata={_KEY: setting})


def ranged(
  default: float,
  low: float,
  high: float,
  meaning: str,
  *,
  unit: str = '',
  group: str = '',
) -> Any:
  """Declares a field that holds a number from `low` to `high`, both included.

  The default's type, int or float, is the field's. A whole number does for
  either; scalars of NumPy become Python's.

  Args:
    default: the field's default.
    low: the smallest value.
    high: the largest value.
    meaning: a sentence without its full stop, for `help`.
    unit: what the number counts, for `help`.
    group: heading above this field and those that follow.
  """
  kind: type = type(default)
  noun = 'a whole number' if kind is int else 'a number'

  def read(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or (kind is int and value % 1 != 0):
      raise ValueError(f'must be {noun}')
    if not low <= value <= high:  # NaN does not
      raise ValueError(f'must lie in [{low}, {high}]')
    return kind(value)

  span = f'{_show(low)} to {_show(high)} {unit}'.rstrip()
  allowed = f'{kind.__name__}, {span}'
  return checked(default, read, allowed, meaning, group=group)


def one_of(default: str, names: Names, meaning: str, *, group: str = '') -> Any:
  """Declares a field that holds one of some names.

  Args:
    default: the field's default.
    names: the names, a mapping's keys for instance, or a function that
      returns them. Values of a mapping are not looked up.
    meaning: a sentence without its full stop, for `help`.
    group: heading above this field and those that follow.
  """

  def known() -> list[str]:
    return list(names() if callable(names) else names)

  def read(value: Any) -> str:
    if not isinstance(value, str) or value not in known():
      raise ValueError(f'must be one of {", ".join(known())}')
    return str(value)

  def allowed() -> str:
    return f'one of {", ".join(map(repr, known()))}'

  return checked(default, read, allowed, meaning, group=group)


def switch(default: bool, meaning: str, *, group: str = '') -> Any:
  """Declares a field that is True or False; arguments are as in `ranged`."""

  def read(value: Any) -> bool:
    if not isinstance(value, bool):
      raise ValueError('must be True or False')
    return value

  return checked(default, read, 'bool', meaning, group=group)


def check(record: Any, name: str) -> None:
  """Holds every field of a frozen dataclass to what it declares.

  Args:
    record: an instance, of whose fields some are declared by this module;
      their values are replaced by plain, hashable ones.
    name: what messages call the record, such as 'config'.

  Raises:
    ValueError: naming the field, its rule and the value, in one line.
  """
  for field in dataclasses.fields(record):
    if _KEY not in field.metadata:
      continue
    value = _plain(getattr(record, field.name))
    try:
      kept = field.metadata[_KEY].read(value)
    except ValueError as error:
      shown = ' '.join(repr(value).split())  # an array's has several lines
      raise ValueError(f'{name}.{field.name} {error}, not {shown}') from None
    object.__setattr__(record, field.name, kept)


def attributes(record: type) -> str:
  """Writes the `Attributes` section of a dataclass's docstring."""
  lines: list[str] = []
  for field in dataclasses.fields(record):
    if _KEY not in field.metadata:
      continue
    setting = field.metadata[_KEY]
    if setting.group:
      lines += [''] if lines else []
      lines += [f'  {setting.group}:']
    allowed = f'{setting.allowed()}; default {_show(field.default)}'
    lines += textwrap.wrap(
      f'{field.name} ({allowed}): {setting.meaning}.',
      width=76,  # `help` indents it further
      initial_indent=' ' * 4,
      subsequent_indent=' ' * 6,
      break_long_words=False,
      break_on_hyphens=False,
    )
  return '\n'.join(['Attributes:', *lines])


def describe(record: Any) -> str:
  """Writes a dataclass as the call that makes it, without its defaults."""
  changed = []
  for field in dataclasses.fields(record):
    value = getattr(record, field.name)
    if value != field.default:
      text = f'{field.name}={value!r}'
      # No line may end within a string.
      changed.append(
        text.replace(' ', '\0') if isinstance(value, str) else text
      )
  call = f'{type(record).__name__}({", ".join(changed)})'
  lines = textwrap.wrap(
    call,
    width=79,
    subsequent_indent='  ',
    break_long_words=False,
    break_on_hyphens=False,
  )
  return '\n'.join(lines).replace('\0', ' ')


def _plain(value: Any) -> Any:
  """Turns a scalar of NumPy or JAX into Python's; leaves all else as it is."""
  if getattr(value, 'shape', None) == () and hasattr(value, 'item'):
    return value.item()
  return value


def _show(value: Any) -> str:
  if isinstance(value, float):
    return f'{value:,.5g}'
  if isinstance(value, int) and not isinstance(value, bool):
    return f'{value:,}'
  return repr(value)
