"""The segmenter: its logits, its gradients, and what it never reads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import FILLS
from trajtok_parts import (
  BATCH,
  CELLS,
  FRAMES,
  PATCH,
  SLOTS,
  WIDTH,
  largest,
  make_frames,
  make_segmenter,
)

from trajvit.tokenizers.trajtok.place import Place
from trajvit.tokenizers.trajtok.segmenter import hard_assignment

SHAPE = (BATCH, FRAMES, CELLS * PATCH, CELLS * PATCH, 3)


@pytest.fixture(scope="module")
def segmenter():
  return make_segmenter(high_resolution=True)


@pytest.fixture(scope="module")
def segment(segmenter):
  return jax.jit(segmenter, static_argnames="train")


@pytest.fixture
def frames(rng):
  return make_frames(rng)


def test_the_scale_starts_and_ends_as_in_the_reference(segmenter):
  np.testing.assert_allclose(segmenter.scale(), 3.83321, atol=1e-5)
  graphdef, state = nnx.split(segmenter)
  state["log_scale"] = state["log_scale"].replace(jnp.array(1e3))
  assert nnx.merge(graphdef, state).scale() == 20


def test_the_scale_can_start_higher():
  scale = make_segmenter(initial_scale=10.0).scale()
  np.testing.assert_allclose(scale, 10, rtol=1e-5)
  for wrong in (1.0, 20.5):
    with pytest.raises(ValueError, match=f"in \\(1, 20\\], got {wrong}"):
      make_segmenter(initial_scale=wrong)


def test_logits_are_scaled_cosines(segmenter, segment, frames):
  found = segment(frames, train=True)
  assert found.patches.shape == (BATCH, FRAMES, CELLS, CELLS, WIDTH)
  assert found.queries.shape == (BATCH, SLOTS, WIDTH)
  images = np.asarray(found.patches).reshape(-1, CELLS, CELLS, WIDTH)
  heads = {
    "logits": (segmenter.cell_head, segmenter.slot_head),
    "high_logits": (segmenter.high_cell_head, segmenter.high_slot_head),
  }
  for name, (cell_head, slot_head) in heads.items():
    got = getattr(found, name)
    side = CELLS if name == "logits" else CELLS * PATCH
    assert got.shape == (BATCH, FRAMES, side, side, SLOTS)
    assert got.dtype == jnp.float32
    cells = np.asarray(cell_head(images)).reshape(*got.shape[:-1], -1)
    slots = np.asarray(slot_head(found.queries))
    for at in [(0, 0, 0, 0, 0), (1, 2, 3, 1, 4), (1, 1, 2, 0, SLOTS - 1)]:
      p, q = cells[at[:-1]], slots[at[0], at[-1]]
      cosine = p @ q / np.linalg.norm(p) / np.linalg.norm(q)
      np.testing.assert_allclose(got[at], 3.83321 * cosine, atol=1e-5)


def test_fine_logits_are_for_training(segment, frames):
  assert segment(frames).high_logits is None
  assert make_segmenter(detach=False).high_cell_head is None


def test_any_number_of_frames(segment, frames):
  """Padding to five frames is no more than two frames with the same weights."""
  long = np.concatenate([frames, frames[:, :2]], axis=1)
  mask = np.tile(np.arange(5) < 2, (BATCH, 1))
  two, five = segment(frames[:, :2]), segment(long, mask)
  np.testing.assert_allclose(five.queries, two.queries, atol=1e-5)
  np.testing.assert_allclose(five.logits[:, :2], two.logits, atol=1e-5)
  assert largest((five.logits[:, 2:], five.patches[:, 2:])) == [0, 0]
  assert np.abs(segment(long).queries - two.queries).max() > 1e-3


@pytest.mark.parametrize("fill", FILLS)
def test_padding_frames_change_nothing(segment, frames, fill):
  mask = np.ones((BATCH, FRAMES), bool)
  mask[0, 1:] = mask[1, 0] = False
  dirty = np.where(mask[:, :, None, None, None], frames, fill)
  clean, found = (segment(x, mask, train=True) for x in (frames, dirty))
  for a, b in zip(jax.tree.leaves(clean), jax.tree.leaves(found), strict=True):
    np.testing.assert_array_equal(a, b)


def test_permuting_latents_permutes_slots(segmenter, segment, frames):
  order = np.array([3, 0, 5, 1, 4, 2])
  graphdef, state = nnx.split(segmenter)
  moved = segmenter.latents[...][order]
  state["latents"] = state["latents"].replace(moved)
  found = jax.jit(nnx.merge(graphdef, state))(frames)
  before = segment(frames)
  np.testing.assert_allclose(found.queries, before.queries[:, order], atol=1e-5)
  np.testing.assert_allclose(found.logits, before.logits[..., order], atol=1e-5)


def test_places_know_the_share_of_the_clip_not_the_frame_rate():
  place = jax.jit(Place(8, rngs=nnx.Rngs(0)), static_argnums=0)
  few = place((4, 2, 3), None)
  assert few.shape == (1, 4, 2, 3, 8)
  many = place((12, 2, 3), None)
  np.testing.assert_allclose(many[:, 1::3], few, atol=1e-5)
  mask = jnp.array([[True] * 4 + [False] * 2, [False] + [True] * 4 + [False]])
  padded = place((6, 2, 3), mask)
  np.testing.assert_allclose(padded[0, :4], few[0], atol=1e-5)
  np.testing.assert_allclose(padded[1, 1:5], few[0], atol=1e-5)


def test_features_know_their_place_unless_told_not_to(segmenter, segment):
  """Of black frames the stem makes zeros: what is left is the place."""
  frames = np.zeros(SHAPE, np.float32)
  place = segmenter.place((FRAMES, CELLS, CELLS), None)
  got = segment(frames).patches
  np.testing.assert_allclose(
    got, np.tile(place, (BATCH, 1, 1, 1, 1)), atol=1e-5
  )
  assert np.ptp(got[0], axis=(0, 1, 2)).min() > 0
  assert make_segmenter(add_position=False).place is None


@pytest.mark.parametrize("detach", [True, False])
def test_the_stem_learns_from_the_slots_unless_detached(frames, detach):
  graphdef, state = nnx.split(make_segmenter(detach=detach))

  @jax.jit
  def grads(state):
    def loss(state):
      return jnp.square(nnx.merge(graphdef, state)(frames).queries).sum()

    return jax.grad(loss)(state)

  grads = grads(state)
  assert min(largest(grads["perceiver"])) > 0
  assert (min(largest(grads["stem"])) > 0) == (not detach)


def test_the_hard_assignment_takes_the_first_of_the_best():
  logits = jnp.zeros((1, 2, 1, 3, 4)).at[0, 0, 0, 1, 2].set(1.0)
  got = hard_assignment(logits, jnp.array([[True, False]]))
  assert got.dtype == jnp.int32
  assert got[0, :, 0].tolist() == [[0, 2, 0], [-1, -1, -1]]


def test_no_slots_are_refused():
  with pytest.raises(ValueError, match="num_slots must be at least 1, got 0"):
    make_segmenter(num_slots=0)
