"""Ideal case: the photo was downscaled by bicubic interpolation.

ZSSR section 4.1 in one jump, for comparing with published tables. The
published network at output resolution, plateau schedule.

Expected: Set5 x2 TODO-lead dB / TODO-lead; TODO-lead s an image on 2 cores,
TODO-lead s on a GPU.

  python bin/main.py --config=configs/ideal.py --input=photo.png --scale=2
"""

import dataclasses

from ml_collections import ConfigDict

from zssr_jax import Config


def get_config() -> ConfigDict:
  return ConfigDict(dataclasses.asdict(Config(warmup=100)))
