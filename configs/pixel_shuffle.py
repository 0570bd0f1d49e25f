"""Ideal case, upsampling inside the model: pixel shuffle at LR resolution.

The procedure of `ideal`, one jump and the plateau schedule, with the network
of the same depth and width at LR resolution, which costs scale² less a step.
A method of bin/eval_all under this name (docs/variants.md).

Not measured with these settings: docs/variants.md has shorter runs.

  python bin/main.py --config=configs/pixel_shuffle.py --input=photo.png
"""

from zssr_jax import presets


def get_config():
  return presets.config_dict('pixel_shuffle')
