import numpy as np
import pytest
from slow_clusters import (
  FRAMES,
  GRID,
  PATCHES,
  assert_holds,
  clip_of,
  cosine,
  cut,
  make_clips,
  peaks,
  run,
)

from trajvit.ops.segments import segments_from_starts
from trajvit.ops.shares import even_shares
from trajvit.reducers.fastvid import FastVid, anchor_counts


@pytest.mark.parametrize(
  "length, counts",
  [(5, [17, 0, 0, 0, 17]), (8, [0, 0, 0, 28, 0, 0, 0, 28])],
)
def test_anchors_of_a_tenth_of_196_patches(length, counts):
  """19 slots a frame, 7 of which go to centres."""
  real = np.arange(9)[None] < length
  segments = segments_from_starts(np.zeros_like(real), real, 9)
  got = anchor_counts(segments, np.full(9, 7), 4)
  assert got[0, :length].tolist() == counts and not got[0, length:].any()


def slow(x, mask, received, budget, step, own):
  """{(frame, patch): (feature, size)} of a clip."""
  budgets = even_shares(budget, FRAMES)
  context = [int(b * 0.5) for b in budgets]
  real = [t for t in range(FRAMES) if mask[t].any()]
  frames = {t: (received[t] * mask[t]) @ x[t] for t in real}
  out = {}
  for segment in cut(frames, 0.9, 2):
    free = []
    for t in segment:
      places = sorted(np.flatnonzero(mask[t]), key=lambda p: -received[t, p])
      salient = places[: budgets[t] - context[t]]
      out |= {(t, int(p)): (x[t, p], 1) for p in salient}
      free += [(t, p) for p in sorted(set(places) - set(salient))]
    anchors = segment[::-1][::step]
    each = sum(context[t] for t in segment) // len(anchors)
    centers = {}
    for t in anchors:
      here = [p for s, p in free if s == t]
      found, _ = peaks(x[t, here], each, neighbors=4)
      if len(found):
        centers[t] = [here[i] for i in found]
    for t, chosen in centers.items():
      members = {c: [] for c in chosen}
      for s, p in free:
        to = [cosine(x[s, p], x[t, c]) for c in chosen]
        itself = s == t and p in chosen
        members[p if itself else chosen[np.argmax(to)]].append((s, p))
      for c, joined in members.items():
        weight = max(1 / (len(joined) + 1), own)
        mean = np.mean([x[at] for at in joined], axis=0)
        feature = weight * x[t, c] + (1 - weight) * mean
        out[t, int(c)] = feature, len(joined) / len(centers)
  return out


def test_equals_a_loop(rng):
  tokens, received = make_clips(rng)
  options = dict(context=0.5, step=2, own=0.2, min_segments=2)
  reduced, aux = run(FastVid(k=19, grid=GRID, **options), tokens, received)
  for b in range(2):
    clip = clip_of(tokens, received, b)
    expected = slow(*clip, budget=18, step=2, own=0.2)
    assert_holds(reduced, tokens, b, expected)
    assert max(size for _, size in expected.values()) > 1
  assert not aux["overflow"].any()


def test_centers_never_outnumber_what_is_left(rng):
  """With all slots anchors ask for more centres than tokens are left."""
  tokens, received = make_clips(rng)
  reduced, _ = run(
    FastVid(k=31, grid=GRID, context=0.5, step=2, min_segments=2),
    tokens,
    received,
  )
  assert np.isfinite(reduced.features).all()
  assert (reduced.mask.sum(1) > 1 + PATCHES).all()


@pytest.mark.parametrize("k", [1, 32])
def test_k_must_leave_a_slot(rng, k):
  with pytest.raises(ValueError, match=rf"k must be in \[2, 31\].* got {k}"):
    FastVid(k=k, grid=GRID)(make_clips(rng)[0], block=None)
