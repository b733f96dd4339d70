import dataclasses

import jax
import numpy as np
import pytest

from trajvit.reducers.vid_tldr import VidTLDR, sharpness
from trajvit.types import Tokens


@dataclasses.dataclass
class Known:
  """A block whose attention is known."""

  probabilities: np.ndarray

  def attention(self):
    return self.probabilities


@jax.jit
def reduce(tokens, attention):
  return VidTLDR(k=2, protected=0)(tokens, block=Known(attention))


def make_tokens(features, mask):
  return Tokens(
    features=np.asarray(features, np.float32),
    mask=np.asarray(mask),
    positions=np.zeros((*np.shape(mask), 3), np.float32),
    size=np.ones(np.shape(mask), np.float32),
  )


def test_four_tokens_with_padding_between():
  """Two clips of the same tokens, one whole, the other among padding."""
  rows = np.array(
    [
      [0.97, 0.01, 0.01, 0.01],
      [0.25, 0.25, 0.25, 0.25],
      [0.7, 0.1, 0.1, 0.1],
      [0.4, 0.3, 0.2, 0.1],
    ],
    np.float32,
  )
  x = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.2, 0.8]], np.float32)
  features = np.full((2, 6, 2), np.nan, np.float32)
  attention, mask = np.zeros((2, 6, 6), np.float32), np.zeros((2, 6), bool)
  for b, at in enumerate(([0, 1, 2, 3], [0, 2, 3, 5])):
    features[b, at], mask[b, at] = x, True
    attention[b][np.ix_(at, at)] = rows
  merged, aux = reduce(make_tokens(features, mask), attention)
  for b in range(2):
    saliency = np.asarray(aux["saliency"][b])
    np.testing.assert_allclose(saliency[mask[b]], [1, 0, 0.00403, 0], atol=1e-5)
    assert not saliency[~mask[b]].any()
    np.testing.assert_allclose(
      merged.features[b], [[0.95, 0.05], [0.1992, 0.8008]], atol=1e-5
    )
    np.testing.assert_allclose(merged.size[b], [2, 1.00403], atol=1e-5)


def test_a_clip_that_attends_evenly_has_no_background():
  attention = np.full((1, 4, 4), 0.25, np.float32)
  run = jax.jit(sharpness)
  mask = np.array([[True, True, True, False]])
  assert run(attention, mask).tolist() == [[1, 1, 1, 0]]
  assert run(attention, np.zeros_like(mask)).tolist() == [[0, 0, 0, 0]]


def test_k_must_fit():
  tokens = make_tokens(np.zeros((1, 4, 2)), np.ones((1, 4), bool))
  attention = np.zeros((1, 4, 4), np.float32)
  with pytest.raises(ValueError, match=r"k must be in \[1, 4\], got 5"):
    VidTLDR(k=5)(tokens, block=Known(attention))
