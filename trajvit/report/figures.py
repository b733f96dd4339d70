"""Figures of a comparison, as PNG bytes."""

import io
import statistics

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt  # noqa: E402
from matplotlib import ticker  # noqa: E402

from trajvit.report import budgets  # noqa: E402
from trajvit.report.runs import Run, group_runs  # noqa: E402


def accuracy_against(
  runs: list[Run], cost: str, label: str, galleries: list[str]
) -> bytes:
  """Draws t2v R@5 of every gallery against a cost: the Pareto plot.

  Args:
    runs: of all methods and seeds.
    cost: name of the metric of the `cost` evaluation, on a logarithmic axis.
    label: of that axis.
    galleries: keys of retrieval evaluations.
  """
  figure, axes = plt.subplots(
    1, len(galleries), figsize=(3.6 * len(galleries) + 2, 3.6), sharey=True
  )
  for axis, gallery in zip(_list(axes), galleries, strict=True):
    for color, (name, group) in _colored(runs):
      costs = [run.metric("cost", cost) for run in group]
      scores = [run.metric(gallery, "t2v_R@5") for run in group]
      if None in costs + scores:
        continue
      mean = statistics.mean(scores)
      spread = [[mean - min(scores)], [max(scores) - mean]]
      at = statistics.mean(costs)
      tracks = group[0].tracks
      legend = name if tracks == "none used" else f"{name} ({tracks})"
      axis.errorbar(
        at,
        mean,
        spread,
        marker="o",
        linestyle="none",
        color=color,
        capsize=3,
        label=legend,
      )
    axis.set(title=gallery, xlabel=label, ylim=(0, 105))
    _logarithmic(axis)
    axis.margins(x=0.1)
    axis.grid(alpha=0.3)
  _list(axes)[0].set_ylabel("text-to-video R@5 (%)")
  _list(axes)[-1].legend(
    fontsize=7, loc="center left", bbox_to_anchor=(1.02, 0.5)
  )
  return _png(figure)


def curves(runs: list[Run]) -> bytes:
  """Draws training loss, and validation R@5 over steps and over compute.

  The loss alone where no run has a validation.
  """
  validated = any(run.curve("validation/t2v_R@5")[0] for run in runs)
  count = 3 if validated else 1
  figure, axes = plt.subplots(
    1, count, figsize=(13 if validated else 6, 3.6), squeeze=False
  )
  loss = axes[0][0]
  for color, (name, group) in _colored(runs):
    for i, run in enumerate(group):
      style = dict(color=color, label=name if i == 0 else None, alpha=0.8)
      loss.plot(*run.curve("train/loss"), **style)
      if validated:
        _validation(run, axes[0][1:], style)
  loss.set(xlabel="step", ylabel="training loss", title="loss")
  for axis in axes[0]:
    axis.grid(alpha=0.3)
  loss.legend(fontsize=7)
  return _png(figure)


def against_budget(runs: list[Run]) -> bytes:
  """Draws every score of `budgets` against the tokens of a step that are read.

  A method is a curve through the means of its seeds, or one point where its
  runs read a fixed number. A dashed line is what a score is held against.
  """
  scores = budgets.budget_scores(runs)
  columns = min(3, len(scores))
  rows = -(-len(scores) // columns)
  figure, axes = plt.subplots(
    rows, columns, figsize=(4.4 * columns, 3.6 * rows), squeeze=False
  )
  for axis in axes.flat[len(scores) :]:
    axis.remove()
  for axis, (key, score) in zip(axes.flat, scores, strict=False):
    ticks = set()
    for color, (name, group) in _colored(runs):
      found = [budgets.curve(run, key, score) for run in group]
      counts = sorted(set().union(*found))
      seeds = [[one[k] for one in found if k in one] for k in counts]
      means = [statistics.mean(values) for values in seeds]
      spread = [
        [mean - min(x) for mean, x in zip(means, seeds, strict=True)],
        [max(x) - mean for mean, x in zip(means, seeds, strict=True)],
      ]
      ticks |= set(counts)
      if counts:
        style = dict(marker="o", markersize=4, capsize=2, color=color)
        axis.errorbar(counts, means, spread, label=name, **style)
    held_against = [run.metric(key, score.reference) for run in runs]
    for value in {x for x in held_against if x is not None}:
      axis.axhline(value, color="grey", linestyle="--", linewidth=1)
    axis.set(title=key, xlabel="tokens of a step, k", ylabel=score.label)
    axis.set_xscale("log", base=2)
    axis.set_xticks(sorted(ticks), [str(k) for k in sorted(ticks)])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
  axes[0][0].legend(fontsize=7)
  return _png(figure)


def _validation(run, axes, style):
  """Adds a run's R@5 on validation, over steps and over compute."""
  steps, compute = axes
  at, score = run.curve("validation/t2v_R@5")
  steps.plot(at, score, marker=".", **style)
  if run.step_gflops is not None:
    tflops = [step * run.step_gflops / 1000 for step in at]
    compute.plot(tflops, score, marker=".", **style)
  steps.set(
    xlabel="step", ylabel="t2v R@5 (%)", title="validation, equal steps"
  )
  compute.set(
    xlabel="training compute, video side (TFLOP)",
    ylabel="t2v R@5 (%)",
    title="validation, equal compute",
  )
  _logarithmic(compute)


def _colored(runs):
  """(color, (name, runs)) of every method, alike in all figures."""
  colors = plt.rcParams["axes.prop_cycle"].by_key()["color"]
  groups = group_runs(runs).items()
  return [(colors[i % len(colors)], g) for i, g in enumerate(groups)]


def _logarithmic(axis):
  """A logarithmic x axis whose labels are plain numbers."""
  axis.set_xscale("log")
  axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
  axis.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
  axis.xaxis.set_minor_formatter(ticker.NullFormatter())


def _list(axes):
  return list(axes) if hasattr(axes, "__len__") else [axes]


def _png(figure):
  figure.tight_layout()
  buffer = io.BytesIO()
  figure.savefig(buffer, format="png", dpi=110)
  plt.close(figure)
  return buffer.getvalue()
