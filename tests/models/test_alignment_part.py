"""The teacher beside a decoder: what is projected, resized, and compared."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import drawn, on_host

from trajvit.models.alignment import Alignment
from trajvit.models.feature_net import FeatureNet
from trajvit.models.normalization import normalize
from trajvit.ops.grid_resize import resize_grid
from trajvit.types import Clip

BATCH, FRAMES, SIZE, WIDTH = 2, 4, 8, 5
# Coarser than the teacher's 4 x 2 x 2 in time, finer in space.
GRID = (2, 4, 2)
PATCHES = 16


def build(**options):
  teacher = FeatureNet(
    num_classes=2,
    widths=(3, 4),
    normalization="imagenet",
    rngs=nnx.Rngs(params=0),
  )
  options = dict(hidden=6, normalization="symmetric") | options
  return Alignment(
    teacher, width=WIDTH, grid=GRID, rngs=nnx.Rngs(params=1), **options
  )


@functools.cache
def program():
  """A drawn part's state, and its call with all gradients of all it tells."""
  graphdef, state = nnx.split(drawn(build))

  @on_host
  def run(state, hidden, patch_mask, frames, frame_mask):
    def total(inputs):
      state, hidden, frames = inputs
      part = nnx.merge(graphdef, state)
      told = part(hidden, patch_mask, frames, frame_mask)
      values = told["projected"] + 2 * told["target"]
      return jnp.where(told["mask"][..., None], values, 0).sum(), told

    gradient = jax.grad(total, has_aux=True)
    return gradient((state, hidden, frames))

  return state, run


@pytest.fixture
def inputs(rng):
  """The last two frames of the second clip, one patch's, are not there."""
  hidden = rng.normal(size=(BATCH, PATCHES, WIDTH)).astype(np.float32)
  frames = rng.uniform(-1, 1, (BATCH, FRAMES, SIZE, SIZE, 3))
  frame_mask = np.ones((BATCH, FRAMES), bool)
  frame_mask[1, 2:] = False
  patch_mask = np.repeat(frame_mask[:, ::2], 8, axis=1)
  return hidden, patch_mask, frames.astype(np.float32), frame_mask


def test_what_is_told(inputs):
  """The projection on the teacher's grid, and the teacher's own map."""
  hidden, patch_mask, frames, frame_mask = inputs
  state, run = program()
  _, told = run(state, *inputs)
  part = drawn(build)

  @on_host
  def parts():
    x = jax.nn.silu(part.inner(hidden))
    x = part.outer(jax.nn.silu(part.middle(x))).reshape(BATCH, *GRID, -1)
    mask = patch_mask.reshape(BATCH, *GRID)
    pixels = (frames + 1) * 127.5
    wanted = normalize(Clip(pixels), "imagenet").frames
    maps = part.teacher.features(wanted, frame_mask)[0]
    return resize_grid(x, (FRAMES, 2, 2), mask)[0], maps[-1]

  projected, target = parts()
  assert told["projected"].shape == told["target"].shape == (BATCH, 16, 4)
  np.testing.assert_allclose(
    told["projected"], projected.reshape(BATCH, 16, 4), atol=1e-5
  )
  np.testing.assert_allclose(
    told["target"], target.reshape(BATCH, 16, 4), atol=1e-3
  )
  np.testing.assert_array_equal(told["mask"], np.repeat(frame_mask, 4, axis=1))


def test_no_gradient_reaches_the_teacher_or_the_frames(inputs):
  state, run = program()
  (by_state, by_hidden, by_frames), _ = run(state, *inputs)
  for path, x in jax.tree.leaves_with_path(by_state):
    taught = "teacher" in jax.tree_util.keystr(path)
    assert x.any() != taught, jax.tree_util.keystr(path)
  patch_mask = inputs[1]
  np.testing.assert_array_equal(by_hidden.any(-1), patch_mask)
  assert not by_frames.any()


def test_what_is_masked_is_not_read(inputs):
  hidden, patch_mask, frames, frame_mask = inputs
  state, run = program()
  want = run(state, *inputs)
  hidden = np.where(patch_mask[..., None], hidden, np.nan)
  frames = np.where(frame_mask[:, :, None, None, None], frames, np.nan)
  got = run(state, hidden, patch_mask, frames, frame_mask)
  jax.tree.map(np.testing.assert_array_equal, got, want)


def test_a_stage_is_the_teachers():
  part = nnx.eval_shape(lambda: build(stage=0))
  assert part.outer.kernel.shape == (6, 3)
  with pytest.raises(ValueError, match=r"stage must be in \[-2, 2\), got 2"):
    nnx.eval_shape(lambda: build(stage=2))
