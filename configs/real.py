"""Real photos: unknown, mild degradation with noise or compression.

ZSSR section 4.2, poor-quality images. A little noise on the sons teaches the
network to ignore what does not recur across scales; back-projection would
bring the noise back, so it is off. Bicubic unless --kernel is given. A slim
network at LR resolution with the plateau schedule.

Expected score and cost: not measured yet.

  python bin/main.py --config=configs/real.py --input=photo.jpg
"""

import dataclasses

from ml_collections import ConfigDict

from zssr_jax import Config


def get_config() -> ConfigDict:
  config = Config(
    model='pixel_shuffle',
    width=32,
    noise_std=0.0125,
    back_projection=0,
    min_father_scale=0.75,
    learning_rate=2e-3,
    warmup=100,
  )
  return ConfigDict(dataclasses.asdict(config))
