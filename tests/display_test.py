"""What the display says, with a terminal and without."""

import functools
import io
import re
import threading
import types

import pytest
import rich.console

from zssr_jax import Progress, display

Console = rich.console.Console


def at(step, stage=0, stages=1):
  return Progress(stage, stages, step, 100, 0.1, 1e-3, 1e-3)


class Terminal(io.StringIO):
  def isatty(self):
    return True

  @property
  def words(self):
    """All that was shown, without the control sequences."""
    return re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]', '', self.getvalue())


@pytest.fixture
def terminal(monkeypatch):
  stream = Terminal()
  # Not sys.stderr, which pytest sets anew before each test.
  monkeypatch.setattr(display, 'sys', types.SimpleNamespace(stderr=stream))
  monkeypatch.setenv('TERM', 'xterm')
  console = functools.partial(
    Console, file=stream, force_terminal=True, width=120, height=20
  )
  monkeypatch.setattr(rich.console, 'Console', lambda **_: console())
  return stream


def shown(bars):
  """The lines that are on the terminal now."""
  console = Console(file=io.StringIO(), width=120)
  console.print(bars._bars.get_renderable())
  return console.file.getvalue().splitlines()


def test_one_image_is_a_bar_with_words(terminal):
  with display.Display() as bars:
    bars.begin('key', 'photo_x2')
    (line,) = shown(bars)
    assert line.startswith('photo_x2 ') and 'starting' in line
    bars.show('key', at(50, 1, 2))
    (line,) = shown(bars)
    assert line.startswith('photo… stage 2/2')
    assert 'step 50/100 loss 0.1000 error 1.0e-03 lr 1e-03' in line
    bars.end('key')
    assert not shown(bars)
  assert 'photo' in terminal.words


def test_several_images_are_a_line_each_and_the_count(terminal):
  with display.Display(5, 1, counts=True) as bars:
    bars.begin('a', 'first')
    bars.begin('b', 'second')
    bars.begin('b', 'second')  # again: nothing changes
    bars.show('b', at(10))
    count, first, second = shown(bars)
    assert count.startswith('1/5 ')
    assert first.startswith('first ') and 'starting' in first
    assert second.startswith('second ') and 'step 10/100' in second
    bars.end('a')
    bars.count('mean 30.00 dB of 1')
    count, second = shown(bars)
    assert count.startswith('2/5 ') and 'mean 30.00 dB of 1' in count
    assert 'left' in count
    with bars.aside():
      print('a line', file=terminal)
  assert 'a line' in terminal.words
  assert 'mean 30.00 dB' in terminal.words.splitlines()[-1]  # it stays


def test_without_a_terminal_a_line_every_tenth_of_each(capsys):
  with display.Display(2, counts=True) as lines:
    for key, name in (('a', 'first'), ('b', 'second')):
      lines.begin(key, name)
    for step in (5, 10, 15, 20):
      lines.show('a', at(step))
      lines.show('b', at(2 * step))
    lines.end('a')
    lines.count()
  err = capsys.readouterr().err.splitlines()
  assert [tuple(line.split()[:2]) for line in err] == [
    ('second', '10%'),
    ('first', '10%'),
    ('second', '20%'),
    ('second', '30%'),
    ('first', '20%'),
    ('second', '40%'),
  ]
  assert all('lr 1e-03' in line for line in err)


def test_without_a_terminal_a_line_an_image_where_asked_for(capsys):
  with display.Display(5, 3, counts=True, tenths=False) as lines:
    lines.begin('a', 'first')
    lines.show('a', at(100))
    lines.end('a')
    lines.count('mean 30.00 dB of 1', 'first  30.00 / 0.9000')
    lines.count('mean 31.00 dB of 2', 'second  32.00 / 0.9100')
  err = capsys.readouterr().err.splitlines()
  pattern = r'{}/5  {} / 0\.9.00  mean 3{}\.00 dB of {}  \d+:\d\d left'
  assert re.fullmatch(pattern.format(4, r'first  30\.00', 0, 1), err[0])
  assert re.fullmatch(pattern.format(5, r'second  32\.00', 1, 2), err[1])
  assert len(err) == 2 and err[1].endswith('  0:00 left')


def test_threads_may_show_at_the_same_time(terminal):
  with display.Display(8, counts=True) as bars:

    def work(name):
      bars.begin(name, name)
      for step in range(100):
        bars.show(name, at(step))
        if step % 10 == 0:
          with bars.aside():
            print(f'{name} {step}', file=terminal)
      bars.end(name)
      bars.count()

    threads = [threading.Thread(target=work, args=(n,)) for n in 'abcdefgh']
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
    assert shown(bars)[0].startswith('8/8 ')
    assert len(shown(bars)) == 1
  assert all(f'{name} 90' in terminal.words for name in 'abcdefgh')


@pytest.mark.parametrize(
  ('seconds', 'text'),
  [(0, '0:00'), (59.6, '1:00'), (61, '1:01'), (6e3, '100:00')],
)
def test_minutes(seconds, text):
  assert display.minutes(seconds) == text
