"""AttentionMask: padding and segments, for short sequences."""

import dataclasses

import jax

from trajvit.ops.attention.block_mask import BlockMask, from_pattern
from trajvit.ops.attention.coordinates import sequence
from trajvit.ops.attention.pattern import Dense


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AttentionMask:
  """Which queries may read which keys; None restricts nothing.

  Attributes:
    keys: [B, Nk] bool, False = padding that no query reads.
    query_segments: [B, Nq] int32, and
    key_segments: [B, Nk] int32: a query reads the keys of its own segment
      only. Both or neither. A negative segment is padding and meets nothing.
  """

  keys: jax.Array | None = None
  query_segments: jax.Array | None = None
  key_segments: jax.Array | None = None

  def allowed(self) -> jax.Array | None:
    """Returns [B, 1, Nq or 1, Nk] bool, or None where all is allowed."""
    allowed = None
    if self.keys is not None:
      allowed = self.keys[:, None, None, :]
    if self.query_segments is not None:
      keys = self.key_segments[:, None, :]
      same = (self.query_segments[:, :, None] == keys) & (keys >= 0)
      allowed = same[:, None] if allowed is None else same[:, None] & allowed
    return allowed


def block_mask(
  mask: AttentionMask, queries: int, keys: int, block_query: int = 128
) -> BlockMask:
  """Returns the BlockMask of padding and segments.

  Args:
    mask: for `queries` queries and `keys` keys.
    queries: Nq.
    keys: Nk.
    block_query: tokens in a query block.
  """
  segments = mask.query_segments, mask.key_segments
  return from_pattern(
    Dense(),
    sequence(queries, None, segments[0]),
    sequence(keys, mask.keys, segments[1]),
    block_query=block_query,
  )
