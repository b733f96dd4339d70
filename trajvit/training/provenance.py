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
  """Returns the kind and the number of devices, as "TPU v4 x 8"."""
  return f"{jax.devices()[0].device_kind} x {jax.device_count()}"


def write_json(path: str | Path, value: dict) -> None:
  """Writes a JSON file that is there in whole or not at all."""
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  replacement = path.with_name(path.name + ".tmp")
  replacement.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
  os.replace(replacement, path)
