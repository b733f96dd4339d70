import functools
import itertools

import jax
import numpy as np
import pytest

from trajvit.ops.static_segments import static_segments

find = jax.jit(static_segments, static_argnames="threshold")


@pytest.mark.parametrize(
  "second, lengths, saved",
  [([0, 1, 0], [4, 0, 0, 0], 3), ([0, 1, 1], [1, 3, 0, 0], 4)],
)
@pytest.mark.parametrize("eager", [True, False], ids=["eager", "jit"])
def test_four_frames_of_two_patches(second, lengths, saved, eager):
  similarity = np.full((4, 2), -np.inf)
  similarity[1:, 0], similarity[1:, 1] = 1, second
  run = static_segments if eager else find
  got, tokens = run(similarity, np.ones(4, bool), threshold=0.5)
  assert got.lengths.tolist() == lengths and tokens == saved


def saving(similarity, start, stop):
  """Tokens saved by a segment of the real frames from start up to stop."""
  inner = similarity[start + 1 : stop]
  return (inner > 0.3).all(0).sum() * (stop - start - 1)


@pytest.fixture
def case(rng):
  """Five clips of 7 frames: whole, padded, with a hole, one frame, none."""
  similarity = rng.random((5, 7, 3)).astype(np.float32)
  mask = np.ones((5, 7), bool)
  mask[1, 5:] = mask[2, [0, 3]] = mask[4] = False
  mask[3] = np.arange(7) == 2
  return np.where(mask[..., None], similarity, np.nan), mask


def test_nothing_saves_more(case):
  similarity, mask = case
  got, saved = find(similarity, mask, threshold=0.3)
  for b in range(4):
    x = similarity[b][mask[b]]
    frames = len(x)
    best = 0
    for cuts in itertools.product([False, True], repeat=frames - 1):
      edges = [0, *(np.flatnonzero(cuts) + 1), frames]
      pieces = itertools.pairwise(edges)
      best = max(best, sum(saving(x, *piece) for piece in pieces))
    starts = np.flatnonzero(np.asarray(got.starts[b])[mask[b]])
    pieces = itertools.pairwise([*starts, frames])
    assert saved[b] == best == sum(saving(x, *piece) for piece in pieces)
  assert saved[4] == 0 and (got.ids[4] == -1).all()


def test_of_equally_good_segments_the_last_is_the_shortest(case):
  similarity, mask = case
  got, _ = find(similarity, mask, threshold=0.3)
  for b in range(4):
    x = similarity[b][mask[b]]
    best, previous = [0], []
    for stop in range(1, len(x) + 1):
      totals = [best[s] + saving(x, s, stop) for s in range(stop)][::-1]
      previous.append(stop - 1 - int(np.argmax(totals)))
      best.append(max(totals))
    starts, stop = set(), len(x)
    while stop:
      stop = previous[stop - 1]
      starts.add(stop)
    ids = np.cumsum([t in starts for t in range(len(x))]) - 1
    np.testing.assert_array_equal(np.asarray(got.ids[b])[mask[b]], ids)
    assert (np.asarray(got.ids[b])[~mask[b]] == -1).all()


def test_permuting_patches_changes_nothing(case, rng):
  similarity, mask = case
  run = functools.partial(find, frame_mask=mask, threshold=0.3)
  got, saved = run(similarity)
  permuted, same = run(similarity[..., rng.permutation(3)])
  np.testing.assert_array_equal(got.ids, permuted.ids)
  np.testing.assert_array_equal(saved, same)
