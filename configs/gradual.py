"""Ideal case in gradual stages: from random parameters, in some minutes.

ZSSR section 3.3: the result of each intermediate scale joins the fathers of
the next. Five stages on the way, then the scale itself twice, so that the
last one learns from the first result. The stages are shares of the way from 1
to the scale and serve every scale. The network works at LR resolution.

Measured on Set5, seed 0: x2 37.56 / .9583, x3 33.65 / .9203, x4 31.25 /
.8800, in 458 to 866, 239 to 368 and 141 to 219 s an image on one busy core
(docs/results/README.md).

  python bin/main.py --config=configs/gradual.py --input=photo.png --scale=2
"""

from zssr_jax import presets


def get_config():
  return presets.config_dict('gradual')
