"""Ideal case from a transferred start: seconds where `gradual` takes minutes.

The network of `pixel_shuffle`, trained on other images (the weights come with
the package, zssr_jax/weights/README.md says on which), is trained on the
image for a few steps more by ZSSR's own procedure. Not zero-shot. For scales
2, 3 and 4. Measured on Set5 x2, seed 0: 37.61 / .9586 in 13 to 24 s an image on
one core shared by two jobs; without a step on the image 37.56 in 1 to 3 s.
A method of bin/eval_all under this name (docs/variants.md).

  python bin/main.py --config=configs/transferred.py --input=photo.png
"""

from zssr_jax import presets


def get_config():
  return presets.config_dict('transferred')
