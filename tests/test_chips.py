"""Facts about chips agree with each other and are found by JAX's names."""

import pytest

from trajvit.chips import CHIPS, chip_of, peak_flops

KINDS = {
  "TPU v4": "v4",
  "TPU v5 lite": "v5e",
  "TPU v5": "v5p",
  "TPU v5p": "v5p",
  "TPU v6 lite": "v6e",
  "TPU7x": "tpu7x",
  "NVIDIA A100-SXM4-40GB": "a100-40",
  "NVIDIA A100-SXM4-80GB": "a100-80",
  "NVIDIA H100 80GB HBM3": "h100",
  "NVIDIA H200": "h200",
  "NVIDIA B200": "b200",
  "cpu": None,
  "TPU v99": None,
}


@pytest.mark.parametrize(("kind", "name"), KINDS.items())
def test_a_device_kind_names_its_chip(kind, name):
  assert chip_of(kind) == name


@pytest.mark.parametrize("name", CHIPS)
def test_numbers_are_in_their_units(name):
  chip = CHIPS[name]
  assert 16 <= chip.hbm_gib <= 192
  # Between a few dozen and a few hundred operations for each byte read.
  assert 100 < chip.peak_flops / chip.hbm_bandwidth < 600
  # All of the memory is read in 10 to 50 milliseconds.
  assert 0.01 < chip.hbm_gib * 2**30 / chip.hbm_bandwidth < 0.05
  assert chip.is_tpu == (name in ("v4", "v5e", "v5p", "v6e", "tpu7x"))


def test_newer_tpus_of_a_line_are_faster():
  for older, newer in [("v4", "v5p"), ("v5p", "tpu7x"), ("v5e", "v6e")]:
    assert CHIPS[older].peak_flops < CHIPS[newer].peak_flops
    assert CHIPS[older].hbm_gib < CHIPS[newer].hbm_gib


def test_the_peak_of_several_devices():
  two_of_a_chip = ["TPU7x"] * 2
  assert peak_flops(two_of_a_chip) == CHIPS["tpu7x"].peak_flops
  assert peak_flops(["TPU v5 lite"] * 4) == 4 * CHIPS["v5e"].peak_flops
  assert peak_flops(["TPU v4", "cpu"]) == 0


def test_an_unknown_chip_lists_the_known():
  with pytest.raises(ValueError, match=r"unknown chip 'v9'.*h100.*v5e"):
    CHIPS["v9"]
