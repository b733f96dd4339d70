"""Several processes on this machine: environment, logs, signals, ends."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tpu import launch, local
from trajvit.training import exits

ROOT = Path(__file__).parents[2]


def test_each_process_knows_its_number_and_all_the_same_port(capfd):
  numbers = "$JAX_PROCESS_ID of $JAX_NUM_PROCESSES"
  show = f"echo {numbers} at $JAX_COORDINATOR_ADDRESS"
  assert local.run(["sh", "-c", show], 3) == 0
  lines = [
    line for line in capfd.readouterr().out.splitlines() if " of 3 at " in line
  ]
  assert sorted(line.split(" of ")[0] for line in lines) == [
    f"[{i}] {i}" for i in range(3)
  ]
  assert len({line.partition(" at ")[2] for line in lines}) == 1


@pytest.mark.parametrize(
  ("end", "status"), [("exit 2", 2), ("kill -9 $$", 137), ("exit 1", 1)]
)
def test_one_that_fails_ends_all_and_names_the_status(tmp_path, end, status):
  line = (
    f'if [ "$JAX_PROCESS_ID" = 1 ]; then {end}; fi\n'
    f"echo $$ > {tmp_path}/pid; exec sleep 1000"
  )
  began = time.monotonic()
  assert local.run(["sh", "-c", line], 2, grace=0.3) == status
  assert time.monotonic() - began < 100
  with pytest.raises(ProcessLookupError):
    os.kill(int((tmp_path / "pid").read_text()), 0)


def test_the_first_to_fail_gives_the_status_and_the_others_their_words(capfd):
  # Process 0 is aborted by the loss of process 1, some time after it.
  line = (
    'if [ "$JAX_PROCESS_ID" = 1 ]; then echo my mistake; exit 2; fi\n'
    "sleep 0.3; echo lost a peer; exit 134"
  )
  assert local.run(["sh", "-c", line], 2, grace=20) == exits.USER_ERROR
  out = capfd.readouterr()
  assert "[1] my mistake" in out.out
  assert "[0] lost a peer" in out.out
  assert "process 0 ended with 134: ended by signal 6" in out.err


def test_one_that_is_done_waits_for_the_others():
  line = 'if [ "$JAX_PROCESS_ID" = 1 ]; then sleep 0.4; exit 75; fi'
  assert local.run(["sh", "-c", line], 2, grace=0.01) == exits.STOPPED


def test_sigterm_reaches_every_process():
  line = (
    "trap 'echo saving; exit 75' TERM\necho up; while true; do sleep 0.02; done"
  )
  code = f"from tpu import local; exit(local.run(['sh', '-c', {line!r}], 2))"
  process = subprocess.Popen(
    [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
  )
  ups = [process.stdout.readline() for _ in range(2)]
  assert sorted(ups) == ["[0] up\n", "[1] up\n"]
  process.terminate()
  said = process.communicate(timeout=20)[0]
  assert process.returncode == exits.STOPPED
  assert sorted(said.splitlines()) == ["[0] saving", "[1] saving"]


def test_a_dry_run_shows_each_process_and_starts_none(capsys):
  words = ["--local=2", "--dry-run", "--", "--config=c", "--workdir=my runs"]
  assert launch.main(words) == 0
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 2
  for index, line in enumerate(lines):
    assert f"JAX_PROCESS_ID={index} " in line
    assert line.endswith("train.py --config=c '--workdir=my runs'")


@pytest.mark.parametrize(
  "words", [["--local=0", "--", "--config=c"], ["--local=2"], ["--", "--x"]]
)
def test_what_cannot_be_started_is_a_user_error(words):
  with pytest.raises(SystemExit) as ended:
    launch.main(words)
  assert ended.value.code == exits.USER_ERROR
