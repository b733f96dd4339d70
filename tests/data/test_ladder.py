"""Ladders of buckets: the best there are, and few."""

import itertools

import numpy as np
import pytest

from trajvit.data.ladder import ladder_fill, suggest_ladder


def _slots(counts, ladder):
  """Slots of all clips, each in the first size that holds it."""
  return sum(next(s for s in ladder if s >= count) for count in counts)


@pytest.mark.parametrize("most", [1, 2, 3, 5])
@pytest.mark.parametrize("multiple", [1, 4])
def test_no_ladder_is_better(rng, most, multiple):
  for _ in range(10):
    counts = rng.integers(0, rng.integers(2, 18), 25)
    sizes = range(multiple, counts.max() + multiple, multiple)
    fewest = min(
      _slots(counts, ladder)
      for n in range(1, most + 1)
      for ladder in itertools.combinations(sizes, n)
      if ladder[-1] >= counts.max()
    )
    ladder = suggest_ladder(counts, most=most, multiple=multiple, spare=0)
    assert len(ladder) <= most and list(ladder) == sorted(set(ladder))
    assert all(size % multiple == 0 for size in ladder)
    assert _slots(counts, ladder) == fewest
    filled = counts.sum() / fewest
    assert ladder_fill(counts, ladder) == pytest.approx(filled)


def test_fewer_sizes_where_more_hardly_help(rng):
  counts = np.repeat([7, 8, 30, 32], [400, 400, 50, 1])
  assert suggest_ladder(counts, spare=0.01, multiple=1) != (8, 32)
  assert suggest_ladder(counts, spare=0.1, multiple=1) == (8, 32)
  assert suggest_ladder(np.full(9, 5)) == (8,)
  counts = rng.integers(1, 200, 500)
  sizes = [len(suggest_ladder(counts, spare=s)) for s in (0, 0.2, 1, 9)]
  assert sizes == sorted(sizes, reverse=True) and sizes[-1] == 1


@pytest.mark.parametrize(
  ("counts", "options", "message"),
  [
    ([], {}, "counts must be one or more from 0 up"),
    ([3, -1], {}, "counts must be one or more from 0 up"),
    ([3], {"most": 0}, "most must be at least 1, got 0"),
    ([3], {"multiple": 0}, "multiple must be at least 1, got 0"),
    ([3], {"spare": -1}, "spare must be 0 or more, got -1"),
  ],
)
def test_refused(counts, options, message):
  with pytest.raises(ValueError, match=message):
    suggest_ladder(np.array(counts, int), **options)


def test_a_clip_that_no_size_holds():
  with pytest.raises(ValueError, match="must hold 9 tokens, got 8"):
    ladder_fill(np.array([9]), (4, 8))
