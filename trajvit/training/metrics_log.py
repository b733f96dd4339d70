"""metrics.jsonl and timings.jsonl, which survive a restart without a seam."""

import json
import math
import os
import re
from pathlib import Path

# Units, inside a name, of what no second run measures alike.
CLOCK_UNIT = re.compile(r"_(seconds|ms|per_second)(_|$)")


class MetricsLog:
  """Appends rows to a file of a run directory, one JSON object a line.

  Numbers are written so that they read back exactly. Rows of steps after
  `step`, the one a run is restored at, are cut away first: the rest of the run
  writes them again, and the file ends up as if nothing had happened.

  Args:
    path: the file.
    step: steps done; rows after it are cut.
    write: False on all processes but one.
  """

  def __init__(self, path: str | Path, *, step: int, write: bool = True):
    self._file = None
    if write:
      cut_rows(Path(path), step)
      self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115

  def write(self, step: int, values: dict) -> None:
    """Appends {"step": step, **values}, whole, so that a kill tears no row.

    Args:
      step: steps done.
      values: numbers; one that is not finite is written as null.
    """
    if self._file is None:
      return
    row = {"step": int(step)} | {k: _number(v) for k, v in values.items()}
    self._file.write(json.dumps(row, allow_nan=False) + "\n")
    self._file.flush()

  def close(self) -> None:
    """Closes the file."""
    if self._file is not None:
      self._file.close()


def reproducible(values: dict) -> dict:
  """Returns `values` without those whose name has a unit of time."""
  return {k: v for k, v in values.items() if not CLOCK_UNIT.search(k)}


def cut_rows(path: Path, step: int) -> None:
  """Removes, atomically, the rows after `step` and a torn last line."""
  if not path.exists():
    return
  kept = []
  for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
    if not line.endswith("\n"):
      break
    if json.loads(line)["step"] <= step:
      kept.append(line)
  replacement = path.with_suffix(".tmp")
  replacement.write_text("".join(kept), encoding="utf-8")
  os.replace(replacement, path)


def read_rows(path: str | Path) -> list[dict]:
  """Returns all rows of a file written by MetricsLog."""
  with open(path, encoding="utf-8") as file:
    return [json.loads(line) for line in file]


def _number(value):
  """A Python number; float32 to float64 is exact, and repr reads back."""
  value = value.item() if hasattr(value, "item") else value
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value
