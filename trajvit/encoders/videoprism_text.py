"""VideoPrism's text tower: Text -> one feature vector a caption."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.encoders.text import causal_words, first_rows
from trajvit.encoders.vision import check_name
from trajvit.layers.block import Block
from trajvit.layers.norm import LayerNorm
from trajvit.layers.sizes import transformer_size
from trajvit.layers.stack import Stack
from trajvit.ops.sincos import sincos_halves
from trajvit.types import Text

POSITIONS = ("sinusoid", "table")


class VideoPrismText(nnx.Module):
  """A causal Transformer whose class token stands behind all words.

  Source: the video-text model of VideoPrism, arXiv:2402.13217, whose text tower
  is CoCa's, arXiv:2205.01917. Embeddings of words and of the class token are
  scaled by sqrt(D); words have positions, the class token has none. It reads
  all real words, and its feature, normalised, is the caption's. Logits of the
  attention are capped, and the perceptrons have ReLU.

  Attributes:
    width: D, of the feature.

  Args:
    variant: "Ti", "S", "B", "L" or "H"; the next four override its values.
    width: D.
    depth: number of blocks.
    num_heads: K.
    mlp_dim: hidden width of the perceptron.
    position: "sinusoid" adds `ops.sincos.sincos_halves`, "table" learned
      vectors.
    logit_cap: see `attention_methods.capped`.
    epsilon: of the layer norms.
    remat: what of a block is computed twice, see `layers.remat`.
    vocab_size: number of word ids.
    text_length: L, words a caption at most.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    variant: str = "B",
    width: int | None = None,
    depth: int | None = None,
    num_heads: int | None = None,
    mlp_dim: int | None = None,
    position: str = "sinusoid",
    logit_cap: float = 50.0,
    epsilon: float = 1e-6,
    remat: str | bool = "none",
    vocab_size: int,
    text_length: int,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    check_name("position", position, POSITIONS)
    size = transformer_size(variant, width, depth, num_heads, mlp_dim)
    self.width, self.length, self.dtype = size.width, text_length, dtype
    init = nnx.initializers.normal(size.width**-0.5)

    def table(rows):
      return nnx.Param(init(rngs.params(), (rows, size.width)))

    self.embedding = table(vocab_size)
    self.class_token = table(1)
    self.position = table(text_length) if position == "table" else None
    norm = dict(epsilon=epsilon, dtype=dtype)

    def block(rngs):
      return Block(
        size.width,
        size.num_heads,
        size.mlp_dim,
        activation="relu",
        attention=dict(name="capped", cap=logit_cap),
        **norm,
        rngs=rngs,
      )

    self.blocks = Stack(block, size.depth, remat=remat, rngs=rngs)
    self.norm = LayerNorm(size.width, **norm)

  def __call__(self, text: Text) -> jax.Array:
    """Returns [B, D] for `ids` [B, L].

    Raises:
      ValueError: captions are longer than `text_length`.
    """
    count, length = text.ids.shape
    scale = self.width**0.5
    words = scale * self.embedding[...][text.ids]
    words += first_rows(self._places(), length)
    last = scale * jnp.tile(self.class_token[...], (count, 1, 1))
    x = jnp.concatenate([words, last], axis=1).astype(self.dtype)
    real = jnp.pad(text.mask, ((0, 0), (0, 1)), constant_values=True)
    x, _ = self.blocks(x, causal_words(length + 1, real))
    return self.norm(x[:, -1])

  def _places(self):
    if self.position is not None:
      return self.position[...]
    return sincos_halves(self.length, self.width)
