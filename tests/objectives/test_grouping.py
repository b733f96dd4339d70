"""Slots learn to follow tracks, whichever slot follows which."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from trajvit.objectives import (
  OBJECTIVES,
  build_objectives,
  grouping,
  segmentation_losses,
)
from trajvit.types import Batch, Clip

CLIPS, FRAMES, SIDE, SLOTS = 3, 2, 4, 5
SHAPE = CLIPS, FRAMES, SIDE, SIDE


def outputs(logits, **more):
  return {"aux": {"tokenizer": {"logits": logits, **more}}}


def make_batch(tracks, frame_mask=None, valid=None):
  """Every batch has all masks, so that one compiled program serves them all."""
  clips, frames = tracks.shape[:2]
  mask = np.ones((clips, frames), bool) if frame_mask is None else frame_mask
  valid = np.ones(clips, bool) if valid is None else valid
  pixels = np.zeros((clips, frames, 1, 1, 3), np.uint8)
  return Batch(Clip(pixels, mask, tracks=tracks.astype(np.int32)), valid=valid)


def value_and_grad(logits, batch, **options):
  def loss(logits):
    return grouping(outputs(logits), batch, **options)

  return jax.value_and_grad(loss, has_aux=True)(logits)


compiled = jax.jit(
  value_and_grad,
  static_argnames=["merge_samples", "count_unlabelled", "soft_matching"],
)


def run(logits, batch, **options):
  """((loss, metrics), gradient), by one program for all weights."""
  weights = dict(dice=1.0, focal=0.5, cross_entropy=0.0)
  return compiled(logits, batch, **(weights | options))


@pytest.fixture
def logits(rng):
  return 2 * rng.normal(size=(*SHAPE, SLOTS)).astype(np.float32)


@pytest.fixture
def tracks(rng):
  """More tracks than slots in clip 0, a fifth ignored, none in clip 1."""
  tracks = rng.integers(0, 12, SHAPE)
  tracks[2] %= 3
  tracks[rng.random(SHAPE) < 0.2] = -1
  tracks[1] = -1
  return tracks


def definition(
  logits,
  tracks,
  merge_samples=False,
  count_unlabelled=False,
  soft_matching=False,
):
  """The losses and metrics by loops over pixels, in float64."""
  share = np.exp(logits.astype(np.float64))
  share /= share.sum(-1, keepdims=True)
  number, focal, entropy, ious = [], [], [], []
  pairs = {}  # (clip, label) -> [(p of the slot, is the label's)]
  for b in range(len(logits)):
    number.append({})
    for track in tracks[b].ravel():
      if track >= 0:
        number[b].setdefault(track, len(number[b]))
    place = {k: v for k, v in number[b].items() if v < SLOTS}
    label = np.array([place.get(k, -1) for k in tracks[b].ravel()])
    p = share[b].reshape(-1, SLOTS)
    guess = p if soft_matching else np.eye(SLOTS)[p.argmax(-1)]
    iou = np.zeros((SLOTS, SLOTS))
    for g, k in np.ndindex(iou.shape):
      there = guess[:, k] * (count_unlabelled | (label >= 0))
      overlap = there[label == g].sum()
      union = (label == g).sum() + there.sum() - overlap
      iou[g, k] = overlap / max(union, 1e-6)
    slot = linear_sum_assignment(-iou)[1]
    ious += [iou[g, slot[g]] for g in place.values()]
    for own, row in zip(label, p, strict=True):
      if own < 0:
        continue
      entropy.append(-np.log(row[slot[own]]))
      focal.append((1 - row[slot[own]]) ** 2 * entropy[-1])
      for g in range(SLOTS):
        key = (0 if merge_samples else b), g
        pairs.setdefault(key, []).append((row[slot[g]], g == own))
  scores = {}
  for (b, _), both in pairs.items():
    p, y = np.array(both).T
    if y.any():
      dice = (2 * (p * y).sum() + 1e-6) / (p.sum() + y.sum() + 1e-6)
      scores.setdefault(b, []).append(dice)
  return {
    "dice": np.mean([1 - np.mean(s) for s in scores.values()]),
    "focal": np.mean(focal),
    "cross_entropy": np.mean(entropy),
    "matched_iou": np.mean(ious),
    "labels": np.mean([len(n) for n in number]),
    "labels_dropped": np.mean([max(len(n) - SLOTS, 0) for n in number]),
  }


def test_five_pixels():
  rows = [[2, 0, 0], [0, 0, 2], [0, 0, 2], [0, 1, 0], [2, 0, 0]]
  logits = np.array(rows, np.float32).reshape(1, 1, 1, 5, 3)
  batch = make_batch(np.array([0, 1, 1, -1, 0]).reshape(1, 1, 1, 5))
  (loss, metrics), _ = run(logits, batch, cross_entropy=2.0)
  np.testing.assert_allclose(metrics["dice"], 0.168747, atol=1e-6)
  np.testing.assert_allclose(metrics["focal"], 0.010869, atol=1e-6)
  np.testing.assert_allclose(metrics["cross_entropy"], 0.239545, atol=1e-6)
  expected = 0.168747 + 0.5 * 0.010869 + 2 * 0.239545
  np.testing.assert_allclose(loss, expected, atol=1e-5)


RELEASED = dict(merge_samples=True, count_unlabelled=True)
KINDS = {"ours": {}, "released": RELEASED, "soft": dict(soft_matching=True)}


@pytest.mark.parametrize("kind", KINDS)
def test_equals_loops(logits, tracks, kind):
  options = KINDS[kind]
  batch = make_batch(tracks)
  (loss, metrics), grads = run(logits, batch, **options)
  expected = definition(logits, tracks, **options)
  assert metrics.keys() == expected.keys() and expected["labels_dropped"] > 0
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)

  def total(logits):
    of = definition(logits, tracks, **options)
    return of["dice"] + 0.5 * of["focal"]

  np.testing.assert_allclose(loss, total(logits), rtol=1e-5)
  step = 1e-5 * np.random.default_rng(5).normal(size=logits.shape)
  wide = logits.astype(np.float64)
  slope = (total(wide + step) - total(wide - step)) / 2
  np.testing.assert_allclose((grads * step).sum(), slope, rtol=1e-3)


def test_a_slot_that_owns_no_pixel_is_matched_by_its_share():
  """The second object is small, and slot 2 the one that is nearest to it."""
  tracks = np.zeros((1, 1, 4, 4), np.int32)
  tracks[..., 3, 3] = 1
  logits = np.zeros((1, 1, 4, 4, SLOTS), np.float32)
  logits[..., 0] = 3
  logits[..., 3, 3, 2] = 2.9
  _, grads = run(logits, make_batch(tracks), soft_matching=True)
  assert grads[0, 0, 3, 3].argmin() == 2 and grads[0, 0, 3, 3, 2] < 0


def test_the_order_of_the_slots_does_not_matter(logits, tracks, rng):
  order = rng.permutation(SLOTS)
  batch = make_batch(tracks)
  (loss, metrics), grads = run(logits, batch)
  (same, others), permuted = run(logits[..., order], batch)
  np.testing.assert_allclose(same, loss, rtol=1e-5)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), others, metrics
  )
  np.testing.assert_allclose(permuted, grads[..., order], atol=1e-6)


def test_nor_do_the_names_of_the_tracks(logits, tracks):
  tracks[0] = np.where(tracks[0] > 4, -1, tracks[0])
  renamed = np.where(tracks < 0, -3, 1000 - 7 * tracks)
  loss = run(logits, make_batch(tracks))[0][0]
  assert run(logits, make_batch(renamed))[0][0] == loss


def test_what_is_ignored_changes_nothing(logits, tracks):
  tracks[0][tracks[0] > 4] = -1
  batch = make_batch(tracks)
  ignored = tracks < 0
  spoiled = logits.copy()
  spoiled[ignored] = np.nan
  before, grads = run(logits, batch)
  after, same = run(spoiled, batch)
  jax.tree.map(np.testing.assert_array_equal, after, before)
  np.testing.assert_array_equal(same, grads)
  assert (grads[ignored] == 0).all() and (grads[~ignored] != 0).any(-1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(logits, tracks, kind):
  # A frame of clip 2 that is not real, and a clip 0 that is not.
  options = KINDS[kind]
  real = np.ones((CLIPS, FRAMES), bool)
  real[2, 1] = False
  valid = np.array([False, True, True])
  batch = make_batch(tracks, real, valid)
  spoiled = logits.copy()
  spoiled[0], spoiled[2, 1] = np.nan, np.nan
  (loss, metrics), grads = run(spoiled, batch, **options)
  expected = definition(logits[2:, :1], tracks[2:, :1], **options)
  expected["labels"] /= 2  # clip 1 is real, and has none
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)
  assert np.isfinite(loss) and not grads[0].any() and not grads[2, 1].any()


def test_without_a_labelled_pixel_it_is_zero(logits):
  batch = make_batch(np.full(SHAPE, -1))
  (loss, metrics), grads = run(logits, batch)
  assert loss == 0 and not grads.any()
  assert metrics["matched_iou"] == 0 and metrics["labels"] == 0


def test_chunks_change_neither_losses_nor_gradients(
  logits, tracks, monkeypatch
):
  batch = make_batch(tracks)
  before, grads = run(logits, batch)
  monkeypatch.setattr(segmentation_losses, "CHUNK", 9)  # two rows of eight
  after, same = jax.jit(lambda x: value_and_grad(x, batch))(logits)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), after, before
  )
  np.testing.assert_allclose(same, grads, atol=1e-7)


def test_only_the_gradient_is_as_large_as_the_logits():
  shape = 1, 16, 64, 64
  batch = jax.eval_shape(lambda: make_batch(np.zeros(shape)))
  logits = jax.ShapeDtypeStruct((*shape, 64), jnp.float32)
  memory = jax.jit(value_and_grad).lower(logits, batch).compile()
  memory = memory.memory_analysis()
  assert memory.output_size_in_bytes >= logits.size * 4
  assert memory.temp_size_in_bytes < logits.size * 4 / 3


def test_both_resolutions_are_matched_and_added(logits, rng):
  fine = rng.integers(-1, 3, (CLIPS, FRAMES, 2 * SIDE, 2 * SIDE))
  high = rng.normal(size=(*fine.shape, SLOTS)).astype(np.float32)
  corners = make_batch(fine[:, :, ::2, ::2])
  weights = dict(dice=2.0, focal=1.0)
  (low_loss, low), _ = run(logits, corners, **weights)
  (high_loss, expected), _ = run(high, make_batch(fine), **weights)

  @jax.jit
  def both(logits, high, batch):
    of = outputs(logits, high_logits=high)
    return grouping(of, batch, high_resolution=0.3, **weights)

  loss, metrics = both(logits, high, make_batch(fine))
  np.testing.assert_allclose(loss, low_loss + 0.3 * high_loss, rtol=1e-5)
  expected = low | {f"high_{k}": v for k, v in expected.items()}
  assert metrics.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)


def test_descent_finds_the_tracks(logits, tracks):
  tracks[0] = np.where(tracks[0] > 4, -1, tracks[0])
  batch = make_batch(tracks)
  ious = []
  for _ in range(60):
    (_, metrics), grads = run(logits, batch)
    logits = logits - 20 * grads
    ious.append(float(metrics["matched_iou"]))
  assert ious[0] < 0.6 and ious[-1] == 1


def test_a_config_names_and_weighs_it(logits, tracks):
  assert OBJECTIVES["grouping"] is grouping
  spec = dict(grouping=dict(weight=0.5, dice=2.0, focal=0.0))
  objectives = jax.jit(build_objectives(spec))
  loss, metrics = objectives(outputs(logits), make_batch(tracks))
  np.testing.assert_allclose(loss, metrics["grouping/dice"], rtol=1e-6)


def test_what_is_missing_or_of_another_shape_is_named(logits, tracks):
  batch = make_batch(tracks)
  with pytest.raises(ValueError, match="needs the logits .* has nothing"):
    grouping({"aux": {"encoder": {}}}, batch)
  with pytest.raises(ValueError, match="needs the high_logits .* has logits"):
    jax.eval_shape(
      lambda x: grouping(outputs(x), batch, high_resolution=1.0), logits
    )
  bare = dataclasses.replace(batch.clip, tracks=None)
  with pytest.raises(ValueError, match=r"logits of \(3, 2, 4, 4\), got None"):
    grouping(outputs(logits), dataclasses.replace(batch, clip=bare))
  with pytest.raises(ValueError, match=r"\(3, 2, h, w\), got \(3, 1, 4, 4\)"):
    grouping(outputs(logits), make_batch(tracks[:, :1]))
  with pytest.raises(ValueError, match="4 x 2 cells"):
    grouping(outputs(logits), make_batch(tracks[..., :2]))
