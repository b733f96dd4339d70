"""The figure of the benchmark of reducers: accuracy against cost."""

import collections
import operator
from pathlib import Path

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt  # noqa: E402

from trajvit.bench.reducer_cases import BASELINE  # noqa: E402

LABELS = {
  "GFLOPs": "GFLOPs a clip, video tower",
  "tokens": "tokens that are left",
}


def against_cost(rows: list[dict], path: str) -> None:
  """Draws R@5 against GFLOPs, the random baseline as a line through it.

  Behind the encoder the cost is that of what comes next, so that tokens stand
  for it.

  Args:
    rows: with `reducer`, `place`, `tokens`, `GFLOPs` and `R@5` (mean, spread);
      a place each has a panel, and the row without a place is in all of them.
    path: PNG file to write.
  """
  places = sorted({row["place"] for row in rows} - {""})
  figure, axes = plt.subplots(
    1, len(places), figsize=(5 * len(places), 6), squeeze=False, sharey=True
  )
  whole = [row for row in rows if not row["place"]]
  for axis, place in zip(axes[0], places, strict=True):
    cost = "tokens" if place == "output" else "GFLOPs"
    groups = collections.defaultdict(list)
    for row in rows:
      if row["place"] == place:
        groups[row["reducer"]].append(row)
    for number, (name, group) in enumerate(sorted(groups.items())):
      random = name == BASELINE
      group = group + whole if random else group
      group = sorted(group, key=operator.itemgetter(cost))
      axis.errorbar(
        [row[cost] for row in group],
        [row["R@5"][0] for row in group],
        [row["R@5"][1] for row in group],
        color="black" if random else plt.cm.tab20(number % 20),
        linewidth=2.5 if random else 0.8,
        marker="os^vDP*X"[number // 20 % 8],
        markersize=4,
        capsize=2,
        zorder=3 if random else 2,
        label=name,
      )
    axis.set(title=place, xlabel=LABELS[cost])
    axis.grid(alpha=0.3)
    axis.legend(fontsize=6, loc="upper left", bbox_to_anchor=(0, -0.12), ncol=3)
  axes[0][0].set_ylabel("text-to-video R@5 (%)")
  figure.tight_layout()
  Path(path).parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(path, dpi=110)
  plt.close(figure)
