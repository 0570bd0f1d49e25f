"""The test images of an evaluation: data set x scale x degradation.

A case knows its files' digest and sizes from the start, and loads its pixels
only when its turn comes, so that a folder of any length can be evaluated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zssr_jax.data import datasets, image_io, kernel_io
from zssr_jax.evaluation import protocols
from zssr_jax.ops import color, jpeg
from zssr_jax.ops.jpeg import Jpeg

# The low-resolution images and the kernel that come with the data set.
OWN = 'own'


class Pixels(NamedTuple):
  """What a method gets, and what it is measured against."""

  lr: np.ndarray  # float32 [h, w, C] in [0, 1], multiples of 1/255
  hr: np.ndarray  # float32 [H, W, C] in [0, 1]
  kernel: np.ndarray | None  # [kh, kw], the true one; None: bicubic
  details: dict[str, Any]  # what the degradation drew
  # White noise in image units; None: none, or not known to be white.
  noise_std: float | None = None
  jpeg: Jpeg | None = None  # what the LR file says; None: not a JPEG


class Case(NamedTuple):
  """One image at one scale in one degradation."""

  dataset: str
  image: str
  of: int  # images the data set has
  scale: float
  degradation: str
  degradation_seed: int
  pair: datasets.Pair
  digest: str  # of the pixels and the kernel
  lr_shape: tuple[int, ...]
  kernel: np.ndarray | None
  details: dict[str, Any]
  root: Path  # the data root
  noise_std: float | None = None  # these two as in `Pixels`
  jpeg: Jpeg | None = None

  @property
  def compression(self) -> Jpeg | None:
    """How it was compressed, also where its file does not say; None: not."""
    quality = self.details.get('quality')
    if self.jpeg is not None or quality is None:
      return self.jpeg
    return jpeg.of_quality(quality)

  def load(self) -> Pixels:
    """Reads or makes the pixels."""
    return _load(
      self.root, self.pair, self.scale, self.degradation, self.degradation_seed
    )


# Takes the file of an image that cannot be used, and why.
Failed = Callable[[Path, Exception], None]


def _load(
  root: Path, pair: datasets.Pair, scale: float, degradation: str, seed: int
) -> Pixels:
  hr = image_io.read_image(pair.hr)
  if degradation == OWN:
    assert pair.lr is not None
    kernel = None if pair.kernel is None else kernel_io.read_kernel(pair.kernel)
    lr = image_io.read_image(pair.lr)
    return Pixels(lr, hr, kernel, {}, jpeg=image_io.read_jpeg(pair.lr))
  made = protocols.degrade(
    degradation,
    color.to_uint8(hr),
    scale,
    image_name=pair.name,
    seed=seed,
    data=root,
  )
  top, left = made.corner
  lr = made.lr.astype(np.float32) / np.float32(255)
  return Pixels(
    lr=lr,
    hr=hr[top:, left:],
    kernel=made.kernel,
    details=made.details,
    noise_std=made.noise_std,
    jpeg=made.jpeg,
  )


def _digest(pixels: Pixels) -> str:
  digest = hashlib.sha256()
  for array in (pixels.lr, pixels.hr, pixels.kernel):
    if array is not None:
      digest.update(repr(array.shape).encode())
      digest.update(np.ascontiguousarray(array, np.float32).tobytes())
  return digest.hexdigest()[:16]


def find_cases(
  root: Path,
  dataset: str,
  scale: float,
  degradation: str = OWN,
  *,
  seed: int = 0,
  limit: int | None = None,
  failed: Failed | None = None,
) -> list[Case]:
  """Lists the cases of a data set.

  Args:
    root: the data root.
    dataset: a folder of it, or the path of a folder elsewhere.
    scale: HR pixels per LR pixel.
    degradation: `own` for the data set's LR images (MATLAB's bicubic is
      applied where it has none), or a name of `protocols`.
    seed: of what the degradation draws.
    limit: the first so many images only.
    failed: called with the file of an image that cannot be used, and why;
      None: it ends all.

  Raises:
    OSError, ValueError: see `datasets.pairs` and `protocols.degrade`, in one
      line; also where no image can be used.
  """
  own = degradation == OWN
  pairs = datasets.pairs(root, dataset, scale, with_lr=own)
  cases: list[Case] = []
  chosen = pairs[:limit]
  for pair in chosen:
    # Where there are no LR images, `own` has nothing but the HR ones.
    name = 'ideal' if own and pair.lr is None else degradation
    try:
      pixels = _load(root, pair, scale, name, seed)
    except (OSError, ValueError) as error:
      if failed is None or (pair is chosen[-1] and not cases):
        raise
      failed(pair.hr, error)
      continue
    cases.append(
      Case(
        dataset=Path(dataset).name,
        image=pair.name,
        of=len(pairs),
        scale=scale,
        degradation=name,
        degradation_seed=seed,
        pair=pair,
        digest=_digest(pixels),
        lr_shape=pixels.lr.shape,
        kernel=pixels.kernel,
        details=pixels.details,
        root=root,
        noise_std=pixels.noise_std,
        jpeg=pixels.jpeg,
      )
    )
  return cases


def find_all(
  root: Path,
  names: Sequence[str],
  scales: Sequence[float],
  degradation: Sequence[str],
  *,
  seed: int = 0,
  limit: int | None = None,
  failed: Failed | None = None,
) -> list[Case]:
  """Calls `find_cases` for every combination, in this order."""
  return [
    case
    for name in names
    for scale in scales
    for kind in degradation
    for case in find_cases(
      root, name, scale, kind, seed=seed, limit=limit, failed=failed
    )
  ]
