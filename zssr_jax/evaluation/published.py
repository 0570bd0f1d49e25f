"""Published PSNR and SSIM, to stand beside ours.

They are from the ZSSR paper's tables 1 and 2 and, for the known kernel, from
MZSR's table; methods go by the names that `tables.py` uses.
"""

from __future__ import annotations

# (data set, scale, degradation) -> method -> (PSNR in dB, SSIM). 'own' is
# what the data set comes with: MATLAB's bicubic, or its known kernel.
_IDEAL = {
  ('Set5', 2): (
    (33.64, None),
    (36.66, 0.9542),
    (37.53, 0.9587),
    (38.20, 0.9606),
    (36.49, 0.9537),
    (37.37, 0.9570),
  ),
  ('Set5', 3): (
    (30.39, None),
    (32.75, 0.9090),
    (33.66, 0.9213),
    (34.76, 0.9290),
    (32.58, 0.9093),
    (33.42, 0.9188),
  ),
  ('Set5', 4): (
    (28.42, None),
    (30.48, 0.8628),
    (31.35, 0.8838),
    (32.62, 0.8984),
    (30.31, 0.8619),
    (31.13, 0.8796),
  ),
  ('Set14', 2): (
    (30.22, None),
    (32.42, 0.9063),
    (33.03, 0.9124),
    (34.02, 0.9204),
    (32.22, 0.9034),
    (33.00, 0.9108),
  ),
  ('Set14', 3): (
    (27.53, None),
    (29.28, 0.8209),
    (29.77, 0.8314),
    (30.66, 0.8481),
    (29.16, 0.8196),
    (29.80, 0.8304),
  ),
  ('Set14', 4): (
    (25.99, None),
    (27.49, 0.7503),
    (28.01, 0.7674),
    (28.94, 0.7901),
    (27.40, 0.7518),
    (28.01, 0.7651),
  ),
  ('B100', 2): (
    (29.55, None),
    (31.36, 0.8879),
    (31.90, 0.8960),
    (32.37, 0.9018),
    (31.18, 0.8855),
    (31.65, 0.8920),
  ),
  ('B100', 3): (
    (27.20, None),
    (28.41, 0.7863),
    (28.82, 0.7976),
    (29.32, 0.8104),
    (28.29, 0.7840),
    (28.67, 0.7945),
  ),
  ('B100', 4): (
    (25.96, None),
    (26.90, 0.7101),
    (27.29, 0.7251),
    (27.79, 0.7437),
    (26.84, 0.7106),
    (27.12, 0.7211),
  ),
}
_NAMES = ('bicubic', 'srcnn', 'vdsr', 'edsr_plus', 'self_ex_sr', 'zssr')

Table = dict[str, tuple[float, float | None]]


def _ideal(scores: tuple[tuple[float, float | None], ...]) -> Table:
  return dict(zip(_NAMES, scores, strict=True))


# MZSR's own table, ten steps.
_MZSR: dict[tuple[str, int], Table] = {('Set5', 2): {'mzsr': (37.25, None)}}

PUBLISHED: dict[tuple[str, float, str], Table] = {
  **{
    (*place, degradation): _ideal(scores) | _MZSR.get(place, {})
    for place, scores in _IDEAL.items()
    for degradation in ('own', 'ideal')
  },
  ('MZSR_g20_Set5', 2, 'own'): {
    'bicubic': (28.73, None),
    'zssr': (34.90, 0.9397),
    'mzsr': (36.05, 0.9439),
  },
}
# Rows whose random draws were never published: other draws, other pictures.
# They stand beside ours for the size of the gain only.
OTHER_DRAWS: dict[tuple[str, float, str], Table] = {
  ('B100', 2, 'gaussian'): {
    'vdsr': (27.72, 0.7635),
    'edsr_plus': (27.78, 0.7660),
    'blind_sr': (28.42, 0.7834),
    'zssr, estimated kernel': (28.81, 0.8306),
    'zssr': (29.68, 0.8414),
  },
  ('B100', 2, 'poor'): {
    'bicubic': (27.92, 0.7504),
    'edsr_plus': (27.56, 0.7135),
    'zssr': (28.61, 0.7809),
  },
}
