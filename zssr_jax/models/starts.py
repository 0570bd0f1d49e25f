"""Parameters that training starts from, in place of random ones.

Those of 'transferred' come with the package (`zssr_jax/weights`, whose card
says what they were trained on): the network of `pixel_shuffle` at its default
depth and width, trained on other images, for scales 2, 3 and 4.
"""

from __future__ import annotations

import os
import pathlib
from typing import Any

from zssr_jax.models import weights
from zssr_jax.ops import resize

FOLDER = pathlib.Path(__file__).parents[1] / 'weights'
_SCALES = (2, 3, 4)


def load_start(
  name: str | os.PathLike[str], scale: float | tuple[float, float]
) -> dict[str, Any] | None:
  """Loads what `config.start` names, for `train_image(..., start=)`.

  Args:
    name: 'random', 'transferred', or a file of bin/train_backbone.
    scale: upscaling factor or pair (y, x).

  Returns:
    The parameter tree, float32; None for 'random'.

  Raises:
    OSError: when the file is missing or cannot be read.
    ValueError: when it is no weight file or for another scale, or there is no
      start for this scale.
  """
  if name == 'random':
    return None
  y, x = resize.scale_pair(scale)
  if name != 'transferred':
    params, facts = weights.load_params(name)
    if facts.get('scale', y) != y or y != x:
      raise ValueError(
        f'{name}: is for scale {facts.get("scale")}, not {y:g} x {x:g}'
      )
    return params
  if y != x or y not in _SCALES:
    raise ValueError(
      f'there is no transferred start for scale {y:g} x {x:g}, only for'
      f' {", ".join(map(str, _SCALES))}; start from random'
    )
  return weights.load_params(FOLDER / f'start_x{y:g}.npz')[0]
