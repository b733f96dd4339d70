"""The figure of the benchmark of encoders: tokens, GFLOPs and time."""

import collections
from pathlib import Path

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt  # noqa: E402

from trajvit.bench.encoder_cases import BASELINE, ENCODERS_COMPARED  # noqa: E402

MARKERS = "osD^v"
# (x, its label, y, its label) of each panel.
PANELS = (
  ("slots", "slots for tokens", "gflops", "GFLOPs a clip, tokenizer counted"),
  ("gflops", "GFLOPs a clip", "forward_ms", "forward, ms a clip"),
  ("step_gflops", "GFLOPs a clip in a step", "step_ms", "step, ms a clip"),
)


def costs_figure(rows: list[dict], path: str) -> None:
  """Draws what tokens cost, and what time that takes.

  An encoder has a colour, a size a marker, and a line joins the lengths of
  clips. A panel in which nothing is known is left out.

  Args:
    rows: with `encoder`, `size`, `frames` and the keys of PANELS, where known.
    path: PNG file to write.
  """
  sizes = list(dict.fromkeys(row["size"] for row in rows))
  colors = dict(zip(ENCODERS_COMPARED, plt.cm.tab10.colors, strict=False))
  panels = [
    panel
    for panel in PANELS
    if any(row.get(panel[0]) and row.get(panel[2]) for row in rows)
  ] or PANELS[:1]
  width = max(5.4 * len(panels), 9)
  figure, axes = plt.subplots(
    1, len(panels), figsize=(width, 5.2), squeeze=False
  )
  axes = axes[0]
  for axis, (x, x_label, y, y_label) in zip(axes, panels, strict=True):
    lines = collections.defaultdict(list)
    for row in rows:
      if row.get(x) and row.get(y):
        lines[row["encoder"], row["size"]].append((row[x], row[y]))
    for (name, size), points in lines.items():
      # The baseline below the others, and larger, where they meet.
      first = name == BASELINE
      axis.plot(
        *zip(*points, strict=True),
        color=colors[name],
        marker=MARKERS[sizes.index(size)],
        markersize=10 if first else 6,
        linewidth=2.5 if first else 0.9,
      )
    axis.set_xscale("log", base=2)
    axis.set_yscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set(xlabel=x_label, ylabel=y_label)
    axis.grid(alpha=0.3)
  for name in dict.fromkeys(row["encoder"] for row in rows):
    axes[0].plot([], [], color=colors[name], linewidth=3, label=name)
  for size, marker in zip(sizes, MARKERS, strict=False):
    axes[0].plot([], [], "k", marker=marker, linestyle="", label=size)
  figure.legend(loc="lower center", ncol=6, fontsize=9)
  figure.tight_layout(rect=(0, 0.13, 1, 1))
  Path(path).parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(path, dpi=110)
  plt.close(figure)
