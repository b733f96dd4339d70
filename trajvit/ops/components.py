"""Connected components of graphs of tokens."""

import jax
import jax.numpy as jnp


def connected_components(adjacency: jax.Array, mask: jax.Array) -> jax.Array:
  """Returns the component of every token, named by its lowest index.

  Labels spread to neighbours, and whole trees of them hook onto lower ones and
  are flattened, so that about log N rounds do (as in Shiloach and Vishkin,
  1982); the loop ends when nothing changes, after at most N rounds.

  Args:
    adjacency: [..., N, N] bool; an edge in either direction connects.
    mask: [..., N] bool, True = real token; masked ones connect nothing.

  Returns:
    [..., N] int32 in [0, N), the lowest index in the token's component; -1
    where masked.
  """
  return jnp.vectorize(_dense_components, signature="(n,n),(n)->(n)")(
    adjacency, mask
  )


def _dense_components(adjacency, mask):
  """[N, N] and [N] to [N]."""
  edge = (adjacency | adjacency.T) & mask[:, None] & mask

  def lowest_around(labels):
    return jnp.where(edge, labels, labels.size).min(1)

  return jnp.where(mask, _spread(lowest_around, mask.size), -1)


def connected_components_of_edges(
  edges: jax.Array, edge_mask: jax.Array, mask: jax.Array
) -> jax.Array:
  """Returns the components of a graph given by a list of edges.

  Nothing has the size N * N; else as `connected_components`.

  Args:
    edges: [..., E, 2] int32 in [0, N), in any order and direction.
    edge_mask: [..., E] bool, True = real edge.
    mask: [..., N] bool, True = real token; masked ones connect nothing.

  Returns:
    [..., N] int32 in [0, N), the lowest index in the token's component; -1
    where masked.
  """
  return jnp.vectorize(_edge_components, signature="(e,ends),(e),(n)->(n)")(
    edges, edge_mask, mask
  )


def _edge_components(edges, edge_mask, mask):
  """[E, 2], [E] and [N] to [N]."""
  count = mask.size
  real = edge_mask & mask.at[edges].get(mode="clip").all(1)
  # The ends of edges that are not real lie outside and are dropped.
  start, end = jnp.where(real[:, None], edges, count).T

  def lowest_around(labels):
    lowest = jnp.full(count, count, labels.dtype)
    label = labels.at[end].get(mode="fill", fill_value=count)
    lowest = lowest.at[start].min(label, mode="drop")
    label = labels.at[start].get(mode="fill", fill_value=count)
    return lowest.at[end].min(label, mode="drop")

  return jnp.where(mask, _spread(lowest_around, count), -1)


def _spread(lowest_around, count):
  """[N] labels at rest; `lowest_around` gives the lowest of all neighbours."""

  def advance(state):
    labels, _, rounds = state
    lowest = lowest_around(labels)
    new = labels.at[labels].min(lowest)  # what a label stands for hooks on
    new = jnp.minimum(new, lowest)
    new = new[new]
    new = new[new]
    return new, (new != labels).any(), rounds + 1

  def unfinished(state):
    return state[1] & (state[2] < count)

  labels = jnp.arange(count, dtype=jnp.int32)
  state = labels, jnp.bool_(True), jnp.int32(0)
  return jax.lax.while_loop(unfinished, advance, state)[0]


def number_components(labels: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns components numbered 0, 1, ... by their lowest index.

  Args:
    labels: [..., N] int32 as from `connected_components`.

  Returns:
    [..., N] int32 in [0, count), -1 where masked, and count [...] int32.
  """
  return jnp.vectorize(_number, signature="(n)->(n),()")(labels)


def _number(labels):
  """[N] to [N] and []."""
  root = labels == jnp.arange(labels.size)
  rank = jnp.cumsum(root) - 1
  return jnp.where(labels < 0, -1, rank[jnp.maximum(labels, 0)]), root.sum()
