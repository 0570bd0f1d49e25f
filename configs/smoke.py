"""Tests and first tries: does everything run? The image is no better for it.

Expected: about bicubic; a few seconds, most of them compilation.

  python bin/main.py --config=configs/smoke.py
"""

import dataclasses

from ml_collections import ConfigDict

from zssr_jax import Config


def get_config() -> ConfigDict:
  config = Config(
    model='pixel_shuffle',
    width=16,
    depth=4,
    crop=32,
    max_steps=20,
    self_ensemble=False,
    back_projection=1,
  )
  return ConfigDict(dataclasses.asdict(config))
