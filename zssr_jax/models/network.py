"""What the rest of the program must know of a network.

A file of this folder that defines a network ends with its `Network`, and
`zssr_jax.registry` lists it. The functions below say how the arrays of a
published file lie; `weights.conversion` uses them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax.ops import resize
from zssr_jax.ops.resize import Scale

# Where an array of a published file goes in our tree, and what lays it out as
# ours lie; None: it is of no use to us.
Place = tuple[str, Callable[[np.ndarray], np.ndarray]] | None
# A pattern that a published name matches as a whole, and its place.
Rule = tuple[str, Callable[[re.Match[str]], Place]]


@dataclasses.dataclass(frozen=True)
class Published:
  """How the files of a network's authors become parameters of ours.

  Attributes:
    rules: the known names; they hold for every kind of file.
    see_scale: `(leaves, scale) -> scale` sees from arrays by their paths what
      they are for; it raises ValueError where `scale` says another. Without
      it the user's word is taken.
    shapes: `(leaves) -> tree` of the shapes that belong together, where they
      are not those of the whole network.
    finish: `(params, arrays, scale)` changes the tree in place, once it is
      whole: float64; `arrays` are those of the file.
    file: the authors' file in the data root, where it has one.
    file_scale: the scale that file is for; None: for all.
  """

  rules: tuple[Rule, ...]
  see_scale: Callable[[Mapping[str, np.ndarray], int | None], Any] | None = None
  shapes: Callable[[Mapping[str, np.ndarray]], Any] | None = None
  finish: Callable[[dict[str, Any], Mapping[str, Any], Any], None] | None = None
  file: str = ''
  file_scale: int | None = None


@dataclasses.dataclass(frozen=True)
class Network:
  """One network, or one size of it.

  Attributes:
    make: `make(scale=(y, x), depth=, width=, gain=)` builds the module, called
      as `module(lr, interpolated) -> hr`, see `models.zssr`. `scale` must be
      given; a network of fixed size does nothing with the others. It raises
      ValueError for a scale that the network is not made for.
    color: what it works on: 'any' number of channels, luma ('y') or 'rgb'.
    reach: how many pixels away its layers look at most, as a function of
      depth; pixels of what it works on, which holds in pixels of the LR image
      as well.
    at_lr: it works on the LR image, not on the interpolated one.
    any_scale: one set of weights serves all scales, so that it may be trained
      for several.
    parts: modules at the top of its tree that must come trained, and the
      network that each of them is: `{'backbone': 'vdsr'}`.
    family: its name for --weights and in the tables, where it has another.
    ensemble: the tables have a method NAME_plus, the mean of eight copies.
    tile: side of a tile in pixels of what it works on: bounds the memory, and
      spares large images a compilation each.
    published: the files of its authors, where such can be converted.
  """

  make: Callable[..., nn.Module]
  color: str
  reach: Callable[[int], int]
  at_lr: bool = False
  any_scale: bool = False
  parts: Mapping[str, str] = dataclasses.field(default_factory=dict)
  family: str = ''
  ensemble: bool = False
  tile: int = 256
  published: Published | None = None

  def shapes(self, scale: Scale) -> Any:
    """Returns the shapes of the parameters at a scale; nothing is computed.

    Returns:
      A tree of `jax.ShapeDtypeStruct`.

    Raises:
      ValueError: as `make`.
    """
    pair = resize.scale_pair(scale)
    channels = 1 if self.color == 'y' else 3
    # Parameters do not depend on the sizes of the images.
    lr, hr = (
      jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
      for size in ((8, 8), resize.scaled_shape((8, 8), pair))
    )
    model = self.make(scale=pair)
    return jax.eval_shape(model.init, jax.random.key(0), lr, hr)['params']


def hwio(array: np.ndarray) -> np.ndarray:
  """Returns a kernel `[h, w, I, O]`, which lies as ours do.

  Raises:
    ValueError: for another number of axes.
  """
  if array.ndim != 4:
    raise ValueError('no kernel of a convolution')
  return array


def oihw(array: np.ndarray) -> np.ndarray:
  """Lays out a kernel `[O, I, h, w]` of torch; raises as `hwio`."""
  return hwio(array).transpose(2, 3, 1, 0)


def bias(array: np.ndarray) -> np.ndarray:
  """Flattens biases `[O]`, which may have axes of length 1.

  Raises:
    ValueError: for more than one longer axis.
  """
  if array.size != max(array.shape, default=0):
    raise ValueError('no row of biases')
  return array.reshape(-1)


def torch_rule(
  pattern: str, layer: str | Callable[[re.Match[str]], str]
) -> Rule:
  """Makes the rule for weights and biases of layers in torch's state dicts.

  Args:
    pattern: of their names before '.weight' and '.bias'.
    layer: the path of the layer in our tree, or what makes it of the match.
  """

  def place(match: re.Match[str]) -> Place:
    path = layer if isinstance(layer, str) else layer(match)
    if match['part'] == 'weight':
      return f'{path}/kernel', oihw
    return f'{path}/bias', bias

  return rf'(?:{pattern})\.(?P<part>weight|bias)', place


def nowhere(_: re.Match[str]) -> Place:
  """Returns None, the place of what is of no use."""
  return None
