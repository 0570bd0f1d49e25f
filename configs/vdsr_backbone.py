"""Ideal case on top of a frozen VDSR that other images have trained.

The procedure of `ideal`; the network learns what the backbone leaves. Needs
the weights of VDSR: --weights=vdsr=FILE, else those of the data root. Not
zero-shot. A method of bin/eval_all under this name (docs/variants.md).

Not measured with these settings: docs/variants.md has shorter runs.

  python bin/main.py --config=configs/vdsr_backbone.py --input=photo.png \
    --weights=vdsr=vdsr.safetensors
"""

from zssr_jax import presets


def get_config():
  return presets.config_dict('vdsr_backbone')
