"""What an attention layer knows beside its queries, keys and values."""

import dataclasses

import jax

from trajvit.ops.attention import (
  AttentionMask,
  BlockMask,
  Coordinates,
  from_pattern,
  sequence,
)
from trajvit.ops.attention.pattern import Dense


@dataclasses.dataclass(frozen=True)
class Context:
  """The rest of a call.

  Attributes:
    mask: which tokens may meet; None restricts nothing.
    bias: [B, N] float32 on the logits of keys, or None.
    times: [B, N] float32, when a token is, in seconds, or None.
    selected: the tiles chosen for the whole stage, or None: a layer that
      chooses tiles then does so itself.
    packed: whether a row of the batch may hold several clips.
    train: whether running statistics are wanted.
  """

  mask: AttentionMask | BlockMask | None = None
  bias: jax.Array | None = None
  times: jax.Array | None = None
  selected: BlockMask | None = None
  packed: bool = False
  train: bool = False


def base_mask(context: Context, length: int, block: int) -> BlockMask:
  """Returns the mask of a layer as a BlockMask.

  Args:
    context: of a layer in which the queries are the keys.
    length: N.
    block: tokens in a block, unless the mask is a BlockMask with its own.
  """
  if isinstance(context.mask, BlockMask):
    return context.mask
  coordinates = dense_coordinates(context, length)
  blocks = dict(block_query=block, block_key=block)
  return from_pattern(Dense(), coordinates, **blocks)


def dense_coordinates(context: Context, length: int) -> Coordinates:
  """Returns [B or 1, N], the segments of a mask that has no pattern.

  Raises:
    ValueError: the mask has a pattern, which the caller could not obey.
  """
  mask = context.mask
  if isinstance(mask, BlockMask):
    if mask.pattern != Dense():
      raise ValueError(
        "this attention makes its own pattern and takes none, "
        f"got {mask.pattern}"
      )
    return jax.tree.map(lambda x: x[:, :length], mask.key)
  mask = AttentionMask() if mask is None else mask
  return sequence(length, mask.keys, mask.key_segments)


def refuse_packed(context: Context, name: str):
  """Raises ValueError for a method that mixes the clips of a row."""
  if context.packed:
    raise ValueError(
      f"attention {name!r} chooses among all tokens of a row: one clip a row "
      "is needed, got packed rows"
    )
