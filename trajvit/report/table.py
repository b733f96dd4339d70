"""The table that compares runs: tokens, cost, speed and retrieval."""

import statistics

from trajvit.report.runs import Run, group_runs

# Evaluations that are a part of the work, or of every run, and not a gallery.
NOT_GALLERIES = ("cost", "validation")
DIRECTIONS = ("t2v", "v2t")


def comparison(runs: list[Run]) -> tuple[list[str], list[list[str]]]:
  """Returns the header and the rows of the table, one row a method.

  Where a method was run with several seeds a cell is their mean and, after ±,
  half the distance between the lowest and the highest.
  """
  galleries = gallery_keys(runs)
  header = ["method", "tracks", "tokens", "p95", "GFLOPs", "steps/s"]
  for gallery in galleries:
    header += [f"{gallery} {way} R@1 / R@5" for way in DIRECTIONS]
  choices = [
    gallery
    for gallery in galleries
    if any(run.metric(gallery, "choice_accuracy") is not None for run in runs)
  ]
  header += [f"{gallery} choice" for gallery in choices]
  rows = []
  for name, group in group_runs(runs).items():
    row = [
      name,
      group[0].tracks,
      cell([run.metric("cost", "tokens_per_clip_mean") for run in group]),
      cell([run.metric("cost", "tokens_per_clip_p95") for run in group], 0),
      cell([run.metric("cost", "GFLOPs_per_clip") for run in group], 3),
      cell([1 / run.step_seconds for run in group]),
    ]
    for gallery in galleries:
      for way in DIRECTIONS:
        ranks = [
          cell([run.metric(gallery, f"{way}_R@{k}") for run in group])
          for k in (1, 5)
        ]
        row.append(" / ".join(ranks))
    for gallery in choices:
      row.append(
        cell([run.metric(gallery, "choice_accuracy") for run in group])
      )
    rows.append(row)
  return header, rows


def gallery_keys(runs: list[Run]) -> list[str]:
  """Returns the evaluations that are test galleries, the hardest last."""
  keys = {
    key
    for run in runs
    for key, result in run.evals.items()
    if "t2v_R@5" in result["metrics"]
  } - set(NOT_GALLERIES)
  return sorted(keys, key=lambda key: (key.startswith("hard"), key))


def as_text(header: list[str], rows: list[list[str]]) -> str:
  """Returns the table as text, cut into blocks of columns that fit a screen."""
  common, rest = header[:6], header[6:]
  blocks = [_aligned(common, [row[:6] for row in rows])]
  for start in range(0, len(rest), 4):
    columns = slice(6 + start, 6 + start + 4)
    part = [[row[0], *row[columns]] for row in rows]
    blocks.append(_aligned([header[0], *header[columns]], part))
  return "\n\n".join(blocks)


def equal_compute(runs: list[Run], ours: str) -> list[dict]:
  """Compares `ours` with every other method at the compute both have spent.

  The validation curves are read at the lesser of the two runs' total training
  compute; the longer run has not finished its schedule there.

  Returns:
    For every other method with a validation curve: `method`, `tflops`, and for
    both `steps` and `t2v_R@5`, linear between the evaluations.
  """
  groups = group_runs(runs)
  if ours not in groups:
    return []
  base, rows = groups[ours][0], []
  for name, (other, *_) in groups.items():
    if name == ours or None in (base.step_gflops, other.step_gflops):
      continue
    budget = min(_total(base), _total(other))
    points = [_at_compute(run, budget) for run in (base, other)]
    if None not in points:
      rows.append(
        {"method": name, "tflops": budget / 1000, "ours": points[0]}
        | {"theirs": points[1]}
      )
  return rows


def cell(values: list[float | None], digits: int = 1) -> str:
  """Returns the mean over seeds and their spread, "-" without a value.

  None is a seed without one; `digits` are those after the point.
  """
  values = [value for value in values if value is not None]
  if not values:
    return "-"
  text = f"{statistics.mean(values):.{digits}f}"
  if len(values) > 1:
    text += f"±{(max(values) - min(values)) / 2:.{digits}f}"
  return text


def _total(run):
  return run.step_gflops * run.config["total_steps"]


def _at_compute(run, budget):
  """(steps, validation t2v R@5) of a run once it has spent `budget` GFLOPs."""
  steps, values = run.curve("validation/t2v_R@5")
  at = budget / run.step_gflops
  steps, values = [0, *steps], [0.0, *values]
  for i in range(1, len(steps)):
    if at <= steps[i] + 0.5:
      share = (at - steps[i - 1]) / (steps[i] - steps[i - 1])
      return round(at), values[i - 1] + share * (values[i] - values[i - 1])
  return None


def _aligned(header, rows):
  widths = [
    max(len(row[i]) for row in [header, *rows]) for i in range(len(header))
  ]
  lines = []
  for row in [header, *rows]:
    cells = [row[0].ljust(widths[0])]
    cells += [x.rjust(w) for x, w in zip(row[1:], widths[1:], strict=True)]
    lines.append("  ".join(cells))
  return "\n".join(lines)
