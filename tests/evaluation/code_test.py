"""The code version follows what the code does, and nothing else."""

import ast
import shutil

import pytest

from zssr_jax import presets
from zssr_jax.evaluation import bodies, code, methods

# A package in which `start.run` reaches every form of reference.
FILES = {
  '__init__.py': '',
  'start.py': '''
import functools
import numpy as np
from made import tables, tools
from made.deep.inner import twice as double
from made.shapes import Shape

_GAIN = 2.0
_PAIR, _OTHER = 3, 4


def run(x, *, gain=_GAIN):
  """Runs."""
  def inner(y):
    return tools.add(y, gain)
  shape = Shape(x)
  return double(inner(np.square(x))) + tables.find('b') + shape.area(_PAIR)


def unused(x):
  return tools.never(x) + _OTHER
''',
  'tools.py': """
import functools
import jax


def add(a, b):
  return plain(a) + _compiled(b)


def plain(a):
  return a


_compiled = jax.jit(functools.partial(plain))


def never(x):
  return x - 1
""",
  'deep/__init__.py': '',
  'deep/inner.py': """
def twice(x):
  from made.deep import constants as c
  return c.TWO * x
""",
  'deep/constants.py': 'TWO = 2\nTHREE = 3\n',
  'shapes.py': """
import dataclasses
from made.deep import constants


@dataclasses.dataclass(frozen=True)
class Shape:
  side: float
  sides: int = 4

  def area(self, factor):
    return self._square() * factor

  def _square(self):
    return self.side**constants.TWO
""",
  'tables.py': """
import importlib

PLACES = {'a': 'deep.entry:FIRST', 'b': 'deep.entry:SECOND', 'c': 'cpu:0'}


def find(name):
  module, _, attribute = PLACES[name].partition(':')
  return getattr(importlib.import_module(f'made.{module}'), attribute)
""",
  'deep/entry.py': """
FIRST = 1
SECOND = 2
THIRD = 3
""",
}


@pytest.fixture
def made(tmp_path):
  """Writes the package with changes; returns `digest(**changes)`.

  A change is (file, text, new text), or (file, whole new text).
  """
  count = iter(range(1000))

  def digest(*changes, entries=('made.start:run',), added=()):
    files = FILES | dict(added)
    for file, *texts in changes:
      if len(texts) == 2:
        assert texts[0] in files[file], texts[0]
        texts = [files[file].replace(*texts)]
      files[file] = texts[0]
    root = tmp_path / str(next(count)) / 'made'
    for file, text in files.items():
      if text is not None:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
    return bodies.Package(root).digest(*entries)

  return digest


@pytest.mark.parametrize(
  'change',
  [
    ('start.py', 'np.square(x)', 'np.sqrt(x)'),
    ('start.py', 'import numpy as np', 'import jax.numpy as np'),
    ('start.py', '_GAIN = 2.0', '_GAIN = 2'),
    ('start.py', '_PAIR, _OTHER = 3, 4', '_OTHER, _PAIR = 3, 4'),
    ('start.py', 'area(_PAIR)', 'area(_OTHER)'),
    ('start.py', 'add(y, gain)', 'add(gain, y)'),
    ('start.py', 'tools.add', 'tools.plain'),
    ('tools.py', 'return a\n', 'return -a\n'),
    ('tools.py', 'functools.partial(plain)', 'functools.partial(never)'),
    ('tools.py', 'jax.jit(', 'jax.vmap('),
    ('deep/inner.py', 'c.TWO', 'c.THREE'),
    ('deep/constants.py', 'TWO = 2', 'TWO = 2.5'),
    ('shapes.py', 'sides: int = 4', 'sides: int = 5'),
    ('shapes.py', 'sides: int', 'corners: int'),
    ('shapes.py', 'frozen=True', 'frozen=False'),
    ('shapes.py', 'self.side**', 'self.side*'),
    ('tables.py', "'b': ", "'d': "),
    ('tables.py', 'deep.entry:SECOND', 'deep.entry:THIRD'),
    ('deep/entry.py', 'SECOND = 2', 'SECOND = 3'),
    ('deep/entry.py', 'FIRST = 1', 'FIRST = 0'),  # also in the table
  ],
)
def test_it_changes_with_all_that_is_reached(made, change):
  assert made(change) != made()


@pytest.mark.parametrize(
  'change',
  [
    ('start.py', 'tools.never(x)', 'tools.never(x + 1)'),
    ('start.py', '"""Runs."""', '"""Runs fast."""  # It does.'),
    ('start.py', 'def inner(y):', 'def inner(y: float) -> float:'),
    ('start.py', '_GAIN = 2.0', '_GAIN: float = 2.0'),
    ('start.py', '_GAIN', '_FACTOR'),
    ('tools.py', 'x - 1', 'x - 2'),
    ('tools.py', '_compiled', '_faster'),
    ('tools.py', '\n\ndef add', '\nimport os\n\n\nMORE = 1\n\n\ndef add'),
    ('deep/constants.py', 'THREE = 3', 'THREE = 4'),
    ('deep/constants.py', 'TWO = 2\nTHREE = 3\n', 'THREE = 3\nTWO = 2\n'),
    ('deep/entry.py', 'THIRD = 3', 'THIRD = 0'),
    (
      'deep/inner.py',
      'import made.deep.constants\n\n\ndef twice(x: int) -> int:\n'
      '  return made.deep.constants.TWO * x\n',
    ),
  ],
)
def test_it_ignores_words_order_and_what_is_not_reached(made, change):
  assert made(change) == made()


def test_moves_and_renames_do_not_count(made):
  whole = made()
  # A function goes to a module of its own, under another name.
  tools = FILES['tools.py']
  body = 'def plain(a):\n  return a\n'
  parts = tools.replace(body, '').replace('plain', 'others.same')
  assert whole == made(
    (
      'tools.py',
      parts.replace('import jax', 'import jax\nfrom made import others'),
    ),
    added={'others.py': body.replace('plain', 'same')},
  )
  # A module is renamed, one that a string names as well.
  assert whole == made(
    ('deep/entry.py', None),
    ('tables.py', 'deep.entry', 'places'),
    added={'places.py': FILES['deep/entry.py']},
  )
  assert whole == made(
    ('shapes.py', None),
    ('start.py', 'made.shapes', 'made.deep.forms'),
    added={'deep/forms.py': FILES['shapes.py']},
  )
  # It is imported in another form, through another module or by a star.
  text = FILES['start.py'].replace('from made.shapes import Shape', '{}')
  dotted = text.replace(' Shape(', ' made.shapes.Shape(')
  assert whole == made(('start.py', dotted.format('import made.shapes')))
  for line in ('from made.shapes import *', 'from .shapes import Shape'):
    assert whole == made(('start.py', text.format(line)))
    hall = text.format('from made.hall import Shape')
    assert whole == made(('start.py', hall), added={'hall.py': line})
  # The entry has another place, too.
  assert whole == made(
    added={'first.py': FILES['start.py'].replace('def run', 'def go')},
    entries=['made.first:go'],
  )


def test_names_of_classes_count(made):
  renamed = [
    ('shapes.py', 'class Shape', 'class Form'),
    ('start.py', FILES['start.py'].replace('Shape', 'Form')),
  ]
  assert made(*renamed) != made()


def test_what_an_error_says_does_not_count(made):
  def checked(line):
    return made(
      ('deep/inner.py', 'return c', f'if x < 0:\n    raise {line}\n  return c')
    )

  plain = checked("ValueError('negative')")
  assert plain == checked("ValueError(f'{x} is below 0')")
  assert plain != checked("TypeError('negative')")
  assert plain != checked('ValueError(c.THREE)') != made()


def test_local_names_are_not_those_of_the_module(made):
  def local(body):
    return made(
      ('deep/inner.py', f'{body}\n\n\ndef name():\n  return 1\n'),
      entries=['made.deep.inner:twice'],
    )

  def depends(body):
    return local(body) != made(
      ('deep/inner.py', f'{body}\n\n\ndef name():\n  return 2\n'),
      entries=['made.deep.inner:twice'],
    )

  assert not depends('def twice(name):\n  return name')
  assert not depends('def twice(x):\n  return [name for name in x]')
  assert not depends('def twice(x):\n  return lambda name: name')
  assert not depends('def twice(x):\n  name = x\n  return lambda: name')
  assert not depends('def twice(x):\n  return x.name')
  assert not depends('def twice(x):\n  return x(name=1)')
  assert depends('def twice(x):\n  return name')
  assert depends('def twice(x):\n  return [name for name in name()]')
  assert depends('def twice(x):\n  return lambda y, name=name: y')
  assert depends('def twice(x):\n  def f(name):\n    pass\n  return name')
  assert depends('def twice(x):\n  global name\n  name = x')
  assert depends('class twice:\n  name = 1\n  def f(self):\n    return name')
  assert depends('@name\ndef twice(x):\n  return x')
  assert depends('def twice(x):\n  class C:\n    name: name = 1')


def test_statements_of_a_module_count_with_what_is_in_it(made):
  for line in (
    'plain.defvjp(1, 2)',
    "TABLE = {}\nTABLE['x'] = 1",
    '@plain\ndef more():\n  pass',
    "if 1:\n  x = 'both'",
    'try:\n  import fast\nexcept ImportError:\n  fast = None',
  ):
    more = made(('tools.py', f'{FILES["tools.py"]}\n{line}\n'))
    assert more != made(), line
    # Not in one that nothing is taken from.
    assert made(added={'lonely.py': line}) == made()
  # Nor those that do nothing.
  for line in (
    "'''Text.'''",
    'from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  import os',
    'import made.start',
    '@jax.jit\ndef more():\n  pass',
  ):
    assert made(('tools.py', f'{FILES["tools.py"]}\n{line}\n')) == made()
  assert (
    made(('__init__.py', "import jax\njax.config.update('a', 1)")) != made()
  )


def test_a_module_as_a_value_counts_as_a_whole(made):
  def third(number, body):
    return made(
      ('deep/inner.py', body),
      ('deep/entry.py', 'THIRD = 3', f'THIRD = {number}'),
    )

  head = 'from made.deep import entry\n\n\ndef twice(x):\n  '
  for line in (
    'return getattr(entry, x)',
    'return entry.not_there',
    "return x('deep.entry:NOT_THERE')",
    "return x('made.deep.entry')",
  ):
    assert third(3, head + line) != third(4, head + line)
  star = 'from made.deep.entry import *\n\n\ndef twice(x):\n  return THIRD'
  assert third(3, star) != third(4, star)
  one = head + "return entry.FIRST + x('text: deep.entry')"
  assert third(3, one) == third(4, one)


def test_calls_in_circles_end(made):
  def ring(first, second):
    text = (
      f'def even(n):\n  return n == 0 or {first}(n - 1)\n\n\n'
      f'def odd(n):\n  return n == 1 or {second}(n - 1)\n'
    )
    return made(('deep/inner.py', text), entries=['made.deep.inner:even'])

  assert ring('odd', 'even') == ring('odd', 'even')
  assert (
    len({ring('odd', 'even'), ring('odd', 'odd'), ring('even', 'odd')}) == 3
  )


def test_functions_that_differ_in_what_they_call_are_told_apart(made):
  text = (
    'def twice(x):\n  return {}(x) - {}(x)\n\n\n'
    'def f(x):\n  return g(x)\n\n\ndef h(x):\n  return k(x)\n\n\n'
    'def g(x):\n  return x + 1\n\n\ndef k(x):\n  return x + 2\n'
  )
  assert made(('deep/inner.py', text.format('f', 'h'))) != made(
    ('deep/inner.py', text.format('h', 'f'))
  )


def test_an_entry_that_is_not_there_is_refused(made):
  for entry in ('made.start:nothing', 'made.nowhere:run', 'numpy:square'):
    with pytest.raises(ValueError, match=f'there is no function {entry}'):
      made(entries=[entry])


@pytest.fixture(scope='module')
def copy(tmp_path_factory):
  """A copy of the real package's sources."""
  folder = tmp_path_factory.mktemp('copy') / 'zssr_jax'
  shutil.copytree(
    code._ROOT, folder, ignore=shutil.ignore_patterns('__pycache__')
  )
  return folder


@pytest.fixture
def versions(copy, monkeypatch):
  """`versions()`: of all methods, by what is in the copy now."""

  def versions():
    package = bodies.Package(copy)
    monkeypatch.setattr(code, 'code_version', package.digest)
    return all_versions()

  return versions


def all_versions():
  """Of all methods; `zssr` is that of `nonideal`."""
  return {
    name: code.method_version(name, config_of(name))
    for name in methods.REGISTRY
  }


def config_of(name):
  if name in methods.VARIANTS:
    return presets.load_config(name)
  return presets.load_config('nonideal') if name == methods.ZSSR else None


TRAINED = {methods.ZSSR, *methods.VARIANTS}
INTERPOLATED = {'nearest', 'bilinear', 'bicubic', 'lanczos'}


@pytest.mark.slow
@pytest.mark.parametrize(
  ('definition', 'changing', 'same'),
  [
    ('training.step:make_step', TRAINED, {'vdsr', 'blind_sr', 'bicubic'}),
    ('training.pool:draw_crop', TRAINED, {'vdsr', 'blind_sr', 'bicubic'}),
    ('training.joint_kernel:taps', TRAINED, {'blind_sr', 'bicubic'}),
    # Of what goes by a name only what a config names counts.
    (
      'models.upsamplers:PixelShuffle',
      TRAINED - {'transposed', 'vdsr_backbone'},
      {'self_ex_sr', 'bicubic', 'vdsr_backbone', 'edsr'},
    ),
    ('models.backbone:VdsrBackbone', {'vdsr_backbone'}, {'zssr', 'vdsr'}),
    ('models.vdsr:Vdsr', {'vdsr_backbone', 'vdsr'}, {'zssr', 'srcnn'}),
    ('models.edsr:Edsr', {'edsr', 'edsr_plus'}, {'zssr', 'vdsr', 'bicubic'}),
    ('training.losses:content', {'hybrid_loss'}, {'zssr', 'transferred'}),
    (
      'kernel_estimation.patch_recurrence:estimate',
      {'blind_sr'},
      {*TRAINED, 'self_ex_sr', 'bicubic', 'vdsr'},
    ),
    # The guard of all estimators compares two halves by it.
    ('kernel_estimation.spectrum:estimate', TRAINED, {'self_ex_sr', 'vdsr'}),
    ('kernel_estimation.kernel_gan:discriminate', set(), TRAINED),
    ('baselines.interpolation:lanczos', {'lanczos'}, {'bicubic', 'zssr'}),
    ('ops.metrics:score', {*methods.REGISTRY}, set()),
    ('evaluation.tables:make_table', set(), {*methods.REGISTRY}),
    ('report.page:make_report', set(), {*methods.REGISTRY}),
  ],
)
def test_methods_have_the_versions_of_their_own_code(
  copy, versions, definition, changing, same
):
  before = all_versions()
  module, _, name = definition.partition(':')
  path = copy.joinpath(*module.split('.')).with_suffix('.py')
  text = path.read_text()
  tree = ast.parse(text)
  (found,) = [n for n in tree.body if getattr(n, 'name', None) == name]
  found.body += ast.parse('changed = True').body
  path.write_text(ast.unparse(tree))
  after = versions()
  path.write_text(text)
  changed = {name for name in after if after[name] != before[name]}
  assert changing <= changed and not same & changed


def test_a_config_that_names_something_else_has_another_version():
  config = presets.load_config('nonideal')
  versions = [
    code.method_version(methods.ZSSR, changed)
    for changed in (
      config,
      config.replace(kernel='kernelgan'),
      config.replace(kernel='bicubic'),
      config.replace(model='zssr'),
      config.replace(losses=(('luma', 1.0),)),
    )
  ]
  assert len(set(versions)) == len(versions)
  # What it holds beside names is in a row's key anyway.
  again = code.method_version(methods.ZSSR, config.replace(depth=5))
  assert again == versions[0]


def test_versions_are_short_and_those_of_the_package():
  version = code.method_version('bicubic')
  entries = 'zssr_jax.baselines.interpolation:bicubic', code._SCORE
  assert version == code.code_version(*entries)
  assert version == code.code_version(*entries[::-1])
  assert len(version) == 12 and int(version, 16) >= 0
  with pytest.raises(ValueError, match='there are: nearest'):
    code.method_version('magic')
