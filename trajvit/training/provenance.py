"""Where a number comes from: versions, commit, device; and its manifest."""

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
REPOSITORY = Path(__file__).resolve().parents[2]


def versions() -> dict[str, str]:
  """Returns the versions of Python and of the packages that numbers lean on."""
  found = {name: importlib.metadata.version(name) for name in PACKAGES}
  return {"python": platform.python_version(), **found}


def commit() -> str | None:
  """Returns the commit of this checkout, "-dirty" if files differ from it.

  None where there is no git, or where this is an installed package.
  """
  if not (REPOSITORY / ".git").exists():
    return None
  try:
    return subprocess.run(
      ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
      cwd=REPOSITORY,
      capture_output=True,
      text=True,
      check=True,
    ).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return None


def device() -> str:
  """Returns the kind and the number of devices, as "TPU v4 x 8".

  A CPU is named by its model and its cores, as far as the system tells.
  """
  kind = jax.devices()[0].device_kind
  if jax.default_backend() == "cpu":
    kind = f"{_processor()}, {os.cpu_count()} cores"
  return f"{kind} x {jax.device_count()}"


def _processor() -> str:
  """The model of the processor, which only Linux has in a file."""
  path = Path("/proc/cpuinfo")
  lines = path.read_text().splitlines() if path.exists() else []
  for line in lines:
    key, _, value = line.partition(":")
    if key.strip() == "model name":
      return value.strip()
  return platform.machine()


def write_json(path: str | Path, value: dict) -> None:
  """Writes a JSON file that is there in whole or not at all."""
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  replacement = path.with_name(path.name + ".tmp")
  replacement.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
  os.replace(replacement, path)
