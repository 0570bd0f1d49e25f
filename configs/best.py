"""The best score, whatever it takes, from random parameters and one image.

`gradual` with three more stages at the scale itself: each begins from the
parameters of the last, and the two latest results are fathers beside the input,
so that the network learns from ever better images. Two networks a stage, whose
mean is its result, and the mean over the geometric copies where the paper takes
the median. How these numbers came about: docs/variants.md.

Measured on Set5, seed 0: x2 37.69 / .9588, x3 33.84 / .9219, x4 31.48 / .8842
in 571 to 850, 284 to 613 and 220 to 358 s an image on one shared core
(`gradual`: 37.56, 33.65, 31.25). `--config.networks=1` is half the work.

  python bin/main.py --config=configs/best.py --input=photo.png --scale=3
"""

from zssr_jax import presets


def get_config():
  return presets.config_dict('best')
