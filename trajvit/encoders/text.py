"""Text towers: Text -> one feature vector a caption."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention_methods.context import Context
from trajvit.layers.block import Block
from trajvit.layers.norm import LayerNorm
from trajvit.layers.sizes import transformer_size
from trajvit.layers.stack import Stack
from trajvit.ops.attention import AttentionMask
from trajvit.types import Text


class TextTransformer(nnx.Module):
  """Pre-norm Transformer over words, trained from scratch with the video tower.

  Args:
    variant: "Ti", "S", "B", "L" or "H"; the next four override its values.
    width: D.
    depth: number of blocks.
    num_heads: K.
    mlp_dim: hidden width of the perceptron.
    pool: "mean" over the real words, or "first", the class token's place.
    remat: what of a block is computed twice, see `layers.remat`.
    vocab_size: number of word ids.
    text_length: L, words a caption at most.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    variant: str = "S",
    width: int | None = None,
    depth: int | None = None,
    num_heads: int | None = None,
    mlp_dim: int | None = None,
    pool: str = "mean",
    remat: str | bool = "none",
    vocab_size: int,
    text_length: int,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if pool not in ("mean", "first"):
      raise ValueError(f"pool must be 'mean' or 'first', got {pool!r}")
    size = transformer_size(variant, width, depth, num_heads, mlp_dim)
    self.width, self.pool, self.dtype = size.width, pool, dtype
    init = nnx.initializers.normal(0.05)
    self.embedding = nnx.Param(init(rngs.params(), (vocab_size, size.width)))
    init = nnx.initializers.normal(0.02)
    self.position = nnx.Param(init(rngs.params(), (text_length, size.width)))

    def block(rngs):
      return Block(
        size.width, size.num_heads, size.mlp_dim, dtype=dtype, rngs=rngs
      )

    self.blocks = Stack(block, size.depth, remat=remat, rngs=rngs)
    self.norm = LayerNorm(size.width, dtype=dtype)

  def __call__(self, text: Text) -> jax.Array:
    """Returns [B, D] for `ids` [B, L].

    Raises:
      ValueError: captions are longer than the position table.
    """
    length = text.ids.shape[-1]
    x = _embed(self.embedding, text.ids) + _prefix(self.position, length)
    x, _ = self.blocks(x.astype(self.dtype), _real_words(text))
    x = self.norm(x)
    return x[:, 0] if self.pool == "first" else _mean(x, text.mask)


class BertEncoder(nnx.Module):
  """BERT's encoder with its own norms and embeddings, for its weights.

  Source: arXiv:1810.04805; post-norm, exact GELU, epsilon 1e-12, the feature is
  the [CLS] word's. TrajViT uses 9 of the 12 layers of bert-base.

  Args:
    width: D.
    depth: number of blocks.
    num_heads: K.
    mlp_dim: hidden width of the perceptron.
    max_length: size of the position table, at least `text_length`.
    remat: what of a block is computed twice, see `layers.remat`.
    vocab_size: number of word ids; 30522 for bert-base-uncased.
    text_length: L, words a caption at most.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    width: int = 768,
    depth: int = 9,
    num_heads: int = 12,
    mlp_dim: int = 3072,
    max_length: int = 512,
    remat: str | bool = "none",
    vocab_size: int,
    text_length: int,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if text_length > max_length:
      raise ValueError(
        f"text_length must be at most {max_length}, got {text_length}"
      )
    self.width, self.dtype = width, dtype
    init = nnx.initializers.normal(0.02)

    def table(rows):
      return nnx.Param(init(rngs.params(), (rows, width)))

    self.embedding = table(vocab_size)
    self.position = table(max_length)
    self.token_type = table(2)
    self.norm = LayerNorm(width, epsilon=1e-12, dtype=dtype)

    def block(rngs):
      return Block(
        width,
        num_heads,
        mlp_dim,
        norm="post",
        epsilon=1e-12,
        init="trunc_normal",
        dtype=dtype,
        rngs=rngs,
      )

    self.blocks = Stack(block, depth, remat=remat, rngs=rngs)

  def __call__(self, text: Text) -> jax.Array:
    """Returns [B, D], the feature of the first word, for `ids` [B, L]."""
    length = text.ids.shape[-1]
    x = _embed(self.embedding, text.ids) + _prefix(self.position, length)
    x = self.norm(x + self.token_type[...][0])
    return self.blocks(x, _real_words(text))[0][:, 0]


def _real_words(text):
  return Context(mask=AttentionMask(keys=text.mask))


def _embed(table, ids):
  return table[...][ids]


def _prefix(table, length):
  rows = table.shape[0]
  if length > rows:
    raise ValueError(f"captions must have at most {rows} words, got {length}")
  return table[...][:length]


def _mean(x, mask):
  x = jnp.where(mask[..., None], x.astype(jnp.float32), 0)
  return x.sum(1) / jnp.maximum(mask.sum(1, keepdims=True), 1)
