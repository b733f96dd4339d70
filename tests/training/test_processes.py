"""How processes find each other in every environment, and end together."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tpu import local
from trajvit.training import exits
from trajvit.training.processes import (
  ENVIRONMENTS,
  find_peers,
  join_processes,
)

ROOT = Path(__file__).parents[2]
SLURM = {
  "SLURM_JOB_ID": "7",
  "SLURM_STEP_NODELIST": "node[1-2]",
  "SLURM_NTASKS": "16",
  "SLURM_PROCID": "9",
  "SLURM_LOCALID": "1",
}
TORCHRUN = {
  "MASTER_ADDR": "first",
  "MASTER_PORT": "29500",
  "WORLD_SIZE": "16",
  "RANK": "9",
  "LOCAL_WORLD_SIZE": "8",
  "LOCAL_RANK": "1",
}
SLICES = {
  "TPU_WORKER_HOSTNAMES": "a,b,c,d",
  "TPU_WORKER_ID": "1",
  "MEGASCALE_COORDINATOR_ADDRESS": "first:8080",
  "MEGASCALE_NUM_SLICES": "2",
  "MEGASCALE_SLICE_ID": "1",
}
# name of the environment: its variables, and what they say.
FAKES = {
  "JAX's own variables": (
    {
      "JAX_COORDINATOR_ADDRESS": "here:1",
      "JAX_NUM_PROCESSES": "4",
      "JAX_PROCESS_ID": "0",
      "JOB_COMPLETION_INDEX": "3",  # within its slice
    },
    dict(coordinator_address="here:1", num_processes=4, process_id=0),
  ),
  "an indexed job of Kubernetes": (
    {
      "JAX_COORDINATOR_ADDRESS": "job-0.job:8476",
      "JAX_NUM_PROCESSES": "4",
      "JOB_COMPLETION_INDEX": "3",
    },
    dict(coordinator_address="job-0.job:8476", num_processes=4, process_id=3),
  ),
  "torchrun": (
    SLURM | TORCHRUN,
    dict(
      coordinator_address="first:29501",
      num_processes=16,
      process_id=9,
      local_device_ids=[1],
    ),
  ),
  "Slurm": (SLURM, dict(num_processes=16, process_id=9)),
  "TPU hosts": (
    SLICES,
    dict(coordinator_address="first:8476", num_processes=8, process_id=5),
  ),
  "a cluster that JAX knows": (
    {"JAX_COORDINATOR_ADDRESS": "here:1"},
    dict(coordinator_address="here:1"),
  ),
}


def test_every_environment_has_a_fake_and_is_in_the_docs():
  names = [x.name for x in ENVIRONMENTS]
  assert names == list(FAKES)
  page = (ROOT / "docs" / "checkpoints.md").read_text()
  positions = [page.index(f"| {name} |") for name in names]
  assert positions == sorted(positions)


@pytest.mark.parametrize("name", FAKES)
def test_an_environment_says_who_the_peers_are(name):
  variables, expected = FAKES[name]
  assert find_peers({"HOME": "/root"} | variables) == expected


@pytest.mark.parametrize(
  ("variables", "expected"),
  [
    # tpu/slurm.sh names the address.
    (SLURM | {"JAX_COORDINATOR_ADDRESS": "n1:8476"}, "n1:8476"),
    (SLICES | {"JAX_COORDINATOR_ADDRESS": "n1:8476"}, "n1:8476"),
    ({k: v for k, v in TORCHRUN.items() if k != "MASTER_PORT"}, "first:8476"),
    (
      {"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "1"},
      "a:8476",
    ),
  ],
)
def test_the_address_that_is_named_goes_first(variables, expected):
  assert find_peers(variables)["coordinator_address"] == expected


def test_one_process_a_node_has_all_its_gpus():
  alone = TORCHRUN | {"LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0"}
  assert "local_device_ids" not in find_peers(alone)


@pytest.mark.parametrize(
  "variables",
  [
    {},
    SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"},
    {k: v for k, v in SLURM.items() if k != "SLURM_STEP_NODELIST"},
    {"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"},
    {"JOB_COMPLETION_INDEX": "3", "KUBERNETES_SERVICE_HOST": "10.0.0.1"},
    local.environments(1, 1234)[0],
  ],
)
def test_who_is_alone_joins_nobody(variables):
  assert find_peers(variables) is None


def test_the_local_launcher_names_its_processes():
  found = [find_peers(x) for x in local.environments(3, 1234)]
  assert [x["process_id"] for x in found] == [0, 1, 2]
  assert {x["num_processes"] for x in found} == {3}


@pytest.mark.parametrize(
  ("variables", "message"),
  [
    ({"RANK": "first"}, "RANK must be a whole number, got 'first'"),
    ({"RANK": "16"}, r"torchrun: .* must be in \[0, 16\), .* got 16"),
  ],
)
def test_what_makes_no_sense_is_an_error(variables, message):
  with pytest.raises(ValueError, match=message):
    find_peers(TORCHRUN | variables)


TWO = """
import sys, time
from trajvit.training.exits import exit_by_error
from trajvit.training.processes import end_all, join_processes
with exit_by_error(end_all):
  join_processes()
  print("joined", flush=True)
  if sys.argv[1:] == ["1", "fail"]:
    raise ValueError("clip 7 has no frames")
  time.sleep(1000)
"""


def start(index, what, *, port, **variables):
  environment = local.environments(2, port)[index] | variables
  return subprocess.Popen(
    [sys.executable, "-c", TWO, str(index), what],
    env=os.environ | environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def test_the_error_of_one_ends_all_with_its_status_and_words():
  port = local.free_port()
  both = [start(index, "fail", port=port) for index in range(2)]
  for process in both:
    said = process.communicate(timeout=300)[1]
    assert process.returncode == exits.USER_ERROR, said
    assert "process 1 was the first to fail" in said
    assert "ValueError: clip 7 has no frames" in said


@pytest.mark.slow
def test_one_that_is_killed_is_missed_by_its_heartbeat():
  # The other waits for something that no error will end, as in a collective
  # of accelerators.
  port = local.free_port()
  heartbeat = dict(TRAJVIT_HEARTBEAT_SECONDS="5")
  both = [start(i, "wait", port=port, **heartbeat) for i in range(2)]
  for process in both:
    assert process.stdout.readline() == "joined\n"
  both[1].kill()
  began = time.monotonic()
  said = both[0].communicate(timeout=300)[1]
  print(f"ended {time.monotonic() - began:.1f} s after the kill")
  assert both[0].returncode == -signal.SIGABRT, said
  assert "another task died" in said
  assert exits.worth_another_try(exits.shell_status(both[0].returncode))


def test_peers_that_do_not_come_are_waited_for_no_longer_than_asked():
  one_second = dict(TRAJVIT_JOIN_SECONDS="1")
  process = start(0, "wait", port=local.free_port(), **one_second)
  said = process.communicate(timeout=300)[1]
  assert process.returncode == exits.FAILED, said
  assert "process 0 of 2 has waited 1 s for the others" in said
  assert "Check failure" not in said


def test_a_timeout_must_be_a_number_of_seconds(monkeypatch):
  for name, value in local.environments(2, 1234)[0].items():
    monkeypatch.setenv(name, value)
  with pytest.raises(ValueError, match="JOIN_SECONDS must be at least 1"):
    join_processes(join_seconds=0)
  monkeypatch.setenv("TRAJVIT_JOIN_SECONDS", "soon")
  with pytest.raises(ValueError, match="JOIN_SECONDS must be a whole number"):
    join_processes()
