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

where c0 and P are what the image's spectrum says
(`kernel_estimation.spectrum`), until the input looks to the network as a son of
this kernel would. It moves in the middle third of the run. In the first,
fathers are as blurred as the input and their sons are no measure for it; in
the last, sons are made with the final kernel alone.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zssr_jax import blur_kernels
from zssr_jax.degradation import Degradation
from zssr_jax.training.kernel_source import Attempt

# What the spectrum says is taken this much narrower: less so than where it
# has the last word (`spectrum.estimate`), since learning narrows it, too.
_CAUTION = 0.85
_RATE = 0.01  # Adam's, of the root of the covariance in pixels
_EVERY = 3  # training steps to one of the kernel
_SPREAD = 0.75  # of the kernels drawn, in standard deviations of the prior
_CONSISTENCY = 2.0  # B
_BEGIN, _END = 1 / 3, 2 / 3  # share of the run between which it is learnt
_NARROWEST = 0.05  # variance, HR pixels squared


class Learnt(NamedTuple):
  """The kernel so far, and its optimiser."""

  root: jax.Array  # float32 [3], lower triangular root (a, b, c) of c
  optimizer: Any


class JointKernel(NamedTuple):
  """A `kernel_source.Source`."""

  degradation: Degradation  # at the whole scale, with the kernel so far
  covariance: np.ndarray  # float64 [2, 2] in (y, x), HR pixels squared, so far
  prior: np.ndarray  # the same, what the spectrum says
  precision: np.ndarray  # float64 [3, 3], its precision, of (yy, yx, xx)

  def at(
    self, factors: tuple[float, float], progress: tuple[float, float]
  ) -> Stage:
    """Returns the source of a gradual stage, all in its own HR pixels."""
    scale = self.degradation.scale
    y, x = (f / s for f, s in zip(factors, scale, strict=True))
    stretch = np.array([y * y, y * x, x * x])
    precision = self.precision / np.outer(stretch, stretch)
    # Where the spectrum says nothing, draws must stay finite all the same.
    spread = np.linalg.cholesky(
      np.linalg.inv(precision + np.diag(1 / (2 * stretch) ** 2))
    )
    return Stage(
      start=jnp.asarray(_three(self.covariance) * stretch, jnp.float32),
      prior=jnp.asarray(_three(self.prior) * stretch, jnp.float32),
      precision=jnp.asarray(precision, jnp.float32),
      spread=jnp.asarray(spread, jnp.float32),
      progress=jnp.asarray(progress, jnp.float32),
      degradation=self.degradation.replace(scale=factors, kernel=None),
      ratio=(y, x),
    )

  def knowing(self, told: Sequence[np.ndarray]) -> JointKernel:
    """Returns the source after a stage: the mean of its networks' kernels."""
    covariance = np.mean(told, axis=0)
    kernel = blur_kernels.gaussian_of(covariance, self.degradation.scale)
    return self._replace(
      covariance=covariance, degradation=self.degradation.replace(kernel=kernel)
    )


def make_joint_kernel(
  degradation: Degradation, covariance: np.ndarray, precision: np.ndarray
) -> JointKernel:
  """Makes the source that a run begins with.

  Args:
    degradation: with the kernel that the image's spectrum tells.
    covariance: `[2, 2]` in (y, x), HR pixels squared, of the spectrum's fit.
    precision: `[3, 3]`, its precision, of (yy, yx, xx).
  """
  prior = _CAUTION * covariance
  return JointKernel(degradation, prior, prior, precision)


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=[
    'start',
    'prior',
    'precision',
    'spread',
    'progress',
    'degradation',
  ],
  meta_fields=['ratio'],
)
@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
  """A `kernel_source.StageSource`; all in HR pixels of the stage."""

  start: jax.Array  # float32 [3], covariance (yy, yx, xx) to begin with
  prior: jax.Array  # float32 [3], c0
  precision: jax.Array  # float32 [3, 3], P
  spread: jax.Array  # float32 [3, 3], a root of P's inverse
  progress: jax.Array  # float32 [2], share of the run at its begin and end
  degradation: Degradation  # without a kernel
  ratio: tuple[float, float]  # the stage's factors (y, x) over the run's

  def init(self) -> Learnt:
    """Returns the kernel before a stage's first step."""
    yy, yx, xx = _proper(self.start)
    a = jnp.sqrt(yy - _NARROWEST)
    b = yx / a
    root = jnp.stack([a, b, jnp.sqrt(xx - _NARROWEST - b * b)])
    return Learnt(root, _optimizer().init(root))

  def draw(
    self, key: jax.Array, learnt: Learnt, share: jax.Array
  ) -> tuple[Degradation, jax.Array]:
    """Draws a degradation around the kernel, and its covariance `[3]`."""
    spread = jnp.where(self._learns(share), _SPREAD, 0.0)
    offset = jnp.sum(self.spread * jax.random.normal(key, (3,))[None], axis=1)
    covariance = _proper(_of_root(learnt.root) + spread * offset)
    return self._degradation(covariance), covariance

  def update(
    self,
    learnt: Learnt,
    step: jax.Array,
    share: jax.Array,
    attempt: Attempt,
    son: tuple[jax.Array, jax.Array, jax.Array],
  ) -> Learnt:
    """Takes a step of the kernel, when one is due."""
    slope = jax.grad(self.unexplained)

    def move(learnt):
      now, to_root = jax.vjp(_of_root, learnt.root)
      prior = jnp.sum(self.precision * (now - self.prior)[None], axis=1)
      image, result = attempt()
      odd = slope(now, image, result)
      usual = slope(son[2], son[0], son[1])
      (gradient,) = to_root(prior + _CONSISTENCY * (odd - usual))
      with jax.numpy_dtype_promotion('standard'):
        change, optimizer = _optimizer().update(gradient, learnt.optimizer)
      return Learnt(learnt.root + change, optimizer)

    due = (step % _EVERY == 0) & self._learns(share)
    return jax.lax.cond(due, move, lambda learnt: learnt, learnt)

  def told(self, learnt: Learnt) -> np.ndarray:
    """Returns the covariance `[2, 2]` in (y, x), in the run's HR pixels²."""
    yy, yx, xx = np.asarray(_of_root(learnt.root), np.float64)
    return np.array([[yy, yx], [yx, xx]]) / np.outer(self.ratio, self.ratio)

  def padded(self, shape: tuple[int, int]) -> Stage:
    """Returns itself, for there is no kernel to be padded."""
    del shape
    return self

  def unexplained(
    self, covariance: jax.Array, image: jax.Array, result: jax.Array
  ) -> jax.Array:
    """Returns r of this module, a scalar.

    Args:
      covariance: `[3]`, (yy, yx, xx).
      image: `[h, w, C]`.
      result: what the network makes of it `[H, W, C]`.
    """
    rest = self._degradation(covariance).unexplained(result, image)
    rows, columns = rest.shape[:2]
    margin = min(8, rows // 4, columns // 4)
    rest = rest[margin : rows - margin, margin : columns - margin]
    return jnp.log(jnp.mean(rest**2) + 1e-8)

  def _degradation(self, covariance: jax.Array) -> Degradation:
    kernel = taps(covariance, self.degradation.scale)
    return self.degradation.replace(kernel=kernel)

  def _learns(self, share: jax.Array) -> jax.Array:
    begin, end = self.progress
    now = begin + (end - begin) * share
    return (now >= _BEGIN) & (now < _END)


def taps(covariance: jax.Array, scale: tuple[float, float]) -> jax.Array:
  """Makes the centred Gaussian kernel of a covariance, differentiably.

  Args:
    covariance: `[3]`, (yy, yx, xx).
    scale: factors (y, x); decides size and centre.

  Returns:
    float32 `[n, n]`, the size that `blur_kernels.gaussian_kernel` has.
  """
  widest = max(scale)
  size = blur_kernels.gaussian_side(widest, widest)
  center = blur_kernels.aligned_center((size, size), scale)
  y = (jnp.arange(size, dtype=jnp.float32) - center[0])[:, None]
  x = (jnp.arange(size, dtype=jnp.float32) - center[1])[None]
  yy, yx, xx = covariance
  exponent = (xx * y * y - 2 * yx * y * x + yy * x * x) / (yy * xx - yx * yx)
  kernel = jnp.exp(-0.5 * exponent)
  return kernel / kernel.sum()


def _three(matrix: np.ndarray) -> np.ndarray:
  return np.asarray([matrix[0, 0], matrix[0, 1], matrix[1, 1]])


def _optimizer() -> optax.GradientTransformation:
  return optax.adam(_RATE)


def _of_root(root: jax.Array) -> jax.Array:
  a, b, c = root
  return jnp.stack([a * a + _NARROWEST, a * b, b * b + c * c + _NARROWEST])


def _proper(covariance: jax.Array) -> jax.Array:
  """Brings three numbers to about the nearest covariance."""
  yy = jnp.maximum(covariance[0], 2 * _NARROWEST)
  xx = jnp.maximum(covariance[2], 2 * _NARROWEST)
  limit = 0.95 * jnp.sqrt((yy - _NARROWEST) * (xx - _NARROWEST))
  return jnp.stack([yy, jnp.clip(covariance[1], -limit, limit), xx])
