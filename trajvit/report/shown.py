"""Which numbers of an evaluation the page shows, and which way they improve."""

import dataclasses
from collections.abc import Callable

from trajvit.report.runs import Run

# The evaluation that tells what a clip costs.
COST = "cost"
MORE, LESS = "more", "less"


@dataclasses.dataclass(frozen=True)
class Shown:
  """A metric that is shown.

  Attributes:
    name: of the metric. `<name>_low` and `<name>_high`, if there, are the ends
      of its confidence interval.
    label: in the head of a column and at an axis.
    better: MORE or LESS.
    digits: after the point.
    unit: at an axis, or "".
    chance: from the metrics and the evaluator's options to what guessing
      scores, or None where they do not tell.
  """

  name: str
  label: str
  better: str = MORE
  digits: int = 1
  unit: str = "%"
  chance: Callable[[dict, dict], float | None] = lambda metrics, options: None

  @property
  def axis(self) -> str:
    """The label with the unit."""
    return f"{self.label} ({self.unit})" if self.unit else self.label

  @property
  def lowest(self) -> float | None:
    """Where an axis starts at the latest; a ratio in dB has no such place."""
    return None if self.unit == "dB" else 0.0


def _among(name: str, k: int):
  """Chance to have the one right item among k of `name` items, percent."""

  def chance(metrics, options):
    del options
    items = metrics.get(name)
    return 100 * min(1.0, k / items) if items else None

  return chance


def _choice(metrics, options):
  del metrics
  groups = options.get("groups")
  return 100 / groups if groups else None


def _commonest(metrics, options):
  del options
  return metrics.get("chance")


# In the order of the table's columns. Text to video ranks clips, video to text
# captions; with several of them a clip, chance is higher than drawn.
SCORES = (
  Shown("t2v_R@1", "t2v R@1", chance=_among("n_evaluated", 1)),
  Shown("t2v_R@5", "t2v R@5", chance=_among("n_evaluated", 5)),
  Shown("v2t_R@1", "v2t R@1", chance=_among("n_captions", 1)),
  Shown("v2t_R@5", "v2t R@5", chance=_among("n_captions", 5)),
  Shown("choice_accuracy", "choice", chance=_choice),
  Shown("top1", "top-1", chance=_among("n_classes", 1)),
  Shown("top5", "top-5", chance=_among("n_classes", 5)),
  Shown("accuracy", "accuracy", chance=_commonest),
  Shown("mAP", "mAP"),
  Shown("standard_VEQ", "VEQ", digits=3, unit=""),
  Shown("standard_STQ_EN", "STQ", digits=3, unit=""),
  Shown("J&F", "J&F", digits=3, unit=""),
  Shown("PSNR_dB", "PSNR", digits=2, unit="dB"),
  Shown("SSIM", "SSIM", digits=3, unit=""),
  Shown("frechet", "Fréchet distance", LESS, 3, ""),
  Shown("perceptual", "perceptual distance", LESS, 3, ""),
)
# Of an evaluation with several of these, the first is set against the costs.
HEADLINES = ("t2v_R@5", "top1", "accuracy", "mAP", "J&F", "PSNR_dB")
# How evaluations begin that choices are made by, which no result is.
CHOSEN_BY = "validation"

COSTS = (
  Shown("tokens_per_clip_mean", "tokens a clip", LESS, 1, ""),
  Shown("GFLOPs_per_clip", "GFLOPs a clip", LESS, 3, ""),
  Shown("ms_per_clip", "ms a clip", LESS, 2, ""),
  Shown("peak_memory_MiB", "peak memory", LESS, 0, "MiB"),
)
# What depends on the machine and on how many clips run together.
OF_MACHINE = ("ms_per_clip", "peak_memory_MiB")


def value(run: Run, key: str, name: str) -> float | None:
  """Returns a metric of a run, or None without it.

  `ms_per_clip` is 1000 / `clips_per_second_model`: of a batch, not the delay of
  a single clip.
  """
  if name != "ms_per_clip":
    return run.metric(key, name)
  speed = run.metric(key, "clips_per_second_model")
  return 1000 / speed if speed else None


def interval(run: Run, key: str, name: str) -> tuple[float, float] | None:
  """Returns the confidence interval of a metric, or None without one."""
  ends = [run.metric(key, f"{name}_{end}") for end in ("low", "high")]
  return None if None in ends else tuple(ends)


def chance(run: Run, key: str, score: Shown) -> float | None:
  """Returns what guessing scores, or None where the result does not tell."""
  result = run.evals.get(key, {})
  options = result.get("manifest", {}).get("evaluator", {})
  return score.chance(result.get("metrics", {}), options)


def scores_of(runs: list[Run], key: str) -> list[Shown]:
  """Returns the scores that any of the runs has in an evaluation."""
  return [
    score
    for score in SCORES
    if any(run.metric(key, score.name) is not None for run in runs)
  ]


def headline(runs: list[Run], key: str) -> Shown | None:
  """Returns the score that is set against the costs, None without one."""
  found = {score.name: score for score in scores_of(runs, key)}
  names = [name for name in HEADLINES if name in found]
  return found[names[0]] if names else None


def result_keys(runs: list[Run]) -> list[str]:
  """Returns the evaluations that results are from, the hardest last."""
  keys = {key for run in runs for key in run.evals}
  keys = [key for key in keys if not key.startswith(CHOSEN_BY)]
  keys = [key for key in keys if scores_of(runs, key)]
  return sorted(keys, key=lambda key: (key.startswith("hard"), key))
