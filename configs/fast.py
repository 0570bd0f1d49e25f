"""The best there is in seconds: a transferred start and a few steps.

The network of `transferred`, at LR resolution, begins from parameters that
come with the package (zssr_jax/weights/README.md says what they saw), and is
trained on the image for 100 steps by ZSSR's own procedure. For scales 2, 3
and 4. Honestly zero-shot, and for any scale, with `--config.start=random`,
which takes more steps at a higher rate.

SCORES

  python bin/main.py --config=configs/fast.py --input=photos/
"""

import dataclasses

from ml_collections import ConfigDict

from zssr_jax import Config


def get_config() -> ConfigDict:
  config = Config(
    model='pixel_shuffle',
    start='transferred',
    start_steps=100,
    start_rate=2e-4,
    schedule='cosine',
    learning_rate=3e-3,
    warmup=20,
    max_steps=800,
    ensemble='mean',
  )
  return ConfigDict(dataclasses.asdict(config))
