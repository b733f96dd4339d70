"""Exit statuses: which errors give which, and after which to try again."""

import signal
import subprocess
import sys

import pytest

from trajvit.training import exits

RAISED = [
  (ValueError("x"), exits.USER_ERROR),
  (FileNotFoundError("x"), exits.USER_ERROR),
  (FloatingPointError("x"), exits.DIVERGED),
  (RuntimeError("x"), exits.FAILED),
  (OSError("disk"), exits.FAILED),
]


@pytest.mark.parametrize(("error", "status"), RAISED)
def test_an_error_ends_with_its_status_and_is_shown(error, status, capsys):
  with pytest.raises(SystemExit) as ended, exits.exit_by_error():
    raise error
  assert ended.value.code == status
  assert type(error).__name__ in capsys.readouterr().err


def test_nothing_raised_is_nothing_done():
  with exits.exit_by_error():
    pass


def test_an_exit_passes_through():
  with pytest.raises(SystemExit) as ended, exits.exit_by_error():
    sys.exit(7)
  assert ended.value.code == 7


@pytest.mark.parametrize(
  "status",
  [exits.FAILED, exits.STOPPED, 134, 137, 143, 99],
)
def test_what_may_pass_is_tried_again(status):
  assert exits.worth_another_try(status)


@pytest.mark.parametrize("status", exits.FINAL)
def test_what_comes_again_is_not(status):
  assert not exits.worth_another_try(status)
  assert exits.meaning(status) != "an unknown status"


def test_a_signal_is_told_as_a_shell_does():
  child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1)
  child.send_signal(signal.SIGKILL)
  status = exits.shell_status(child.wait())
  child.stdin.close()
  assert status == 137
  assert exits.meaning(status) == "ended by signal 9"
  assert exits.shell_status(3) == 3
  assert exits.meaning(99) == "an unknown status"
