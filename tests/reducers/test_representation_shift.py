import dataclasses

import jax
import numpy as np

from trajvit.reducers.representation_shift import RepresentationShift
from trajvit.types import Tokens


@dataclasses.dataclass
class Updated:
  """Stands for a block whose perceptron has added this."""

  added: np.ndarray

  def update(self):
    return self.added


def run(tokens, added, k):
  reducer = RepresentationShift(k=k)
  return jax.jit(lambda x, a: reducer(x, block=Updated(a)))(tokens, added)


def make_tokens(mask, protected):
  count = mask.shape[1]
  features = np.arange(mask.size, dtype=np.float32).reshape(*mask.shape, 1)
  return Tokens(
    features=features * mask[..., None],
    mask=mask,
    positions=np.zeros((*mask.shape, 3), np.float32),
    size=mask.astype(np.float32),
    protected=np.arange(count) < protected * np.ones(mask.shape),
  )


def test_a_token_without_update_scores_nothing():
  added = np.array([[[0, 0], [1, 0]]], np.float32)
  tokens = make_tokens(np.ones((1, 2), bool), protected=0)
  kept, aux = run(tokens, added, 1)
  assert aux["score"].tolist() == [[0, 1]] and kept.features[0, 0, 0] == 1


def test_equals_a_loop(rng):
  mask = rng.random((3, 9)) < 0.8
  mask[:, 0] = True
  added = rng.normal(size=(3, 9, 4)).astype(np.float32) * mask[..., None]
  added[:, 0] = 0  # the class token, which stays all the same
  tokens = make_tokens(mask, protected=1)
  kept, aux = run(tokens, added, 4)
  for b in range(3):
    norm = {i: np.linalg.norm(added[b, i]) for i in range(1, 9) if mask[b, i]}
    best = [0, *sorted(norm, key=lambda i: -norm[i])[:3]]
    assert aux["indices"][b].tolist() == sorted(best)
    np.testing.assert_array_equal(
      kept.features[b], tokens.features[b, sorted(best)]
    )
