import jax
import numpy as np
import pytest

from trajvit.reducers.early_tom import EarlyTom
from trajvit.types import Tokens

FRAMES, PATCHES = 6, 2


def make_tokens(rng):
  """A class token and 6 frames; the last one of clip 1 is padding."""
  mask = np.ones((2, 13), bool)
  mask[1, -2:] = False
  mask[0, 4] = False  # a patch of the second frame
  # All frames alike, so that nothing is cut unless it must be.
  features = 5 + rng.normal(size=(2, 13, 3)).astype(np.float32)
  return Tokens(
    features=np.where(mask[..., None], features, np.nan),
    mask=mask,
    positions=rng.random((2, 13, 3)).astype(np.float32),
    size=np.ones((2, 13), np.float32),
    protected=np.broadcast_to(np.arange(13) < 1, (2, 13)),
  )


def run(tokens, k, **options):
  reducer = EarlyTom(k=k, grid=(FRAMES, 1, PATCHES), **options)
  return jax.tree.map(np.asarray, jax.jit(reducer.__call__)(tokens))


def cosine(a, b):
  return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def slow_groups(x, mask, room):
  """Neighbours of one segment, merged; its ends if nothing else is left."""
  frames = [t for t in range(FRAMES) if mask[t].any()]
  groups = [[t] for t in frames]

  def mean(group):
    return np.mean([x[t, i] for t in group for i in (0, 1) if mask[t, i]], 0)

  def rank(i):
    pair = groups[i] + groups[i + 1]
    inner = frames[0] not in pair and frames[-1] not in pair
    return inner, cosine(mean(groups[i]), mean(groups[i + 1]))

  while len(groups) > room:
    best = max(range(len(groups) - 1), key=rank)
    groups[best : best + 2] = [groups[best] + groups[best + 1]]
  return groups


@pytest.mark.parametrize("room", [4, 2])
def test_equals_a_loop(rng, room):
  tokens = make_tokens(rng)
  options = dict(threshold=-1.0, min_segments=1)
  got, aux = run(tokens, 2 + room * PATCHES, **options)
  assert got.mask.shape == (2, 1 + room * PATCHES)
  for b in range(2):
    x, mask = tokens.features[b, 1:], tokens.mask[b, 1:]
    x, mask = x.reshape(FRAMES, PATCHES, 3), mask.reshape(FRAMES, PATCHES)
    groups = slow_groups(x, mask, room)
    owner = {t: group[0] for group in groups for t in group}
    assert aux["frame"][b].tolist() == [owner.get(t, t) for t in range(FRAMES)]
    slot = 1
    for group in groups:
      for i in range(PATCHES):
        real = [t for t in group if mask[t, i]]
        if not real:
          continue
        np.testing.assert_allclose(
          got.features[b, slot], x[real, i].mean(0), rtol=1e-5
        )
        assert got.size[b, slot] == len(real)
        slot += 1
    assert got.mask[b].sum() == slot
    assert got.size[b].sum() == tokens.mask[b].sum()


def test_segments_are_joined_last(rng):
  """Three frames here and three there: the middle ones, then the ends."""
  tokens = make_tokens(rng)
  one, other = np.float32([1, 0, 0]), np.float32([0, 1, 0])
  x = np.stack([one] * 3 + [other] * 3).repeat(PATCHES, 0)
  features = np.broadcast_to(np.concatenate([one[None], x]), (2, 13, 3))
  tokens = Tokens(
    features, np.ones((2, 13), bool), tokens.positions, tokens.size
  )
  got, aux = run(tokens, 5)
  assert aux["frame"].tolist() == [[0, 0, 0, 3, 3, 3]] * 2
  np.testing.assert_allclose(got.features[0, 1:], x[4:8])
  with pytest.raises(ValueError, match="the 2 patches of a frame .* got 2"):
    run(tokens, 2)
