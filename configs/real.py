"""Real photos: unknown, mild degradation with noise or compression.

ZSSR section 4.2, poor-quality images. Noise on the sons teaches the network
to ignore what does not recur across scales; back-projection would bring the
noise back, so it is off. Bicubic unless --kernel is given. A slim network at
LR resolution in three gradual stages. With the published 0.0125 of noise one
noisy image of two (bird) came out 1.1 dB worse than bicubic, in a trial.

Measured on Set5 x2, seed 0, gain over bicubic: noise +1.45 dB, speckle +2.05,
JPEG +0.59, in 16 to 40 s an image on one busy core (docs/results/README.md).
The gain is not everywhere: head with speckle lost 0.1 dB.

  python bin/main.py --config=configs/real.py --input=photo.jpg
"""

import dataclasses

from ml_collections import ConfigDict

from zssr_jax import Config


def get_config() -> ConfigDict:
  config = Config(
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
  )
  return ConfigDict(dataclasses.asdict(config))
