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
  Shown("dsl_t2v_R@1", "dual softmax t2v R@1"),
  Shown("dsl_t2v_R@5", "dual softmax t2v R@5"),
  Shown("dsl_v2t_R@1", "dual softmax v2t R@1"),
  Shown("dsl_v2t_R@5", "dual softmax v2t R@5"),
  Shown("choice_accuracy", "choice", chance=_choice),
  Shown("top1", "top-1", chance=_among("n_classes", 1)),
  Shown("top5", "top-5", chance=_among("n_classes", 5)),
  Shown("mean_class_accuracy", "mean of classes"),
  Shown("accuracy", "accuracy", chance=_commonest),
  Shown("accuracy_middle_frame", "accuracy, middle frame", chance=_commonest),
  Shown("time_gain", "gain by time", unit="points"),
  Shown("order_reversed", "order, reversed", chance=lambda *_: 50.0),
  Shown("order_shuffled", "order, shuffled", chance=lambda *_: 50.0),
  Shown("mAP", "mAP"),
  Shown("mAP_labelled", "mAP, labelled"),
  Shown("standard_VEQ", "VEQ", digits=3, unit=""),
  Shown("standard_STQ_EN", "STQ", digits=3, unit=""),
  Shown("J&F", "J&F", digits=3, unit=""),
  Shown("PSNR_dB", "PSNR", digits=2, unit="dB"),
  Shown("SSIM", "SSIM", digits=3, unit=""),
  Shown("frechet", "Fréchet distance", LESS, 3, ""),
  Shown("perceptual", "perceptual distance", LESS, 3, ""),
)
# Names that end in a number, in front of it: evaluators make as many of these
# scores as their options say.
NUMBERED = {
  "weighted@": Shown("", "k-NN, k = ", chance=_commonest),
}
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
  names = {name for run in runs for name in run.evals[key]["metrics"]}
  found = [score for score in SCORES if score.name in names]
  for start, score in NUMBERED.items():
    numbers = [name.removeprefix(start) for name in names - {start}]
    for k in sorted(int(x) for x in numbers if x.isdecimal()):
      name, label = f"{start}{k}", f"{score.label}{k}"
      found.append(dataclasses.replace(score, name=name, label=label))
  return found


def headline(runs: list[Run], key: str) -> Shown | None:
  """Returns the score that is set against the costs, None without one.

  It is the first in HEADLINES, or else the first of which more is better.
  """
  found = [x for x in scores_of(runs, key) if x.better == MORE]
  first = [x for name in HEADLINES for x in found if x.name == name]
  return (first + found)[0] if found else None


def result_keys(runs: list[Run]) -> list[str]:
  """Returns the evaluations that results are from, the hardest last."""
  keys = {key for run in runs for key in run.evals}
  keys = [key for key in keys if not key.startswith(CHOSEN_BY)]
  keys = [
    key
    for key in keys
    if scores_of([run for run in runs if key in run.evals], key)
  ]
  return sorted(keys, key=lambda key: (key.startswith("hard"), key))
