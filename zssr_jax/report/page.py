"""One HTML file that shows users what happened to their pictures.

The page holds everything it shows: pictures are data URIs, and a content
security policy forbids it to load anything. It opens from a disk or an e-mail
attachment, with or without a network.

Pictures are embedded without loss, as WebP (30% smaller than PNG), since
artefacts of compression would hide what is compared. What is larger than
`_WINDOW` pixels a side is cut, never shrunk, to the part where bicubic and
result differ most, beside a small overview. In a report that has grown past
`_BUDGET` the windows are smaller.
"""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from zssr_jax.data.image_io import to_pillow
from zssr_jax.ops.color import to_uint8
from zssr_jax.report.charts import draw_curves, format_number
from zssr_jax.report.side_by_side import find_detail
from zssr_jax.training.history import History

_WINDOW = 512  # largest side of a picture in the slider, pixels
_SMALL_WINDOW = 256  # the same once the report exceeds the budget
_BUDGET = 32_000_000  # characters
_DETAIL = (32, 64)  # least and greatest side of the enlarged detail, pixels
_SEARCH = 1024  # side to which large pictures are thinned out for searching
_THUMBNAIL = 320  # longer side of an overview, pixels
# Small pictures are enlarged up to this height and width, CSS pixels.
_LARGEST = (720, 640)


class Entry(NamedTuple):
  """What a report shows of one picture."""

  title: str  # 'butterfly ×2'
  before: np.ndarray  # bicubic, float [H, W, C] in [0, 1], any C
  after: np.ndarray  # ours, of that shape
  reference: np.ndarray | None  # ground truth, up to a few pixels that size
  kernel: np.ndarray | None  # [h, w]
  history: History | None
  numbers: dict[str, str]  # label -> formatted value, shown in this order


class _Box(NamedTuple):
  """A rectangle of pixels."""

  top: int
  left: int
  rows: int
  columns: int

  def cut(self, image: np.ndarray) -> np.ndarray:
    return image[
      self.top : self.top + self.rows, self.left : self.left + self.columns
    ]

  def style(self, rows: int, columns: int) -> str:
    """Returns CSS that places the box over a picture of that size."""
    return (
      f'left:{100 * self.left / columns:.2f}%;top:{100 * self.top / rows:.2f}%;'
      f'width:{100 * self.columns / columns:.2f}%;'
      f'height:{100 * self.rows / rows:.2f}%'
    )


def escape(text: str) -> str:
  """Escapes text for HTML; file names may hold what UTF-8 cannot."""
  return html.escape(text.encode('utf-8', 'replace').decode())


def _picture(image: np.ndarray) -> Image.Image:
  """Returns `[H, W, C]` in [0, 1], C = 1 or 3, for Pillow."""
  return to_pillow(to_uint8(image))


def _img(
  picture: Image.Image, alt: str, *, name: str = '', lossless: bool = True
) -> str:
  """Returns an `<img>` that is decoded when it comes into view."""
  stream = io.BytesIO()
  picture.save(stream, 'WEBP', lossless=lossless, method=2)
  content = base64.b64encode(stream.getvalue()).decode()
  return (
    f'<img class="{name}" src="data:image/webp;base64,{content}"'
    f' width="{picture.width}" height="{picture.height}" alt="{escape(alt)}"'
    ' loading="lazy" decoding="async" draggable="false">'
  )


def _find_window(before: np.ndarray, after: np.ndarray, side: int) -> _Box:
  """Finds the part of at most `side` pixels a side with the most changes."""
  rows, columns = before.shape[:2]
  # Thinned out, as the search needs several times the memory of its pictures.
  step = max(rows, columns) // _SEARCH + 1
  height, width = min(rows, side), min(columns, side)
  top, left, found = (
    step * value
    for value in find_detail(
      before[::step, ::step],
      after[::step, ::step],
      side=max(min(height, width) // step, 1),
    )
  )
  return _Box(
    int(np.clip(top + (found - height) // 2, 0, rows - height)),
    int(np.clip(left + (found - width) // 2, 0, columns - width)),
    height,
    width,
  )


def _slider(
  title: str, before: np.ndarray, after: np.ndarray, detail: _Box
) -> str:
  """Returns two pictures above each other and the control that parts them."""
  rows, columns = before.shape[:2]
  # By whole factors, so that every pixel stays a square of one size.
  zoom = max(min(_LARGEST[0] // rows, _LARGEST[1] // columns), 1)
  sharp = ' sharp' if zoom > 1 else ''
  return (
    f'<div class="compare" style="--at:50%;aspect-ratio:{columns}/{rows};'
    f'width:{columns * zoom}px">'
    + _img(_picture(after), f'{title}, ours', name=f'fill{sharp}')
    + '<span class="tag right">ours</span><div class="over">'
    + _img(_picture(before), f'{title}, bicubic', name=f'fill{sharp}')
    + '<span class="tag left">bicubic</span></div>'
    f'<i class="frame" style="{detail.style(rows, columns)}"></i>'
    '<input type="range" min="0" max="100" value="50" step="1"'
    f' aria-label="{escape(title)}: how much is shown as bicubic"'
    ' aria-valuetext="50 % bicubic, 50 % ours">'
    '<i class="handle"></i></div>'
  )


def _overview(image: np.ndarray, title: str, window: _Box) -> str:
  """Returns the whole picture, small, with a frame around the window."""
  rows, columns = image.shape[:2]
  step = max(rows, columns) // _SEARCH + 1
  small = _picture(image[::step, ::step])
  small.thumbnail((_THUMBNAIL, _THUMBNAIL))
  return (
    '<figure class="overview"><div>'
    + _img(small, f'{title}, whole', lossless=False)
    + f'<i class="frame" style="{window.style(rows, columns)}"></i></div>'
    '<figcaption>The whole picture, and the part shown</figcaption></figure>'
  )


def _crops(crops: Sequence[tuple[str, np.ndarray]], title: str) -> str:
  return (
    '<div class="crops">'
    + ''.join(
      '<figure>'
      + _img(_picture(pixels), f'{title}, detail, {label}', name='sharp')
      + f'<figcaption>{label}</figcaption></figure>'
      for label, pixels in crops
    )
    + '</div>'
  )


def _kernel(kernel: np.ndarray) -> str:
  low, high = min(float(kernel.min()), 0.0), max(float(kernel.max()), 1e-12)
  rows, columns = kernel.shape
  picture = _picture((kernel[..., None] - low) / (high - low))
  return (
    '<figure class="kernel">'
    + _img(picture, f'blur kernel of {rows} by {columns}', name='sharp')
    + f'<figcaption>Blur kernel, {rows} × {columns}; black is'
    f' {format_number(low)}, white {format_number(high)}</figcaption></figure>'
  )


def _numbers(numbers: Mapping[str, str]) -> str:
  rows = ''.join(
    f'<tr><th scope="row">{escape(label)}</th><td>{escape(value)}</td></tr>'
    for label, value in numbers.items()
  )
  return f'<table class="numbers">{rows}</table>' if rows else ''


def _section(entry: Entry, number: int, side: int) -> str:
  """Returns the part of the page about one picture."""
  images = [entry.before, entry.after]
  if entry.reference is not None:
    images.append(entry.reference)
  rows, columns = np.min([i.shape[:2] for i in images], axis=0)
  channels = entry.before.shape[2]
  shown = 3 if channels >= 3 else 1
  images = [i[:rows, :columns, :shown] for i in images]
  window = _find_window(images[0], images[1], side)
  parts = [window.cut(i) for i in images]
  same = bool(np.array_equal(parts[0], parts[1]))
  quarter = min(window.rows, window.columns) // 4
  detail = _find_window(parts[0], parts[1], int(np.clip(quarter, *_DETAIL)))
  caption = [f'{columns} × {rows} pixels.']
  cut = (window.rows, window.columns) != (rows, columns)
  if cut:
    caption.append(
      f'Shown are {window.columns} × {window.rows} of them, where bicubic and'
      ' ours differ most.'
    )
  if same:
    caption.append('Bicubic and ours are identical.')
  if channels != shown:
    caption.append(
      f'Shown: {"the first three" if shown == 3 else "the first"} of'
      f' {channels} channels.'
    )
  labels = ('bicubic', 'ours', 'ground truth')
  title = escape(entry.title)
  return ''.join(
    [
      f'<section class="entry" id="p{number}"><h2>{title}</h2>'
      '<div class="main"><figure>',
      _slider(entry.title, parts[0], parts[1], detail),
      f'<figcaption>{" ".join(caption)}</figcaption></figure>',
      '<div class="side">',
      _numbers(entry.numbers),
      _overview(images[1], entry.title, window) if cut else '',
      '' if entry.kernel is None else _kernel(np.asarray(entry.kernel)),
      '</div></div>',
      _crops(
        [
          (label, detail.cut(part))
          for label, part in zip(labels, parts, strict=False)
        ],
        entry.title,
      ),
      f'<p class="key">The framed detail, {detail.columns} × {detail.rows}'
      ' pixels, enlarged without smoothing.</p>',
      draw_curves(entry.history) if entry.history else '',
      '</section>',
    ]
  )


def _summary(
  rows: Sequence[Mapping[str, str]], links: Mapping[str, str]
) -> str:
  """Returns the table on top; cells that are an entry's title lead there."""
  if not rows:
    return ''
  columns = list(rows[0])
  side = {columns[0]: ''}  # numbers are aligned right
  for column in columns[1:]:
    numbers = all(row[column][:1] in '0123456789.+-−–' for row in rows)
    side[column] = ' class="n"' if numbers else ''

  def cell(row: Mapping[str, str], column: str) -> str:
    text = escape(row[column])
    if row[column] in links:
      text = f'<a href="#{links[row[column]]}">{text}</a>'
    if column == columns[0]:
      return f'<th scope="row">{text}</th>'
    return f'<td{side[column]}>{text}</td>'

  head = ''.join(f'<th scope="col"{side[c]}>{escape(c)}</th>' for c in columns)
  body = ''.join(
    f'<tr>{"".join(cell(row, c) for c in columns)}</tr>' for row in rows
  )
  return (
    '<div class="scroll" role="region" aria-label="Summary" tabindex="0">'
    f'<table class="summary"><thead><tr>{head}</tr></thead>'
    f'<tbody>{body}</tbody></table></div>'
  )


def make_report(
  title: str,
  entries: Iterable[Entry],
  *,
  summary: Sequence[Mapping[str, str]] = (),
  notes: Sequence[str] = (),
) -> str:
  """Makes a page that needs no other file and loads nothing.

  Args:
    title: heading of the page, plain text like all others.
    entries: one a picture, in the order shown; taken one at a time, so a
      generator keeps only one picture in memory.
    summary: rows of the table on top, all with the same columns. A cell that
      is an entry's title becomes a link to it.
    notes: short paragraphs below the table (command, commit, machine).

  Returns:
    The HTML, to be written as UTF-8.

  Raises:
    ValueError: when the two pictures of an entry differ in shape, or rows of
      the table in their columns.
  """
  if any(list(row) != list(summary[0]) for row in summary):
    raise ValueError('the rows of the summary differ in their columns')
  sections: list[str] = []
  links: dict[str, str] = {}
  size = 0
  for entry in entries:  # enumerate would keep a second one alive
    number = len(sections) + 1
    if entry.before.shape != entry.after.shape:
      raise ValueError(
        f'{entry.title}: bicubic has shape {entry.before.shape}, ours'
        f' {entry.after.shape}'
      )
    side = _WINDOW if size < _BUDGET else _SMALL_WINDOW
    sections.append(_section(entry, number, side))
    size += len(sections[-1])
    links.setdefault(entry.title, f'p{number}')
    del entry  # before the next one is made
  folder = importlib.resources.files('zssr_jax.report')
  style = ''.join(
    (folder / name).read_text('utf-8') for name in ('page.css', 'compare.css')
  )
  script = (folder / 'page.js').read_text('utf-8')
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  paragraphs = ''.join(f'<p>{escape(note)}</p>' for note in notes)
  return ''.join(
    [
      '<!doctype html><html lang="en"><head><meta charset="utf-8">'
      # Only this very script runs and nothing is fetched, whatever a title
      # may hold.
      '<meta http-equiv="Content-Security-Policy" content="default-src'
      " 'none'; img-src data:; style-src 'unsafe-inline'; script-src"
      f" 'sha256-{digest}'\">"
      '<meta name="viewport" content="width=device-width, initial-scale=1">'
      '<meta name="color-scheme" content="light dark">'
      '<link rel="icon" href="data:,">'  # else a server is asked for one
      f'<title>{escape(title)}</title><style>{style}</style></head><body>'
      f'<header><h1>{escape(title)}</h1>',
      _summary(summary, links),
      f'<div class="notes">{paragraphs}</div>' if notes else '',
      '<p class="how">Drag across a picture, or focus it and press the arrow'
      ' keys: left of the line is bicubic interpolation, right of it our'
      ' result.</p>'
      if sections
      else '',
      '</header><main>',
      *sections,
      f'</main><script>{script}</script></body></html>',
    ]
  )
