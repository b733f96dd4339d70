"""Processor time of this process and of all that it has started."""

import os
from pathlib import Path

_PROCESSES = Path("/proc")  # Linux


def cpu_seconds() -> float | None:
  """Returns the processor time so far; None where the system does not tell.

  It is that of all threads of this process and of its descendants, those that
  have ended included. The clock ticks 100 times a second.
  """
  if not (_PROCESSES / "self" / "stat").exists():
    return None
  parents, ticks = {}, {}
  for path in _PROCESSES.glob("[0-9]*/stat"):
    try:
      content = path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
      continue  # it has ended meanwhile
    # The name, in brackets, may hold anything; the state follows.
    fields = content.rpartition(")")[2].split()
    pid = int(path.parent.name)
    parents[pid], ticks[pid] = int(fields[1]), sum(map(int, fields[11:15]))
  own = {os.getpid()}
  while True:
    started = {pid for pid, parent in parents.items() if parent in own}
    if started <= own:
      break
    own |= started
  return sum(ticks[pid] for pid in own) / os.sysconf("SC_CLK_TCK")
