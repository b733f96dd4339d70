"""Reading run directories: configs, curves and evaluations."""

import dataclasses
import json
import statistics
from collections.abc import Iterable
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Run:
  """What a run directory holds.

  Attributes:
    name: what a table calls it: the directory's name, without "-seed<n>".
    path: the directory.
    config: the resolved config.
    metrics: rows of metrics.jsonl.
    timings: rows of timings.jsonl.
    evals: {key: {"metrics": ..., "manifest": ...}}, with what else a result has
      in "details".
  """

  name: str
  path: Path
  config: dict
  metrics: list[dict]
  timings: list[dict]
  evals: dict

  @property
  def reads_tracks(self) -> bool:
    """Whether the tokens are tracks that come with a clip."""
    tokenizer = self.config["model"].get("tokenizer", {"name": "none"})
    return tokenizer["name"].startswith("trajectory")

  @property
  def tracks(self) -> str:
    """Where the model's tracks come from: it decides what a result is worth."""
    if not self.reads_tracks:
      return "none used"
    truth = {
      result["manifest"].get("tracks_are_ground_truth")
      for result in self.evals.values()
    }
    return {
      (True,): "ground truth",
      (False,): "from pixels",
    }.get(tuple(truth), "given")

  @property
  def is_random(self) -> bool:
    """Whether the tokens are chosen at random: a baseline."""
    model = self.config["model"]
    reducers = model.get("encoder", {}).get("reducers") or ()
    parts = [model.get("tokenizer"), *reducers]
    return any(part and part["name"].startswith("random") for part in parts)

  @property
  def step_seconds(self) -> float:
    """The median seconds of a training step."""
    return statistics.median(r["time/step_ms"] for r in self.timings) / 1000

  def metric(self, key: str, name: str) -> float | None:
    """Returns a metric of an evaluation, or None where it was not made."""
    return self.evals.get(key, {}).get("metrics", {}).get(name)

  def evaluated_by(self, evaluator: str) -> list[str]:
    """Returns the keys of the evaluations by an evaluator, a name."""
    return [
      key
      for key, result in self.evals.items()
      if result["manifest"].get("evaluator", {}).get("name") == evaluator
    ]

  def curve(self, name: str) -> tuple[list[int], list[float]]:
    """Returns the steps and the values of a column of metrics.jsonl."""
    rows = [row for row in self.metrics if row.get(name) is not None]
    return [row["step"] for row in rows], [row[name] for row in rows]

  @property
  def step_gflops(self) -> float | None:
    """GFLOPs of a training step, video side; a backward is two forwards."""
    forward = self.metric("cost", "GFLOPs_per_clip")
    if forward is None:
      return None
    return 3 * forward * self.config["data"]["batch_size"]


def read_run(path: str | Path) -> Run:
  """Returns the run in the directory `path`.

  Raises:
    FileNotFoundError: it is no run directory, or has not trained yet.
  """
  path = Path(path)
  for name in ("config.json", "metrics.jsonl", "timings.jsonl"):
    if not (path / name).exists():
      raise FileNotFoundError(f"{path} is not a trained run: no {name}")
  return Run(
    name=path.name.split("-seed")[0],
    path=path,
    config=json.loads((path / "config.json").read_text()),
    metrics=_rows(path / "metrics.jsonl"),
    timings=_rows(path / "timings.jsonl"),
    evals={
      file.stem: json.loads(file.read_text())
      for file in sorted((path / "eval").glob("*.json"))
    },
  )


def group_runs(runs: list[Run]) -> dict[str, list[Run]]:
  """Returns {name: its runs, one a seed}, in the order given."""
  groups = {}
  for run in runs:
    groups.setdefault(run.name, []).append(run)
  return groups


def names_of(runs: Iterable[Run]) -> list[str]:
  """Returns the names of runs, each once, in the order given."""
  return list(dict.fromkeys(run.name for run in runs))


def _rows(path):
  return [json.loads(line) for line in path.read_text().splitlines()]
