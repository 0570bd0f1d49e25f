"""Known blur kernel: the photo was degraded by something else than bicubic.

ZSSR section 4.2, where the method shines. The kernel comes with --kernel and
is used as it is. Sub-pixel network and 1000 steps, so that the demo is quick.

Expected: the bundled example TODO-lead dB / TODO-lead (bicubic TODO-lead) in
TODO-lead s on 2 cores; MZSR's g2.0 Set5 x2 TODO-lead dB.

  python bin/main.py --config=configs/nonideal.py
  python bin/main.py --config=configs/nonideal.py --input=photo.png \
    --kernel=kernel.mat
"""

import dataclasses

from ml_collections import ConfigDict

from zssr_jax import Config


def get_config() -> ConfigDict:
  config = Config(
    model='pixel_shuffle',
    width=32,
    kernel='given',
    gradual=((0.5, 0.5), (1, 1), (1, 1)),
    schedule='cosine',
    learning_rate=4e-3,
    warmup=100,
    max_steps=600,
  )
  return ConfigDict(dataclasses.asdict(config))
