"""The shipped configs by name: the only place that says their settings.

What each is for, what it scored and what it cost, is said by the file of that
name in `configs/`, which makes it a config of the command line.
"""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING, Any

from zssr_jax.config import Config
from zssr_jax.errors import InputError
from zssr_jax.units import ROUNDING

if TYPE_CHECKING:
  from ml_collections import ConfigDict

# Fields in whose place others hold where a start is not random.
OF_START = {'max_steps': 'start_steps', 'learning_rate': 'start_rate'}

# Scales for which a start named 'transferred' comes with the package.
SHIPPED_SCALES = (2, 3, 4)

# How `fast` trains, and `auto`; it takes what `fast` has for an image that was
# only shrunk.
TRAINING_OF_FAST: dict[str, Any] = {
  'optimizer': 'muon',
  'crop': 128,
  'max_steps': 400,
  'learning_rate': 5e-3,
  'start_steps': 100,
  'start_rate': 1e-4,
  'warmup': 20,
}
TRAINING_OF_AUTO: dict[str, Any] = {
  'optimizer': 'adam',
  'crop': 96,
  'max_steps': 800,
  'learning_rate': 3e-3,
  'start_steps': 200,
  'start_rate': 2e-3,
  'warmup': 10,
}

PRESETS: dict[str, Config] = {
  'auto': Config(
    model='pixel_shuffle',
    kernel='auto',
    automatic=True,
    start='transferred',
    schedule='cosine',
    ensemble='mean',
    copies=0,
    losses=(('luma', 0.9), ('l1', 0.1)),
    **TRAINING_OF_AUTO,
  ),
  'balanced': Config(
    consistency='back_projection',
    model='pixel_shuffle',
    optimizer='muon',
    gradual=(*((n / 3, n / 3) for n in range(1, 4)), (1, 1)),
    schedule='cosine',
    learning_rate=4e-3,
    warmup=20,
    max_steps=250,
    batch=0,
    ensemble='mean',
    noise_std=ROUNDING,
    losses=(('luma', 0.9), ('l1', 0.1)),
  ),
  'best': Config(
    consistency='back_projection',
    model='pixel_shuffle',
    gradual=(*((n / 6, n / 6) for n in range(1, 6)), *[(1, 1)] * 5),
    latest=2,
    schedule='cosine',
    learning_rate=2e-3,
    warmup=100,
    max_steps=1000,
    ensemble='mean',
    noise_std=ROUNDING,
    networks=2,
    losses=(('luma', 0.5), ('l1', 0.5)),
  ),
  'fast': Config(
    consistency='back_projection',
    model='pixel_shuffle',
    start='transferred',
    schedule='cosine',
    ensemble='mean',
    copies=0,
    losses=(('luma', 0.9), ('l1', 0.1)),
    **TRAINING_OF_FAST,
  ),
  'gradual': Config(
    consistency='back_projection',
    model='pixel_shuffle',
    gradual=(*((n / 6, n / 6) for n in range(1, 7)), (1, 1)),
    schedule='cosine',
    learning_rate=2e-3,
    warmup=100,
    max_steps=700,
  ),
  'hybrid_loss': Config(
    consistency='back_projection',
    model='pixel_shuffle',
    losses=(('l1', 1.0), ('content', 0.005)),
    content_layers=(('relu3_3', 1.0),),
    schedule='cosine',
    learning_rate=2e-3,
    warmup=50,
    max_steps=600,
    weight_average=0.99,
    copies=1,
  ),
  'ideal': Config(warmup=100, consistency='back_projection', undo_blur=False),
  'mzsr': Config(
    consistency='back_projection',
    undo_blur=False,
    model='pixel_shuffle',
    start='transferred',
    optimizer='sgd',
    schedule='constant',
    learning_rate=1e-2,
    max_steps=10,
  ),
  'nonideal': Config(
    model='pixel_shuffle',
    width=32,
    kernel='estimate',
    noise_std=ROUNDING,
    gradual=((0.5, 0.5), (1, 1), (1, 1)),
    schedule='cosine',
    learning_rate=2e-3,
    warmup=100,
    max_steps=400,
  ),
  'nonideal_fast': Config(
    model='pixel_shuffle',
    start='transferred',
    kernel='estimate',
    noise_std=ROUNDING,
    schedule='cosine',
    learning_rate=2e-3,
    warmup=10,
    max_steps=800,
    start_steps=300,
    ensemble='mean',
  ),
  'pixel_shuffle': Config(
    model='pixel_shuffle',
    warmup=100,
    consistency='back_projection',
    undo_blur=False,
  ),
  'real': Config(
    model='pixel_shuffle',
    width=32,
    noise_std=0.03,
    estimate_noise=0.8,
    back_projection=0,
    min_father_scale=0.75,
    gradual=((0.5, 0.5), (1, 1), (1, 1)),
    schedule='cosine',
    learning_rate=2e-3,
    warmup=50,
    max_steps=300,
  ),
  'smoke': Config(
    model='pixel_shuffle',
    width=16,
    depth=4,
    crop=32,
    max_steps=20,
    copies=1,
    back_projection=1,
  ),
  'transferred': Config(
    consistency='back_projection',
    model='pixel_shuffle',
    start='transferred',
    schedule='cosine',
    learning_rate=2e-4,
    max_steps=100,
  ),
  'transposed': Config(
    model='transposed',
    warmup=100,
    consistency='back_projection',
    undo_blur=False,
  ),
  'vdsr_backbone': Config(
    model='vdsr_backbone',
    warmup=100,
    consistency='back_projection',
    undo_blur=False,
  ),
}

# What each is for, in one line; `auto`, the choice of who does not choose,
# comes first.
SUMMARIES: dict[str, str] = {
  'auto': 'any photo; finds its blur, noise and compression first; seconds',
  'fast': 'a sharp, clean photo that was only shrunk; the quickest',
  'balanced': 'a clean photo, from that photo alone; a minute or two',
  'nonideal_fast': 'a blurred photo; finds the blur; seconds',
  'nonideal': 'a blurred photo, from that photo alone; half a minute or more',
  'real': 'a noisy or compressed photo, from that photo alone; half a minute',
  'gradual': 'a clean photo, from that photo alone, in stages; minutes',
  'best': 'a clean photo, the best score from that photo alone; many minutes',
  'ideal': "the paper's procedure in one jump, for a clean photo; minutes",
  'pixel_shuffle': 'ideal with pixel shuffle inside the network; an experiment',
  'transposed': 'ideal with a transposed convolution; an experiment',
  'transferred': 'the start of fast and 100 steps of Adam; for comparison',
  'mzsr': 'the start of fast and ten steps of SGD, as MZSR; for comparison',
  'vdsr_backbone': 'ideal on top of a trained VDSR, whose weights it needs',
  'hybrid_loss': 'L1 and a perceptual loss; needs the weights of VGG16',
  'smoke': 'tests only: does everything run?',
}


def load_config(name: str, **changes: Any) -> Config:
  """Returns a shipped config, with some of its fields changed.

    config = load_config('nonideal', max_steps=200)

  A `max_steps` or `learning_rate` asked for holds, whatever the config's start
  would have in its place.

  Args:
    name: one of `PRESETS`: the name of a file in `configs/`.
    **changes: fields of `Config` by name.

  Raises:
    InputError: for an unknown name, naming the nearest one.
    TypeError: for a field that `Config` does not have.
    ValueError: for a value out of its range.
  """
  if name not in PRESETS:
    near = difflib.get_close_matches(str(name), PRESETS, 1)
    known = ', '.join(PRESETS)
    hint = f'did you mean {near[0]}?' if near else f'known: {known}'
    raise InputError(f'{name}: no such config; {hint}')
  return override(PRESETS[name], changes)


def config_of(config: Config | str) -> Config:
  """Returns a config that is given as such, or by its name.

  Args:
    config: a config, or what `load_config` takes.

  Raises:
    InputError: as `load_config`.
    TypeError: for neither.
  """
  if isinstance(config, str):
    return load_config(config)
  if not isinstance(config, Config):
    raise TypeError(
      f'config must be a Config or the name of one, not {config!r}'
    )
  return config


def override(config: Config | str, changes: dict[str, Any]) -> Config:
  """Returns a config with the fields changed that a user asks for.

  Other than by `Config.replace`, what is asked for as `max_steps` or
  `learning_rate` holds with a start or without.
  """
  freed = {
    of_start: Config.__dataclass_fields__[of_start].default
    for field, of_start in OF_START.items()
    if field in changes
  }
  return config_of(config).replace(**{**freed, **changes})


def is_shipped(scale: float | tuple[float, float]) -> bool:
  """Tells whether there is a 'transferred' start for a scale."""
  y, x = scale if isinstance(scale, tuple) else (scale, scale)
  return y == x and y in SHIPPED_SCALES


def choose_start(config: Config, scale: float | tuple[float, float]) -> Config:
  """Returns the config with random parameters, where there is no other way.

  That is where a config decides by itself how to train, and no start for this
  scale comes with the package.
  """
  missing = config.start == 'transferred' and not is_shipped(scale)
  if missing and config.automatic:
    return config.replace(start='random')
  return config


def preview(config: Config | str) -> Config:
  """Returns the quickest of a config: one copy of the image, one stage.

  Where it has a start, nothing is trained.
  """
  config = config_of(config)
  changes: dict[str, Any] = {'copies': 1, 'networks': 1, 'gradual': ()}
  if config.start != 'random':
    changes['start_steps'] = 0
  return config.replace(**changes)


def config_dict(name: str) -> ConfigDict:
  """Returns a shipped config as the command line's `--config` wants it."""
  # Not at the top: only the command line needs it.
  from ml_collections import ConfigDict

  return ConfigDict(dataclasses.asdict(load_config(name)))
