"""The key frame whole, and of the other frames what it attends to."""

import jax
import jax.numpy as jnp

from trajvit.layers.last_block import LastBlock
from trajvit.layers.reducer import Reducer
from trajvit.ops.selection import select
from trajvit.ops.tokens import zero_masked
from trajvit.types import Tokens


class Evad(Reducer):
  """Keeps all tokens of the key frame, and others by attention received.

  To tell what happens in a frame it must stay dense, and the rest of the clip
  only serves it. The key frame is number T // 2, or where that is padding the
  last real one before. All other tokens are scored by the attention they get in
  the block before, averaged over heads and queries, in which queries of the key
  frame count `key_weight` times. Frames are told from positions, so that it can
  run several times in one encoder.

  Source: EVAD, arXiv:2304.08451, with ratios 0.7, 0.7, 0.7 and weight 1, or 0.6
  and weight 4. There tokens are dropped before the perceptron of the block,
  here behind it, and the key frame is moved to the front, here it stays.

  Args:
    k: tokens kept, protected ones and those of the key frame among them.
    grid: (T, h, w) of the patches before any reducer.
    key_weight: w, not negative.

  Raises:
    ValueError: k is less than the h w patches of a frame, or w is negative.
  """

  needs_block = True

  def __init__(
    self, *, k: int, grid: tuple[int, int, int], key_weight: float = 1.0
  ):
    patches = grid[1] * grid[2]
    if k < patches:
      raise ValueError(
        f"k must hold the {patches} patches of the key frame, got {k}"
      )
    if key_weight < 0:
      raise ValueError(f"key_weight must not be negative, got {key_weight}")
    self.k, self.frames, self.key_weight = k, grid[0], key_weight

  def __call__(
    self, tokens: Tokens, *, block: LastBlock, key=None
  ) -> tuple[Tokens, dict]:
    """Returns the kept tokens in their old order.

    A clip with fewer than k real tokens keeps them all.

    Args:
      tokens: N tokens a clip.
      block: the block that put them out.
      key: unused, the choice is fixed.

    Returns:
      k tokens. Aux: `indices` [B, k] int32, the slots kept; `key_frame` [B, N]
      bool, the tokens of the key frame; `overflow` [B] int32, those of them
      that found no slot beside the protected ones.

    Raises:
      ValueError: k is not in [1, N].
    """
    del key
    tokens = zero_masked(tokens)
    in_key = key_frame(tokens, self.frames)
    weight = jnp.where(in_key, self.key_weight, 1.0) * tokens.mask
    received = jnp.einsum("bq,bqk->bk", weight, block.attention())
    kept, indices = select(tokens, (in_key, received), self.k)
    must = in_key if tokens.protected is None else in_key | tokens.protected
    count = (must & tokens.mask).sum(1, dtype=jnp.int32)
    overflow = jnp.maximum(count - self.k, 0)
    aux = {"indices": indices, "key_frame": in_key, "overflow": overflow}
    return kept, aux


def key_frame(tokens: Tokens, frames: int) -> jax.Array:
  """Returns [B, N] bool, the unprotected tokens of the key frame.

  Args:
    tokens: with zeros in masked slots.
    frames: T, by which positions in time are cut.
  """
  real = tokens.mask
  if tokens.protected is not None:
    real = real & ~tokens.protected
  frame = jnp.floor(tokens.positions[..., 0] * frames).astype(jnp.int32)
  frame = jnp.clip(frame, 0, frames - 1)
  middle = frames // 2
  before = jnp.where(real & (frame <= middle), frame, -1).max(1, keepdims=True)
  after = jnp.where(real, frame, frames).min(1, keepdims=True)
  return real & (frame == jnp.where(before >= 0, before, after))
