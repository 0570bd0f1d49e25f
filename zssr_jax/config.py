"""Every setting of one super-resolution run, in one frozen, hashable record.

A `Config` says how to train and infer; it never names files. The files in
`configs/` each build one, `bin/main.py` overrides fields from the command
line, and `train_image` takes it as it is.
"""

from __future__ import annotations

import dataclasses
from typing import Any

MODELS = ('zssr', 'pixel_shuffle', 'transposed', 'vdsr_backbone')
KERNELS = ('bicubic', 'given', 'estimate', 'recurrence', 'kernelgan', 'joint')
SCHEDULES = ('plateau', 'cosine', 'constant')
OPTIMIZERS = ('adam', 'sgd')
ENSEMBLES = ('median', 'mean')
BORDERS = ('replicate', 'symmetric')


@dataclasses.dataclass(frozen=True)
class Config:
  """Settings of one run. Section numbers refer to the ZSSR paper."""

  # The network (section 3.1).
  # 'zssr' (at output resolution) | 'pixel_shuffle', 'transposed' (at LR
  # resolution) | 'vdsr_backbone' ('zssr' on top of a trained, frozen VDSR)
  model: str = 'zssr'
  depth: int = 8  # convolution layers
  width: int = 64  # channels of the hidden layers
  init_gain: float = 1.0  # variance x fan-in of initial weights; paper: 0.1
  # 'random' (zero-shot), 'transferred' (trained on other images, comes with
  # the package), or a file of bin/train_backbone. `train_image` takes it
  # loaded, as `start`.
  start: str = 'random'
  # In place of max_steps and learning_rate where start is not random.
  start_steps: int = -1  # -1: max_steps
  start_rate: float = 0.0  # 0: learning_rate

  # The degradation that makes a son of a father (section 3.2).
  kernel: str = 'bicubic'  # when none is passed: 'bicubic', 'given' (an
  # error), or estimated: 'estimate', 'recurrence', 'kernelgan', 'joint'
  center_kernel: bool = False  # shift the kernel to the aligned centre first
  noise_std: float = 0.0  # Gaussian noise on the sons, image range [0, 1]
  # Above 0: this factor x the input's noise level, from noise_std to 0.1.
  estimate_noise: float = 0.0
  border: str = 'replicate'  # 'replicate' (old MATLAB) | 'symmetric'

  # The pool of HR fathers and the draw (section 3.1).
  crop: int = 128  # side of the father crop in pixels, at most
  crop_fraction: float = 0.75  # ... and of the largest father's shorter side
  batch: int = 1  # crops per step
  min_father_scale: float = 0.5  # the smallest father, relative to the input
  father_step: float = 2 ** (-1 / 6)  # ratio between neighbouring fathers
  father_exponent: float = 1.0  # P(father) ~ (side ratio) ** exponent
  dihedral: bool = True  # the 4 rotations x mirror
  affine: float = 0.0  # share of draws that get a random affine warp
  affine_min_scale: float = 0.5  # smallest scale of the warp
  affine_aspect_std: float = 0.25  # spread of the x/y scale difference
  affine_shear_std: float = 0.1  # spread of the shear

  # The loss: L1 (section 3.1), of which luma_share is that of the luma, what
  # tables score; + content_weight x the content loss, a weighted sum of L1
  # distances between VGG16's feature maps (layer, weight) of the father and of
  # what the network makes of its son.
  luma_share: float = 0.0  # of RGB images; others have none
  content_weight: float = 0.0
  content_layers: tuple[tuple[str, float], ...] = (
    ('relu1_2', 1.0),
    ('relu2_2', 1.0),
    ('relu3_3', 1.0),
  )

  # Optimisation (section 3.1, zssr.md).
  max_steps: int = 3000  # per gradual scale
  learning_rate: float = 1e-3
  warmup: int = 0  # steps over which the rate rises linearly from 0
  min_learning_rate: float = 9e-6  # a plateau run stops below this rate
  optimizer: str = 'adam'  # 'adam' | 'sgd' (plain, as MZSR adapts)
  # 'plateau' | 'cosine' (to zero at max_steps) | 'constant'
  schedule: str = 'plateau'
  min_steps: int = 256  # plateau: no drop sooner after the last one
  check_every: int = 60  # plateau: steps between two looks at the slope
  measure_every: int = 50  # steps between two reconstruction errors
  # A stage ends early after so many of them without a new lowest; 0: never.
  patience: int = 0
  plateau_window: int = 5  # plateau: errors in the line fit
  plateau_slope_factor: float = 1.5  # drop when -factor * slope < std
  plateau_ddof: int = 4  # 4: numpy < 1.16 (published numbers), 2: today's
  weight_average: float = 0.0  # decay of the averaged weights, 0: off

  # Networks trained on each stage, from other random numbers; the stage's
  # result is the mean of theirs.
  networks: int = 1

  # Gradual scales (section 3.3): () is one jump; else the stages as pairs
  # (y, x) of the share of the way from 1 to the scale, ending with (1, 1).
  gradual: tuple[tuple[float, float], ...] = ()
  latest: int = 0  # how many earlier results are fathers, the last; 0: all

  # Inference (section 3.1).
  self_ensemble: bool = True  # over geometric copies
  ensemble: str = 'median'  # of their results: 'median' (paper) | 'mean'
  back_projection: int = 10  # iterations on each output and on the ensemble
  tile: int = 256  # side of an inference tile, input pixels

  def __post_init__(self):
    """Raises ValueError, naming the field, when a value makes no sense."""
    for name, allowed in (
      ('model', MODELS),
      ('kernel', KERNELS),
      ('optimizer', OPTIMIZERS),
      ('schedule', SCHEDULES),
      ('border', BORDERS),
      ('ensemble', ENSEMBLES),
    ):
      if getattr(self, name) not in allowed:
        raise ValueError(
          f'config.{name} must be one of {", ".join(allowed)},'
          f' not {getattr(self, name)!r}'
        )
    for name, low, high in (
      ('depth', 2, 64),
      ('width', 1, 1024),
      ('init_gain', 0.0, 4.0),
      ('start_steps', -1, 10_000_000),
      ('start_rate', 0.0, 10.0),
      ('crop', 8, 4096),
      ('crop_fraction', 0.0625, 1.0),
      ('batch', 1, 1024),
      ('noise_std', 0.0, 1.0),
      ('estimate_noise', 0.0, 10.0),
      ('min_father_scale', 0.1, 1.0),
      ('father_step', 0.1, 0.99),
      ('father_exponent', -10.0, 10.0),
      ('affine', 0.0, 1.0),
      ('affine_min_scale', 0.1, 1.0),
      ('affine_aspect_std', 0.0, 1.0),
      ('affine_shear_std', 0.0, 1.0),
      ('luma_share', 0.0, 1.0),
      ('content_weight', 0.0, 1000.0),
      ('max_steps', 0, 10_000_000),
      ('networks', 1, 64),
      ('latest', 0, 1000),
      ('learning_rate', 0.0, 10.0),
      ('min_learning_rate', 0.0, 10.0),
      ('warmup', 0, 1_000_000),
      ('min_steps', 0, 10_000_000),
      ('check_every', 1, 1_000_000),
      ('measure_every', 1, 1_000_000),
      ('patience', 0, 1_000_000),
      ('plateau_window', 3, 1000),
      ('plateau_slope_factor', 0.0, 1000.0),
      ('plateau_ddof', 0, self.plateau_window - 1),
      ('weight_average', 0.0, 0.99999),
      ('back_projection', 0, 1000),
      ('tile', 32, 8192),
    ):
      value = getattr(self, name)
      if not low <= value <= high:
        raise ValueError(
          f'config.{name} must lie in [{low}, {high}], not {value!r}'
        )
    # Config files and flags bring lists; a hashable record needs tuples.
    pairs = tuple(tuple(float(v) for v in pair) for pair in self.gradual)
    if any(len(pair) != 2 for pair in pairs) or not all(
      0 <= value <= 1 for pair in pairs for value in pair
    ):
      raise ValueError(
        'config.gradual must hold pairs (y, x) of shares in [0, 1],'
        f' not {self.gradual!r}'
      )
    if pairs and pairs[-1] != (1.0, 1.0):
      raise ValueError('config.gradual must end with the stage (1, 1)')
    object.__setattr__(self, 'gradual', pairs)
    if not self.start:
      raise ValueError('config.start must be random, transferred or a file')
    try:
      layers = tuple((str(n), float(w)) for n, w in self.content_layers)
      if not layers or not all(0 <= weight <= 1000 for _, weight in layers):
        raise ValueError
    except (TypeError, ValueError):
      raise ValueError(
        'config.content_layers must hold pairs of a layer of VGG16 and a weight'
        f' in [0, 1000], not {self.content_layers!r}'
      ) from None
    object.__setattr__(self, 'content_layers', layers)

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
