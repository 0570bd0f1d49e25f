"""The report as text: what it holds, and what it must not."""

import base64
import html.parser
import io
import re
import weakref

import numpy as np
import pytest
from PIL import Image

from zssr_jax.report import charts, page
from zssr_jax.training.history import History

rng = np.random.default_rng(0)


def make_curves(steps=1000, **changes):
  curves = History(
    loss=np.geomspace(0.1, 0.01, steps).astype(np.float32),
    learning_rate=np.full(steps, 1e-3, np.float32),
    error_steps=np.arange(0, steps, 50),
    error=np.geomspace(1e-2, 1e-4, len(range(0, steps, 50))),
    drops=(),
    rollbacks=(),
    stages=((2.0, 2.0, steps),),
  )
  return curves._replace(**changes)


def make_entry(shape=(40, 48, 3), **changes):
  entry = page.Entry(
    title='butterfly ×2',
    before=rng.random(shape),
    after=rng.random(shape),
    reference=None,
    kernel=None,
    history=None,
    numbers={},
  )
  return entry._replace(**changes)


class Page(html.parser.HTMLParser):
  """Collects tags and text, and checks that the elements nest."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.open, self.text = [], [], ''
    self.feed(text)
    assert not self.open

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in ('meta', 'link', 'img', 'input', 'path'):
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open and self.open[-1] not in ('style', 'script'):
      self.text += data

  def all(self, tag, **attributes):
    return [
      found
      for name, found in self.tags
      if name == tag and attributes.items() <= found.items()
    ]

  def pictures(self):
    """Decodes the pictures, by their alternative text."""
    found = {}
    for image in self.all('img'):
      content = image['src'].removeprefix('data:image/webp;base64,')
      found[image['alt']] = np.asarray(
        Image.open(io.BytesIO(base64.b64decode(content)))
      )
    return found


def render(*entries, **options):
  return Page(page.make_report('Report', iter(entries), **options))


def test_pictures_are_embedded_without_loss():
  entry = make_entry()
  pictures = render(entry).pictures()
  for name, image in (('bicubic', entry.before), ('ours', entry.after)):
    np.testing.assert_allclose(
      pictures[f'butterfly ×2, {name}'] / 255, image, atol=0.5 / 255 + 1e-9
    )


@pytest.mark.parametrize(
  ('channels', 'shown', 'note'),
  [
    (1, 1, None),
    (2, 1, 'the first of 2 channels'),
    (3, 3, None),
    (5, 3, 'the first three of 5 channels'),
  ],
)
def test_any_number_of_channels_is_shown(channels, shown, note):
  entry = make_entry((40, 48, channels))
  page = render(entry)
  picture = page.pictures()['butterfly ×2, ours']
  wanted = np.broadcast_to(entry.after[..., :shown], (40, 48, 3))
  np.testing.assert_allclose(picture / 255, wanted, atol=0.5 / 255 + 1e-9)
  assert ('channels' in page.text) == bool(note)
  assert (note or '') in page.text


def test_large_pictures_are_cut_where_they_differ_and_an_overview_says_so():
  before = np.zeros((1300, 1700, 1))
  after = before.copy()
  after[900:920, 1500:1520] = rng.random((20, 20, 1))
  page = render(make_entry(before=before, after=after))
  pictures = page.pictures()
  assert pictures['butterfly ×2, ours'].shape == (512, 512, 3)
  assert pictures['butterfly ×2, ours'].any()
  assert pictures['butterfly ×2, detail, ours'].any()
  assert pictures['butterfly ×2, whole'].shape == (245, 320, 3)
  assert '1700 × 1300 pixels' in page.text
  assert '512 × 512 of them' in page.text


def test_pictures_shrink_once_the_report_is_large(monkeypatch):
  monkeypatch.setattr(page, '_BUDGET', 1_000_000)
  entries = (make_entry((400, 500, 3), title=str(i)) for i in range(3))
  sizes = [
    picture.shape[:2]
    for name, picture in render(*entries).pictures().items()
    if name.endswith(', bicubic') and 'detail' not in name
  ]
  assert sizes == [(400, 500), (256, 256), (256, 256)]


def test_entries_are_taken_one_at_a_time():
  earlier = []

  def entries():
    for _ in range(3):
      assert all(picture() is None for picture in earlier)
      entry = make_entry()
      earlier.append(weakref.ref(entry.before))
      yield entry
      del entry

  page.make_report('Report', entries())
  assert len(earlier) == 3


def test_reference_may_differ_by_a_few_pixels():
  pictures = render(make_entry(reference=rng.random((41, 47, 3)))).pictures()
  assert pictures['butterfly ×2, ours'].shape == (40, 47, 3)
  assert 'butterfly ×2, detail, ground truth' in pictures


@pytest.mark.parametrize('shape', [(1, 1, 1), (2, 90, 3), (90, 1, 3)])
def test_small_and_equal_pictures_are_shown(shape):
  image = rng.random(shape)
  page = render(make_entry(before=image, after=image, reference=image))
  assert 'Bicubic and ours are identical' in page.text


def test_nothing_is_shown_of_what_is_not_there():
  text = render(make_entry()).text
  for absent in ('ground truth', 'kernel', 'Loss', 'steps', 'identical'):
    assert absent not in text
  assert not render().all('section')


def test_all_text_is_escaped():
  evil = '<script>alert(1)</script>"\'&<img src=x>'
  page = render(
    make_entry(title=evil, numbers={evil: evil}),
    summary=[{evil: evil, 'x': evil}],
    notes=[evil],
  )
  assert len(page.all('script')) == 1
  assert not page.all('img', src='x')
  # A heading, a number and its label, three cells and a note.
  assert page.text.count(evil) == 7


def test_names_that_utf8_cannot_hold_do_not_stop_the_report():
  title = b'caf\xe9.png'.decode(errors='surrogateescape')
  page.make_report(title, [make_entry(title=title)]).encode()


def test_nothing_is_loaded_from_elsewhere():
  text = page.make_report('Report', [make_entry(history=make_curves())])
  assert not re.search(r'https?:|url\(|@import|(src|href)="//', text)
  name = {'http-equiv': 'Content-Security-Policy'}
  (policy,) = Page(text).all('meta', **name)
  assert policy['content'].startswith("default-src 'none'")


def test_the_table_links_titles_and_keeps_the_order_of_numbers():
  rows = [
    {'picture': 'a', 'PSNR': '30.1', 'method': 'ours'},
    {'picture': 'mean', 'PSNR': '', 'method': 'ours'},
  ]
  page = render(
    make_entry(title='a', numbers={'z': '1', 'b': '2'}), summary=rows
  )
  assert page.all('a') == [{'href': '#p1'}]
  assert page.all('section')[0]['id'] == 'p1'
  assert len(page.all('td', **{'class': 'n'})) == 2  # PSNR
  assert 'z1b2' in page.text


@pytest.mark.parametrize(
  ('entry', 'summary', 'complaint'),
  [
    ({'after': np.zeros((4, 5, 3))}, [], 'shape'),
    ({}, [{'a': '1'}, {'b': '1'}], 'columns'),
  ],
)
def test_mismatches_are_refused(entry, summary, complaint):
  with pytest.raises(ValueError, match=complaint):
    page.make_report('Report', [make_entry(**entry)], summary=summary)


def test_the_kernel_spans_black_to_white():
  kernel = np.array([[-0.1, 0.0], [0.4, 0.7]], np.float32)
  page = render(make_entry(kernel=kernel))
  picture = page.pictures()['blur kernel of 2 by 2']
  assert picture[..., 0].tolist() == [[0, 32], [159, 255]]
  assert 'black is −0.1, white 0.7' in page.text


def test_curves_mark_stages_and_drops():
  curves = make_curves(
    stages=((1.5, 1.5, 250), (2.0, 2.0, 750)), drops=(500, 800)
  )
  page = Page(charts.draw_curves(curves))
  assert len(page.all('svg')) == 3
  assert (
    page.all('path', **{'class': 'stage'})
    == [{'class': 'stage', 'd': 'M250 0V1000'}] * 3
  )
  assert page.all('path', **{'class': 'drop'})[0]['d'] == (
    'M500 0V1000M800 0V1000'
  )
  assert 'Loss 0.0995 → 0.01' in page.text


def test_long_curves_become_a_median_within_a_band():
  noisy = rng.lognormal(-4, 0.5, 100_000).astype(np.float32)
  text = charts.draw_curves(make_curves(100_000, loss=noisy))
  assert len(text) < 20_000
  band = Page(text).all('path', **{'class': 'band'})[0]
  heights = [float(h) for h in re.findall(r' (\d+)', band['d'])]
  line = Page(text).all('path', **{'class': 'line'})[0]
  middles = [float(h) for h in re.findall(r' (\d+)', line['d'])]
  assert len(middles) == 200
  assert all(
    top <= middle <= bottom
    for top, middle, bottom in zip(
      heights[:200], middles, heights[:199:-1], strict=True
    )
  )


@pytest.mark.parametrize(
  ('changes', 'drawn'),
  [
    ({'error_steps': np.zeros(0, int), 'error': np.zeros(0)}, 2),
    ({'loss': np.full(1000, np.nan)}, 2),
    ({'loss': np.zeros(1000)}, 3),
    ({'loss': np.r_[np.inf, np.ones(999)]}, 3),
    ({'loss': np.linspace(-1, 1, 1000)}, 3),
    ({'error_steps': np.array([0]), 'error': np.array([0.25])}, 3),
    ({'learning_rate': np.geomspace(1, 1e-12, 1000)}, 3),
  ],
)
def test_odd_curves_are_drawn_as_far_as_they_go(changes, drawn):
  text = charts.draw_curves(make_curves(**changes))
  assert len(Page(text).all('svg')) == drawn
  assert 'nan' not in text.lower()
  assert 'inf' not in text.lower()
  # At least two labels on each axis, none of them twice.
  for plot in text.split('<svg')[1:]:
    for axis in 'xy':
      labels = re.findall(f'<span class="{axis}"[^>]*>([^<]*)', plot)
      assert len(set(labels)) == len(labels) >= 2


def test_a_run_without_steps_draws_nothing():
  nothing = make_curves(0)._replace(stages=((2.0, 2.0, 0),))
  assert not charts.draw_curves(nothing)


@pytest.mark.parametrize(
  ('value', 'text'),
  [
    (0, '0'),
    (0.0569, '0.0569'),
    (-0.25, '−0.25'),
    (3000, '3000'),
    (1e-7, '10⁻⁷'),
    (3e-4, '3·10⁻⁴'),
    (2.5e6, '2.5·10⁶'),
  ],
)
def test_numbers_are_short(value, text):
  assert charts.format_number(value) == text
