"""The table against means worked out by hand."""

from zssr_jax.evaluation import published, tables


def make_row(image='a', psnr=30.0, **more):
  return {
    'key': f'{image}{psnr}{more}',
    'dataset': 'Set5',
    'image': image,
    'of': 2,
    'scale': 2.0,
    'method': 'zssr',
    'degradation': 'own',
    'degradation_seed': 0,
    'seed': 0,
    'config_name': 'fast',
    'config_hash': 'c1',
    'kernel_given': False,
    'psnr': psnr,
    'ssim': 0.9,
    'bicubic_psnr': 29.0,
    'bicubic_ssim': 0.8,
    'seconds': 2.0,
    'peak_mb': 500,
    'code': 'v1',
    'commit': 'abc',
    'jax': '0.10.2',
    'device': '1 x cpu',
    **more,
  }


def test_a_whole_set_stands_beside_the_published_number():
  rows = [make_row('a', 30.0), make_row('b', 31.0, ssim=0.8)]
  (line,) = tables.summary(rows)
  assert line['images'] == '2'
  assert line['PSNR / SSIM'] == '30.50 / 0.8500'
  assert line['paper'] == '37.37 / 0.9570'
  assert line['difference'] == '-6.87'
  assert line['over bicubic'] == '+1.50'
  assert line['method'] == 'zssr (fast)'


def test_a_partial_set_says_so_and_claims_no_difference():
  (line,) = tables.summary([make_row('a')])
  assert line['images'] == '1 of 2, partial'
  assert line['difference'] == ''


def test_seeds_are_averaged_with_their_spread():
  rows = [
    make_row(image, 30.0 + seed + (image == 'b'), seed=seed)
    for image in 'ab'
    for seed in (0, 1)
  ]
  (line,) = tables.summary(rows)
  assert line['seeds'] == '0, 1'
  # Means of the seeds 30.5 and 31.5: their deviation is sqrt(1/2).
  assert line['PSNR / SSIM'] == '31.00 / 0.9000 (±0.71)'


def test_a_seed_that_some_images_lack_is_left_out():
  rows = [make_row('a'), make_row('b'), make_row('a', 50.0, seed=1)]
  (line,) = tables.summary(rows)
  assert line['seeds'] == '0'
  assert line['PSNR / SSIM'].startswith('30.00')


def test_configs_and_code_are_never_mixed():
  rows = [
    make_row('a', 30.0),
    make_row('a', 31.0, config_hash='c2'),
    make_row('a', 32.0, code='v2'),
  ]
  lines = tables.summary(rows)
  assert len(lines) == 3
  assert len({line['method'] for line in lines}) == 3


def test_a_label_says_where_the_kernel_came_from():
  kernels = {
    'given': 'zssr (fast), true kernel',
    'estimate': 'zssr (fast), estimated kernel',
    'recurrence': 'zssr (fast), kernel by patch recurrence',
    'kernelgan': 'zssr (fast), kernel by KernelGAN',
    'joint': 'zssr (fast), kernel estimated jointly',
    'auto': 'zssr (fast), kernel of a family',
    'bicubic': 'zssr (fast)',
  }
  rows = [
    make_row('a', config={'kernel': kernel}, config_hash=kernel)
    for kernel in kernels
  ]
  groups = tables.group_rows(rows)
  found = dict(
    zip(
      (group.facts['config_hash'] for group in groups),
      tables.labels(groups),
      strict=True,
    )
  )
  assert found == kernels
  # A method without a config has nothing to say.
  rows = [make_row('a', method='bicubic', config_name=None, config=None)]
  assert tables.labels(tables.group_rows(rows)) == ['bicubic']


def test_other_peoples_random_draws_get_no_difference():
  place = {'dataset': 'B100', 'degradation': 'poor', 'of': 1}
  (line,) = tables.summary([make_row('a', **place)])
  assert line['paper'] == '28.61 / 0.7809*' and line['difference'] == ''
  table = tables.make_table([make_row('a', **place)])
  assert 'other random draws' in table


def test_mixed_is_told_by_kind_as_well():
  drawn = {'a': 'disc-noise', 'b': 'disc', 'c': 'shake-jpeg-crop'}
  rows = [
    make_row(
      image,
      30.0 + i,
      degradation='mixed',
      of=3,
      details={'drawn': name, 'quality': 50},
    )
    for i, (image, name) in enumerate(drawn.items())
  ]
  lines = {line['degradation']: line for line in tables.summary(rows)}
  assert {name: line['images'] for name, line in lines.items()} == {
    'mixed': '3',
    'mixed: clean': '1',
    'mixed: disc': '2',
    'mixed: jpeg-crop': '1',
    'mixed: noise': '1',
    'mixed: shake': '1',
  }
  assert lines['mixed']['over bicubic'] == '+2.00'
  assert lines['mixed: disc']['over bicubic'] == '+1.50'
  assert {line['method'] for line in lines.values()} == {'zssr (fast)'}
  (line, *_) = tables.summary(rows[:2])
  assert line['images'] == '2 of 3, partial'


def test_how_often_an_automatic_method_does_harm_has_a_table_of_its_own():
  config = {'kernel': 'auto', 'automatic': True}
  drawn = {'a': 'disc', 'b': 'disc-noise', 'c': 'ideal-jpeg', 'd': 'ideal'}
  gains = {'a': 4.0, 'b': -0.05, 'c': -0.31, 'd': 0.36}
  rows = [
    make_row(
      image,
      29.0 + gains[image],
      config=config,
      config_name='auto',
      degradation='mixed',
      details={'drawn': name},
    )
    for image, name in drawn.items()
  ]
  others = [make_row('a', 20.0, config={'kernel': 'estimate'})]
  lines = {line['degradation']: line for line in tables.harm(rows + others)}
  assert list(lines) == [
    *('mixed', 'mixed: clean', 'mixed: disc', 'mixed: ideal'),
    *('mixed: jpeg', 'mixed: noise'),
  ]
  assert lines['mixed'] == {
    'data set': 'Set5',
    'scale': '×2',
    'degradation': 'mixed',
    'method': 'zssr (auto)',
    'cases': '4',
    'mean gain': '+1.00',
    'below −0.1 dB': '1 (25.0%)',
    'worst': '-0.31 (c)',
  }
  assert lines['mixed: disc']['below −0.1 dB'] == '0 (0.0%)'
  assert 'Against bicubic, image by image' in tables.make_table(rows)
  assert 'Against bicubic, image by image' not in tables.make_table(others)


def test_lpips_has_a_column_when_all_rows_of_a_method_have_it():
  rows = [make_row('a', lpips=0.25), make_row('b', lpips=0.35)]
  assert tables.summary(rows)[0]['LPIPS'] == '0.3000'
  rows[1].pop('lpips')
  assert tables.summary(rows)[0]['LPIPS'] == ''


def test_the_table_is_markdown_with_the_published_rows_below():
  text = tables.make_table([make_row('a'), make_row('b')])
  lines = text.splitlines()
  assert lines[2].startswith('| data set | scale |')
  assert lines[3].count('|') == lines[2].count('|') == lines[4].count('|')
  assert 'self_ex_sr 36.49 / 0.9537' in text
  assert text.endswith('Devices: 1 x cpu.\n')
  assert 'No rows' in tables.make_table([])


def test_the_published_numbers_are_those_of_the_protocol_page():
  table = published.PUBLISHED
  assert table['Set14', 3, 'own']['zssr'] == (29.80, 0.8304)
  assert table['B100', 4, 'ideal']['edsr_plus'] == (27.79, 0.7437)
  assert table['Set5', 2, 'own']['bicubic'] == (33.64, None)


def test_a_row_stands_beside_the_published_one_that_knew_as_much():
  place = {'dataset': 'B100', 'degradation': 'gaussian', 'of': 1}

  def paper(kernel, given=False):
    row = make_row(**place, kernel_given=given, config={'kernel': kernel})
    return tables.summary([row])[0]['paper']

  assert paper('given', given=True) == '29.68 / 0.8414*'
  assert paper('estimate') == paper('joint') == '28.81 / 0.8306*'
  assert paper('bicubic') == ''
