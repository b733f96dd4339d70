"""Reconstruction, perceptual and quantization losses, by their definitions."""

import jax
import numpy as np
import pytest
from tiny import on_host

from trajvit.objectives import (
  OBJECTIVES,
  build_objectives,
  perceptual,
  quantization,
  reconstruction,
)
from trajvit.ops.image_quality import gradient_difference
from trajvit.ops.perceptual import gram_distance, perceptual_distance
from trajvit.ops.ssim import ssim
from trajvit.types import Batch, Clip

CLIPS, FRAMES, PATCHES, SIDE = 3, 2, 4, 12
FRAME_MASK = np.array([[True, True], [True, False], [True, True]])
VALID = np.array([True, True, False])
REAL = FRAME_MASK & VALID[:, None]
WEIGHTS = dict(l1=0.5, l2=2.0, ssim=0.25, gradient=3.0)


def make_batch(frame_mask=FRAME_MASK, valid=VALID):
  pixels = np.zeros((CLIPS, FRAMES, 1, 1, 3), np.uint8)
  return Batch(Clip(pixels, frame_mask), valid=valid)


@pytest.fixture
def decoded(rng):
  shape = 2, CLIPS, PATCHES, 5
  predicted, target = rng.normal(size=shape).astype(np.float32)
  mask = rng.random(shape[1:3]) < 0.7
  return {"predicted": predicted, "target": target, "mask": mask}


@pytest.fixture
def frames(rng):
  shape = 2, CLIPS, FRAMES, SIDE, SIDE, 3
  return rng.uniform(-1, 1, shape).astype(np.float32)


@pytest.fixture
def features(rng):
  """Predicted and target, of two layers."""
  shapes = [(CLIPS, FRAMES, 4, 4, 3), (CLIPS, FRAMES, 2, 2, 5)]
  return [[rng.normal(size=s).astype("f") for s in shapes] for _ in range(2)]


@on_host
def run(decoded, frames, batch):
  """(loss, metrics), and the gradients by what is decoded and the frames."""

  def loss(decoded, frames):
    outputs = {
      "aux": {"decoder": decoded},
      "frames": frames[0],
      "target_frames": frames[1],
    }
    return reconstruction(outputs, batch, **WEIGHTS)

  mask = decoded["mask"]
  pixels = {k: decoded[k] for k in ("predicted", "target")}
  return jax.value_and_grad(
    lambda p, f: loss(p | {"mask": mask}, f), (0, 1), has_aux=True
  )(pixels, frames)


def test_terms_are_means_over_what_is_real(decoded, frames):
  (loss, metrics), _ = run(decoded, frames, make_batch())
  real = decoded["mask"] & VALID[:, None]
  off = (decoded["predicted"] - decoded["target"])[real].astype(np.float64)
  x, y = frames
  alike = on_host(ssim)((x + 1) / 2, (y + 1) / 2)
  slopes = on_host(gradient_difference)(x, y)
  expected = {
    "l1": np.abs(off).mean(),
    "l2": np.square(off).mean(),
    "ssim": alike[REAL].mean(),
    "gradient": slopes[REAL].mean(),
  }
  assert metrics.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
  terms = expected | {"ssim": 1 - expected["ssim"]}
  total = sum(WEIGHTS[name] * value for name, value in terms.items())
  np.testing.assert_allclose(loss, total, rtol=1e-4)


def test_what_is_not_real_changes_nothing(decoded, frames):
  before, slopes = run(decoded, frames, make_batch())
  real = decoded["mask"] & VALID[:, None]
  for name in ("predicted", "target"):
    decoded[name][~real] = np.nan
  frames[:, ~REAL] = np.nan
  after, same = run(decoded, frames, make_batch())
  jax.tree.map(np.testing.assert_array_equal, (after, same), (before, slopes))
  by_pixels, by_frames = same
  assert not by_pixels["predicted"][~real].any()
  assert by_pixels["predicted"][real].all()
  assert not by_frames[:, ~REAL].any() and by_frames[0, REAL].any()


def test_nothing_real_is_no_loss(decoded, frames):
  batch = make_batch(valid=np.zeros(CLIPS, bool))
  (loss, _), grads = run(decoded, frames, batch)
  assert loss == 0 and not any(g.any() for g in jax.tree.leaves(grads))


def test_equal_pixels_have_no_loss(decoded, frames):
  decoded["predicted"], frames[0] = decoded["target"], frames[1]
  (loss, metrics), _ = run(decoded, frames, make_batch())
  np.testing.assert_allclose(loss, 0, atol=1e-6)
  np.testing.assert_allclose(metrics["ssim"], 1, rtol=1e-6)


def test_pixels_alone_need_no_frames(decoded):
  """The default is the mean squared error of what every decoder gives."""
  batch = Batch(Clip(np.zeros((CLIPS, FRAMES, 1, 1, 3), np.uint8)))
  objectives = build_objectives({"reconstruction": {"weight": 0.5}})
  del decoded["mask"]
  loss, metrics = on_host(objectives)({"aux": {"decoder": decoded}}, batch)
  off = decoded["predicted"] - decoded["target"]
  np.testing.assert_allclose(loss, np.square(off).mean() / 2, rtol=1e-5)
  names = {f"reconstruction/{n}" for n in ("loss", "l1", "l2")}
  assert metrics.keys() == names


def test_ssim_is_of_the_pixels_that_were_normalised(decoded, frames):
  """The same frames, normalised by another mean, are as alike."""
  mean = np.float32([0.485, 0.456, 0.406])
  deviation = np.float32([0.229, 0.224, 0.225])
  other = ((frames + 1) / 2 - mean) / deviation

  def measure(frames, name):
    outputs = {
      "aux": {"decoder": decoded},
      "frames": frames[0],
      "target_frames": frames[1],
    }
    options = dict(ssim=1.0, normalization=name)
    return reconstruction(outputs, make_batch(), **options)[1]["ssim"]

  both = on_host(lambda x, y: (measure(x, "symmetric"), measure(y, "imagenet")))
  symmetric, imagenet = both(frames, other)
  np.testing.assert_allclose(symmetric, imagenet, rtol=1e-4)


def test_what_reconstruction_lacks_is_named(decoded):
  batch, outputs = make_batch(), {"aux": {"decoder": decoded}}
  with pytest.raises(ValueError, match="predicted and target .* has nothing"):
    reconstruction({"aux": {}}, batch)
  with pytest.raises(ValueError, match="aux.decoder, which has predicted"):
    reconstruction({"aux": {"decoder": {"predicted": 0}}}, batch)
  for name in ("ssim", "gradient"):
    with pytest.raises(ValueError, match="need whole frames: outputs.frames"):
      jax.eval_shape(
        lambda x, n=name: reconstruction(x, batch, **{n: 1.0}), outputs
      )
  with pytest.raises(ValueError, match="one of them positive, got .*'l2': 0"):
    reconstruction(outputs, batch, l2=0)
  with pytest.raises(ValueError, match="at least 0.*'l1': -1"):
    reconstruction(outputs, batch, l1=-1)
  with pytest.raises(ValueError, match=r"one shape, got \(3, 4, 5\) and"):
    short = decoded | {"target": decoded["target"][:, :3]}
    reconstruction({"aux": {"decoder": short}}, batch)


@on_host
def compare(predicted, target, weights):
  def loss(predicted, target):
    found = {"predicted": predicted, "target": target, "weights": weights}
    outputs = {"aux": {"perceptual": found}}
    return perceptual(outputs, make_batch(), features=2.0, gram=3.0)

  return jax.value_and_grad(loss, (0, 1), has_aux=True)(predicted, target)


def test_features_are_compared_frame_by_frame(features, rng):
  x, y = features
  weights = [rng.random(3).astype("f"), rng.random(5).astype("f")]
  (loss, metrics), (by_x, by_y) = compare(x, y, weights)
  off, gram = on_host(
    lambda: (perceptual_distance(x, y, weights=weights), gram_distance(x, y))
  )()
  expected = {"features": off[REAL].mean(), "gram": gram[REAL].mean()}
  assert metrics.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-5)
  total = 2 * expected["features"] + 3 * expected["gram"]
  np.testing.assert_allclose(loss, total, rtol=1e-5)
  # The target is a constant, and masked frames are nobody's.
  assert not any(g.any() for g in by_y)
  for g in by_x:
    assert g[REAL].any() and not g[~REAL].any()


def test_perceptual_leaves_out_what_has_no_weight(features):
  x, y = features
  outputs = {"aux": {"perceptual": {"predicted": x, "target": y}}}
  batch = Batch(Clip(np.zeros((CLIPS, FRAMES, 1, 1, 3), np.uint8)))
  loss, metrics = on_host(lambda o: perceptual(o, batch))(outputs)
  assert metrics.keys() == {"features"} and loss == metrics["features"]
  with pytest.raises(ValueError, match="predicted and target .* has nothing"):
    perceptual({"aux": {}}, batch)
  with pytest.raises(ValueError, match="one of them positive, got 0 and 0"):
    perceptual(outputs, batch, features=0)


def test_losses_of_the_quantizer_are_summed_and_named():
  objectives = build_objectives({"quantization": {"weight": 2.0}})
  losses = {"commit": np.float32(3), "entropy": np.float32(-1)}
  loss, metrics = objectives({"aux": {"quantizer": {"losses": losses}}}, None)
  assert loss == 4 and metrics["quantization/loss"] == 2
  assert metrics["quantization/entropy"] == -1
  for aux in ({}, {"quantizer": {"ids": 3}}, {"quantizer": {"losses": {}}}):
    with pytest.raises(ValueError, match="a quantizer with losses, got none"):
      quantization({"aux": aux}, None)


def test_configs_can_name_them():
  assert OBJECTIVES["reconstruction"] is reconstruction
  assert OBJECTIVES["perceptual"] is perceptual
  with pytest.raises(ValueError, match="reads no 'l3'"):
    build_objectives({"reconstruction": {"l3": 1.0}})
