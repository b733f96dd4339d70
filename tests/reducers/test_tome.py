import dataclasses
import functools

import jax
import numpy as np
import pytest

from trajvit.reducers.tome import ToMe
from trajvit.types import Tokens


@dataclasses.dataclass
class Known:
  """A block whose keys are known."""

  metric: np.ndarray

  def keys(self):
    return self.metric


def circle(degrees, classes=0):
  """Tokens whose features tell which they are, and their keys."""
  angle = np.deg2rad(degrees)
  count = len(degrees)
  tokens = Tokens(
    features=np.eye(count, dtype=np.float32)[None],
    mask=np.ones((1, count), bool),
    positions=np.arange(3 * count, dtype=np.float32).reshape(1, count, 3),
    size=np.ones((1, count), np.float32),
    protected=np.arange(count)[None] < classes,
  )
  keys = np.stack([np.cos(angle), np.sin(angle)], -1)[None]
  return tokens, keys.astype(np.float32)


@functools.partial(jax.jit, static_argnames=("k", "order", "protected"))
def reduce(tokens, keys, **options):
  return ToMe(**options)(tokens, block=Known(keys))


SIX = [0, 5, 90, 100, 180, 172]


@pytest.mark.parametrize(
  ("k", "classes", "order", "expected"),
  [
    (5, 0, "similarity", [[4], [2], [0, 1], [3], [5]]),
    (4, 0, "similarity", [[2], [0, 1], [3], [4, 5]]),
    (5, 1, "sets", [[0], [2], [1], [3], [4, 5]]),
    (4, 0, "slots", [[0, 1], [2], [3], [4, 5]]),
  ],
)
def test_six_directions(k, classes, order, expected):
  tokens, keys = circle(SIX, classes)
  merged, aux = reduce(tokens, keys, k=k, order=order)
  share = np.asarray(merged.features[0])
  assert [np.flatnonzero(x).tolist() for x in share] == expected
  assert merged.size[0].tolist() == [len(members) for members in expected]
  np.testing.assert_allclose(share.sum(1), 1)
  middle = [tokens.positions[0, members].mean(0) for members in expected]
  np.testing.assert_allclose(merged.positions[0], middle)
  assert aux["overflow"].tolist() == [0]


def test_a_small_k_takes_more_rounds():
  tokens, keys = circle(SIX)
  merged, aux = reduce(tokens, keys, k=1, protected=0)
  sixth = np.full((1, 6), 1 / 6)
  np.testing.assert_allclose(merged.features[0], sixth, atol=1e-6)
  assert merged.size.tolist() == [[6]] and aux["overflow"].tolist() == [0]


def test_padding_changes_nothing():
  tokens, keys = circle(SIX, 1)

  def pad(x):
    gap = np.full((1, 3, *x.shape[2:]), np.nan).astype(x.dtype)
    return np.concatenate([x[:, :2], gap, x[:, 2:]], axis=1)

  wide = jax.tree.map(pad, tokens)
  wide = dataclasses.replace(wide, mask=wide.size > 0)
  expected, _ = reduce(tokens, keys, k=3)
  got, _ = reduce(wide, pad(keys), k=3)
  np.testing.assert_allclose(got.features, expected.features)
  np.testing.assert_array_equal(got.size, expected.size)


def test_the_order_is_a_known_one():
  with pytest.raises(ValueError, match="order must be one of"):
    ToMe(k=3, order="raster")
