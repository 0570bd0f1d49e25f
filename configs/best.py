"""The best score, whatever it takes, from random parameters and one image.

`gradual` with five more stages at the scale itself: the result of each joins
the fathers of the next, and each begins from the parameters of the last, so
that the network learns from ever better images. The mean over the geometric
copies where the paper takes the median.

Measured on Set5, seed 0: x4 31.43 / .8829 in 224 to 399 s an image on one core
shared by two or three jobs (`gradual`: 31.25). x2 and x3 not measured.

  python bin/main.py --config=configs/best.py --input=photo.png --scale=3
"""

import dataclasses

from ml_collections import ConfigDict

from zssr_jax import Config


def get_config() -> ConfigDict:
  config = Config(
    model='pixel_shuffle',
    gradual=(*((n / 6, n / 6) for n in range(1, 6)), *[(1, 1)] * 7),
    schedule='cosine',
    learning_rate=2e-3,
    warmup=100,
    max_steps=700,
    ensemble='mean',
  )
  return ConfigDict(dataclasses.asdict(config))
