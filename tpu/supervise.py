r"""Starts a command again, for as long as that gets it further.

  python -m tpu.supervise -- python train.py --config=... --workdir=W

What is killed, preempted or has lost a peer is started again; a user's error,
a loss that diverged and Ctrl-C are not. Waits double from try to try, and begin
anew with every checkpoint: the budget counts tries that came to nothing.
SIGTERM is passed on, so that the run can save, and ends the supervisor with it.
"""

import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from trajvit.training import exits


class Restarts:
  """Counts the restarts since the last progress, and how long to wait.

  Args:
    limit: restarts in a row that may bring no progress.
    first_wait: seconds before the first of them; each next one waits double.
    longest_wait: seconds, at most.
    progress: what the run has reached already.
  """

  def __init__(self, limit, *, first_wait, longest_wait, progress=0):
    if limit < 0 or not 0 < first_wait <= longest_wait:
      raise ValueError(
        "restarts must be at least 0, and 0 < first wait <= longest wait; got "
        f"{limit}, {first_wait} and {longest_wait}"
      )
    self._limit = limit
    self._first_wait = first_wait
    self._longest_wait = longest_wait
    self._best = progress
    self._used = 0

  def next_wait(self, progress: int) -> float | None:
    """Returns seconds to wait before the next try, or None: no more tries."""
    if progress > self._best:
      self._best = progress
      self._used = 0
    if self._used == self._limit:
      return None
    self._used += 1
    return min(self._first_wait * 2 ** (self._used - 1), self._longest_wait)


def newest_checkpoint(workdir: str | Path | None) -> int:
  """Returns the newest step in `workdir`/checkpoints, or 0.

  A checkpoint gets its number for a name once it is whole.
  """
  if workdir is None:
    return 0
  folder = Path(workdir).expanduser() / "checkpoints"
  with contextlib.suppress(FileNotFoundError):
    return max((int(x) for x in os.listdir(folder) if x.isdigit()), default=0)
  return 0


class Supervisor:
  """Runs a command until it is done, or not worth another try.

  Args:
    command: the words of the command.
    progress: called after each try; returns a number that grows as the run
      gets further.
    restarts: how many, and the waits.
    grace: seconds from a signal to SIGKILL.
    sleep: called with seconds; ends early once a signal has come.
  """

  def __init__(self, command, *, progress, restarts, grace, sleep=None):
    self._command = list(command)
    self._progress = progress
    self._restarts = restarts
    self._grace = grace
    self._stop = threading.Event()
    self._sleep = sleep or self._stop.wait
    self._child = None

  def run(self) -> int:
    """Returns the status that the last try ended with."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
      if signal.getsignal(number) != signal.SIG_IGN:  # as after nohup
        signal.signal(number, self._pass_on)
    while True:
      status = self._try_once()
      say(f"status {status}: {exits.meaning(status)}")
      if self._stop.is_set() or not exits.worth_another_try(status):
        return status
      wait = self._restarts.next_wait(self._progress())
      if wait is None:
        say("no checkpoint came of the last tries: giving up")
        return status
      say(f"starting again in {wait:g} s")
      self._sleep(wait)
      if self._stop.is_set():
        return exits.STOPPED

  def _try_once(self):
    say(f"starting {shlex.join(self._command)}")
    try:
      # A session of its own, so that all that it leaves behind can be ended.
      child = subprocess.Popen(self._command, start_new_session=True)
    except FileNotFoundError:
      return exits.NOT_FOUND
    except OSError:
      return exits.CANNOT_RUN
    self._child = child
    if self._stop.is_set():  # the signal came while it was being started
      self._pass_on(signal.SIGTERM, None)
    try:
      return exits.shell_status(child.wait())
    finally:
      self._child = None
      kill_group(child.pid)

  def _pass_on(self, number, frame):
    del frame
    self._stop.set()
    if self._child is None:
      return
    # Training does not know SIGHUP, which says that the terminal is closed.
    hung_up = number == signal.SIGHUP
    self._child.send_signal(signal.SIGTERM if hung_up else number)
    timer = threading.Timer(self._grace, kill_group, [self._child.pid])
    timer.daemon = True
    timer.start()


def kill_group(leader: int) -> None:
  """Ends what is left of a process group."""
  with contextlib.suppress(ProcessLookupError):
    os.killpg(leader, signal.SIGKILL)


def say(text: str) -> None:
  """Writes a line to the log, with the time."""
  now = time.strftime("%H:%M:%S")
  print(f"[supervise {now}] {text}", file=sys.stderr, flush=True)


def workdir_of(command: list[str]) -> str | None:
  """Returns what the command is given as --workdir, or None."""
  for word, following in zip(command, [*command[1:], None], strict=True):
    name, equals, value = word.partition("=")
    if name in ("--workdir", "-workdir"):
      return value if equals else following
  return None


def main(argv: list[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  argv = sys.argv[1:] if argv is None else argv
  parser = argparse.ArgumentParser(
    prog="python -m tpu.supervise",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    "--restarts", type=int, default=5, help="tries without progress"
  )
  parser.add_argument("--first-wait", type=float, default=5, help="seconds")
  parser.add_argument("--longest-wait", type=float, default=300, help="seconds")
  parser.add_argument(
    "--grace", type=float, default=300, help="seconds from signal to SIGKILL"
  )
  parser.add_argument(
    "--workdir", help="whose checkpoints are progress [that of the command]"
  )
  parser.add_argument("--dry-run", action="store_true")
  parser.add_argument("command", nargs="+")
  args = parser.parse_args(argv)
  workdir = args.workdir or workdir_of(args.command)
  try:
    restarts = Restarts(
      args.restarts,
      first_wait=args.first_wait,
      longest_wait=args.longest_wait,
      progress=newest_checkpoint(workdir),
    )
  except ValueError as error:
    parser.error(str(error))
  if args.dry_run:
    print(f"would run and watch: {shlex.join(args.command)}")
    print(f"progress is the newest checkpoint of: {workdir}")
    print(f"restarts without progress: {args.restarts}")
    for status in sorted(exits.MEANING):
      again = "again" if exits.worth_another_try(status) else "no more"
      print(f"status {status:3} {again:7} {exits.meaning(status)}")
    print(f"status {exits.SIGNAL}+ again   ended by another signal")
    return 0
  supervisor = Supervisor(
    args.command,
    progress=lambda: newest_checkpoint(workdir),
    restarts=restarts,
    grace=args.grace,
  )
  return supervisor.run()


if __name__ == "__main__":
  sys.exit(main())
