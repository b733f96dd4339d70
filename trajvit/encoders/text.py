"""Text towers: Text -> one feature vector a caption."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention_methods.context import Context
from trajvit.layers.block import Block
from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.sizes import transformer_size
from trajvit.layers.stack import Stack
from trajvit.ops.attention import AttentionMask, from_pattern, sequence
from trajvit.ops.attention.patterns import FrameCausal
from trajvit.types import Text

POOLS = ("mean", "first", "last")


class TextTransformer(nnx.Module):
  """Pre-norm Transformer over words, trained from scratch with the video tower.

  It also takes the weights of other contrastive models: CLIP's
  (arXiv:2103.00020) is `causal`, with `pool` "last" and "quick_gelu"; SigLIP's
  (arXiv:2303.15343) has `padding`, `pool` "last" and "gelu_tanh".

  Attributes:
    width: of the feature, `outputs` if there are any, else D.

  Args:
    variant: "Ti", "S", "B", "L" or "H"; the next four override its values.
    width: D.
    depth: number of blocks.
    num_heads: K.
    mlp_dim: hidden width of the perceptron.
    pool: "mean" over the real words; "first", the class token's place; or
      "last", that of the last real word.
    causal: whether a word reads none behind it. The real words of a caption are
      then its first: none reads padding.
    padding: word id that stands in the place of padding and is read as all
      others, for weights that were trained so; None: padding is not read.
    activation: of the perceptron, see `layers.mlp`.
    epsilon: of the layer norms.
    outputs: E of a linear map of the feature; None is no map.
    outputs_bias: whether the map has a bias.
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
    causal: bool = False,
    padding: int | None = None,
    activation: str = "gelu",
    epsilon: float = 1e-6,
    outputs: int | None = None,
    outputs_bias: bool = False,
    remat: str | bool = "none",
    vocab_size: int,
    text_length: int,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if pool not in POOLS:
      raise ValueError(f"pool must be one of {', '.join(POOLS)}, got {pool!r}")
    size = transformer_size(variant, width, depth, num_heads, mlp_dim)
    self.width = size.width if outputs is None else outputs
    self.pool, self.dtype = pool, dtype
    self.causal, self.padding = causal, padding
    init = nnx.initializers.normal(0.05)
    self.embedding = nnx.Param(init(rngs.params(), (vocab_size, size.width)))
    init = nnx.initializers.normal(0.02)
    self.position = nnx.Param(init(rngs.params(), (text_length, size.width)))

    def block(rngs):
      return Block(
        size.width,
        size.num_heads,
        size.mlp_dim,
        activation=activation,
        epsilon=epsilon,
        dtype=dtype,
        rngs=rngs,
      )

    self.blocks = Stack(block, size.depth, remat=remat, rngs=rngs)
    self.norm = LayerNorm(size.width, epsilon=epsilon, dtype=dtype)
    self.project = (
      None
      if outputs is None
      else Linear(
        size.width, outputs, bias=outputs_bias, dtype=dtype, rngs=rngs
      )
    )

  def __call__(self, text: Text) -> jax.Array:
    """Returns [B, D], or [B, E] of the linear map, for `ids` [B, L].

    Raises:
      ValueError: captions are longer than the position table.
    """
    if self.padding is not None:
      ids = jnp.where(text.mask, text.ids, self.padding)
      text = Text(ids, jnp.ones_like(text.mask))
    length = text.ids.shape[-1]
    x = _embed(self.embedding, text.ids)
    x += first_rows(self.position[...], length)
    read = causal_words(length) if self.causal else _real_words(text)
    x, _ = self.blocks(x.astype(self.dtype), read)
    x = self._pooled(self.norm(x), text.mask)
    return x if self.project is None else self.project(x)

  def _pooled(self, x, mask):
    if self.pool == "mean":
      return _mean(x, mask)
    if self.pool == "first":
      return x[:, 0]
    last = jnp.maximum(mask.sum(1) - 1, 0)
    return jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]


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
    x = _embed(self.embedding, text.ids)
    x += first_rows(self.position[...], length)
    x = self.norm(x + self.token_type[...][0])
    return self.blocks(x, _real_words(text))[0][:, 0]


def _real_words(text):
  return Context(mask=AttentionMask(keys=text.mask))


def causal_words(length: int, real: jax.Array | None = None) -> Context:
  """Returns what lets a word read itself and the real ones in front of it.

  Args:
    length: L.
    real: [B, L] bool, what is no padding; None = all.
  """
  words = sequence(length, real)
  words = dataclasses.replace(words, t=words.index)
  return Context(mask=from_pattern(FrameCausal(), words))


def _embed(table, ids):
  return table[...][ids]


def first_rows(table: jax.Array, length: int) -> jax.Array:
  """Returns the positions [length, D] of words.

  Raises:
    ValueError: there are not so many.
  """
  rows = table.shape[0]
  if length > rows:
    raise ValueError(f"captions must have at most {rows} words, got {length}")
  return table[:length]


def _mean(x, mask):
  x = jnp.where(mask[..., None], x.astype(jnp.float32), 0)
  return x.sum(1) / jnp.maximum(mask.sum(1, keepdims=True), 1)
