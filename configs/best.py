"""The best score, whatever it takes, from random parameters and one image.

`gradual` with five more stages at the scale itself: the result of each joins
the fathers of the next, and each begins from the parameters of the last, so
that the network learns from ever better images. Two networks a stage, whose
mean is its result, and the mean over the geometric copies where the paper takes
the median.

Measured on Set5, seed 0: x2 37.65 / .9586 in 642 to 1484 s an image on one
shared core. With `--config.networks=1`, half the work: x2 37.61 / .9585, x3
33.79 / .9215, x4 31.43 / .8829 in 366 to 1102, 219 to 621 and 224 to 399 s
(`gradual`: 37.56, 33.65, 31.25).

  python bin/main.py --config=configs/best.py --input=photo.png --scale=3
"""

import dataclasses

from ml_collections import ConfigDict

from zssr_jax import Config


def get_config() -> ConfigDict:
  config = Config(
    model='pixel_shuffle',
    gradual=(*((n / 6, n / 6) for n in range(1, 6)), *[(1, 1)] * 5),
    latest=2,
    schedule='cosine',
    learning_rate=2e-3,
    warmup=100,
    max_steps=1000,
    ensemble='mean',
    noise_std=0.29 / 255,  # what rounding to 8 bits leaves in the input
    networks=2,
    luma_share=0.5,
  )
  return ConfigDict(dataclasses.asdict(config))
