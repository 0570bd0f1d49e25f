"""Zero-shot in a minute or so of one core: from random parameters, one image.

ZSSR section 3.3 in four stages, a third of the way, two thirds, and twice the
scale itself; each result joins the fathers of the next. 250 steps of Muon a
stage, with two crops a step at x3 and four at x4, whose sons are small.

Measured on Set5, seed 0: x2 37.42 / .9578, x3 33.63 / .9200, x4 31.33 / .8812
(published ZSSR: 37.37 / .9570, 33.42 / .9188, 31.13 / .8796); on Set14 x4 27.92
/ .7624, which misses the published 28.01 / .7651. At x2 it takes 36 to 50 s an
image of Set5, compilation included, on one core (docs/results/speed.md).

  python bin/main.py --config=configs/balanced.py --input=photo.png
"""

from zssr_jax import presets


def get_config():
  return presets.config_dict('balanced')
