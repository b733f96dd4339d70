import dataclasses

import jax
import numpy as np
import pytest

from trajvit.reducers.testa import TESTA, vote
from trajvit.types import Tokens

GRID, B, D = (4, 2, 3), 2, 4
CELLS, COUNT, FRAMES, SHARE = 6, 25, 3, 4
K = 1 + FRAMES * SHARE


@dataclasses.dataclass
class Known:
  """A block whose keys are known."""

  metric: jax.Array

  def keys(self):
    return self.metric


@pytest.fixture
def tokens(rng):
  """A whole clip, and one whose last frame is padding; a class token."""
  mask = np.ones((B, COUNT), bool)
  mask[1, -CELLS:] = False
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


def test_patches_vote_for_a_frame():
  # Frame 0 of frames 0 and 2 to frames 1 and 3: three patches, and one missing.
  cosine = np.full((1, 4, 1, 2), -np.inf, np.float32)
  cosine[0, :3, 0] = [[0.1, 0.9], [0.0, 0.2], [0.5, -0.3]]
  choice, score = jax.jit(vote)(cosine)
  assert choice.tolist() == [[1]]
  np.testing.assert_allclose(score, [[1.6 / 3]], rtol=1e-6)


def normal(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def joined(cosine, best, count, slots):
  """{source: destination} of the pairs (source, destination) that merge."""
  falling = sorted(best, key=lambda i: -cosine[i])
  return {i: best[i] for i in falling[: max(count - slots, 0)]}


def groups(joins, count):
  return [
    [j] + [i for i in joins if joins[i] == j]
    for j in range(count)
    if j not in joins
  ]


def slow(x, metric, size):
  """One clip of real frames [T, n, ...]: features and sizes, t slowest."""
  frames = len(x)
  unit, cosine, best = normal(metric), {}, {}
  for i in range(0, frames, 2):
    others = (unit[i] * unit[1::2]).sum(-1).T  # [n, C]
    ballots = np.bincount(others.argmax(1), minlength=others.shape[1])
    best[i], cosine[i] = 1 + 2 * ballots.argmax(), others.max(1).mean()
  parts = []
  for group in groups(joined(cosine, best, frames, FRAMES), frames):
    w = size[group][..., None]
    means = ((v[group] * w).sum(0) / w.sum(0) for v in (x, metric))
    parts.append((*means, w.sum(0)[..., 0]))
  x, metric, size = (np.stack(part) for part in zip(*parts, strict=True))
  unit = normal(metric.mean(0))
  pair = unit @ unit.T
  odd = range(1, CELLS, 2)
  best = {i: max(odd, key=lambda j: pair[i, j]) for i in range(0, CELLS, 2)}
  cosine = {i: pair[i, best[i]] for i in best}
  features, sizes = [], []
  for group in groups(joined(cosine, best, CELLS, SHARE), CELLS):
    w = size[:, group][..., None]
    features.append((x[:, group] * w).sum(1) / w.sum(1))
    sizes.append(w.sum(1)[..., 0])
  return np.stack(features, 1).reshape(-1, D), np.stack(sizes, 1).reshape(-1)


def test_equals_a_loop(rng, tokens):
  metric = rng.normal(size=(B, COUNT, 3)).astype(np.float32)
  reducer = TESTA(k=K, grid=GRID, frames=FRAMES)
  run = jax.jit(lambda t, m: reducer(t, block=Known(m)))
  merged, aux = run(tokens, metric)
  assert merged.mask.all() and not np.any(aux["overflow"])
  np.testing.assert_array_equal(merged.features[:, 0], tokens.features[:, 0])
  for b in range(B):
    real = 4 - b
    clip = (
      v[b, 1 : 1 + real * CELLS].reshape(real, CELLS, -1).astype(float)
      for v in (tokens.features, metric, tokens.size)
    )
    x, m, size = clip
    features, sizes = slow(x, m, size[..., 0])
    np.testing.assert_allclose(merged.features[b, 1:], features, atol=1e-5)
    np.testing.assert_allclose(merged.size[b, 1:], sizes)


def test_what_is_kept_must_fit(tokens):
  with pytest.raises(ValueError, match=r"frames must be in \[1, 4\], got 5"):
    TESTA(k=K, grid=GRID, frames=5)
  with pytest.raises(ValueError, match=r"k must be in \[3, 13\], got 14"):
    TESTA(k=14, grid=GRID)(tokens, block=Known(tokens.features))
