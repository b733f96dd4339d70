import jax
import numpy as np
import pytest

from trajvit.ops.shares import even_shares, falling_rank, shares_by_count

share = jax.jit(shares_by_count)


@pytest.mark.parametrize(
  "total, parts, counts",
  [(19, 5, (3, 4, 4, 4, 4)), (3, 5, (0, 1, 0, 1, 1)), (0, 2, (0, 0))],
)
def test_even_shares(total, parts, counts):
  assert even_shares(total, parts) == counts


def test_what_all_shares_have_in_common(rng):
  counts = rng.integers(0, 40, (200, 6)) * rng.integers(0, 2, (200, 6))
  total = rng.integers(0, 130, 200)
  got = np.asarray(share(counts, total))
  assert (got >= 0).all() and (got <= counts).all()
  np.testing.assert_array_equal(got.sum(1), np.minimum(total, counts.sum(1)))
  # None goes without where there is enough for all.
  enough = total >= (counts > 0).sum(1)
  assert (got > 0)[enough].tolist() == (counts > 0)[enough].tolist()
  # More tokens never have less.
  more = counts[:, :, None] > counts[:, None]
  assert (got[:, :, None] >= got[:, None])[more].all()


def test_shares_by_hand():
  counts = np.asarray([[10, 4, 1, 0, 4, 0], [6, 6, 6, 6, 6, 6]])
  # One each, then 6 by 9 : 3 : 0 : 3, that is 3.6, 1.2, 0, 1.2.
  got = share(counts, np.asarray([10, 4]))
  assert got.tolist() == [[5, 2, 1, 0, 2, 0], [1, 1, 1, 1, 0, 0]]


def test_ranks_fall_and_masked_places_are_last(rng):
  score = np.asarray([[2.0, np.nan, 3, 2, -1, np.nan]])
  mask = np.isfinite(score)
  got = jax.jit(falling_rank)(score, mask)
  assert got.tolist() == [[1, 4, 0, 2, 3, 5]]
