"""One checkpoint of a run as it lies there, and how a made one is written."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trajvit.export.directory import new_directory
from trajvit.training.checkpoint import Checkpoints
from trajvit.training.config import CheckpointConfig, read_config
from trajvit.training.provenance import versions
from trajvit.training.state import TrainState
from trajvit.training.workdir import read_run_config, write_run_config

# What a model is evaluated with; the rest is for training to go on.
WEIGHTS = ("params", "ema", "batch_stats")


@dataclasses.dataclass(frozen=True)
class Saved:
  """A checkpoint; of its arrays only the shapes have been read.

  Attributes:
    workdir: of the run.
    config: of the run, plain nested values.
    step: which one it is.
    steps: all that the run has.
    state: nested ShapeDtypeStructs, see `Checkpoints.saved_state`.
    data: what the order of the data depends on.
    meta: where the numbers come from.
  """

  workdir: Path
  config: dict
  step: int
  steps: list[int]
  state: dict
  data: dict
  meta: dict

  @property
  def weights(self) -> tuple[str, ...]:
    """Those of WEIGHTS that were saved."""
    return tuple(name for name in WEIGHTS if name in self.state)

  def read(self, parts: Sequence[str]) -> dict:
    """Returns parts of the state as nested NumPy arrays."""
    checkpoints = _open(self.workdir, self.config)
    arrays = checkpoints.restore_on_host(parts, step=self.step)
    checkpoints.close()
    return arrays


def find_saved(workdir: str | Path, step: int | str | None = None) -> Saved:
  """Returns a checkpoint of a run.

  Args:
    workdir: of the run.
    step: the number; None = the newest, "best" = the best by the metric of the
      config.

  Raises:
    FileNotFoundError: no run, or no such checkpoint.
  """
  workdir = Path(workdir).expanduser().resolve()
  config = read_run_config(workdir)
  checkpoints = _open(workdir, config)
  step = checkpoints.find(step)
  saved = Saved(
    workdir=workdir,
    config=config,
    step=step,
    steps=checkpoints.steps(),
    state=checkpoints.saved_state(step),
    data=checkpoints.data(step),
    meta=checkpoints.meta(step),
  )
  checkpoints.close()
  return saved


def write_weights(
  out: str | Path,
  weights: dict,
  *,
  config: dict,
  made_from: Sequence[Saved],
  made_by: str,
) -> Path:
  """Writes a run directory with one checkpoint, of weights alone.

  Evaluations, exports and `warm_start` read it as that of any run; training
  cannot go on in it. The step is the latest of those that it was made from;
  its data and meta are those of the last.

  Args:
    out: the directory to make.
    weights: of WEIGHTS those that there are, nested arrays.
    config: of the run, plain nested values.
    made_from: the checkpoints that went into it.
    made_by: what was done to them, in words.

  Returns:
    The directory.

  Raises:
    ValueError: there is something at `out`; nothing is ever overwritten.
  """
  out = Path(out).expanduser().resolve()
  if out.exists():
    raise ValueError(f"{out} exists, and nothing is overwritten")
  last = made_from[-1]
  step = max(saved.step for saved in made_from)
  with new_directory(out, marker="config.json") as directory:
    write_run_config(directory, config)
    checkpoints = Checkpoints(
      directory / "checkpoints", CheckpointConfig(every=1)
    )
    checkpoints.save(
      step,
      TrainState(
        step=np.asarray(step, np.int32),
        params=weights["params"],
        batch_stats=weights.get("batch_stats", {}),
        opt_state=None,
        ema=weights.get("ema"),
        halted=np.asarray(False),
      ),
      data=last.data,
      meta={
        **last.meta,
        "made_by": made_by,
        "made_from": [[str(x.workdir), x.step] for x in made_from],
        "made_with": versions(),
      },
    )
    checkpoints.close()
  return out


def _open(workdir, config):
  folder = workdir / "checkpoints"
  if not folder.is_dir():
    raise FileNotFoundError(f"{workdir} has no checkpoints")
  keep = read_config(config).checkpoint
  return Checkpoints(folder, keep, read_only=True)
