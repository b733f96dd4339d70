"""How devices are described to their compilers."""

import pytest

from trajvit.chips import CHIPS
from trajvit.plan import devices
from trajvit.plan.target import parse_target


@pytest.fixture
def asked(monkeypatch):
  """What JAX is asked for."""
  found = []

  class Description:
    devices = ("a device",)

  def get_topology_desc(**options):
    found.append(options)
    return Description

  monkeypatch.setattr(
    devices.topologies, "get_topology_desc", get_topology_desc
  )
  return found


def test_tpus_are_described_by_their_slice(asked):
  devices.described_devices(parse_target("v5e:16x16"))
  devices.described_devices(parse_target("v5e:16x16", slices=2))
  one = dict(platform="tpu", topology_name="v5e:16x16")
  assert asked == [one, one | dict(num_slices=2)]


@pytest.mark.parametrize(
  "text, topology", [("2 x h100", "1x1x2"), ("16 x h100", "1x2x8")]
)
def test_gpus_are_described_by_what_they_can_do(asked, text, topology):
  devices.described_devices(parse_target(text))
  (options,) = asked
  assert options["topology"] == topology
  assert options["topology_name"] == "NVIDIA H100 80GB HBM3"
  config = options["target_config"]
  assert "memory_bandwidth: 3350000000000" in config
  assert "cuda_compute_capability { major: 9 minor: 0 }" in config
  assert config.count("{") == config.count("}")


def test_gpus_fill_their_hosts():
  with pytest.raises(ValueError, match="fill hosts of 8, got 12 of them"):
    devices.described_devices(parse_target("12 x h100"))


def test_every_gpu_is_described():
  gpus = {name for name in CHIPS if not CHIPS[name].is_tpu}
  assert set(devices.GPU_CORES) == gpus
