"""Ideal case, upsampling inside the model: transposed convolution at its end.

The procedure of `ideal`, one jump and the plateau schedule, with a network
of the same depth and width at LR resolution, whose last layer is a transposed
convolution. A method of bin/eval_all under this name (docs/variants.md).

Not measured with these settings: docs/variants.md has shorter runs.

  python bin/main.py --config=configs/transposed.py --input=photo.png
"""

from zssr_jax import presets


def get_config():
  return presets.config_dict('transposed')
