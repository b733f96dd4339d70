"""The sigmoid loss over all pairs of rows and columns, tile by tile.

See `ops.pairs`: no device holds the matrix of pairs, forward or backward.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from trajvit.ops.pair_best import Best, scored
from trajvit.ops.pairs import Schedule, Total, over_pairs


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Decisions:
  """What each of B rows loses by its pairs.

  Attributes:
    loss: [B], sum of -log sigmoid(score) over the row's positives and of
      -log sigmoid(-score) over the other valid columns; 0 if it is not valid.
    best: the best match, see Best; no gradient.
  """

  loss: jax.Array
  best: Best

  def merge(self, other: "Decisions") -> "Decisions":
    """Returns those with two disjoint sets of columns together."""
    return Decisions(self.loss + other.loss, self.best.merge(other.best))


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def sigmoid_decisions(
  rows: jax.Array,
  columns: jax.Array,
  bias: jax.Array,
  ids: jax.Array,
  valid: jax.Array,
  schedule: Schedule,
) -> Decisions:
  """Returns what the rows lose; the score is the embeddings' product + bias.

  Args:
    rows: [B, E] floats, zeros where not valid.
    columns: [B, E], likewise.
    bias: [] float.
    ids: [B] integers, of rows and of columns; equal ones are positives.
    valid: [B] bool, of rows and of columns.
    schedule: how to go through the pairs.
  """
  return _forward(rows, columns, bias, ids, valid, schedule)[0]


def _forward(rows, columns, bias, ids, valid, schedule):
  index = jnp.arange(len(ids), dtype=jnp.int32)
  shared = dict(id=ids, valid=valid, index=index)
  nothing = Decisions(0, Best.of_nothing())
  found, _ = over_pairs(
    Total(_tile, _merge, (nothing, ())),
    dict(x=rows, bias=_spread(bias, ids)) | shared,
    dict(x=columns) | shared,
    schedule,
  )
  return found, (rows, columns, bias, ids, valid)


def _merge(a, b):
  return a.merge(b) if a else ()


def _tile(rows, columns):
  scores, valid, positive = scored(rows, columns)
  scores += rows["bias"][:, None]
  losses = -jax.nn.log_sigmoid(jnp.where(positive, scores, -scores))
  found = Decisions(
    loss=jnp.where(valid, losses, 0).sum(1),
    best=Best.of(scores, positive, columns["valid"], columns["index"]),
  )
  return found, ()


def _backward(schedule, residuals, cotangent):
  rows, columns, bias, ids, valid = residuals
  shared = dict(id=ids, valid=valid)
  (for_rows, slopes), for_columns = over_pairs(
    Total(_gradient_tile, _add, (0, 0)),
    dict(x=rows, bias=_spread(bias, ids), of_loss=cotangent.loss) | shared,
    dict(x=columns) | shared,
    schedule,
  )
  return for_rows, for_columns, slopes.sum(), None, None


def _gradient_tile(rows, columns):
  """The gradients of a tile's rows, [R, E] and of the bias [R]; of columns."""
  scores, valid, positive = scored(rows, columns)
  scores += rows["bias"][:, None]
  slope = jnp.where(positive, -jax.nn.sigmoid(-scores), jax.nn.sigmoid(scores))
  slope = jnp.where(valid, slope * rows["of_loss"][:, None], 0)
  return (slope @ columns["x"], slope.sum(1)), slope.T @ rows["x"]


def _add(a, b):
  return jax.tree.map(jnp.add, a, b)


def _spread(bias, like):
  """[B], a number for every row: so it is cut as they are."""
  return jnp.broadcast_to(bias, like.shape)


sigmoid_decisions.defvjp(_forward, _backward)
