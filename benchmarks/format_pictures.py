"""Draws docs/pictures/formats.jpg: text, a cut-out and a gradient, enlarged.

  python benchmarks/format_pictures.py

All three are drawn here and go through bin/main.py with the config `fast`, x2.
"Bicubic" of a cut-out is what a program makes that enlarges colour and alpha
each for itself, with black in what is hidden.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import imagecodecs
import numpy as np
from formats import ROOT, run
from PIL import Image, ImageDraw, ImageFont

from zssr_jax.ops import color, resize

_WIDTH = 920  # of a row, so that every pixel is shown as 2 x 2
_GAP = 8
_TEXT = 15
_STRETCH = 30
_DARK, _LIGHT = 0.12, 0.92


def screenshot() -> np.ndarray:
  """Draws a window with text, uint8 `[H, W, 3]`."""
  image = Image.new('RGB', (114, 64), (240, 240, 240))
  draw = ImageDraw.Draw(image)
  draw.rectangle((0, 0, 113, 14), (48, 80, 160))
  font = ImageFont.load_default(10)
  draw.text((5, 1), 'Settings', 'white', font)
  for i, words in enumerate(
    ('Line 1: 37 px', 'Line 2: 74 px', 'Line 3: 20 px')
  ):
    draw.text((6, 18 + 15 * i), words, (24, 24, 24), font)
    draw.rectangle((92, 20 + 15 * i, 100, 28 + 15 * i), outline=(120, 120, 120))
  return np.asarray(image)


def cut_out() -> np.ndarray:
  """Draws an orange star, uint8 `[H, W, 4]`; beyond it is hidden black."""
  side = 56
  y, x = np.mgrid[:side, :side] - (side - 1) / 2
  radius = 20 + 5 * np.cos(5 * np.arctan2(x, -y))
  alpha = np.clip(radius - np.hypot(y, x) + 0.5, 0, 1)[..., None]
  warmth = 0.55 + 0.3 * y / side + 0.1 * np.sin(np.hypot(y, x) / 2)
  orange = np.stack([np.full_like(y, 0.95), warmth, warmth - 0.4], -1)
  pixels = np.concatenate([orange * (alpha > 0), alpha], -1)
  return color.to_uint8(pixels.astype(np.float32))


def gradient() -> np.ndarray:
  """A gradient of a thirtieth of the range, uint16 `[H, W]`."""
  y, x = np.mgrid[:48, :114] / 114
  fractions = 0.5 + (x + 0.3 * y - 0.6) / _STRETCH
  return np.round(65535 * fractions).astype(np.uint16)


def enlarge(path: Path, *flags: str) -> Path:
  """Runs the command on a file; returns the result's path."""
  output = path.parent / ''.join(('out', *flags))
  arguments = ['--config=fast', f'--input={path}', f'--output={output}', *flags]
  code, err = run(arguments)
  if code:
    raise RuntimeError(err)
  return output / f'{path.stem}_x2.png'


def bicubic(samples: np.ndarray) -> np.ndarray:
  """Enlarges uint8 samples twice, each channel for itself."""
  return resize.imresize(samples / np.float32(255), 2).clip(0, 1)


def over(rgba: np.ndarray, background: float) -> np.ndarray:
  """Lays colours with alpha, in [0, 1], over a grey."""
  return rgba[..., :3] * rgba[..., 3:] + background * (1 - rgba[..., 3:])


def stretched(samples: np.ndarray, white: float) -> np.ndarray:
  """Stretches the contrast of grey samples about the middle."""
  grey = ((samples / white - 0.5) * _STRETCH + 0.5).clip(0, 1)
  return grey[..., None].repeat(3, -1)


def row_of(panels: list[tuple[str, np.ndarray]]) -> Image.Image:
  """Draws pictures in [0, 1] beside one another, their names below."""
  width = (_WIDTH - _GAP * (len(panels) - 1)) // len(panels)
  height = max(width * p.shape[0] // p.shape[1] for _, p in panels)
  row = Image.new('RGB', (_WIDTH, height + _TEXT + 14), 'white')
  draw = ImageDraw.Draw(row)
  font = ImageFont.load_default(_TEXT)
  for i, (label, pixels) in enumerate(panels):
    picture = Image.fromarray(color.to_uint8(pixels.astype(np.float32)))
    picture = picture.resize((width, height), Image.Resampling.NEAREST)
    row.paste(picture, (i * (width + _GAP), 0))
    draw.text((i * (width + _GAP), height + 2), label, 'black', font)
  return row


def rows(folder: Path) -> list[Image.Image]:
  """Makes the files, enlarges them and draws what comes out."""
  text, figure, ramp = screenshot(), cut_out(), gradient()
  for name, samples in (('text', text), ('figure', figure)):
    Image.fromarray(samples).save(folder / f'{name}.png')
  (folder / 'ramp.png').write_bytes(imagecodecs.png_encode(ramp))
  ours = np.asarray(Image.open(enlarge(folder / 'text.png')))
  cut = np.asarray(Image.open(enlarge(folder / 'figure.png'))) / 255
  plain = bicubic(figure)
  coarse = np.asarray(
    Image.open(enlarge(folder / 'ramp.png', '--bit_depth=8')).convert('L')
  )
  fine = imagecodecs.png_decode(enlarge(folder / 'ramp.png').read_bytes())
  return [
    row_of([('text, bicubic', bicubic(text)), ('text, fast', ours / 255)]),
    row_of(
      [
        ('cut-out, bicubic, on dark', over(plain, _DARK)),
        ('fast', over(cut, _DARK)),
        ('bicubic, on light', over(plain, _LIGHT)),
        ('fast', over(cut, _LIGHT)),
      ]
    ),
    row_of(
      [
        (
          f'16-bit gradient, contrast x{_STRETCH}, written with 8 bits',
          stretched(coarse, 255),
        ),
        ('with its own 16', stretched(fine, 65535)),
      ]
    ),
  ]


def main() -> None:
  with tempfile.TemporaryDirectory() as folder:
    drawn = rows(Path(folder))
  sheet = Image.new('RGB', (drawn[0].width, sum(r.height for r in drawn)))
  top = 0
  for row in drawn:
    sheet.paste(row, (0, top))
    top += row.height
  sheet.save(
    ROOT / 'docs' / 'pictures' / 'formats.jpg', quality=90, subsampling=0
  )


if __name__ == '__main__':
  main()
