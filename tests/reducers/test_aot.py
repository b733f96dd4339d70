import numpy as np
import pytest
from slow_clusters import (
  GRID,
  PATCHES,
  assert_holds,
  clip_of,
  cosine,
  make_clips,
  run,
)

from trajvit.reducers.aot import Aot

HEIGHT, COLUMNS = GRID[1:]


def plan(cost):
  """Rows of an entropic plan with equal masses, each divided by its sum."""
  kernel = np.exp(-cost / 0.1)
  u, v = np.ones(len(cost)), np.ones(cost.shape[1])
  for _ in range(100):
    u = 1 / len(cost) / (kernel @ v)
    v = 1 / cost.shape[1] / (kernel.T @ u)
  found = u[:, None] * kernel * v
  return found / found.sum(1, keepdims=True)


def anchors_of(salience, mask, count, tile):
  """The best half of all tiles in turn, then the best of the rest."""
  tiles = {}
  for p in np.flatnonzero(mask):
    at = p // COLUMNS // tile, p % COLUMNS // tile
    tiles.setdefault(at, []).append(p)
  ranked = {}
  for found in tiles.values():
    for rank, p in enumerate(sorted(found, key=lambda p: -salience[p])):
      ranked[p] = rank
  local = sorted(ranked, key=lambda p: (ranked[p], -salience[p]))
  local = local[: count // 2]
  rest = sorted(set(ranked) - set(local), key=lambda p: -salience[p])
  return sorted(local + rest[: count - count // 2])


def within(x, mask, anchors):
  """{anchor: (feature, size)} of a frame."""
  rows = [p for p in np.flatnonzero(mask) if p not in anchors]
  place = [
    np.array([(p // COLUMNS + 0.5) / HEIGHT, (p % COLUMNS + 0.5) / COLUMNS])
    for p in range(PATCHES)
  ]
  alike = np.array([[cosine(x[r], x[a]) for a in anchors] for r in rows])
  alike = alike.reshape(len(rows), len(anchors))
  far = [[np.linalg.norm(place[r] - place[a]) for a in anchors] for r in rows]
  share = alike
  if rows:
    share = plan(1 - alike + 0.5 * np.array(far))
  out = {}
  for i, a in enumerate(anchors):
    moved = (x[a] + share[:, i] @ x[rows]) / (1 + share[:, i].sum())
    near = [r for j, r in enumerate(rows) if alike[j].argmax() == i]
    around = x[[a, *near]].mean(0)
    out[a] = 0.9 * moved + 0.1 * around, 1 + share[:, i].sum()
  return out


def between(frames, stay):
  """{(frame, patch): (feature, size)} of a window, given those of `within`."""
  (first, found), *later = frames
  out = {(first, a): list(value) for a, value in found.items()}
  load = dict.fromkeys(out, 1.0)
  total = {at: value[0] for at, value in out.items()}
  for t, others in later:
    fade = 1 - np.exp(-((t - first) ** 2) / (2 * 1.5**2))
    cost = [
      [1 - cosine(x, y) for y, _ in found.values()] for x, _ in others.values()
    ]
    share = plan(np.array(cost) * fade)
    stays = np.argsort(share.max(1), kind="stable")[:stay]
    for i, (p, (x, size)) in enumerate(others.items()):
      if i in stays:
        out[t, p] = x, size
        continue
      for at, part in zip(load, share[i], strict=True):
        load[at] += part
        total[at] = total[at] + part * x
        out[at][1] += part * size
  for at in load:
    out[at][0] = total[at] / load[at]
  return out


@pytest.mark.parametrize("tile, k", [(9, 12), (1, 9)])
def test_equals_a_loop(rng, tile, k):
  """Windows of frames 0 to 2, and 3 to 4; 4 or 3 anchors, 1 or none stays."""
  tokens, received = make_clips(rng)
  reducer = Aot(k=k, grid=GRID, window=3, tile=tile)
  anchors, stay = (4, 1) if k == 12 else (3, 0)
  reduced, aux = run(reducer, tokens, received)
  assert (aux["overflow"] == 0).all()
  for b in range(2):
    x, mask, salience = clip_of(tokens, received, b)
    frames = []
    for t in np.flatnonzero(mask.any(1)):
      best = anchors_of(salience[t], mask[t], anchors, tile)
      frames.append((t, within(x[t], mask[t], best)))
    expected = between(frames[:3], stay) | between(frames[3:], stay)
    assert_holds(reduced, tokens, b, expected)
    total = sum(size for _, size in expected.values())
    if not stay:
      assert total == pytest.approx(mask.sum())


def test_what_a_window_cannot_hold_is_counted(rng):
  tokens, received = make_clips(rng)
  mask = tokens.mask.copy()
  mask[:, 1 : 1 + PATCHES] = False  # the first frame of the first window
  tokens = type(tokens)(
    tokens.features, mask, tokens.positions, tokens.size, tokens.protected
  )
  reducer = Aot(k=9, grid=GRID, window=3)
  _, aux = run(reducer, tokens, received)
  assert aux["overflow"].tolist() == [6, 6]


def test_errors_say_what_was_expected(rng):
  with pytest.raises(ValueError, match=r"rest in \[0, 1\], got 4, 9 and 2"):
    Aot(k=9, grid=GRID, rest=2)
  tokens, received = make_clips(rng)
  with pytest.raises(ValueError, match="2 windows of 4 frames need an anchor"):
    run(Aot(k=2, grid=GRID), tokens, received)
