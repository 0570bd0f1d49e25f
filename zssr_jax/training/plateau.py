"""ZSSR's learning-rate policy as an optax transformation.

Every `check_every` iterations a line is fitted to the last few reconstruction
errors. When the standard deviation of its slope exceeds the (negated, scaled)
slope, progress drowns in noise and the rate is divided (ZSSR section 3.1).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax


class PlateauOnStdState(NamedTuple):
  """State of `scale_by_plateau_on_std`."""

  iteration: jax.Array  # int32, completed iterations
  last_drop: jax.Array  # int32, iteration of the last drop, 0 at first
  drops: jax.Array  # int32, drops so far
  scale: jax.Array  # float32, factor on the updates
  steps: jax.Array  # float32 [window], iterations of the latest errors
  values: jax.Array  # float32 [window], the latest errors, oldest first
  recorded: jax.Array  # int32, errors recorded so far


def slope_and_std(
  steps: jax.Array, values: jax.Array, ddof: int
) -> tuple[jax.Array, jax.Array]:
  """Returns the slope of the least-squares line and its standard deviation.

  `var = (sum of squared residuals) / (n - ddof) / sum((t - mean t)**2)`.
  With `ddof` 2 that is the unbiased estimate and numpy's since 1.16; before,
  `numpy.polyfit` divided by `n - 4`, which is what the published numbers were
  made with (for n = 5 a standard deviation sqrt(3) larger).

  Args:
    steps: iterations `[n]`.
    values: errors `[n]`.
    ddof: see above, less than n.
  """
  t = steps - jnp.mean(steps)
  # Errors are about 1e-4; squared residuals of the raw values would be near
  # the end of float32's normal range.
  unit = jnp.maximum(jnp.max(jnp.abs(values)), 1e-30)
  v = (values - jnp.mean(values)) / unit
  spread = jnp.sum(t * t)
  slope = jnp.sum(t * v) / spread
  residual = v - slope * t
  variance = jnp.sum(residual**2) / (steps.shape[0] - ddof) / spread
  return slope * unit, jnp.sqrt(variance) * unit


def scale_by_plateau_on_std(
  *,
  check_every: int = 60,
  min_steps: int = 256,
  window: int = 5,
  slope_factor: float = 1.5,
  factor: float = 0.1,
  ddof: int = 4,
) -> optax.GradientTransformationExtraArgs:
  """Scales updates by a factor that drops when the error stops falling.

  Its update takes two more arguments: `value`, the latest measured error, and
  `is_new`, whether it was measured at the end of the previous iteration.
  Before iteration t (from 0) is scaled, the decision due after iteration
  t - 1 is taken: if t is a multiple of `check_every`, more than `min_steps`
  iterations have passed since the last drop and `window` errors are known,
  the rate drops when `-slope_factor * slope < std`.

  Args:
    check_every: iterations between decisions.
    min_steps: iterations that must have passed since the last drop.
    window: errors in the fit.
    slope_factor: weight of the slope against its standard deviation.
    factor: what a drop multiplies the rate by.
    ddof: see `slope_and_std`.

  Returns:
    An optax transformation with extra arguments.

  Raises:
    ValueError: for values that make no schedule.
  """
  if check_every < 1 or min_steps < 0:
    raise ValueError('check_every must be at least 1, min_steps at least 0')
  if not 0 <= ddof < window or window < 3:
    raise ValueError('window must be at least 3 and larger than ddof')
  if not 0 < factor < 1:
    raise ValueError(f'factor must lie between 0 and 1: {factor}')

  def init(params):
    del params
    return PlateauOnStdState(
      iteration=jnp.zeros((), jnp.int32),
      last_drop=jnp.zeros((), jnp.int32),
      drops=jnp.zeros((), jnp.int32),
      scale=jnp.ones((), jnp.float32),
      steps=jnp.zeros((window,), jnp.float32),
      values=jnp.zeros((window,), jnp.float32),
      recorded=jnp.zeros((), jnp.int32),
    )

  def update(updates, state, params=None, *, value, is_new, **extra):
    del params, extra
    done = state.iteration - 1  # the iteration whose decision is due

    def record(series, entry):
      shifted = jnp.append(series[1:], jnp.asarray(entry, series.dtype))
      return jnp.where(is_new, shifted, series)

    steps = record(state.steps, done)
    values = record(state.values, value)
    recorded = state.recorded + jnp.asarray(is_new, jnp.int32)
    slope, std = slope_and_std(steps, values, ddof)
    drop = (
      (state.iteration > 0)
      & (state.iteration % check_every == 0)
      & (done - state.last_drop > min_steps)
      & (recorded >= window)
      & (-slope_factor * slope < std)
    )
    scale = jnp.where(drop, state.scale * factor, state.scale)
    state = PlateauOnStdState(
      iteration=state.iteration + 1,
      last_drop=jnp.where(drop, done, state.last_drop),
      drops=state.drops + jnp.asarray(drop, jnp.int32),
      scale=scale,
      steps=steps,
      values=values,
      recorded=recorded,
    )
    updates = jax.tree.map(lambda u: scale.astype(u.dtype) * u, updates)
    return updates, state

  return optax.GradientTransformationExtraArgs(init, update)
