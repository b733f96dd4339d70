import jax
import numpy as np
import pytest

from trajvit.ops.quadtree import quadtree
from trajvit.reducers.sttm import Sttm
from trajvit.types import Tokens

GRID = (3, 4, 4)

grow = jax.jit(quadtree, static_argnames="threshold")


def make_tokens(features, mask=None):
  """A class token, and patches with these features [B, T h w, D]."""
  batch, count, width = features.shape
  if mask is None:
    mask = np.ones((batch, count), bool)
  features = np.where(mask[..., None], features, np.nan)
  return Tokens(
    features=np.concatenate([np.full((batch, 1, width), 5.0), features], 1),
    mask=np.concatenate([np.ones((batch, 1), bool), mask], 1),
    positions=np.random.default_rng(0).random((batch, 1 + count, 3)),
    size=np.broadcast_to(np.arange(1 + count) > 0, (batch, 1 + count)) * 1.0,
    protected=np.broadcast_to(np.arange(1 + count) < 1, (batch, 1 + count)),
  )


def run(reducer, tokens):
  return jax.jit(lambda tokens: reducer(tokens))(tokens)


def test_squares_join_over_time():
  """A frame all alike, then one whose first cell is different."""
  x = np.zeros((1, 2, 16, 2), np.float32)
  x[..., 0] = 1
  x[0, 1, 0] = [0, 1]
  reducer = Sttm(k=8, grid=(2, 4, 4), temporal_threshold=0.8, root_level=0)
  merged, aux = run(reducer, make_tokens(x.reshape(1, 32, 2)))
  assert aux["nodes"].tolist() == [4 + 7]
  # In front is the class token, of no patch.
  assert merged.size[0].tolist() == [0, 7, 8, 8, 8, 1, 0, 0]
  np.testing.assert_allclose(merged.features[0, 5], [0, 1], atol=1e-6)
  np.testing.assert_allclose(merged.features[0, 1], [1, 0], atol=1e-6)


def slow(x, mask, corner, node, k, threshold):
  """Groups of slots by the first one, and lists of their nodes."""
  unit = node / np.maximum(np.linalg.norm(node, axis=-1, keepdims=True), 1e-9)
  nodes = {}
  for t, i in np.argwhere(mask):
    nodes.setdefault((t, corner[t, i]), []).append(i)
  links = {}
  for (t, head), cells in nodes.items():
    if t > 0:
      best = max(cells, key=lambda i: unit[t, i] @ unit[t - 1, i])
      cosine = unit[t, best] @ unit[t - 1, best]
      links[t, head] = (cosine, (t - 1, corner[t - 1, best]))
  falling = sorted(links, key=lambda at: -links[at][0])
  if threshold is None:
    joins = falling[: max(0, 1 + len(nodes) - k)]
  else:
    joins = [at for at in falling if links[at][0] >= threshold]
  groups = {}
  for at in nodes:
    root = at
    while root in joins:
      root = links[root][1]
    groups.setdefault(root, []).append(at)
  means = {
    root: np.mean([x[t, nodes[t, i]].mean(0) for t, i in group], axis=0)
    for root, group in groups.items()
  }
  size = {r: sum(len(nodes[at]) for at in g) for r, g in groups.items()}
  kept = sorted(sorted(groups), key=lambda at: -size[at])[: k - 1]
  return {at: (means[at], size[at]) for at in sorted(kept)}


@pytest.mark.parametrize("k, threshold", [(20, None), (12, 0.97)])
def test_equals_a_loop(rng, k, threshold):
  x = rng.normal(size=(2, 48, 3)).astype(np.float32) * 0.4 + [2, 0, 0]
  mask = np.ones((2, 48), bool)
  mask[1, 32:] = False
  tokens = make_tokens(x, mask)
  reducer = Sttm(
    k=k,
    grid=GRID,
    spatial_threshold=0.95,
    temporal_threshold=threshold,
    root_level=0,
  )
  merged, aux = run(reducer, tokens)
  corner, node = grow(
    x.reshape(2, 3, 4, 4, 3),
    mask.reshape(2, 3, 4, 4),
    threshold=0.95,
  )
  corner = np.asarray(corner).reshape(2, 3, 16)
  node = np.asarray(node).reshape(2, 3, 16, 3)
  for b in range(2):
    expected = slow(
      x[b].reshape(3, 16, 3),
      mask[b].reshape(3, 16),
      corner[b],
      node[b],
      k,
      threshold,
    )
    assert merged.mask[b].sum() == 1 + len(expected)
    for slot, ((t, i), (mean, size)) in enumerate(expected.items(), 1):
      np.testing.assert_allclose(merged.features[b, slot], mean, atol=1e-5)
      assert merged.size[b, slot] == size
      np.testing.assert_array_equal(
        merged.positions[b, slot],
        tokens.positions[b, 1 + t * 16 + i].astype(np.float32),
      )
    placed = merged.size[b].sum() + aux["overflow"][b]
    assert placed == mask[b].sum()
  if threshold is None:
    assert merged.mask[0].all() and not aux["overflow"].any()
