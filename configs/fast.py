"""The best there is in seconds: a transferred start and a few steps.

The network of `transferred`, at LR resolution, begins from parameters that
come with the package (zssr_jax/weights/README.md says what they saw), and is
trained on the image for 100 steps by ZSSR's own procedure. For scales 2, 3
and 4. Honestly zero-shot, and for any scale, with `--config.start=random`,
which takes more steps at a higher rate. For blurred photos `nonideal_fast`.

Measured on Set5, seed 0: x2 37.62 / .9586, x3 33.84 / .9223, x4 31.44 /
.8842, in 1.5 to 4.6, 1.9 to 3.2 and 0.4 to 2.3 s an image on two cores; from
random parameters x2 37.05 / .9560 in 8 to 14 s (docs/results/README.md).

  python bin/main.py --config=configs/fast.py --input=photos/
"""

from zssr_jax import presets


def get_config():
  return presets.config_dict('fast')
