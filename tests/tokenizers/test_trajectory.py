"""Both trajectory tokenizers: what any tokenizer of tracks must do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import CLIP_SHAPE, FILLS, FRAMES, GRID, SIZE, TRACKS

from trajvit.tokenizers import TOKENIZERS

NAMES = ["trajectory", "trajectory_light"]


def build(name, **options):
  context = dict(
    width=16, num_heads=2, clip_shape=CLIP_SHAPE, max_tracks=TRACKS
  )
  spec = dict(name=name, **options)
  return TOKENIZERS.build(spec, rngs=nnx.Rngs(params=0), **context)


@pytest.fixture(params=NAMES, scope="module")
def tokenize(request):
  """A compiled tokenizer, shared by the tests of this file."""
  tokenizer = build(request.param)
  return jax.jit(lambda clip: tokenizer(clip)[0])


@pytest.fixture
def clip(clip):
  frames = clip.frames.astype(np.float32) / 127.5 - 1
  grid = SIZE // 4
  tracks = clip.tracks[:, :, : 2 * grid, : 2 * grid]
  return dataclasses.replace(clip, frames=frames, tracks=tracks)


def test_empty_tracks_are_masked_zeros(tokenize, clip):
  tokens = tokenize(clip)
  assert tokens.features.shape == (3, TRACKS, 16)
  assert tokens.mask[:, :-1].all() and not tokens.mask[:, -1].any()
  assert not np.any(tokens.features[:, -1])
  assert not np.any(tokens.positions[:, -1]) and not np.any(tokens.size[:, -1])


def test_sizes_add_up_to_the_owned_patches(tokenize, clip):
  owned = (clip.tracks >= 0).sum((1, 2, 3)) / (GRID / (SIZE // 4)) ** 2
  np.testing.assert_allclose(tokenize(clip).size.sum(1), owned, rtol=1e-5)


def test_permuting_tracks_permutes_tokens(tokenize, clip, rng):
  order = rng.permutation(TRACKS)  # new label of old label i
  tracks = np.where(clip.tracks < 0, -1, order[clip.tracks]).astype(np.int32)
  before = tokenize(clip)
  after = tokenize(dataclasses.replace(clip, tracks=tracks))
  for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
    np.testing.assert_allclose(a, b[:, order], atol=1e-5)


def test_clips_of_a_batch_do_not_meet(tokenize, clip):
  frames = clip.frames.copy()
  frames[1] = 0
  changed = tokenize(dataclasses.replace(clip, frames=frames))
  kept = [0, 2]
  np.testing.assert_array_equal(
    changed.features[kept,], tokenize(clip).features[kept,]
  )


def test_position_is_the_mean_of_the_cells(tokenize, clip):
  tracks = np.full((3, FRAMES, GRID, GRID), -1, np.int32)
  tracks[:, 1, 4:8, 12:16] = 2
  tokens = tokenize(dataclasses.replace(clip, tracks=tracks))
  expected = (1.5 / FRAMES, 6 / GRID, 14 / GRID)
  np.testing.assert_allclose(tokens.positions[0, 2], expected, atol=1e-6)
  assert tokens.mask.sum(1).tolist() == [1, 1, 1]


def test_where_a_track_goes_is_seen(tokenize, clip):
  """On frames without content, only the path tells two tracks apart."""

  def path(columns):
    tracks = np.full((3, FRAMES, GRID, GRID), -1, np.int32)
    for t, column in enumerate(columns):
      tracks[:, t, 4:8, column : column + 4] = 0
    blank = np.zeros_like(clip.frames)
    moving = dataclasses.replace(clip, frames=blank, tracks=tracks)
    return np.asarray(tokenize(moving).features[0, 0])

  there, back = path([0, 4, 8, 12]), path([12, 8, 4, 0])
  assert np.abs(there - back).max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fill", FILLS)
def test_a_masked_frame_is_never_read(clip, name, fill):
  mask = clip.frame_mask.copy()
  mask[0, 2:] = False
  tokenizer = build(name)

  @jax.jit
  def loss(frames, tracks):
    filled = dataclasses.replace(
      clip, frames=frames, tracks=tracks, frame_mask=mask
    )
    tokens, _ = tokenizer(filled)
    return jnp.square(tokens.features).sum(), tokens

  step = jax.value_and_grad(loss, has_aux=True)
  hidden = ~mask[..., None, None]
  dirty = np.where(hidden[..., None], fill, clip.frames)
  tracks = np.where(hidden, 3, clip.tracks)
  (_, expected), clean = step(clip.frames, clip.tracks)
  (_, tokens), grads = step(dirty, tracks)
  np.testing.assert_array_equal(tokens.features, expected.features)
  np.testing.assert_array_equal(grads, clean)


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_without_any_track_has_finite_gradients(clip, name):
  tokenizer = build(name)
  graphdef, state = nnx.split(tokenizer)
  empty = dataclasses.replace(clip, tracks=np.full_like(clip.tracks, -1))

  @jax.jit
  def loss(state):
    tokens, _ = nnx.merge(graphdef, state)(empty)
    return jnp.square(tokens.features).sum() + tokens.positions.sum()

  value, grads = jax.value_and_grad(loss)(state)
  assert value == 0
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("name", NAMES)
def test_missing_or_misplaced_tracks_are_refused(clip, name):
  tokenizer = build(name)
  with pytest.raises(ValueError, match="needs clip.tracks, got None"):
    tokenizer(dataclasses.replace(clip, tracks=None))
  tracks = np.zeros((3, FRAMES, 9, 9), np.int32)
  with pytest.raises(ValueError, match=r"feature grid, \(3, 4, 8, 8\), got"):
    tokenizer(dataclasses.replace(clip, tracks=tracks))


@pytest.mark.slow
def test_training_returns_batch_statistics_like_the_state(clip):
  tokenizer = build("trajectory")
  stats = nnx.to_pure_dict(nnx.split(tokenizer, nnx.BatchStat, ...)[1])
  _, aux = tokenizer(clip, key=jax.random.key(0))
  assert jax.tree.structure(aux["batch_stats"]) == jax.tree.structure(stats)
  assert "batch_stats" not in tokenizer(clip)[1]


@pytest.mark.slow
def test_boxes_and_resnet50_are_options(clip):
  tokens, _ = build("trajectory", coordinates="box", stem="resnet50")(clip)
  assert np.isfinite(tokens.features).all()
  with pytest.raises(ValueError, match="center, box, got 'corner'"):
    build("trajectory", coordinates="corner")
  with pytest.raises(ValueError, match="known: resnet18, resnet50"):
    build("trajectory", stem="resnet")
