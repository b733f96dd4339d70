import dataclasses

import jax
import numpy as np
import pytest

from trajvit.reducers.average_pool import AveragePool, coarse_grid
from trajvit.reducers.select import FirstK
from trajvit.types import Tokens

GRID, COUNT = (4, 2, 3), 25


def make_tokens(rng):
  """A class token and patches: all, without the last frame, and three."""
  mask = np.ones((3, COUNT), bool)
  mask[1, -6:] = mask[2, 4:] = False
  protected = np.zeros((3, COUNT), bool)
  protected[:, 0] = True
  size = rng.integers(1, 4, (3, COUNT)).astype(np.float32)
  return Tokens(
    features=rng.normal(size=(3, COUNT, 4)).astype(np.float32),
    mask=mask,
    positions=rng.random((3, COUNT, 3)).astype(np.float32),
    size=np.where(protected, 0, size),
    protected=protected,
  )


def slow(tokens, b, groups):
  """The mean of every group of slots by size, behind the class token."""
  features, sizes = [tokens.features[b, 0]], [0.0]
  for group in groups:
    weight = tokens.size[b, group]
    mean = (tokens.features[b, group] * weight[:, None]).sum(0) / weight.sum()
    features.append(mean)
    sizes.append(weight.sum())
  return np.stack(features), np.array(sizes)


def compare(pooled, tokens, b, groups):
  features, sizes = slow(tokens, b, groups)
  real = np.asarray(pooled.mask[b])
  assert real.sum() == len(groups) + 1 and real[: len(groups) + 1].all()
  np.testing.assert_allclose(pooled.features[b][real], features, atol=1e-6)
  np.testing.assert_allclose(pooled.size[b][real], sizes)


def test_cells_of_a_grid(rng):
  """8 slots are 1 and 7: at best 3 x 1 x 2 cells of 4 x 2 x 3 patches."""
  tokens = make_tokens(rng)
  assert coarse_grid(GRID, 7) == (3, 1, 2)
  pooled, aux = jax.jit(AveragePool(k=8, grid=GRID))(tokens)
  slots = 1 + np.arange(24).reshape(GRID)
  parts = [slots[:2], slots[2:3], slots[3:]]
  cells = [cell.ravel() for x in parts for cell in (x[:, :, :2], x[:, :, 2:])]
  compare(pooled, tokens, 0, cells)
  compare(pooled, tokens, 1, cells[:4])
  compare(pooled, tokens, 2, [np.array([1, 2]), np.array([3])])
  assert aux["owner"][1, -6:].tolist() == [-1] * 6


def test_stretches_of_the_order(rng):
  tokens = make_tokens(rng)
  pooled, _ = jax.jit(AveragePool(k=8))(tokens)
  for b, count in enumerate([24, 18, 3]):
    label = np.arange(count) * 7 // count
    groups = [1 + np.flatnonzero(label == i) for i in np.unique(label)]
    compare(pooled, tokens, b, groups)


def test_a_slot_for_every_token_changes_nothing(rng):
  tokens = make_tokens(rng)
  for reducer in (AveragePool(k=COUNT, grid=GRID), FirstK(k=COUNT)):
    pooled = reducer(tokens)[0]
    real = tokens.mask
    np.testing.assert_array_equal(pooled.mask, real)
    np.testing.assert_array_equal(pooled.features[real], tokens.features[real])


@pytest.mark.parametrize(
  "budget, cells",
  [(1, (1, 1, 1)), (64, (4, 4, 4)), (65, (4, 4, 4)), (256, (4, 8, 8))],
)
def test_coarse_grid(budget, cells):
  assert coarse_grid((8, 14, 14), budget) == cells


def test_first_k_keeps_the_beginning(rng):
  tokens = make_tokens(rng)
  mask = tokens.mask.copy()
  mask[0, 2] = False
  kept, aux = FirstK(k=4)(dataclasses.replace(tokens, mask=mask))
  assert aux["indices"][0].tolist() == [0, 1, 3, 4] and kept.mask.all()


def test_there_must_be_a_slot_left(rng):
  with pytest.raises(ValueError, match="must leave a slot .* got 0"):
    AveragePool(k=1, grid=GRID)(make_tokens(rng))
