import dataclasses

import jax
import numpy as np
import pytest

from trajvit.reducers.dtome import DToMe, calibrated_threshold
from trajvit.reducers.tome import ToMe
from trajvit.types import Tokens


@dataclasses.dataclass
class Known:
  """A block whose keys are known."""

  metric: jax.Array

  def keys(self):
    return self.metric


def pairs_of(*cosines):
  """Clips of a class token and pairs of keys that have the given cosines."""
  batch, half = len(cosines), len(cosines[0])
  count = 1 + 2 * half
  keys = np.zeros((batch, count, count), np.float32)
  keys[:, 0, 0] = 1
  for b, clip in enumerate(cosines):
    for i, cosine in enumerate(clip):
      here = 1 + 2 * i
      keys[b, here, here] = 1
      keys[b, here + 1, here : here + 2] = cosine, np.sqrt(1 - cosine**2)
  protected = np.arange(count)[None] < np.ones((batch, 1))
  tokens = Tokens(
    features=keys,
    mask=np.ones((batch, count), bool),
    positions=np.zeros((batch, count, 3), np.float32),
    size=np.ones((batch, count), np.float32),
    protected=protected,
  )
  return tokens, keys


def reduce(k, threshold):
  reducer = DToMe(k=k, threshold=threshold)
  return jax.jit(lambda tokens, keys: reducer(tokens, block=Known(keys)))


def test_the_threshold_of_two_images():
  edges = np.array([[0.9, 0.2], [0.8, 0.7]], np.float32)
  run = jax.jit(calibrated_threshold, static_argnums=1)
  threshold = run(edges, 1)
  assert threshold == edges[1, 1]
  assert (edges > threshold).sum(1).tolist() == [1, 1]
  # Clips without an edge do not count, and nothing is less than 0.
  assert run(np.append(edges, [[-np.inf] * 2], 0)[::-1], 1) == threshold
  assert run(edges, 2) == 0 and run(edges - 1, 1) == 0
  with pytest.raises(ValueError, match="at least 0, got -1"):
    calibrated_threshold(edges, -1)


def test_pairs_above_the_threshold_merge():
  # The first clip of pairs .9, .2 and .1, the second of .8, .7 and .6.
  tokens, keys = pairs_of([0.9, 0.2, 0.1], [0.8, 0.7, 0.6])
  merged, aux = reduce(6, 0.65)(tokens, keys)
  np.testing.assert_allclose(
    np.sort(aux["edges"])[:, 1:], [[0.1, 0.2, 0.9], [0.6, 0.7, 0.8]], atol=1e-6
  )
  assert merged.mask.sum(1).tolist() == [6, 5]
  assert merged.size.tolist() == [[1, 2, 1, 1, 1, 1], [1, 2, 2, 1, 1, 0]]
  assert aux["overflow"].tolist() == [0, 0]
  # Of fewer slots the most similar of the others are made one.
  merged, aux = reduce(5, 0.65)(tokens, keys)
  assert merged.size.tolist() == [[1, 2, 2, 1, 1], [1, 2, 2, 1, 1]]
  assert aux["overflow"].tolist() == [1, 0]
  # There are slots for all, and no pair is alike.
  merged, _ = reduce(7, 1.0)(tokens, keys)
  assert merged.mask.all()


def test_without_a_threshold_it_is_tome(rng):
  tokens, _ = pairs_of([0.5] * 3, [0.5] * 3)
  mask = np.ones((2, 7), bool)
  mask[1, 2:4] = False
  features = rng.normal(size=(2, 7, 7)).astype(np.float32)
  features[~mask] = np.nan
  tokens = dataclasses.replace(tokens, features=features, mask=mask)
  metric = np.where(mask[..., None], features, 3.0)
  merged, aux = reduce(3, None)(tokens, metric)
  other = jax.jit(lambda t, m: ToMe(k=3)(t, block=Known(m))[0])(tokens, metric)
  for x, y in zip(jax.tree.leaves(merged), jax.tree.leaves(other), strict=True):
    np.testing.assert_allclose(x, y, atol=1e-6)
  assert "overflow" not in aux


def test_k_must_fit():
  tokens, keys = pairs_of([0.9])
  with pytest.raises(ValueError, match=r"k must be in \[2, 3\], got 1"):
    DToMe(k=1)(tokens, block=Known(keys))
