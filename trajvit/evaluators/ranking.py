"""The rank of the right answer, with ties counted against it."""

import functools

import jax
import jax.numpy as jnp

from trajvit.types import Array


@functools.partial(jax.jit, static_argnames=("tolerance", "chunk"))
def ranks(
  queries: Array,
  items: Array,
  query_ids: Array,
  item_ids: Array,
  *,
  query_groups: Array | None = None,
  item_groups: Array | None = None,
  prior: tuple[Array, Array] | None = None,
  tolerance: float = 0.0,
  chunk: int = 256,
) -> Array:
  """Returns the rank of the best correct item of every query.

  The rank is 1 + the number of wrong items that score at least as high as the
  best correct one, so an encoder that maps everything to one point scores no
  better than the worst one. With several correct items the best counts and the
  others are not in its way. A score that is NaN is the worst that could have
  come: no score for a correct item, the highest for a wrong one. A query
  without a correct item ranks behind every wrong one.

  Memory is `chunk * N` scores, never Q * N.

  Args:
    queries: [Q, E] float32.
    items: [N, E] float32; a score is the inner product with a query.
    query_ids: [Q] int32.
    item_ids: [N] int32; an item is correct where it equals the query's id.
    query_groups: [Q] int32, or None where every item competes.
    item_groups: [N] int32; an item of another group than the query's takes no
      part. Given exactly where `query_groups` is.
    prior: (temperature [], `log_sums` [N]) for the scores of dual softmax: a
      similarity s becomes s * exp(s / temperature - log_sum), the second factor
      being the softmax over the queries. None leaves similarities.
    tolerance: a wrong item this far below the correct one still ties. Equal
      embeddings can differ in score by a rounding error, because a matrix
      product may add up the columns at its edge in another order.
    chunk: how many queries are compared at once.

  Returns:
    [Q] int32 in [1, N + 1].

  Raises:
    ValueError: the shapes do not go together.
  """
  _check(queries, items, query_ids, item_ids)
  if (query_groups is None) != (item_groups is None):
    raise ValueError("query_groups and item_groups go together, got only one")
  if query_groups is None:
    query_groups = jnp.zeros_like(query_ids)
    item_groups = jnp.zeros_like(item_ids)

  def rank(query):
    embedding, identity, group = query
    # TPUs and GPUs would round float32 operands to fewer bits by default.
    scores = jnp.matmul(items, embedding, precision=jax.lax.Precision.HIGHEST)
    competes = item_groups == group  # [N]
    correct = competes & (item_ids == identity)
    wrong = competes & (item_ids != identity)
    unknown = jnp.isnan(scores)
    margin = tolerance
    if prior is not None:
      temperature, sums = prior
      share = jnp.exp(scores / temperature - sums)
      # What `tolerance` in a similarity comes to, and the rounding of the sums.
      margin = tolerance * share * (4 + jnp.abs(scores) / temperature)
      scores = scores * share
    # Stays -inf without a correct item, and all wrong ones are ahead.
    best = jnp.max(scores, initial=-jnp.inf, where=correct & ~unknown)
    ahead = wrong & (unknown | (scores >= best - margin))
    return 1 + jnp.sum(ahead, dtype=jnp.int32)

  return jax.lax.map(
    rank, (queries, query_ids, query_groups), batch_size=chunk
  )  # [Q]


@functools.partial(jax.jit, static_argnames="chunk")
def log_sums(
  queries: Array, items: Array, temperature: Array, *, chunk: int = 256
) -> Array:
  """Returns the logarithm of the sum of exp(s / temperature) over all queries.

  Memory is `chunk * Q` similarities s.

  Args:
    queries: [Q, E] float32.
    items: [N, E] float32.
    temperature: [].
    chunk: how many items are compared at once.

  Returns:
    [N] float32.
  """

  def one(item):
    scores = jnp.matmul(queries, item, precision=jax.lax.Precision.HIGHEST)
    return jax.nn.logsumexp(scores / temperature)

  return jax.lax.map(one, items, batch_size=chunk)  # [N]


def _check(queries, items, query_ids, item_ids):
  if queries.ndim != 2 or items.ndim != 2 or queries.shape[1] != items.shape[1]:
    raise ValueError(
      "queries and items must be [Q, E] and [N, E], got "
      f"{queries.shape} and {items.shape}"
    )
  if query_ids.shape != queries.shape[:1] or item_ids.shape != items.shape[:1]:
    raise ValueError(
      f"ids must be [{queries.shape[0]}] and [{items.shape[0]}], got "
      f"{query_ids.shape} and {item_ids.shape}"
    )
