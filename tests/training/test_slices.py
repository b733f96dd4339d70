"""Meshes of several slices, of devices that only say which one is theirs."""

import dataclasses

import pytest

from trajvit.training.config import MeshConfig
from trajvit.training.sharding import build_mesh


@dataclasses.dataclass(frozen=True)
class Device:
  id: int
  slice_index: int
  device_kind: str = "some chip"
  platform: str = "some platform"
  process_index: int = 0


DEVICES = [Device(id=10 * s + i, slice_index=s) for s in (0, 1) for i in (0, 1)]


def test_only_data_goes_over_slices():
  mesh = build_mesh(MeshConfig(fsdp=2), DEVICES)
  assert dict(mesh.shape) == dict(data=2, fsdp=2, tensor=1, context=1)
  for part, slice_index in zip(mesh.devices, (0, 1), strict=True):
    assert {device.slice_index for device in part.flat} == {slice_index}
  assert {device.id for device in mesh.devices.flat} == {0, 1, 10, 11}


def test_an_axis_of_parameters_over_slices_is_refused():
  with pytest.raises(ValueError, match="data must be a multiple of the 2 sl"):
    build_mesh(MeshConfig(data=1, fsdp=4), DEVICES)
