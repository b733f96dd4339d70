"""The Pareto front: methods that no other one beats in cost and score."""

from collections.abc import Sequence


def front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
  """Returns the indices of the points on the front, cheapest first.

  A point is on it if no other one costs at most as much and scores at least as
  much, one of the two strictly. Equal points are on it together.

  Args:
    costs: less is better.
    scores: more is better; as many.

  Raises:
    ValueError: not as many of the one as of the other.
  """
  if len(costs) != len(scores):
    raise ValueError(f"got {len(costs)} costs for {len(scores)} scores")
  order = sorted(range(len(costs)), key=lambda i: (costs[i], -scores[i]))
  kept = []
  for i in order:
    point = (scores[i], -costs[i])
    if not kept or point >= (scores[kept[-1]], -costs[kept[-1]]):
      kept.append(i)
  return kept


def staircase(
  points: Sequence[tuple[float, float]], right: float
) -> list[tuple[float, float]]:
  """Returns the corners of the best score that a cost can buy.

  Args:
    points: of a front, cheapest first.
    right: cost at which the line ends.
  """
  corners = []
  for cost, score in points:
    if corners:
      corners.append((cost, corners[-1][1]))
    corners.append((cost, score))
  if corners and right > corners[-1][0]:
    corners.append((right, corners[-1][1]))
  return corners
