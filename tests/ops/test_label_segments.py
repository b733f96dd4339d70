import itertools

import jax
import numpy as np
import pytest

from trajvit.ops.label_segments import label_segments

find = jax.jit(label_segments)


def slow(labels):
  """The labels after holes are filled, run by run."""
  runs, start = [], 0
  for label, frames in itertools.groupby(labels):
    length = len(list(frames))
    runs.append((label, start, length))
    start += length
  longest = {}
  for label, _, length in runs:
    longest[label] = max(length, longest.get(label, 0))
  kept = [run for run in runs if run[2] == longest[run[0]] > 1]
  filled = [None] * len(labels)
  for label, start, length in kept:
    filled[start : start + length] = [label] * length
  for t in range(len(labels)):
    if filled[t] is None:
      left = 0
      while t - 1 - left >= 0 and filled[t - 1 - left] == filled[t - 1]:
        left += 1
      right = next((run for run in kept if run[1] > t), (0, 0, 0))
      joins = left > 0 and left >= right[2]
      filled[t] = filled[t - 1] if joins else right[0]
  return filled


@pytest.mark.parametrize("run", [label_segments, find], ids=["eager", "jit"])
@pytest.mark.parametrize(
  "labels, lengths",
  [
    ([0, 0, 1, 0, 1, 1, -1, -1], [4, 2]),
    ([2, 0, 0, 1, 0, 0, 1, 1], [6, 2]),
    ([0, 1, 2, 3, 4, 5, 6, 7], [8]),
    ([0, 0, 3, 1, 1, 1, 2, 2], [2, 4, 2]),
  ],
)
def test_eight_frames(labels, lengths, run):
  labels = np.asarray(labels)
  got = run(labels, labels >= 0)
  assert got.lengths[: len(lengths)].tolist() == lengths
  assert got.lengths.sum() == sum(lengths)


def test_equal_a_loop(rng):
  labels = rng.integers(0, 3, (200, 8))
  mask = rng.random((200, 8)) < np.linspace(0, 1.5, 200)[:, None]
  mask[0] = False
  got = find(labels, mask)
  for b in range(200):
    filled = slow(labels[b][mask[b]].tolist())
    starts = [t == 0 or filled[t] != filled[t - 1] for t in range(len(filled))]
    np.testing.assert_array_equal(
      np.asarray(got.ids[b])[mask[b]], np.cumsum(starts) - 1
    )
    assert (np.asarray(got.ids[b])[~mask[b]] == -1).all()
