"""DTD and EVS on features: vectors by hand, and a loop."""

import jax
import numpy as np
import pytest

from trajvit.reducers.dtd import Dtd
from trajvit.reducers.evs import Evs
from trajvit.types import Tokens

GRID = (3, 1, 2)


def tokens_of(features, mask=None):
  """Behind a protected token; [B, 6, 2] features."""
  features = np.asarray(features, np.float32)
  batch, count, width = features.shape
  mask = np.ones((batch, count), bool) if mask is None else mask
  first = np.ones((batch, 1), bool)
  return Tokens(
    features=np.concatenate([np.ones((batch, 1, width)), features], 1).astype(
      np.float32
    ),
    mask=np.concatenate([first, mask], 1),
    positions=np.zeros((batch, count + 1, 3), np.float32),
    size=np.ones((batch, count + 1), np.float32),
    protected=np.concatenate([first, np.zeros_like(mask)], 1),
  )


def patches_kept(reducer, tokens):
  """The patches kept of the first clip, behind the protected token."""
  kept, aux = jax.jit(lambda tokens: reducer(tokens))(tokens)
  slots = np.asarray(aux["indices"][0])[np.asarray(kept.mask[0])]
  assert slots[0] == 0 and kept.protected[0, 0]
  return (slots[1:] - 1).tolist(), aux


@pytest.mark.parametrize(
  ("reducer", "expected"),
  [
    (Evs(k=4, grid=GRID), [0, 1, 4]),
    (Dtd(k=6, grid=GRID), [0, 1, 4]),
    (Dtd(k=4, grid=GRID, threshold=None), [0, 1, 4]),
    (Dtd(k=7, grid=GRID, threshold=0.5, relative=True), [0, 1, 2, 4]),
  ],
)
def test_one_place_turns_in_the_last_of_three_frames(reducer, expected):
  e1, e2 = [1, 0], [0, 1]
  tokens = tokens_of([[e1, e1, e1, e1, e2, e1]])
  kept, aux = patches_kept(reducer, tokens)
  assert kept == expected
  assert not np.any(aux.get("overflow", 0))
  if isinstance(reducer, Dtd) and reducer.threshold is not None:
    by_frame = np.bincount(np.asarray(expected) // 2, minlength=3)
    assert aux["kept"].tolist() == [by_frame.tolist()]


def test_equals_a_loop(rng):
  features = rng.normal(size=(4, 6, 2))
  mask = np.ones((4, 6), bool)
  mask[1, 4:] = mask[2, 2:4] = mask[3] = False  # the end, the middle, all
  tokens = tokens_of(np.where(mask[..., None], features, np.nan), mask)
  kept, aux = jax.jit(Dtd(k=5, grid=GRID, threshold=0.2))(tokens)
  most, ranked = jax.jit(Evs(k=5, grid=GRID))(tokens)
  for b in range(4):
    change = {}
    for i in np.flatnonzero(mask[b]):
      before = [j for j in range(i % 2, i, 2) if mask[b, j]]
      change[i] = np.inf
      if before:
        x, y = features[b, i], features[b, before[-1]]
        change[i] = 1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    order = sorted(change, key=lambda i: (-change[i], i))
    stay = [i for i in order if change[i] >= 0.8]
    for reduced, slots, expected in (
      (kept, aux["indices"], stay[:4]),
      (most, ranked["indices"], order[:4]),
    ):
      real = np.asarray(reduced.mask[b])
      found = (np.asarray(slots[b])[real] - 1).tolist()
      assert found == [-1, *sorted(expected)]
    assert aux["overflow"][b] == max(len(stay) - 4, 0)


def test_errors_say_what_was_expected():
  with pytest.raises(ValueError, match="the 2 tokens of a frame, got 1"):
    Evs(k=1, grid=GRID)
  with pytest.raises(
    ValueError, match=r"threshold must be in \[-1, 1\], got 2"
  ):
    Dtd(k=4, grid=GRID, threshold=2)
  with pytest.raises(ValueError, match="must be a share, got None"):
    Dtd(k=4, grid=GRID, threshold=None, relative=True)
