"""One picture that compares several versions of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zssr_jax.ops import color

_WIDTHS = (256, 768)  # narrowest and widest panel, pixels
_GAP = 8  # pixels between panels
_TEXT = 18  # height of the font, pixels
_FRAME = (0, 230, 118)


def find_detail(
  a: np.ndarray, b: np.ndarray, *, side: int | None = None
) -> tuple[int, int, int]:
  """Finds the square in which two images differ most.

  Args:
    a: `[H, W, C]`.
    b: `[H, W, C]`.
    side: of the square, at most the shorter side of the image; None takes a
      quarter of that.

  Returns:
    Top row, left column and side of the square.
  """
  side = side or max(min(a.shape[:2]) // 4, 1)
  difference = np.abs(np.asarray(a, np.float64) - b).sum(axis=2)
  sums = np.pad(difference.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
  windows = (sums[side:, side:] - sums[:-side, side:]) - (
    sums[side:, :-side] - sums[:-side, :-side]
  )
  top, left = np.unravel_index(windows.argmax(), windows.shape)
  return int(top), int(left), side


def side_by_side(
  panels: Sequence[tuple[str, np.ndarray]], detail: tuple[int, int, int]
) -> np.ndarray:
  """Draws labelled panels in a row and below each the same detail, enlarged.

  Args:
    panels: pairs of a label and an image `[H, W, C]` in [0, 1], C = 1 or 3,
      all of one size.
    detail: top row, left column and side of the square to enlarge.

  Returns:
    float32 `[h, w, 3]` in [0, 1].
  """
  rows, columns = panels[0][1].shape[:2]
  top, left, side = detail
  width = int(np.clip(columns, *_WIDTHS))
  zoom = width / columns
  height = max(round(rows * zoom), 1)
  head = _TEXT + _GAP
  canvas = Image.new(
    'RGB',
    (len(panels) * (width + _GAP) + _GAP, head + height + width + 2 * _GAP),
    'white',
  )
  draw = ImageDraw.Draw(canvas)
  font = ImageFont.load_default(_TEXT - 4)
  for number, (label, image) in enumerate(panels):
    x = _GAP + number * (width + _GAP)
    pixels = np.broadcast_to(color.to_uint8(image), (rows, columns, 3))
    whole = Image.fromarray(np.ascontiguousarray(pixels))
    part = whole.crop((left, top, left + side, top + side))
    shrink = Image.Resampling.LANCZOS if zoom < 1 else Image.Resampling.NEAREST
    canvas.paste(whole.resize((width, height), shrink), (x, head))
    box = [left, top, left + side, top + side]
    box = [round(v * zoom) for v in box]
    draw.rectangle(
      (x + box[0], head + box[1], x + box[2] - 1, head + box[3] - 1),
      outline=_FRAME,
      width=2,
    )
    # Nearest, so that the pixels themselves are compared.
    canvas.paste(
      part.resize((width, width), Image.Resampling.NEAREST),
      (x, head + height + _GAP),
    )
    draw.text((x, _GAP // 2), label, fill='black', font=font)
  return np.asarray(canvas, np.float32) / np.float32(255)
