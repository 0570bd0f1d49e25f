"""Ideal case with a perceptual loss: L1 and VGG16's features.

To L1 on the crop comes the content loss between the father and what the
network makes of its son. Weights are averaged, and the geometric copies left
out, whose median takes away what the content loss brings. Needs the weights
of VGG16: --weights=vgg16=FILE, else those of the data root. A method of
bin/eval_all under this name (docs/variants.md).

Measured on the first five of B100 x2, seed 0: 30.63 / .8899, LPIPS .1433, in 92
s an image on one busy core; L1 alone, with the same settings, 30.57 / .8893,
LPIPS .1493.

  python bin/main.py --config=configs/hybrid_loss.py --input=photo.png
"""

from zssr_jax import presets


def get_config():
  return presets.config_dict('hybrid_loss')
