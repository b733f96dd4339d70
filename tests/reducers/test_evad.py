import dataclasses

import jax
import numpy as np
import pytest

from trajvit.ops.token_grid import grid_positions
from trajvit.reducers.evad import Evad
from trajvit.types import Tokens

GRID = (4, 1, 3)


@dataclasses.dataclass
class Attending:
  """Stands for a block with these probabilities."""

  probabilities: np.ndarray

  def attention(self):
    return self.probabilities


def run(tokens, attention, **options):
  reducer = Evad(grid=GRID, **options)
  return jax.jit(lambda x, p: reducer(x, block=Attending(p)))(tokens, attention)


def make_tokens(rng):
  """A class token and 12 patches; the last two frames of clip 1 are padding."""
  mask = np.ones((2, 13), bool)
  mask[1, 7:] = False
  features = rng.normal(size=(2, 13, 2)).astype(np.float32)
  positions = np.zeros((2, 13, 3), np.float32)
  positions[:, 1:] = grid_positions(GRID)
  return Tokens(
    features=np.where(mask[..., None], features, np.nan),
    mask=mask,
    positions=np.where(mask[..., None], positions, np.nan),
    size=np.ones((2, 13), np.float32),
    protected=np.broadcast_to(np.arange(13) < 1, (2, 13)),
  )


@pytest.mark.parametrize("weight", [1.0, 4.0])
def test_equals_a_loop(rng, weight):
  tokens = make_tokens(rng)
  attention = rng.random((2, 13, 13)).astype(np.float32)
  attention *= tokens.mask[:, :, None] & tokens.mask[:, None]
  kept, aux = run(tokens, attention, k=6, key_weight=weight)
  # Frame 2 of 4, or what is the last real one before it.
  for b, key in enumerate([[7, 8, 9], [4, 5, 6]]):
    assert np.flatnonzero(aux["key_frame"][b]).tolist() == key
    rest = [i for i in range(1, 13) if tokens.mask[b, i] and i not in key]
    score = {
      i: sum(
        attention[b, q, i] * (weight if q in key else 1) for q in range(13)
      )
      for i in rest
    }
    best = sorted(rest, key=lambda i: -score[i])[:2]
    expected = sorted([0, *key, *best])
    assert aux["indices"][b].tolist() == expected
    np.testing.assert_array_equal(
      kept.features[b], tokens.features[b, expected]
    )
  assert not aux["overflow"].any()


def test_the_key_frame_is_the_same_after_the_first_time(rng):
  tokens = make_tokens(rng)
  attention = np.zeros((2, 13, 13), np.float32)
  once, _ = run(tokens, attention, k=7)
  twice, _ = run(once, attention[:, :7, :7], k=4)
  assert twice.positions[0, 1:, 0].tolist() == [0.625] * 3
  assert twice.positions[1, 1:, 0].tolist() == [0.375] * 3
  _, aux = run(twice, attention[:, :4, :4], k=3)
  assert aux["overflow"].tolist() == [1, 1]


@pytest.mark.parametrize("options", [dict(k=2), dict(k=6, key_weight=-1.0)])
def test_refuses(options):
  with pytest.raises(ValueError, match="got 2|got -1.0"):
    Evad(grid=GRID, **options)
