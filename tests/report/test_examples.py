"""Examples of retrieval: what is ranked first, what is shown of it."""

import io

import numpy as np
import pytest
from PIL import Image
from run_directory import COUNT, sprites, write_run

from trajvit.report.examples import Hit, Query, best, find_examples
from trajvit.report.examples_markup import as_html, query_rows, thumbnail

MODEL = dict(
  name="video_text",
  tokenizer=dict(name="tubelet", patch=(2, 16, 16)),
  encoder=dict(name="vit", width=16, depth=1, num_heads=2),
  text=dict(name="transformer", width=16, depth=1, num_heads=2),
  embed_dim=8,
)


def test_the_best_come_first_and_ties_count_against_the_right_one():
  scores = np.array([0.5, 0.9, 0.5, 0.1])
  assert best(scores, np.array([True, False, False, False])) == (
    [1, 2, 0, 3],
    3,
  )
  assert best(scores, np.array([False, True, True, False]), top=2)[1] == 1
  assert best(scores, scores < 0.2, top=2) == ([1, 0], 4)


def test_a_run_is_asked_captions_of_its_clips(tmp_path):
  evals = dict(static=dict(name="retrieval", data=sprites()))
  path = write_run(tmp_path / "ours", MODEL, evals)
  first, last = find_examples(path, None, 2)
  assert (first.run, first.evaluation, first.among) == ("ours", "static", COUNT)
  assert first.caption != last.caption
  for query in (first, last):
    assert len(query.hits) == COUNT  # fewer than five clips
    assert query.hits[query.rank - 1].right
    scores = [hit.score for hit in query.hits]
    assert scores == sorted(scores, reverse=True)
    assert query.hits[0].frame.dtype == np.uint8
  with pytest.raises(ValueError, match="at least 1, got 0"):
    find_examples(path, None, 0)
  with pytest.raises(ValueError, match="ours: no such evaluation"):
    find_examples(path, "nowhere", 1)


def test_what_is_shown():
  frame = np.full((400, 200, 3), 9, np.uint8)
  hits = (Hit("a & b", 0.25, False, frame), Hit("c", 0.125, True, frame))
  query = Query("ours", "static", "a <ball>", 2, 9, hits)
  page = as_html([query, query])
  assert page.count("a &lt;ball&gt;") == 1 and page.count("2 of 9") == 2
  assert "1. 0.25</b><br>a &amp; b" in page and page.count('class="right"') == 2
  rows = query_rows([query])
  assert rows[2] == ["ours", "static", "a <ball>", 2, 9, 2, "c", 0.125, True]
  assert Image.open(io.BytesIO(thumbnail(frame))).size == (80, 160)
