"""The benchmark of packing: full rows, and three steps that agree."""

import numpy as np
import pytest

from trajvit.bench import stopwatch
from trajvit.bench.packed_step import Steps, Trunk
from trajvit.bench.packing import fill_section, step_section
from trajvit.bench.token_counts import TRACKS
from trajvit.data.packing import suggest
from trajvit.types import PackedGroup

COUNTS = np.array([3, 4, 5, 9])
GROUP = PackedGroup(clips=4, rows=3, length=12)
TRUNK = Trunk(width=16, depth=1, heads=2, dtype="float32")


@pytest.mark.parametrize("name", TRACKS)
def test_measured_counts_fill_at_least_92_percent_of_the_slots(name):
  counts = TRACKS[name] + 1
  clips = {"sprites": 64, "videos": 256}[name]
  section = fill_section(name, counts, suggest(counts, clips=clips))
  loader, device = section.rows
  for row in loader, device:
    assert row["fill"] >= 0.92 and row["overflow"] < 3e-3
  assert loader["fill"] == pytest.approx(device["fill"])
  assert loader["overflow"] == pytest.approx(device["overflow"], abs=1e-6)


@pytest.mark.slow
def test_all_steps_do_the_same(rng):
  steps = Steps(COUNTS - 1, GROUP, TRUNK)
  inputs = steps.inputs(1)
  found = [call(*inputs)[1] for call in steps.calls.values()]
  losses = [float(metrics["train/loss"]) for metrics in found]
  np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
  packed = [m for m in found if "packing/fill_%" in m]
  assert len(packed) == 2
  assert all(m["packing/overflow_tokens"] == 0 for m in packed)
  assert 0 < steps.encoder_share < 1


def test_clips_must_fit_into_a_frame():
  with pytest.raises(ValueError, match="at most 256 tracks .* got 300"):
    Steps(np.array([300]), GROUP, TRUNK)


def test_the_section_compares_with_padding(monkeypatch):
  def alternate(calls, inputs, *, rounds):
    return dict(zip(calls, (0.6, 0.3, 0.2), strict=True)), {}

  monkeypatch.setattr(stopwatch, "alternate", alternate)
  section = step_section("toy", COUNTS, GROUP, TRUNK, rounds=1)
  padded, loader, device = section.rows
  assert padded["step"] == "padded" and padded["ms"] == 600
  assert loader["slots_saved"] == device["slots_saved"] == 4 * 9 / 36
  assert (loader["faster"], device["faster"]) == (2, pytest.approx(3))
  assert "toy" in section.text and not section.failed
