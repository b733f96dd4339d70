"""A run of two processes that is killed, and resumed by the supervisor."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from smoke_run import smoke_arguments

from trajvit.training.metrics_log import read_rows

ROOT = Path(__file__).parents[2]
STEPS = 12
ARGUMENTS = smoke_arguments(STEPS, 4)


def command(workdir):
  """Two processes of the smoke config, shrunk, through the launcher."""
  return [
    *[sys.executable, "-m", "tpu.launch", "--local=2", "--", *ARGUMENTS],
    f"--config.compilation_cache={workdir.parent / 'compiled'}",
    f"--workdir={workdir}",
  ]


def processes_of(workdir):
  """The ids of the processes of train.py that write there."""
  found = []
  for folder in Path("/proc").glob("[0-9]*"):
    try:
      words = (folder / "cmdline").read_text().split("\0")
    except OSError:  # it has ended since
      continue
    if "train.py" in words and f"--workdir={workdir}" in words:
      found.append(int(folder.name))
  return sorted(found)


@pytest.mark.slow
def test_killed_and_resumed_equals_unbroken(tmp_path):
  unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
  subprocess.run(command(unbroken), cwd=ROOT, check=True, timeout=900)

  supervisor = subprocess.Popen(
    [
      *[sys.executable, "-m", "tpu.supervise", "--first-wait=0.1"],
      *[f"--workdir={broken}", "--", *command(broken)],
    ],
    cwd=ROOT,
    stderr=subprocess.PIPE,
    text=True,
  )
  log = broken / "metrics.jsonl"
  while not log.exists() or log.read_bytes().count(b"\n") < 6:
    assert supervisor.poll() is None, supervisor.stderr.read()
    time.sleep(0.01)
  victims = processes_of(broken)
  assert len(victims) == 2
  os.kill(victims[1], signal.SIGKILL)
  said = supervisor.communicate(timeout=900)[1]
  assert supervisor.returncode == 0, said
  assert said.count("] starting again in") == 1
  assert "ended by signal 9" in said
  assert not processes_of(broken)

  rows = [read_rows(path / "metrics.jsonl") for path in (unbroken, broken)]
  losses = [
    [row["train/loss"] for row in run if "train/loss" in row] for run in rows
  ]
  assert len(losses[0]) == STEPS
  assert losses[0] == losses[1]
  assert rows[0] == rows[1]
