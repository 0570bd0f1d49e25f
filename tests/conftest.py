"""What every test runs under: strict JAX, four devices, a compile cache."""

import importlib.util
import os
import pathlib
import shutil

import pytest

CACHE = pathlib.Path(__file__).parents[1] / '.cache' / 'jax'

# Environment variables reach the scripts that tests start, too. Compiled
# programs are kept, so a second run of the suite spends little on compiling.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(CACHE))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.2')

import jax  # noqa: E402

jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')


@pytest.fixture(scope='module', autouse=True)
def _forget_programs():
  """Drops a file's compiled programs: kept, they fill the process's maps.

  Each takes a few memory maps of the 65,530 that Linux allows; past them LLVM
  crashes. The suite would take more.
  """
  yield
  jax.clear_caches()


@pytest.fixture(scope='session')
def data_root() -> pathlib.Path:
  """The folder of public test images; skips the test where there is none."""
  from zssr_jax.data import datasets

  root = datasets.data_root()
  if root is None:
    pytest.skip(f'no test images: set {datasets.VARIABLE} to their folder')
  return root


@pytest.fixture
def cases(data_root) -> pathlib.Path:
  """The folder of files that were refused once, described by its README."""
  folder = data_root.parent / 'cases'
  if not folder.is_dir():
    pytest.skip(f'no folder of cases beside {data_root}')
  return folder


@pytest.fixture(scope='session')
def write_photos():
  """Writes small photos: `write_photos(folder, [array.shape, ...])`.

  They are smooth, with an edge, each with waves of its own, and are called
  photo0.png and so on.
  """
  import numpy as np
  from PIL import Image

  def write(folder: pathlib.Path, shapes) -> pathlib.Path:
    folder.mkdir()
    for number, shape in enumerate(shapes):
      y, x = np.mgrid[: shape[0], : shape[1]]
      waves = np.sin(x / (3 + number)) + np.cos(y / 4) + (x > y)
      pixels = waves
      if len(shape) == 3:
        pixels = np.stack([waves * (c + 1) for c in range(shape[2])], -1)
      pixels = np.round(255 * (pixels - pixels.min()) / np.ptp(pixels))
      image = Image.fromarray(pixels.astype(np.uint8))
      image.save(folder / f'photo{number}.png')
    return folder

  return write


@pytest.fixture(scope='session')
def smoke():
  """Runs a command by the config smoke: `smoke(zssr.main, *arguments)`."""

  def run(main, *arguments) -> int:
    # As for users: optax's Adam does not work under strict promotion.
    with jax.numpy_dtype_promotion('standard'):
      return main(['command', '--config=smoke', *map(str, arguments)])

  return run


@pytest.fixture(scope='session')
def load_script():
  """Loads a script as a module: `load_script('benchmarks/scale.py')`.

  As where it is started, it finds its neighbours. It is another module each
  time, which no other test has changed.
  """

  def load(name: str):
    path = pathlib.Path(__file__).parents[1] / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
      patch.syspath_prepend(path.parent)
      spec.loader.exec_module(module)
    return module

  return load


BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
FLAGS = (
  '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run'
  ' --disable-background-networking --disable-component-update'
  ' --disable-sync --disable-dev-shm-usage --force-device-scale-factor=1'
)


def _missing(what):
  if os.environ.get('ZSSR_JAX_NEED_BROWSER') == '1':
    pytest.fail(f'{what}, but ZSSR_JAX_NEED_BROWSER=1')
  pytest.skip(what)


@pytest.fixture(scope='module')
def open_browser(tmp_path_factory):
  """Opens a browser: `open_browser(*flags, **prefs)`, with logs that are empty.

  Skips the test where there is none, or fails it if ZSSR_JAX_NEED_BROWSER is 1.
  """
  opened = []

  def start(*flags, **prefs):
    try:
      from selenium import webdriver
    except ImportError:
      _missing('selenium is not installed')
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    service = shutil.which('chromedriver')
    if not (browser and service):
      _missing('neither Chromium nor Chrome with chromedriver is on the PATH')
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    profile = tmp_path_factory.mktemp('browser') / 'profile'
    for flag in (*FLAGS.split(), *flags, f'--user-data-dir={profile}'):
      options.add_argument(flag)
    logs = {'performance': 'ALL', 'browser': 'ALL'}
    options.set_capability('goog:loggingPrefs', logs)
    if prefs:
      options.add_experimental_option('prefs', prefs)
    driver = webdriver.Chrome(options, webdriver.ChromeService(service))
    opened.append(driver)
    driver.get('about:blank')
    driver.get_log('performance')  # of the browser's own first page
    return driver

  yield start
  for driver in opened:
    driver.quit()
