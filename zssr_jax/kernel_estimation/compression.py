"""Whether the pixels of an image once were a JPEG file, and which.

Decoded coefficients of the 8x8 DCT are multiples of the quantiser's step, but
for the rounding of the pixels, on one of the 64 possible block grids. That is
tested by likelihood for every grid and step (after Neelamani et al., "JPEG
Compression History Estimation for Color Images", IEEE TIP 2006). Only
coefficients that are not rounded to zero count as evidence: in smooth pictures
they are near zero without any compression. NumPy, host only.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import scipy  # loads its parts when they are first used

from zssr_jax.ops import jpeg

_BLOCK = jpeg.BLOCK
_COEFFICIENTS = _BLOCK * _BLOCK
_WINDOW = 2 * _BLOCK - 1  # holds a block of every grid
_MOST = 1024  # windows that are looked at
_CANDIDATES = 4096  # ... the most textured of so many
_STEPS = 255  # 8 bits in the file
_RESOLUTION = 6  # bins of the histogram per unit
_BINS = 256 * _RESOLUTION  # coefficients beyond are left out
_ROUNDING = 1 / np.sqrt(12)  # of pixels; the same in an orthonormal transform
_CHROMA_NOISE = 0.55  # rounding and its interpolation
_OUTLIERS = 0.05  # share of coefficients that may lie anywhere
# Coefficients of a frequency in one bin that count: a pattern that repeats
# makes the same value again and again, which is no new evidence.
_CAP = 4
# Evidence below which nothing is believed, in nats. Uncompressed images reach
# a few with tables of the library, 116 with free ones (squares of few colours).
_LEAST = 40.0
_LEAST_FREE = 200.0
_CLEAR = np.log(_STEPS) + 5  # of one frequency's step
_LEAST_CHROMA = 15.0  # the grid is known, and that there is compression
_LEAST_SAME = 8.0  # ... and the quality, too
_CHROMA_SIDE = 512  # pixels of the image that chroma is looked for in
_SAMPLINGS = ((1, 1), (2, 2), (1, 2), (2, 1))
_STANDARD = 50  # the quality whose tables are those of the standard


@dataclasses.dataclass(frozen=True)
class Found:
  """A compression found in pixels.

  Attributes:
    jpeg: tables and sampling. Where chroma did not tell, its table is that of
      the same quality and the sampling 4:2:0.
    offset: (y, x) of the first block's corner, each 0 to 7.
    quality: of the IJG's library; None for tables of another kind.
    evidence: log likelihood ratio against no compression, in nats.
  """

  jpeg: jpeg.Jpeg
  offset: tuple[int, int]
  quality: int | None
  evidence: float


def find(image: np.ndarray) -> Found | None:
  """Looks for traces of JPEG compression on any block grid.

  Args:
    image: `[H, W, C]` in [0, 1], 8-bit pixels. C = 3 is RGB; otherwise every
      channel is looked at like a luma.

  Returns:
    None where there is no clear sign, as in an image that was resized or made
    noisy after the compression, or one whose pixels are nearly all clipped.

  Raises:
    ValueError: unless the image is `[H, W, C]`, not empty.
  """
  if image.ndim != 3 or 0 in image.shape:
    raise ValueError(f'an image is [H, W, C], not {image.shape}')
  windows, usable = _windows(image)
  grids = [(y, x) for y in range(_BLOCK) for x in range(_BLOCK)]
  scores = np.stack(
    [_scores(_coefficients(windows, usable, grid)) for grid in grids]
  )
  by_quality = _of_qualities(scores, 0)
  family = by_quality.max(1)
  free = (scores.max(-1) - np.log(_STEPS)).clip(0).sum(-1)
  grid = int(family.argmax())
  if _stands_out(family, _LEAST) and family[grid] > free[grid] / 2:
    quality = int(by_quality[grid].argmax()) + 1
    found = _with_chroma(image, grids[grid], quality)
    return Found(found, grids[grid], quality, float(family[grid]))
  grid = int(free.argmax())
  if not _stands_out(free, _LEAST_FREE):
    return None
  found = _with_chroma(image, grids[grid], None, scores[grid])
  return Found(found, grids[grid], None, float(free[grid]))


def _stands_out(evidence: np.ndarray, least: float) -> bool:
  """Whether one grid of 64 has clear evidence and no other half as much.

  What is not due to blocks is there on other grids, too.
  """
  second, first = np.partition(evidence, -2)[-2:]
  return bool(first >= least and second <= first / 2)


def _windows(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Cuts out the luma where there is texture.

  Returns:
    Grey levels float32 `[N, 15, 15]`, whole numbers, and which of them can be
    used, bool: pixels within the image that are not clipped. A clipped pixel
    is no longer what was decoded.
  """
  height, width, channels = image.shape
  rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
  picked = np.arange(rows * columns)
  if len(picked) > _CANDIDATES:
    generator = np.random.default_rng(0)
    picked = generator.choice(len(picked), _CANDIDATES, replace=False)
  reach = np.arange(_WINDOW)
  y = picked[:, None] // columns * _BLOCK + reach
  x = picked[:, None] % columns * _BLOCK + reach
  inside = (y < height)[:, :, None] & (x < width)[:, None, :]
  y, x = np.minimum(y, height - 1), np.minimum(x, width - 1)
  levels = np.round(image[y[:, :, None], x[:, None, :]] * np.float32(255))
  usable = inside & ((levels > 0) & (levels < 255)).all(-1)
  if channels == 3:
    luma = ycc(levels)[0][None]
  else:
    luma = np.moveaxis(levels, -1, 0)
  luma = luma.reshape(-1, _WINDOW, _WINDOW)
  usable = np.broadcast_to(
    usable, (luma.shape[0] // len(usable), *usable.shape)
  )
  usable = usable.reshape(luma.shape)
  if len(luma) <= _MOST:
    return luma, usable
  both = usable[:, :, 1:] & usable[:, :, :-1]
  texture = (np.abs(np.diff(luma, axis=2)) * both).sum((1, 2))
  order = np.argsort(-texture, kind='stable')[:_MOST]
  return luma[order], usable[order]


def ycc(levels: np.ndarray) -> list[np.ndarray]:
  """Returns JFIF's Y, Cb, Cr of RGB grey levels `[..., 3]`, rounded.

  Rounding undoes the rounding of RGB: it shifts each by less than a half.
  """
  r, g, b = np.moveaxis(levels, -1, 0)
  y = 0.299 * r + 0.587 * g + 0.114 * b
  planes = (y, 128 + (b - y) / 1.772, 128 + (r - y) / 1.402)
  return [np.round(plane).astype(np.float32) for plane in planes]


@functools.cache
def _transform() -> np.ndarray:
  """The DCT of a block as one product: `[pixel, coefficient]`."""
  matrix = jpeg.dct_matrix()
  return np.kron(matrix, matrix).T.copy()


def _coefficients(
  windows: np.ndarray, usable: np.ndarray, offset: tuple[int, int]
) -> np.ndarray:
  """Transforms the blocks at (y, x) of windows: `[N, 64]`, natural order."""
  y, x = offset
  cut = (slice(None), slice(y, y + _BLOCK), slice(x, x + _BLOCK))
  kept = usable[cut].all((1, 2))
  blocks = windows[cut][kept].reshape(-1, _COEFFICIENTS)
  return (blocks - 128) @ _transform()


def _scores(coefficients: np.ndarray, noise: float = _ROUNDING) -> np.ndarray:
  """Log likelihood ratio of every step: float32 `[64, step - 1]`, 0 for DC."""
  bins = (np.abs(coefficients) * _RESOLUTION).astype(np.int32)
  kept = bins < _BINS
  kept[:, 0] = False  # the means of flat areas are multiples of 8
  flat = (bins + _BINS * np.arange(_COEFFICIENTS, dtype=np.int32))[kept]
  counts = np.bincount(flat, minlength=_COEFFICIENTS * _BINS)
  counts = np.minimum(counts, _CAP).reshape(_COEFFICIENTS, _BINS)
  return counts.astype(np.float32) @ _log_ratios(noise)


@functools.cache
def _log_ratios(noise: float) -> np.ndarray:
  """Log likelihood ratio of a coefficient's size: float32 `[bin, step - 1]`.

  Of "a multiple of the step, plus rounding" against a smooth distribution. In
  the bin around zero it is at most 0.
  """
  size = (np.arange(_BINS) + 0.5)[:, None] / _RESOLUTION
  step = np.arange(1, _STEPS + 1)
  nearest = np.round(size / step)
  density = np.zeros((_BINS, _STEPS))
  for other in range(-2, 3):  # neighbours overlap where the step is small
    rest = size - step * (nearest + other)
    density += np.exp(-0.5 * (rest / noise) ** 2)
  density *= step / (noise * np.sqrt(2 * np.pi))
  ratio = np.log((1 - _OUTLIERS) * density + _OUTLIERS)
  return np.where(nearest == 0, np.minimum(ratio, 0), ratio).astype(np.float32)


@functools.cache
def _family(plane: int) -> np.ndarray:
  """Steps of all qualities: int `[100, 64]`; plane 0 luma, 1 chroma."""
  return np.stack(
    [jpeg.of_quality(q).tables[plane].ravel() for q in range(1, 101)]
  ).astype(int)


def _of_qualities(scores: np.ndarray, plane: int) -> np.ndarray:
  """Adds up `[..., 64, step - 1]` to `[..., quality - 1]`."""
  return scores[..., np.arange(_COEFFICIENTS), _family(plane) - 1].sum(-1)


def _with_chroma(
  image: np.ndarray,
  offset: tuple[int, int],
  quality: int | None,
  scores: np.ndarray | None = None,
) -> jpeg.Jpeg:
  """Completes a luma table, of a quality or by `_scores`, by the chroma's."""
  factor = 1.0
  if quality is not None:
    tables = jpeg.of_quality(quality).tables
  else:
    assert scores is not None
    luma, factor = _free_table(scores)
    chroma = np.round(jpeg.of_quality(_STANDARD).tables[1] * factor)
    tables = np.stack([luma, np.clip(chroma, 1, _STEPS)])
  if image.shape[-1] != 3:
    return jpeg.Jpeg(tables.astype(np.float32), (1, 1))
  sampling, chroma_quality = _chroma(image, offset, quality)
  if chroma_quality is not None:
    tables = np.stack([tables[0], jpeg.of_quality(chroma_quality).tables[1]])
  return jpeg.Jpeg(tables.astype(np.float32), sampling)


def _free_table(scores: np.ndarray) -> tuple[np.ndarray, float]:
  """Chooses every step by itself, near a multiple of the standard's table.

  The standard's is all there is to go by where a frequency was emptied.

  Args:
    scores: of `_scores`, `[64, step - 1]`.

  Returns:
    The table `[8, 8]` and the multiple.
  """
  standard = jpeg.of_quality(_STANDARD).tables[0].ravel()
  clear = scores.max(1) > _CLEAR
  steps = scores.argmax(1) + 1
  ratio = (steps / standard)[clear if clear.any() else slice(None)]
  factor = float(np.median(ratio))
  expected = np.clip(standard * factor, 1, _STEPS)
  distance = np.log(np.arange(1, _STEPS + 1) / expected[:, None])
  steps = (scores - 0.5 * (distance / 0.35) ** 2).argmax(1) + 1
  return steps.reshape(_BLOCK, _BLOCK).astype(np.float32), factor


def _chroma(
  image: np.ndarray, offset: tuple[int, int], quality: int | None
) -> tuple[tuple[int, int], int | None]:
  """Finds sampling and quality of the chroma by the luma's grid.

  Args:
    image: `[H, W, 3]`.
    offset: of the luma's blocks.
    quality: of the luma, which the chroma's mostly is.

  Returns:
    The sampling, (2, 2) where the evidence is thin, and the quality, None
    where it is unknown.
  """
  levels = middle(image, offset, _CHROMA_SIDE)
  usable = np.all((levels > 0) & (levels < 255), axis=-1, keepdims=True)
  planes = ycc(levels)[1:]
  best: tuple[float, tuple[int, int], int | None] = (0.0, (2, 2), quality)
  for sampling in _SAMPLINGS:
    small = [shrunk(plane, sampling) for plane in planes]
    fit = shrunk(usable[..., 0].astype(np.float32), sampling, invert=False)
    # A block of halved chroma covers two of luma: either may be its first.
    starts = [(0, 4) if factor == 2 else (0,) for factor in sampling]
    for start in ((y, x) for y in starts[0] for x in starts[1]):
      kept = (blocks(fit, start) == 1).all(1)
      cut = [blocks(plane, start)[kept] for plane in small]
      scores = _scores(
        (np.concatenate(cut) - 128) @ _transform(), _CHROMA_NOISE
      )
      sums = _of_qualities(scores, 1)
      pick = int(sums.argmax())
      if quality is not None and sums[quality - 1] > sums[pick] - 5:
        pick = quality - 1
      same = quality is not None and pick == quality - 1
      least = _LEAST_SAME if same else _LEAST_CHROMA
      if sums[pick] > max(best[0], least):
        best = (float(sums[pick]), sampling, pick + 1)
  return best[1], best[2]


def middle(image: np.ndarray, offset: tuple[int, int], side: int) -> np.ndarray:
  """Cuts grey levels out of the middle of an image, from a block's corner on.

  Args:
    image: `[H, W, C]` in [0, 1].
    offset: (y, x) of the first block's corner.
    side: rows and columns at most.

  Returns:
    float32 `[h, w, C]`, whole numbers of 0 to 255.
  """
  cut = []
  for size, first in zip(image.shape[:2], offset, strict=True):
    start = first + max(0, size - side) // 2 // _BLOCK * _BLOCK
    cut.append(slice(start, start + side))
  levels = np.round(image[tuple(cut)] * np.float32(255))
  return np.clip(levels, 0, 255)


def blocks(plane: np.ndarray, start: tuple[int, int] = (0, 0)) -> np.ndarray:
  """Cuts `[H, W]` into whole blocks from a corner on: `[N, 64]`."""
  plane = plane[start[0] :, start[1] :]
  rows, columns = (n // _BLOCK for n in plane.shape)
  plane = plane[: rows * _BLOCK, : columns * _BLOCK]
  plane = plane.reshape(rows, _BLOCK, columns, _BLOCK).swapaxes(1, 2)
  return plane.reshape(-1, _COEFFICIENTS)


def shrunk(
  plane: np.ndarray, sampling: tuple[int, int], *, invert: bool = True
) -> np.ndarray:
  """Recovers the samples that a decoder interpolated a chroma plane from.

  The mean of two interpolated samples is (1, 6, 1) / 8 of the original ones
  around it, which is inverted.

  Args:
    plane: `[H, W]`.
    sampling: (y, x), each 1 or 2.
    invert: False leaves it at the means.

  Returns:
    `[H // y, W // x]`.
  """
  for axis, factor in enumerate(sampling):
    size = plane.shape[axis] // 2
    if factor == 1 or size == 0:
      continue
    lines = np.moveaxis(plane, axis, 0)[: 2 * size]
    lines = (lines[::2] + lines[1::2]) / 2
    if invert:
      bands = np.full((3, size), 1 / 8)
      bands[1] = 6 / 8
      bands[1, [0, -1]] += 1 / 8  # the border is repeated
      lines = scipy.linalg.solve_banded((1, 1), bands, lines)
    plane = np.moveaxis(lines, 0, axis).astype(np.float32)
  return plane


def transformed(plane: np.ndarray) -> np.ndarray:
  """Returns the DCT of the whole blocks of grey levels `[H, W]`: `[N, 64]`."""
  return (blocks(plane) - 128) @ _transform()
