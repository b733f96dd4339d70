"""The linear assignment problem, on the device."""

import jax
import jax.numpy as jnp


def linear_assignment(cost: jax.Array) -> jax.Array:
  """Returns the column of each row in an assignment of least total cost.

  Shortest augmenting paths (Jonker and Volgenant, 1987): rows are matched one
  at a time, each by a Dijkstra search over reduced costs. There are at most
  R * C steps on vectors of length C whatever the costs, no host callback, and
  the optimum is exact up to the rounding of float32. Samples of a batch advance
  side by side.

  Args:
    cost: [..., R, C] finite floats, R <= C.

  Returns:
    [..., R] int32, R different columns. No gradient passes.

  Raises:
    ValueError: there are more rows than columns.
  """
  rows, columns = cost.shape[-2:]
  if rows > columns:
    raise ValueError(
      f"cost must have no more rows than columns, got {rows} and {columns}"
    )
  cost = jax.lax.stop_gradient(cost.astype(jnp.float32))
  flat = cost.reshape(-1, rows, columns)
  return jax.vmap(_assign)(flat).reshape(cost.shape[:-1])


def _assign(cost):
  """[R, C] to [R]."""
  rows, columns = cost.shape
  state = (
    jnp.zeros(rows),  # u, the price of a row
    jnp.zeros(columns),  # v, the price of a column
    jnp.full(rows, -1, jnp.int32),  # the column of a row, -1 = none yet
    jnp.full(columns, -1, jnp.int32),  # the row of a column
  )

  def add_row(row, state):
    u, v, column_of, row_of = state
    path = _shortest_path(cost, u, v, row_of, row)
    length, distance, reached, previous, sink = path
    # Prices move so that matched pairs keep a reduced cost of 0.
    slack = length - distance
    seen = (column_of >= 0) & reached[column_of]
    u += jnp.where(seen, slack[column_of], 0).at[row].add(length)
    v -= jnp.where(reached, slack, 0)
    return u, v, *_augment(previous, sink, row, column_of, row_of)

  return jax.lax.fori_loop(0, rows, add_row, state)[2]


def _shortest_path(cost, u, v, row_of, start):
  """The cheapest alternating path from row `start` to a free column.

  Returns:
    (its length, [C] distances, [C] columns reached, [C] the row before each
    column on the path to it, the free column).
  """
  columns = cost.shape[1]

  def search(state):
    row, length, distance, reached, previous, _ = state
    through = length + cost[row] - u[row] - v
    closer = ~reached & (through < distance)
    distance = jnp.where(closer, through, distance)
    previous = jnp.where(closer, row, previous)
    # Of equally near columns a free one ends the search: rows of equal costs
    # would otherwise walk through all that are matched.
    open_distance = jnp.where(reached, jnp.inf, distance)
    nearest = open_distance == open_distance.min()
    column = jnp.argmax(jnp.where(nearest & (row_of < 0), 2, nearest))
    row = row_of[column]
    sink = jnp.where(row < 0, column, -1)
    length, reached = distance[column], reached.at[column].set(True)
    return row, length, distance, reached, previous, sink.astype(jnp.int32)

  state = (
    jnp.int32(start),
    jnp.float32(0),
    jnp.full(columns, jnp.inf),
    jnp.zeros(columns, bool),
    jnp.full(columns, -1, jnp.int32),
    jnp.int32(-1),
  )
  return jax.lax.while_loop(lambda state: state[-1] < 0, search, state)[1:]


def _augment(previous, sink, start, column_of, row_of):
  """Flips the pairs along the path, from its end to its start."""

  def flip(state):
    column, _, column_of, row_of = state
    row = previous[column]
    row_of = row_of.at[column].set(row)
    before = column_of[row]
    return before, row, column_of.at[row].set(column), row_of

  state = sink, jnp.int32(-1), column_of, row_of
  end = jax.lax.while_loop(lambda state: state[1] != start, flip, state)
  return end[2:]
