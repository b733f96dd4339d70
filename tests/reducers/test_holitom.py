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

from trajvit.reducers.holitom import HoliTom


def still(x, mask, segment):
  """Patches that are alike all through a segment of frames."""
  if len(segment) < 2:
    return []
  return [
    p
    for p in range(PATCHES)
    if all(mask[t, p] for t in segment)
    and all(
      cosine(x[s, p], x[t, p]) > 0.8
      for s, t in zip(segment[:-1], segment[1:], strict=True)
    )
  ]


def best_partition(x, mask):
  """The segments of most saving, the last one as short as can be."""
  real = [t for t in range(FRAMES) if mask[t].any()]
  best, cuts = [0], []
  for stop in range(1, len(real) + 1):
    totals = []
    for start in reversed(range(stop)):
      segment = real[start:stop]
      saving = len(still(x, mask, segment)) * (len(segment) - 1)
      totals.append(best[start] + saving)
    cuts.append(stop - 1 - int(np.argmax(totals)))
    best.append(max(totals))
  segments, stop = [], len(real)
  while stop:
    segments.insert(0, real[cuts[stop - 1] : stop])
    stop = cuts[stop - 1]
  return segments


def blend(x, places, own, count):
  """{place: (feature, members)} of peaks among x at places."""
  centers, labels = peaks(x, count)
  out = {}
  for c, center in enumerate(centers):
    others = [i for i in np.flatnonzero(labels == c) if i != center]
    feature = x[center]
    if others:
      feature = own * feature + (1 - own) * x[others].mean(0)
    out[places[center]] = feature, [center, *others]
  return out


def slow(x, mask, received, budget, *, clustered):
  """{(frame, patch): (feature, size)} of a clip."""
  segments = best_partition(x, mask)
  fixed = {s[0]: (s, still(x, mask, s)) for s in segments}
  static = {(t, p) for s, found in fixed.values() for t in s for p in found}
  moving = [
    [p for p in np.flatnonzero(mask[t]) if (t, p) not in static]
    for t in range(FRAMES)
  ]
  counts = [len(fixed[t][1]) if t in fixed else 0 for t in range(FRAMES)]
  share = shares(counts + [len(found) for found in moving], budget)
  out = {}
  for t, (segment, found) in fixed.items():
    folded = np.array([x[segment, p].mean(0) for p in found]).reshape(-1, WIDTH)
    blended = blend(folded, found, 0.6, share[t])
    for p, (feature, members) in blended.items():
      out[t, p] = feature, len(segment) * len(members)
  for t, found in enumerate(moving):
    slots = share[FRAMES + t]
    of_peaks = int(np.ceil(slots * clustered - 0.5))
    ranked = sorted(found, key=lambda p: -received[t, p])
    kept = ranked[: slots - of_peaks]
    out |= {(t, int(p)): (x[t, p], 1) for p in kept}
    rest = [p for p in found if p not in kept]
    for p, (feature, members) in blend(x[t, rest], rest, 0.6, of_peaks).items():
      out[t, int(p)] = feature, len(members)
  return out


@pytest.mark.parametrize("clustered", [0.0, 0.5])
def test_equals_a_loop(rng, clustered):
  tokens, received = make_clips(rng)
  reducer = HoliTom(k=10, grid=GRID, clustered=clustered)
  reduced, aux = run(reducer, tokens, received)
  for b in range(2):
    expected = slow(*clip_of(tokens, received, b), 9, clustered=clustered)
    assert len(expected) == 9
    assert_holds(reduced, tokens, b, expected)
  assert aux["metrics"]["folded"] > 0 and aux["metrics"]["segments"] > 1
  assert not aux["overflow"].any()


def test_a_still_clip_is_folded_into_its_first_frame(rng):
  tokens, received = make_clips(rng)
  first = tokens.features[:, 1 : 1 + PATCHES]
  tokens.features[:, 1:] = np.tile(first, (1, FRAMES, 1))
  tokens.features[1] = tokens.features[0]
  tokens.mask[:] = True
  tokens.size[:, 1:] = 1
  reduced, _ = run(HoliTom(k=14, grid=GRID), tokens, received)
  assert reduced.mask.sum(1).tolist() == [1 + PATCHES] * 2
  np.testing.assert_allclose(
    reduced.features[0, 1 : 1 + PATCHES], first[0], atol=1e-5
  )
  assert reduced.size[0].tolist() == [0] + [FRAMES] * PATCHES + [0] * 7


@pytest.mark.parametrize("own, clustered", [(1.1, 0), (0.5, -0.1)])
def test_shares_must_be_shares(own, clustered):
  with pytest.raises(ValueError, match=rf"got {own} and {clustered}"):
    HoliTom(k=14, grid=GRID, own=own, clustered=clustered)
