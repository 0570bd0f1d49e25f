"""Known blur kernel: the photo was degraded by something else than bicubic.

ZSSR section 4.2, where the method shines. The kernel comes with --kernel and
is used as it is. A slim network at LR resolution in three gradual stages, so
that the demo is quick; for a blurred photo the sharp earlier results among
the fathers matter most.

Measured: the bundled example 32.14 / .9501 (bicubic 26.70 / .8524) in 53 s on
two cores with nothing compiled before; MZSR's g2.0 Set5 x2 36.19 / .9415 in
87 to 112 s an image on one busy core
(docs/results/README.md).

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
