"""Ideal case in gradual stages: the best measured score of these configs.

ZSSR section 3.3: the result of each intermediate scale joins the fathers of
the next. Five stages on the way, then the scale itself twice, so that the
last one learns from the first result. The stages are shares of the way from 1
to the scale and serve every scale. The network works at LR resolution.

Measured on Set5: x2 37.49 / .9581, x3 33.34 / .9167, x4 30.59 / .8678, in
307 to 550, 80 to 309 and 36 to 148 s an image on one core
(docs/results/README.md).

  python bin/main.py --config=configs/gradual.py --input=photo.png --scale=2
"""

import dataclasses

from ml_collections import ConfigDict

from zssr_jax import Config


def get_config() -> ConfigDict:
  config = Config(
    model='pixel_shuffle',
    gradual=(*((n / 6, n / 6) for n in range(1, 7)), (1, 1)),
    schedule='cosine',
    learning_rate=2e-3,
    warmup=100,
    max_steps=700,
  )
  return ConfigDict(dataclasses.asdict(config))
