"""A photo in, a larger one out: `super_resolve`, and what comes of it.

Files, images of Pillow's and arrays alike. `super_resolution.train_image` is
the same for arrays in [0, 1] alone, with every setting.
"""

from __future__ import annotations

import dataclasses
import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from zssr_jax import (
  checks,
  compile_cache,
  display,
  forecast,
  inference,
  pictures,
  presets,
  saved_upscaler,
  sources,
  super_resolution,
)
from zssr_jax.config import Config
from zssr_jax.data import files, image_io, kernel_io, names, photo
from zssr_jax.degradation import Degradation
from zssr_jax.errors import InputError
from zssr_jax.ops import color, resize
from zssr_jax.ops.resize import Scale
from zssr_jax.parallel import devices
from zssr_jax.pictures import Picture
from zssr_jax.sources import Source
from zssr_jax.super_resolution import Kernel, Result
from zssr_jax.training.loop import Progress

# A function of one's own; None: where a terminal or a notebook shows it.
Reporter = Callable[[Progress], None] | bool | None

_SHOWN = 1024  # pixels of the longer side of what a notebook shows
_HELD = 5  # bytes of each sample of the output: as float, and as it is saved


def super_resolve(
  source: Any,
  scale: Scale = 2,
  *,
  config: Config | str = 'auto',
  kernel: Kernel | str | os.PathLike[str] | None = None,
  degradation: Degradation | None = None,
  start: Any = None,
  layout: str | None = None,
  page: int | None = None,
  seed: int = 0,
  progress: Reporter = None,
) -> Enlarged:
  """Enlarges a photo by networks that are trained on it.

  Args:
    source: one of

      - a path, `FILE` or `FILE[PAGE]`: read as the command line reads it, with
        alpha, bits, profile, EXIF and, where the config is automatic, a JPEG's
        own tables;
      - an image of Pillow's: upright, with its alpha, profile, EXIF, XMP, dpi;
      - an array of NumPy, JAX or torch, `[H, W, C]` or `[H, W]`, of uint8,
        uint16 or floats in [0, 1]. All of its channels are bands, none alpha.

      Of three bands or more the first three are trained on, else the first;
      the others, and alpha, are enlarged by the same network.
    scale: upscaling factor, a number or a pair (y, x), each from 1 to 16.
    config: a config or the name of a shipped one, see `load_config`.
    kernel: what blurred the photo, as in `train_image`, or a file of it.
    degradation: what is known of it, as in `train_image`.
    start: parameters to start from, as in `train_image`.
    layout: of an array of three axes, 'HWC' or 'CHW'; None is the first.
    page: which of several frames or pages of a file, from 1.
    seed: of all random numbers; the same one gives the same result.
    progress: called as in `train_image`. None: a bar on stderr where that is a
      terminal, a line in a notebook; False: nothing is shown; True: lines on
      stderr where it is neither.

  Returns:
    The enlarged photo.

  Raises:
    ValueError: with one line that says what is wrong and what to do; an
      `InputError` where that is the source.
    OSError: when the file of a start is missing or cannot be read.
  """
  compile_cache.use_compile_cache()
  config, factors = presets.config_of(config), checks.check_scale(scale)
  if isinstance(kernel, (str, os.PathLike)):
    kernel = kernel_io.read_kernel(kernel)
  with display.shown(progress, sources.name_of(source)) as report:
    tracker = forecast.Tracker(report, forecast.PHASES[:-1])
    tracker.enter('read')
    known = degradation or Degradation(factors)
    wanted = config.automatic and known.jpeg is None
    found = sources.read(source, layout, page, tables=wanted)
    picture = found.picture
    _check_room(picture, factors, config)
    if wanted:
      known = known.replace(jpeg=found.jpeg)
    made = _canvas(picture, factors)

    def paint(first: int, rows: np.ndarray) -> None:
      made[first : first + len(rows)] = rows

    run = super_resolution.run_image(
      picture.image,
      scale,
      kernel=kernel,
      degradation=known,
      config=config,
      start=start,
      planes=picture.planes,
      rows=paint,
      key=jax.random.key(seed),
      tracker=tracker,
    )
    result = devices.drive(run, tracker.trained)
  count = picture.image.shape[2]
  result = dataclasses.replace(
    result,
    image=made[..., :count],
    planes=None if picture.planes is None else made[..., count:],
  )
  return Enlarged(made, Upscaler.of(result), result, found, progress)


def load_upscaler(path: str | os.PathLike[str]) -> Upscaler:
  """Reads what `Upscaler.save` wrote; runs nothing that a file holds.

  Args:
    path: the file.

  Raises:
    InputError: when it is damaged or holds something else; one line.
    OSError: when it is missing or cannot be read.
  """
  return Upscaler(*saved_upscaler.load(path))


def _canvas(picture: Picture, factors: tuple[float, float]) -> np.ndarray:
  """Makes room for an enlarged picture, image and planes."""
  beside = 0 if picture.planes is None else picture.planes.shape[2]
  shape = resize.scaled_shape(picture.image.shape, factors)
  return np.empty((*shape, picture.image.shape[2] + beside), np.float32)


def _check_room(
  picture: Picture, factors: tuple[float, float], config: Config
) -> None:
  """Refuses what would take more memory than there is."""
  shape = picture.photo.colour.shape
  settled = inference.settle(config.in_force, shape)
  forecast.check_memory(
    picture.photo.name,
    forecast.bytes_of(shape, factors, settled, held=_HELD),
    'choose a smaller scale, or let the command line write a TIFF piece by'
    ' piece',
  )


class Upscaler:
  """Networks that were trained on one photo, ready for others.

  Those must have been degraded as it was: by the same camera, lens, settings,
  and program.
  """

  def __init__(self, trained: inference.Upscaler, channels: int):
    """Takes what was trained; see `of` and `load_upscaler`.

    Args:
      trained: networks, and how their results are put together.
      channels: of the image that they were trained on.
    """
    self._trained, self._channels = trained, channels

  @classmethod
  def of(cls, result: Result) -> Upscaler:
    """Returns that of a `train_image`.

    Raises:
      ValueError: when the result was stripped of it.
    """
    if result.upscaler is None:
      raise ValueError('this result holds no networks')
    return cls(result.upscaler, result.image.shape[2])

  @property
  def scale(self) -> tuple[float, float]:
    """Upscaling factors (y, x)."""
    return self._trained.scale

  @property
  def config(self) -> Config:
    """By which the networks were trained."""
    return self._trained.config

  @property
  def degradation(self) -> Degradation:
    """What the networks undo; of several the first one's."""
    return self._trained.members[0].degradation

  def __call__(
    self,
    source: Any,
    *,
    layout: str | None = None,
    page: int | None = None,
    progress: Reporter = None,
  ) -> Enlarged:
    """Enlarges another image, without training.

    An image of other channels than the one that was trained on is enlarged
    band by band, each as a grey image.

    Args:
      source: as in `super_resolve`.
      layout: as in `super_resolve`.
      page: as in `super_resolve`.
      progress: as in `super_resolve`.

    Returns:
      The enlarged image; its `result` is None.

    Raises:
      InputError: when the source cannot be used; one line.
    """
    compile_cache.use_compile_cache()
    with display.shown(progress, sources.name_of(source)) as report:
      tracker = forecast.Tracker(report, ('read', 'infer'))
      tracker.enter('read')
      found = sources.read(source, layout, page)
      _check_room(found.picture, self.scale, self.config)
      tracker.expect(self._expect(found.picture.image.shape))
      tracker.enter('infer')
      made = self._enlarge(found.picture, tracker.at)
      tracker.enter('write')  # which this run has not: it is over
    return Enlarged(made, self, None, found, progress)

  def _expect(self, shape: tuple[int, ...]) -> dict[str, float]:
    """Estimates how long the phases take."""
    trained = self._trained
    flops = forecast.flops_of(trained.model, self.scale, self._channels)
    side = self.config.crop  # of the training, which there is none of
    return forecast.seconds_of(
      shape, self.scale, self.config, side=side, flops=flops
    )

  def _enlarge(
    self, picture: Picture, report: Callable[[float], None]
  ) -> np.ndarray:
    """Returns image and planes, enlarged."""
    image, planes = picture.image, picture.planes
    made = _canvas(picture, self.scale)
    if image.shape[2] == self._channels:

      def paint(first: int, rows: np.ndarray) -> None:
        made[first : first + len(rows)] = rows

      fitted = inference.fit(self._trained, image)
      super_resolution.enlarge(fitted, image, planes, paint, report)
      return made
    bands = image if planes is None else np.concatenate([image, planes], 2)
    for i in range(bands.shape[2]):
      band = bands[..., i : i + 1]
      grey = np.broadcast_to(band, (*band.shape[:2], self._channels))
      made[..., i] = inference.enlarge(self._trained, grey).mean(2)
      report((i + 1) / bands.shape[2])
    return made

  def save(self, path: str | os.PathLike[str]) -> None:
    """Writes it as a `.safetensors` file, for `load_upscaler`.

    Args:
      path: the file; an existing one is replaced.

    Raises:
      InputError: for a network of your own.
      OSError: when the file cannot be written.
    """
    saved_upscaler.save(path, self._trained, self._channels)

  def __repr__(self) -> str:
    """What it does, in a line."""
    y, x = self.scale
    kernel = self.degradation.kernel
    blur = 'bicubic' if kernel is None else 'x'.join(map(str, kernel.shape))
    count = len(self._trained.members)
    return (
      f'Upscaler(scale (y, x) ({y:g}, {x:g}), kernel {blur}, {count}'
      f' {self.config.model} network{"s" if count > 1 else ""})'
    )


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Enlarged:
  """An enlarged photo; a notebook shows it.

  Attributes:
    image: float32 `[H', W', C]` in [0, 1]: the bands of the source, then alpha
      where the source has one that is not opaque throughout. Of a photo whose
      numbers lie outside of [0, 1], 0 and 1 are its lowest and its highest.
    upscaler: what made it, for other images.
    result: of the training, with all that was found; None without training.
  """

  image: np.ndarray
  upscaler: Upscaler
  result: Result | None
  _source: Source
  _progress: Reporter = None

  @property
  def said(self) -> str:
    """What an automatic config found and did, in one line; else empty."""
    return self.result.said if self.result else ''

  @property
  def warning(self) -> str | None:
    """What had to be given up, in one line; None as a rule."""
    return '; '.join(self.result.warnings) or None if self.result else None

  @property
  def notes(self) -> tuple[str, ...]:
    """What of the source was converted or left out, in a line each."""
    return self._source.picture.photo.notes

  def save(
    self,
    path: str | os.PathLike[str],
    quality: int | None = None,
    bit_depth: int | None = None,
  ) -> None:
    """Writes it as the command line writes it, whole or not at all.

    A warning says what of the source's file this kind of file cannot hold.

    Args:
      path: its suffix chooses the format: .png, .jpg or .tif. An existing file
        is replaced; a missing folder is made.
      quality: of a JPEG, 1 to 100, without it 95.
      bit_depth: 8, 16 or 32; None: that of the source, and of an array of
        floats 8, in a TIFF 32.

    Raises:
      InputError: when such a file cannot hold what there is; one line.
      OSError: when it cannot be written.
    """
    path = Path(path).expanduser()
    container = names.container_of(path)
    if container is None:
      raise InputError(
        f'{path}: the suffix chooses the format; take one of'
        f' {", ".join(names.SUFFIXES.values())}'
      )
    if quality is not None and container != 'JPEG':
      raise InputError(f'{path}: only a JPEG has a quality; leave it out')
    if bit_depth not in (None, 8, 16, 32):
      raise InputError(f'bit_depth is 8, 16 or 32, not {bit_depth!r}')
    if bit_depth is None and self._source.is_float:
      bit_depth = 32 if container == 'TIFF' else 8
    picture = self._source.picture
    with display.shown(self._progress, path.stem) as report:
      tracker = forecast.Tracker(report, ('write',))
      tracker.expect({'write': 1e-6 * self.image.size})
      tracker.enter('write')
      canvas = pictures.Canvas(
        picture,
        self.upscaler.scale,
        container=container,
        bits=None if bit_depth is None else str(bit_depth),
        quality=quality,
        folder=path.parent,
      )
      canvas.paint(0, self.image)
      path.parent.mkdir(parents=True, exist_ok=True)
      files.write_files({path: canvas.save})
      tracker.at(1.0)
    for note in photo.left_out(picture.photo, container):
      warnings.warn(f'{path}: {note}', stacklevel=2)

  def _repr_png_(self) -> bytes:
    """The picture for a notebook, shrunk where it is large."""
    found = self._source.picture.photo
    count = pictures.channels(found.colour.shape[-1])
    step = max(1, max(self.image.shape[:2]) // (2 * _SHOWN))
    thinned = self.image[::step, ::step]
    bands = thinned[..., :count]
    if thinned.shape[2] > found.colour.shape[-1]:  # alpha, the last
      bands = np.concatenate([bands, thinned[..., -1:]], 2)
    shown = image_io.to_pillow(color.to_uint8(bands))
    shown.thumbnail((_SHOWN, _SHOWN))
    stream = io.BytesIO()
    profile = {'icc_profile': found.icc} if found.icc else {}
    shown.save(stream, 'PNG', **profile)
    return stream.getvalue()

  def __repr__(self) -> str:
    """Its size, and what was found, in a line or two."""
    y, x, bands = self.image.shape
    plural = '' if bands == 1 else 's'
    said = f',\n  {self.said}' if self.said else ''
    return (
      f'Enlarged({self._source.name}, {x}x{y} pixels (width x height), {bands}'
      f' band{plural}{said})'
    )
