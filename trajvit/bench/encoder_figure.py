"""The figure of the benchmark of encoders: tokens, GFLOPs and time."""

import collections
from pathlib import Path

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt  # noqa: E402

from trajvit.bench.encoder_cases import ENCODERS_COMPARED  # noqa: E402

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
  clips. Rows that were not timed are in the first panel alone.

  Args:
    rows: with `encoder`, `size`, `frames` and the keys of PANELS, where known.
    path: PNG file to write.
  """
  sizes = list(dict.fromkeys(row["size"] for row in rows))
  colors = dict(zip(ENCODERS_COMPARED, plt.cm.tab10.colors, strict=False))
  figure, axes = plt.subplots(1, len(PANELS), figsize=(5.4 * len(PANELS), 5))
  for axis, (x, x_label, y, y_label) in zip(axes, PANELS, strict=True):
    lines = collections.defaultdict(list)
    for row in rows:
      if row.get(x) and row.get(y):
        lines[row["encoder"], row["size"]].append((row[x], row[y]))
    for (name, size), points in lines.items():
      axis.plot(
        *zip(*points, strict=True),
        color=colors[name],
        marker=MARKERS[sizes.index(size)],
        markersize=6,
        linewidth=0.9,
      )
    axis.set(xscale="log", yscale="log", xlabel=x_label, ylabel=y_label)
    axis.grid(alpha=0.3, which="both")
  for name in dict.fromkeys(row["encoder"] for row in rows):
    axes[0].plot([], [], color=colors[name], linewidth=3, label=name)
  for size, marker in zip(sizes, MARKERS, strict=False):
    axes[0].plot([], [], "k", marker=marker, linestyle="", label=size)
  figure.legend(loc="lower center", ncol=6, fontsize=9)
  figure.tight_layout(rect=(0, 0.12, 1, 1))
  Path(path).parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(path, dpi=110)
  plt.close(figure)
