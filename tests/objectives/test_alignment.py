"""Alignment: cosines, of what is real, with a teacher that is not taught."""

import jax
import numpy as np
import pytest
from tiny import on_host

from trajvit.objectives import OBJECTIVES, alignment
from trajvit.types import Batch, Clip

SHAPE = (3, 4, 5)
PIXELS = Clip(np.zeros((3, 1, 1, 1, 3), np.uint8))
VALID = np.array([True, True, False])


@on_host
def run(projected, target, mask):
  def loss(projected, target):
    found = {"projected": projected, "target": target, "mask": mask}
    return OBJECTIVES["alignment"](
      {"aux": {"alignment": found}}, Batch(PIXELS, valid=VALID)
    )

  return jax.value_and_grad(loss, (0, 1), has_aux=True)(projected, target)


@pytest.fixture
def pair(rng):
  return rng.normal(size=(2, *SHAPE)).astype(np.float32)


def test_equals_a_loop(pair, rng):
  x, y = pair
  mask = rng.random(SHAPE[:2]) < 0.7
  (loss, metrics), (by_x, by_y) = run(x, y, mask)
  real = mask & VALID[:, None]
  cosines = [
    x[at] @ y[at] / np.linalg.norm(x[at]) / np.linalg.norm(y[at])
    for at in zip(*np.nonzero(real), strict=True)
  ]
  np.testing.assert_allclose(loss, -np.mean(cosines), rtol=1e-5)
  assert metrics == {"cosine": -loss}
  # A longer vector is no better, so that no gradient is along it.
  np.testing.assert_allclose((by_x * x).sum(-1), 0, atol=1e-6)
  assert by_x[real].all() and not by_x[~real].any() and not by_y.any()

  x[~real], y[~real] = np.nan, np.nan
  after, same = run(x, y, mask)
  np.testing.assert_array_equal(after[0], loss)
  np.testing.assert_array_equal(same[0], by_x)


def test_of_the_same_direction_and_the_opposite(pair):
  x, _ = pair
  mask = np.ones(SHAPE[:2], bool)
  for factor in (3.0, -0.5):
    (loss, _), _ = run(x, np.float32(factor) * x, mask)
    np.testing.assert_allclose(loss, -np.sign(factor), rtol=1e-5)


@pytest.mark.parametrize(
  ("schedule", "weights"),
  [("linear", [1, 0.75, 0.25]), ("cosine", [1, 0.8535534, 0.1464466])],
)
def test_a_schedule_asks_less_of_a_longer_prefix(pair, schedule, weights):
  """Of 4 tokens 1, 2 and 4 are kept."""
  x, y = pair
  kept = np.arange(4) < [[1], [2], [4]]
  found = {"projected": x, "target": y, "kept": kept}
  outputs = {"aux": {"alignment": found}}
  run = on_host(lambda: alignment(outputs, Batch(PIXELS), schedule=schedule))
  loss, metrics = run()
  cosines = (x * y).sum(-1)
  cosines /= np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
  want = -(np.array(weights)[:, None] * cosines).mean()
  np.testing.assert_allclose(loss, want, rtol=1e-4)
  np.testing.assert_allclose(metrics["cosine"], cosines.mean(), rtol=1e-4)


def test_without_masks_all_count(pair):
  x, y = pair
  found = {"projected": x, "target": y}
  mean = on_host(
    lambda: alignment({"aux": {"alignment": found}}, Batch(PIXELS))
  )
  cosines = (x * y).sum(-1)
  cosines /= np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
  np.testing.assert_allclose(mean()[0], -cosines.mean(), rtol=1e-5)


def test_what_is_missing_is_named(pair):
  x, y = pair
  with pytest.raises(ValueError, match="one of const, linear, cosine, got"):
    alignment({"aux": {}}, Batch(PIXELS), schedule="step")
  with pytest.raises(ValueError, match="aux.alignment, which has nothing"):
    alignment({"aux": {}}, Batch(PIXELS))
  with pytest.raises(ValueError, match="which has projected"):
    alignment({"aux": {"alignment": {"projected": x}}}, Batch(PIXELS))
  found = {"projected": x, "target": y}
  with pytest.raises(ValueError, match="kept in .* has projected, target"):
    alignment({"aux": {"alignment": found}}, Batch(PIXELS), schedule="linear")
  found = {"projected": x, "target": y[..., :3]}
  with pytest.raises(ValueError, match=r"one shape, got .* \(3, 4, 3\)"):
    alignment({"aux": {"alignment": found}}, Batch(PIXELS))
