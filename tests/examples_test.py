"""The bundled example is what its README says, and the notebook runs."""

import pathlib
import re
import shutil
import socket

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from zssr_jax import presets
from zssr_jax.degradation import Degradation
from zssr_jax.ops import metrics, resize

FOLDER = pathlib.Path(__file__).parents[1] / 'examples'


def read(name):
  with Image.open(FOLDER / name) as image:
    return np.asarray(image)


@pytest.fixture(scope='module')
def lr():
  return read('astronaut_lr.png')


@pytest.fixture(scope='module')
def hr():
  return read('astronaut_hr.png')


@pytest.fixture(scope='module')
def kernel():
  return np.load(FOLDER / 'astronaut_kernel.npy')


def test_the_script_makes_the_same_example_again(
  lr, hr, kernel, monkeypatch, load_script
):
  def no_network(*args, **kwargs):
    raise AssertionError('the photo has to be downloaded')

  monkeypatch.setattr(socket.socket, 'connect', no_network)
  script = load_script('examples/make_example.py')
  made_lr, made_hr, made_kernel = script.make_example()
  np.testing.assert_array_equal(made_lr, lr)
  np.testing.assert_array_equal(made_hr, hr)
  np.testing.assert_allclose(made_kernel, kernel, atol=1e-8)


def test_scipy_makes_the_same_low_resolution_image(lr, hr, kernel):
  # ndimage's 'reflect' repeats the border pixel: half-sample symmetric.
  blurred = np.stack(
    [
      ndimage.correlate(hr[..., c].astype(np.float64), kernel, mode='reflect')
      for c in range(3)
    ],
    axis=-1,
  )
  np.testing.assert_array_equal(np.floor(blurred[::2, ::2] + 0.5), lr)


def test_the_package_makes_the_same_low_resolution_image(lr, hr, kernel):
  image = jnp.asarray(hr, jnp.float32) / 255
  made = Degradation(2, jnp.asarray(kernel)).down(image)
  # In float32: a value that all but ties may round either way.
  assert np.abs(np.asarray(made) * 255 - lr).max() < 0.5 + 1e-3


def test_the_kernel_is_a_gaussian_that_shifts_nothing(kernel):
  assert kernel.dtype == np.float32 and kernel.shape == (15, 15)
  k = kernel.astype(np.float64)
  offset = np.arange(15) - 7.5
  y, x = offset[:, None], offset[None, :]
  assert k.min() >= 0
  assert k.sum() == pytest.approx(1, abs=1e-6)
  assert (k * y).sum() == pytest.approx(0, abs=1e-6)
  assert (k * x).sum() == pytest.approx(0, abs=1e-6)
  covariance = [
    [(k * x * x).sum(), (k * x * y).sum()],
    [(k * x * y).sum(), (k * y * y).sum()],
  ]
  variances, axes = np.linalg.eigh(covariance)
  np.testing.assert_allclose(variances, [0.8, 3.0], rtol=0.02)
  assert abs(axes[:, 1] @ [np.cos(np.pi / 6), 0.5]) == pytest.approx(
    1, abs=1e-4
  )


@pytest.mark.slow
def test_knowing_the_kernel_is_worth_more_than_a_decibel(lr, hr, kernel):
  """Plain back-projection with the kernel, by scipy, beats bicubic."""
  bicubic = resize.imresize(lr, 2)
  sr = bicubic.astype(np.float64)
  for _ in range(5):
    for c in range(3):
      again = ndimage.correlate(sr[..., c], kernel, mode='reflect')[::2, ::2]
      sr[..., c] += resize.imresize((lr[..., c] - again)[..., None], 2)[..., 0]
  known = metrics.score((sr / 255).astype(np.float32), hr, 2)[0]
  assert known > metrics.score(bicubic, hr, 2)[0] + 1


def cells():
  """Title and code of the notebook's cells, as jupytext divides them."""
  text = (FOLDER / 'photo.py').read_text()
  title, found = '', []
  for cell in re.split(r'(?m)^# %%', text)[1:]:
    kind, _, body = cell.partition('\n')
    if kind.strip() == '[markdown]':
      lines = body.strip().splitlines()
      assert all(line.startswith('#') for line in lines)
      title = lines[0].lstrip('# ')
    else:
      assert kind == ''
      found.append((title, body))
  return found


def test_the_notebook_asks_in_the_order_of_a_newcomer():
  assert [title for title, _ in cells()] == [
    'Enlarge a photo',
    'Twice as large',
    'Look at it',
    'Save it',
    'What was found',
    'Another scale',
    'Another preset',
    'Another photo, without training',
    'Arrays in and out',
    'A blur that is known',
  ]


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch, capsys):
  with Image.open(FOLDER / 'astronaut_lr.png') as image:
    image.crop((40, 30, 96, 94)).save(tmp_path / 'astronaut_lr.png')
  shutil.copy(FOLDER / 'astronaut_kernel.npy', tmp_path)
  monkeypatch.chdir(tmp_path)
  for name in ('auto', 'fast', 'nonideal_fast'):  # that it runs, not how well
    quick = presets.PRESETS[name].replace(
      start='random', depth=3, width=8, max_steps=4, copies=1
    )
    monkeypatch.setitem(presets.PRESETS, name, quick)
  seen = {}
  # As for users, who are not held to the suite's strictness.
  with jax.numpy_dtype_promotion('standard'), jax.numpy_rank_promotion('allow'):
    for title, code in cells():
      exec(compile(code, f'photo.py: {title}', 'exec'), seen)
  assert seen['result'].image.shape == (128, 112, 3)
  assert seen['larger'].image.shape == (192, 168, 3)
  assert seen['result']._repr_png_().startswith(b'\x89PNG')
  assert seen['result'].said
  assert seen['other'].image.shape == (128, 112, 3)
  assert np.abs(seen['fast'].image - seen['faster'].image).max() > 0
  assert seen['sharper'].result.kernel.shape == (15, 15)
  assert {p.name for p in (tmp_path / 'out').iterdir()} == {
    'photo_x2.png',
    'photo_x2.jpg',
    'mine.safetensors',
  }
  assert '(64, 56, 3) uint8 -> (128, 112, 3) float32' in capsys.readouterr().out
