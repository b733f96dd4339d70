"""A run that is killed, stopped or poisoned, by real processes of train.py."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from smoke_run import smoke_arguments

from trajvit import cli
from trajvit.training import exits
from trajvit.training.metrics_log import read_rows
from trajvit.training.restore import restore_run

ROOT = Path(__file__).parents[1]
STEPS = 40
ARGUMENTS = [
  *smoke_arguments(STEPS, 10),
  "--config.evals.retrieval.every=20",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("runs")


def start(workdir, *arguments):
  cache = workdir.parent / "compiled"
  return subprocess.Popen(
    [
      sys.executable,
      "train.py",
      *ARGUMENTS,
      f"--config.compilation_cache={cache}",
      f"--workdir={workdir}",
      *arguments,
    ],
    cwd=ROOT,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process):
  """Waits, and returns (exit status, what it said)."""
  _, said = process.communicate(timeout=120)
  return process.returncode, said


def send_after(process, workdir, rows, which):
  """Sends a signal once metrics.jsonl has so many rows."""
  path = workdir / "metrics.jsonl"
  while not path.exists() or path.read_bytes().count(b"\n") < rows:
    assert process.poll() is None, process.stderr.read()
    time.sleep(0.002)
  process.send_signal(which)


@pytest.fixture(scope="module")
def unbroken(folder):
  workdir = folder / "unbroken"
  status, said = finish(start(workdir))
  assert status == 0, said
  return workdir


def test_a_run_writes_what_it_should(unbroken):
  rows = read_rows(unbroken / "metrics.jsonl")
  steps = [row["step"] for row in rows if "train/loss" in row]
  assert steps == list(range(1, STEPS + 1))
  assert [r["step"] for r in rows if "retrieval/n_evaluated" in r] == [20, 40]
  assert (unbroken / "eval" / "retrieval.json").exists()
  timings = read_rows(unbroken / "timings.jsonl")
  assert [row["step"] for row in timings] == steps
  kept = [p.name for p in (unbroken / "checkpoints").iterdir()]
  assert sorted(n for n in kept if n.isdigit()) == ["30", "40"]


def test_killed_and_stopped_and_restarted_equals_unbroken(unbroken, folder):
  workdir = folder / "broken"
  process = start(workdir)
  send_after(process, workdir, 13, signal.SIGKILL)
  assert finish(process)[0] == -signal.SIGKILL
  assert len(read_rows_so_far(workdir)) < STEPS

  process = start(workdir)
  send_after(process, workdir, 25, signal.SIGTERM)
  status, said = finish(process)
  assert status == exits.STOPPED, said
  assert "stopped after step" in said
  stopped = read_rows_so_far(workdir)[-1]["step"]
  assert 24 <= stopped < STEPS
  assert restore_run(workdir).step == stopped

  status, said = finish(start(workdir))
  assert status == 0, said
  logs = [d / "metrics.jsonl" for d in (unbroken, workdir)]
  assert logs[0].read_bytes() == logs[1].read_bytes()
  a, b = (restore_run(d).variables for d in (unbroken, workdir))
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


def read_rows_so_far(workdir):
  """All rows but a torn last one."""
  path = workdir / "metrics.jsonl"
  whole = path.read_bytes().rpartition(b"\n")[0] + b"\n"
  (workdir / "seen.jsonl").write_bytes(whole)
  return read_rows(workdir / "seen.jsonl")


def test_a_finished_run_has_nothing_to_do(unbroken):
  before = (unbroken / "metrics.jsonl").read_bytes()
  status, said = finish(start(unbroken))
  assert status == 0, said
  assert (unbroken / "metrics.jsonl").read_bytes() == before


def evaluated(*arguments):
  """What eval.py prints, given its arguments."""
  done = subprocess.run(
    [sys.executable, "eval.py", *arguments],
    cwd=ROOT,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 0, done.stderr
  (line,) = done.stdout.splitlines()
  return json.loads(line)


@pytest.mark.slow
def test_an_export_and_kept_features_are_evaluated_too(unbroken, folder):
  kept, out = f"--features={folder / 'features'}", f"--out={folder / 'any'}"
  found = evaluated(f"--checkpoint={unbroken}", kept, out)
  last = max(
    (unbroken / "checkpoints").glob("[0-9]*"), key=lambda p: int(p.name)
  )
  again = evaluated(f"--checkpoint={last}", kept, out, "--evals=retrieval")
  assert again.items() <= found.items()
  alone = evaluated(kept, f"--out={folder / 'alone'}", "--evals=retrieval")
  assert alone == again | {"step": 0}
  export = folder / "export"
  assert (
    cli.main(["export", str(unbroken), str(export), "--platforms=cpu"]) == 0
  )
  exported = evaluated(f"--export={export}", out, "--evals=retrieval")
  for name, value in again.items():
    assert exported[name] == pytest.approx(value, abs=1e-3)


def test_eval_finds_what_training_found(unbroken, folder):
  found = evaluated(f"--workdir={unbroken}", f"--out={folder / 'again'}")
  assert found == read_rows(unbroken / "metrics.jsonl")[-1]
  first, second = (
    json.loads((path / "retrieval.json").read_text())
    for path in (unbroken / "eval", folder / "again")
  )
  first["manifest"].pop("commit")  # a file may have been edited since
  second["manifest"].pop("commit")
  assert first == second


def test_another_config_is_refused(unbroken):
  status, said = finish(start(unbroken, "--config.seed=1"))
  assert status == exits.USER_ERROR
  assert "seed was 0 and is 1" in said


def test_a_loss_that_is_not_finite_ends_the_run(folder):
  workdir = folder / "poisoned"
  status, said = finish(
    start(
      workdir,
      "--config.optimizer.learning_rate=1e38",
      "--config.optimizer.warmup_steps=0",
      "--config.optimizer.clip_norm=0.0",
    )
  )
  assert status == exits.DIVERGED
  assert "FloatingPointError: step " in said
  step = int(said.partition("FloatingPointError: step ")[2].split(":")[0])
  assert said.count("moving_sprites") >= 4  # the names of its clips
  assert (workdir / "halted" / str(step - 1) / "state").is_dir()
  rows = read_rows(workdir / "metrics.jsonl")
  assert [row["step"] for row in rows] == list(range(1, step))
  assert all(np.isfinite(row["train/loss"]) for row in rows)
