"""As MZSR adapts: a start trained on other images, ten plain SGD steps.

The row of Soh et al. (CVPR 2020) in the tables; `--config.max_steps=1` is
their other one. A start of `bin/train_backbone --meta` goes by
`--config.start=FILE`; without, it is the one of `transferred`. A method of
bin/eval_all under this name (docs/variants.md). Measured at x2, seed 0: Set5
37.56 / .9584, MZSR's g2.0 with the kernel given 34.04 / .9239, in 1 to 12 s.

  python bin/main.py --config=configs/mzsr.py --input=photo.png
"""

from zssr_jax import presets


def get_config():
  return presets.config_dict('mzsr')
