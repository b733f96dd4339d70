"""Attention that skips tiles it finds negligible while it walks them."""

import dataclasses

import jax.numpy as jnp

from trajvit.layers.attention_methods.context import base_mask
from trajvit.ops.attention import attend


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blasst:
  """Full attention that leaves out tiles with too small logits.

  Source: BLASST, arXiv:2512.12087; see `ops.attention.attend`. What is skipped
  depends on the order in which a kernel walks the tiles.

  Attributes:
    skip_below: lambda, in (0, 1); the paper lowers it with the length.
    block: as in `selection.Selection`.
  """

  skip_below: float
  block: int = 128
  shared = False

  def __call__(self, query, key, value, context):
    """See the package; aux has `density` [], of the tiles not skipped."""
    done = attend(
      query,
      key,
      value,
      mask=base_mask(context, query.shape[1], self.block),
      bias=context.bias,
      skip_below=self.skip_below,
    )
    return done.out, {"density": done.kept.mean(dtype=jnp.float32)}
