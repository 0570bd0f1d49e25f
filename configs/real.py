"""Real photos: unknown, mild degradation with noise or compression.

ZSSR section 4.2, poor-quality images. Noise on the sons teaches the network
to ignore what does not recur across scales; back-projection would bring the
noise back, so it is off. Bicubic unless --kernel is given. A slim network at
LR resolution in three gradual stages. With the published 0.0125 of noise one
noisy image of two (bird) came out 1.1 dB worse than bicubic, in a trial.

The noise on the sons is 0.8 times the input's own, estimated, but at least
0.03: JPEG's errors are not seen as noise at all, speckle only in part, and for
those 0.03 stays. With noise of 0.05, on a BSDS300 training image and a part of
another, 0.04 on the sons gave +0.31 and +0.30 dB over a fixed 0.03; 0.045 on
three parts -0.10, +0.12 and +0.14. Other strengths of noise were not tried. One
part with speckle lost 0.66 dB from 0.03 to 0.045; two with JPEG -0.07 and
+0.07.

Measured, gain over bicubic, seed 0. Set5 x2 with 0.03 for all: noise
+1.45 dB, speckle +2.05, JPEG +0.59, in 16 to 40 s an image on one busy core
(docs/results/README.md). The gain is not everywhere: head with speckle lost
0.1 dB. The first 20 images of B100 x2, --degradation=poor: +0.94 (8
with noise +1.40, 6 with speckle +0.98, 6 with JPEG +0.29), least +0.02.

  python bin/main.py --config=configs/real.py --input=photo.jpg
"""

from zssr_jax import presets


def get_config():
  return presets.config_dict('real')
