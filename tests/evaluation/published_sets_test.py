"""Bicubic's scores of the data sets against those of others, image by image."""

import json

import pytest

from zssr_jax.evaluation import cases, judge

SETS = {'Set5': 5, 'Set14': 14, 'B100': 100}


@pytest.mark.slow
@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('name', SETS)
def test_bicubic_scores_as_published(data_root, name, scale):
  """MATLAB's, which SelfExSR's authors published with their results."""
  path = data_root / 'published_per_image.json'
  if not path.exists():
    pytest.skip(f'{path.name} is not in the data root')
  published = json.loads(path.read_text())[f'{name} x{scale}']
  found = cases.find_cases(data_root, name, float(scale))
  assert len(found) == len(published) == SETS[name]
  for case in found:
    pixels = case.load()
    scores = judge.Judge(pixels.lr, pixels.hr, float(scale))
    psnr, ssim = published[case.image]['bicubic']
    mine = scores.score(scores.bicubic)
    assert mine.psnr == pytest.approx(psnr, abs=1e-3), case.image
    assert mine.ssim == pytest.approx(ssim, abs=1e-4), case.image
