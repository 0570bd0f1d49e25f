"""Training losses by name; the sum of those that a config names is minimised.

A loss is a function `(output, father) -> scalar` of two arrays `[N, H, W, C]`,
the father in [0, 1]. At the end of this file stands what the rest must know
of each; `zssr_jax.registry` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zssr_jax import registry
from zssr_jax.models import vgg
from zssr_jax.ops import color

Layers = tuple[tuple[str, float], ...]  # names of `vgg.Vgg16`, and weights
Function = Callable[..., jax.Array]


class Loss(NamedTuple):
  """What the rest must know of a loss."""

  function: Function
  settings: tuple[str, ...] = ()  # fields of `Config` passed as keywords
  network: str | None = None  # whose variables are passed as `variables`
  channels: tuple[int, ...] | None = None  # that it is made for; None: any
  otherwise: str | None = None  # the loss of images with others; None: error


class Term(NamedTuple):
  """A loss of one run, hashable."""

  name: str
  weight: float
  function: Function
  options: tuple[tuple[str, Any], ...] = ()  # keyword arguments
  network: str | None = None


def terms_of(
  losses: Iterable[tuple[str, float]],
  channels: int,
  settings: Any = None,
  own: Mapping[str, tuple[float, Function]] | None = None,
) -> tuple[Term, ...]:
  """Looks up what is to be minimised.

  Args:
    losses: names and weights, such as `Config.losses`.
    channels: of the image.
    settings: the `Config`, for the losses that have fields of it.
    own: a user's losses, (weight, function) by name.

  Returns:
    A term a loss; weights of the same one are added up, those of 0 left out.

  Raises:
    ValueError: for an unknown name, a name that is there twice, or a loss
      that is not for so many channels; or for no loss at all.
  """
  weights: dict[str, float] = {}
  for name, weight in losses:
    loss = registry.LOSSES[name]
    if loss.channels is not None and channels not in loss.channels:
      if loss.otherwise is None:
        made_for = ' or '.join(map(str, loss.channels))
        raise ValueError(
          f'a {name} loss is for {made_for} channels, not {channels}'
        )
      name = loss.otherwise
    weights[name] = weights.get(name, 0.0) + weight
  weights = {name: weight for name, weight in weights.items() if weight}
  terms = []
  for name, weight in weights.items():
    loss = registry.LOSSES[name]
    options = tuple(
      (field, getattr(settings, field)) for field in loss.settings
    )
    terms.append(Term(name, weight, loss.function, options, loss.network))
  for name, (weight, function) in (own or {}).items():
    if name in weights:
      raise ValueError(f'the loss {name!r} is there twice; give yours a name')
    terms.append(Term(name, float(weight), function))
  if not terms:
    raise ValueError('there is no loss to minimise')
  return tuple(terms)


def evaluate(
  terms: Iterable[Term],
  output: jax.Array,
  father: jax.Array,
  variables: Mapping[str, Any] | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Returns the sum of all losses, and each times its weight, by name.

  Args:
    terms: from `terms_of`.
    output: `[N, H, W, C]`, what the network makes of the sons.
    father: of the same shape, in [0, 1].
    variables: of the networks that losses take, by their names.
  """
  parts = {}
  for term in terms:
    options = dict(term.options)
    if term.network is not None:
      options['variables'] = (variables or {})[term.network]
    parts[term.name] = term.weight * term.function(output, father, **options)
  total, *others = parts.values()
  for part in others:
    total = total + part
  return total, parts


def l1(output: jax.Array, father: jax.Array) -> jax.Array:
  """Mean absolute difference of two arrays of equal shape (section 3.1)."""
  return jnp.mean(jnp.abs(output - father))


def luma(output: jax.Array, father: jax.Array) -> jax.Array:
  """`l1` of the luma of RGB images alone.

  Luma is what published tables score and what the eye sees most of.
  """
  return l1(color.studio_luma(output), color.studio_luma(father))


def l2(output: jax.Array, father: jax.Array) -> jax.Array:
  """Mean square of the difference."""
  return jnp.mean((output - father) ** 2)


def half_square_sum(output: jax.Array, father: jax.Array) -> jax.Array:
  """Half the sum of squares an image, as VDSR is trained."""
  return 0.5 * jnp.sum((output - father) ** 2) / output.shape[0]


def features(
  variables: Any, images: jax.Array, names: Iterable[str]
) -> dict[str, jax.Array]:
  """Computes VGG16's feature maps of images, by layer.

  Args:
    variables: of `vgg.Vgg16`.
    images: `[N, H, W, C]` in [0, 1], C = 1 or 3.
    names: of the layers.

  Raises:
    ValueError: for another number of channels, or images too small.
  """
  if images.shape[-1] == 1:
    images = jnp.tile(images, (1, 1, 1, 3))
  found: Any = vgg.Vgg16(tuple(names)).apply(variables, images)
  return found


def content(
  output: jax.Array, father: jax.Array, variables: Any, content_layers: Layers
) -> jax.Array:
  """Weighted sum of the L1 distances between two images' feature maps.

  The perceptual loss of Johnson et al. (ECCV 2016) with L1 for L2.

  Args:
    output: `[N, H, W, C]`, C = 1 or 3.
    father: of the same shape, in [0, 1].
    variables: of `vgg.Vgg16`.
    content_layers: the layers compared, and their weights.
  """
  names = [name for name, _ in content_layers]
  mine = features(variables, jnp.clip(output, 0.0, 1.0), names)
  wanted = features(variables, father, names)
  return sum(
    (weight * l1(mine[name], wanted[name]) for name, weight in content_layers),
    start=jnp.zeros(()),
  )


L1 = Loss(l1)
L2 = Loss(l2)
SUM = Loss(half_square_sum)
LUMA = Loss(luma, channels=(3,), otherwise='l1')
CONTENT = Loss(
  content, settings=('content_layers',), network='vgg16', channels=(1, 3)
)
