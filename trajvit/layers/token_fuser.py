"""TokenFuser: few tokens written back to the places they were learned from."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm


class TokenFuser(nnx.Module):
  """Gives every place a mixture of M tokens, by weights that the place decides.

  Source: TokenLearner, arXiv:2106.11297: Z = B Y', where Y' is the tokens
  normed, mixed with each other by a linear map, and normed again, and B is the
  sigmoid of a perceptron on the normed place. The caller adds Z to the places.

  At the start Z is 0. The reference starts the linear map at zero, whose norm
  then multiplies the map's gradient by a thousand; here it is the scale of that
  norm that starts at zero.

  Args:
    width: D.
    count: M.
    hidden: width of the perceptron's hidden layer.
    dtype: of the products; the sigmoid is float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    width: int,
    count: int,
    *,
    hidden: int = 64,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    options = dict(dtype=dtype, rngs=rngs)
    self.norm_tokens = LayerNorm(width, dtype=dtype)
    self.across = Linear(count, count, **options)
    self.norm_mixed = LayerNorm(width, dtype=dtype)
    self.norm_mixed.scale = nnx.Param(jnp.zeros(width))
    self.norm_places = LayerNorm(width, dtype=dtype)
    self.inner = Linear(width, hidden, **options)
    self.outer = Linear(hidden, count, **options)

  def __call__(self, tokens: jax.Array, places: jax.Array) -> jax.Array:
    """Returns [..., N, D], what is to be added to the places.

    Args:
      tokens: [..., M, D].
      places: [..., N, D], each of which is given something by itself.
    """
    mixed = self.across(jnp.swapaxes(self.norm_tokens(tokens), -1, -2))
    mixed = self.norm_mixed(jnp.swapaxes(mixed, -1, -2))  # [..., M, D]
    weight = self.outer(jax.nn.gelu(self.inner(self.norm_places(places))))
    weight = jax.nn.sigmoid(weight.astype(jnp.float32)).astype(mixed.dtype)
    return weight @ mixed
