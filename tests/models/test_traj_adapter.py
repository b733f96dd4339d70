"""Trajectory tokens over any features: what their definition promises."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import FRAMES, TRACKS, drawn

from trajvit.models.traj_adapter import ADAPTERS

WIDTH, STEPS, SIDE = 24, 2, 4
MASK = np.ones((3, STEPS, SIDE, SIDE), bool)
MASK[1, 1] = False


@pytest.fixture(scope="module")
def adapter():
  spec = dict(name="trajectories", num_heads=2, depth=1)
  context = dict(width=WIDTH, max_tracks=TRACKS)
  return drawn(lambda: ADAPTERS.build(spec, rngs=nnx.Rngs(0), **context))


@pytest.fixture(scope="module")
def adapt(adapter):
  """Tokens, aux and the gradient of a sum of sines, compiled once."""

  @jax.jit
  def run(features, clip):
    def loss(features):
      tokens, aux = adapter(features, MASK, clip)
      return jnp.sin(tokens.features).sum(), (tokens, aux)

    return jax.grad(loss, has_aux=True)(features)

  return lambda features, clip: run(features, clip)[::-1]


@pytest.fixture
def features(rng):
  return rng.normal(size=(*MASK.shape, WIDTH)).astype(np.float32)


def test_a_token_reads_the_cells_of_its_trajectory(
  adapter, adapt, features, clip
):
  (tokens, aux), _ = adapt(features, clip)
  owner = np.asarray(aux["assignment"])
  assert (owner[1, 1] == -1).all()
  assert tokens.features.shape == (3, TRACKS, WIDTH)
  latent = np.broadcast_to(adapter.latents[...], (3, 1, WIDTH))
  alone = jax.jit(lambda own: adapter.perceiver(latent, features, mask=own))
  for track in range(TRACKS):
    own = owner == track
    count = own.sum((1, 2, 3))
    np.testing.assert_array_equal(tokens.mask[:, track], count > 0)
    np.testing.assert_array_equal(tokens.size[:, track], count)
    expected = np.where(count[:, None] > 0, alone(own)[:, 0], 0)
    np.testing.assert_allclose(tokens.features[:, track], expected, atol=1e-5)


def test_a_trajectory_is_where_its_cells_are(adapt, features, clip):
  tracks = np.full_like(clip.tracks, -1)
  tracks[:, 2:, 8:, :4] = 3  # step 1, rows 2 and 3, column 0
  moved = dataclasses.replace(clip, tracks=tracks)
  (tokens, _), _ = adapt(features, moved)
  assert tokens.mask.sum(1).tolist() == [1, 0, 1]  # step 1 of clip 1 is padding
  np.testing.assert_allclose(tokens.positions[0, 3], [0.75, 0.75, 0.125])


def test_permuting_tracks_permutes_tokens(adapt, features, clip, rng):
  order = rng.permutation(TRACKS)
  tracks = np.where(clip.tracks < 0, -1, order[clip.tracks]).astype(np.int32)
  (before, _), _ = adapt(features, clip)
  (after, _), _ = adapt(features, dataclasses.replace(clip, tracks=tracks))
  for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
    np.testing.assert_allclose(a, b[:, order], atol=1e-5)


@pytest.mark.parametrize("fill", [1e4, np.nan])
def test_padding_and_what_nobody_owns_do_not_leak(adapt, features, clip, fill):
  """NaN only in padding: a cell that nobody owns is real, and finite."""
  (expected, aux), clean = adapt(features, clip)
  unread = ~MASK if np.isnan(fill) else np.asarray(aux["assignment"]) < 0
  dirty = np.where(unread[..., None], fill, features)
  (tokens, _), grad = adapt(dirty, clip)
  jax.tree.map(np.testing.assert_array_equal, tokens, expected)
  np.testing.assert_array_equal(grad, clean)
  assert not grad[unread].any() and np.isfinite(grad).all()


def test_a_clip_without_trajectories_has_no_tokens(adapt, features, clip):
  nothing = dataclasses.replace(clip, tracks=np.full_like(clip.tracks, -1))
  (tokens, _), grad = adapt(features, nothing)
  assert not tokens.mask.any() and not np.any(tokens.features)
  assert not np.any(grad)


def test_patches_are_tokens_in_raster_order(features, clip):
  tokens, aux = ADAPTERS.build(dict(name="patches"), width=WIDTH)(
    features, MASK, clip
  )
  assert aux == {}
  mask = MASK.reshape(3, -1)
  np.testing.assert_array_equal(tokens.mask, mask)
  flat = features.reshape(3, -1, WIDTH)
  np.testing.assert_array_equal(
    tokens.features, np.where(mask[..., None], flat, 0)
  )
  at = (1 * SIDE + 2) * SIDE + 3  # step 1, row 2, column 3
  np.testing.assert_allclose(tokens.positions[0, at], [0.75, 0.625, 0.875])
  assert tokens.size.sum() == mask.sum() and FRAMES % STEPS == 0
