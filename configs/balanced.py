"""Zero-shot in a minute or two of one core: from random parameters, one image.

Four stages, all at the scale itself: each begins from the parameters of the
last, and the results so far are fathers beside the input, which is what the
intermediate scales of `gradual` are for, without their larger crops. It is
trained by Muon. At x3 and x4 `gradual` has the better score.

  python bin/main.py --config=configs/balanced.py --input=photo.png
"""

from zssr_jax import presets


def get_config():
  return presets.config_dict('balanced')
