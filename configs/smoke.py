"""Tests and first tries: does everything run? The image is no better for it.

Expected: about bicubic; a few seconds, most of them compilation.

  python bin/main.py --config=configs/smoke.py
"""

from zssr_jax import presets


def get_config():
  return presets.config_dict('smoke')
