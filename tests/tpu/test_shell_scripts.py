"""The scripts in bash: shellcheck, and what they do with fake programs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trajvit.training import exits

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "tpu").glob("*.sh"))


def test_shellcheck_has_nothing_to_say():
  assert [path.name for path in SCRIPTS] == ["slurm.sh", "vm_start.sh"]
  checker = Path(sys.executable).parent / "shellcheck"
  done = subprocess.run([checker, *SCRIPTS], capture_output=True, text=True)
  assert done.returncode == 0, done.stdout


@pytest.fixture
def programs(tmp_path):
  """Makes a program of a few lines of shell, first on the PATH."""
  folder = tmp_path / "bin"
  folder.mkdir()

  def make(name, lines):
    path = folder / name
    path.write_text(f"#!/bin/bash\n{lines}\n")
    path.chmod(0o755)

  def run(script, *words, **environment):
    return subprocess.Popen(
      ["bash", str(ROOT / "tpu" / script), *words],
      env={"PATH": f"{folder}:{os.environ['PATH']}", **environment},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  return make, run


def make_slurm(make, log):
  make(
    "scontrol",
    f'echo "$*" >> {log}\n'
    'if [ "$1" = show ]; then echo node07; echo node08; fi',
  )


SLURM = {"SLURM_JOB_NODELIST": "node[07-08]", "SLURM_JOB_ID": "5"}


@pytest.mark.parametrize("status", [0, 1, 2, 3, 75, 126, 127, 130, 134, 137])
def test_slurm_requeues_what_is_worth_another_try(status, programs, tmp_path):
  make, run = programs
  log = tmp_path / "log"
  make_slurm(make, log)
  make("srun", f'echo "$JAX_COORDINATOR_ADDRESS $*"; exit {status}')
  process = run("slurm.sh", "train.py", "--workdir=a b", **SLURM)
  out, err = process.communicate(timeout=20)
  assert out.startswith("node07:8476 --kill-on-bad-exit=1")
  assert out.endswith("train.py --workdir=a b\n")
  requeued = "requeue 5" in log.read_text()
  assert requeued == exits.worth_another_try(status)
  assert process.returncode == (0 if requeued else status), err


def test_slurm_gives_up_in_the_end(programs, tmp_path):
  make, run = programs
  make_slurm(make, tmp_path / "log")
  make("srun", "exit 1")
  process = run("slurm.sh", SLURM_RESTART_COUNT="50", **SLURM)
  assert "giving up" in process.communicate(timeout=20)[1]
  assert process.returncode == 1


def test_slurm_lets_the_run_save_before_it_is_requeued(programs, tmp_path):
  make, run = programs
  log = tmp_path / "log"
  make_slurm(make, log)
  make(
    "srun",
    f"trap 'sleep 0.1; echo saved >> {log}; exit 75' TERM\n"
    "echo up; while true; do sleep 0.02; done",
  )
  process = run("slurm.sh", **SLURM)
  assert process.stdout.readline() == "up\n"
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=20)
  assert log.read_text().splitlines()[-2:] == ["saved", "requeue 5"]


def make_vm(make, tmp_path, attributes, installed=True):
  folder = tmp_path / "attributes"
  folder.mkdir()
  for name, text in attributes.items():
    (folder / name).write_text(text)
  log = tmp_path / "log"
  make("curl", f'cat "{folder}/$(basename "${{@: -1}}")"')
  for name in ("gcloud", "mkdir", "mount", "apt-get"):
    make(name, f'echo "{name} $*" >> {log}')
  make("mountpoint", "exit 1")
  if installed:
    make("mount.nfs", "")
  make(
    "docker", f'echo "docker $1" >> {log}; printf "%s\\n" "$@" > {log}.docker'
  )
  return log


ATTRIBUTES = {
  "trajvit-image": "us-docker.pkg.dev/mine/box/trajvit:1",
  "trajvit-command": "python train.py '--workdir=/runs/a b'\n",
  "trajvit-runs": "10.0.0.2:/share",
  "tpu-env": "TYPE: 'V6E'\nWORKER_ID: '1'\n",
}


@pytest.mark.parametrize(
  ("endpoints", "slices", "first"),
  [
    ("host-0,host-1", "", "host-0"),
    ("unknown:0:10.1.0.4,unknown:1:10.1.0.5", "", "10.1.0.4"),
    ("host-2", "MEGASCALE_COORDINATOR_ADDRESS: '10.9.0.1:8080'\n", "10.9.0.1"),
    ("host-2", "MEGASCALE_COORDINATOR_ADDRESS: '10.9.0.1'\n", "10.9.0.1"),
  ],
)
def test_a_vm_mounts_and_trains_where_the_first_host_is(
  endpoints, slices, first, programs, tmp_path
):
  make, run = programs
  attributes = ATTRIBUTES | {"worker-network-endpoints": endpoints}
  attributes["tpu-env"] += slices
  log = make_vm(make, tmp_path, attributes)
  process = run("vm_start.sh")
  said = process.communicate(timeout=20)[1]
  assert process.returncode == 0, said
  lines = log.read_text().splitlines()
  assert "mount -t nfs 10.0.0.2:/share /runs" in lines
  assert "gcloud auth configure-docker us-docker.pkg.dev --quiet" in lines
  assert lines[-2:] == ["docker rm", "docker run"]
  words = Path(f"{log}.docker").read_text().splitlines()
  assert f"--env=JAX_COORDINATOR_ADDRESS={first}:8476" in words
  assert words[-4:] == [
    "us-docker.pkg.dev/mine/box/trajvit:1",
    "bash",
    "-c",
    "exec python train.py '--workdir=/runs/a b'",
  ]


def test_a_vm_that_is_told_nothing_starts_nothing(programs, tmp_path):
  make, run = programs
  log = make_vm(make, tmp_path, {})
  process = run("vm_start.sh")
  process.communicate(timeout=20)
  assert process.returncode != 0
  assert not log.exists() or "docker run" not in log.read_text()
