"""The parts of a loss in the report's chart."""

import re

import numpy as np
import pytest

from zssr_jax.report import charts
from zssr_jax.training.history import History


def draw(total, **losses):
  steps = len(total)
  return charts.draw_curves(
    History(
      loss=np.asarray(total, np.float32),
      learning_rate=np.full(steps, 1e-3, np.float32),
      error_steps=np.zeros(0, np.int32),
      error=np.zeros(0, np.float32),
      drops=(),
      rollbacks=(),
      stages=((2.0, 2.0, steps),),
      losses={k: np.asarray(v, np.float32) for k, v in losses.items()},
    )
  )


def heights(text, name):
  """From 0 (bottom) to 1 (top) of the points of a line."""
  (data,) = re.findall(f'<path class="{name}" d="M([^"]*)"', text)
  return np.array([1 - float(p.split()[1]) / 1000 for p in data.split('L')])


def test_parts_of_the_loss_are_drawn_below_it_on_its_axis():
  total = np.linspace(1.0, 0.5, 50)
  text = draw(total, l1=0.75 * total, content=0.25 * total)
  chart = text.split('<figure')[1]
  whole, first, second = (
    heights(chart, name) for name in ('line', 'part p0', 'part p1')
  )
  assert len(whole) == len(first) == len(second) == 50
  assert (whole > first).all() and (first > second).all()
  # The axis is logarithmic: equal shares are equal distances.
  np.testing.assert_allclose(whole - first, (whole - first)[0], atol=2e-3)
  for name in ('l1', 'content'):
    assert f'</i>{name}, part of the loss' in text
  # The other charts have none.
  assert text.count('class="part ') == 2


def test_one_part_alone_is_the_loss_and_not_drawn_twice():
  total = np.linspace(1.0, 0.5, 50)
  assert draw(total, l1=total) == draw(total)


def test_a_part_that_vanishes_leaves_the_axis_to_the_others():
  total = np.geomspace(1.0, 0.1, 50)
  tiny = np.full(50, 1e-9)
  tiny[0] = 0.2
  text = draw(total, l1=total - tiny, tiny=tiny, nothing=np.zeros(50))
  chart = text.split('<figure')[1]
  assert len(heights(chart, 'part p1')) == 1
  assert 'class="part p2"' not in chart
  assert '10⁻⁹' not in chart
  # All that is drawn lies within the chart.
  for name in ('line', 'part p0', 'part p1'):
    place = heights(chart, name)
    assert place.min() >= 0 and place.max() <= 1


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_values_that_are_no_numbers_are_left_out(bad):
  total = np.linspace(1.0, 0.5, 50)
  first = 0.5 * total
  first[10] = bad
  text = draw(total, l1=first, l2=0.5 * total)
  chart = text.split('<figure')[1]
  assert len(heights(chart, 'part p0')) == 49
  assert 'nan' not in text.lower() and 'inf' not in text.lower()


def test_the_name_of_a_loss_cannot_break_the_page():
  total = np.ones(5)
  text = draw(total, **{'<script>': 0.5 * total, 'l2': 0.5 * total})
  assert '<script>' not in text and '&lt;script&gt;' in text
