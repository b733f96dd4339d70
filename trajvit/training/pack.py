"""From a run directory to a packed one."""

import json
from pathlib import Path

from trajvit.training.packed import write_packed
from trajvit.training.restore import restore_run
from trajvit.training.workdir import find_run, read_run_config


def pack_run(
  workdir: str | Path,
  out: str | Path,
  *,
  command: str,
  step: int | str | None = None,
) -> None:
  """Writes the model of a run as one of its checkpoints has it.

  The moving average of its parameters, where the run keeps one. Evaluations of
  the same step go along, metrics and manifests.

  Args:
    workdir: of the run.
    out: the directory to write, see `training.packed`.
    command: that trained it, for people.
    step: which checkpoint; None = the newest, "best" = the best.

  Raises:
    FileNotFoundError: no run, or no such checkpoint.
    FileExistsError: there is a run in `out`.
  """
  run = restore_run(workdir, step=step)
  evals = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((find_run(workdir) / "eval").glob("*.json"))
  }
  record = {
    "command": command,
    "step": run.step,
    "ema": run.ema,
    "meta": run.meta,
    "evals": {
      name: result
      for name, result in evals.items()
      if result["manifest"]["step"] == run.step
    },
  }
  write_packed(out, read_run_config(workdir), run.variables, record)
