"""The supervisor, over small scripts in place of training."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tpu import supervise
from tpu.supervise import Restarts, Supervisor, newest_checkpoint, workdir_of
from trajvit.training import exits

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def handlers():
  numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
  before = [signal.getsignal(number) for number in numbers]
  yield
  for number, handler in zip(numbers, before, strict=True):
    signal.signal(number, handler)


def make_restarts(limit=3, first_wait=1, longest_wait=6, progress=0):
  return Restarts(
    limit, first_wait=first_wait, longest_wait=longest_wait, progress=progress
  )


def test_waits_double_to_the_longest_and_the_budget_ends():
  restarts = make_restarts(limit=4)
  assert [restarts.next_wait(0) for _ in range(6)] == [1, 2, 4, 6, None, None]


def test_progress_starts_waits_and_budget_anew():
  restarts = make_restarts(limit=2)
  assert [restarts.next_wait(x) for x in (0, 0)] == [1, 2]
  assert [restarts.next_wait(x) for x in (10, 10)] == [1, 2]
  assert restarts.next_wait(20) == 1
  # What was reached before the first try is no progress.
  assert make_restarts(limit=0, progress=5).next_wait(5) is None


@pytest.mark.parametrize("wrong", [dict(limit=-1), dict(first_wait=0)])
def test_a_budget_that_cannot_be_is_refused(wrong):
  with pytest.raises(ValueError, match="restarts must be"):
    make_restarts(**wrong)


def test_a_checkpoint_counts_once_it_has_its_name(tmp_path):
  assert newest_checkpoint(None) == newest_checkpoint(tmp_path) == 0
  for name in ("8", "10", "20.orbax-checkpoint-tmp-3", "best"):
    (tmp_path / "checkpoints" / name).mkdir(parents=True)
  assert newest_checkpoint(tmp_path) == 10


def test_the_workdir_is_read_from_the_command():
  assert workdir_of(["python", "train.py", "--workdir=a b"]) == "a b"
  assert workdir_of(["train.py", "--workdir", "w", "--x"]) == "w"
  assert workdir_of(["train.py", "--workdir"]) is None
  assert workdir_of(["train.py", "--workdirs=w"]) is None


def run(tmp_path, ends, limit=3):
  """Supervises a script that ends so, each a line of shell, try by try.

  Returns (status, waits, how many tries).
  """
  cases = "\n".join(f"{i}) {end} ;;" for i, end in enumerate(ends))
  script = tmp_path / "child.sh"
  script.write_text(
    f"cd {tmp_path}; mkdir -p checkpoints tries; n=$(ls tries | wc -l)\n"
    f"touch tries/$n\ncase $n in\n{cases}\nesac\n"
  )
  waits = []
  supervisor = Supervisor(
    ["sh", str(script)],
    progress=lambda: newest_checkpoint(tmp_path),
    restarts=make_restarts(limit),
    grace=5,
    sleep=waits.append,
  )
  status = supervisor.run()
  return status, waits, len(list((tmp_path / "tries").iterdir()))


def test_what_may_pass_is_tried_until_it_is_done(tmp_path):
  ends = ["kill -9 $$", "exit 75", "exit 1", "exit 0"]
  assert run(tmp_path, ends) == (0, [1, 2, 4], 4)


@pytest.mark.parametrize("status", [exits.USER_ERROR, exits.DIVERGED, 127])
def test_what_comes_again_is_not_tried_again(tmp_path, status):
  assert run(tmp_path, [f"exit {status}"]) == (status, [], 1)


def test_it_gives_up_with_the_last_status(tmp_path):
  ends = ["exit 1", "exit 1", "kill -9 $$"]
  assert run(tmp_path, ends, limit=2) == (137, [1, 2], 3)


def test_a_checkpoint_buys_new_tries(tmp_path):
  save = "mkdir -p checkpoints/$((n * 10)); exit 1"
  ends = ["exit 1", "exit 1", save, "exit 1", save, "exit 0"]
  assert run(tmp_path, ends, limit=2) == (0, [1, 2, 1, 2, 1], 6)


def test_a_command_that_is_not_there_is_not_tried_again(tmp_path, capsys):
  assert supervise.main(["--", str(tmp_path / "missing")]) == 127
  assert "not found" in capsys.readouterr().err
  for mode in (0o644, 0o755):  # no program, and none that the system knows
    (tmp_path / "text").write_text("text")
    (tmp_path / "text").chmod(mode)
    assert supervise.main(["--", str(tmp_path / "text")]) == 126


def gone(pid):
  """Whether a process has ended; it may not have been waited for."""
  with contextlib.suppress(FileNotFoundError):
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "Z"
  return True


def wait_for(path):
  """Returns what is written into a file, once it is there."""
  for _ in range(2000):
    with contextlib.suppress(FileNotFoundError):
      if text := path.read_text():
        return text
    time.sleep(0.005)
  raise AssertionError(f"{path} was not written")


def test_nothing_is_left_of_a_try_that_was_killed(tmp_path):
  leave = f"sleep 1000 & echo $! > {tmp_path}/orphan; kill -9 $$"
  assert run(tmp_path, [leave, "exit 0"])[0] == 0
  orphan = int((tmp_path / "orphan").read_text())
  for _ in range(200):
    if gone(orphan):
      return
    time.sleep(0.01)
  raise AssertionError("the orphan lives")


def start(tmp_path, line, *options):
  """Supervises a line of shell in a process of its own."""
  script = tmp_path / "child.sh"
  script.write_text(line)
  return subprocess.Popen(
    [
      *[sys.executable, "-m", "tpu.supervise", *options],
      *["--", "sh", str(script)],
    ],
    cwd=ROOT,
    stderr=subprocess.PIPE,
    text=True,
  )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on_and_ends_it(number, tmp_path):
  pid = shlex.quote(str(tmp_path / "pid"))
  process = start(
    tmp_path,
    f"trap 'echo saved > {tmp_path}/saved; exit 75' TERM\n"
    f"echo $$ > {pid}; while true; do sleep 0.02; done",
  )
  child = int(wait_for(tmp_path / "pid"))
  process.send_signal(number)
  said = process.communicate(timeout=20)[1]
  assert process.returncode == exits.STOPPED, said
  assert (tmp_path / "saved").exists()
  assert said.count("starting") == 1
  assert gone(child)


def test_what_does_not_end_in_time_is_killed(tmp_path):
  process = start(
    tmp_path,
    f"trap '' TERM; echo $$ > {tmp_path}/pid; while true; do sleep 0.02; done",
    "--grace=0.2",
  )
  child = int(wait_for(tmp_path / "pid"))
  process.terminate()
  process.communicate(timeout=20)
  assert process.returncode == 137
  assert gone(child)


def test_sigterm_ends_a_wait_between_two_tries(tmp_path):
  process = start(tmp_path, "exit 1", "--first-wait=100")
  while "starting again" not in process.stderr.readline():
    assert process.poll() is None
  process.terminate()
  process.communicate(timeout=20)
  assert process.returncode == exits.STOPPED


def test_a_dry_run_starts_nothing_and_shows_what_it_would(tmp_path, capsys):
  target = tmp_path / "made"
  command = ["touch", str(target), f"--workdir={tmp_path}"]
  assert supervise.main(["--dry-run", "--", *command]) == 0
  shown = capsys.readouterr().out
  assert not target.exists()
  assert f"newest checkpoint of: {tmp_path}" in shown
  for status, word in [(75, "again"), (2, "no more"), (0, "no more")]:
    assert f"status {status:3} {word}" in shown


def test_the_environment_is_kept(tmp_path, monkeypatch):
  monkeypatch.setenv("TRAJVIT_TEST", "kept")
  out = tmp_path / "out"
  line = f'echo "$TRAJVIT_TEST" > {out}'
  assert supervise.main(["--", "sh", "-c", line]) == 0
  assert out.read_text() == "kept\n"
  assert os.environ["TRAJVIT_TEST"] == "kept"
