"""A network that finds the blur kernel in an image's edges.

As in Schuler et al. (TPAMI 2016) a few maps show the image's derivatives as
they would be without the blur; the kernel is what makes of these maps the
derivatives that there are, a quotient of spectra; the image is deconvolved with
it, and the next of three stages begins with that. What is learnt is the squared
error of the kernel, so where an image tells little the kernel is a mean of what
is possible.

It is no network of `registry`: it makes no image.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import scipy  # loads its parts when they are first used

from zssr_jax.models import layers, upsamplers

SIDE = 17  # of a kernel, pixels of the image
_MAPS = 6
_PAD = 32  # of spectra, against what wraps around
_TAPER = 12  # pixels over which an image fades at its edges
_RIDGES = 1.0, 30.0  # two deconvolutions are shown, by more and less detail


class KernelFinder(nn.Module):
  """`[N, h, w] -> [N, SIDE, SIDE]`, non-negative, each sums to 1.

  Attributes:
    together: the N images were blurred by one kernel, and one is returned,
      `[1, SIDE, SIDE]`.
    stages: how often a kernel is found.
  """

  together: bool = False
  stages: int = 3

  @nn.compact
  def __call__(
    self, image: jax.Array, sharp: jax.Array | None = None
  ) -> list[jax.Array]:
    """Returns the kernels after each stage; the last are the best.

    Args:
      image: grey, of any range; its sides are multiples of 4.
      sharp: what it was before the blur, in training: the relative squared
        errors of the maps, `[N]` a stage, are then sown as 'errors'.

    Returns:
      Kernels of convolution, `image = sharp * kernel`: mirrored, compared with
      those of `degradation`.
    """
    mean = image.mean((1, 2))[:, None, None, None]
    y = image[..., None] - mean
    rough = jnp.square(y[:, 1:] - y[:, :-1]).mean((1, 2, 3), keepdims=True)
    unit = 4 * jnp.sqrt(rough) + 0.016
    y = y / unit
    if sharp is not None:
      sharp = (sharp[..., None] - mean) / unit
    shown, found = y, []
    for number in range(self.stages):
      stage = _Stage(together=self.together, name=f'stage{number}')
      kernel, noise = stage(shown, y, sharp)
      found.append(kernel)
      undone = [_deconvolve(y, kernel, ridge * noise) for ridge in _RIDGES]
      shown = jnp.concatenate([y, *undone], -1)
    return found


class _Stage(nn.Module):
  """Finds a kernel in an image `y`, of which `x` is a better view."""

  together: bool

  @nn.compact
  def __call__(self, x, y, sharp):
    def scalar(name, value):
      return self.param(name, nn.initializers.constant(value), ())

    filters = self.param('slopes', _derivatives)
    slopes = _filtered(y, filters)
    skip = self.param('skip', nn.initializers.ones, (_MAPS,))
    maps = _Maps(name='maps')(x) + skip.reshape(1, 1, 1, -1) * slopes
    if sharp is not None:
      wanted = _filtered(sharp, jax.lax.stop_gradient(filters))
      error = jnp.square(maps - wanted).sum((1, 2, 3))
      error /= jnp.square(wanted).sum((1, 2, 3)) + 1e-3
      self.sow('errors', 'error', error)
    weight = self.param('weight', nn.initializers.zeros, (_MAPS,))
    weight = jnp.exp(weight).reshape(1, 1, 1, -1)
    spectra = (
      jnp.fft.rfft2(a * _taper(y.shape), _wide(y.shape), axes=(1, 2))
      for a in (maps, slopes)
    )
    before, after = spectra
    cross = (_complex(weight) * before.conj() * after).sum(-1)
    power = (weight * jnp.square(jnp.abs(before))).sum(-1)
    if self.together:
      cross, power = (a.sum(0, keepdims=True) for a in (cross, power))
    ridge = jnp.exp(scalar('ridge', -2.0))
    power += ridge * power.mean((1, 2), keepdims=True)
    k = jnp.fft.irfft2(cross / _complex(power), _wide(y.shape), axes=(1, 2))
    k = jnp.roll(k, (SIDE // 2, SIDE // 2), (1, 2))[:, :SIDE, :SIDE]
    least = jnp.exp(scalar('least', -4.0)) * k.max((1, 2), keepdims=True)
    k = nn.relu(k - least) + 1e-6
    return k / k.sum((1, 2), keepdims=True), jnp.exp(scalar('noise', -4.0))


class _Maps(nn.Module):
  """Derivatives without the blur: `[N, h, w, C] -> [N, h, w, _MAPS]`."""

  @nn.compact
  def __call__(self, x):
    def layer(features, name, x, gain=2.0):
      return layers.Convolution(features, gain=gain, name=name)(x)

    fine = nn.relu(layer(32, 'in', _fold(x)))
    coarse = nn.relu(layer(48, 'down', _fold(fine)))
    coarse = nn.relu(coarse + layer(48, 'a', coarse))
    coarse = nn.relu(coarse + layer(48, 'b', coarse))
    wide = nn.relu(layer(64, 'up', coarse))
    wide = upsamplers.depth_to_space(wide, 2, 2)
    joined = jnp.concatenate([wide, fine], -1)
    joined = nn.relu(layer(32, 'join', joined))
    maps = layer(4 * _MAPS, 'out', joined, 0.5)
    return upsamplers.depth_to_space(maps, 2, 2)


def _complex(x: jax.Array) -> jax.Array:
  return x.astype(jnp.complex64)


def _derivatives(key: jax.Array) -> jax.Array:
  """Filters `[3, 3, 1, _MAPS]`, first differences and some noise."""
  filters = np.zeros((3, 3, 1, _MAPS), np.float32)
  filters[1, 1], filters[1, 0, 0, 0::2], filters[0, 1, 0, 1::2] = 1, -1, -1
  return 0.05 * jax.random.normal(key, filters.shape) + filters


def _filtered(image: jax.Array, filters: jax.Array) -> jax.Array:
  return jax.lax.conv_general_dilated(
    image, filters, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )


def _fold(x: jax.Array) -> jax.Array:
  """2x2 pixels to channels."""
  n, h, w, c = x.shape
  x = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(n, h // 2, w // 2, 4 * c)


def _wide(shape: tuple[int, ...]) -> tuple[int, int]:
  return shape[1] + _PAD, shape[2] + _PAD


def _taper(shape: tuple[int, ...]) -> np.ndarray:
  """Weights `[1, h, w, 1]` that fall to 0 at the edges."""
  ramps = [
    np.minimum(np.minimum(np.arange(n), n - 1 - np.arange(n)) + 0.5, _TAPER)
    for n in shape[1:3]
  ]
  taper = np.outer(*ramps).astype(np.float32) / _TAPER**2
  return taper[None, ..., None]


def _deconvolve(y: jax.Array, kernel: jax.Array, noise: jax.Array) -> jax.Array:
  """Deconvolves an image, its slopes kept small."""
  _, h, w, _ = y.shape
  half = _PAD // 2
  padded = jnp.pad(y[..., 0], ((0, 0), (half, half), (half, half)), 'symmetric')
  canvas = jnp.zeros((len(kernel), *_wide(y.shape)))
  canvas = canvas.at[:, :SIDE, :SIDE].set(kernel)
  canvas = jnp.roll(canvas, (-(SIDE // 2), -(SIDE // 2)), (1, 2))
  transfer = jnp.fft.rfft2(canvas, axes=(1, 2))
  rows, columns = _wide(y.shape)
  waves = [
    4 * np.sin(np.pi * f) ** 2
    for f in (scipy.fft.fftfreq(rows)[:, None], scipy.fft.rfftfreq(columns))
  ]
  ridge = noise * jnp.asarray((waves[0] + waves[1])[None], jnp.float32)
  spectrum = jnp.fft.rfft2(padded, axes=(1, 2))
  power = jnp.square(jnp.abs(transfer)) + ridge
  spectrum *= transfer.conj() / _complex(power)
  out = jnp.fft.irfft2(spectrum, (rows, columns), axes=(1, 2))
  return out[:, half : half + h, half : half + w, None]
