"""Of the reducers that keep tokens unlike each other."""

import dataclasses

import numpy as np
import pytest

from trajvit.reducers.dart_dup import DartDup
from trajvit.reducers.idpruner import IdPruner, relevant
from trajvit.reducers.todre import ToDre
from trajvit.types import Tokens


@dataclasses.dataclass
class Receiving:
  """Stands for a block in which tokens get this attention."""

  attention: np.ndarray

  def received(self, queries):
    return np.where(queries, self.attention, np.nan)


def make_tokens(rng):
  """A class token and 11 others; clip 1 has gaps, what is masked is NaN."""
  mask = np.ones((2, 12), bool)
  mask[1, [2, 5, 11]] = False
  features = rng.normal(size=(2, 12, 3)).astype(np.float32)
  return Tokens(
    features=np.where(mask[..., None], features, np.nan),
    mask=mask,
    positions=rng.random((2, 12, 3)).astype(np.float32),
    size=np.ones((2, 12), np.float32),
    protected=np.broadcast_to(np.arange(12) < 1, (2, 12)),
  )


def each_clip(tokens):
  """The slots that may be dropped, their norms, and all cosines."""
  for x, mask in zip(tokens.features, tokens.mask, strict=True):
    norm = np.linalg.norm(x, axis=-1)
    unit = x / norm[:, None]
    yield [i for i in range(1, 12) if mask[i]], norm, unit @ unit.T


def greedy(free, first, gain, count):
  """Picks, starting with one, of the largest gain."""
  picked = [first]
  while len(picked) < count:
    rest = [i for i in free if i not in picked]
    picked.append(max(rest, key=lambda i: gain(i, picked)))
  return picked


def test_todre_equals_a_loop(rng):
  tokens = make_tokens(rng)
  kept, aux = ToDre(k=6)(tokens)
  for b, (free, norm, cosine) in enumerate(each_clip(tokens)):
    first = max(free, key=lambda i: norm[i])
    picked = greedy(
      free, first, lambda i, s, c=cosine: min(1 - c[i, s]), count=5
    )
    assert aux["indices"][b].tolist() == [0, *sorted(picked)]
    np.testing.assert_array_equal(
      kept.features[b], tokens.features[b, aux["indices"][b]]
    )


def test_todre_keeps_one_of_all_kinds(rng):
  tokens = make_tokens(rng)
  kinds = np.eye(3, dtype=np.float32)[np.minimum(np.arange(12) // 4, 2)]
  features = np.broadcast_to(kinds, (2, 12, 3))
  _, aux = ToDre(k=4)(dataclasses.replace(tokens, features=features))
  assert aux["indices"].tolist() == [[0, 1, 4, 8], [0, 1, 4, 8]]


def test_maximal_marginal_relevance_of_four_tokens():
  cosine = np.eye(4)
  pairs = {(0, 1): 0.95, (0, 2): 0.1, (0, 3): 0.2}
  pairs |= {(1, 2): 0.1, (1, 3): 0.2, (2, 3): 0.3}
  for (i, j), value in pairs.items():
    cosine[i, j] = cosine[j, i] = value
  importance = np.asarray([[1, 0.9, 0.5, 0]])
  mask = np.ones((1, 4), bool)
  picks = relevant(importance, cosine[None], mask, 3, balance=0.5)
  assert picks.tolist() == [[0, 2, 1]]
  # The scale of the importance does not matter.
  picks = relevant(7 * importance - 3, cosine[None], mask, 3, balance=0.5)
  assert picks.tolist() == [[0, 2, 1]]


@pytest.mark.parametrize("kind", ["norm", "attention"])
def test_idpruner_equals_a_loop(rng, kind):
  tokens = make_tokens(rng)
  block = Receiving(rng.random((2, 12)).astype(np.float32))
  reducer = IdPruner(k=6, balance=0.3, importance=kind)
  _, aux = reducer(tokens, block=block)
  assert reducer.needs_block == (kind == "attention")
  for b, (free, norm, cosine) in enumerate(each_clip(tokens)):
    worth = norm if kind == "norm" else block.attention[b]
    low, high = min(worth[free]), max(worth[free])
    worth = (worth - low) / (high - low)

    def gain(i, picked, worth=worth, cosine=cosine):
      return 0.3 * worth[i] - 0.7 * max(cosine[i, picked])

    first = free[int(np.argmax(worth[free]))]
    picked = greedy(free, first, gain, count=5)
    assert aux["indices"][b].tolist() == [0, *sorted(picked)]


def test_importance_alone_keeps_the_largest_norms(rng):
  tokens = make_tokens(rng)
  _, aux = IdPruner(k=6, balance=1.0)(tokens)
  for b, (free, norm, _) in enumerate(each_clip(tokens)):
    best = sorted(free, key=lambda i: -norm[i])[:5]
    assert aux["indices"][b].tolist() == [0, *sorted(best)]


def test_dart_equals_a_loop(rng):
  tokens = make_tokens(rng)
  _, aux = DartDup(k=6, pivots=2)(tokens)
  for b, (free, norm, cosine) in enumerate(each_clip(tokens)):
    pivots = sorted(free, key=lambda i: -norm[i])[:2]
    assert np.flatnonzero(aux["pivots"][b]).tolist() == sorted(pivots)
    rest = [i for i in free if i not in pivots]
    rest = sorted(rest, key=lambda i: max(cosine[i, pivots]))[:3]
    assert aux["indices"][b].tolist() == [0, *sorted(pivots + rest)]


@pytest.mark.parametrize(
  "reducer, options",
  [
    (DartDup, dict(pivots=7)),
    (IdPruner, dict(balance=1.5)),
    (IdPruner, dict(importance="luck")),
  ],
)
def test_refuses(reducer, options):
  with pytest.raises(ValueError, match="got 7|got 1.5|got 'luck'"):
    reducer(k=6, **options)
