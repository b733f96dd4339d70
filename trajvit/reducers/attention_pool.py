"""Attention pooling: learned queries read all tokens, once or in layers."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention_with_shares import AttentionWithShares
from trajvit.layers.mlp import Mlp
from trajvit.layers.norm import LayerNorm
from trajvit.layers.reducer import Reducer
from trajvit.ops.learned_tokens import (
  average,
  behind_protected,
  mixtures,
  unprotected,
)
from trajvit.types import Tokens


class AttentionPool(Reducer):
  """Pools tokens by the attention of k learned queries, in one layer.

  The pooling of Set Transformer, arXiv:1810.00825, without its perceptron: the
  queries are not part of the result, which is what they read. A call with P
  protected tokens uses the first k - P queries.

  Args:
    k: slots afterwards.
    width: D.
    num_heads: K.
    linear_value: project neither values nor the result, so that each head's
      slice of a new token is a mean of that slice of the tokens themselves.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    k: int,
    width: int,
    num_heads: int,
    linear_value: bool = False,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.k = k
    self.latents = learned_queries(k, width, rngs)
    self.norm = LayerNorm(width, dtype=dtype)
    self.read = AttentionWithShares(
      width, num_heads, linear=linear_value, dtype=dtype, rngs=rngs
    )

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the protected tokens and the pooled ones.

    Aux: `shares` [B, k, N] float32, the mean attention of a query, used or not.
    """
    del key
    source = unprotected(tokens)
    queries = repeated(self.latents, source.features)
    keys = self.norm(source.features)
    read = source.features if self.read.value is None else keys
    features, shares = self.read(queries, keys, read, source.mask)
    return placed(tokens, source, features, shares, self.k)


class PerceiverPool(Reducer):
  """Resamples tokens to k latents by layers of attention and a perceptron.

  A layer adds to the latents what they read of the tokens, and then what a
  perceptron makes of that (Perceiver, arXiv:2103.03206; Flamingo's resampler,
  arXiv:2204.14198). Latents do not see each other, as blocks of the encoder
  follow. Positions are those of what the last layer read. A call with P
  protected tokens uses the first k - P latents.

  Args:
    k: slots afterwards.
    width: D.
    num_heads: K.
    depth: number of layers.
    mlp_ratio: hidden width of a perceptron, in widths.
    dtype: of the products.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: there is no layer.
  """

  def __init__(
    self,
    *,
    k: int,
    width: int,
    num_heads: int,
    depth: int = 2,
    mlp_ratio: int = 4,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if depth < 1:
      raise ValueError(f"depth must be at least 1, got {depth}")
    self.k = k
    self.latents = learned_queries(k, width, rngs)
    self.norm = LayerNorm(width, dtype=dtype)
    self.layers = nnx.List(
      [
        PerceiverLayer(width, num_heads, mlp_ratio, dtype=dtype, rngs=rngs)
        for _ in range(depth)
      ]
    )

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the protected tokens and the latents.

    Aux: `shares` [B, k, N] float32, the mean attention of a latent in the last
    layer, used or not.
    """
    del key
    source = unprotected(tokens)
    latents = repeated(self.latents, source.features)
    x = self.norm(source.features)
    for layer in self.layers:
      latents, shares = layer(latents, x, source.mask)
    return placed(tokens, source, latents, shares, self.k)


class PerceiverLayer(nnx.Module):
  """Attention to a set and a perceptron, each added to the latents."""

  def __init__(self, width, num_heads, mlp_ratio, *, dtype, rngs):
    options = dict(dtype=dtype, rngs=rngs)
    self.norm_read = LayerNorm(width, dtype=dtype)
    self.read = AttentionWithShares(width, num_heads, **options)
    self.norm_mlp = LayerNorm(width, dtype=dtype)
    self.mlp = Mlp(width, mlp_ratio * width, **options)

  def __call__(self, latents, x, mask):
    """Returns the latents [B, M, D], and their shares [B, M, N] of x."""
    read, shares = self.read(self.norm_read(latents), x, x, mask)
    latents = latents + read
    return latents + self.mlp(self.norm_mlp(latents)), shares


def learned_queries(count: int, width: int, rngs: nnx.Rngs) -> nnx.Param:
  """Returns [count, width], small enough to be outweighed by what they read."""
  return nnx.Param(0.02 * jax.random.normal(rngs.params(), (count, width)))


def repeated(queries: nnx.Param, like: jax.Array) -> jax.Array:
  """Returns [B, M, D], the queries of every clip, in the dtype of `like`."""
  queries = queries[...].astype(like.dtype)
  return jnp.broadcast_to(queries, (like.shape[0], *queries.shape))


def placed(
  tokens: Tokens,
  source: Tokens,
  features: jax.Array,
  shares: jax.Array,
  k: int,
) -> tuple[Tokens, dict]:
  """Returns k slots, protected tokens and new ones, and the shares as aux."""
  positions = average(shares, source.positions)
  room = k - (tokens.mask & ~source.mask).sum(1, keepdims=True)
  new = mixtures(source, features, positions, count=jnp.maximum(room, 0))
  return behind_protected(tokens, new, k), {"shares": shares}
