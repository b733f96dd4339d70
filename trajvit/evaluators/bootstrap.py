"""Confidence intervals: how far a metric moves when clips are drawn anew.

Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter
13: the percentile interval. What belongs to one clip, such as its captions, is
drawn together: five captions of a clip are no five observations.
"""

from collections.abc import Callable, Iterator

import numpy as np

LEVEL = 95  # percent
_CELLS = 2**22  # weights held at a time

# (weights [r, n] float64) -> {metric: [r] float64}; a weight is how often a row
# is there.
Statistic = Callable[[np.ndarray], dict[str, np.ndarray]]


def check_resamples(count: int) -> int:
  """Returns how many resamples an evaluator draws.

  Raises:
    ValueError: it is below 0.
  """
  if count < 0:
    raise ValueError(f"bootstrap must be 0 or more resamples, got {count}")
  return count


def estimate(
  statistic: Statistic, clusters: np.ndarray, resamples: int, *, seed: int = 0
) -> dict[str, float]:
  """Returns metrics, and with `resamples` their 95 % intervals.

  Args:
    statistic: the metrics of n weighted rows.
    clusters: [n] integers; rows where they are equal are drawn together.
    resamples: how often clusters are drawn; 0 gives no intervals.
    seed: of the draws, the same for all calls with as many clusters, so that
      two models are drawn alike.

  Returns:
    {metric, metric_low, metric_high}. Whoever was compared with, such as the
    gallery of a retrieval, is not drawn anew.
  """
  once = statistic(np.ones((1, len(clusters))))
  point = {name: float(values[0]) for name, values in once.items()}
  if not resamples:
    return point
  parts = [statistic(w) for w in resample_weights(clusters, resamples, seed)]
  tail = (100 - LEVEL) / 2
  found = {}
  for name, value in point.items():
    drawn = np.concatenate([part[name] for part in parts])
    low, high = np.percentile(drawn, (tail, 100 - tail))
    found |= {
      name: value,
      f"{name}_low": float(low),
      f"{name}_high": float(high),
    }
  return found


def resample_weights(
  clusters: np.ndarray, count: int, seed: int = 0
) -> Iterator[np.ndarray]:
  """Yields [r, n] float64, how often every row is in each of r resamples.

  A resample has as many clusters as there are, drawn with replacement. The
  parts that are yielded have `count` rows together.

  Args:
    clusters: [n] integers, as for `estimate`.
    count: how many resamples.
    seed: of the draws.
  """
  rng = np.random.default_rng(seed)
  _, cluster = np.unique(clusters, return_inverse=True)
  total = int(cluster.max(initial=-1)) + 1
  rows = max(1, _CELLS // max(len(cluster), 1))
  for start in range(0, count, rows):
    r = min(rows, count - start)
    drawn = rng.integers(0, total, (r, total))
    drawn += total * np.arange(r)[:, None]
    times = np.bincount(drawn.ravel(), minlength=r * total)
    yield times.reshape(r, total)[:, cluster].astype(np.float64)


def means(scores: dict[str, np.ndarray]) -> Statistic:
  """Returns the statistic of the mean of each of some scores [n]."""
  columns = np.stack(
    [np.asarray(x, np.float64) for x in scores.values()], 1
  )  # [n, M]

  def statistic(weights):
    found = weights @ columns / weights.sum(1, keepdims=True)
    return dict(zip(scores, found.T, strict=True))

  return statistic


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """Returns the median of values [n], each there as often as weights [r, n].

  Returns:
    [r] float64; the mean of the middle two where the number is even.
  """
  order = np.argsort(values, kind="stable")
  ranked = np.asarray(values, np.float64)[order]
  upto = np.cumsum(weights[:, order], axis=1)  # [r, n]
  total = upto[:, -1:]
  middle = [
    ranked[(upto > place).argmax(1)] for place in ((total - 1) // 2, total // 2)
  ]
  return (middle[0] + middle[1]) / 2
