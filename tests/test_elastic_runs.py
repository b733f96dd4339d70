"""A run on one, two and four processes, killed, and resumed by another number.

Real processes of train.py on CPUs; the mesh has four devices however many
processes hold them, or one device where a test says so.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from smoke_run import smoke_arguments

from tpu import local
from trajvit.checkpoints.saved import find_saved
from trajvit.training import exits
from trajvit.training.metrics_log import read_rows

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
STEPS, DEVICES = 8, 4
ARGUMENTS = [
  *smoke_arguments(STEPS, 2, clips=7),  # a last batch that is not full
  "--config.checkpoint.keep_last=9",
]
HEARTBEAT = 10  # seconds
PATIENCE = 1200  # seconds, on a machine that has much else to do


def start(workdir, count, *arguments, devices=DEVICES):
  """Starts the processes of a run that goes on to its end."""
  port = local.free_port()
  flag = f"--xla_force_host_platform_device_count={devices // count}"
  return [
    subprocess.Popen(
      [
        *[sys.executable, "train.py", *ARGUMENTS, *arguments],
        # All compile, so that none waits long for another; see `run`.
        "--config.compilation_cache=none",
        f"--workdir={workdir}",
      ],
      cwd=ROOT,
      env=os.environ
      | environment
      | {"XLA_FLAGS": flag, "TRAJVIT_HEARTBEAT_SECONDS": str(HEARTBEAT)},
      stderr=subprocess.PIPE,
      text=True,
    )
    for environment in local.environments(count, port)
  ]


def finish(processes):
  """Waits, and returns (exit status, what it said) of each."""
  with contextlib.ExitStack() as ends:
    for process in processes:
      ends.callback(process.kill)
    said = [x.communicate(timeout=PATIENCE)[1] for x in processes]
  return list(zip([x.returncode for x in processes], said, strict=True))


def run(workdir, count, *arguments, devices=DEVICES):
  """Runs to the end, and returns (losses, the row of the evaluation)."""
  for _ in range(3):
    ends = finish(start(workdir, count, *arguments, devices=devices))
    # On CPUs a process waits 30 s, and no longer, for one that still compiles.
    # A supervisor would do the same.
    if not any(
      "Gloo context initialization failed" in said for _, said in ends
    ):
      break
  for status, said in ends:
    assert status == 0, said
  rows = read_rows(workdir / "metrics.jsonl")
  losses = [row["train/loss"] for row in rows if "train/loss" in row]
  assert len(losses) == STEPS
  return np.array(losses), rows[-1]


def wait_for_rows(processes, workdir, rows):
  """Waits until metrics.jsonl has so many rows."""
  log = workdir / "metrics.jsonl"
  while not log.exists() or log.read_bytes().count(b"\n") < rows:
    for process in processes:
      assert process.poll() is None, process.stderr.read()
    time.sleep(0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("elastic")


@pytest.fixture(scope="module")
def one(folder):
  return run(folder / "one", 1)


@pytest.fixture(scope="module")
def two(folder):
  return run(folder / "two", 2)


@pytest.fixture(scope="module")
def killed(folder):
  """A run of four processes, one of which was killed, and what is known."""
  workdir = folder / "killed"
  processes = start(workdir, 4)
  wait_for_rows(processes, workdir, 5)
  processes[3].send_signal(signal.SIGKILL)
  began = time.monotonic()
  ends = finish(processes)
  print(f"the others ended {time.monotonic() - began:.1f} s after the kill")
  return workdir, ends


def show(name, losses, reference):
  print(f"{name}: differs by {np.abs(losses - reference).max():.1e} at most")


def test_two_processes_give_the_curve_of_one(one, two):
  # One process adds up what its devices have in another order.
  losses, evaluated = two
  show("two processes", losses, one[0])
  np.testing.assert_allclose(losses, one[0], rtol=0, atol=1e-6)
  # Every process has the whole data, and the last batch its empty rows.
  assert evaluated["retrieval/n_evaluated"] == 7
  assert evaluated == pytest.approx(one[1], rel=0, abs=1e-6)


def test_the_others_end_when_one_is_killed(killed):
  _, ends = killed
  statuses = [status for status, _ in ends]
  assert statuses[3] == -signal.SIGKILL
  for status, said in ends[:3]:
    # By themselves, with an error or by JAX's abort, and to be tried again.
    assert status in (exits.FAILED, -signal.SIGABRT), said
    assert exits.worth_another_try(exits.shell_status(status))
    assert "was the first to fail" in said or "another task died" in said


def test_resumed_by_two_it_goes_on_to_the_last_bit(two, killed, folder):
  workdir = folder / "by_two"
  shutil.copytree(killed[0], workdir)
  losses, evaluated = run(workdir, 2)
  show("four processes, killed, then two", losses, two[0])
  np.testing.assert_array_equal(losses, two[0])
  assert evaluated == two[1]


def test_resumed_on_another_mesh_it_differs_by_rounding(one, killed, folder):
  workdir = folder / "by_one"
  shutil.copytree(killed[0], workdir)
  losses, _ = run(workdir, 1, devices=1)
  show("four processes, killed, then one device", losses, one[0])
  np.testing.assert_allclose(losses, one[0], rtol=0, atol=1e-6)


def test_all_save_and_stop_at_one_step_when_one_is_told_to(folder):
  workdir = folder / "stopped"
  processes = start(workdir, 2)
  wait_for_rows(processes, workdir, 2)
  processes[1].send_signal(signal.SIGTERM)
  ends = finish(processes)
  assert [status for status, _ in ends] == [exits.STOPPED] * 2, ends
  stopped = find_saved(workdir).step
  assert 2 <= stopped < STEPS
  assert all(f"stopped after step {stopped};" in said for _, said in ends)
