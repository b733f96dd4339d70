"""What the block in front of a reducer knows of the tokens."""

import dataclasses

import jax
import jax.numpy as jnp

from trajvit.layers.attention_methods.context import Context
from trajvit.layers.block import Block
from trajvit.ops.attention import AttentionMask


@dataclasses.dataclass(frozen=True)
class LastBlock:
  """A block that has run, and what it read; every question is answered anew.

  Nothing is computed that is not asked for. Attention is that of a clip whose
  tokens all meet, without the bias of their sizes.

  Attributes:
    block: the block, with full attention.
    x: [B, N, D], its input, zeros in masked slots.
    mask: [B, N] bool.
  """

  block: Block
  x: jax.Array
  mask: jax.Array

  def keys(self) -> jax.Array:
    """Returns [B, N, d] float32, the mean of a token's keys over heads."""
    return self._heads()[1].mean(2)

  def attention(self) -> jax.Array:
    """Returns [B, N, N] float32, the mean of the probabilities over heads.

    Rows are queries and sum to 1; those of masked queries are zeros, and so are
    the columns of masked keys.
    """
    query, key = self._heads()
    logits = jnp.einsum("bqhd,bkhd->bhqk", query, key) * query.shape[-1] ** -0.5
    real = self.mask[:, None, None, :]
    logits = jnp.where(real, logits, jnp.finfo(logits.dtype).min)
    mean = jax.nn.softmax(logits, axis=-1).mean(1)
    return jnp.where(self.mask[:, :, None] & self.mask[:, None], mean, 0)

  def received(self, queries: jax.Array | None = None) -> jax.Array:
    """Returns [B, N] float32, the attention a token gets from a mean query.

    Args:
      queries: [B, N] bool, those that count; None is all real ones.
    """
    queries = self.mask if queries is None else self.mask & queries
    count = jnp.maximum(queries.sum(1, keepdims=True), 1)
    weight = queries.astype(jnp.float32) / count
    return jnp.einsum("bq,bqk->bk", weight, self.attention())

  def update(self) -> jax.Array:
    """Returns [B, N, D] float32, what the perceptron added to each token."""
    context = Context(mask=AttentionMask(keys=self.mask))
    block = self.block
    y, _ = block.attention(block.norm_attention(self.x), context)
    added = block.mlp(block.norm_mlp(self.x + y)).astype(jnp.float32)
    return jnp.where(self.mask[..., None], added, 0)

  def _heads(self):
    """Queries and keys, [B, N, K, d] float32."""
    heads = self.block.attention.query_and_key(
      self.block.norm_attention(self.x)
    )
    return tuple(x.astype(jnp.float32) for x in heads)
