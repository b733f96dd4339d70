"""Softmax over all pairs of rows and columns, both ways, from one pass.

The logsumexp of every row and of every column is added up tile by tile, see
`ops.pairs`. With these the gradient of a tile needs nothing of the others: the
backward pass makes each tile once more, and keeps none.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from trajvit.ops.pair_best import Best, scored
from trajvit.ops.pairs import Schedule, Total, over_pairs


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Matches:
  """What the other side is for each of B rows, or columns.

  Attributes:
    logsumexp: [B] of the scores with all that is valid; -inf if nothing is.
    positive_sum: [B], sum of the scores with its positives.
    positives: [B], how many they are; no gradient.
    best: the best match, see Best; no gradient.
  """

  logsumexp: jax.Array
  positive_sum: jax.Array
  positives: jax.Array
  best: Best

  def merge(self, other: "Matches") -> "Matches":
    """Returns those with two disjoint sets of columns together."""
    return Matches(
      logsumexp=jnp.logaddexp(self.logsumexp, other.logsumexp),
      positive_sum=self.positive_sum + other.positive_sum,
      positives=self.positives + other.positives,
      best=self.best.merge(other.best),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def softmax_matches(
  rows: jax.Array,
  columns: jax.Array,
  ids: jax.Array,
  valid: jax.Array,
  schedule: Schedule,
) -> tuple[Matches, Matches]:
  """Returns what columns are for rows, and rows for columns.

  The score of a pair is the product of its embeddings. Row i and column j are
  each other's positives if both are valid and of one id.

  Args:
    rows: [B, E] floats, zeros where not valid.
    columns: [B, E], likewise.
    ids: [B] integers, of rows and of columns.
    valid: [B] bool, of rows and of columns.
    schedule: how to go through the pairs.
  """
  return _forward(rows, columns, ids, valid, schedule)[0]


def _forward(rows, columns, ids, valid, schedule):
  index = jnp.arange(len(ids), dtype=jnp.int32)
  shared = dict(id=ids, valid=valid, index=index)
  nothing = Matches(-jnp.inf, 0, 0, Best.of_nothing())
  found = over_pairs(
    Total(_tile, _merge, (nothing, nothing)),
    dict(x=rows) | shared,
    dict(x=columns) | shared,
    schedule,
  )
  return found, (rows, columns, ids, valid, *(x.logsumexp for x in found))


def _merge(a, b):
  return a.merge(b)


def _tile(rows, columns):
  scores, _, positive = scored(rows, columns)

  def matches(scores, positive, others):
    valid = others["valid"]
    return Matches(
      logsumexp=jax.nn.logsumexp(scores, axis=1, where=valid),
      positive_sum=jnp.where(positive, scores, 0).sum(1),
      positives=positive.sum(1, dtype=scores.dtype),
      best=Best.of(scores, positive, valid, others["index"]),
    )

  return (
    matches(scores, positive, columns),
    matches(scores.T, positive.T, rows),
  )


def _backward(schedule, residuals, cotangents):
  rows, columns, ids, valid, *logsumexps = residuals

  def side(x, logsumexp, cotangent):
    return dict(
      x=x,
      id=ids,
      valid=valid,
      logsumexp=logsumexp,
      of_logsumexp=cotangent.logsumexp,
      of_positives=cotangent.positive_sum,
    )

  grads = over_pairs(
    Total(_gradient_tile, jnp.add, (0, 0)),
    side(rows, logsumexps[0], cotangents[0]),
    side(columns, logsumexps[1], cotangents[1]),
    schedule,
  )
  return *grads, None, None


def _gradient_tile(rows, columns):
  """The gradients of a tile's rows and columns, [R, E] and [C, E]."""
  scores, _, positive = scored(rows, columns)

  def share(logsumexp, valid):
    # What is not valid has no share, whatever its score.
    return jnp.exp(jnp.where(valid, scores - logsumexp, -jnp.inf))

  slope = jnp.where(
    positive, rows["of_positives"][:, None] + columns["of_positives"], 0
  )
  slope += rows["of_logsumexp"][:, None] * share(
    rows["logsumexp"][:, None], columns["valid"]
  )
  slope += columns["of_logsumexp"] * share(
    columns["logsumexp"], rows["valid"][:, None]
  )
  return slope @ columns["x"], slope.T @ rows["x"]


softmax_matches.defvjp(_forward, _backward)
