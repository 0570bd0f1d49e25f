"""The page of `zssr app`: who may ask it for what, and what happens on it.

The server runs as a process of its own. Skipped where Gradio is not installed;
the parts in a browser also where there is none, or they fail if
ZSSR_JAX_NEED_BROWSER is 1.
"""

import base64
import contextlib
import http.client
import importlib.util
import io
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import pytest
from PIL import Image

from zssr_jax.errors import InputError
from zssr_jax.web import guard, server, work

ROOT = pathlib.Path(__file__).parents[1]
START = (
  'import sys; from zssr_jax.web import server;'
  ' sys.exit(server.serve(sys.argv[1:]))'
)
ONLY_HERE = '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'
DESKTOP, PHONE = (1280, 1000), (390, 844)
EVIL = '<img src=x onerror=alert(1)> & "b" ${7*6} {{value}} `c`.png'
# Writes down whom a Python program asks for on the network.
WATCH = """
import os, sys
def watch(event, args):
  if event in ('socket.connect', 'socket.getaddrinfo', 'socket.sendto'):
    with open(os.environ['ASKED'], 'a') as file:
      print(event, args, file=file)
sys.addaudithook(watch)
"""

spec = importlib.util.spec_from_file_location('bin_main', ROOT / 'bin/main.py')
bin_main = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bin_main)

needs_gradio = pytest.mark.skipif(
  importlib.util.find_spec('gradio') is None, reason='gradio is not installed'
)


def photo(height=40, width=48):
  """A colourful, sharp picture, uint8."""
  y, x = np.mgrid[:height, :width]
  waves = [
    np.sin(x / (3 + c)) + np.cos(y / (4 + c)) + (x > y) for c in range(3)
  ]
  pixels = np.stack(waves, -1)
  return np.round(255 * (pixels - pixels.min()) / np.ptp(pixels)).astype(
    'uint8'
  )


def save(path, pixels=None, **options):
  Image.fromarray(photo() if pixels is None else pixels).save(path, **options)
  return path


def size(path):
  with Image.open(path) as image:
    return image.size


# --- Arguments


@pytest.mark.parametrize(
  ('argv', 'words'),
  [
    (['--host=0.0.0.0'], '--user and --password'),
    (['--host=0.0.0.0', '--user=a'], 'pass both'),
    (['--host=192.168.1.2', '--password=b'], 'pass both'),
    (['--user=a:b', '--password=c'], 'colon'),
    (['--port=0'], 'from 1 to 65535'),
    (['--port=web'], '--port'),
    (['--max-megapixels=0'], 'above 0'),
    (['--max-megapixels=nan'], 'above 0'),
    (['--share'], '--share'),
    (['photo.jpg'], 'photo.jpg'),
  ],
)
def test_wrong_arguments_are_refused_in_one_line(argv, words, capsys):
  assert server.serve(argv) == 2
  out, err = capsys.readouterr()
  assert not out
  assert err.startswith('error: ') and err.count('\n') == 1
  assert words in err


def test_help_is_answered(capsys):
  assert server.serve(['--help']) == 0
  assert '--max-megapixels' in capsys.readouterr().out


def test_without_gradio_one_line_says_what_to_install(monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, 'gradio', None)
  assert server.serve(['--no-browser']) == 2
  err = capsys.readouterr().err
  assert "pip install 'zssr_jax[app]'" in err and err.count('\n') == 1


@needs_gradio
def test_a_taken_port_is_refused_in_one_line(capsys):
  with socket.create_server(('127.0.0.1', 0)) as taken:
    port = taken.getsockname()[1]
    assert server.serve([f'--port={port}', '--no-browser']) == 2
  err = capsys.readouterr().err
  assert str(port) in err and err.count('\n') == 1


@pytest.mark.parametrize(
  ('host', 'local'),
  [
    ('127.0.0.1', True),
    ('127.8.8.8', True),
    ('localhost', True),
    ('::1', True),
    ('0.0.0.0', False),
    ('127.0.0.1.evil.org', False),
    ('', False),
  ],
)
def test_only_this_machine_is_loopback(host, local):
  assert guard.is_loopback(host) == local


# --- Sessions, without a server


@pytest.fixture
def sessions(tmp_path):
  root = tmp_path / 'root'
  root.mkdir()
  yield (made := work.Sessions(root, 1e6))
  made.close_all()


def test_one_run_goes_on_at_a_time_in_the_order_they_came():
  turns, order, inside = work.Turns(), [], []
  waited = {}

  def run(number):
    with turns.mine(lambda ahead: waited.setdefault(number, ahead)):
      inside.append(number)
      assert len(inside) == 1
      time.sleep(0.3)
      order.append(inside.pop())

  threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
  for thread in threads:
    thread.start()
    time.sleep(0.01)
  for thread in threads:
    thread.join()
  assert order == [0, 1, 2, 3]
  assert waited == {1: 1, 2: 2, 3: 3}


def test_who_gives_up_waiting_leaves_the_line():
  turns = work.Turns()

  def give_up(ahead):
    raise work.Stopped

  with turns.mine(give_up):
    with pytest.raises(work.Stopped), turns.mine(give_up):
      pass
  with turns.mine(give_up):
    pass


def test_too_many_pixels_are_refused_before_they_are_decoded(
  sessions, tmp_path, monkeypatch
):
  path = save(tmp_path / 'large.png', np.zeros((1001, 1000), np.uint8))

  def decode(*_, **__):
    raise AssertionError('decoded')

  monkeypatch.setattr(work.pictures, 'read', decode)
  with pytest.raises(InputError, match=r'large\.png.*limit here is 1;'):
    sessions.get('a').take(path, 2)


@pytest.mark.parametrize('content', [b'', b'no image', b'\x89PNG\r\n\x1a\n'])
def test_what_is_no_photo_is_refused_without_telling_folders(
  sessions, tmp_path, content
):
  path = tmp_path / 'broken.png'
  path.write_bytes(content)
  with pytest.raises(InputError) as refusal:
    sessions.get('a').take(path, 2)
  assert str(refusal.value).startswith('broken.png: ')
  assert str(tmp_path) not in str(refusal.value)
  with pytest.raises(InputError, match='no photo'):
    sessions.get('a').start('fast', 2, sessions.turns)


def test_only_what_was_uploaded_is_taken(sessions, tmp_path):
  outside = save(tmp_path / 'outside.png')
  inside = save(sessions.uploads / 'inside.png')
  link = sessions.uploads / 'link.png'
  link.symlink_to(outside)
  assert sessions.uploaded(str(inside)) == inside.resolve()
  for path in (
    outside,
    link,
    sessions.uploads / '..' / '..' / 'outside.png',
    sessions.uploads,
    sessions.uploads / 'missing.png',
    '/etc/passwd',
  ):
    with pytest.raises(InputError, match='not uploaded'):
      sessions.uploaded(str(path))


def test_a_closed_page_leaves_nothing(sessions, tmp_path):
  path = save(sessions.uploads / 'a.png')
  first, second = sessions.get('one'), sessions.get('two')
  for session in (first, second):
    session.take(path, 2)
    address = sessions.shelf.put(session.before.path)
    token = address.split('/')[2]
    assert sessions.shelf.get(token).is_file()
  sessions.close('one')
  assert path.is_file() and second.before.path.is_file()
  sessions.close('two')
  left = [p for p in (tmp_path / 'root').rglob('*') if p.is_file()]
  assert left == []
  assert sessions.shelf.get(token) is None


def drive(run, seconds=120):
  """Follows a run to its end; returns all states."""
  deadline = time.monotonic() + seconds
  states = []
  for state in run.follow():
    states.append(state)
    assert time.monotonic() < deadline
  return states


def command_line(path, folder, *flags):
  done = subprocess.run(
    [sys.executable, ROOT / 'bin/main.py', f'--input={path}', '--seed=0',
     f'--output={folder}', *flags],
    capture_output=True, text=True,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  return folder


@pytest.mark.slow
@pytest.mark.parametrize(
  ('name', 'preset', 'scale', 'flags'),
  [
    ('a.jpg', 'smoke', 2, ['--output_format=jpg']),
    ('b.tif', 'smoke', 3, []),
    ('d.png', 'fast', 2, []),
  ],
)
def test_the_bytes_are_those_of_the_command_line(
  sessions, tmp_path, name, preset, scale, flags
):
  pixels = photo(64, 72)
  if name == 'd.png':  # with alpha
    pixels = np.dstack([pixels, 255 - pixels[..., 0]])
  path = save(tmp_path / name, pixels)
  session = sessions.get('a')
  session.take(path, scale)
  states = drive(session.start(preset, scale, sessions.turns))
  done = states[-1].done
  assert done, states[-1]
  out = tmp_path / 'out'
  argv = [f'--input={path}', f'--output={out}', '--seed=0']
  argv += [f'--config={preset}', f'--scale={scale}', *flags]
  assert bin_main.main(['main.py', *argv]) == 0
  made = {p.name: p.read_bytes() for p in done.downloads}
  suffix = '.jpg' if flags else ('.tif' if name == 'b.tif' else '.png')
  result = f'{path.stem}_x{scale}{suffix}'
  assert made[result] == (out / result).read_bytes()
  assert size(done.after.path) == (72 * scale, 64 * scale)
  assert (states[-1].preview is not None) == (preset != 'smoke')
  shares = [state.share for state in states]
  assert shares == sorted(shares)


def test_of_a_large_picture_every_nth_pixel_is_shown(tmp_path, monkeypatch):
  picture = work.pictures.read(save(tmp_path / 'a.png'), None)
  rows, columns = 80, 96
  monkeypatch.setattr(work, '_SHOWN', rows * columns / 9)
  larger = np.random.default_rng(0).random((rows, columns, 3), np.float32)
  screen = work._Screen(picture, rows, columns)
  for first in (0, 7, 20, 50):  # strips of rows that the step does not divide
    last = {0: 7, 7: 20, 20: 50, 50: rows}[first]
    screen.paint(first, larger[first:last])
  shown = screen.save(tmp_path / 'after.png')
  assert (shown.rows, shown.columns, shown.step) == (rows, columns, 3)
  with Image.open(shown.path) as image:
    pixels = np.asarray(image)
  expected = np.floor(255 * larger[::3, ::3].astype(float) + 0.5)
  np.testing.assert_array_equal(pixels, expected)
  before = work.bicubic(picture, 2, tmp_path / 'before.png')
  assert before[1:] == shown[1:]
  assert size(before.path) == size(shown.path)


@pytest.mark.slow
def test_stop_ends_the_training(sessions, tmp_path):
  session = sessions.get('a')
  session.take(save(tmp_path / 'a.png', photo(96, 96)), 2)
  run = session.start('real', 2, sessions.turns)
  for state in run.follow():
    if 'step' in state.detail:
      break
  began = time.monotonic()
  run.stop()
  assert drive(run)[-1].stopped
  assert run.join(5)
  assert time.monotonic() - began < 5
  # Whoever comes next has the turn.
  assert drive(session.start('smoke', 2, sessions.turns))[-1].done


@pytest.mark.slow
def test_what_fails_is_said_in_one_line(sessions, tmp_path):
  session = sessions.get('a')
  session.take(save(tmp_path / 'tiny.png', photo(3, 3)), 2)
  state = drive(session.start('fast', 2, sessions.turns))[-1]
  assert state.error and '\n' not in state.error
  assert state.error.startswith('tiny.png')


# --- The server


class Server:
  """The server as a process, in a temporary folder of its own."""

  def __init__(self, folder, *flags):
    self.temporary = folder / 'tmp'
    self.temporary.mkdir(exist_ok=True)
    self.asked = folder / 'asked.txt'
    self.asked.touch()
    (folder / 'sitecustomize.py').write_text(WATCH)
    with (folder / 'stderr.txt').open('a') as errors:
      self.process = subprocess.Popen(
        [sys.executable, '-c', START, '--no-browser', *flags],
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        cwd=folder,
        env=os.environ
        | {
          'TMPDIR': str(self.temporary),
          'ASKED': str(self.asked),
          'PYTHONPATH': os.pathsep.join([str(folder), str(ROOT)]),
        },
      )
    line = self.process.stdout.readline()
    self.folder = folder
    assert line, (folder / 'stderr.txt').read_text()
    self.address = line.split()[0]
    self.port = int(self.address.rpartition(':')[2])

  def ask(self, path, method='GET', body=None, headers=()):
    """Asks with a path as it is; returns status, headers and body."""
    connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=30)
    with contextlib.closing(connection):
      connection.request(method, path, body, dict(headers))
      answer = connection.getresponse()
      return answer.status, answer.headers, answer.read()

  def upload(self, name, content):
    body = (
      b'--x\r\nContent-Disposition: form-data; name="files"; filename="'
      + name.encode()
      + b'"\r\nContent-Type: image/png\r\n\r\n'
      + content
      + b'\r\n--x--\r\n'
    )
    headers = {'Content-Type': 'multipart/form-data; boundary=x'}
    return self.ask('/gradio_api/upload', 'POST', body, headers)

  def stop(self, number=signal.SIGINT):
    if self.process.poll() is None:
      self.process.send_signal(number)
    code = self.process.wait(30)
    self.process.stdout.close()
    return code


@pytest.fixture(scope='module')
def page(tmp_path_factory):
  served = Server(tmp_path_factory.mktemp('server'), '--max-megapixels=1')
  yield served
  served.stop(signal.SIGKILL)


@pytest.mark.slow
@needs_gradio
def test_the_page_answers_and_forbids_all_that_is_elsewhere(page):
  status, headers, body = page.ask('/')
  assert status == 200 and b'gradio' in body
  assert "default-src 'self'" in headers['Content-Security-Policy']
  assert headers['Referrer-Policy'] == 'no-referrer'


@pytest.mark.slow
@needs_gradio
def test_no_path_leads_to_a_file(page):
  secret = page.folder / 'secret.png'
  save(secret)
  link = page.temporary / 'link.png'
  if not link.exists():
    link.symlink_to(secret)
  root = next(page.temporary.glob('zssr_app_*'))
  status, _, body = page.upload('a.png', secret.read_bytes())
  assert status == 200
  [uploaded] = json.loads(body)
  inside = root / 'uploads' / 'link.png'
  if not inside.exists():
    inside.symlink_to(secret)
  for path in (secret, link, inside, uploaded, '/etc/passwd', root):
    for way in ('/file=', '/gradio_api/file=', '/gradio_api/file/', '/file/'):
      assert page.ask(f'{way}{path}')[0] == 404
  for path in (
    '/made/x/secret.png',
    '/made/../../etc/passwd',
    '/made/..%2f..%2fetc/passwd',
    '/made//etc/passwd',
    '/static/../../../../../../../../etc/passwd',
    '/static/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd',
    '/assets/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd',
    '/assets//etc/passwd',
    '/svelte/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd',
    '/gradio_api/file=http://127.0.0.1:9/a.png',
    '/gradio_api/proxy=http://127.0.0.1:9/a.png',
    '/gradio_api/stream/a/b/c/playlist.m3u8',
    '/gradio_api/runs',
    '/gradio_api/run-history/buckets',
    '/gradio_api/openapi.json',
    '/monitoring',
    '/docs',
  ):
    status, _, body = page.ask(path)
    assert status in (400, 403, 404), path
    assert b'root:' not in body


def events(page, session, function, data):
  """Calls a function of the page as a browser does; returns its last event."""
  body = {
    'data': data,
    'fn_index': function,
    'session_hash': session,
    'trigger_id': None,
  }
  headers = {'Content-Type': 'application/json'}
  status, _, answer = page.ask(
    '/gradio_api/queue/join', 'POST', json.dumps(body), headers
  )
  assert status == 200, answer
  _, _, stream = page.ask(f'/gradio_api/queue/data?session_hash={session}')
  found = [
    json.loads(line[6:])
    for line in stream.decode().splitlines()
    if line.startswith('data: ')
  ]
  return next(e for e in found if e['msg'] == 'process_completed')


@pytest.mark.slow
@needs_gradio
@pytest.mark.parametrize('path', ['/etc/hostname', 'secret.png', '../x.png'])
def test_a_file_of_the_machine_cannot_be_named_as_a_photo(page, path):
  save(page.folder / 'secret.png')
  config = json.loads(page.ask('/config')[2])
  upload = next(
    d['id']
    for d in config['dependencies']
    if any(event == 'upload' for _, event in d['targets'])
  )
  data = {'path': path, 'meta': {'_type': 'gradio.FileData'}}
  end = events(page, 'mallory', upload, [data, 2])
  assert not end['success']
  root = next(page.temporary.glob('zssr_app_*'))
  assert not list(root.rglob('hostname')) + list(root.rglob('secret.png'))


@pytest.mark.slow
@needs_gradio
def test_uploads_are_limited_in_size(page):
  root = next(page.temporary.glob('zssr_app_*'))
  status, _, body = page.upload('large.png', bytes(26 << 20))
  assert status == 413, body
  assert not list(root.rglob('large.png'))


@pytest.mark.slow
@needs_gradio
@pytest.mark.parametrize(
  'headers',
  [
    {'Host': 'evil.org'},
    {'Host': '127.0.0.1.evil.org:7860'},
    {'Host': ''},
    {'Origin': 'http://evil.org'},
    {'Origin': 'null'},
    {'Origin': 'http://127.0.0.1:1'},
  ],
)
def test_other_sites_cannot_use_the_page(page, headers):
  assert page.ask('/', headers=headers)[0] == 403
  assert page.ask('/gradio_api/upload', 'POST', b'', headers)[0] == 403


@pytest.mark.slow
@needs_gradio
def test_a_password_is_asked_for_everything(tmp_path):
  served = Server(
    tmp_path, '--host=0.0.0.0', '--user=ann', '--password=ü:secret'
  )

  def login(words):
    return {'Authorization': 'Basic ' + base64.b64encode(words).decode()}

  try:
    for path in ('/', '/config', '/theme.css', '/made/a/b', '/elsewhere'):
      status, headers, _ = served.ask(path)
      assert status == 401 and headers['WWW-Authenticate'].startswith('Basic')
    for words in (b'ann:', b':', b'', b'ann:secret', 'bob:ü:secret'.encode()):
      assert served.ask('/', headers=login(words))[0] == 401
    right = login('ann:ü:secret'.encode())
    assert served.ask('/', headers=right)[0] == 200
    assert served.ask('/made/a/b', headers=right)[0] == 404
  finally:
    assert served.stop() == 0
  assert list(served.temporary.iterdir()) == []


@pytest.mark.slow
@needs_gradio
def test_a_killed_server_is_cleaned_up_after(tmp_path, monkeypatch):
  served = Server(tmp_path)
  assert served.upload('a.png', b'abc')[0] == 200
  served.stop(signal.SIGKILL)
  [left] = served.temporary.glob('zssr_app_*')
  assert list(left.rglob('a.png'))
  again = Server(tmp_path)
  [root] = again.temporary.glob('zssr_app_*')
  assert root != left
  # One that runs is left alone.
  monkeypatch.setattr(tempfile, 'tempdir', str(again.temporary))
  with server._temporary() as own:
    assert root.is_dir() and own != root
  assert again.stop() == 0
  assert list(tmp_path.joinpath('tmp').iterdir()) == []


# --- The browser


@pytest.fixture(scope='module')
def downloads(tmp_path_factory):
  return tmp_path_factory.mktemp('downloads')


@pytest.fixture(scope='module')
def driver(page, downloads, open_browser):
  """A browser that shows the page, and can reach nothing but this machine."""
  place = {'download.default_directory': str(downloads)}
  driver = open_browser(ONLY_HERE, **place)
  open_page(driver, page)
  return driver


def open_page(driver, page):
  driver.get(page.address)
  wait(driver, lambda: 'Drop a photo' in text(driver, '#said'))


def wait(driver, condition, seconds=60):
  from selenium.common.exceptions import (
    NoSuchElementException,
    StaleElementReferenceException,
  )
  from selenium.webdriver.support.wait import WebDriverWait

  ignored = (NoSuchElementException, StaleElementReferenceException)
  waiting = WebDriverWait(driver, seconds, 0.1, ignored_exceptions=ignored)
  return waiting.until(lambda _: condition())


def find(driver, selector):
  return driver.find_element('css selector', selector)


def text(driver, selector):
  return find(driver, selector).text


def drop(driver, path):
  find(driver, '#file input[type=file]').send_keys(str(path))


def press(driver, name):
  wait(driver, lambda: find(driver, name).is_enabled())
  find(driver, name).click()


def resize(driver, size, *, dark=False):
  """Sets what the page sees of the screen."""
  width, height = size
  driver.execute_cdp_cmd(
    'Emulation.setDeviceMetricsOverride',
    {
      'width': width,
      'height': height,
      'deviceScaleFactor': 1,
      'mobile': size == PHONE,
    },
  )
  scheme = 'dark' if dark else 'light'
  driver.execute_cdp_cmd(
    'Emulation.setEmulatedMedia',
    {'features': [{'name': 'prefers-color-scheme', 'value': scheme}]},
  )


def line(driver):
  """Where the line of the slider is, in per cent."""
  value = find(driver, '.compare').value_of_css_property('--at')
  value = value or find(driver, '.compare').get_attribute('style')
  return float(re.search(r'([\d.]+)%', value)[1])


def zoomed(driver):
  style = find(driver, '.compare img').get_attribute('style')
  return float(re.search(r'scale\(([\d.]+)\)', style)[1])


@pytest.fixture(scope='module')
def result(driver, tmp_path_factory):
  """The page after a run with `auto` on a small JPEG; the JPEG."""
  resize(driver, DESKTOP)
  path = save(tmp_path_factory.mktemp('in') / 'ein bild.jpg', quality=90)
  drop(driver, path)
  wait(driver, lambda: 'Ready' in text(driver, '#said'))
  assert '96 × 80' in text(driver, '.shown figcaption')  # bicubic, at once
  press(driver, '#start button, button#start')
  seen = set()

  def is_done():
    seen.update(text(driver, '#said').split('\n'))
    return 'Done in' in text(driver, '#said')

  wait(driver, is_done)
  assert len(seen) > 1, seen  # phases
  return path


@pytest.mark.slow
@needs_gradio
def test_the_download_has_the_bytes_of_the_command_line(
  driver, result, downloads, tmp_path
):
  out = command_line(result, tmp_path, '--config=auto', '--scale=2')
  png, jpeg = driver.find_elements('css selector', '.download')
  for link in (png, jpeg):
    link.click()
  # Gradio takes blanks out of names.
  name = png.get_attribute('download')
  wait(driver, lambda: (downloads / name).is_file())
  assert name.endswith('_x2.png')
  expected = (out / 'ein bild_x2.png').read_bytes()
  assert (downloads / name).read_bytes() == expected
  wait(driver, lambda: list(downloads.glob('*.jpg')))
  [saved] = downloads.glob('*.jpg')
  assert size(saved) == (96, 80)


@pytest.mark.slow
@needs_gradio
def test_the_slider_follows_mouse_and_keys(driver, result):
  from selenium.webdriver import ActionChains, Keys

  resize(driver, DESKTOP)
  box = find(driver, '.compare')
  driver.execute_script('arguments[0].scrollIntoView({block: "center"})', box)
  width = box.size['width']
  actions = ActionChains(driver)
  actions.move_to_element(box).click_and_hold()
  actions.move_by_offset(-width // 4, 0).release().perform()
  assert line(driver) == pytest.approx(25, abs=2)
  control = driver.switch_to.active_element
  assert control.get_attribute('type') == 'range'
  assert 'bicubic' in control.accessible_name
  ActionChains(driver).send_keys(Keys.END).perform()
  assert line(driver) == 100
  ActionChains(driver).send_keys(Keys.HOME).perform()
  assert line(driver) == 0
  assert control.get_attribute('aria-valuetext') == '0 % bicubic, 100 % ours'


@pytest.mark.slow
@needs_gradio
def test_the_picture_zooms_and_is_moved(driver, result):
  from selenium.webdriver import ActionChains

  resize(driver, DESKTOP)

  def zoom(what):
    find(driver, f'[data-zoom={what}]').click()
    return zoomed(driver)

  assert zoom('fit') == 1
  assert zoom('in') == pytest.approx(1.5)
  assert zoom('in') == pytest.approx(2.25)
  box, image = find(driver, '.compare'), find(driver, '.compare img')
  before = image.rect['x']
  driver.execute_script('arguments[0].scrollIntoView({block: "center"})', box)
  actions = ActionChains(driver)
  actions.move_to_element_with_offset(box, 60, 20).click_and_hold()
  actions.move_by_offset(-50, 0).release().perform()
  assert image.rect['x'] == pytest.approx(before - 50, abs=2)
  at = line(driver)
  ActionChains(driver).send_keys('-').perform()  # the picture has the focus
  assert zoomed(driver) == pytest.approx(1.5)
  assert line(driver) == at
  assert zoom('fit') == 1
  left = box.rect
  assert image.rect['x'] == pytest.approx(left['x'], abs=1)


@pytest.mark.slow
@needs_gradio
@pytest.mark.parametrize('size', [DESKTOP, PHONE, (320, 700)])
def test_nothing_is_wider_than_the_screen(driver, result, size):
  resize(driver, size)
  wide = driver.execute_script(
    'return [document.documentElement.scrollWidth, innerWidth]'
  )
  assert wide[0] <= size[0], wide


@pytest.mark.slow
@needs_gradio
@pytest.mark.parametrize('dark', [False, True])
def test_the_page_is_light_or_dark_as_the_machine_is(driver, result, dark):
  resize(driver, DESKTOP, dark=dark)
  driver.execute_script('scrollTo(0, 0)')
  content = driver.get_screenshot_as_png()
  wait(
    driver,
    lambda: (
      (np.asarray(
        Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert('L')
      )[2, 2] < 100) == dark
    ),
    5,
  )  # fmt: skip
  assert content


@pytest.mark.slow
@needs_gradio
def test_all_that_is_used_has_a_name(driver, result):
  resize(driver, DESKTOP)
  for element in driver.find_elements(
    'css selector', 'button, input:not([hidden]), a, progress'
  ):
    if element.is_displayed():
      assert element.accessible_name, element.get_attribute('outerHTML')
  for image in driver.find_elements('css selector', 'img'):
    assert image.get_attribute('alt'), image.get_attribute('outerHTML')
  assert find(driver, '#said').get_attribute('role') == 'status'
  assert driver.execute_script('return document.documentElement.lang')


@pytest.mark.slow
@needs_gradio
def test_a_name_with_html_is_text(driver, page, tmp_path):
  open_page(driver, page)
  drop(driver, save(tmp_path / EVIL))
  wait(driver, lambda: 'Ready' in text(driver, '#said'))
  caption = text(driver, '.shown figcaption')
  assert 'onerror' in caption and '42' not in caption
  assert not driver.execute_script(
    'return document.querySelectorAll("[onerror]").length'
  )
  broken = tmp_path / 'x' / EVIL
  broken.parent.mkdir()
  broken.write_bytes(b'no image')
  drop(driver, broken)
  wait(driver, lambda: 'not an image' in text(driver, '#said .error'))
  assert not driver.execute_script(
    'return document.querySelectorAll("[onerror]").length'
  )


@pytest.mark.slow
@needs_gradio
def test_a_run_is_stopped_and_another_waits_for_its_turn(driver, page):
  open_page(driver, page)
  press(driver, '#example')
  wait(driver, lambda: 'Ready' in text(driver, '#said'))
  find(driver, '#preset input[value=real]').click()
  press(driver, '#start')
  wait(driver, lambda: 'step' in text(driver, '#bar'))
  first = driver.current_window_handle
  driver.switch_to.new_window('tab')
  try:
    open_page(driver, page)
    press(driver, '#example')
    wait(driver, lambda: 'Ready' in text(driver, '#said'))
    press(driver, '#start')
    wait(driver, lambda: 'one picture is before it' in text(driver, '#bar'))
    press(driver, '#stop')
    wait(driver, lambda: 'Stopped' in text(driver, '#said'), 10)
  finally:
    driver.close()
    driver.switch_to.window(first)
  press(driver, '#stop')
  wait(driver, lambda: 'Stopped' in text(driver, '#said'), 10)
  assert find(driver, '#start').is_enabled()


@pytest.mark.slow
@needs_gradio
def test_nothing_leaves_the_machine_and_nothing_stays(driver, page):
  # Last, so that it covers what the others did.
  messages = [
    json.loads(entry['message'])['message']
    for entry in driver.get_log('performance')
  ]
  urls = [
    message['params']['request']['url']
    for message in messages
    if message['method'] == 'Network.requestWillBeSent'
  ]
  assert any(url.startswith(page.address) for url in urls)
  elsewhere = [
    url
    for url in urls
    if not url.startswith((f'{page.address}/', 'data:', 'blob:', 'about:'))
  ]
  assert elsewhere == []
  asked = page.asked.read_text()
  assert [a for a in asked.splitlines() if '127.0.0.1' not in a] == []
  root = next(page.temporary.glob('zssr_app_*'))
  driver.get('about:blank')

  def is_empty():
    return not [p for p in root.rglob('*') if p.is_file() and p.name != '.lock']

  wait(driver, is_empty, 20)
  assert page.stop() == 0
  assert list(page.temporary.iterdir()) in ([], [page.temporary / 'link.png'])
