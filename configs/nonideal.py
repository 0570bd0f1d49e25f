"""Blurred photos: the degradation was something else than bicubic.

ZSSR section 4.2, where the method shines. The kernel is estimated from the
image (`--kernel=joint` or `kernelgan`: other ways; docs/kernels.md compares
them), or comes with --kernel and is used as it is. A slim network at LR
resolution in three gradual stages; for a blurred photo the sharp earlier
results among the fathers matter most.

Measured while back-projection stood in place of least squares, at x2, seed 0,
25 to 50 s an image on one busy core. 20 images of B100 with random Gaussian
blur: 30.91 / .8810, with the true kernel 31.38 / .8941,
bicubic 27.53. MZSR's g2.0 on Set5: 35.66 / .9420, with the true kernel 36.14 /
.9440 (docs/results/README.md, docs/kernels.md). The bundled
example: 31.73 / .9466, bicubic 26.70 / .8524, in 28 s on two cores.

  python bin/main.py --config=configs/nonideal.py
  python bin/main.py --config=configs/nonideal.py --input=photo.png \
    --kernel=kernel.mat
"""

from zssr_jax import presets


def get_config():
  return presets.config_dict('nonideal')
