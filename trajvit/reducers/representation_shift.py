"""Tokens that the perceptron before them still changes."""

import jax.numpy as jnp

from trajvit.layers.last_block import LastBlock
from trajvit.layers.reducer import Reducer
from trajvit.ops.selection import select
from trajvit.types import Tokens


class RepresentationShift(Reducer):
  """Keeps the k tokens that the block before changed most.

  A token's score is |MLP(LN x)|_2, what the perceptron of the block added to
  it: one that is hardly touched carries little for the task. No attention map
  is needed, so that fused attention stays in use; the perceptron runs once
  more. Source: Representation Shift, arXiv:2508.00367, which may be read as
  measuring the output less the input of the perceptron instead; here it is the
  update of the residual stream.

  Args:
    k: tokens kept; protected ones are always among them.
  """

  needs_block = True

  def __init__(self, *, k: int):
    self.k = k

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
      k tokens. Aux: `indices` [B, k] int32, the slots kept; `score` [B, N]
      float32, of all, 0 where masked.

    Raises:
      ValueError: k is not in [1, N].
    """
    del key
    score = jnp.linalg.norm(block.update(), axis=-1)
    kept, indices = select(tokens, score, self.k)
    return kept, {"indices": indices, "score": score}
