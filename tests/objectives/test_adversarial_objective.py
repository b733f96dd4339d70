"""The objective of adversarial training: when it acts, and how much."""

import functools

import jax
import numpy as np
import pytest
from tiny import on_host

from trajvit.objectives import OBJECTIVES, adversarial, build_objectives
from trajvit.types import Batch, Clip

LOSSES = {"discriminator": np.float32(2), "lecam": np.float32(0.5)}
BATCH = Batch(Clip(np.zeros((2, 2, 1, 1, 3), np.uint8)))


@pytest.fixture
def outputs(rng):
  decoded = dict(
    zip(
      ("predicted", "target"),
      rng.normal(size=(2, 2, 3, 4)).astype(np.float32),
      strict=True,
    )
  )
  told = {
    "losses": LOSSES,
    "generator": np.float32(-3),
    "slope": np.float32(0.25),
    "logits": {"real": np.float32(1), "fake": np.float32(3)},
  }
  return {
    "aux": {"adversarial": told, "decoder": decoded},
    "step": np.int32(0),
  }


@functools.cache
def compiled(adaptive):
  """The objective, and its gradient by the generator's loss."""
  options = dict(generator=0.2, start=10, ramp_steps=4)
  if adaptive:
    options["adaptive"] = dict(l2=0.5)

  def run(outputs):
    def loss(generator):
      aux = outputs["aux"]
      told = aux["adversarial"] | {"generator": generator}
      changed = outputs | {"aux": aux | {"adversarial": told}}
      return adversarial(changed, BATCH, **options)

    value = outputs["aux"]["adversarial"]["generator"]
    return jax.value_and_grad(loss, has_aux=True)(value)

  return on_host(run)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize(
  ("step", "learns", "share"),
  [(0, 0, 0), (9, 0, 0), (10, 1, 0), (11, 1, 0.25), (14, 1, 1), (99, 1, 1)],
)
def test_it_starts_and_grows(outputs, adaptive, step, learns, share):
  outputs["step"] = np.int32(step)
  (loss, metrics), slope = compiled(adaptive)(outputs)
  weight = 0.2 * share
  if adaptive:
    decoded = outputs["aux"]["decoder"]
    off = decoded["predicted"] - decoded["target"]
    # The gradient of 0.5 mean (x - y)^2, beside the slope that is told.
    norm = np.sqrt(np.square(off / off.size).sum())
    weight *= norm / (0.25 + 1e-4)
  np.testing.assert_allclose(metrics["weight"], weight, rtol=1e-5)
  np.testing.assert_allclose(slope, weight, rtol=1e-5)
  np.testing.assert_allclose(loss, learns * 2.5 - 3 * weight, rtol=1e-5)
  told = {"generator": -3, "real": 1, "fake": 3} | LOSSES
  assert metrics == told | {"weight": metrics["weight"]}


def test_what_it_lacks_is_named(outputs):
  with pytest.raises(ValueError, match="aux has decoder, quantizer"):
    adversarial({"aux": {"quantizer": {}, "decoder": {}}}, BATCH)
  with pytest.raises(ValueError, match="outputs.step"):
    adversarial({"aux": outputs["aux"]}, BATCH)
  with pytest.raises(ValueError, match="at least 0, got -1"):
    adversarial(outputs, BATCH, generator=-1)
  for adaptive in ({}, {"ssim": 1.0}):
    with pytest.raises(ValueError, match="weights of l1 and l2, got"):
      adversarial(outputs, BATCH, adaptive=adaptive)
  assert OBJECTIVES["adversarial"] is adversarial
  with pytest.raises(ValueError, match="reads no 'ramp'"):
    build_objectives({"adversarial": {"ramp": 3}})
