"""Bipartite soft matching, against a loop over pairs for one clip."""

import dataclasses

import jax
import numpy as np
import pytest

from trajvit.ops.bipartite import (
  Split,
  match,
  plan_pairs,
  split_by_score,
  split_every,
)
from trajvit.ops.merging import merge
from trajvit.types import Tokens

B, N, D, R = 4, 12, 5, 4


def pair_up(metric, mask, protected=None, r=R, every=2, **options):
  split = split_every(mask, every)
  pairs = match(metric, split, mask=mask, protected=protected)
  return plan_pairs(pairs, r, mask=mask, protected=protected, **options)


compiled = jax.jit(pair_up, static_argnames=("r", "every", "slots", "order"))


@pytest.fixture
def clips(rng):
  """Metric, mask and protected tokens of four clips.

  A full one, one with gaps, one of three tokens and one of none; NaN in every
  masked slot.
  """
  mask = np.ones((B, N), bool)
  mask[1, [1, 4, 9]] = False
  mask[2, :9] = False
  mask[3] = False
  protected = np.zeros((B, N), bool)
  protected[:, [0, 5]] = True
  metric = rng.normal(size=(B, N, D)).astype(np.float32)
  metric[~mask] = np.nan
  return metric, mask, protected


def slow_target(metric, free, sources, destinations, r, threshold=-2):
  """Whom each token of a clip joins, from the definition."""
  edges = []
  for source in sources:
    best = None
    for destination in destinations:
      if not (free[source] and free[destination]):
        continue
      a, b = metric[source].astype(float), metric[destination].astype(float)
      cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
      if best is None or cosine > best[0]:
        best = cosine, destination
    if best is not None and best[0] > threshold:
      edges.append((-best[0], source, best[1]))
  target = np.arange(len(metric))
  for _, source, destination in sorted(edges)[:r]:
    target[source] = destination
  return target


def slow(metric, mask, protected, r, every=2, threshold=-2):
  """The members of every slot, and the tokens that joined."""
  real = np.flatnonzero(mask)
  destinations = real[every - 1 :: every]
  sources = [i for i in real if i not in destinations]
  free = mask & ~protected
  target = slow_target(metric, free, sources, destinations, r, threshold)
  stay = [i for i in real if target[i] == i]
  members = [[i for i in real if target[i] == s] for s in stay]
  return members, [i for i in real if target[i] != i]


def members(plan, b):
  owner, count = np.asarray(plan.owner[b]), int(plan.mask[b].sum())
  return [np.flatnonzero(owner == k).tolist() for k in range(count)]


@pytest.mark.parametrize("every", [2, 3])
def test_equals_a_loop_over_pairs(clips, every):
  plan = compiled(*clips, every=every)
  assert plan.mask.shape == (B, N - R)
  for b in range(B):
    expected, joined = slow(*(x[b] for x in clips), R, every)
    assert members(plan, b) == expected
    assert np.flatnonzero(plan.absorbed[b]).tolist() == joined
  # The first has pairs enough, the third only two, the last none.
  assert plan.merged[0] == R and plan.merged[2:].tolist() == [2, 0]
  assert not np.any(plan.overflow)


def test_eager_and_compiled_agree(clips):
  for a, b in zip(
    jax.tree.leaves(pair_up(*clips)),
    jax.tree.leaves(compiled(*clips)),
    strict=True,
  ):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
  ("r", "classes", "order", "expected"),
  [
    (1, 0, "similarity", [[4], [2], [0, 1], [3], [5]]),
    (2, 0, "similarity", [[2], [0, 1], [3], [4, 5]]),
    (1, 1, "sets", [[0], [2], [1], [3], [4, 5]]),
    (1, 0, "sets", [[2], [4], [0, 1], [3], [5]]),
    (1, 0, "slots", [[0, 1], [2], [3], [4], [5]]),
    # Protected tokens are in front, and the second is joined by nobody.
    (1, 2, "sets", [[0], [1], [2], [3], [4, 5]]),
  ],
)
def test_six_directions(r, classes, order, expected):
  angle = np.deg2rad([0, 5, 90, 100, 180, 172])
  x = np.stack([np.cos(angle), np.sin(angle)], -1)[None].astype(np.float32)
  mask = np.ones((1, 6), bool)
  protected = np.arange(6)[None] < classes
  plan = compiled(x, mask, protected, r=r, order=order)
  assert members(plan, 0) == expected


@pytest.mark.parametrize("where", ["behind", "between"])
def test_padding_changes_no_pair(clips, where):
  metric, mask, protected = clips
  at = np.arange(N) if where == "behind" else 1 + np.arange(N) * 4 // 3
  slots = N + 4

  def pad(x, fill):
    wide = np.full((B, slots, *x.shape[2:]), fill, x.dtype)
    wide[:, at] = x
    return wide

  wide = pad(metric, np.nan), pad(mask, False), pad(protected, True)
  plan, padded = jax.device_get(
    (compiled(*clips), compiled(*wide, slots=N - R))
  )
  np.testing.assert_array_equal(padded.owner[:, at], plan.owner)
  np.testing.assert_array_equal(padded.mask, plan.mask)
  head = at[plan.head[plan.mask]]
  np.testing.assert_array_equal(padded.head[padded.mask], head)


def test_a_clip_can_merge_only_what_does_not_fit(clips):
  mask = clips[1]
  excess = np.maximum(mask.sum(1) - 8, 0)  # 4, 1, 0 and 0
  run = jax.jit(lambda r: pair_up(*clips, r=r, slots=8))
  plan = run(excess)
  assert plan.merged.tolist() == excess.tolist() == [4, 1, 0, 0]
  assert plan.mask.sum(1).tolist() == [8, 8, 3, 0]
  for b in range(B):
    given = (x[b] for x in clips)
    assert members(plan, b) == slow(*given, excess[b])[0]


def test_only_pairs_above_a_threshold_merge(clips):
  metric, mask, protected = clips
  split = split_every(mask)
  similarity = match(metric, split, mask=mask, protected=protected).similarity
  falling = np.sort(similarity[0])[::-1]
  threshold = float(falling[2] + falling[3]) / 2
  plan = jax.jit(lambda t: pair_up(*clips, r=6, threshold=t))(threshold)
  assert plan.mask.shape == (B, N) and not np.any(plan.overflow)
  counts = []
  for b in range(B):
    expected, joined = slow(*(x[b] for x in clips), 6, threshold=threshold)
    assert members(plan, b) == expected
    counts.append(len(joined))
  assert plan.merged.tolist() == counts and counts[0] == 3


def test_pairs_that_are_missing_are_reported(clips):
  # Of six sources one is protected: five merge, and a token is too many. The
  # last destination goes, with those that joined it.
  metric, mask, protected = clips
  plan = compiled(*clips, r=6)
  assert plan.merged[0] + plan.overflow[0] == 6 and plan.mask[0].all()
  expected, joined = slow(metric[0], mask[0], protected[0], 6)
  assert len(joined) == 5 and len(expected) == 7
  assert members(plan, 0) == expected[:-1]
  assert plan.overflow[0] == len(expected[-1])
  assert not np.any(plan.overflow[1:])


def test_equal_pairs_merge_from_the_first_slot():
  metric = np.tile(np.array([1, 0], np.float32), (1, 6, 1))
  plan = compiled(metric, np.ones((1, 6), bool), r=2)
  assert members(plan, 0) == [[0, 1, 2], [3], [4], [5]]


def test_tokens_of_highest_score_are_joined(rng, clips):
  metric, mask, protected = clips
  score = rng.integers(0, 4, (B, N)).astype(np.float32)

  @jax.jit
  def run(metric, score):
    split = split_by_score(score, 4, mask=mask, protected=protected)
    pairs = match(metric, split, mask=mask, protected=protected)
    return split, plan_pairs(pairs, 3, mask=mask, protected=protected)

  split, plan = run(metric, score)
  both = np.concatenate([split.sources, split.destinations], axis=1)
  np.testing.assert_array_equal(np.sort(both), np.tile(np.arange(N), (B, 1)))
  for b in range(B):
    free = np.flatnonzero(mask[b] & ~protected[b])
    best = sorted(free, key=lambda i: (-score[b, i], i))[:4]
    sources = [i for i in free if i not in best]
    given = metric[b], mask[b] & ~protected[b]
    target = slow_target(*given, sources, sorted(best), 3)
    real = np.flatnonzero(mask[b])
    stay = [i for i in real if target[i] == i]
    assert members(plan, b) == [
      [i for i in real if target[i] == s] for s in stay
    ]


def test_clips_do_not_see_each_other(rng, clips):
  order = rng.permutation(B)
  plan = compiled(*clips)
  other = compiled(*(x[order] for x in clips))
  for a, b in zip(jax.tree.leaves(plan), jax.tree.leaves(other), strict=True):
    np.testing.assert_array_equal(a[order], b)


def test_gradients_pass_through_the_means_and_not_the_pairs(clips):
  metric, mask, protected = clips
  tokens = Tokens(
    features=metric,
    mask=mask,
    positions=np.zeros((B, N, 3), np.float32),
    size=np.ones((B, N), np.float32),
  )

  def loss(features, metric):
    plan = pair_up(metric, mask, protected)
    out = merge(dataclasses.replace(tokens, features=features), plan)
    return (out.features**2).sum()

  run = jax.jit(jax.grad(loss, argnums=(0, 1)))
  of_features, of_metric = run(metric, metric)
  assert np.isfinite(of_features).all() and not np.any(of_metric)
  assert np.all(np.abs(of_features).max(-1)[mask] > 0)
  assert not np.any(of_features[~mask])


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda m: split_every(m, 1), r"every must be in \[2, 12\], got 1"),
    (lambda m: split_every(m, 13), r"every must be in \[2, 12\], got 13"),
    (
      lambda m: split_by_score(np.zeros(m.shape), 12, mask=m),
      r"count must be in \[1, 11\], got 12",
    ),
    (lambda m: pair_up(m[..., None], m, r=7), r"r must be in \[0, 6\]"),
    (lambda m: pair_up(m[..., None], m, r=np.ones(B)), "slots must be given"),
    (lambda m: pair_up(m[..., None], m, order="raster"), "order must be one"),
  ],
)
def test_what_does_not_fit_is_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call(np.ones((B, N), bool))


def test_a_split_is_any_two_sets():
  # Frames of two tokens: those of even frames join those of odd frames.
  mask = np.ones((1, 8), bool)
  split = Split(np.array([[0, 1, 4, 5]]), np.array([[2, 3, 6, 7]]))
  x = np.eye(4, dtype=np.float32)[None, [0, 1, 0, 1, 2, 3, 2, 3]]
  run = jax.jit(lambda x: plan_pairs(match(x, split, mask=mask), 4, mask=mask))
  plan = run(x)
  assert members(plan, 0) == [[0, 2], [1, 3], [4, 6], [5, 7]]
