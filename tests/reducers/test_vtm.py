import jax
import numpy as np
import pytest
from flax import nnx

from trajvit.reducers.vtm import VTM
from trajvit.types import Tokens

B, N, D, K = 2, 9, 4, 4


@pytest.fixture
def tokens(rng):
  """A clip with gaps and one of three tokens; the first is protected."""
  mask = np.ones((B, N), bool)
  mask[0, [2, 5]] = False
  mask[1, 3:] = False
  features = rng.normal(size=(B, N, D)).astype(np.float32)
  features[~mask] = np.nan
  protected = np.zeros((B, N), bool)
  protected[:, 0] = True
  size = rng.integers(1, 4, (B, N)).astype(np.float32)
  positions = rng.random((B, N, 3)).astype(np.float32)
  return Tokens(features, mask, positions, size, protected=protected)


def test_equals_a_loop_and_learns_its_saliency(tokens):
  graph, state = nnx.split(VTM(k=K, width=D, rngs=nnx.Rngs(params=0)))

  def run(state):
    merged, aux = nnx.merge(graph, state)(tokens)
    return (merged.features[..., 0] ** 3).sum(), (merged, aux)

  grads, (merged, aux) = jax.jit(jax.grad(run, has_aux=True))(state)
  assert np.abs(grads["score"]["kernel"][...]).max() > 1e-3
  assert merged.mask.sum(1).tolist() == [K, 3] and not np.any(aux["overflow"])

  kernel = np.asarray(state["score"]["kernel"][...])[:, 0]
  for b in range(B):
    real = tokens.mask[b]
    x, size = tokens.features[b, real].astype(float), tokens.size[b, real]
    at = tokens.positions[b, real]
    normal = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    saliency = 1 / (1 + np.exp(-normal @ kernel))
    np.testing.assert_allclose(aux["saliency"][b][real], saliency, atol=1e-4)
    free = np.arange(1, len(x))
    best = sorted(free, key=lambda i: -saliency[i])[: K - 1]
    members = {0: [0]} | {int(i): [int(i)] for i in sorted(best)}
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    for i in set(free.tolist()) - set(members):
      members[max(set(members) - {0}, key=lambda j: unit[i] @ unit[j])] += [i]
    for slot, group in enumerate(members.values()):
      weight = size[group] * np.exp(saliency[group])
      mean = np.average(x[group], axis=0, weights=weight)
      np.testing.assert_allclose(merged.features[b, slot], mean, atol=1e-4)
      assert merged.size[b, slot] == size[group].sum()
      middle = np.average(at[group], axis=0, weights=size[group])
      np.testing.assert_allclose(merged.positions[b, slot], middle, atol=1e-5)


def test_k_must_fit(tokens):
  reducer = VTM(k=N + 1, width=D, rngs=nnx.Rngs(params=0))
  with pytest.raises(ValueError, match=r"k must be in \[1, 9\], got 10"):
    reducer(tokens)
