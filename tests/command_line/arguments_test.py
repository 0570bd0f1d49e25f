"""Flags and configs of bin/main.py, and kernels by their width."""

import numpy as np
import pytest

import zssr_jax
from zssr_jax import blur_kernels
from zssr_jax.command_line import arguments, known, zssr
from zssr_jax.errors import InputError

from .helpers import ROOT, bin_main, save


def test_overrides_reach_the_config(tmp_path, cli, quick):
  cli(
    f'--input={save(tmp_path / "a.png")}',
    '--config.gradual=((0.5,0.5),(1,1))',
    '--config.max_steps=5',
    '--noconfig.dihedral',
    '--config.learning_rate=0.01',
  )
  config = quick[0]['config']
  assert config.gradual == ((0.5, 0.5), (1, 1))
  assert config.max_steps == 5
  assert not config.dihedral
  assert config.learning_rate == 0.01


@pytest.mark.slow
def test_seed_decides_the_result(tmp_path, cli):
  path = save(tmp_path / 'a.png')
  results = []
  for seed_flag in ('--seed=1', '--seed=1', '--seed=2'):
    assert cli(f'--input={path}', seed_flag, '--overwrite')[0] == 0
    results.append((tmp_path / 'out/a_x2.png').read_bytes())
  assert results[0] == results[1] != results[2]


def test_help_names_every_flag(capsys):
  assert bin_main.main(['main.py', '--help']) == 0
  out = capsys.readouterr().out
  assert out.startswith(zssr.__doc__)
  assert '--config=NAME' in out
  for name in ('input', 'scale', 'kernel', 'seed', 'overwrite'):
    assert f'--{name}:' in out or f'--[no]{name}:' in out


@pytest.mark.parametrize('name', sorted(p.stem for p in ROOT.glob('configs/*')))
def test_config_files_say_how_to_run_them(name):
  flag = f'--config={ROOT}/configs/{name}.py'
  configs = [
    arguments.parse_flags(
      ['main.py', *chosen], zssr.define_flags, default='auto'
    ).config
    for chosen in ([flag], [f'--config={name}'], ['--config', name])
  ]
  assert isinstance(configs[0], zssr_jax.Config)
  assert configs[0] == configs[1] == configs[2]
  text = (ROOT / f'configs/{name}.py').read_text()
  assert f'  python bin/main.py --config=configs/{name}.py' in text


@pytest.mark.parametrize(
  ('flags', 'expected'),
  [
    ((), (100, 1e-4)),
    (('--config.max_steps=7',), (7, 1e-4)),
    (('--config.learning_rate=0.5',), (100, 0.5)),
    (('--config.max_steps=7', '--config.start_steps=8'), (8, 1e-4)),
    (('--config.start=random',), (400, 5e-3)),
    (('--config.start=random', '--config.max_steps=7'), (7, 5e-3)),
  ],
)
def test_steps_that_are_asked_for_hold_with_a_start_and_without(
  flags, expected
):
  used = arguments.parse_flags(
    ['main.py', '--config=fast', *flags], zssr.define_flags, default='auto'
  ).config.in_force
  assert (used.max_steps, used.learning_rate) == expected


@pytest.mark.parametrize(
  ('text', 'eigenvalues', 'degrees'),
  [
    ('gaussian:1.6', (2.56, 2.56), 0),
    ('gaussian:2.0,1.0,30deg', (4, 1), 30),
    ('gaussian:2,1,30', (4, 1), 30),
    ('gaussian:1,2, -60 deg', (1, 4), -60),
    ('gaussian:2,.5', (4, 0.25), 0),
    ('gaussian:8', (64, 64), 0),
  ],
)
def test_gaussian_kernel_in_words(text, eigenvalues, degrees):
  np.testing.assert_allclose(
    known.parse_gaussian(text, 2),
    blur_kernels.gaussian_kernel(eigenvalues, np.radians(degrees), 2),
    atol=1e-7,
  )


def test_the_angle_turns_from_x_towards_growing_y():
  kernel = known.parse_gaussian('gaussian:3,1,45deg', 2)
  center = kernel.shape[0] // 2
  # Down and to the right lies the long axis.
  assert kernel[center + 3, center + 3] > 5 * kernel[center + 3, center - 2]


@pytest.mark.parametrize(
  'text',
  [
    *('', '0', '-1', 'nan', 'inf', 'wide', '8.1', '1,2,3,4', '1,', ',1'),
    *('1,0', '1,2,x', '1,2,nan', '1,2,inf', '1,2,', '1deg', '1e999'),
  ],
)
def test_gaussian_that_makes_no_sense_is_one_line(text):
  with pytest.raises(InputError) as caught:
    known.parse_gaussian(f'gaussian:{text}', 2.0)
  assert str(caught.value).startswith(f'--kernel=gaussian:{text}: must be ')
  assert '0 < STD <= 8 in' in str(caught.value)
  assert '\n' not in str(caught.value)


def test_gaussian_is_for_one_scale_on_both_axes():
  with pytest.raises(InputError, match='not 2,3; pass a kernel file'):
    known.parse_gaussian('gaussian:1', (2.0, 3.0))
