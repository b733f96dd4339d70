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
  make_clips,
  peaks,
  run,
  shares,
)

from trajvit.ops.label_segments import label_segments
from trajvit.reducers.prunevid import PruneVid


def groups_of(x, mask, scenes):
  """The scenes, and groups {(kind, frame): {patch: (feature, size)}}."""
  real = [t for t in range(FRAMES) if mask[t].any()]
  means = np.array([x[t][mask[t]].mean(0) for t in real])
  _, labels = peaks(means, max(int(scenes * len(real)), 1))
  ids = np.asarray(label_segments(labels, np.ones(len(real), bool)).ids)
  groups = {(kind, t): {} for kind in range(2) for t in range(FRAMES)}
  for scene in range(ids.max() + 1):
    frames = [t for t, i in zip(real, ids, strict=True) if i == scene]
    for p in range(PATCHES):
      pairs = [(s, t) for s in frames for t in frames if s != t]
      whole = pairs and all(mask[t, p] for t in frames)
      alike = [cosine(x[s, p], x[t, p]) for s, t in pairs]
      if whole and np.mean(alike) > 0.8:
        folded = x[frames, p].mean(0), len(frames)
        groups[0, frames[0]][p] = folded
      else:
        for t in frames:
          if mask[t, p]:
            groups[1, t][p] = x[t, p], 1
  return groups


def slow(x, mask, budget, *, scenes, share_of):
  groups = groups_of(x, mask, scenes)
  counts = share_of([len(group) for group in groups.values()], budget)
  out, ranks = {}, {}
  for ((_, t), group), count in zip(groups.items(), counts, strict=True):
    places = sorted(group)
    points = np.array([group[p][0] for p in places]).reshape(-1, WIDTH)
    centers, labels = peaks(points, count)
    for c, center in enumerate(centers):
      members = np.flatnonzero(labels == c)
      size = sum(group[places[i]][1] for i in members)
      out[t, places[center]] = points[members].mean(0), size
      ranks[t, places[center]] = c
  kept = sorted(out, key=lambda at: (ranks[at], at))[:budget]
  return {at: out[at] for at in kept}, max(len(out) - budget, 0)


@pytest.mark.parametrize("ratio, k", [(None, 12), (0.5, 10)])
def test_equals_a_loop(rng, ratio, k):
  """With a ratio these groups are small and stay: too many for the slots."""
  tokens, received = make_clips(rng)
  reducer = PruneVid(k=k, grid=GRID, ratio=ratio, scenes=0.6)
  reduced, aux = run(reducer, tokens)
  share_of = shares if ratio is None else lambda counts, _: counts
  for b in range(2):
    x, mask, _ = clip_of(tokens, received, b)
    expected, overflow = slow(x, mask, k - 1, scenes=0.6, share_of=share_of)
    assert_holds(reduced, tokens, b, expected)
    assert aux["overflow"][b] == overflow
  assert (aux["overflow"] > 0).all() == (ratio is not None)
  assert aux["metrics"]["folded"] > 0


def test_large_groups_lose_half(rng):
  """One frame of 16 patches has no static one, and keeps 8 clusters."""
  tokens, _ = make_clips(rng)
  wide = {
    name: np.ascontiguousarray(getattr(tokens, name)[:1, :17])
    for name in ("features", "mask", "positions", "size", "protected")
  }
  tokens = type(tokens)(**wide)
  reduced, aux = run(PruneVid(k=15, grid=(1, 4, 4), ratio=0.5), tokens)
  assert reduced.mask.sum() == 9 and reduced.size.sum() == 16
  assert aux["overflow"].tolist() == [0]


@pytest.mark.parametrize("ratio, scenes", [(0, 0.5), (0.5, 2)])
def test_shares_must_be_positive(ratio, scenes):
  with pytest.raises(ValueError, match=rf"\(0, 1\], got {ratio} and {scenes}"):
    PruneVid(k=15, grid=GRID, ratio=ratio, scenes=scenes)
