"""What a checkpoint holds, in numbers and as text, without reading an array."""

import math

from trajvit.checkpoints.saved import Saved
from trajvit.training.functional import named_leaves
from trajvit.training.metrics_log import read_rows


def inspect(saved: Saved) -> dict:
  """Returns what there is to know of a checkpoint, in values for JSON.

  Returns:
    `workdir`, `step`, `steps`, `data` and `meta` as in Saved; `metrics`, what
    was logged at this step; `parts`, {field of TrainState: {"leaves", "count",
    "bytes"}}; and `params`, {path: {"shape", "dtype", "count", "bytes"}}.
  """
  parts = {
    name: [_measure(x) for x in named_leaves(tree).values()]
    for name, tree in saved.state.items()
  }
  return {
    "workdir": str(saved.workdir),
    "step": saved.step,
    "steps": saved.steps,
    "metrics": _metrics(saved),
    "parts": {
      name: {
        "leaves": len(found),
        "count": sum(x["count"] for x in found),
        "bytes": sum(x["bytes"] for x in found),
      }
      for name, found in sorted(parts.items())
    },
    "params": {
      name: _measure(x)
      for name, x in named_leaves(saved.state["params"]).items()
    },
    "data": saved.data,
    "meta": saved.meta,
  }


def as_text(found: dict) -> str:
  """Returns what `inspect` found as lines for a terminal."""
  others = ", ".join(map(str, found["steps"]))
  lines = [f"{found['workdir']}, step {found['step']} of {others}"]
  lines += _pairs("metrics", found["metrics"])
  rows = [
    (name, x["dtype"], _shape(x["shape"]), f"{x['count']:,}", f"{x['bytes']:,}")
    for name, x in found["params"].items()
  ]
  lines += [
    "",
    *_table([("params", "dtype", "shape", "count", "bytes"), *rows]),
  ]
  rows = [
    (name, f"{x['leaves']:,}", f"{x['count']:,}", f"{x['bytes']:,}")
    for name, x in found["parts"].items()
  ]
  titles = "part", "leaves", "count", "bytes"
  lines += ["", *_table([titles, *rows])]
  meta = dict(found["meta"])
  versions = meta.pop("versions", {})
  for title, values in (
    ("data", found["data"]),
    ("meta", meta),
    ("versions", versions),
  ):
    lines += ["", *_pairs(title, values)]
  return "\n".join(lines)


def _metrics(saved):
  """All that metrics.jsonl has of the step; nothing for a made checkpoint."""
  path = saved.workdir / "metrics.jsonl"
  rows = read_rows(path) if path.exists() else []
  metrics = {}
  for row in rows:
    if row["step"] == saved.step:
      metrics |= {name: x for name, x in row.items() if name != "step"}
  return metrics


def _measure(x):
  count = math.prod(x.shape)
  return {
    "shape": list(x.shape),
    "dtype": str(x.dtype),
    "count": count,
    "bytes": count * x.dtype.itemsize,
  }


def _shape(shape):
  return f"[{', '.join(map(str, shape))}]"


def _pairs(title, values):
  return [f"{title}:"] + [f"  {name}: {x}" for name, x in values.items()]


def _table(rows):
  """Lines with columns as wide as they must be: names left, numbers right."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return [
    "  ".join(
      cell.rjust(width) if i else cell.ljust(width)
      for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    for row in rows
  ]
