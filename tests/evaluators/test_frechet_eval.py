"""Fréchet and perceptual distances, against computing them directly."""

import functools
import types

import jax.numpy as jnp
import numpy as np
import pytest
from fake_loader import FakeLoader

from trajvit.evaluators import EVALUATORS
from trajvit.ops.frechet import (
  FeatureSums,
  frechet_distance,
  split_distance,
)
from trajvit.ops.perceptual import perceptual_distance

STEPS, N = 2, 4
SHAPE = (2, 8, 8, 3)
KEPT = {"": N, "@1": 1, "@3": 3}


def predict(variables, batch):
  """Frames that are off by more where fewer tokens are read."""
  frames = batch.clip.frames.astype(np.float32) / 127.5 - 1
  kept = np.full(len(frames), N) if batch.budget is None else batch.budget
  off = variables * (1 - kept[:, None, None, None, None] / N)
  return {"frames": frames + off * frames[:, :, ::-1], "target_frames": frames}


def apply(variables, pixels, mask):
  """Maps of blocks of 4 x 4 pixels, and of a clip their mean and its square.

  A feature of a clip that has no real frame is NaN: nobody may read it.
  """
  blocks = pixels.reshape(*pixels.shape[:2], 2, 4, 2, 4, 3).mean((3, 5))
  maps = jnp.concatenate([blocks, jnp.square(blocks)], -1) * variables
  pooled = jnp.where(mask[..., None], maps.mean((2, 3)), 0).sum(1)
  return [maps[..., :3], maps], pooled / mask.sum(1, keepdims=True)


NETWORK = types.SimpleNamespace(
  apply=apply, variables=2.0, weight_hash="0123456789abcdef"
)


def load_features(path):
  if path != "runs/net":
    raise FileNotFoundError(f"{path} is no run directory")
  return NETWORK


@functools.cache
def clips():
  """Twelve, one of which is missing, so that a batch is filled up."""
  rng = np.random.default_rng(0)
  made = list(rng.integers(0, 256, (12, *SHAPE), dtype=np.uint8))
  made[4] = None
  return made


def build(found=None, **options):
  spec = dict(name="frechet", features="runs/net") | options
  loader = FakeLoader(found or clips(), batch_size=4)
  return EVALUATORS.build(spec, loader=loader, load_features=load_features)


def evaluate(variables=0.25, found=None, **options):
  evaluator = build(found, **options)
  metrics = evaluator.run(predict, variables)
  assert not evaluator.loader.open
  return metrics


def by_hand(unit, kept, off):
  """Features of all made units, of all real ones, and how far maps are."""
  real = np.stack([clip for clip in clips() if clip is not None])
  frames = real.astype(np.float32) / 127.5 - 1
  made = frames + np.float32(off * (1 - kept / N)) * frames[:, :, ::-1]
  made = np.round(np.clip(made / 2 + 0.5, 0, 1) * 255) / 255
  pair = [made.astype(np.float32), real.astype(np.float32) / 255]
  if unit == "frame":
    pair = [x.reshape(-1, 1, *SHAPE[1:]) for x in pair]
  mask = np.ones(pair[0].shape[:2], bool)
  (maps, made), (true, real) = (apply(2.0, x, mask) for x in pair)
  distance = perceptual_distance(maps, true).mean()
  return np.asarray(made), np.asarray(real), float(distance)


@pytest.mark.parametrize("unit", ["clip", "frame"])
def test_it_equals_direct_computation(unit):
  metrics = evaluate(unit=unit, budgets=(1, 3))
  for at, kept in KEPT.items():
    made, real, apart = by_hand(unit, kept, 0.25)
    expected = frechet_distance(FeatureSums.of(made), FeatureSums.of(real))
    found = metrics[f"frechet{at}"]
    assert found == pytest.approx(expected.distance, rel=1e-2, abs=1e-6)
    assert metrics[f"perceptual{at}"] == pytest.approx(apart, rel=1e-3)
  # Row 4 is missing; frames of a clip are on one side of the split.
  owners = np.delete(np.arange(12), 4).repeat(len(real) // 11)
  floor = split_distance(real, groups=owners).distance
  assert metrics["real_floor"] == pytest.approx(floor, rel=1e-4)
  counts = ("n_evaluated", "n_frames", "n_missing")
  assert [metrics[name] for name in counts] == [11, 22, 1]
  assert 0 <= metrics["frechet_imaginary"] < 1e-3


def test_fewer_tokens_are_farther_and_equal_frames_are_not_apart():
  metrics = evaluate(budgets=(1, 3))
  for name in ("frechet", "perceptual"):
    assert metrics[f"{name}@1"] > 2 * metrics[f"{name}@3"] > 0
    assert metrics[name] == pytest.approx(0, abs=1e-9)
  assert metrics["real_floor"] > 1e-3


def test_less_than_half_a_level_is_not_seen():
  assert evaluate(1e-3, budgets=(1,))["perceptual@1"] == 0


def test_the_weights_are_in_the_manifest():
  assert build().manifest == {"features_sha256": NETWORK.weight_hash}


def test_what_cannot_be_is_named():
  with pytest.raises(FileNotFoundError, match="runs/other is no run directory"):
    build(features="runs/other")
  with pytest.raises(ValueError, match="of clip, frame, got 'video'"):
    build(unit="video")
  with pytest.raises(ValueError, match="at least 1, got"):
    build(budgets=(0, 1))
  with pytest.raises(ValueError, match="at least 4 clips, the loader has 3"):
    evaluate(found=clips()[:3] + [None])
  with pytest.raises(FloatingPointError, match="from all tokens are not"):
    evaluate(np.float32(np.nan))
  with pytest.raises(ValueError, match="makes no frames"):
    build().run(lambda v, b: {}, None)
