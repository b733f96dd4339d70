"""An image is the first frame of a still video."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.reducers.pvc import Pvc, least_cell
from trajvit.types import Tokens

GRID, WIDTH, COUNT = (3, 2, 3), 8, 19


def make_tokens(rng):
  mask = np.ones((2, COUNT), bool)
  mask[1, -6:] = mask[1, 2] = False
  protected = np.zeros((2, COUNT), bool)
  protected[:, 0] = True
  return Tokens(
    features=rng.normal(size=(2, COUNT, WIDTH)).astype(np.float32),
    mask=mask,
    positions=rng.random((2, COUNT, 3)).astype(np.float32),
    size=np.where(protected, 0, 1).astype(np.float32),
    protected=protected,
  )


def make(grid=GRID, trained=False):
  """With parameters as they start, or all of them somewhere else."""
  reducer = Pvc(
    k=7,
    grid=grid,
    cell=2,
    depth=1,
    width=WIDTH,
    num_heads=2,
    rngs=nnx.Rngs(params=0),
  )
  if trained:
    graphdef, state = nnx.split(reducer)
    noise = np.random.default_rng(1)
    state = jax.tree.map(
      lambda x: x + 0.1 * noise.normal(size=x.shape).astype(np.float32), state
    )
    reducer = nnx.merge(graphdef, state)
  return reducer


def frame(tokens, number):
  """The clip of one frame, behind the class token."""
  start = 1 + 6 * number
  return jax.tree.map(
    lambda x: jnp.concatenate([x[:, :1], x[:, start : start + 6]], 1), tokens
  )


def test_every_frame_is_an_image_at_first_and_the_first_for_good(rng):
  tokens = make_tokens(rng)
  for trained in (False, True):
    image = jax.jit(make((1, 2, 3), trained))
    video, _ = jax.jit(make(trained=trained))(tokens)
    assert video.mask.tolist() == [[True] * 7, [True] * 5 + [False] * 2]
    np.testing.assert_array_equal(video.features[:, 0], tokens.features[:, 0])
    same = []
    for t in range(3):
      alone = image(frame(tokens, t))[0].features[0, 1:]
      there = video.features[0, 1 + 2 * t : 3 + 2 * t]
      same.append(np.allclose(there, alone, atol=1e-5))
    assert same == ([True, False, False] if trained else [True] * 3)


def test_no_frame_reads_a_later_one(rng):
  reducer, tokens = make(trained=True), make_tokens(rng)

  @jax.jit
  def run(features):
    return reducer(dataclasses.replace(tokens, features=features))[0].features

  before = run(tokens.features)
  changed = tokens.features.copy()
  changed[:, 7:13] = rng.normal(size=(2, 6, WIDTH))
  moved = np.abs(run(changed) - before).max((0, 2)) > 1e-6
  assert moved.tolist() == [False, False, False, True, True, True, True]


def test_cells_keep_places_and_sizes(rng):
  tokens = make_tokens(rng)
  reduced, _ = jax.jit(make())(tokens)
  # Frames of 2 x 3 patches have a cell of 2 x 2 and one of 2 x 1.
  assert reduced.size[0].tolist() == [0] + [4, 2] * 3
  assert reduced.size[1].tolist() == [0, 3, 2, 4, 2, 0, 0]
  first = tokens.positions[0, [1, 2, 4, 5]].mean(0)
  np.testing.assert_allclose(reduced.positions[0, 1], first, atol=1e-6)
  first = tokens.positions[1, [1, 4, 5]].mean(0)
  np.testing.assert_allclose(reduced.positions[1, 1], first, atol=1e-6)


def test_cells_fit_into_k(rng):
  # 32 x 32 patches to 64 tokens a frame, as in the paper.
  assert least_cell((4, 32, 32), 256) == 4
  with pytest.raises(ValueError, match="more than the 4 frames"):
    least_cell((4, 32, 32), 3)
  small = Pvc(
    k=6,
    grid=GRID,
    cell=2,
    width=WIDTH,
    num_heads=2,
    rngs=nnx.Rngs(params=0),
  )
  with pytest.raises(ValueError, match=r"k must be at least 1 \+ 6"):
    small(make_tokens(rng))
