"""What the exit status of a training process says, and if another try helps.

`train.py` ends with these, and whatever starts it again decides by them: the
supervisor, and the failure policies of the manifests. Only the standard library
is imported here, so that neither needs jax.
"""

import contextlib
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

FINISHED = 0
FAILED = 1
USER_ERROR = 2
DIVERGED = 3
STOPPED = 75  # sysexits.h: a failure for now, try again later

# What a shell says of a command: it cannot run, is not there, was interrupted.
CANNOT_RUN = 126
NOT_FOUND = 127
SIGNAL = 128  # + its number
INTERRUPTED = SIGNAL + 2

MEANING = {
  FINISHED: "finished",
  FAILED: "failed",
  USER_ERROR: "asked for something that cannot be",
  DIVERGED: "loss or gradient not finite",
  STOPPED: "saved and stopped, as a signal asked",
  CANNOT_RUN: "the command cannot be run",
  NOT_FOUND: "the command was not found",
  INTERRUPTED: "interrupted by the user",
}
# Another try would end in the same way, or nobody wants it.
FINAL = (
  FINISHED,
  USER_ERROR,
  DIVERGED,
  CANNOT_RUN,
  NOT_FOUND,
  INTERRUPTED,
)


def shell_status(returncode: int) -> int:
  """Returns 128 + signal for the negative codes of `subprocess`."""
  return SIGNAL - returncode if returncode < 0 else returncode


def meaning(status: int) -> str:
  """Returns in words what `status` says; see `shell_status`."""
  if status in MEANING:
    return MEANING[status]
  if status > SIGNAL:
    return f"ended by signal {status - SIGNAL}"
  return "an unknown status"


def worth_another_try(status: int) -> bool:
  """Returns whether a run that ended so may get further when started again."""
  return status not in FINAL


def status_of(error: Exception) -> int:
  """Returns the status that `error` ends a run with.

  A ValueError and a missing file are the user's: they come again at every try.
  What is not known here may be a lost peer or a full disk, and may pass.
  """
  if isinstance(error, FloatingPointError):
    return DIVERGED
  if isinstance(error, (ValueError, FileNotFoundError)):
    return USER_ERROR
  return FAILED


@contextlib.contextmanager
def exit_by_error(end: Callable[[int, Exception], NoReturn] | None = None):
  """Shows what is raised inside, and ends the process with its `status_of`.

  Args:
    end: called with the status and the error to end it; None is `sys.exit`,
      which in a run of several processes waits for the others, see
      `training.processes`.
  """
  try:
    yield
  except Exception as error:
    traceback.print_exc()
    status = status_of(error)
    if end is None:
      sys.exit(status)
    end(status, error)
