"""The best match of every row among the columns, found in parts."""

import dataclasses

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Best:
  """The best columns of B rows; nothing of it has a gradient.

  Attributes:
    score: [B], the highest score.
    index: [B] int32, the column it is of, the first of equal ones.
    hit: [B] bool, whether that is a positive of the row.
  """

  score: jax.Array
  index: jax.Array
  hit: jax.Array

  @classmethod
  def of(cls, scores, positive, valid, index) -> "Best":
    """Returns those among the columns of a tile.

    Args:
      scores: [R, C].
      positive: [R, C] bool, False where the column is not valid.
      valid: [C] bool; other columns are never chosen.
      index: [C] int32, which columns they are, ascending.
    """
    scores = jnp.where(valid, scores, jnp.finfo(scores.dtype).min)
    place = scores.argmax(1)
    hit = jnp.take_along_axis(positive, place[:, None], axis=1)[:, 0]
    return cls(scores.max(1), index[place], hit)

  @classmethod
  def of_nothing(cls) -> "Best":
    """Returns the numbers that `merge` begins with."""
    return cls(-jnp.inf, jnp.iinfo(jnp.int32).max, False)

  def merge(self, other: "Best") -> "Best":
    """Returns the best columns of two disjoint sets."""
    earlier = (other.score == self.score) & (other.index < self.index)
    better = (other.score > self.score) | earlier
    return jax.tree.map(lambda x, y: jnp.where(better, y, x), self, other)


def scored(rows: dict, columns: dict) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns the scores of a tile, which are valid, and which of positives.

  Args:
    rows: `x` [R, E], `id` [R] integers, `valid` [R] bool.
    columns: `x` [C, E], `id` [C], `valid` [C].

  Returns:
    The products of `x`, [R, C]; two masks [R, C]. A pair is valid if both of
    its sides are, and positive if they have one id besides.
  """
  valid = rows["valid"][:, None] & columns["valid"]
  positive = (rows["id"][:, None] == columns["id"]) & valid
  return rows["x"] @ columns["x"].T, valid, positive
