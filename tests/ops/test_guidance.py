"""Guidance: its identities, and a loop in float64."""

import numpy as np
import pytest

from trajvit.ops.guidance import adaptive_projected, classifier_free

SHAPE = (2, 2, 4, 4, 3)


@pytest.fixture
def pair(rng):
  return rng.normal(size=(2, *SHAPE)).astype(np.float32)


def test_scale_one_is_the_condition_alone(pair):
  start = np.zeros(SHAPE, np.float32)
  got, _ = adaptive_projected(*pair, 1.0, start)
  np.testing.assert_allclose(got, pair[0], atol=1e-6)
  np.testing.assert_allclose(classifier_free(*pair, 1.0), pair[0], atol=1e-6)


def test_without_its_parts_it_is_classifier_free(pair):
  start = np.zeros(SHAPE, np.float32)
  got, _ = adaptive_projected(
    *pair, 4.0, start, momentum=0.0, radius=0.0, parallel=1.0
  )
  want = pair[1] + 4 * (pair[0] - pair[1])
  np.testing.assert_allclose(got, want, atol=1e-5)
  np.testing.assert_allclose(classifier_free(*pair, 4.0), want, atol=1e-5)


def slow(conditional, unconditional, scale, average, options, rows):
  """One clip, in float64; each of `rows` has norms of its own."""
  average = conditional - unconditional + options["momentum"] * average
  out = np.empty_like(conditional)
  for row in rows:
    d, v = average[row], conditional[row]
    length = np.linalg.norm(d)
    if options["radius"] > 0:
      d = d * min(1, options["radius"] / length)
    along = (d * v).sum() / (v * v).sum() * v
    out[row] = v + (scale - 1) * (d - along + options["parallel"] * along)
  return out, average


@pytest.mark.parametrize("by_channel", [False, True])
def test_equals_a_loop_over_three_steps(rng, by_channel):
  options = dict(momentum=-0.5, radius=2.5, parallel=0.3)
  axes = (1, 2, 3) if by_channel else None
  rows = [(..., c) for c in range(3)] if by_channel else [...]
  average = np.zeros(SHAPE, np.float32)
  exact = np.zeros(SHAPE)
  for _ in range(3):
    pair = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    got, average = adaptive_projected(*pair, 7.5, average, axes=axes, **options)
    for i in range(SHAPE[0]):
      want, exact[i] = slow(
        *pair[:, i].astype(np.float64), 7.5, exact[i], options, rows
      )
      np.testing.assert_allclose(got[i], want, atol=1e-4)


def test_what_is_added_is_short_and_across(pair):
  start = np.zeros(SHAPE, np.float32)
  got, _ = adaptive_projected(*pair, 3.0, start, radius=0.5)
  added = np.asarray(got - pair[0]).reshape(2, -1)
  lengths = np.linalg.norm(added, axis=-1)
  assert (lengths <= 2 * 0.5 + 1e-5).all() and (lengths > 0.5).all()
  across = (added * pair[0].reshape(2, -1)).sum(-1)
  np.testing.assert_allclose(across, 0, atol=1e-4)


def test_a_velocity_of_zero_is_finite(pair):
  start = zero = np.zeros(SHAPE, np.float32)
  got, _ = adaptive_projected(zero, pair[1], 3.0, start)
  assert np.isfinite(got).all()
