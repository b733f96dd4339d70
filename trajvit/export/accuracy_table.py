"""What a quantised export has lost, to be read: on a terminal, in its card."""

from trajvit.export.markdown import table


def quantisation_lines(config: dict, parity: dict) -> list[str]:
  """Returns Markdown on the quantisation of an export; [] if there is none.

  Args:
    config: what config.json holds.
    parity: what parity.json holds.
  """
  how = config.get("quantization")
  if not how:
    return []
  library = f" by {how['library']} {how['version']}" if how["library"] else ""
  before, after = (how["bytes"][x] / 1e6 for x in ("before", "after"))
  lines = [
    f"{how['arrays']} kernels in {how['name']}{library}, all else in float32: "
    f"{before:.2f} MB of weights became {after:.2f} MB."
  ]
  for target, report in parity.items():
    lines += ["", f"Before and after, {target}:", ""]
    lines += accuracy_lines(report["accuracy"])
  return lines


def accuracy_lines(report: dict) -> list[str]:
  """Returns tables of cosines and of metrics, in Markdown.

  Args:
    report: of a target, see `accuracy.check_accuracy`.
  """
  outputs = {f"{name} of noise": x for name, x in report["random"].items()}
  for name, x in report.get("evaluated", {}).items():
    outputs[f"{name} evaluated"] = x
  rows = [
    (name, f"{x['mean']:.6f}", f"{x['worst']:.6f}", x["count"])
    for name, x in outputs.items()
  ]
  lines = table(("output", "mean cosine", "worst", "number"), rows)
  metrics = [
    _metric_row(name, **values)
    for name, values in report.get("evaluations", {}).items()
    if not name.partition("/")[2].startswith("n_")
  ]
  if metrics:
    head = ("metric", "before", "after", "difference")
    lines += ["", *table(head, metrics)]
  reasons = report.get("not_evaluated", {})
  notes = [f"`{key}` was not evaluated: {why}" for key, why in reasons.items()]
  if not metrics and not notes:
    notes = ["Nothing was evaluated before and after."]
  return [*lines, *(line for note in notes for line in ("", note))]


def _metric_row(name: str, before: float, after: float) -> tuple[str, ...]:
  return name, f"{before:.4g}", f"{after:.4g}", f"{after - before:+.2g}"
