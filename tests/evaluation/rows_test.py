"""Rows survive crashes, and two writers."""

import concurrent.futures
import json

import pytest

from zssr_jax.evaluation import rows


def test_rows_come_back_in_order_and_by_key(tmp_path):
  store = rows.Store(tmp_path / 'new' / 'folder')
  store.append({'key': 'a', 'psnr': 1.5})
  store.append({'key': 'b', 'psnr': 2.5})
  again = rows.Store(tmp_path / 'new' / 'folder')
  assert list(again.rows) == ['a', 'b']
  assert again.rows['b']['psnr'] == 2.5


@pytest.mark.parametrize('torn', ['{"key": "b", "ps', '{"key": "b"}', '{'])
def test_a_line_cut_short_is_cut_off_and_the_rest_kept(tmp_path, torn):
  rows.Store(tmp_path).append({'key': 'a'})
  with (tmp_path / 'rows.jsonl').open('a') as file:
    file.write(torn)
  store = rows.Store(tmp_path)
  assert list(store.rows) == ['a']
  store.append({'key': 'c'})
  lines = (tmp_path / 'rows.jsonl').read_text().splitlines()
  assert [json.loads(line)['key'] for line in lines] == ['a', 'c']


def test_a_damaged_line_is_named(tmp_path):
  (tmp_path / 'rows.jsonl').write_text('{"key": "a"}\nnonsense\n')
  with pytest.raises(ValueError, match='rows.jsonl: line 2'):
    rows.Store(tmp_path)


def test_two_stores_of_one_folder_lose_nothing(tmp_path):
  stores = [rows.Store(tmp_path) for _ in range(4)]

  def fill(number):
    for i in range(50):
      stores[number].append({'key': f'{number}-{i}', 'text': 'x' * 5000})

  with concurrent.futures.ThreadPoolExecutor(4) as threads:
    list(threads.map(fill, range(4)))
  assert len(rows.Store(tmp_path).rows) == 200


def test_a_key_depends_on_every_fact_and_not_on_their_order():
  facts = {'method': 'zssr', 'seed': 0, 'config': {'width': 64}}
  key = rows.key_of(facts)
  assert key == rows.key_of(dict(reversed(facts.items())))
  others = [
    facts | {'seed': 1},
    facts | {'method': 'bicubic'},
    facts | {'config': {'width': 32}},
  ]
  assert len({key, *map(rows.key_of, others)}) == 4
