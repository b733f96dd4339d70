"""Scores against the tokens of a clip that are read: what nesting gives."""

import dataclasses

from trajvit.report.columns import split
from trajvit.report.runs import Run, group_runs
from trajvit.report.table import spelled


@dataclasses.dataclass(frozen=True)
class Score:
  """A metric that an evaluator has at every budget, as `<name>@<k>`.

  Attributes:
    name: of the metric.
    label: of an axis.
    digits: after the point, in a table.
    reference: a metric of the same evaluation to hold it against, or "".
  """

  name: str
  label: str
  digits: int
  reference: str = ""


# Name of an evaluator -> its scores.
SCORES = {
  "reconstruction": (
    Score("PSNR_dB", "PSNR (dB)", 2),
    Score("SSIM", "SSIM", 3),
  ),
  "linear_probe": (Score("accuracy", "probe accuracy (%)", 1, "chance"),),
  "frechet": (
    Score("frechet", "Fréchet distance, less is better", 3, "real_floor"),
    Score("perceptual", "perceptual distance, less is better", 3),
  ),
}


def budget_scores(runs: list[Run]) -> list[tuple[str, Score]]:
  """Returns (key of an evaluation, score), what any of the runs has."""
  keys = {key: None for run in runs for key in run.evals}
  return [
    (key, score)
    for evaluator, scores in SCORES.items()
    for key in keys
    for score in scores
    if any(key in run.evaluated_by(evaluator) for run in runs)
  ]


def curve(run: Run, key: str, score: Score) -> dict[int, float]:
  """Returns {tokens of a step that are read: score}, ascending.

  A run without budgets, whose model reads a fixed number, is one point. All
  tokens are as many as the config says, or else, of a tokenizer that knows no
  steps, as the clips were found to have on average.

  Args:
    run: any; one without the evaluation has no point.
    key: of the evaluation.
    score: of its evaluator.
  """
  metrics = run.evals.get(key, {}).get("metrics", {})
  points = {
    int(k): value
    for name, value in metrics.items()
    if (k := name.removeprefix(f"{score.name}@")) != name and k.isdecimal()
  }
  count = _all_tokens(run)
  if score.name in metrics and count is not None:
    points.setdefault(count, metrics[score.name])
  return dict(sorted(points.items()))


def as_table(runs: list[Run]) -> tuple[list[str], list[list[str]]]:
  """Returns the header and the rows of a table, one row a method and score.

  Seeds are put together as in `table.comparison`; results that may not be
  compared have the names of columns of their own.
  """
  found = [
    (name, column.label, score, [curve(run, key, score) for run in group])
    for key, score in budget_scores(runs)
    for column in split(runs, key)
    for name, group in group_runs(column.runs).items()
  ]
  counts = sorted({k for *_, curves in found for one in curves for k in one})
  header = ["method", "evaluation", "score", *(f"k = {k}" for k in counts)]
  rows = [
    [name, label, score.label]
    + [spelled([one.get(k) for one in curves], score.digits) for k in counts]
    for name, label, score, curves in found
    if any(curves)
  ]
  return header, rows


def run_rows(runs: list[Run]) -> list[list]:
  """Returns rows for a CSV, one a run, score and k, the numbers in full."""
  header = ["method", "run", "evaluation", "score", "k", "value"]
  rows = [
    [run.name, run.path.name, key, score.name, k, value]
    for key, score in budget_scores(runs)
    for run in runs
    for k, value in curve(run, key, score).items()
  ]
  return [header, *rows]


def _all_tokens(run):
  """Tokens of a step, or None where nothing tells."""
  tokenizer = run.config["model"].get("tokenizer", {})
  if "num_registers" in tokenizer:
    return tokenizer["num_registers"]
  found = [run.metric(key, "tokens") for key in run.evals]
  found = [round(count) for count in found if count is not None]
  return found[0] if found else None
