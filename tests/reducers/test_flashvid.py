import math

import numpy as np
import pytest
from slow_clusters import (
  FRAMES,
  GRID,
  PATCHES,
  WIDTH,
  assert_holds,
  clip_of,
  cosine,
  cut,
  make_clips,
  peaks,
  run,
  shares,
)

from trajvit.ops.shares import even_shares
from trajvit.reducers.flashvid import FlashVid
from trajvit.types import Tokens


def test_a_chain_is_the_mean_of_its_tokens():
  """One token a frame; a count of children only would give (9, 0)."""
  tokens = Tokens(
    features=np.array([[[3, 0], [6, 0], [9, 0]]], np.float32),
    mask=np.ones((1, 3), bool),
    positions=np.zeros((1, 3, 3), np.float32),
    size=np.ones((1, 3), np.float32),
  )
  reducer = FlashVid(k=1, grid=(3, 1, 1), diverse=0)
  reduced, aux = run(reducer, tokens, np.ones((1, 3), np.float32))
  np.testing.assert_allclose(reduced.features, [[[6, 0]]], atol=1e-6)
  assert reduced.size.tolist() == [[3]] and aux["indices"].tolist() == [[0]]
  assert aux["metrics"]["linked"] == 2 and not aux["overflow"].any()


def diverse_of(x, weight, count):
  """Greedy picks among points [n, D]."""
  distance = np.array(
    [
      [(1 - cosine(a, b)) * w for b, w in zip(x, weight, strict=True)]
      for a in x
    ]
  )
  points = range(len(x))
  near = [min(distance[i, j] for i in points if i != j) for j in points]
  picks = [int(np.argmax(near))]
  while len(picks) < min(count, len(x)):
    left = [j for j in points if j not in picks]
    picks.append(max(left, key=lambda j: distance[picks, j].min()))
  return picks


def slow(x, mask, received, budget, *, diverse, link):
  """{(frame, patch): (feature, size)} of a clip, and trees without a slot."""
  budgets = even_shares(budget, FRAMES)
  real = [t for t in range(FRAMES) if mask[t].any()]
  frames = {t: x[t][mask[t]].mean(0) for t in real}
  out, lost = {}, 0
  for segment in cut(frames, 0.9, 2):
    event = np.mean([frames[t] for t in segment], axis=0)
    free = {}
    for t in segment:
      places = np.flatnonzero(mask[t])
      weight = received[t, places] * np.maximum(x[t, places] @ event, 0)
      count = math.ceil(budgets[t] * diverse)
      picks = diverse_of(x[t, places], weight, count) if count else []
      out |= {(t, int(places[i])): (x[t, places[i]], 1) for i in picks}
      free[t] = [p for i, p in enumerate(places) if i not in picks]
    here = sum(t in segment for t, _ in out)
    slots = sum(budgets[t] for t in segment) - here
    links = []
    for s, t in zip(segment[:-1], segment[1:], strict=True):
      for p in free[t]:
        to = [cosine(x[t, p], x[s, q]) for q in free[s]]
        if to and max(to) > link:
          links.append((-max(to), t, p, (s, free[s][np.argmax(to)])))
    excess = max(sum(len(f) for f in free.values()) - slots, 0)
    parent = {(t, p): to for _, t, p, to in sorted(links)[:excess]}
    trees = {(t, p): [] for t in free for p in free[t] if (t, p) not in parent}
    for t in free:
      for p in free[t]:
        root = t, p
        while root in parent:
          root = parent[root]
        trees[root].append(x[t, p])
    roots = {t: [p for s, p in trees if s == t] for t in segment}
    counts = shares([len(roots[t]) for t in segment], max(slots, 0))
    for t, count in zip(segment, counts, strict=True):
      means = np.array([np.mean(trees[t, p], axis=0) for p in roots[t]])
      centers, labels = peaks(means.reshape(-1, WIDTH), count)
      lost += len(means) if not count else 0
      for c, center in enumerate(centers):
        members = np.flatnonzero(labels == c)
        size = sum(len(trees[t, roots[t][i]]) for i in members)
        out[t, int(roots[t][center])] = means[members].mean(0), size
  return out, lost


@pytest.mark.parametrize("diverse, link", [(0.4, 0.8), (0.7, 0.95)])
def test_equals_a_loop(rng, diverse, link):
  tokens, received = make_clips(rng)
  options = dict(diverse=diverse, link=link, min_segments=2)
  reduced, aux = run(FlashVid(k=17, grid=GRID, **options), tokens, received)
  for b in range(2):
    clip = clip_of(tokens, received, b)
    expected, lost = slow(*clip, 16, diverse=diverse, link=link)
    assert_holds(reduced, tokens, b, expected)
    assert aux["overflow"][b] == lost
  # Where all slots are of diverse tokens, trees have none.
  whole = reduced.size[0].sum() == FRAMES * PATCHES
  assert reduced.mask[0].all() and whole == (diverse == 0.4)
  assert aux["metrics"]["linked"] > 0


def test_a_share_must_be_a_share():
  with pytest.raises(ValueError, match=r"in \[0, 1\], got 1.5"):
    FlashVid(k=17, grid=GRID, diverse=1.5)
