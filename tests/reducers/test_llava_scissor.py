import jax
import numpy as np
import pytest

from trajvit.reducers.llava_scissor import LlavaScissor
from trajvit.types import Tokens

GRID = (3, 2, 2)


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


def test_a_chain_is_one_region():
  """a is near b and b near c, not a near c; d is alone in its frame."""
  angles = np.deg2rad([0.0, 20, 40, 180, 180, 180])
  length = np.asarray([[1], [2], [3], [1], [2], [3]])
  x = np.stack([np.cos(angles), np.sin(angles)], -1) * length
  tokens = make_tokens(x[None].astype(np.float32))
  reducer = LlavaScissor(k=7, grid=(2, 1, 3), threshold=0.9)
  merged, aux = jax.jit(lambda tokens: reducer(tokens))(tokens)
  assert merged.mask[0].tolist() == [True] * 3 + [False] * 4
  assert aux["owner"].tolist() == [[0, 0, 0, 1, 1, 1]]
  expected = (x[:3].mean(0) + x[:3].sum(0)) / 4
  np.testing.assert_allclose(merged.features[0, 1], expected, rtol=1e-5)
  assert merged.size[0].tolist() == [0, 3, 3, 0, 0, 0, 0]


def components(x, threshold):
  """Lists of indices that cosines above the threshold connect."""
  unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
  left, found = list(range(len(x))), []
  while left:
    group = [left.pop(0)]
    for i in group:
      near = [j for j in left if unit[i] @ unit[j] > threshold]
      group += near
      left = [j for j in left if j not in near]
    found.append(sorted(group))
  return found


def slow(x, mask, threshold, slots):
  parts = []
  for frame in np.arange(12).reshape(3, 4):
    real = frame[mask[frame]]
    parts += [real[group] for group in components(x[real], threshold)]
  means = np.asarray([x[part].mean(0) for part in parts])
  groups = components(means, threshold)
  size = [sum(len(parts[i]) for i in group) for group in groups]
  kept = sorted(sorted(range(len(groups)), key=lambda g: -size[g])[:slots])
  center = np.asarray([means[groups[g]].mean(0) for g in kept])
  first = [min(parts[i][0] for i in groups[g]) for g in kept]
  unit = [y / np.linalg.norm(y, axis=-1, keepdims=True) for y in (x, center)]
  owner = np.where(mask, (unit[0] @ unit[1].T).argmax(1), -1)
  total = [
    (c + x[owner == slot].sum(0)) / (1 + (owner == slot).sum())
    for slot, c in enumerate(center)
  ]
  return np.asarray(total), owner, first, len(groups)


@pytest.mark.parametrize("k, threshold", [(4, 0.93), (5, None)])
def test_equals_a_loop(rng, k, threshold):
  x = rng.normal(size=(2, 12, 3)).astype(np.float32) * 0.6 + [1, 0, 0]
  mask = np.ones((2, 12), bool)
  mask[1, 8:] = False
  tokens = make_tokens(x, mask)
  reducer = LlavaScissor(k=k, grid=GRID, threshold=threshold)
  merged, aux = jax.jit(lambda tokens: reducer(tokens))(tokens)
  for b in range(2):
    got, owner, first, regions = slow(
      x[b], mask[b], float(aux["threshold"][b]), k - 1
    )
    count = len(got)
    assert merged.mask[b].sum() == 1 + count
    assert aux["overflow"][b] == regions - count
    assert aux["owner"][b].tolist() == owner.tolist()
    np.testing.assert_allclose(
      merged.features[b, 1 : 1 + count], got, atol=1e-5
    )
    np.testing.assert_allclose(
      merged.positions[b, 1 : 1 + count],
      tokens.positions[b, 1:][first],
      atol=1e-6,
    )
    assert merged.size[b].sum() == mask[b].sum()
    if threshold is None:
      assert regions == count
      more = float(aux["threshold"][b]) + 3.001 / 2**12
      assert slow(x[b], mask[b], more, k - 1)[3] >= k
  if threshold is not None:
    assert aux["overflow"].any()


def test_refuses():
  with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
    LlavaScissor(k=4, grid=GRID, rounds=0)
