"""The tables of the attention benchmark, from the rows of `sweep`."""

from collections.abc import Callable, Sequence

from trajvit.bench.results import (
  as_markdown,
  as_text,
  number,
  percent,
  significant,
  times,
)
from trajvit.bench.roofline import Ceilings
from trajvit.bench.sweep import STEPS

# column -> what is in it, from a row.
Columns = dict[str, Callable[[dict], str]]

ABOUT = """\
`density` is the share of tiles that are computed, `full` of those that need no
mask; `useful` is the share of computed logits that the mask allows. `mask` is
the building of the lists, once for all layers that share them. `of ideal`
compares with dense time x density, `of roofline` with the least time that the
measured ceilings allow for the model's FLOPs (4 per logit and head dimension
forward, 10 backward) and bytes. `MiB` are temporaries and results of forward +
backward by the compiler's account. Times are medians of runs in turns in one
process, on new random inputs in every round; `backward` is the difference."""


def _value(key, cell):
  return lambda row: cell(row.get(key))


COLUMNS: Columns = {
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
  "density": lambda row: number(row["density"], 3),
  "full": lambda row: number(row["full"], 3),
  "useful": _value("tile_efficiency", percent),
  "mask ms": _value("mask_ms", significant),
  "forward ms": _value("forward_ms", significant),
  "backward ms": _value("backward_ms", significant),
  "both ms": _value("both_ms", significant),
  "forward speed-up": _value("forward_speedup", times),
  "both speed-up": _value("both_speedup", times),
  "forward of ideal": _value("forward_of_ideal", percent),
  "both of ideal": _value("both_of_ideal", percent),
  "forward of roofline": _value("forward_of_roofline", percent),
  "both of roofline": _value("both_of_roofline", percent),
  "MiB": lambda row: significant(row.get("both_mib", row.get("forward_mib"))),
  "less memory": lambda row: times(
    row.get("both_less_memory", row.get("forward_less_memory"))
  ),
}


def tables(rows: Sequence[dict], render=as_text) -> str:
  """Returns the rows as a table, without the columns that nothing fills.

  Args:
    rows: of `sweep.sweep`.
    render: `as_text` or `as_markdown`.
  """
  filled = {
    name: cell
    for name, cell in COLUMNS.items()
    if any(cell(row) != "-" for row in rows)
  }
  return render(
    list(filled), [[f(row) for f in filled.values()] for row in rows]
  )


def failures(rows: Sequence[dict]) -> list[str]:
  """Returns a line for each step of a row that has no time."""
  return [
    f"{row['mask']}, {row['implementation']}, {row['length']} tokens, {step}: "
    f"{why}"
    for row in rows
    for step, why in (row["errors"] | row["skipped"]).items()
  ]


def break_even_lines(found: Sequence[dict]) -> list[str]:
  """Returns the results of `sweep.break_evens` as sentences."""
  lines = []
  for line in found:
    parts = [
      f"{'forward + backward' if step == 'both' else step} {line[step]:.2f}"
      for step in STEPS
      if line.get(step) is not None
    ]
    if parts:
      lines.append(
        f"break-even density of {line['implementation']} at {line['length']} "
        f"tokens, head dimension {line['head_dim']}: {', '.join(parts)}"
      )
  return lines


def ceiling_line(ceilings: Ceilings) -> str:
  """Returns what was measured, in words."""
  return (
    f"measured ceilings: {ceilings.flops_per_second / 1e12:.3g} TFLOP/s, "
    f"{ceilings.bytes_per_second / 1e9:.4g} GB/s ({ceilings.how})"
  )


def markdown(rows: Sequence[dict], lines: Sequence[str]) -> str:
  """Returns a table in Markdown with lines under it."""
  listed = "\n".join(f"- {line}" for line in lines)
  return "\n\n".join(
    part for part in (tables(rows, as_markdown), listed) if part
  )
