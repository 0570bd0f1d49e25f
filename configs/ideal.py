"""Ideal case: the photo was downscaled by bicubic interpolation.

ZSSR section 4.1 in one jump: the published network at output resolution and
the plateau schedule. `gradual` is cheaper and scored higher.

Measured on Set5 x2, seed 0: 36.95 / .9550, below the published 37.37 /
.9570, in 172 to 402 s an image on one busy core (docs/results/README.md).

  python bin/main.py --config=configs/ideal.py --input=photo.png --scale=2
"""

from zssr_jax import presets


def get_config():
  return presets.config_dict('ideal')
