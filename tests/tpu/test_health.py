"""The health check: exact, and it names the chip that is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tpu import health

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("size", [1, 64, 200])
def test_the_product_is_known_to_the_last_bit(size):
  a, b, expected = health.matrices(size, seed=1)
  exact = a.astype(np.int64) @ b.astype(np.int64)
  np.testing.assert_array_equal(expected, exact)
  np.testing.assert_array_equal(health.multiply(a, b), exact)


def test_one_wrong_bit_of_one_trial_is_found():
  trials = []

  def flaky(a, b):
    trials.append(0)
    product = np.array(health.multiply(a, b))
    if len(trials) == 3:
      product[5, 7] = np.nextafter(product[5, 7], np.inf)
    return product

  devices = jax.devices()[:1]
  (said,) = health.check_products(devices, size=16, repeats=8, product=flaky)
  assert "multiplies wrongly: 1 of 256 numbers, at trial 3" in said
  assert f"chip {devices[0].id}" in said
  assert not health.check_products(devices, size=16, repeats=2)


# In a process of its own, for it to have four devices.
FOUR = """
import json
import jax
from tpu import health

def broken(a, b):
  return health.multiply(a, b) + (3 if a.device.id == 2 else 0)

devices = jax.devices()
words = ["--size=32", "--repeats=2"]
found = {"status": health.main(words)}
received = health.exchange(devices)
found["right"] = health.check_exchange(devices, received)
device, numbers, total = received[1]
changed = numbers.copy()
changed[3] += 1
received[1] = device, changed, total
received[2] = *received[2][:2], total + 1
found["exchange"] = health.check_exchange(devices, received)
found["products"] = health.check_products(devices, size=32, product=broken)
health.check_products = lambda *_, **__: found["products"]
found["bad status"] = health.main(words)
print(json.dumps(found))
"""


def test_of_four_devices_the_bad_one_is_named():
  done = subprocess.run(
    [sys.executable, "-c", FOUR],
    cwd=ROOT,
    env=os.environ
    | {
      "JAX_PLATFORMS": "cpu",
      "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
    },
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  *report, last = done.stdout.splitlines()
  found = json.loads(last)
  assert found["status"] == 0
  assert found["right"] == []
  (product,) = found["products"]
  assert product.startswith("chip 2 (cpu) of host 0 multiplies wrongly: 1024 ")
  told, added = found["exchange"]
  assert told.startswith("chip 1 (cpu) of host 0 got 9.0 from chip 3 (cpu) of")
  assert added == "chip 2 (cpu) of host 0 adds up to 16.0 in place of 15.0"
  assert found["bad status"] == 1
  assert "4 of 4 chips are here; healthy" in report[1]
  assert "4 of 4 chips are here; 1 faults" in report[-1]


def test_a_dry_run_touches_no_device(capsys, monkeypatch):
  monkeypatch.setattr(health, "join_processes", None)
  assert health.main(["--dry-run", "--size=8"]) == 0
  assert "two [8, 8]" in capsys.readouterr().out
