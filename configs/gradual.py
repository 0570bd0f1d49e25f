"""Ideal case in six gradual steps: the best score, at six times the time.

ZSSR section 3.3: the result of each intermediate scale joins the fathers of
the next. The stages are those of the published x2 preset, as shares of the
way from 1 to the scale, so they serve other scales as well.

Expected: Set5 x2 TODO-lead dB / TODO-lead; TODO-lead s an image on 2 cores,
TODO-lead s on a GPU.

  python bin/main.py --config=configs/gradual.py --input=photo.png --scale=2
"""

import dataclasses

from ml_collections import ConfigDict

from zssr_jax import Config


def get_config() -> ConfigDict:
  config = Config(
    model='pixel_shuffle',
    gradual=((0.25, 0.25), (0.5, 0.5), (0.75, 0.75), (1, 1), (1, 1)),
    schedule='cosine',
    learning_rate=2e-3,
    warmup=100,
    max_steps=1000,
  )
  return ConfigDict(dataclasses.asdict(config))
