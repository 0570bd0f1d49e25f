"""KernelGAN: the blur kernel from an internal GAN on the image alone.

Bell-Kligler, Shocher, Irani: "Blind Super-Resolution Kernel Estimation using
an Internal-GAN", NeurIPS 2019. A generator downscales crops of the image by 2;
a discriminator sees 7x7 patches and tells those of the downscaled crops from
those of the image. The generator is deep but linear, so that once the patches
look alike it *is* the kernel.

Being linear, it is never run layer by layer: each step composes the one kernel
`k` [13, 13] of its layers (`compose`), and the losses see `k` alone. Values and
gradients are the same, for under a hundredth of the products. Every convolution
here is a product of patches and a matrix, which XLA runs fast on a CPU, inside
loops, too. Inside this file images are [C, H, W] in [-1, 1].

Known weakness: on images of 160x240 pixels the sparsity and boundary losses
outweigh what the discriminator says of the shape, and the kernels come out
compact and nearly round: better than bicubic for wide Gaussians, worse for
ones near a delta.

The crops differ from the paper's: those of the discriminator are drawn over
a wider blur of the gradient magnitude, so that both kinds show the same parts
of the image. Details the paper leaves open (initial weights, the boundary's
mask) are constants and functions below.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy  # loads its parts when they are first used

from zssr_jax import blur_kernels, errors
from zssr_jax.kernel_estimation.estimator import Estimator
from zssr_jax.ops import resize
from zssr_jax.ops.resize import Scale

# The deep linear generator: sides of its layers, and of all in one.
_SIDES = (7, 5, 3, 1, 1, 1)
_WIDTH = 64
_SIDE = sum(_SIDES) - len(_SIDES) + 1
# The discriminator: side of its patches, hidden layers of side 1.
_PATCH = 7
_HIDDEN = 5

_CROP = 64  # side of the generator's crop, at most
MIN_SIDE = 32  # of an image: 10x10 pixels are left of it, 4x4 patches

# Optimisation.
_RATE = 2e-4
_RATE_STEPS = 750  # iterations from one division of the rate by 10 to the next
_NOISE = 1 / 255  # standard deviation, on what the discriminator sees
_GAIN = 0.1  # of the initial weights, times Glorot's standard deviation
_CHUNK = 50  # iterations between two visits of the host

# Weights of the losses. Sparsity is a mean over the taps, the boundary a sum.
_SUM = 0.5
_BOUNDARY = 0.5
_CENTER = 1.0
_SPARSE = 5.0
_SPARSE_POWER = 0.2
# The bicubic loss shapes the first iterations and then fades.
_BICUBIC = 5.0
_BICUBIC_LEAST = 5e-6
_BICUBIC_LOW = 0.4  # the weighted loss has been learnt when it is below, ...
_BICUBIC_TIMES = 3  # ... this many times running
_BICUBIC_STEPS = 200  # iterations from one division to the next
_BICUBIC_DIVISOR = 100.0
_LATE = 5e-3  # with its weight below, centre and sparsity are asked for

# Post-processing: this share of this largest value is subtracted.
_RANK = 41
_SHARE = 0.75

# Keeps the gradient of |k|^0.2 finite.
_TINY = 1e-5
_EPSILON = 1e-5  # of batch normalisation

Layers = tuple[jax.Array, ...]  # each [side, side, in, out]


class Discriminator(NamedTuple):
  """Judges 7x7 patches: 7x7 layer, 5 x (1x1, normalise, ReLU), 1x1."""

  first: jax.Array  # [C * 49, 64]
  hidden: jax.Array  # [5, 64, 64], in, out
  last: jax.Array  # [64, 1]
  gain: jax.Array  # [5, 64], of the normalisation
  shift: jax.Array  # [5, 64]
  bias: jax.Array  # [], of the last layer


class Directions(NamedTuple):
  """Estimates of the first left singular vectors, for the spectral norm."""

  first: jax.Array  # [64]
  hidden: jax.Array  # [5, 64]
  last: jax.Array  # [1]


class State(NamedTuple):
  """All that an iteration changes."""

  step: jax.Array  # int32 [], iterations done
  generator: Layers
  discriminator: Discriminator
  directions: Directions
  generator_optimizer: Any
  discriminator_optimizer: Any
  low: jax.Array  # int32 [], times running that the bicubic loss was low
  bicubic: jax.Array  # float32 [], weight of the bicubic loss


def estimate(
  image: np.ndarray,
  scale: Scale,
  key: jax.Array,
  *,
  iterations: int = 3000,
) -> np.ndarray:
  """Estimates the kernel with which an image was downscaled.

  The result varies with the key, for some images widely.

  Args:
    image: the low-resolution image `[H, W, C]` in [0, 1].
    scale: 2 or 4, a number or an equal pair. The kernel of 4 is that of 2
      used twice.
    key: random key; the same one gives the same kernel.
    iterations: of the GAN. The schedules are the paper's for 3000.

  Returns:
    float32 `[h, w]` with odd sides, non-negative, sums to 1, its centre of
    mass at `blur_kernels.aligned_center`.

  Raises:
    ValueError: for another scale, an image that is not `[H, W, C]`, or fewer
      than one iteration; `NoKernelError`, which is one, for an image with a
      side below 32 pixels, or when the GAN fails.
  """
  scales = resize.scale_pair(scale)
  if scales not in ((2.0, 2.0), (4.0, 4.0)):
    raise ValueError(f'KernelGAN is for x2 and x4, not {scale!r}')
  image = np.asarray(image, np.float32)
  if image.ndim != 3:
    raise ValueError(f'an image is [H, W, C], not {image.shape}')
  if min(image.shape[:2]) < MIN_SIDE:
    raise errors.NoKernelError(
      f'an image of {image.shape[0]}x{image.shape[1]} pixels is too small for'
      f' KernelGAN: its shorter side needs at least {MIN_SIDE} pixels'
    )
  if iterations < 1:
    raise ValueError(f'iterations must be at least 1, not {iterations}')
  kernel = finish(_train(image, key, iterations))
  if scales[0] == 4:
    kernel = twice(kernel)
  return kernel


def finish(kernel: np.ndarray) -> np.ndarray:
  """Post-processing: drops the floor, normalises, centres.

  Args:
    kernel: `[h, w]` for scale 2, any sum.

  Returns:
    float32, as `estimate`.

  Raises:
    NoKernelError: when no tap is positive, or one is not finite.
  """
  kernel = np.asarray(kernel, np.float64)
  if not np.isfinite(kernel).all() or kernel.max() <= 0:
    raise errors.NoKernelError(
      'KernelGAN came to no kernel; another key may help'
    )
  floor = np.sort(kernel, axis=None)[-min(_RANK, kernel.size)]
  kernel = np.maximum(kernel - _SHARE * max(floor, 0.0), 0.0)
  return blur_kernels.resample_kernel(kernel / kernel.sum(), 2, 2, center=True)


def twice(kernel: np.ndarray) -> np.ndarray:
  """Returns the kernel of scale 4 that is a kernel of scale 2 used twice.

  Args:
    kernel: `[n, n]`, odd, sums to 1.

  Returns:
    float32 `[3 n - 2, 3 n - 2]`, its centre of mass aligned when the other's
    was.
  """
  spaced = np.zeros([2 * n - 1 for n in kernel.shape])
  spaced[::2, ::2] = kernel
  both = scipy.signal.convolve2d(np.asarray(kernel, np.float64), spaced)
  return (both / both.sum()).astype(np.float32)


def compose(layers: Layers) -> jax.Array:
  """Returns the one kernel that linear convolutions without bias amount to.

  Args:
    layers: each `[side, side, in, out]`, to be correlated in this order; the
      first has 1 channel in, the last 1 channel out.

  Returns:
    `[n, n]`, n = 1 + sum of (side - 1).
  """
  # From the end, where one channel is left: [n, n, channels in].
  rest = layers[-1][..., 0]
  for layer in reversed(layers[:-1]):
    product = jnp.einsum(
      'uvio,abo->uavbi', layer, rest, precision=jax.lax.Precision.HIGHEST
    )
    rest = _fold(_fold(product).transpose(1, 2, 0, 3)).swapaxes(0, 1)
  return rest[..., 0]


def _fold(x: jax.Array) -> jax.Array:
  """Sums `[U, A, ...]` over all pairs of equal u + a: `[U + A - 1, ...]`."""
  u, a, *others = x.shape
  padded = jnp.pad(x, ((0, 0), (0, u), *((0, 0) for _ in others)))
  # Reshaped to rows one shorter, each row starts one further to the right.
  flat = padded.reshape(u * (a + u), *others)[: u * (a + u - 1)]
  return flat.reshape(u, a + u - 1, *others).sum(0)


def patches(x: jax.Array, side: int, stride: int = 1) -> jax.Array:
  """Cuts `[C, H, W]` into all its windows: `[C, h, w, side * side]`."""
  rows = (x.shape[1] - side) // stride + 1
  columns = (x.shape[2] - side) // stride + 1
  x = jnp.stack(
    [x[:, u : u + stride * (rows - 1) + 1 : stride] for u in range(side)], -1
  )
  x = jnp.stack(
    [x[:, :, v : v + stride * (columns - 1) + 1 : stride] for v in range(side)],
    -1,
  )
  return x.reshape(*x.shape[:3], side * side)


def bicubic_kernel() -> np.ndarray:
  """Returns antialiased bicubic downscaling by 2 as a kernel `[13, 13]`."""
  size = 4 * _SIDE
  row = resize.resize_matrix(size, size // 2, 0.5)[_SIDE]
  # That output lies between the input samples 2 * 13 and 2 * 13 + 1.
  first = 2 * _SIDE - _SIDE // 2
  taps = row[first : first + _SIDE]
  return np.outer(taps, taps).astype(np.float32)


def boundary_mask() -> np.ndarray:
  """Returns each tap's penalty, exponential in its distance: `[13, 13]`."""
  y, x = (
    np.arange(_SIDE) - c for c in blur_kernels.aligned_center((_SIDE, _SIDE), 2)
  )
  distance = np.hypot(y[:, None], x[None, :])
  return np.exp(2 * (distance - _SIDE // 2)).astype(np.float32)


def normalise(
  weight: jax.Array, direction: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Divides `[..., in, out]` by its spectral norm, by one power iteration.

  Returns:
    The weights and the new direction `[..., out]`.
  """
  fixed = jax.lax.stop_gradient(weight)

  def unit(v):
    return v / (jnp.sqrt(jnp.sum(v**2, -1, keepdims=True)) + 1e-12)

  other = unit(jnp.einsum('...io,...o->...i', fixed, direction))
  direction = unit(jnp.einsum('...io,...i->...o', fixed, other))
  norm = jnp.einsum('...i,...io,...o->...', other, weight, direction)
  return weight / norm[..., None, None], direction


def discriminate(
  weights: Discriminator, directions: Directions, images: jax.Array
) -> tuple[jax.Array, Directions]:
  """Maps each 7x7 patch to the probability that it is real.

  Args:
    weights: of the discriminator.
    directions: for the spectral norm.
    images: `[N, C, H, W]`; each is normalised by its own statistics.

  Returns:
    `[N, (H - 6) * (W - 6)]` and the new directions.
  """
  first, first_direction = normalise(weights.first, directions.first)
  hidden, hidden_direction = normalise(weights.hidden, directions.hidden)
  last, last_direction = normalise(weights.last, directions.last)
  x = jax.vmap(lambda image: patches(image, _PATCH))(images)
  x = x.transpose(0, 2, 3, 1, 4).reshape(len(images), -1, first.shape[0])
  for layer in range(_HIDDEN):
    # There is nothing between the first two layers, so they are one matrix.
    x = x @ (first @ hidden[0] if layer == 0 else hidden[layer])
    mean = jnp.mean(x, 1, keepdims=True)
    x = x - mean
    variance = jnp.mean(x**2, 1, keepdims=True)
    x = x * jax.lax.rsqrt(variance + _EPSILON)
    x = x * weights.gain[layer][None, None]
    x = jax.nn.relu(x + weights.shift[layer][None, None])
  logit = (x @ last)[..., 0] + weights.bias
  return (
    jax.nn.sigmoid(logit),
    Directions(first_direction, hidden_direction, last_direction),
  )


def generate(kernel: jax.Array, windows: jax.Array) -> jax.Array:
  """Downscales by 2: windows `[C, h, w, 169]` to `[C, h, w]`."""
  return jnp.einsum('chwk,k->chw', windows, kernel.reshape(-1))


def _center_distance(kernel: jax.Array) -> jax.Array:
  """Returns how far the centre of mass is from the aligned one, in taps."""
  y, x = blur_kernels.aligned_center((_SIDE, _SIDE), 2)
  place = jnp.arange(_SIDE, dtype=kernel.dtype)
  total = jnp.sum(kernel)
  rows = jnp.sum(kernel, 1) @ place / total - y
  columns = jnp.sum(kernel, 0) @ place / total - x
  return jnp.sqrt(rows**2 + columns**2 + _TINY)


def _optimizer() -> optax.GradientTransformation:
  rate = optax.exponential_decay(_RATE, _RATE_STEPS, 0.1, staircase=True)
  return optax.adam(rate, b1=0.5)


def _descend(gradient: Any, state: Any, weights: Any) -> tuple[Any, Any]:
  # optax's Adam mixes dtypes, which the strict mode of tests forbids.
  with jax.numpy_dtype_promotion('standard'):
    update, state = _optimizer().update(gradient, state)
  return optax.apply_updates(weights, update), state


def init(key: jax.Array, channels: int) -> State:
  """Draws the first state for images of so many channels."""
  keys = iter(jax.random.split(key, 32))

  def draw(*shape, fan):
    deviation = _GAIN * math.sqrt(2 / sum(fan))
    return deviation * jax.random.normal(next(keys), shape)

  layers = []
  width = 1
  for index, side in enumerate(_SIDES):
    out = 1 if index == len(_SIDES) - 1 else _WIDTH
    fan = (side**2 * width, side**2 * out)
    layers.append(draw(side, side, width, out, fan=fan))
    width = out
  generator = tuple(layers)
  area = _PATCH**2
  discriminator = Discriminator(
    draw(channels * area, _WIDTH, fan=(channels * area, _WIDTH * area)),
    draw(_HIDDEN, _WIDTH, _WIDTH, fan=(_WIDTH, _WIDTH)),
    draw(_WIDTH, 1, fan=(_WIDTH, 1)),
    1 + 0.02 * jax.random.normal(next(keys), (_HIDDEN, _WIDTH)),
    jnp.zeros((_HIDDEN, _WIDTH)),
    jnp.zeros(()),
  )
  directions = Directions(
    jax.random.normal(next(keys), (_WIDTH,)),
    jax.random.normal(next(keys), (_HIDDEN, _WIDTH)),
    jnp.ones((1,)),
  )
  return State(
    jnp.zeros((), jnp.int32),
    generator,
    discriminator,
    directions,
    _optimizer().init(generator),
    _optimizer().init(discriminator),
    jnp.zeros((), jnp.int32),
    jnp.asarray(_BICUBIC, jnp.float32),
  )


def fade(
  step: jax.Array, low: jax.Array, weight: jax.Array, loss: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Takes the weight of the bicubic loss back once the loss is learnt.

  Args:
    step: iterations done, this one included.
    low: times running that the loss was low, before this one.
    weight: of the loss.
    loss: with its weight.

  Returns:
    The new `low` and `weight`.
  """
  # Low often enough, it counts as learnt for good.
  again = jnp.where(loss < _BICUBIC_LOW, low + 1, 0)
  low = jnp.where(low >= _BICUBIC_TIMES, low, again)
  due = (low >= _BICUBIC_TIMES) & (step % _BICUBIC_STEPS == 0)
  less = jnp.maximum(weight / _BICUBIC_DIVISOR, _BICUBIC_LEAST)
  return low, jnp.where(due, less, weight)


def step(
  state: State, large: jax.Array, small: jax.Array, key: jax.Array
) -> tuple[State, jax.Array]:
  """One step of the generator, then one of the discriminator.

  Args:
    state: before.
    large: crop for the generator `[C, n, n]` in [-1, 1].
    small: crop for the discriminator `[C, m, m]`, m = (n - 12) / 2.
    key: random key, of the noise.

  Returns:
    The state after and the composed kernel `[13, 13]` before.
  """
  windows = patches(large, _SIDE, 2)
  bicubic_target = jnp.asarray(bicubic_kernel())
  mask = jnp.asarray(boundary_mask())
  late = jnp.where(state.bicubic < _LATE, 1.0, 0.0)
  noise = _NOISE * jax.random.normal(key, (3, *small.shape))

  def generator_loss(generator):
    kernel = compose(generator)
    fake = generate(kernel, windows) + noise[0]
    judged, directions = discriminate(
      state.discriminator, state.directions, fake[None]
    )
    gan = jnp.mean(jnp.abs(1 - judged))
    bicubic = state.bicubic * jnp.mean(
      generate(kernel - bicubic_target, windows) ** 2
    )
    size = jnp.abs(kernel)
    loss = gan + bicubic
    loss += _SUM * jnp.abs(1 - jnp.sum(kernel))
    loss += _BOUNDARY * jnp.sum(size * mask)
    loss += late * _CENTER * _center_distance(kernel)
    loss += late * _SPARSE * jnp.mean((size + _TINY) ** _SPARSE_POWER)
    return loss, (directions, bicubic, kernel)

  (_, (directions, bicubic, kernel)), gradient = jax.value_and_grad(
    generator_loss, has_aux=True
  )(state.generator)
  generator, generator_optimizer = _descend(
    gradient, state.generator_optimizer, state.generator
  )

  fake = jax.lax.stop_gradient(generate(compose(generator), windows))
  both = jnp.stack([small, fake]) + noise[1:]

  def discriminator_loss(discriminator):
    judged, after = discriminate(discriminator, directions, both)
    wrong = jnp.abs(judged - jnp.array([[1.0], [0.0]]))
    return jnp.mean(wrong), after

  gradient, directions = jax.grad(discriminator_loss, has_aux=True)(
    state.discriminator
  )
  discriminator, discriminator_optimizer = _descend(
    gradient, state.discriminator_optimizer, state.discriminator
  )

  done = state.step + 1
  low, weight = fade(done, state.low, state.bicubic, bicubic)
  new = State(
    done,
    generator,
    discriminator,
    directions,
    generator_optimizer,
    discriminator_optimizer,
    low,
    weight,
  )
  return new, kernel


@jax.jit
def _run(state: State, large: jax.Array, small: jax.Array, keys: jax.Array):
  return jax.lax.scan(
    lambda state, inputs: step(state, *inputs), state, (large, small, keys)
  )


def crop_corners(
  image: np.ndarray, side: int, deviation: float, points: np.ndarray
) -> np.ndarray:
  """Draws corners of crops whose centres fall where there is most detail.

  Args:
    image: `[H, W, C]`.
    side: of the crops.
    deviation: of the Gaussian that blurs the gradient magnitude, in pixels.
    points: uniform in [0, 1), `[N]`; each gives one crop.

  Returns:
    int `[N, 2]`, rows and columns; all crops lie inside the image.
  """
  grey = image.mean(-1, dtype=np.float64)
  strength = np.hypot(*np.gradient(grey))
  strength = scipy.ndimage.gaussian_filter(strength, deviation) + 1e-8
  total = np.cumsum(strength)
  index = np.searchsorted(total / total[-1], points, side='right')
  index = np.minimum(index, grey.size - 1)
  center = np.stack(np.unravel_index(index, grey.shape), -1)
  return np.clip(center - side // 2, 0, np.array(grey.shape) - side)


def _crops(image: np.ndarray, corners: np.ndarray, side: int) -> np.ndarray:
  """Cuts `[H, W, C]` into crops `[N, C, side, side]` in [-1, 1]."""
  windows = np.lib.stride_tricks.sliding_window_view(
    image, (side, side), axis=(0, 1)
  )
  return 2 * windows[corners[:, 0], corners[:, 1]] - 1


def _train(image: np.ndarray, key: jax.Array, iterations: int) -> np.ndarray:
  """Trains the GAN; returns its kernel `[13, 13]`."""
  side = min(_CROP, min(image.shape[:2]) // 2 * 2)
  small_side = (side - _SIDE) // 2 + 1
  init_key, point_key, noise_key = jax.random.split(key, 3)
  state = init(init_key, image.shape[-1])
  points = np.asarray(jax.random.uniform(point_key, (2, iterations)))
  keys = jax.random.split(noise_key, iterations)
  # What both see must differ in blur alone, not in where it comes from. So
  # the smaller crops are spread by as much as they are smaller.
  spread = math.hypot(2.0, (side - small_side) / math.sqrt(12))
  large = crop_corners(image, side, 2.0, points[0])
  small = crop_corners(image, small_side, spread, points[1])
  # Chunks of one length, so that one program is compiled.
  length = max(n for n in range(1, _CHUNK + 1) if iterations % n == 0)
  for start in range(0, iterations, length):
    chunk = slice(start, start + length)
    state, _ = _run(
      state,
      jnp.asarray(_crops(image, large[chunk], side)),
      jnp.asarray(_crops(image, small[chunk], small_side)),
      keys[chunk],
    )
  return np.asarray(compose(state.generator))


ESTIMATOR = Estimator(
  estimate, 'kernel found by KernelGAN', 'kernel by KernelGAN'
)
