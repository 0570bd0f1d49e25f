"""Ideal case with a perceptual loss: L1 and VGG16's features.

To L1 on the crop comes, once a step, the content loss between the input and
what the network makes of the input's own son. An experiment: so far LPIPS was
no better, and PSNR lower. Needs the weights of VGG16: --weights=vgg16=FILE,
else those of the data root. A method of bin/eval_all under this name
(docs/variants.md).

  python bin/main.py --config=configs/hybrid_loss.py --input=photo.png
"""

import dataclasses

from ml_collections import ConfigDict

from zssr_jax import Config


def get_config() -> ConfigDict:
  config = Config(
    model='pixel_shuffle',
    content_weight=0.1,
    schedule='cosine',
    learning_rate=2e-3,
    warmup=100,
    max_steps=1000,
  )
  return ConfigDict(dataclasses.asdict(config))
