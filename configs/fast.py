"""The best there is in seconds: a transferred start and a few steps.

The network of `transferred`, at LR resolution, begins from parameters that
come with the package (zssr_jax/weights/README.md says what they saw), and is
trained on the image for 100 steps by ZSSR's own procedure. For scales 2, 3
and 4. Honestly zero-shot, and for any scale, with `--config.start=random`,
which takes more steps at a higher rate. For blurred photos `nonideal_fast`.

Measured on Set5, seed 0: x2 37.62 / .9586, x3 33.90 / .9228, x4 31.56 /
.8863, in 6 to 28, 3 to 11 and 2 to 7 s an image, compilation included, on one
core of a busy machine (docs/results/README.md).

  python bin/main.py --config=configs/fast.py --input=photos/
"""

from zssr_jax import presets


def get_config():
  return presets.config_dict('fast')
