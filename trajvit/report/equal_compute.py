"""Methods against one of them where both have spent the same compute."""

from trajvit.report.runs import Run, group_runs

CURVE = "validation/t2v_R@5"


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


def _total(run):
  return run.step_gflops * run.config["total_steps"]


def _at_compute(run, budget):
  """(steps, validation t2v R@5) of a run once it has spent `budget` GFLOPs."""
  steps, values = run.curve(CURVE)
  at = budget / run.step_gflops
  steps, values = [0, *steps], [0.0, *values]
  for i in range(1, len(steps)):
    if at <= steps[i] + 0.5:
      share = (at - steps[i - 1]) / (steps[i] - steps[i - 1])
      return round(at), values[i - 1] + share * (values[i] - values[i - 1])
  return None
