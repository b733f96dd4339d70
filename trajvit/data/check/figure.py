"""The histograms of a data set in one picture."""

import os
from collections.abc import Sequence

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt  # noqa: E402

from trajvit.data.check.histogram import Histogram  # noqa: E402


def draw(found: Sequence[Histogram], path: str | os.PathLike) -> None:
  """Writes a PNG of histograms, one beside the other.

  The last bin is drawn as wide as the others, wherever it ends.

  Args:
    found: at least one.
    path: the file.
  """
  figure, axes = plt.subplots(
    1, len(found), figsize=(3.2 * len(found), 2.8), squeeze=False
  )
  for axis, h in zip(axes[0], found, strict=True):
    edges = h.edges.copy()
    edges[-1] = min(edges[-1], edges[-2] + edges[1] - edges[0])
    axis.stairs(h.clips, edges, fill=True)
    axis.set(xlabel=h.title)
    axis.grid(alpha=0.3)
  axes[0][0].set_ylabel("clips")
  figure.tight_layout()
  figure.savefig(path, dpi=120)
  plt.close(figure)
