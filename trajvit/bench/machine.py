"""What ran a benchmark, and how: the first lines of every result."""

import importlib.metadata
import os
import platform
import shlex
import sys

import jax

from trajvit.training import provenance

# Named where they are installed: they hold the kernels and the compilers.
ACCELERATOR_PACKAGES = (
  "libtpu",
  "jax-cuda13-plugin",
  "jax-cuda12-plugin",
  "nvidia-cudnn-cu13",
  "nvidia-cudnn-cu12",
)


def describe() -> dict:
  """Returns what a number needs beside it: machine, versions, command, load.

  `load_average` is that of the last minute before the benchmark, per the whole
  machine: on a busy one only ratios within the run mean anything.
  """
  return {
    "command": shlex.join(["trajvit", *sys.argv[1:]]),
    "device": provenance.device(),
    "platform": jax.default_backend(),
    "system": f"{platform.system()} {platform.machine()}",
    "versions": provenance.versions() | _accelerator_versions(),
    "commit": provenance.commit(),
    "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
  }


def header(machine: dict) -> list[str]:
  """Returns `describe()` as lines of text, the command first."""
  versions = ", ".join(
    f"{name} {number}"
    for name, number in machine["versions"].items()
    if name in ("python", "jax", "jaxlib", *ACCELERATOR_PACKAGES)
  )
  load = machine["load_average"]
  return [
    machine["command"],
    f"{machine['device']}, {machine['system']}; {versions}",
    f"commit {machine['commit'] or 'unknown'}; load average "
    + ("unknown" if load is None else f"{load:.2f}"),
  ]


def _accelerator_versions():
  found = {}
  for name in ACCELERATOR_PACKAGES:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue
  return found
