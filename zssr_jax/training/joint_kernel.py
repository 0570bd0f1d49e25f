"""A Gaussian kernel that is learnt in the same steps as the network.

Minimising the network's own loss over the kernel would reward a delta. The
kernel, of covariance c, has a criterion of its own. While it is learnt, sons
are made with kernels drawn around it, so the network knows several, undoes a
middle one, and what its result leaves unexplained of an image x,

  r(x, c) = log mean |down_c(net(x)) - x|^2,

falls where c comes nearer to the kernel that made x. It is least at a kernel
somewhat too narrow, for the input and for sons alike; but of the sons the true
kernels are known. So the kernel is moved along

  P (c - c0)  +  B (dr/dc (input, c)  -  dr/dc (son, its own c)),

c0 and P being what the image's spectrum says (`kernel_estimation.spectrum`):
until the input looks to the network as a son of this kernel would. That is in
the middle third of the run. In the first, fathers are as blurred as the input
and their sons no measure for it; in the last, sons are made with the final
kernel alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zssr_jax import blur_kernels, degradation

_RATE = 0.01  # Adam's, of the root of the covariance in pixels
_EVERY = 3  # training steps to one of the kernel
_SPREAD = 0.75  # of the kernels drawn, in standard deviations of the prior
_CONSISTENCY = 2.0  # B
_BEGIN, _END = 1 / 3, 2 / 3  # share of the run between which it is learnt
_NARROWEST = 0.05  # variance, HR pixels squared


class Blind(NamedTuple):
  """What a stage needs in place of a kernel; HR pixels of that stage."""

  start: jax.Array  # float32 [3], covariance (yy, yx, xx) to begin with
  prior: jax.Array  # float32 [3], c0
  precision: jax.Array  # float32 [3, 3], P
  spread: jax.Array  # float32 [3, 3], a root of P's inverse
  progress: jax.Array  # float32 [2], share of the run at its begin and end


class State(NamedTuple):
  """The kernel and its optimiser."""

  root: jax.Array  # float32 [3], lower triangular root (a, b, c) of c
  optimizer: Any


def make_blind(
  covariance: np.ndarray,
  prior: np.ndarray,
  precision: np.ndarray,
  *,
  ratio: tuple[float, float],
  progress: tuple[float, float],
) -> Blind:
  """Brings covariances of the whole scale to that of a stage.

  Args:
    covariance: `[2, 2]` in (y, x), where to begin, at the whole scale.
    prior: the same, what the spectrum says.
    precision: `[3, 3]`, its precision, of (yy, yx, xx).
    ratio: the stage's factors (y, x) over the whole scale's.
    progress: share of the run done at the stage's begin and end.
  """
  y, x = ratio
  stretch = np.array([y * y, y * x, x * x])
  precision = precision / np.outer(stretch, stretch)
  # Where the spectrum says nothing, draws must stay finite all the same.
  spread = np.linalg.cholesky(
    np.linalg.inv(precision + np.diag(1 / (2 * stretch) ** 2))
  )
  values = (
    _three(covariance) * stretch,
    _three(prior) * stretch,
    precision,
    spread,
    progress,
  )
  return Blind(*(jnp.asarray(v, jnp.float32) for v in values))


def _three(matrix: np.ndarray) -> np.ndarray:
  return np.asarray([matrix[0, 0], matrix[0, 1], matrix[1, 1]])


def init(blind: Blind) -> State:
  """The state before a stage's first step."""
  yy, yx, xx = _proper(blind.start)
  a = jnp.sqrt(yy - _NARROWEST)
  b = yx / a
  root = jnp.stack([a, b, jnp.sqrt(xx - _NARROWEST - b * b)])
  return State(root, _optimizer().init(root))


def covariance(state: State) -> np.ndarray:
  """The kernel's covariance `[2, 2]` in (y, x), HR pixels of the stage."""
  yy, yx, xx = np.asarray(_of_root(state.root), np.float64)
  return np.array([[yy, yx], [yx, xx]])


def taps(covariance: jax.Array, scale: tuple[float, float]) -> jax.Array:
  """The centred Gaussian kernel of a covariance, differentiable.

  Args:
    covariance: `[3]`, (yy, yx, xx).
    scale: factors (y, x); decides size and centre.

  Returns:
    float32 `[n, n]`, the size that `blur_kernels.gaussian_kernel` has.
  """
  widest = max(scale)
  size = 2 * math.ceil(4 * widest + (widest - 1) / 2) + 1
  center = blur_kernels.aligned_center((size, size), scale)
  y = (jnp.arange(size, dtype=jnp.float32) - center[0])[:, None]
  x = (jnp.arange(size, dtype=jnp.float32) - center[1])[None]
  yy, yx, xx = covariance
  exponent = (xx * y * y - 2 * yx * y * x + yy * x * x) / (yy * xx - yx * yx)
  kernel = jnp.exp(-0.5 * exponent)
  return kernel / kernel.sum()


def draw(
  key: jax.Array, state: State, blind: Blind, share: jax.Array
) -> jax.Array:
  """Covariance of the kernel of a son, `[3]`.

  Args:
    key: random key.
    state: holds the current kernel.
    blind: says how far around it to draw.
    share: of the stage that is done, 0 to 1.
  """
  spread = jnp.where(_learns(blind, share), _SPREAD, 0.0)
  offset = jnp.sum(blind.spread * jax.random.normal(key, (3,))[None], axis=1)
  return _proper(_of_root(state.root) + spread * offset)


def unexplained(
  covariance: jax.Array,
  image: jax.Array,
  result: jax.Array,
  scale: tuple[float, float],
) -> jax.Array:
  """Returns r of this module, a scalar.

  Args:
    covariance: `[3]`, (yy, yx, xx).
    image: `[h, w, C]`.
    result: what the network makes of it `[H, W, C]`.
    scale: factors (y, x).
  """
  again = degradation.downscale(result, scale, taps(covariance, scale))
  rows, columns = (
    min(a, b) for a, b in zip(image.shape[:2], again.shape[:2], strict=True)
  )
  rest = again[:rows, :columns] - image[:rows, :columns]
  margin = min(8, rows // 4, columns // 4)
  rest = rest[margin : rows - margin, margin : columns - margin]
  return jnp.log(jnp.mean(rest**2) + 1e-8)


def update(
  state: State,
  blind: Blind,
  step: jax.Array,
  share: jax.Array,
  *,
  attempt: Callable[[], tuple[jax.Array, jax.Array]],
  son: tuple[jax.Array, jax.Array, jax.Array],
  scale: tuple[float, float],
) -> State:
  """Takes a step of the kernel, when one is due.

  Args:
    state: before.
    blind: the prior.
    step: number of the training step.
    share: of the stage that is done, 0 to 1.
    attempt: returns a crop of the input `[h, w, C]` and the network's result
      for it; called only when needed.
    son: a son, the network's result for it, and its covariance `[3]`.
    scale: factors (y, x).
  """
  slope = jax.grad(unexplained)

  def move(state):
    now, to_root = jax.vjp(_of_root, state.root)
    prior = jnp.sum(blind.precision * (now - blind.prior)[None], axis=1)
    image, result = attempt()
    odd = slope(now, image, result, scale)
    usual = slope(son[2], son[0], son[1], scale)
    (gradient,) = to_root(prior + _CONSISTENCY * (odd - usual))
    with jax.numpy_dtype_promotion('standard'):
      change, optimizer = _optimizer().update(gradient, state.optimizer)
    return State(state.root + change, optimizer)

  due = (step % _EVERY == 0) & _learns(blind, share)
  return jax.lax.cond(due, move, lambda state: state, state)


def _learns(blind: Blind, share: jax.Array) -> jax.Array:
  begin, end = blind.progress
  now = begin + (end - begin) * share
  return (now >= _BEGIN) & (now < _END)


def _optimizer() -> optax.GradientTransformation:
  return optax.adam(_RATE)


def _of_root(root: jax.Array) -> jax.Array:
  a, b, c = root
  return jnp.stack([a * a + _NARROWEST, a * b, b * b + c * c + _NARROWEST])


def _proper(covariance: jax.Array) -> jax.Array:
  """The nearest covariance that is one, roughly."""
  yy = jnp.maximum(covariance[0], 2 * _NARROWEST)
  xx = jnp.maximum(covariance[2], 2 * _NARROWEST)
  limit = 0.95 * jnp.sqrt((yy - _NARROWEST) * (xx - _NARROWEST))
  return jnp.stack([yy, jnp.clip(covariance[1], -limit, limit), xx])
