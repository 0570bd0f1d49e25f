"""The page itself: what is on it, and what happens when it is used.

Gradio carries the controls and the events. Pictures, progress and findings are
HTML of our own, in which all that comes from a file is escaped.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from zssr_jax import presets
from zssr_jax.data import names
from zssr_jax.errors import InputError
from zssr_jax.report.page import escape
from zssr_jax.web import work

EXAMPLE = 'astronaut.png'
_SYSTEM = ('system-ui', 'sans-serif')
_WELCOME = 'Drop a photo, or choose the example.'

# An update of every part of the page below the controls, by name; a part that
# is not in it stays.
_PARTS = ('said', 'bar', 'picture', 'found', 'start', 'stop')
_Update = dict[str, Any]


def theme() -> Any:
  """Returns the theme: plain, with the fonts that a machine has."""
  # White letters on this blue can be read.
  return gr.themes.Default(
    primary_hue='blue', font=_SYSTEM, font_mono=('ui-monospace',)
  )


def _read(package: str, name: str) -> str:
  return (importlib.resources.files(package) / name).read_text('utf-8')


def head() -> str:
  """Returns what the page's head holds beside Gradio's: style and script.

  Here, since Gradio rewrites what it takes as CSS.
  """
  report, web = 'zssr_jax.report', 'zssr_jax.web'
  css = _read(report, 'compare.css') + _read(web, 'page.css')
  script = _read(report, 'page.js') + _read(web, 'zoom.js')
  return f'<style>{css}</style><script>{script}</script>'


def _said(words: str, kind: str = '') -> str:
  return f'<p class="{kind}">{escape(words)}</p>'


def _bar(state: work.State) -> str:
  share = round(100 * state.share)
  return (
    f'<progress max="100" value="{share}" aria-label="Done, in per cent">'
    f'{share} %</progress><p class="detail">{escape(state.detail)}</p>'
  )


def _slider(
  shelf: work.Shelf,
  name: str,
  before: work.Shown,
  after: work.Shown | None,
  caption: str,
  label: str,
) -> str:
  """Returns the picture before and, where there is one, after.

  Args:
    shelf: gives the addresses.
    name: of the photo.
    before: by bicubic interpolation.
    after: of the same size, or None.
    caption: below the picture.
    label: what the picture after is called.
  """
  width, height = before.columns, before.rows
  key = escape(f'{before.path.parent.name} {width} {height}')

  def image(shown: work.Shown, what: str) -> str:
    return (
      f'<img src="{shelf.put(shown.path)}" width="{width}" height="{height}"'
      f' draggable="false" class="fill" alt="{escape(name)}, {what}">'
    )

  if before.step > 1:
    caption += f' Shown is one pixel of {before.step} along both sides.'
  inner = f'{image(before, "bicubic")}<span class="tag left">bicubic</span>'
  if after is not None:
    inner = (
      f'{image(after, label)}'
      f'<span class="tag right">{label}</span><div class="over">{inner}</div>'
      '<input type="range" min="0" max="100" value="50" step="1"'
      f' aria-label="{escape(name)}: how much is shown as bicubic"'
      ' aria-valuetext=""><i class="handle"></i>'
    )
  kind = 'compare' if after is not None else 'compare alone'
  buttons = ''.join(
    f'<button type="button" data-zoom="{what}" aria-label="{words}"'
    f' title="{words}">{sign}</button>'
    for what, words, sign in (
      ('out', 'Zoom out', '−'),
      ('in', 'Zoom in', '+'),
      ('fit', 'Show the whole picture', 'Whole'),
      ('one', 'A pixel of the picture for a pixel of the screen', '1:1'),
    )
  )
  return (
    '<figure class="shown"><div class="tools" role="group" aria-label="Zoom">'
    f'{buttons}<output aria-live="polite"></output></div>'
    f'<div class="{kind}" data-key="{key}" data-width="{width}"'
    f' style="--at:50%;--wide:{width / height:.5f};--width:{width}px;'
    f'aspect-ratio:{width}/{height}">{inner}</div>'
    f'<figcaption>{escape(caption)}</figcaption></figure>'
  )


def _downloads(shelf: work.Shelf, done: work.Done) -> str:
  """Returns a link for each file, the first one as a button."""
  links = []
  for path in done.downloads:
    size = path.stat().st_size / 1e6
    name = escape(path.name)
    links.append(
      f'<a class="download" href="{shelf.put(path)}?save" download="{name}">'
      f'Download {name}</a><span class="size">{size:.2g} MB</span>'
    )
  return f'<p class="downloads">{" ".join(links)}</p>'


def _found(shelf: work.Shelf, done: work.Done) -> str:
  """Returns what was found, with the warnings first."""
  parts = [_downloads(shelf, done)]
  parts += [_said(f'Warning: {words}', 'warning') for words in done.warnings]
  if done.found or done.kernel:
    parts.append('<h2>What was found</h2>')
  if done.found:
    parts.append(_said(done.found))
  if done.kernel:
    rows, columns = done.kernel_shape
    parts.append(
      f'<figure class="kernel"><img src="{shelf.put(done.kernel)}"'
      f' width="144" height="144" alt="The blur kernel, {columns} by {rows}'
      ' pixels of the result: bright where more light went"><figcaption>The'
      ' blur: what became of a single point of light</figcaption></figure>'
    )
  if done.explanation:
    parts.append(
      '<details><summary>How it was found</summary>'
      f'<pre tabindex="0">{escape(done.explanation)}</pre></details>'
    )
  if done.notes:
    notes = ''.join(f'<li>{escape(note)}</li>' for note in done.notes)
    parts.append(f'<h2>Of the file</h2><ul>{notes}</ul>')
  return ''.join(parts)


def _take(session: work.Session, path: Path, scale: float, shelf: Any) -> Any:
  """Takes a photo, and shows it enlarged by bicubic interpolation."""
  try:
    session.take(path, scale)
  except InputError as error:
    return {
      'said': _said(str(error), 'error'), 'bar': '', 'picture': '', 'found': '',
      'start': gr.update(interactive=False),
      'stop': gr.update(interactive=False),
    }  # fmt: skip
  return {
    'said': _said('Ready: press Enlarge.'), 'bar': '', 'found': '',
    'picture': _before(session, shelf),
    'start': gr.update(interactive=True),
    'stop': gr.update(interactive=False),
  }  # fmt: skip


def _before(session: work.Session, shelf: work.Shelf) -> str:
  taken, before = session.taken, session.before
  assert taken is not None and before is not None
  rows, columns, _ = taken.shape
  caption = (
    f'{taken.path.name}, {columns} × {rows} pixels, enlarged by bicubic'
    f' interpolation to {before.columns} × {before.rows}.'
  )
  return _slider(shelf, taken.path.name, before, None, caption, '')


def _watch(
  session: work.Session, run: work.Run, shelf: work.Shelf
) -> Iterator[_Update]:
  """Yields what changes on the page while a run goes on."""
  taken, before = session.taken, session.before
  assert taken is not None and before is not None
  said, preview = '', None
  yield {
    'picture': _before(session, shelf), 'found': '',
    'start': gr.update(interactive=False),
    'stop': gr.update(interactive=True),
  }  # fmt: skip
  for state in run.follow():
    update: _Update = {'bar': _bar(state)}
    if state.phase != said:  # or a screen reader would say it anew
      said = state.phase
      update['said'] = _said(f'{said} …')
    if state.preview is not preview:
      preview = state.preview
      update['picture'] = _slider(
        shelf,
        taken.path.name,
        before,
        preview,
        'A quick look: what the network makes of it before it has seen the'
        ' photo. The result replaces it.',
        'quick look',
      )
    if state.over:
      break
    yield update
  yield _end(state, taken, before, shelf)


def _end(
  state: work.State, taken: work.Taken, before: work.Shown, shelf: work.Shelf
) -> _Update:
  """Returns how the page looks when a run is over."""
  update: _Update = {
    'bar': '',
    'start': gr.update(interactive=True),
    'stop': gr.update(interactive=False),
  }
  if state.done is None:
    update['said'] = (
      _said('Stopped.') if state.error is None else _said(state.error, 'error')
    )
    return update
  done = state.done
  caption = (
    f'{taken.path.name}: left of the line bicubic interpolation, right of it'
    f' the result, {before.columns} × {before.rows} pixels.'
  )
  return update | {
    'said': _said(f'Done in {done.seconds:.0f} seconds.'),
    'picture': _slider(
      shelf, taken.path.name, before, done.after, caption, 'ours'
    ),
    'found': _found(shelf, done),
  }


def build(sessions: work.Sessions, max_megapixels: float) -> Any:
  """Builds the page.

  Args:
    sessions: of the server.
    max_megapixels: of a photo, to be told.

  Returns:
    The `gradio.Blocks`.
  """
  with gr.Blocks(
    title='zssr: a sharper, larger photo', analytics_enabled=False
  ) as blocks:
    gr.HTML(
      '<h1>A sharper, larger photo</h1><p>A small network is trained on this'
      ' one photo, here on this machine. Nothing leaves it, and nothing is'
      ' kept when the page is closed.</p>',
      elem_id='head',
      js_on_load=None,
      apply_default_css=False,
    )
    with gr.Row(equal_height=False):
      with gr.Column(scale=2, min_width=300):
        file = gr.File(
          label=f'Photo, up to {max_megapixels:g} megapixels',
          file_types=sorted(names.INPUT_SUFFIXES),
          height=150,
          elem_id='file',
        )
        example = gr.Button('Use the example', size='sm', elem_id='example')
        scale = gr.Radio(
          [(f'{factor}×', factor) for factor in work.SCALES],
          value=2,
          label='Enlarge',
          elem_id='scale',
        )
        preset = gr.Radio(
          [(f'{name}: {presets.SUMMARIES[name]}', name)
           for name in work.OFFERED],
          value='auto',
          label='How',
          elem_id='preset',
        )  # fmt: skip
      with gr.Column(scale=5, min_width=300):
        with gr.Row():
          start = gr.Button(
            'Enlarge', variant='primary', interactive=False, elem_id='start'
          )
          stop = gr.Button(
            'Stop', variant='stop', interactive=False, elem_id='stop'
          )
        said, bar, picture, found = (
          gr.HTML(
            value,
            elem_id=name,
            js_on_load=None,
            apply_default_css=False,
          )
          for name, value in (
            ('said', _said(_WELCOME)), ('bar', ''),
            ('picture', ''), ('found', ''),
          )
        )  # fmt: skip
    parts = dict(
      zip(_PARTS, (said, bar, picture, found, start, stop), strict=True)
    )
    _connect(blocks, _Events(sessions, parts), file, example, scale, preset)
  return blocks


class _Events:
  """What happens when the page is opened, used and closed."""

  def __init__(self, sessions: work.Sessions, parts: dict[str, Any]):
    """Takes the sessions of the server, and the parts of the page."""
    self._sessions, self.parts = sessions, parts

  def _by_part(self, update: _Update) -> dict[Any, Any]:
    return {self.parts[name]: value for name, value in update.items()}

  def _session(self, request: gr.Request) -> work.Session:
    return self._sessions.get(request.session_hash)

  def opened(self, request: gr.Request) -> None:
    """Opens a session."""
    self._session(request)

  def closed(self, request: gr.Request) -> None:
    """Closes it, and deletes its files."""
    self._sessions.close(request.session_hash)

  def dropped(self, path: str, factor: float, request: gr.Request) -> Any:
    """Takes a photo that was uploaded."""
    session = self._session(request)
    try:
      found = self._sessions.uploaded(path)
      return self._by_part(_take(session, found, factor, self._sessions.shelf))
    except InputError as error:
      return self._by_part({'said': _said(str(error), 'error')})

  def chosen(self, factor: float, request: gr.Request) -> Any:
    """Takes the example."""
    session = self._session(request)
    with importlib.resources.as_file(
      importlib.resources.files('zssr_jax.web') / EXAMPLE
    ) as path:
      return self._by_part(_take(session, path, factor, self._sessions.shelf))

  def scaled(self, factor: float, request: gr.Request) -> Any:
    """Shows the photo at another scale."""
    session = self._session(request)
    run = session.run
    # A result stays until another is asked for.
    if run is not None and (run.state.done or not run.state.over):
      return gr.skip()
    if session.show(factor) is None:
      return gr.skip()
    picture = _before(session, self._sessions.shelf)
    return self._by_part({'picture': picture, 'found': ''})

  def started(
    self, name: str, factor: float, request: gr.Request
  ) -> Iterator[Any]:
    """Enlarges the photo, and shows how far that is."""
    session = self._session(request)
    try:
      run = session.start(name, factor, self._sessions.turns)
    except InputError as error:
      yield self._by_part({'said': _said(str(error), 'error')})
      return
    for update in _watch(session, run, self._sessions.shelf):
      yield self._by_part(update)

  def stopped(self, request: gr.Request) -> None:
    """Stops what runs."""
    self._session(request).stop()


def _connect(
  blocks: Any, events: _Events, file: Any, example: Any, scale: Any, preset: Any
) -> None:
  """Tells Gradio what to call when."""

  def dropped(path: str, factor: float, request: gr.Request) -> Any:
    return events.dropped(path, factor, request) | {file: None}

  quiet = {'show_progress': 'hidden', 'api_visibility': 'private'}
  outputs = list(events.parts.values())
  blocks.load(events.opened, None, None, **quiet)
  blocks.unload(events.closed)
  file.upload(dropped, [file, scale], [*outputs, file], **quiet)
  example.click(events.chosen, [scale], outputs, **quiet)
  scale.change(events.scaled, [scale], outputs, **quiet)
  # As many as like may ask; `Turns` lets one at a time go on.
  events.parts['start'].click(
    events.started, [preset, scale], outputs, concurrency_limit=None, **quiet
  )
  events.parts['stop'].click(events.stopped, None, None, **quiet)
