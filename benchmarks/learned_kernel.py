"""Trains the network that finds the kernel of camera shake, and measures it.

  python benchmarks/learned_kernel.py --output=FILE.safetensors [--steps=8000]
  python benchmarks/learned_kernel.py --output=FILE.safetensors --steps=0

The network is `zssr_jax.models.kernel_finder`; its parameters that come with
the package are an output of this script. What is learnt, at all three stages,
is the squared error of the kernel, relative to its own square, and with less
weight that of the maps, which are to show the derivatives without the blur: the
best ones in mean square make the quotient of spectra right on average.

It is trained on the images of even index in BSDS300_train and those of T91
that are large enough, blurred by random paths of a hand, Gaussians, discs and
lines, some with noise, some compressed. After the training, the images of odd
index are blurred by the kernels of `--degradation=shake` of bin/eval_all, and
what the package finds in each is compared with the truth. A run that was cut
off goes on where OUTPUT ends. Two cores are used with
XLA_FLAGS=--xla_force_host_platform_device_count=2.
"""

from __future__ import annotations

import argparse
import functools
import io
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.interpolate
import scipy.ndimage
import scipy.signal
import shake
from PIL import Image

from zssr_jax import blur_kernels
from zssr_jax.data import datasets
from zssr_jax.evaluation import protocols
from zssr_jax.kernel_estimation import learned
from zssr_jax.models import kernel_finder
from zssr_jax.ops import dihedral, resize
from zssr_jax.weights import parameters

CROP, BATCH = 128, 4  # input pixels; images a step and device
MAPS = 0.3  # weight of the maps' errors
F32 = np.float32


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
  path *= rng.uniform(1, 8) / np.sqrt((path**2).sum(1).mean())
  path *= min(1, 15.5 / abs(path).max())
  kernel, _, _ = np.histogram2d(*path.T, bins=33, range=[[-16.5, 16.5]] * 2)
  kernel = scipy.ndimage.gaussian_filter(kernel, rng.uniform(0.3, 0.8))
  return blur_kernels.resample_kernel(kernel / kernel.sum(), 2, 2, center=True)


def any_kernel(rng: np.random.Generator) -> np.ndarray:
  """A hand's path, three times in four; else a family's, or no blur."""
  if rng.random() < 0.75:
    kernel = hand_path(rng)
  else:
    angle, std = rng.uniform(0, np.pi), rng.uniform(0.3, 0.9)
    taps = resize.cubic((np.arange(8) - 3.5) / 2) / 2
    kernel = (
      lambda: np.outer(taps, taps),
      lambda: blur_kernels.gaussian_kernel(rng.uniform(0.2, 6, 2), angle, 2),
      lambda: blur_kernels.disc_kernel(rng.uniform(1.5, 5), std, 2),
      lambda: blur_kernels.line_kernel(rng.uniform(4, 16), angle, std, 2),
    )[rng.integers(4)]()
  # Mirrored or turned, an even-sided one would no longer be centred.
  turned = dihedral.dihedral(kernel, int(rng.integers(dihedral.COUNT)))
  return blur_kernels.resample_kernel(turned, 2, 2, center=True)


def sample(rng, images) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """A crop blurred and sharp, and the kernel on its grid."""
  kernel = any_kernel(rng)
  side = 2 * CROP + max(kernel.shape) - 1
  image = images[rng.integers(len(images))]
  image = np.pad(
    image, [(0, max(0, side - n)) for n in image.shape], 'symmetric'
  )
  y, x = (rng.integers(n - side + 1) for n in image.shape)
  crop = image[y : y + side, x : x + side]
  crop = dihedral.dihedral(crop, int(rng.integers(dihedral.COUNT)))
  blurred = scipy.signal.fftconvolve(crop, kernel, mode='valid')
  blurred = blurred[: 2 * CROP : 2, : 2 * CROP : 2]
  noise = rng.uniform(0.3, 6) if rng.random() < 0.4 else 0.3
  blurred += noise / 255 * rng.standard_normal(blurred.shape)
  if rng.random() < 0.15:
    blurred = compressed(blurred, int(rng.integers(40, 97)))
  # Where the kernel's centre of mass lies, in the middle of two pixels.
  y, x = (max(n - 2 - n // 2, 0) for n in kernel.shape)
  sharp = shake.resized(crop[y:, x:][: 2 * CROP, : 2 * CROP], blurred.shape)
  return blurred.astype(F32), sharp, shake.in_band(kernel)


def compressed(image: np.ndarray, quality: int) -> np.ndarray:
  """What JPEG leaves of a luma."""
  file = io.BytesIO()
  pixels = (255 * image).round().clip(0, 255).astype(np.uint8)
  Image.fromarray(pixels).save(file, 'JPEG', quality=quality)
  return np.asarray(Image.open(file), F32) / 255


def train(params, done: int, steps: int, data: pathlib.Path, save):
  """Takes the Adam steps after the first `done` of `steps`.

  Prints the relative squared errors of kernels and maps at every stage, and
  hands the parameters to `save` every 100 steps. One that was cut off begins
  with new moments.
  """
  paths = sorted((data / 'BSDS300_train').glob('*.jpg'))[::2]
  paths += sorted((data / 'T91').rglob('*.png'))
  lumas = [shake.luma(np.array(Image.open(p).convert('RGB'))) for p in paths]
  images = [a.astype(F32) for a in lumas if min(a.shape) >= 2 * CROP]
  decay = optax.cosine_decay_schedule(1.5e-3, steps, 0.02)
  optimizer = optax.chain(
    optax.clip_by_global_norm(1.0), optax.adam(lambda n: decay(n + done))
  )

  finder = kernel_finder.KernelFinder()

  def loss(params, y, x, k):
    found, told = finder.apply({'params': params}, y, x, mutable='errors')
    errors = [((q - k) ** 2).sum((1, 2)) for q in found]
    shares = [(e / (k**2).sum((1, 2))).mean() for e in errors]
    maps = [e.mean() for e in jax.tree.leaves(told)]
    return sum(shares) + MAPS * sum(maps), jnp.stack(shares + maps)

  @functools.partial(jax.pmap, axis_name='devices', donate_argnums=(0, 1))
  def step(params, state, y, x, k):
    (_, shares), slope = jax.value_and_grad(loss, has_aux=True)(params, y, x, k)
    slope, shares = jax.lax.pmean((slope, shares), 'devices')
    updates, state = optimizer.update(slope, state, params)
    return optax.apply_updates(params, updates), state, shares

  rng, recent = np.random.default_rng(done), []
  devices = jax.local_devices()
  params, state = jax.tree.map(
    lambda a: jnp.stack([a] * len(devices)), (params, optimizer.init(params))
  )
  begin = time.perf_counter()
  for n in range(done + 1, steps + 1):
    batch = [sample(rng, images) for _ in range(BATCH * len(devices))]
    arrays = (
      np.stack(a).reshape(len(devices), BATCH, *a[0].shape)
      for a in zip(*batch, strict=True)
    )
    params, state, shares = step(params, state, *arrays)
    recent.append(np.asarray(shares[0]))
    if n % 100 == 0 or n == steps:
      seconds = time.perf_counter() - begin
      print(n, f'{seconds:.0f} s', np.mean(recent[-100:], axis=0), flush=True)
      save(jax.tree.map(lambda a: a[0], params), n)
  return jax.tree.map(lambda a: a[0], params)


# --- what it finds ---


def measure(path: pathlib.Path, data: pathlib.Path) -> tuple[float, float]:
  """Squared error of the kernel found in an image, and the doubt about it.

  Both relative to the sum of squares of the true kernel's taps, on the input's
  own grid.
  """
  hr = np.array(Image.open(path).convert('RGB'))
  made = protocols.degrade(
    'shake', hr, 2, image_name=path.stem, seed=0, data=data
  )
  assert made.kernel is not None
  true = shake.in_band(made.kernel)
  found = learned.find(made.lr / np.float32(255), 2)
  error = ((shake.in_band(found.kernel) - true) ** 2).sum()
  return float(error / (true**2).sum()), float(found.doubt / (true**2).sum())


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--output', type=pathlib.Path, required=True)
  parser.add_argument('--steps', type=int, default=8000)
  parser.add_argument('--count', type=int, default=40)
  options = parser.parse_args()
  data = datasets.data_root()
  assert data is not None
  finder, done = kernel_finder.KernelFinder(), 0
  params = finder.init(jax.random.key(0), np.zeros((1, CROP, CROP), F32))
  params = params['params']
  if options.output.exists():
    params, facts = parameters.load_params(options.output)
    done = int(facts['steps'])

  def save(params, done):
    parameters.save_params(
      options.output, params, network='kernel_finder', steps=done
    )

  if options.steps > done:
    train(params, done, options.steps, data, save)
  paths = sorted((data / 'BSDS300_train').glob('*.jpg'))[1::2]
  found = []
  for path in paths[: options.count]:
    found.append(measure(path, data))
    print(path.stem, *(f'{v:.3f}' for v in found[-1]), flush=True)
  if found:
    print('mean', *(f'{v:.3f}' for v in np.mean(found, axis=0)))


if __name__ == '__main__':
  main()
