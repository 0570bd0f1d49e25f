"""A 3x3 convolution whose weight gradient is fast on CPU.

XLA's own weight gradient treats one of the two activations as a huge
convolution kernel. Its cost on CPU depends on which of the two, and by up to
50 times on the channel counts (docs/results/speed.md). Inside a loop body XLA
also leaves it in a layout that has no fast path, unless the transposes into
the canonical NHWC/HWIO layout are written out. Other backends keep autodiff.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

_NHWC = ('NHWC', 'HWIO', 'NHWC')


def weight_gradient(x: jax.Array, g: jax.Array, side: int) -> jax.Array:
  """Gradient of `conv2d` with respect to its weights.

  Args:
    x: input `[N, H, W, I]`.
    g: gradient of the output `[N, H, W, O]`.
    side: side of the kernel, odd.

  Returns:
    `[side, side, I, O]`.
  """
  pad = (side // 2, side // 2)

  def correlate(image, kernel):
    # Channels become the batch and the batch the channels.
    return lax.conv_general_dilated(
      image.transpose(3, 1, 2, 0),
      kernel.transpose(1, 2, 0, 3),
      (1, 1),
      (pad, pad),
      dimension_numbers=_NHWC,
    )

  if x.shape[-1] <= g.shape[-1]:
    return correlate(x, g).transpose(1, 2, 0, 3)
  # The activation with more channels does better as the kernel; exchanging
  # the two mirrors the result.
  return jnp.flip(correlate(g, x), (1, 2)).transpose(1, 2, 3, 0)


@jax.custom_vjp
def conv2d(x: jax.Array, w: jax.Array) -> jax.Array:
  """Stride-1 convolution with zero padding, output as large as the input.

  Args:
    x: `[N, H, W, I]`.
    w: `[side, side, I, O]`, odd side.

  Returns:
    `[N, H, W, O]`.
  """
  return lax.conv_general_dilated(x, w, (1, 1), 'SAME', dimension_numbers=_NHWC)


def _forward(x, w):
  return conv2d(x, w), (x, w)


def _backward(saved, g):
  x, w = saved
  mirrored = jnp.flip(w, (0, 1)).swapaxes(2, 3)

  def autodiff(x, g):
    return jax.linear_transpose(lambda w: conv2d.fun(x, w), w)(g)[0]

  w_gradient = lax.platform_dependent(
    x, g, cpu=lambda x, g: weight_gradient(x, g, w.shape[0]), default=autodiff
  )
  return conv2d.fun(g, mirrored), w_gradient


conv2d.defvjp(_forward, _backward)
