"""The network of features: what a map belongs to, and what is hashed."""

import copy
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import CLIP_SHAPE, drawn, make_batch, on_host

from trajvit.models import build_model
from trajvit.models.feature_net import FeatureNet, Stage, weight_hash
from trajvit.objectives import build_objectives
from trajvit.training.functional import functional

SPEC = dict(name="feature_net", num_classes=3, widths=(4, 6))
SHAPE = (2, 4, 8, 8, 3)


def build(**spec):
  return build_model(SPEC | spec, seed=0, clip_shape=CLIP_SHAPE)


@pytest.fixture(scope="module")
def net():
  return drawn(build)


@pytest.fixture(scope="module")
def measure(net):
  """frames, mask -> maps, pooled features, and a gradient by the frames."""

  def run(frames, mask):
    def total(frames):
      maps, pooled = net.features(frames, mask)
      return sum(jnp.square(m).sum() for m in (*maps, pooled)), (maps, pooled)

    (_, found), grads = jax.value_and_grad(total, has_aux=True)(frames)
    return *found, grads

  return on_host(run)


@pytest.fixture
def frames(rng):
  return rng.normal(size=SHAPE).astype(np.float32)


ALL = np.ones(SHAPE[:2], bool)


def test_every_stage_keeps_the_frames_and_halves_the_rest(measure, frames):
  maps, pooled, _ = measure(frames, ALL)
  assert [m.shape for m in maps] == [(2, 4, 4, 4, 4), (2, 4, 2, 2, 6)]
  assert pooled.shape == (2, 6) and np.std(pooled) > 0.1


def test_masked_frames_are_as_the_end_of_the_clip(net, measure, frames):
  """Whatever fills them: values are those of a shorter clip."""
  mask = ALL.copy()
  mask[1, 2:] = False
  before = measure(frames, mask)
  frames[~mask] = np.nan
  maps, pooled, grads = measure(frames, mask)
  jax.tree.map(np.testing.assert_array_equal, (maps, pooled, grads), before)
  short, alone = on_host(net.features)(frames[1:, :2])
  np.testing.assert_allclose(pooled[1:], alone, atol=1e-5)
  for many, few in zip(maps, short, strict=True):
    np.testing.assert_allclose(many[1:, :2], few, atol=1e-5)
    assert not many[~mask].any()
  assert not grads[~mask].any()


def test_a_clip_without_a_real_frame_is_finite(measure, frames):
  mask = ALL.copy()
  mask[1] = False
  _, pooled, grads = measure(frames, mask)
  assert np.isfinite(pooled).all() and np.isfinite(grads).all()


def test_clips_know_nothing_of_each_other(measure, frames):
  maps, pooled, _ = measure(frames, ALL)
  others, swapped, _ = measure(frames[::-1], ALL)
  np.testing.assert_allclose(swapped[::-1], pooled, atol=1e-5)
  for one, other in zip(maps, others, strict=True):
    np.testing.assert_allclose(other[::-1], one, atol=1e-5)


def test_the_order_of_frames_is_seen(measure, frames):
  _, forward, _ = measure(frames, ALL)
  _, backward, _ = measure(frames[:, ::-1], ALL)
  assert (np.abs(forward - backward).max(1) > 1e-3).all()


def test_what_stays_has_no_part_in_the_convolution_along_time(frames):
  stage = drawn(lambda: Stage(3, 4, dtype=jnp.float32, rngs=nnx.Rngs(0)))
  still = np.repeat(frames[:, :1], 4, axis=1)
  still[1, 2:] = 7.0  # in masked frames
  mask = ALL.copy()
  mask[1, 2:] = False
  run = nnx.jit(lambda stage, x: stage(x, mask))
  both = [run(stage, x) for x in (still, frames)]
  stage.time.linear.kernel[...] *= -2
  for before, x, same in zip(both, (still, frames), (True, False), strict=True):
    after = run(stage, x)
    assert np.allclose(after[mask], before[mask], atol=1e-5) == same


def test_it_learns_the_direction_of_a_move():
  """Which no frame alone tells."""
  frames = np.zeros((2, 4, 8, 8, 3), np.uint8)
  for t in range(4):
    frames[0, t, 2:5, 1 + t : 4 + t] = 255
    frames[1, t, 2:5, 4 - t : 7 - t] = 255
  batch = make_batch(np.random.default_rng(0), 2)
  clip = dataclasses.replace(
    batch.clip, frames=frames, frame_mask=ALL, tracks=None
  )
  batch = dataclasses.replace(batch, clip=clip, label=np.int32([0, 2]))
  init, apply = functional(lambda: build(widths=(8,)))
  objective = build_objectives({"classification": {}})

  @jax.jit
  def step(params):
    def loss(params):
      return objective(
        apply({"params": params, "batch_stats": {}}, batch), batch
      )

    (value, metrics), grads = jax.value_and_grad(loss, has_aux=True)(params)
    moved = jax.tree.map(lambda x, g: x - 5e-3 * jnp.sign(g), params, grads)
    return moved, value, metrics["classification/accuracy"]

  params = init()["params"]
  losses = []
  for _ in range(40):
    params, loss, accuracy = step(params)
    losses.append(float(loss))
  assert losses[0] > 0.9 and losses[-1] < 0.6 and accuracy == 1


def test_outputs_of_a_model(nnx_mode, batch):
  init, apply = functional(build)
  outputs = jax.eval_shape(apply, jax.eval_shape(init), batch)
  assert outputs["logits"].shape == (3, 3)
  assert outputs["video_embedding"].shape == (3, 6)
  assert outputs["tokens"].features.shape == (3, 4, 6)
  assert outputs["tokens"].mask.shape == (3, 4)


@pytest.fixture
def params(rng):
  shapes = {"kernel": (2, 3), "bias": (3,)}
  leaves = {k: rng.normal(size=s).astype("f") for k, s in shapes.items()}
  return {"stages": {0: leaves, 10: dict(leaves)}, "norm": leaves["bias"]}


def test_the_hash_is_of_names_and_values(params):
  digest = weight_hash(params)
  assert len(digest) == 64 and int(digest, 16)
  swapped = dict(reversed(params.items()))
  assert weight_hash(swapped) == digest
  assert weight_hash(jax.tree.map(jnp.asarray, params)) == digest

  changed = [copy.deepcopy(params) for _ in range(4)]
  kernel = changed[0]["stages"][0]["kernel"]
  kernel[0, 0] = np.nextafter(kernel[0, 0], np.float32(9))
  changed[1]["stages"][0]["kernel"] = changed[1]["stages"][0]["kernel"].T
  changed[2]["other"] = changed[2].pop("norm")
  changed[3]["norm"] = changed[3]["norm"].view(np.int32)
  digests = {digest, *map(weight_hash, changed)}
  assert len(digests) == 5


def test_the_hash_is_fixed():
  """As it stands in evaluations that have been written."""
  expected = "fa75e8932a813a72c34bae1c533f4fec5dba5a0162233ec143c129a753527814"
  assert weight_hash({"a": {"b": np.arange(3, dtype=np.float32)}}) == expected


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (dict(slots=3), "model 'feature_net' reads no 'slots'"),
    (dict(num_classes=0), "num_classes must be at least 1 .* got 0"),
    (dict(widths=()), "widths have a stage"),
    (dict(normalization="none"), "must be one of symmetric, imagenet"),
  ],
)
def test_what_a_config_gets_wrong_is_named(options, message):
  with pytest.raises(ValueError, match=message):
    build(**options)


def test_frames_that_cannot_be_halved_are_refused(frames):
  net = nnx.eval_shape(
    lambda: FeatureNet(num_classes=2, widths=(4, 6), rngs=nnx.Rngs(params=0))
  )
  with pytest.raises(ValueError, match="multiples of 4, got 8 x 6"):
    net.features(frames[..., :6, :])
