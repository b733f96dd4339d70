"""The learning rate: golden values, continuity, and what is refused."""

import numpy as np
import pytest

from trajvit.training.schedule import warmup_cosine


def test_golden_values():
  schedule = warmup_cosine(1.0, warmup_steps=100, total_steps=1000, floor=0.01)
  steps = np.array([0, 1, 50, 100, 550, 950, 999])
  expected = [0.01, 0.01, 0.5, 1, 0.5, 0.01, 0.01]
  np.testing.assert_allclose(schedule(steps), expected, atol=1e-6)


def test_equals_the_definition_at_every_step():
  warmup, total, floor = 7, 40, 0.05
  schedule = warmup_cosine(
    3.0, warmup_steps=warmup, total_steps=total, floor=floor
  )
  for s in range(total):
    if s < warmup:
      expected = max(floor, s / warmup)
    else:
      done = (s - warmup) / (total - warmup)
      expected = max(floor, 0.5 * (1 + np.cos(np.pi * done)))
    assert float(schedule(s)) == pytest.approx(3.0 * expected, rel=1e-5)


def test_no_warmup_starts_at_the_peak():
  schedule = warmup_cosine(2.0, warmup_steps=0, total_steps=10, floor=0.0)
  assert float(schedule(0)) == 2.0


def test_stays_at_the_floor_after_the_end():
  schedule = warmup_cosine(1.0, warmup_steps=2, total_steps=10, floor=0.1)
  assert float(schedule(25)) == pytest.approx(0.1)


@pytest.mark.parametrize(("warmup", "floor"), [(10, 0), (-1, 0), (2, 1.5)])
def test_refuses_what_is_out_of_range(warmup, floor):
  with pytest.raises(ValueError, match="must be in"):
    warmup_cosine(1.0, warmup_steps=warmup, total_steps=10, floor=floor)
