"""Runs the tests of a file once more, where eight devices are simulated."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]
# For tests that need the devices: they run in the process started below.
on_eight_devices = pytest.mark.skipif(
  jax.device_count() != 8, reason="run by a test that starts eight devices"
)
starts_eight_devices = pytest.mark.skipif(
  jax.device_count() == 8, reason="has been started"
)


def run_on_eight_devices(file: str, marks: str = "not slow") -> None:
  """Fails with the report of the tests of `file` that fail on eight devices."""
  done = subprocess.run(
    [sys.executable, "-m", "pytest", "-q", "-x", "-m", marks, file],
    cwd=ROOT,
    env=os.environ
    | {
      "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
      "JAX_PLATFORMS": "cpu",
    },
    capture_output=True,
    text=True,
    timeout=1800,
  )
  assert done.returncode == 0, done.stdout[-6000:]
  assert "passed" in done.stdout
