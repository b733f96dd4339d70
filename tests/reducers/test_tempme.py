import jax
import numpy as np
import pytest
from flax import nnx

from trajvit.reducers.tempme import TempMe, joined_counts
from trajvit.types import Tokens

GRID, B, D, K = (4, 1, 3), 2, 4, 9
COUNT = 1 + 12


@pytest.fixture
def tokens(rng):
  """A whole clip, and one whose last frame is padding; a class token."""
  mask = np.ones((B, COUNT), bool)
  mask[1, -3:] = False
  features = rng.normal(size=(B, COUNT, D)).astype(np.float32)
  features[~mask] = np.nan
  protected = np.tile(np.arange(COUNT) < 1, (B, 1))
  return Tokens(
    features=features,
    mask=mask,
    positions=rng.random((B, COUNT, 3)).astype(np.float32),
    size=np.where(protected, 0, rng.integers(1, 4, (B, COUNT))).astype("f4"),
    protected=protected,
  )


def window_means(x, size, slots, frame):
  """The members of one window, merged by the definition."""
  unit = x / np.linalg.norm(x, axis=1, keepdims=True)
  cosine = unit @ unit.T
  best = {
    i: max(range(1, len(x), 2), key=lambda j: cosine[i, j])
    for i in range(0, len(x), 2)
    if len(x) > 1
  }
  falling = sorted(best, key=lambda i: -cosine[i, best[i]])
  joined = falling[: max(len(x) - slots, 0)]
  out = []
  for j in range(len(x)):
    if j not in joined:
      group = [j] + [i for i in joined if best[i] == j]
      weight = size[group]
      mean = np.average((x + frame)[group], axis=0, weights=weight)
      out.append((mean, weight.sum()))
  return out


def test_windows_equal_a_loop(rng, tokens):
  graph, state = nnx.split(TempMe(k=K, grid=GRID, width=D, clips=2))
  frame = rng.normal(size=(4, D)).astype(np.float32)
  assert not np.any(state["frame"][...])
  state["frame"][...] = frame

  def run(state, tokens):
    merged, aux = nnx.merge(graph, state)(tokens)
    return (merged.features**2).sum(), (merged, aux)

  step = jax.jit(jax.grad(run, has_aux=True))
  grads, (merged, aux) = step(state, tokens)
  for b in range(B):
    expected = [(tokens.features[b, 0], 0)]
    for window in (0, 1):
      at = 1 + 6 * window + np.arange(6)
      real = tokens.mask[b, at]
      added = np.repeat(frame[2 * window : 2 * window + 2], 3, axis=0)[real]
      at = at[real]
      expected += window_means(
        tokens.features[b, at], tokens.size[b, at], 4, added
      )
    kept = np.asarray(merged.mask[b])
    features, sizes = zip(*expected, strict=True)
    assert kept.sum() == len(sizes) == (9, 8)[b] and kept[: len(sizes)].all()
    np.testing.assert_allclose(merged.features[b, kept], features, atol=1e-5)
    np.testing.assert_allclose(merged.size[b, kept], sizes)
  assert not np.any(aux["overflow"])
  gradient = grads["frame"][...]
  assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_the_schedule_of_twelve_frames():
  assert joined_counts(50) == ((34, 1), (44, 2), (56, 4), (107, 12), (97, 12))
  assert joined_counts(50, r=0, joins=(), before=0) == ((50, 1),)
  # No more than half of the patches merge, however large the shares.
  assert joined_counts(9, layers=0, joins=(2,), before=1) == ((9, 1), (9, 2))
  with pytest.raises(ValueError, match="shares must be in"):
    joined_counts(50, before=1.5)


@pytest.mark.parametrize("k", [2, 14])
def test_k_must_fit(tokens, k):
  with pytest.raises(ValueError, match=rf"k must be in \[3, 13\], got {k}"):
    TempMe(k=k, grid=GRID, width=D)(tokens)


def test_clips_must_divide_the_frames():
  with pytest.raises(ValueError, match="divide 4 frames, got 3"):
    TempMe(k=K, grid=GRID, width=D, clips=3)
