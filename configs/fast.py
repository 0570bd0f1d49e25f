"""Quick look, and folders of photos: most of the gain in little time.

The sub-pixel network works at the resolution of the input, scale^2 times
cheaper a step than the paper's, and the rate falls along a cosine.

Expected: Set5 x2 TODO-lead dB / TODO-lead; TODO-lead s an image on 2 cores,
TODO-lead s on a GPU.

  python bin/main.py --config=configs/fast.py --input=photos/
"""

import dataclasses

from ml_collections import ConfigDict

from zssr_jax import Config


def get_config() -> ConfigDict:
  config = Config(model='pixel_shuffle', schedule='cosine', max_steps=600)
  return ConfigDict(dataclasses.asdict(config))
