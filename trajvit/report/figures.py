"""The figures of a comparison, as data: see `chart` for how they are drawn."""

import statistics

from trajvit.report import budgets, pareto, shown
from trajvit.report.chart import LINE, STEPS, Axis, Figure, Panel, Series
from trajvit.report.columns import Column, split
from trajvit.report.runs import Run, group_runs

_MOST_POINTS = 200  # of a curve


def figures_of(runs: list[Run]) -> list[Figure]:
  """Returns all figures that the runs have numbers for."""
  found = [against_cost(runs, cost) for cost in shown.COSTS]
  found += [against_budget(runs), curves(runs), token_counts(runs)]
  return [figure for figure in found if figure.panels]


def against_cost(runs: list[Run], cost: shown.Shown) -> Figure:
  """Returns the headline score of every evaluation against a cost.

  A panel has the runs that are in one column of the evaluation, and in one of
  the cost. The front is that of the means over seeds.

  Args:
    runs: of all methods and seeds.
    cost: one of `shown.COSTS`.
  """
  machine = cost.name in shown.OF_MACHINE
  panels = [
    panel
    for key in shown.result_keys(runs)
    for column in split(runs, key)
    for costs in split(list(column.runs), shown.COST, machine=machine)
    for panel in _front_panel(runs, column, costs, cost)
  ]
  note = (
    "The line is the front: the best score that a cost can buy. Bars are the "
    "lowest and the highest seed, or of one run its confidence interval where "
    "it has one. Hollow marks choose tokens at random."
  )
  title = f"Accuracy against {cost.label}"
  return Figure(f"pareto_{cost.name}", title, tuple(panels), note)


def curves(runs: list[Run]) -> Figure:
  """Returns the training loss, and scores in training by steps and compute."""
  losses = [_curve(runs, run, *run.curve("train/loss")) for run in runs]
  losses = tuple(one for one in losses if one.x)
  panels = []
  if losses:
    panels.append(Panel("training loss", Axis("step"), Axis("loss"), losses))
  for key in dict.fromkeys(key for run in runs for key in run.evals):
    for column in split(runs, key):
      panels += _validation(runs, column)
  note = (
    f"A line is a run. Of more than {_MOST_POINTS} points, the means of "
    "neighbours are drawn. Compute is that of the video side."
  )
  return Figure("curves", "Training", tuple(panels), note)


def token_counts(runs: list[Run]) -> Figure:
  """Returns how many clips have how many tokens, of each run that counted."""
  panels = []
  for column in split(runs, shown.COST):
    series = []
    for run in column.runs:
      details = run.evals[shown.COST].get("details", {})
      if "tokens_per_clip" in details:
        series.append(_outline(runs, run, **details["tokens_per_clip"]))
    if series:
      x, y = Axis("tokens a clip", low=0), Axis("clips (%)", low=0)
      panels.append(Panel(column.label, x, y, tuple(series)))
  return Figure("tokens", "Tokens of a clip", tuple(panels))


def against_budget(runs: list[Run]) -> Figure:
  """Returns every score of `budgets` against the tokens that are read.

  A method is a curve through the means of its seeds, or one point where its
  runs read a fixed number. A dashed line is what a score is held against.
  """
  panels = []
  for key, score in budgets.budget_scores(runs):
    for column in split(runs, key):
      series, counts = [], set()
      for name, group in group_runs(column.runs).items():
        found = [budgets.curve(run, key, score) for run in group]
        at = sorted(set().union(*found))
        counts |= set(at)
        values = [[one[k] for one in found if k in one] for k in at]
        points = _spread(runs, group, at, values, [None] * len(at))
        if len(at) > 1:
          line = (tuple(at), points.y)
          number = points.number
          series.append(Series(name, *line, kind=LINE, number=number))
        series += [points] if at else []
      references = {run.metric(key, score.reference) for run in column.runs}
      levels = [(x, score.reference) for x in sorted(references - {None})]
      if series:
        x = Axis("tokens of a step, k", log=True, at=tuple(sorted(counts)))
        y = Axis(score.label)
        title = f"{column.label}: {score.name}"
        panels.append(Panel(title, x, y, tuple(series), tuple(levels)))
  return Figure("budgets", "Against the tokens that are read", tuple(panels))


def number_of(runs: list[Run], run: Run) -> int:
  """Returns the place of a run's method, which its colour goes by."""
  return list(group_runs(runs)).index(run.name)


def _front_panel(runs, column: Column, costs: Column, cost):
  """[Panel] of the methods with both numbers.

  [] where a single one of several has them, unless it has a column of its own.
  """
  score = shown.headline(list(column.runs), column.key)
  if score is None:
    return []
  series, points = [], []
  for group in group_runs(costs.runs).values():
    pairs = [
      (run, at, found)
      for run in group
      if (at := shown.value(run, shown.COST, cost.name)) is not None
      and (found := run.metric(column.key, score.name)) is not None
    ]
    if pairs:
      members, x, y = zip(*pairs, strict=True)
      ends = shown.interval(members[0], column.key, score.name)
      mean = [statistics.mean(x)]
      series.append(_spread(runs, members, mean, [y], [ends]))
      points.append((mean[0], series[-1].y[0]))
  enough = 1 if column.apart else min(2, len(group_runs(runs)))
  if len(points) < enough:
    return []
  kept = [points[i] for i in pareto.front(*zip(*points, strict=True))]
  corners = pareto.staircase(kept, max(x for x, _ in points))
  front = Series("Pareto front", *zip(*corners, strict=True), kind=STEPS)
  found = {shown.chance(run, column.key, score) for run in costs.runs}
  levels = [(level, "chance") for level in sorted(found - {None})]
  title = ", ".join([column.label, *costs.spelled])
  x, y = Axis(cost.axis, log=True), Axis(score.axis, low=score.lowest)
  return [Panel(title, x, y, (front, *series), tuple(levels))]


def _spread(runs, group, x, seeds, ends) -> Series:
  """A method's means, with bars from its lowest to its highest seed.

  Args:
    runs: all of the page.
    group: runs of the method.
    x: of the points.
    seeds: the values of each point.
    ends: of each point the confidence interval of a single seed, or None.
  """
  bars = [
    end if end and len(values) == 1 else (min(values), max(values))
    for values, end in zip(seeds, ends, strict=True)
  ]
  count = len(group)
  note = f"{count} seed{'s' * (count > 1)}, {_tracks(group[0])}"
  return Series(
    name=group[0].name,
    x=tuple(x),
    y=tuple(statistics.mean(values) for values in seeds),
    low=tuple(low for low, _ in bars),
    high=tuple(high for _, high in bars),
    number=number_of(runs, group[0]),
    baseline=group[0].is_random,
    notes=(note,) * len(bars),
  )


def _tracks(run):
  return "no tracks" if run.tracks == "none used" else f"tracks: {run.tracks}"


def _validation(runs, column):
  """Panels of a score that is taken in training: by steps, by compute."""
  score = shown.headline(list(column.runs), column.key)
  if score is None:
    return []
  by_step, by_compute = [], []
  for run in column.runs:
    steps, values = run.curve(f"{column.key}/{score.name}")
    if len(steps) < 2:
      continue
    by_step.append(_curve(runs, run, steps, values))
    if run.step_gflops is not None:
      spent = [step * run.step_gflops / 1000 for step in steps]
      by_compute.append(_curve(runs, run, spent, values))
  y, panels = Axis(score.axis, low=score.lowest), []
  compute = Axis("training compute (TFLOP)", log=True)
  for by, x, lines in (
    ("steps", Axis("step"), by_step),
    ("compute", compute, by_compute),
  ):
    if lines:
      title = f"{column.label}, by {by}"
      panels.append(Panel(title, x, y, tuple(lines)))
  return panels


def _curve(runs, run, x, y) -> Series:
  """A line; of many points, the means of neighbours."""
  size = -(-len(x) // _MOST_POINTS) or 1
  cuts = range(0, len(x), size)
  x, y = (
    tuple(statistics.mean(values[i : i + size]) for i in cuts)
    for values in (x, y)
  )
  number, baseline = number_of(runs, run), run.is_random
  return Series(run.name, x, y, kind=LINE, number=number, baseline=baseline)


def _outline(runs, run, edges, clips) -> Series:
  """The outline of a histogram, in percent of the clips."""
  total = sum(clips)
  x, y = [edges[0]], [0.0]
  for left, right, count in zip(edges[:-1], edges[1:], clips, strict=True):
    x += [left, right]
    y += [100 * count / total] * 2
  x, y = (*x, edges[-1]), (*y, 0.0)
  number, baseline = number_of(runs, run), run.is_random
  return Series(run.name, x, y, kind=STEPS, number=number, baseline=baseline)
