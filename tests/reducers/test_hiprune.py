import dataclasses

import jax
import numpy as np
import pytest

from trajvit.reducers.hiprune import HiPrune, hierarchy
from trajvit.types import Tokens

choose = jax.jit(hierarchy, static_argnames=("grid", "count", "alpha"))
GRID = (2, 3, 4)


@dataclasses.dataclass
class Receiving:
  """Stands for a block in which tokens get this attention."""

  attention: np.ndarray

  def received(self, queries):
    return np.where(queries, self.attention, np.nan)


def test_neighbours_stay_inside_the_image(rng):
  """24 x 24 patches, 64 kept: one anchor, in the middle and in the corner."""
  anchor = [24 * 10 + 5, 0]
  score = np.zeros((2, 576), np.float32)
  score[[0, 1], anchor] = 1
  last = rng.random((2, 576)).astype(np.float32)
  mask = np.ones((2, 576), bool)
  found = choose(score, last, mask, grid=(1, 24, 24), count=64, alpha=0.1)
  anchors, buffers, registers = (np.asarray(x) for x in found)
  assert anchors.sum(1).tolist() == [1, 1]
  assert np.flatnonzero(buffers[0]).tolist() == [221, 244, 246, 269]
  assert np.flatnonzero(buffers[1]).tolist() == [1, 24]
  assert registers.sum(1).tolist() == [59, 61]
  assert not (anchors & registers | buffers & registers).any()
  rest = ~(anchors | buffers)
  for b in range(2):
    least = last[b][registers[b]].min()
    assert last[b][rest[b] & ~registers[b]].max() < least


def test_equals_a_loop(rng):
  mask = np.ones((2, 25), bool)
  mask[1, [3, 20, 21, 22, 23, 24]] = False
  features = rng.normal(size=(2, 25, 2)).astype(np.float32)
  tokens = Tokens(
    features=np.where(mask[..., None], features, np.nan),
    mask=mask,
    positions=rng.random((2, 25, 3)).astype(np.float32),
    size=np.ones((2, 25), np.float32),
    protected=np.broadcast_to(np.arange(25) < 1, (2, 25)),
  )
  attention = rng.random((2, 25)).astype(np.float32)
  kept, aux = HiPrune(k=13, grid=GRID, alpha=0.8)(
    tokens, block=Receiving(attention)
  )
  for b in range(2):
    real = [i for i in range(24) if mask[b, 1 + i]]
    best = sorted(real, key=lambda i: -attention[b, 1 + i])
    chosen = best[:2]  # round(12 * 0.8 / 5)
    for anchor in best[:2]:
      frame, y, x = anchor // 12, anchor % 12 // 4, anchor % 4
      for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        at = frame * 12 + (y + dy) * 4 + x + dx
        inside = 0 <= y + dy < 3 and 0 <= x + dx < 4
        if inside and at in real and at not in chosen:
          chosen.append(at)
    assert len(chosen) >= 4
    chosen += [i for i in best if i not in chosen][: 12 - len(chosen)]
    slots = [0, *sorted(1 + i for i in chosen)]
    assert aux["indices"][b].tolist() == slots
    np.testing.assert_array_equal(kept.features[b], tokens.features[b, slots])


def test_refuses():
  with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\], got 2"):
    HiPrune(k=4, grid=GRID, alpha=2)
