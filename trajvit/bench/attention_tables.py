"""The tables of the attention benchmark, from the rows of `sweep`."""

import dataclasses
from collections.abc import Callable, Sequence

from trajvit.bench.cases import RANDOM_TILES
from trajvit.bench.results import (
  Section,
  as_markdown,
  as_text,
  density,
  percent,
  significant,
  times,
)
from trajvit.bench.roofline import Ceilings, break_even
from trajvit.bench.sweep import STEPS

# column -> what is in it, from a row.
Columns = dict[str, Callable[[dict], str]]

ABOUT = """\
- `tokens`: share of the pairs of tokens that may meet. `density`: share of the
  tiles that are computed. `full`: tiles that need no mask, of those computed.
  `useful`: pairs that may meet, of the logits that are computed.
- `mask ms`: building the lists inside jit, once for all layers that share them;
  a pattern on a fixed grid needs none, its mask is a constant. `mask share` is
  that time over mask and attention together, for one layer.
- Times are medians of runs in turns in one process, on random inputs that are
  new in every round. `both` is forward and backward, `backward` the difference.
- `MiB`: temporaries and results, by the compiler's account.
- Gains are ratios to the first dense row of the shape. `of ideal` compares with
  the dense time x density, `of roofline` with the least time that the measured
  ceilings allow for the FLOPs of the model (4 per logit and head dimension
  forward, 10 backward) and its bytes."""


def _value(key, cell):
  return lambda row: cell(row.get(key))


# What a row is, on the left of both tables.
ROW: Columns = {
  "mask": lambda row: row["mask"],
  "implementation": lambda row: row["implementation"],
  "length": lambda row: str(row["length"]),
  "heads x dim": lambda row: (
    f"{row['batch'] * row['heads']} x {row['head_dim']}"
  ),
  "tile": lambda row: (
    f"{row['block_query']} x {row['block_key']}"
    if "block_query" in row
    else "-"
  ),
}
COST: Columns = {
  "tokens": _value("token_density", density),
  "density": _value("density", density),
  "full": _value("full_fraction", percent),
  "useful": _value("tile_efficiency", percent),
  "mask ms": _value("mask_ms", significant),
  "forward ms": _value("forward_ms", significant),
  "backward ms": _value("backward_ms", significant),
  "both ms": _value("both_ms", significant),
  "forward MiB": _value("forward_mib", significant),
  "both MiB": _value("both_mib", significant),
}
GAIN: Columns = {
  "density": _value("density", density),
  "forward": _value("forward_speedup", times),
  "both": _value("both_speedup", times),
  "forward, of ideal": _value("forward_of_ideal", percent),
  "both, of ideal": _value("both_of_ideal", percent),
  "forward, of roofline": _value("forward_of_roofline", percent),
  "both, of roofline": _value("both_of_roofline", percent),
  "less memory": lambda row: times(
    row.get("both_less_memory", row.get("forward_less_memory"))
  ),
  "mask share": lambda row: percent(
    row.get("both_mask_share", row.get("forward_mask_share")), 1
  ),
}


def tables(rows: Sequence[dict], render=as_text) -> str:
  """Returns the rows as two tables, what they cost and what they gain.

  Columns that nothing fills are left out.

  Args:
    rows: of `sweep.sweep`.
    render: `as_text` or `as_markdown`.
  """
  parts = []
  for columns in (COST, GAIN):
    filled = {
      name: cell
      for name, cell in (ROW | columns).items()
      if any(cell(row) != "-" for row in rows)
    }
    cells = [[cell(row) for cell in filled.values()] for row in rows]
    parts.append(render(list(filled), cells))
  return "\n\n".join(parts)


def failures(rows: Sequence[dict]) -> list[str]:
  """Returns a line for each step of a row that has no time."""
  return [
    f"{row['mask']}, {row['implementation']}, {row['length']} tokens, {step}: "
    f"{why}"
    for row in rows
    for step, why in (row["errors"] | row["skipped"]).items()
  ]


def break_evens(rows: Sequence[dict]) -> list[dict]:
  """Returns the break-even density of each implementation at each shape.

  Only random tiles count: all of theirs are full, patterns mix full tiles with
  partial ones.

  Returns:
    Rows of `implementation`, `length`, `heads`, `head_dim`, and for each step
    with two densities or more the result of `roofline.break_even`.
  """
  shape = ("length", "batch", "heads", "head_dim")
  baselines = {}
  for row in rows:
    if row["mask"] == "dense":
      baselines.setdefault(tuple(row[key] for key in shape), row)
  groups = {}
  for row in rows:
    if row["mask"].startswith(RANDOM_TILES):
      at = tuple(row[key] for key in (*shape, "implementation"))
      groups.setdefault(at, []).append(row)
  found = []
  for (*at, name), group in groups.items():
    line = {"implementation": name} | dict(zip(shape, at, strict=True))
    for step in STEPS:
      dense = baselines[tuple(at)].get(f"{step}_ms")
      timed = [row for row in group if row.get(f"{step}_ms")]
      if dense is not None:
        line[step] = break_even(
          [row["density"] for row in timed],
          [row[f"{step}_ms"] for row in timed],
          dense,
        )
    found.append(line)
  return found


def break_even_lines(rows: Sequence[dict]) -> list[str]:
  """Returns the break-even densities as sentences."""
  lines = []
  for line in break_evens(rows):
    parts = [
      f"{'forward + backward' if step == 'both' else step} "
      + ("> 1" if line[step] > 1 else f"{line[step]:.2f}")
      for step in STEPS
      if line.get(step) is not None
    ]
    if parts:
      lines.append(
        f"break-even density of {line['implementation']} at {line['length']} "
        f"tokens, {line['batch'] * line['heads']} x {line['head_dim']}: "
        + ", ".join(parts)
      )
  return lines


def ceiling_section(ceilings: Ceilings) -> Section:
  """Returns the ceilings as a part of the results."""
  line = (
    f"{ceilings.flops_per_second / 1e12:.3g} TFLOP/s, "
    f"{ceilings.bytes_per_second / 1e9:.4g} GB/s ({ceilings.how})"
  )
  return Section(
    "Ceilings, measured", [dataclasses.asdict(ceilings)], line, line
  )


def section(
  title: str, rows: Sequence[dict], notes: Sequence[str] = ()
) -> Section:
  """Returns rows of `sweep.sweep` as a part of the results.

  Args:
    title: heading.
    rows: there may be none.
    notes: of what failed altogether.
  """
  lines = [*break_even_lines(rows), *failures(rows), *notes]
  listed = "\n".join(f"- {line}" for line in lines)
  text = [tables(rows)] if rows else []
  page = [tables(rows, as_markdown)] if rows else []
  return Section(
    title,
    list(rows),
    "\n".join([*text, *lines]),
    "\n\n".join([*page, *([listed] if listed else [])]),
    bool(notes) or any(row["errors"] for row in rows),
  )


def numeric_section(rows: Sequence[dict]) -> Section:
  """Returns the rows of `numerics.check` as a part of the results.

  One line for each implementation, dtype and mask: how many cases were right,
  the largest errors, and all that went wrong.
  """
  groups = {}
  for row in rows:
    at = row["implementation"], row["mask"], row["dtype"]
    groups.setdefault(at, []).append(row)
  arrays = ("out", "logsumexp", "query", "key", "value", "bias")
  header = ["implementation", "mask", "dtype", "right", *arrays]
  table, lines = [], []
  for at, group in groups.items():
    right = sum(row["verdict"] == "ok" for row in group)
    ran = sum(row["verdict"] != "cannot" for row in group)
    errors = [_largest(group, name) for name in arrays]
    cells = ["-" if error is None else f"{error:.1e}" for error in errors]
    table.append([*at, f"{right} of {ran}", *cells])
    reasons = {
      f"{' '.join(at)}, {row['length']} x {row['head_dim']}"
      f"{', bias' if row['bias'] else ''}: {row['verdict']} "
      f"{row.get('reason', '')}".strip()
      for row in group
      if row["verdict"] != "ok"
    }
    lines += sorted(reasons)
  listed = "\n".join(f"- {line}" for line in lines)
  page = as_markdown(header, table)
  return Section(
    "Correctness, against float64",
    list(rows),
    "\n".join([as_text(header, table), *lines]),
    f"{page}\n\n{listed}" if listed else page,
    any(row["verdict"] in ("WRONG", "FAILED") for row in rows),
  )


def _largest(rows, name) -> float | None:
  """The largest error of an array among those that ran."""
  errors = [row.get("errors", {}).get(name) for row in rows]
  return max((error for error in errors if error is not None), default=None)
