"""One judge for the tables and for a user's own photo."""

import numpy as np
import pytest

from zssr_jax.baselines import interpolation
from zssr_jax.evaluation.judge import Judge
from zssr_jax.ops import color, metrics, resize

rng = np.random.default_rng(0)


def make_pair(scale=2.0, channels=3):
  y, x = np.mgrid[:60, :66]
  hr = 0.5 + 0.2 * np.sin(x / 3) + 0.2 * np.cos(y / 4)
  hr = hr[..., None] * np.linspace(0.6, 1, channels)
  hr = (color.to_uint8(hr) / 255).astype(np.float32)
  lr = color.to_uint8(resize.imresize(hr, 1 / scale)) / np.float32(255)
  return lr.astype(np.float32), hr


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('scale', [2.0, 3.0, 1.5])
def test_a_result_and_bicubic_are_scored_as_in_the_tables(scale, channels):
  lr, hr = make_pair(scale, channels)
  judge = Judge(lr, hr, scale)
  result = np.clip(hr + 0.01 * rng.standard_normal(hr.shape), 0, 1)
  scores = judge.score(result.astype(np.float32))
  assert scores[:2] == metrics.score(result.astype(np.float32), hr, scale)
  bicubic = interpolation.bicubic(lr, scale)
  np.testing.assert_array_equal(judge.bicubic, bicubic)
  assert scores[2:] == metrics.score(bicubic, hr, scale)
  # MATLAB's, of 8-bit pixels.
  np.testing.assert_array_equal(
    judge.bicubic, color.to_uint8(judge.bicubic) / np.float32(255)
  )


def test_the_score_of_bicubic_is_not_measured_twice(monkeypatch):
  lr, hr = make_pair()
  known = Judge(lr, hr, 2).bicubic_score
  monkeypatch.setattr(interpolation, 'bicubic', lambda *_: pytest.fail('again'))
  assert Judge(lr, hr, 2, known).score(hr)[2:] == known


def test_what_cannot_be_scored_is_refused_at_once():
  lr, hr = make_pair()
  with pytest.raises(ValueError, match='too small to score'):
    Judge(lr[:6, :6], hr[:12, :12], 2)
  with pytest.raises(ValueError, match='differ by more than'):
    Judge(lr, hr[:50], 2)
