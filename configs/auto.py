"""What happened to the photo is found out first, and decides all the rest.

Blur (none beyond bicubic, a Gaussian, a defocused lens, a straight motion, and
by a network that was trained on other images camera shake), noise and
compression are looked for in the image itself, and in the head of a JPEG file;
what --kernel, --noise and --jpeg say holds. An image that was only
shrunk is trained as by `fast`, another on sons that are blurred, noisy and
compressed as it is. For scales 2, 3 and 4 the training begins from the
parameters of `fast`, for others, or with --zero-shot, from random ones.
--explain tells how it came to its decision.

Measured on B100, x2: 100 photos without and with Gaussian blur, defocus,
motion or camera shake, clean, noisy or compressed: 1.84 dB over bicubic, one
of them below it by more than 0.1 dB, by 0.11; unblurred 31.84 on 30 photos, as
by `fast`. 9 to 20 s an image on one core (AMD EPYC, other jobs beside), of
which the estimate takes two to five. docs/degradations.md has the rest.

This is the config of bin/main.py without --config.

  python bin/main.py --config=configs/auto.py --input=photo.jpg --explain
"""

from zssr_jax import presets


def get_config():
  return presets.config_dict('auto')
