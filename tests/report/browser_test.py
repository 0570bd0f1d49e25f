"""The report in a real browser: what its users see and can do.

Needs selenium, and Chromium or Chrome and chromedriver on the PATH. Where they
are missing the tests are skipped, or fail if ZSSR_JAX_NEED_BROWSER is 1.
"""

import io
import json

import numpy as np
import pytest
from PIL import Image

from zssr_jax.report import page
from zssr_jax.training.history import History

pytestmark = pytest.mark.slow

DESKTOP, PHONE = (1280, 900), (375, 812)
# Requests for these would be in the log, were they not escaped.
EVIL = '<img src="http://127.0.0.1:9/a.png"><script>throw 1</script>'


def make_page():
  rng = np.random.default_rng(0)
  steps = 1200
  curves = History(
    loss=rng.lognormal(-4, 0.5, steps),
    learning_rate=np.geomspace(1e-3, 1e-6, steps),
    error_steps=np.arange(0, steps, 50),
    error=np.geomspace(1e-2, 1e-4, steps // 50),
    drops=(300, 1000),
    rollbacks=(),
    stages=((2.0, 2.0, 400), (2.0, 2.0, 800)),
  )
  red, blue = (np.tile(c, (200, 300, 1)) for c in ([1.0, 0, 0], [0, 0, 1.0]))
  plain = page.Entry('plain', red, blue, None, None, None, {})
  noise = rng.random((2, 300, 700, 3))
  full = page.Entry(
    EVIL + 'long_' * 30,
    *noise,
    reference=noise[1],
    kernel=np.eye(13) / 13,
    history=curves,
    numbers={'a label that is long': 'a_value_' * 20, 'PSNR': '30.1 dB'},
  )
  row = {'picture': 'plain', 'note': EVIL}
  row |= {f'number {i}': '0.1234' for i in range(8)}
  return page.make_report(
    'Report', [plain, full, plain], summary=[row], notes=['note_' * 60, EVIL]
  )


@pytest.fixture(scope='module')
def driver(open_browser, tmp_path_factory):
  """A browser that shows the page, with a log of what happened since."""
  page = tmp_path_factory.mktemp('page') / 'report.html'
  page.write_text(make_page(), 'utf-8')
  driver = open_browser()
  driver.get(page.as_uri())
  return driver


def resize(driver, size, *, dark=False, touch=False):
  """Sets what the page sees of the screen, and scrolls to its top."""
  width, height = size
  driver.execute_cdp_cmd(
    'Emulation.setDeviceMetricsOverride',
    {
      'width': width,
      'height': height,
      'deviceScaleFactor': 1,
      'mobile': touch,
    },
  )
  driver.execute_cdp_cmd(
    'Emulation.setTouchEmulationEnabled', {'enabled': touch}
  )
  scheme = {
    'name': 'prefers-color-scheme',
    'value': 'dark' if dark else 'light',
  }
  driver.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': [scheme]})
  driver.execute_script('document.activeElement.blur(); scrollTo(0, 0)')


def screenshot(target):
  content = getattr(target, 'screenshot_as_png', None)
  content = content or target.get_screenshot_as_png()
  return np.asarray(Image.open(io.BytesIO(content)).convert('RGB'), int)


def slider(driver):
  return driver.find_element('css selector', '.compare')


def shown(driver):
  """Returns which share of the picture is red (bicubic), from its pixels."""
  pixels = screenshot(slider(driver))
  # Below the knob, above the labels, within the ring of the focus.
  row = pixels[3 * len(pixels) // 4, 4:-4]
  red, blue = row[:, 0] > row[:, 2] + 99, row[:, 2] > row[:, 0] + 99
  places = np.arange(len(row))
  # Red on the left of the line alone and blue on its right alone.
  assert places[red].max(initial=0) <= places[blue].min(initial=len(row))
  assert red.sum() + blue.sum() > len(row) - 8
  return red.mean()


def drag(driver, kind, start, end):
  """Drags between two points, given as shares of the slider's size."""
  from selenium.webdriver.common.actions import action_builder, pointer_input

  box = slider(driver)
  driver.execute_script('arguments[0].scrollIntoView({block: "center"})', box)
  rect = driver.execute_script(
    'const r = arguments[0].getBoundingClientRect();'
    'return [r.left, r.top, r.width, r.height]',
    box,
  )
  pointer = pointer_input.PointerInput(kind, kind)
  actions = action_builder.ActionBuilder(driver, mouse=pointer, duration=50)
  places = [
    [round(rect[a] + share * rect[a + 2]) for a, share in enumerate(point)]
    for point in (start, end)
  ]
  actions.pointer_action.move_to_location(*places[0]).pointer_down()
  for step in range(1, 5):
    x, y = (a + (b - a) * step // 4 for a, b in zip(*places, strict=True))
    actions.pointer_action.move_to_location(x, y)
  actions.pointer_action.pointer_up()
  actions.perform()


def test_the_line_follows_the_mouse(driver):
  resize(driver, DESKTOP)
  driver.refresh()
  assert shown(driver) == pytest.approx(0.5, abs=0.02)
  drag(driver, 'mouse', (0.5, 0.5), (0.2, 0.4))
  assert shown(driver) == pytest.approx(0.2, abs=0.02)
  drag(driver, 'mouse', (0.6, 0.5), (0.9, 0.5))
  assert shown(driver) == pytest.approx(0.9, abs=0.02)
  drag(driver, 'mouse', (0.7, 0.3), (0.7, 0.3))
  assert shown(driver) == pytest.approx(0.7, abs=0.02)


def test_the_line_follows_a_finger_and_the_page_still_scrolls(driver):
  resize(driver, PHONE, touch=True)
  drag(driver, 'touch', (0.5, 0.5), (0.25, 0.5))
  assert shown(driver) == pytest.approx(0.25, abs=0.02)
  drag(driver, 'touch', (0.8, 0.5), (0.8, 0.5))
  assert shown(driver) == pytest.approx(0.8, abs=0.02)
  before = driver.execute_script('return scrollY')
  drag(driver, 'touch', (0.4, 0.9), (0.4, 0.1))
  assert driver.execute_script('return scrollY') > before
  assert shown(driver) == pytest.approx(0.8, abs=0.02)


def test_keys_move_the_line_and_the_focus_is_visible(driver):
  from selenium.webdriver import ActionChains, Keys

  resize(driver, DESKTOP)
  drag(driver, 'mouse', (0.5, 0.5), (0.5, 0.5))
  driver.execute_script('document.activeElement.blur()')
  plain = screenshot(slider(driver))

  def press(*keys):
    ActionChains(driver).send_keys(*keys).perform()

  driver.execute_script(
    'const link = document.querySelector(".summary a");'
    'link.focus({preventScroll: true})'
  )
  press(Keys.TAB)
  control = driver.switch_to.active_element
  assert control.get_attribute('type') == 'range'
  assert 'plain' in control.accessible_name
  changed = (np.abs(screenshot(slider(driver)) - plain).sum(2) > 60).mean()
  assert changed > 0.01  # a ring
  press(*[Keys.ARROW_RIGHT] * 10)
  assert shown(driver) == pytest.approx(0.6, abs=0.02)
  assert control.get_attribute('aria-valuetext') == '60 % bicubic, 40 % ours'
  press(*[Keys.ARROW_LEFT] * 30)
  assert shown(driver) == pytest.approx(0.3, abs=0.02)
  press(Keys.END)
  assert shown(driver) > 0.98
  press(Keys.HOME)
  assert shown(driver) < 0.02


@pytest.mark.parametrize('width', [320, 375, 700, 1280])
def test_nothing_is_wider_than_the_screen(driver, width):
  # So high that no part is left out as being out of sight.
  resize(driver, (width, 7000))
  assert driver.execute_script(
    'return Math.max(document.documentElement.scrollWidth,'
    ' document.body.scrollWidth) <= document.documentElement.clientWidth'
  )
  # Neither is anything cut off at a section's edge.
  assert not driver.execute_script(
    'return [...document.querySelectorAll("section *")].filter(e =>'
    ' !e.closest("svg, .compare, .overview div") && e.getBoundingClientRect()'
    '.right > document.documentElement.clientWidth).map(e => e.outerHTML)'
  )


def luminance(color):
  """Relative luminance of 0 ... 255 RGB, as in WCAG."""
  color = np.asarray(color) / 255
  linear = np.where(
    color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4
  )
  return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize('dark', [False, True])
def test_text_is_readable_in_both_schemes(driver, dark):
  resize(driver, DESKTOP, dark=dark)
  paper = screenshot(driver)[5, 5]
  assert (luminance(paper) < 0.1) == dark
  for what in ('h1', 'td', 'a', '.how', '.key', 'figcaption', '.plot span'):
    color = driver.execute_script(
      'return getComputedStyle(document.querySelector(arguments[0])).color',
      what,
    )
    ink = [int(v) for v in color.removeprefix('rgb(').rstrip(')').split(',')]
    low, high = sorted([luminance(paper), luminance(ink)])
    assert (high + 0.05) / (low + 0.05) > 4.5, what


def test_all_pictures_can_be_decoded(driver):
  resize(driver, DESKTOP)
  count = driver.execute_async_script(
    'const done = arguments[0], images = [...document.images];'
    'for (const i of images) i.loading = "eager";'
    'Promise.all(images.map(i => i.decode())).then('
    '  () => done(images.length), e => done(String(e)))'
  )
  # Two in each slider, the details, an overview and a kernel.
  assert count == 3 * 2 + 2 + 3 + 2 + 2


def test_nothing_was_requested_and_nothing_went_wrong(driver):
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
  assert any(url.startswith('file:') for url in urls)
  assert {url.split(':')[0] for url in urls} <= {'file', 'data'}
  assert driver.get_log('browser') == []
