"""Attention over the best tiles, corrected by pooled ones for the rest."""

import dataclasses

import jax.numpy as jnp

from trajvit.layers.attention_methods.context import base_mask
from trajvit.layers.attention_methods.selection import TopBlocks, describe
from trajvit.ops.attention.dynamic.rectified import rectified_attention


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rectified(TopBlocks):
  """The k best key blocks exactly, and most others by their mean.

  Source: Rectified SpaAttn, arXiv:2511.19835; see `dynamic.rectified` for
  which reading of it.
  """

  def __call__(self, query, key, value, context):
    """See the package; aux has also `restored` [], a share of all tiles."""
    chosen = self.selected(query, key, context)
    base = base_mask(context, query.shape[1], self.block)
    out, restored = rectified_attention(
      query, key, value, chosen, base, bias=context.bias
    )
    share = restored.mean(dtype=jnp.float32)
    return out, describe(chosen) | {"restored": share}
