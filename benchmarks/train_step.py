"""One training iteration: ours against PyTorch, side by side in one process.

  python benchmarks/train_step.py [--json] [--rounds=12]

For the published network and the LR-resolution one it times, alternating so
that a noisy machine hits all alike, the same network, crop and L1 loss:

  forward    the loss alone
  gradient   the loss and its gradients; less the forward, the backward
  step       that and Adam, nothing else
  plain      our step with XLA's own convolution gradients
  iteration  our whole iteration: draw, son, step, schedule, error

and beside them the machine's ceiling, the rate of a large matrix product, with
what the step's convolutions need at least: `operations` (forward and two
gradients, the first layer's input has none) and `bytes` (each layer's input
and output once, forward and twice backward, and the optimizer's state).
`speed_vs_torch` is PyTorch's median over ours; `overhead` the whole
iteration's over the bare step's, minus 1. Needs the `bench` extra.
"""

from __future__ import annotations

import argparse
import json
import platform
import time

import ceiling
import flax.linen as nn
import jax
import numpy as np
import optax
import torch
import torch_network
from jax import lax

from zssr_jax import registry
from zssr_jax.config import Config
from zssr_jax.degradation import Degradation
from zssr_jax.ops import conv
from zssr_jax.training import kernel_source, loop, losses, pool, step

_SCALE = (2.0, 2.0)
_SIDE = 128
_STEPS = 5  # per timed call of ours, to spread the cost of the call


def torch_runs(name: str, config: Config):
  """PyTorch on random data; callables that run one each."""
  model = torch_network.Network(
    name == 'pixel_shuffle', config.width, config.depth
  )
  adam = torch.optim.Adam(model.parameters(), 1e-3)

  def image(side):
    data = torch.rand(1, 3, side, side)
    return data.contiguous(memory_format=torch.channels_last)

  lr, interpolated, target = image(_SIDE // 2), image(_SIDE), image(_SIDE)

  def loss_of():
    return (model(lr, interpolated) - target).abs().mean()

  def forward():
    with torch.no_grad():
      loss_of()

  def gradient():
    adam.zero_grad()
    loss_of().backward()

  def step():
    gradient()
    adam.step()

  return {'forward': forward, 'gradient': gradient, 'step': step}


def our_runs(model: nn.Module, steps: int):
  """Ours without draw, son, schedule and error; `steps` of each to a call."""
  keys = jax.random.split(jax.random.key(0), 4)
  lr = jax.random.uniform(keys[0], (1, _SIDE // 2, _SIDE // 2, 3))
  interpolated = jax.random.uniform(keys[1], (1, _SIDE, _SIDE, 3))
  target = jax.random.uniform(keys[2], (1, _SIDE, _SIDE, 3))
  params = model.init(keys[3], lr, interpolated)['params']
  adam = optax.adam(1e-3)

  def loss_of(params):
    output = model.apply({'params': params}, lr, interpolated)
    return losses.l1(output, target)

  def moved(params, tree):
    # Depends on the outcome, or nothing would be computed; changes nothing.
    return jax.tree.map(lambda p, t: p + 0.0 * t, params, tree)

  def forward(carry, _):
    params, state = carry
    loss = loss_of(params)
    return (jax.tree.map(lambda p: p + 0.0 * loss, params), state), loss

  def gradient(carry, _):
    params, state = carry
    loss, slope = jax.value_and_grad(loss_of)(params)
    return (moved(params, slope), state), loss

  def step(carry, _):
    params, state = carry
    loss, slope = jax.value_and_grad(loss_of)(params)
    updates, state = adam.update(slope, state)
    return (optax.apply_updates(params, updates), state), loss

  def make_run(one):
    # A single step is called from Python: plain JAX's weight gradient loses
    # another factor of 50 inside a loop.
    chunk = jax.jit(
      lambda carry: (
        one(carry, None) if steps == 1 else lax.scan(one, carry, length=steps)
      )
    )
    carry = [(params, adam.init(params))]

    def run():
      carry[0], loss = chunk(carry[0])
      jax.block_until_ready(loss)

    return run

  return {one.__name__: make_run(one) for one in (forward, gradient, step)}


def plain_step(name: str):
  """The bare step with the convolution gradients that autodiff writes."""
  ours = conv.conv2d
  conv.conv2d = conv.plain
  try:
    run = our_runs(registry.NETWORKS[name].make(scale=_SCALE), 1)['step']
    run()
  finally:
    conv.conv2d = ours
  return run


def iteration(name: str, config: Config):
  """Our whole iteration on a synthetic image, as the loop runs it."""
  model = registry.NETWORKS[name].make(scale=_SCALE)
  image = np.random.default_rng(0).random((256, 256, 3), np.float32)
  fathers = pool.make_pool(pool.make_fathers(image, _SIDE, config), image.shape)
  degradation = Degradation(_SCALE)
  windows = step.make_windows(jax.random.key(1), image, _SIDE, degradation)
  params = model.init(
    jax.random.key(2), windows.son[:1], windows.interpolated[:1]
  )['params']
  source = kernel_source.Known(degradation)
  state = [step.init_state(jax.random.key(3), params, source, config)]
  data = step.Data(fathers, source, windows, {})
  terms = losses.terms_of(config.losses, 3)
  chunk = loop.make_chunk(model, _SIDE, terms, config, config.measure_every)

  def run():
    state[0], record = chunk(state[0], data)
    jax.block_until_ready(record)

  return run


def measure(name: str, rounds: int) -> dict[str, float]:
  """Median seconds per iteration of each contestant."""
  config = Config(model=name, max_steps=1_000_000)
  model = registry.NETWORKS[name].make(scale=_SCALE)
  runs = {f'torch {k}': (run, 1) for k, run in torch_runs(name, config).items()}
  runs |= {k: (run, _STEPS) for k, run in our_runs(model, _STEPS).items()}
  runs['plain'] = (plain_step(name), 1)
  runs['iteration'] = (iteration(name, config), config.measure_every)
  times: dict[str, list[float]] = {label: [] for label in runs}
  for i in range(rounds + 1):
    for label, (run, steps) in runs.items():
      # As many steps for each, so that all see the same caches.
      repeats = max(1, _STEPS // steps)
      if label == 'iteration' and i % 2 and rounds > 1:
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
    'ceiling_gflops': ceiling.matrix_rate(2048) / 1e9,
    'networks': {},
  }
  lines = []
  for name in ('zssr', 'pixel_shuffle'):
    t = measure(name, options.rounds)
    for side in ('torch ', ''):
      t[f'{side}backward'] = t[f'{side}gradient'] - t[f'{side}forward']
    needs = ceiling.least(name == 'pixel_shuffle', _SIDE)
    rate = needs['operations'] / t['step'] / 1e9
    report['networks'][name] = {
      'milliseconds': {k: 1e3 * v for k, v in t.items()},
      'speed_vs_torch': t['torch step'] / t['step'],
      'overhead': t['iteration'] / t['step'] - 1,
      'gflops': rate,
      **needs,
    }
    lines += [
      f'{name}: at least {needs["operations"] / 1e9:.1f} GFLOP and'
      f' {needs["bytes"] / 1e6:.0f} MB a step; {rate:.0f} GFLOP/s,'
      f' {100 * rate / report["ceiling_gflops"]:.0f}% of a matrix product',
      '            PyTorch    ours  speed',
    ]
    for part in ('forward', 'backward', 'step'):
      theirs, ours = t[f'torch {part}'], t[part]
      lines.append(
        f'  {part:9s} {1e3 * theirs:7.1f} {1e3 * ours:7.1f}'
        f'  {theirs / ours:4.2f}x'
      )
    lines.append(
      f'  plain             {1e3 * t["plain"]:7.1f}\n'
      f'  iteration         {1e3 * t["iteration"]:7.1f}'
      f'  {100 * (t["iteration"] / t["step"] - 1):+.1f}% over the step'
    )
  report['speed_vs_torch'] = report['networks']['zssr']['speed_vs_torch']
  print(json.dumps(report) if options.json else '\n'.join(lines))


if __name__ == '__main__':
  main()
