"""Ideal case: the photo was downscaled by bicubic interpolation.

ZSSR section 4.1 in one jump: the published network at output resolution and
the plateau schedule. `gradual` is cheaper and scored higher.

Expected score and cost: not measured yet.

  python bin/main.py --config=configs/ideal.py --input=photo.png --scale=2
"""

import dataclasses

from ml_collections import ConfigDict

from zssr_jax import Config


def get_config() -> ConfigDict:
  return ConfigDict(dataclasses.asdict(Config(warmup=100)))
