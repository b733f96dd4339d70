"""What --topology says."""

import pytest

from trajvit.plan.target import Target, parse_target


def test_slices_of_tpus():
  target = parse_target("v5e:16x16", slices=2)
  assert target == Target("v5e", (16, 16), 2)
  assert (target.num_chips, target.num_devices) == (512, 512)
  assert target.topology == "v5e:16x16" and str(target) == "2 x v5e:16x16"


def test_a_chip_may_be_two_devices():
  target = parse_target("TPU7x:2x2x1")
  assert (target.num_chips, target.num_devices) == (4, 8)


@pytest.mark.parametrize("text", ["8 x H100", "8xh100", " 8 x h100 "])
def test_gpus(text):
  target = parse_target(text)
  assert target == Target("h100", (8,)) and str(target) == "8 x h100"


@pytest.mark.parametrize(
  "text, message",
  [
    ("v5e", "must be a slice such as v5e:16x16, or GPUs"),
    ("v5e:", "must be a slice"),
    ("v9:2x2", "unknown chip 'v9'; known: .*v5e"),
    ("h100:8", "h100 must be like '8 x h100', got 'h100:8'"),
    ("8 x v5e", "v5e must be like v5e:4x4, got '8 x v5e'"),
    ("v5e:0x2", "must be like"),
  ],
)
def test_what_is_refused(text, message):
  with pytest.raises(ValueError, match=message):
    parse_target(text)


def test_slices_are_for_tpus():
  with pytest.raises(ValueError, match="slices must be at least 1, got 0"):
    parse_target("v5e:2x2", 0)
  with pytest.raises(ValueError, match="--slices is for TPUs"):
    parse_target("8 x h100", 2)
