"""What is known of a run besides its weights: results, and where they are from.

Results belong to weights: those of another step, or of other weights of the
step than its evaluations read, say nothing of them.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

from trajvit.data.whole_files import read_json
from trajvit.training.packed import RECORD, is_packed
from trajvit.training.restore import RestoredRun
from trajvit.training.workdir import find_run

ORIGIN = "origin.json"  # of a converted run, see `interop.write`
MEASURED = ("cost",)  # evaluators whose numbers are of the machine


@dataclasses.dataclass(frozen=True)
class About:
  """What a model card tells that an export does not say of itself.

  Attributes:
    name: of the model.
    license: as the Hub writes it, such as "apache-2.0"; None leaves it open.
    results: of these weights, {key: {"metrics", "manifest"}}.
    origin: of converted weights {"kind", "compat", "source", "sha256"}, else
      None.
  """

  name: str
  license: str | None = None
  results: Mapping[str, dict] = dataclasses.field(default_factory=dict)
  origin: Mapping | None = None


def about_run(
  workdir: str | Path, run: RestoredRun, license: str | None = None
) -> About:
  """Returns what the directory of a run tells of its weights.

  Args:
    workdir: of the run.
    run: what was restored of it.
    license: see `About`.

  Raises:
    ValueError: a file of results that is damaged.
  """
  workdir = find_run(workdir).resolve()
  results = {}
  if run.ema == (run.config.optimizer.ema_decay > 0):  # as evaluations read
    results = {
      key: result
      for key, result in _results(workdir).items()
      if result["manifest"]["step"] == run.step
    }
  origin = workdir / ORIGIN
  return About(
    name=workdir.name,
    license=license,
    results=results,
    origin=read_json(origin) if origin.is_file() else None,
  )


def scores(result: dict) -> dict[str, float]:
  """Returns the metrics of a result that are no counts, and numbers."""
  return {
    name: round(value, 4)
    for name, value in result["metrics"].items()
    if not name.startswith("n_") and math.isfinite(value)
  }


def model_index(about: About) -> list[dict]:
  """Returns the results as the Hub's `model-index` has them."""
  results = []
  for key, result in about.results.items():
    manifest = result["manifest"]
    evaluator, data = manifest["evaluator"]["name"], manifest["data"]
    if evaluator not in MEASURED:
      results.append(
        {
          "task": {"type": "feature-extraction", "name": evaluator},
          "dataset": {
            "name": f"{data_name(data)}, {key}",
            "type": data_name(data),
            "split": data.get("split", key),
            "args": {"tracks": tracks_of(manifest)},
          },
          "metrics": [
            {"type": name, "value": value}
            for name, value in scores(result).items()
          ],
        }
      )
  return [{"name": about.name, "results": results}] if results else []


def origin_rows(origin: dict) -> list[tuple[str, str]]:
  """Returns rows of a table on where converted weights come from.

  Args:
    origin: {"kind", "compat", "source", "sha256"}, see `interop.write`.
  """
  behaviour = "as the released code" if origin["compat"] else "corrected"
  return [
    ("kind", f"`{origin['kind']}`"),
    ("behaviour", behaviour),
    ("source", f"`{origin['source']}`"),
    ("SHA-256 of it", f"`{origin['sha256']}`"),
  ]


def data_name(data: Mapping) -> str:
  """Returns the name of a public data set, or of the source."""
  return data.get("benchmark") or data["name"]


def tracks_of(manifest: Mapping) -> str:
  """Returns where the tracks of an evaluation came from, as far as it says."""
  known = {True: "ground truth", False: "not ground truth"}
  return known.get(manifest.get("tracks_are_ground_truth"), "unknown")


def _results(workdir: Path) -> dict:
  """All results of a run, packed or not."""
  if is_packed(workdir):
    return read_json(workdir / RECORD).get("evals", {})
  files = sorted((workdir / "eval").glob("*.json"))
  return {file.stem: read_json(file) for file in files}
