"""Every setting of one super-resolution run, in one frozen, hashable record.

A `Config` says how to train and infer. `presets` holds those that are shipped,
`bin/main.py` overrides fields from the command line, and `train_image` takes
one as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from zssr_jax.fields import (
  attributes,
  check,
  checked,
  describe,
  one_of,
  ranged,
  switch,
)
from zssr_jax.registry import ESTIMATORS, LOSSES, MODELS

KERNELS = ('bicubic', 'given', 'auto', *ESTIMATORS)
SCHEDULES = ('plateau', 'cosine', 'constant')
OPTIMIZERS = ('adam', 'muon', 'sgd')
ENSEMBLES = ('median', 'mean')
CONSISTENCIES = ('least_squares', 'back_projection', 'none')
BORDERS = ('replicate', 'symmetric')


def _read_start(value: Any) -> str:
  if not isinstance(value, str) or not value:
    raise ValueError('must be random, transferred or a file')
  return value


def _read_losses(value: Any) -> tuple[tuple[str, float], ...]:
  if isinstance(value, Mapping):
    value = value.items()
  try:
    losses = tuple((str(name), float(weight)) for name, weight in value)
    good = all(0 <= weight <= 1000 for _, weight in losses)
  except (TypeError, ValueError):
    good = False
  if not good:
    raise ValueError('must hold pairs of a loss and a weight in [0, 1000]')
  names = [name for name, _ in losses]
  if len(set(names)) < len(names) or not all(n in LOSSES for n in names):
    raise ValueError(f'must name each of {", ".join(LOSSES)} once at most')
  return losses


def _read_layers(value: Any) -> tuple[tuple[str, float], ...]:
  try:
    layers = tuple((layer, float(weight)) for layer, weight in value)
  except (TypeError, ValueError):
    layers = ()
  if not layers or not all(
    isinstance(layer, str) and 0 <= weight <= 1000 for layer, weight in layers
  ):
    raise ValueError(
      'must hold pairs of a layer of VGG16 and a weight in [0, 1000]'
    )
  return layers


def _read_gradual(value: Any) -> tuple[tuple[float, float], ...]:
  try:
    pairs = tuple((float(y), float(x)) for y, x in value)
    good = all(0 <= share <= 1 for pair in pairs for share in pair)
  except (TypeError, ValueError):
    good = False
  if not good:
    raise ValueError('must hold pairs (y, x) of shares in [0, 1]')
  if pairs and pairs[-1] != (1.0, 1.0):
    raise ValueError('must end with the stage (1, 1)')
  return pairs


def _read_copies(value: Any) -> int:
  if isinstance(value, bool) or value not in (0, 1, 2, 4, 8):
    raise ValueError('must be 0, 1, 2, 4 or 8')
  return int(value)


@dataclasses.dataclass(frozen=True)
class Config:
  """Settings of one run. Section numbers refer to the ZSSR paper."""

  model: str = one_of(
    'zssr',
    MODELS,
    "'zssr' works at output resolution, 'pixel_shuffle' and 'transposed' at LR"
    " resolution; 'vdsr_backbone' is 'zssr' on top of a trained, frozen VDSR",
    group='The network (section 3.1)',
  )
  depth: int = ranged(8, 2, 64, 'convolution layers')
  width: int = ranged(64, 1, 1024, 'channels of the hidden layers')
  init_gain: float = ranged(
    1.0, 0.0, 4.0, 'variance x fan-in of initial weights; the paper has 0.1'
  )
  start: str = checked(
    'random',
    _read_start,
    "'random', 'transferred' or a file",
    "'random' is zero-shot; 'transferred' was trained on other images and comes"
    ' with the package; a file is one of bin/train_backbone',
  )
  start_steps: int = ranged(
    -1, -1, 10_000_000, 'max_steps where start is not random; -1: the same'
  )
  start_rate: float = ranged(
    0.0, 0.0, 10.0, 'learning_rate where start is not random; 0: the same'
  )

  kernel: str = one_of(
    'bicubic',
    KERNELS,
    "what blurred the image, when no kernel is passed: 'given' makes that an"
    " error, 'auto' tells no blur, a Gaussian, a disc (defocus) and a line"
    " (motion) from each other, the others but for 'bicubic' find one kernel",
    group='The degradation that makes a son of a father (section 3.2)',
  )
  automatic: bool = switch(
    False,
    'whether noise and compression are found in the image, too, and how it is'
    ' trained follows from what is found',
  )
  find_jpeg: bool = switch(
    True,
    'with automatic: whether traces of JPEG are looked for in the pixels, when'
    ' no tables are passed',
  )
  find_shake: bool = switch(
    True,
    "with kernel 'auto': whether a network, trained on other images, looks for"
    ' the kernel where neither Gaussian, disc nor line explains the blur',
  )
  center_kernel: bool = switch(
    False, 'whether to shift the kernel to the aligned centre first'
  )
  undo_blur: bool = switch(
    True,
    'whether a kernel, unless it is learnt along, is undone by a Wiener filter'
    ' at the resolution of the input, before the network',
  )
  noise_std: float = ranged(
    0.0,
    0.0,
    1.0,
    'standard deviation of the Gaussian noise on the sons',
    unit='of the image range',
  )
  estimate_noise: float = ranged(
    0.0,
    0.0,
    10.0,
    "above 0, the noise on the sons is this factor x the input's own, but"
    ' from noise_std to 0.1',
  )
  border: str = one_of(
    'replicate',
    BORDERS,
    "what bicubic downscaling sees beyond an edge: 'replicate' as old MATLAB,"
    " 'symmetric' as MATLAB today",
  )

  crop: int = ranged(
    128,
    8,
    4096,
    'side of the father crop, at most',
    unit='pixels',
    group='The pool of HR fathers and the draw (section 3.1)',
  )
  crop_fraction: float = ranged(
    0.75,
    0.0625,
    1.0,
    "the same as a share of the largest father's shorter side, at most",
  )
  batch: int = ranged(
    1,
    0,
    1024,
    'crops per step; 0: as many as have the pixels of one crop at scale 2 in'
    ' their sons, and crops in proportion to the factor of a gradual stage',
  )
  min_father_scale: float = ranged(
    0.5, 0.1, 1.0, 'side of the smallest father, relative to the input'
  )
  father_step: float = ranged(
    2 ** (-1 / 6), 0.1, 0.99, 'ratio between the sides of neighbouring fathers'
  )
  father_exponent: float = ranged(
    1.0, -10.0, 10.0, 'P(father) is proportional to (side ratio) ** exponent'
  )
  pool: float = ranged(
    2.0,
    0.1,
    10_000.0,
    'of an image for whose fathers this is too little, parts are trained on,'
    ' those with most structure',
    unit='megapixels',
  )
  dihedral: bool = switch(True, 'whether to draw of 4 rotations x mirror')
  affine: float = ranged(
    0.0, 0.0, 1.0, 'share of draws that get a random affine warp'
  )
  affine_min_scale: float = ranged(0.5, 0.1, 1.0, 'smallest scale of the warp')
  affine_aspect_std: float = ranged(
    0.25, 0.0, 1.0, 'standard deviation of the x/y scale difference'
  )
  affine_shear_std: float = ranged(
    0.1, 0.0, 1.0, 'standard deviation of the shear'
  )

  losses: tuple[tuple[str, float], ...] = checked(
    (('l1', 1.0),),
    _read_losses,
    'pairs of str and float, 0 to 1,000',
    "what is minimised, with weights; 'l1' is the paper's, 'luma' that of the"
    " luma alone, which tables score (of other than RGB images: 'l1'), 'l2' the"
    " mean square, 'sum' half the sum of squares, 'content' the L1 distances"
    ' between the feature maps that VGG16 has of the father and of what the'
    ' network makes of its son',
    group='The losses (section 3.1)',
  )
  content_layers: tuple[tuple[str, float], ...] = checked(
    (('relu1_2', 1.0), ('relu2_2', 1.0), ('relu3_3', 1.0)),
    _read_layers,
    'pairs of str and float, 0 to 1,000',
    'layers of VGG16 with their weights in the content loss',
  )

  max_steps: int = ranged(
    3000,
    0,
    10_000_000,
    'steps of a network at each gradual stage, at most',
    group='Optimisation (section 3.1)',
  )
  learning_rate: float = ranged(1e-3, 0.0, 10.0, 'the highest rate')
  warmup: int = ranged(
    0,
    0,
    1_000_000,
    'time over which the rate rises linearly from 0',
    unit='steps',
  )
  min_learning_rate: float = ranged(
    9e-6, 0.0, 10.0, 'a plateau run stops below this rate'
  )
  optimizer: str = one_of(
    'adam',
    OPTIMIZERS,
    "'adam' is the paper's; 'muon' learns the same in a fraction of the steps;"
    " 'sgd' is the plain one, by which MZSR adapts",
  )
  schedule: str = one_of(
    'plateau',
    SCHEDULES,
    "'plateau' drops the rate when the reconstruction error has stopped"
    " falling, as the paper does; 'cosine' lowers it to 0 at max_steps",
  )
  min_steps: int = ranged(
    256, 0, 10_000_000, 'plateau: least time between drops', unit='steps'
  )
  check_every: int = ranged(
    60, 1, 1_000_000, 'plateau: time between two looks', unit='steps'
  )
  measure_every: int = ranged(
    50,
    1,
    1_000_000,
    'time between two measurements of the reconstruction error',
    unit='steps',
  )
  patience: int = ranged(
    0,
    0,
    1_000_000,
    'a stage ends early after so many reconstruction errors without a new'
    ' lowest; 0: never',
  )
  plateau_window: int = ranged(
    5, 3, 1000, 'plateau: reconstruction errors in the line fit'
  )
  plateau_slope_factor: float = ranged(
    1.5, 0.0, 1000.0, "plateau: drop when -factor x slope < the slope's error"
  )
  plateau_ddof: int = ranged(
    4,
    0,
    999,
    "plateau: degrees of freedom that the slope's error subtracts, fewer than"
    " plateau_window; 4 as NumPy before 1.16, published numbers, 2 as today's",
  )
  weight_average: float = ranged(
    0.0, 0.0, 0.99999, 'decay of the averaged weights; 0: they are not averaged'
  )
  networks: int = ranged(
    1,
    1,
    64,
    'networks trained on each stage, from other random numbers; the result of'
    ' the stage is the mean of theirs',
  )

  gradual: tuple[tuple[float, float], ...] = checked(
    (),
    _read_gradual,
    'pairs of float, 0 to 1',
    'the stages, as pairs (y, x) of the share of the way from 1 to the scale,'
    ' ending with (1, 1); () is one jump',
    group='Gradual scales (section 3.3)',
  )
  latest: int = ranged(
    0, 0, 1000, 'how many earlier results are fathers, the last; 0: all'
  )

  copies: int = checked(
    8,
    _read_copies,
    'int, 0, 1, 2, 4 or 8',
    'geometric copies of the image that the network runs on; 0: 8 of an image'
    ' of up to 1 megapixel, 4 of one up to 4, 2 of a larger one',
    group='Inference (section 3.1)',
  )
  ensemble: str = one_of(
    'median',
    ENSEMBLES,
    "what is taken of the copies' results; the paper has 'median'",
  )
  consistency: str = one_of(
    'least_squares',
    CONSISTENCIES,
    "what makes a result explain the input: 'least_squares', conjugate"
    ' gradients that the noise stops, on the ensemble;'
    " 'back_projection', the paper's, on each copy and on the ensemble;"
    " 'none'",
  )
  back_projection: int = ranged(10, 0, 1000, 'iterations of either, at most')
  tile: int = ranged(
    256, 32, 8192, 'side of an inference tile', unit='pixels of the input'
  )

  def __post_init__(self):
    """Raises ValueError, naming the field, when a value makes no sense."""
    check(self, 'config')
    if self.plateau_ddof >= self.plateau_window:
      raise ValueError(
        f'config.plateau_ddof must lie in [0, {self.plateau_window - 1}],'
        f' not {self.plateau_ddof}'
      )

  def __repr__(self) -> str:
    return describe(self)

  @property
  def in_force(self) -> Config:
    """A copy whose max_steps and learning_rate are those of its start."""
    if self.start == 'random':
      return self.replace(start_steps=-1, start_rate=0.0)
    return self.replace(
      max_steps=self.max_steps if self.start_steps < 0 else self.start_steps,
      learning_rate=self.start_rate or self.learning_rate,
      start_steps=-1,
      start_rate=0.0,
    )

  def replace(self, **changes: Any) -> Config:
    """Returns a copy with the named fields changed."""
    return dataclasses.replace(self, **changes)


Config.__doc__ = f'{Config.__doc__}\n\n{attributes(Config)}'
