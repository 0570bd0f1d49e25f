"""Blurred photos in seconds: `nonideal` from a transferred start.

The parameters that `fast` begins with, which never saw a blurred image, are
trained with the image's own kernel, estimated or given, for 300 steps at a
rate high enough to learn it; with `--config.start=random`, for 800. For scales
2, 3 and 4.

Measured on MZSR's g2.0 on Set5, x2, seed 0: with the kernel given 36.72 /
.9503, in 10 to 40 s an image beside other jobs (AMD EPYC, one core); with
back-projection and no `undo_blur` 36.11, estimated 35.82; from random
parameters, kernel given, 36.36 / .9481.

  python bin/main.py --config=configs/nonideal_fast.py --input=photo.png
  python bin/main.py --config=configs/nonideal_fast.py --input=photo.png \
    --kernel=kernel.mat
"""

from zssr_jax import presets


def get_config():
  return presets.config_dict('nonideal_fast')
