"""The block of LookupViT: few tokens in full, all others at little cost."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention_methods.context import Context
from trajvit.layers.block import Block
from trajvit.layers.linear import Linear
from trajvit.layers.mlp import Mlp
from trajvit.layers.norm import LayerNorm
from trajvit.ops.attention import AttentionMask


class LookupBlock(nnx.Module):
  """Compressed tokens read the lookup tokens, think, and tell them.

  With Z_c the M compressed and Z_l the N lookup tokens, each normed before it
  is read:
    A = softmax(Q(Z_c) K(Z_l)^T),  Z_c += A V(Z_l)
    Z_c += attention(Z_c),         Z_c += mlp(Z_c)
    Z_l += A^T V'(Z_c),            Z_l += small_mlp(Z_l)
  The way back takes the same A, so that it costs no queries and no keys; its
  rows do not sum to 1: a lookup token hears as much as it was heard. Source:
  LookupViT, arXiv:2407.12753.

  Args:
    width: D.
    num_heads: K.
    mlp_dim: hidden width for compressed tokens.
    lookup_mlp_dim: hidden width for lookup tokens.
    epsilon: of the layer norms.
    dtype: of the products; norms and softmax are float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    mlp_dim: int,
    lookup_mlp_dim: int,
    *,
    epsilon: float = 1e-6,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.num_heads = num_heads
    options = dict(dtype=dtype, rngs=rngs)
    norm = dict(epsilon=epsilon, dtype=dtype)
    self.norm_compressed = LayerNorm(width, **norm)
    self.norm_lookup = LayerNorm(width, **norm)
    self.query = Linear(width, width, **options)
    self.key = Linear(width, width, **options)
    self.value = Linear(width, width, **options)
    self.out = Linear(width, width, **options)
    self.block = Block(width, num_heads, mlp_dim, epsilon=epsilon, **options)
    self.norm_back = LayerNorm(width, **norm)
    self.value_back = Linear(width, width, **options)
    self.out_back = Linear(width, width, **options)
    self.norm_mlp = LayerNorm(width, **norm)
    self.mlp = Mlp(width, lookup_mlp_dim, **options)

  def __call__(
    self,
    x: tuple[jax.Array, jax.Array],
    compressed_mask: jax.Array,
    lookup_mask: jax.Array,
  ) -> tuple[tuple[jax.Array, jax.Array], dict]:
    """Returns both sets of tokens, and an empty aux.

    Args:
      x: [B, M, D] compressed and [B, N, D] lookup tokens, finite throughout;
        masked ones change no real one.
      compressed_mask: [B, M] bool, and
      lookup_mask: [B, N] bool, True = real.
    """
    compressed, lookup = x
    source = self.norm_lookup(lookup)
    query = self._heads(self.query(self.norm_compressed(compressed)))
    key, value = self._heads(self.key(source)), self._heads(self.value(source))
    weights = _weights(query, key, compressed_mask, lookup_mask)
    weights = weights.astype(value.dtype)
    read = jnp.einsum("bkmn,bnkd->bmkd", weights, value)
    compressed = compressed + self.out(read.reshape(compressed.shape))
    context = Context(mask=AttentionMask(keys=compressed_mask))
    compressed, _ = self.block(compressed, context)

    value = self._heads(self.value_back(self.norm_back(compressed)))
    told = jnp.einsum("bkmn,bmkd->bnkd", weights, value)
    lookup = lookup + self.out_back(told.reshape(lookup.shape))
    return (compressed, lookup + self.mlp(self.norm_mlp(lookup))), {}

  def _heads(self, x):
    return x.reshape(*x.shape[:-1], self.num_heads, -1)  # [B, N, K, d]


def _weights(query, key, query_mask, key_mask):
  """Returns A [B, K, M, N] float32, zeros wherever one side is masked.

  It is used twice, so it has to be there: no call of `ops.attention` keeps it.
  """
  logits = jnp.einsum(
    "bmkd,bnkd->bkmn", query, key, preferred_element_type=jnp.float32
  )
  logits *= query.shape[-1] ** -0.5
  floor = jnp.finfo(jnp.float32).min
  logits = jnp.where(key_mask[:, None, None], logits, floor)
  allowed = query_mask[:, None, :, None] & key_mask[:, None, None]
  return jnp.where(allowed, jax.nn.softmax(logits, axis=-1), 0)
