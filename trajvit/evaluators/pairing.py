"""The linear assignment problem on the host, with settled ties.

`ops.assignment` solves it on the device, for one shape at a time and in
float32. An evaluation meets another number of tubes and objects in every clip,
and compares its scores with those that others computed through SciPy: here are
any shape, float64, and SciPy's choice wherever two assignments cost the same.
"""

import numpy as np


def best_pairs(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the one-to-one pairs of least total cost.

  Shortest augmenting paths in the variant for rectangular problems (D. F.
  Crouse, IEEE TAES 52(4), 2016), as in `scipy.optimize.linear_sum_assignment`.
  Among several optima it returns the one that SciPy 1.4 and later do: rows are
  added in order, the search looks at columns from the last to the first, and
  of columns at equal distance it prefers the last free one it has looked at.

  Args:
    cost: [R, C] finite floats; R or C may be 0.

  Returns:
    rows and columns, [min(R, C)] int64 each, rows ascending.

  Raises:
    ValueError: `cost` is not a matrix of finite numbers.
  """
  cost = np.asarray(cost, np.float64)
  if cost.ndim != 2 or not np.isfinite(cost).all():
    raise ValueError(
      f"cost must be [R, C] finite numbers, got shape {cost.shape}, "
      f"{int((~np.isfinite(cost)).sum())} of them not finite"
    )
  if cost.shape[0] <= cost.shape[1]:
    return np.arange(len(cost)), _columns(cost)
  rows = _columns(cost.T)
  order = np.argsort(rows)
  return rows[order], order


def _columns(cost: np.ndarray) -> np.ndarray:
  """Returns the column of each row, [R] int64, for R <= C."""
  rows, columns = cost.shape
  row_price, column_price = np.zeros(rows), np.zeros(columns)
  column_of = np.full(rows, -1)
  row_of = np.full(columns, -1)
  for start in range(rows):
    distance, previous, path_rows, path_columns = _search(
      cost, row_price, column_price, row_of, start
    )
    # Prices move so that matched pairs keep a reduced cost of 0.
    sink = path_columns[-1]
    length = distance[sink]
    row_price[start] += length
    others = path_rows[1:]
    row_price[others] += length - distance[column_of[others]]
    column_price[path_columns] -= length - distance[path_columns]
    # Flip the pairs along the path, from its end to its start.
    column, row = sink, -1
    while row != start:
      row = previous[column]
      row_of[column] = row
      column_of[row], column = column, column_of[row]
  return column_of


def _search(cost, row_price, column_price, row_of, start):
  """Dijkstra's search over reduced costs, from a row to a free column.

  Returns:
    distance [C], the row before each column [C], and the rows and the columns
    in the order they were reached; the last column is the free one.
  """
  columns = cost.shape[1]
  distance = np.full(columns, np.inf)
  previous = np.full(columns, -1)
  waiting = np.arange(columns)[::-1].copy()
  row, length = start, 0.0
  path_rows, path_columns = [], []
  while row >= 0:
    path_rows.append(row)
    through = length + cost[row, waiting] - row_price[row]
    through -= column_price[waiting]
    closer = through < distance[waiting]
    distance[waiting[closer]] = through[closer]
    previous[waiting[closer]] = row
    nearest = np.flatnonzero(distance[waiting] == distance[waiting].min())
    free = nearest[row_of[waiting[nearest]] < 0]
    place = free[-1] if len(free) else nearest[0]
    column = waiting[place]
    path_columns.append(column)
    length, row = distance[column], row_of[column]
    waiting[place] = waiting[-1]
    waiting = waiting[:-1]
  return distance, previous, np.array(path_rows), np.array(path_columns)
