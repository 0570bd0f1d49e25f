"""One training iteration: ours against PyTorch, side by side in one process.

  python benchmarks/train_step.py [--json] [--rounds=12]

For the published network and the LR-resolution one it times, alternating so
that a noisy machine hits all alike:

  torch      PyTorch's step: same network, crop and L1 loss, channels_last
  plain      JAX's step with XLA's own convolution gradients
  step       our step: network, loss, gradients, Adam, nothing else
  iteration  our whole iteration: draw, son, step, schedule, error

`speed_vs_torch` is PyTorch's median over our step's; `overhead` the whole
iteration's over the bare step's, minus 1. Needs the `bench` extra.
"""

from __future__ import annotations

import argparse
import json
import platform
import time

import flax.linen as nn
import jax
import numpy as np
import optax
import torch
from jax import lax

from zssr_jax import models
from zssr_jax.config import Config
from zssr_jax.models import conv
from zssr_jax.training import loop, losses, pool, step

_SCALE = (2.0, 2.0)
_SIDE = 128
_STEPS = 5  # per timed call of ours, to spread the cost of the call


def torch_step(name: str, config: Config):
  """PyTorch's step on random data; returns a callable that runs one."""
  shuffle = name == 'pixel_shuffle'
  out = 12 if shuffle else 3
  channels = [3] + [config.width] * (config.depth - 1) + [out]

  class Net(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.layers = torch.nn.ModuleList(
        torch.nn.Conv2d(i, o, 3, padding=1, bias=False)
        for i, o in zip(channels, channels[1:], strict=False)
      )

    def forward(self, lr, interpolated):
      x = lr if shuffle else interpolated
      for layer in self.layers[:-1]:
        x = torch.relu(layer(x))
      x = self.layers[-1](x)
      return interpolated + (
        torch.nn.functional.pixel_shuffle(x, 2) if shuffle else x
      )

  model = Net().to(memory_format=torch.channels_last)
  adam = torch.optim.Adam(model.parameters(), 1e-3)

  def image(side):
    data = torch.rand(1, 3, side, side)
    return data.contiguous(memory_format=torch.channels_last)

  lr, interpolated, target = image(_SIDE // 2), image(_SIDE), image(_SIDE)

  def run():
    adam.zero_grad()
    (model(lr, interpolated) - target).abs().mean().backward()
    adam.step()

  return run, 1


def bare_step(model: nn.Module, steps: int):
  """Our step without draw, son, schedule and error, `steps` to a call."""
  keys = jax.random.split(jax.random.key(0), 4)
  lr = jax.random.uniform(keys[0], (1, _SIDE // 2, _SIDE // 2, 3))
  interpolated = jax.random.uniform(keys[1], (1, _SIDE, _SIDE, 3))
  target = jax.random.uniform(keys[2], (1, _SIDE, _SIDE, 3))
  params = model.init(keys[3], lr, interpolated)['params']
  adam = optax.adam(1e-3)

  def one(carry, _):
    params, state = carry

    def loss_of(params):
      output = model.apply({'params': params}, lr, interpolated)
      return losses.l1(output, target)

    loss, gradient = jax.value_and_grad(loss_of)(params)
    updates, state = adam.update(gradient, state)
    return (optax.apply_updates(params, updates), state), loss

  def many(carry):
    # A single step is called from Python: plain JAX's weight gradient loses
    # another factor of 50 inside a loop.
    return (
      one(carry, None) if steps == 1 else lax.scan(one, carry, length=steps)
    )

  chunk = jax.jit(many)
  carry = [(params, adam.init(params))]

  def run():
    carry[0], loss = chunk(carry[0])
    jax.block_until_ready(loss)

  return run, steps


def plain_step(name: str):
  """The bare step with the convolution gradients that autodiff writes."""
  ours = conv.conv2d
  conv.conv2d = conv.conv2d.fun
  try:
    run, steps = bare_step(models.make_model(name, scale=_SCALE), 1)
    run()
  finally:
    conv.conv2d = ours
  return run, steps


def iteration(name: str, config: Config):
  """Our whole iteration on a synthetic image, as the loop runs it."""
  model = models.make_model(name, scale=_SCALE)
  image = np.random.default_rng(0).random((256, 256, 3), np.float32)
  fathers = pool.make_pool(pool.make_fathers(image, _SIDE, config), image.shape)
  windows = step.make_windows(
    jax.random.key(1),
    image,
    None,
    side=_SIDE,
    scale=_SCALE,
    config=config,
  )
  params = model.init(
    jax.random.key(2), windows.son[:1], windows.interpolated[:1]
  )['params']
  state = [step.init_state(jax.random.key(3), params, config)]
  chunk = loop.make_chunk(model, _SCALE, _SIDE, config, config.measure_every)

  def run():
    state[0], record = chunk(state[0], fathers, None, windows)
    jax.block_until_ready(record)

  return run, config.measure_every


def measure(name: str, rounds: int) -> dict[str, float]:
  """Median seconds per iteration of each contestant."""
  config = Config(model=name, max_steps=1_000_000)
  model = models.make_model(name, scale=_SCALE)
  runs = {
    'torch': torch_step(name, config),
    'plain': plain_step(name),
    'step': bare_step(model, _STEPS),
    'iteration': iteration(name, config),
  }
  times: dict[str, list[float]] = {label: [] for label in runs}
  for i in range(rounds + 1):
    for label, (run, steps) in runs.items():
      # As many steps for each, so that all see the same caches.
      repeats = max(1, _STEPS // steps)
      if label == 'iteration' and i % 2:
        continue
      begin = time.perf_counter()
      for _ in range(repeats):
        run()
      if i:
        times[label].append((time.perf_counter() - begin) / repeats / steps)
  return {label: float(np.median(t)) for label, t in times.items()}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--json', action='store_true')
  parser.add_argument('--rounds', type=int, default=12)
  options = parser.parse_args()
  report: dict = {
    'jax': jax.__version__,
    'torch': torch.__version__,
    'device': str(jax.devices()[0]),
    'machine': platform.processor() or platform.machine(),
    'torch_threads': torch.get_num_threads(),
    'networks': {},
  }
  lines = ['network        torch   plain    step  iteration   speed  overhead']
  for name in ('zssr', 'pixel_shuffle'):
    t = measure(name, options.rounds)
    speed, overhead = t['torch'] / t['step'], t['iteration'] / t['step'] - 1
    report['networks'][name] = {
      'milliseconds': {k: 1e3 * v for k, v in t.items()},
      'speed_vs_torch': speed,
      'overhead': overhead,
    }
    lines.append(
      f'{name:13s} {1e3 * t["torch"]:6.1f}  {1e3 * t["plain"]:6.1f}'
      f'  {1e3 * t["step"]:6.1f}  {1e3 * t["iteration"]:9.1f}'
      f'  {speed:5.2f}x  {100 * overhead:7.1f}%'
    )
  report['speed_vs_torch'] = report['networks']['zssr']['speed_vs_torch']
  print(json.dumps(report) if options.json else '\n'.join(lines))


if __name__ == '__main__':
  main()
