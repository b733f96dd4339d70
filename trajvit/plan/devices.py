"""Devices that are described to a compiler instead of being there."""

import dataclasses
import importlib.metadata
from collections.abc import Sequence

from jax.experimental import topologies

from trajvit.bench import topology
from trajvit.chips import Chip
from trajvit.plan.target import Target

# The plugin of CUDA looks for the libraries that programs run with, and needs
# none of them to compile: with this it only warns of what is missing.
ENVIRONMENT = {"JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1"} | topology.ENVIRONMENT
GPUS_OF_A_HOST = 8
CUDA_PLUGINS = ("jax-cuda13-plugin", "jax-cuda12-plugin")


@dataclasses.dataclass(frozen=True)
class GpuCores:
  """What XLA asks of a GPU besides memory; NVIDIA's architecture papers.

  Attributes:
    capability: compute capability.
    cores: streaming multiprocessors.
    clock_ghz: of a boosted core.
    l2_mib: of all cores together.
    shared_kib: shared memory of a core.
  """

  capability: tuple[int, int]
  cores: int
  clock_ghz: float
  l2_mib: int
  shared_kib: int


GPU_CORES = {
  "a100-40": GpuCores((8, 0), 108, 1.41, 40, 164),
  "a100-80": GpuCores((8, 0), 108, 1.41, 40, 164),
  "h100": GpuCores((9, 0), 132, 1.98, 50, 228),
  "h200": GpuCores((9, 0), 132, 1.98, 50, 228),
  "b200": GpuCores((10, 0), 148, 1.965, 126, 228),
}


def missing(target: Target) -> str | None:
  """Returns what must be installed to compile for a target, or None."""
  if target.chip.is_tpu:
    return topology.libtpu_reason()
  for name in CUDA_PLUGINS:
    try:
      importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue
    return None
  return (
    "the CUDA plugin, which holds the compiler for GPUs, is not installed: "
    "pip install jax-cuda13-plugin jax-cuda13-pjrt of the version of jax"
  )


def described_devices(target: Target) -> Sequence:
  """Returns the devices of a target; nothing can run on them.

  To be called in a process with ENVIRONMENT.
  """
  if target.chip.is_tpu:
    several = {"num_slices": target.slices} if target.slices > 1 else {}
    return topologies.get_topology_desc(
      platform="tpu", topology_name=target.topology, **several
    ).devices
  count = target.num_devices
  on_host = min(count, GPUS_OF_A_HOST)
  if count % on_host:
    raise ValueError(
      f"GPUs must fill hosts of {GPUS_OF_A_HOST}, got {count} of them"
    )
  return topologies.get_topology_desc(
    platform="cuda",
    topology_name=target.chip.device_kind,
    target_config=_target_config(target.chip, GPU_CORES[target.name]),
    topology=f"1x{count // on_host}x{on_host}",
  ).devices


def _target_config(chip: Chip, cores: GpuCores) -> str:
  """XLA's description of a GPU, as the text of its protocol buffer."""
  major, minor = cores.capability
  limits = dict(
    threads_per_block_limit=1024,
    threads_per_warp=32,
    shared_memory_per_block=48 * 1024,
    shared_memory_per_core=cores.shared_kib * 1024,
    shared_memory_per_block_optin=(cores.shared_kib - 1) * 1024,
    threads_per_core_limit=2048,
    core_count=cores.cores,
    fpus_per_core=64 if major == 8 else 128,
    block_dim_limit_x=2**31 - 1,
    block_dim_limit_y=2**16 - 1,
    block_dim_limit_z=2**16 - 1,
    memory_bandwidth=int(chip.hbm_bandwidth),
    l2_cache_size=cores.l2_mib * 2**20,
    clock_rate_ghz=cores.clock_ghz,
    device_memory_size=int(chip.hbm_gib * 2**30),
    registers_per_core_limit=2**16,
    registers_per_block_limit=2**16,
  )
  fields = " ".join(f"{name}: {value}" for name, value in limits.items())
  capability = f"cuda_compute_capability {{ major: {major} minor: {minor} }}"
  return (
    f"gpu_device_info {{ {fields} {capability} }}\n"
    'platform_name: "CUDA"\n'
    "dnn_version_info { major: 9 minor: 10 }\n"
    f'device_description_str: "{chip.device_kind}"\n'
  )
