"""A network that finds the kernel of camera shake, trained: an experiment.

  python benchmarks/learned_kernel.py --output=KERNEL.npz [--steps=4000]
  python benchmarks/learned_kernel.py --output=KERNEL.npz --steps=0 [--count=40]

Nothing here is part of the program; docs/shake.md says what came of it so far.
As in Schuler et al. (2014) the network makes a few maps of a blurred image as
they would be without the blur, the kernel is what explains the image's
derivatives by these maps (a quotient of spectra), the image is deconvolved with
it, and the next of three stages begins with that. What is learnt is the squared
error of the kernel, so where an image tells little the kernel is a mean of what
is possible: too smooth a kernel sharpens too little, which does no harm.

It is trained on the images of even index in BSDS300_train and those of T91
that are large enough, blurred by random paths of a hand, Gaussians, discs and
lines. After the training, those of odd index are measured as in `shake`: dB
above bicubic of a deconvolution with the kernel found, for two weights of the
total variation. OUTPUT holds the parameters; a second run goes on from them.
"""

from __future__ import annotations

import argparse
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.fft
import scipy.interpolate
import scipy.ndimage
import scipy.signal
import shake
from PIL import Image

from zssr_jax import blur_kernels
from zssr_jax.data import datasets
from zssr_jax.evaluation import protocols
from zssr_jax.ops import dihedral
from zssr_jax.ops.conv import conv2d

SIDE, MAPS, STAGES = shake.SIDE, 6, 3
CROP, BATCH = 128, 4  # input pixels; images a step
PAD = 32  # of spectra, against what wraps around
F32 = np.float32


# --- the network ---


def _fold(x):
  """2x2 pixels to channels."""
  n, h, w, c = x.shape
  x = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(n, h // 2, w // 2, 4 * c)


def _unfold(x):
  n, h, w, c = x.shape
  x = x.reshape(n, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(n, 2 * h, 2 * w, c // 4)


def init(seed: int) -> list[dict]:
  """Random parameters of all stages."""
  rng = np.random.default_rng(seed)

  def layer(i, o, gain=1.0):
    w = rng.standard_normal((3, 3, i, o)) * gain * np.sqrt(2 / (9 * i))
    return {'w': jnp.asarray(w, jnp.float32), 'b': jnp.zeros(o, jnp.float32)}

  stages = []
  for stage in range(STAGES):
    slopes = np.zeros((3, 3, 1, MAPS))
    slopes[1, 1], slopes[1, 0, 0, 0::2], slopes[0, 1, 0, 1::2] = 1, -1, -1
    slopes += 0.05 * rng.standard_normal(slopes.shape)
    stages.append(
      {
        'in': layer(12 if stage else 4, 32),
        'down': layer(128, 48),
        'a': layer(48, 48),
        'b': layer(48, 48),
        'up': layer(48, 64),
        'join': layer(48, 32),
        'out': layer(32, 4 * MAPS, 0.5),
        'slopes': jnp.asarray(slopes, jnp.float32),
        'skip': jnp.ones(MAPS),
        'weight': jnp.zeros(MAPS),
        'ridge': jnp.asarray(-2.0),
        'least': jnp.asarray(-4.0),
        'noise': jnp.asarray(-4.0),
      }
    )
  return stages


def _maps(p, x):
  def at(name, v):
    return conv2d(v, p[name]['w']) + p[name]['b']

  fine = jax.nn.relu(at('in', _fold(x)))
  coarse = jax.nn.relu(at('down', _fold(fine)))
  coarse = jax.nn.relu(coarse + at('a', coarse))
  coarse = jax.nn.relu(coarse + at('b', coarse))
  wide = _unfold(jax.nn.relu(at('up', coarse)))
  joined = jnp.concatenate([wide, fine], -1)
  return _unfold(at('out', jax.nn.relu(at('join', joined))))


def _kernel(p, x, y):
  """The kernel by which the maps of `x` explain the derivatives of `y`."""
  h, w = y.shape[1:3]
  slopes = jax.lax.conv_general_dilated(
    y,
    p['slopes'],
    (1, 1),
    'SAME',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )
  ramps = [
    np.clip(np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) / 12, 0, 1)
    for n in (h, w)
  ]
  taper = jnp.asarray(np.outer(*ramps)[..., None], jnp.float32)
  shape = (h + PAD, w + PAD)
  sharp = jnp.fft.rfft2(
    (_maps(p, x) + p['skip'] * slopes) * taper, shape, axes=(1, 2)
  )
  seen = jnp.fft.rfft2(slopes * taper, shape, axes=(1, 2))
  weight = jnp.exp(p['weight'])
  cross = (weight * sharp.conj() * seen).sum(-1)
  power = (weight * jnp.abs(sharp) ** 2).sum(-1)
  power += jnp.exp(p['ridge']) * power.mean((1, 2), keepdims=True)
  k = jnp.fft.irfft2(cross / power, shape, axes=(1, 2))
  k = jnp.roll(k, (SIDE // 2, SIDE // 2), (1, 2))[:, :SIDE, :SIDE]
  least = jnp.exp(p['least']) * k.max((1, 2), keepdims=True)
  k = jax.nn.relu(k - least) + 1e-6
  return k / k.sum((1, 2), keepdims=True)


def _undone(y, kernel, noise):
  """The image deconvolved, its slopes kept small."""
  n, h, w, _ = y.shape
  half = PAD // 2
  wide = jnp.pad(y[..., 0], ((0, 0), (half, half), (half, half)), 'symmetric')
  canvas = jnp.zeros(wide.shape).at[:, :SIDE, :SIDE].set(kernel)
  canvas = jnp.roll(canvas, (-(SIDE // 2), -(SIDE // 2)), (1, 2))
  transfer = jnp.fft.rfft2(canvas, axes=(1, 2))
  waves = [
    np.sin(np.pi * f) ** 2
    for f in (scipy.fft.fftfreq(h + PAD)[:, None], scipy.fft.rfftfreq(w + PAD))
  ]
  ridge = noise * jnp.asarray(4 * (waves[0] + waves[1]), jnp.float32)
  spectrum = jnp.fft.rfft2(wide, axes=(1, 2))
  spectrum *= transfer.conj() / (jnp.abs(transfer) ** 2 + ridge)
  out = jnp.fft.irfft2(spectrum, (h + PAD, w + PAD), axes=(1, 2))
  return out[:, half : half + h, half : half + w, None]


def find(params: list[dict], y: jax.Array) -> list[jax.Array]:
  """Kernels `[N, SIDE, SIDE]` after each stage, of luma `[N, h, w]`.

  The sides are multiples of 4. They are of convolution: mirrored, compared with
  those of `zssr_jax.degradation`.
  """
  y = y[..., None] - y.mean((1, 2))[:, None, None, None]
  slope = jnp.sqrt(((y[:, 1:] - y[:, :-1]) ** 2).mean((1, 2, 3), keepdims=True))
  y = y / (4 * slope + 0.016)
  x, found = y, []
  for p in params:
    found.append(_kernel(p, x, y))
    noise = jnp.exp(p['noise'])
    x = jnp.concatenate(
      [y, *(_undone(y, found[-1], f * noise) for f in (1, 30))], -1
    )
  return found


# --- what it is trained on ---


def hand_path(rng: np.random.Generator) -> np.ndarray:
  """A kernel of a hand's path: a spline through a random walk, uneven speed."""
  knots = rng.integers(3, 9)
  walk = rng.standard_normal((knots, 2))
  walk = np.cumsum(walk + rng.standard_normal(2) * rng.uniform(0, 1.5), axis=0)
  t = np.cumsum(rng.gamma(rng.uniform(0.5, 3), 1, knots) + 1e-2)
  path = scipy.interpolate.PchipInterpolator(t, walk)(
    np.linspace(t[0], t[-1], 600)
  )
  tremor = 10 ** rng.uniform(-2.3, -1.2)
  path += np.cumsum(rng.standard_normal(path.shape), axis=0) * tremor
  path -= path.mean(0)
  path *= rng.uniform(1.5, 8) / np.sqrt((path**2).sum(1).mean())
  path *= min(1, 15.5 / abs(path).max())
  kernel, _, _ = np.histogram2d(*path.T, bins=33, range=[[-16.5, 16.5]] * 2)
  kernel = scipy.ndimage.gaussian_filter(kernel, rng.uniform(0.3, 0.8))
  return blur_kernels.resample_kernel(kernel / kernel.sum(), 2, 2, center=True)


def any_kernel(rng: np.random.Generator) -> np.ndarray:
  """A hand's path, four times in five; else a Gaussian, a disc or a line."""
  if rng.random() < 0.8:
    kernel = hand_path(rng)
  else:
    angle, std = rng.uniform(0, np.pi), rng.uniform(0.3, 0.9)
    kernel = (
      lambda: blur_kernels.gaussian_kernel(rng.uniform(0.2, 6, 2), angle, 2),
      lambda: blur_kernels.disc_kernel(rng.uniform(1.5, 5), std, 2),
      lambda: blur_kernels.line_kernel(rng.uniform(4, 16), angle, std, 2),
    )[rng.integers(3)]()
  # Mirrored or turned, an even-sided one would no longer be centred.
  turned = dihedral.dihedral(kernel, int(rng.integers(dihedral.COUNT)))
  return blur_kernels.resample_kernel(turned, 2, 2, center=True)


def sample(rng, images) -> tuple[np.ndarray, np.ndarray]:
  """A blurred crop, and its kernel (of convolution) on the input's grid."""
  kernel = any_kernel(rng)
  side = 2 * CROP + max(kernel.shape) - 1
  image = images[rng.integers(len(images))]
  image = np.pad(
    image, [(0, max(0, side - n)) for n in image.shape], 'symmetric'
  )
  y, x = (rng.integers(n - side + 1) for n in image.shape)
  crop = image[y : y + side, x : x + side]
  blurred = scipy.signal.fftconvolve(crop, kernel, mode='valid')
  blurred = blurred[: 2 * CROP : 2, : 2 * CROP : 2]
  noise = rng.uniform(0.3, 6) if rng.random() < 0.4 else 0.3
  blurred += noise / 255 * rng.standard_normal(blurred.shape)
  return blurred.astype(F32), shake.in_band(kernel)


def train(params, steps: int, data: pathlib.Path, seed: int):
  """Takes Adam steps; prints the relative squared error of every stage."""
  paths = sorted((data / 'BSDS300_train').glob('*.jpg'))[::2]
  paths += sorted((data / 'T91').rglob('*.png'))
  lumas = [shake.luma(np.array(Image.open(p).convert('RGB'))) for p in paths]
  images = [a.astype(F32) for a in lumas if min(a.shape) >= 2 * CROP]
  rate = optax.cosine_decay_schedule(1.5e-3, steps, 0.02)
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

  def loss(params, y, k):
    errors = [((q - k) ** 2).sum((1, 2)) for q in find(params, y)]
    shares = [(e / (k**2).sum((1, 2))).mean() for e in errors]
    return sum(shares), jnp.stack(shares)

  @jax.jit
  def step(params, state, y, k):
    (_, shares), slope = jax.value_and_grad(loss, has_aux=True)(params, y, k)
    updates, state = optimizer.update(slope, state, params)
    return optax.apply_updates(params, updates), state, shares

  rng, state, recent = np.random.default_rng(seed), optimizer.init(params), []
  begin = time.perf_counter()
  for n in range(1, steps + 1):
    batch = [sample(rng, images) for _ in range(BATCH)]
    y, k = (np.stack(a) for a in zip(*batch, strict=True))
    params, state, shares = step(params, state, y, k)
    recent.append(np.asarray(shares))
    if n % 100 == 0 or n == steps:
      seconds = time.perf_counter() - begin
      print(n, f'{seconds:.0f} s', np.mean(recent[-100:], axis=0), flush=True)
  return params


# --- what it finds ---


def ensemble(params, image: np.ndarray) -> np.ndarray:
  """The mean kernel over the eight transforms, of `zssr_jax.degradation`."""
  found = []
  for number in range(dihedral.COUNT):
    turned = np.ascontiguousarray(dihedral.dihedral(image, number))
    rows, columns = (n // 4 * 4 for n in turned.shape)
    kernel = _find(params, turned[None, :rows, :columns])[-1][0]
    found.append(dihedral.undo_dihedral(np.asarray(kernel), number))
  return np.mean(found, axis=0)[::-1, ::-1]


_find = jax.jit(find)


def measure(params, path: pathlib.Path, data: pathlib.Path) -> tuple:
  """Gain with the true kernel, with the found one, and with it and more TV."""
  hr = np.array(Image.open(path).convert('RGB'))
  made = protocols.degrade(
    'shake', hr, 2, image_name=path.stem, seed=0, data=data
  )
  assert made.kernel is not None
  image = shake.luma(made.lr).astype(F32)
  kernel = ensemble(params, image)
  true = shake.in_band(made.kernel)
  top = [(n - shake.MIDDLE) // 2 for n in image.shape]
  part = image[top[0] :, top[1] :][: shake.MIDDLE, : shake.MIDDLE]
  side = 2 * shake.MIDDLE
  target = shake.luma(hr)[2 * top[0] :, 2 * top[1] :][:side, :side]

  def score(result):
    error = (result - target)[16:-16, 16:-16]
    return float(-10 * np.log10((error**2).mean()))

  base = score(shake.resized(part, target.shape))
  wide = shake.stretched(kernel)
  return (
    score(shake.deconvolve(part, made.kernel)) - base,
    score(shake.deconvolve(part, wide)) - base,
    score(shake.deconvolve(part, wide, 2e-3)) - base,
    float(((kernel - true) ** 2).sum() / (true**2).sum()),
  )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--output', type=pathlib.Path, required=True)
  parser.add_argument('--steps', type=int, default=4000)
  parser.add_argument('--count', type=int, default=40)
  parser.add_argument('--seed', type=int, default=0)
  options = parser.parse_args()
  data = datasets.data_root()
  assert data is not None
  params = init(options.seed)
  leaves, tree = jax.tree.flatten(params)
  if options.output.exists():
    with np.load(options.output) as file:
      leaves = [jnp.asarray(file[str(i)]) for i in range(len(leaves))]
    params = tree.unflatten(leaves)
  if options.steps:
    params = train(params, options.steps, data, options.seed)
    leaves = map(np.asarray, jax.tree.leaves(params))
    np.savez(options.output, **{str(i): a for i, a in enumerate(leaves)})
  paths = sorted((data / 'BSDS300_train').glob('*.jpg'))[1::2]
  found = []
  for path in paths[: options.count]:
    found.append(measure(params, path, data))
    print(path.stem, *(f'{v:+.2f}' for v in found[-1]), flush=True)
  if found:
    print('mean', *(f'{v:+.2f}' for v in np.mean(found, axis=0)))


if __name__ == '__main__':
  main()
