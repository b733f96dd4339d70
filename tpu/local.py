"""Several processes of one run on this machine's CPU, as if it were a pod."""

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time

from trajvit.training import exits

# A process that ends so has told its peers, and they end by themselves.
ORDERLY = (exits.FINISHED, exits.STOPPED)


def environments(count: int, port: int) -> list[dict[str, str]]:
  """Returns what each of `count` processes needs to find the others.

  Raises:
    ValueError: there is no process.
  """
  if count < 1:
    raise ValueError(f"--local must be at least 1, got {count}")
  return [
    {
      "JAX_PLATFORMS": "cpu",
      "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
      "JAX_NUM_PROCESSES": str(count),
      "JAX_PROCESS_ID": str(index),
    }
    for index in range(count)
  ]


def free_port() -> int:
  """Returns a port that nobody listens on."""
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    return probe.getsockname()[1]


def run(command: list[str], count: int, *, grace: float = 10) -> int:
  """Runs `command` in `count` processes; returns how the first to fail ended.

  Their output is shown with the number of the process in front. SIGTERM and
  SIGINT are passed on. Once one has failed the others get `grace` seconds to
  say what they know of it, and are killed: alone they would only wait.
  """
  children, printers, asked = [], [], []
  ended = queue.Queue()

  def pass_on(number, frame):
    del frame
    asked.append(number)
    for child in children:
      child.send_signal(number)

  before = {
    number: signal.signal(number, pass_on)
    for number in (signal.SIGTERM, signal.SIGINT)
  }
  try:
    for index, environment in enumerate(environments(count, free_port())):
      if asked:  # before all could hear it
        return exits.STOPPED
      child = subprocess.Popen(
        command,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
      )
      children.append(child)
      printers.append(_thread(_print_lines, index, child.stdout))
      _thread(_wait, index, child, ended)
    return _watch(children, ended, grace)
  finally:
    for child in children:
      child.kill()
      child.wait()
    for printer in printers:
      printer.join(timeout=1)
    for number, handler in before.items():
      signal.signal(number, handler)


def _watch(children, ended, grace):
  """Waits for all; from the first that fails on, no longer than `grace`."""
  first = exits.FINISHED
  deadline = None
  for _ in children:
    seconds = None if deadline is None else deadline - time.monotonic()
    try:
      index, status = ended.get(timeout=seconds and max(seconds, 0))
    except queue.Empty:
      _say("the others did not end by themselves and are killed")
      break
    _say(f"process {index} ended with {status}: {exits.meaning(status)}")
    first = first or status
    if status not in ORDERLY and deadline is None:
      deadline = time.monotonic() + grace
  return first


def _wait(index, child, ended):
  ended.put((index, exits.shell_status(child.wait())))


def _print_lines(index, lines):
  # The pipe may be closed from the other side while it is read.
  with contextlib.suppress(ValueError):
    for line in lines:
      # In one piece, as the threads write at the same time.
      print(f"[{index}] {line.rstrip()}\n", end="", flush=True)


def _say(text):
  print(f"[local] {text}", file=sys.stderr, flush=True)


def _thread(function, *args):
  thread = threading.Thread(target=function, args=args, daemon=True)
  thread.start()
  return thread
