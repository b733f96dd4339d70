"""TokenLearner's maps: how much every new token takes of every old one."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.conv import Conv
from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm


class TokenMaps(nnx.Module):
  """Weights of M new tokens over a set of old ones, from a perceptron.

  Version 1.1 of TokenLearner, arXiv:2106.11297: layer norm, linear, gelu,
  linear, and a softmax over the set. A token is the weighted sum of what was
  not normed; with the last linear map at zero, the mean of the set.

  Args:
    width: D.
    count: M.
    hidden: width of the hidden layer.
    dtype: of the products; the softmax is float32.
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
    self.norm = LayerNorm(width, dtype=dtype)
    self.inner = Linear(width, hidden, dtype=dtype, rngs=rngs)
    self.outer = Linear(hidden, count, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns [..., M, N] float32, the weights of a token: their sum is 1.

    Args:
      x: [..., N, D], zeros in masked slots.
      mask: [..., N] bool; what is masked has the weight 0, everywhere in a set
        without a real token.
    """
    logits = self.outer(jax.nn.gelu(self.inner(self.norm(x))))
    logits = jnp.swapaxes(logits, -1, -2).astype(jnp.float32)
    real = mask[..., None, :]
    logits = jnp.where(real, logits, jnp.finfo(jnp.float32).min)
    return jnp.where(real, jax.nn.softmax(logits, axis=-1), 0)


class ConvTokenMaps(nnx.Module):
  """Weights of M new tokens over the patches of a frame, from convolutions.

  Version 1.0 of TokenLearner, arXiv:2106.11297: layer norm, three convolutions
  of 3 x 3 to M channels with a gelu behind each, a fourth, and a sigmoid. The
  weights of a token have no fixed sum: at zero logits, each is a half.

  Args:
    width: D.
    count: M.
    dtype: of the products; the sigmoid is float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self, width: int, count: int, *, dtype=jnp.float32, rngs: nnx.Rngs
  ):
    self.norm = LayerNorm(width, dtype=dtype)
    options = dict(init="lecun", dtype=dtype, rngs=rngs)
    self.inner = nnx.List(
      [Conv(n, count, 3, **options) for n in (width, count, count)]
    )
    self.outer = Conv(count, count, 3, **options)

  def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns [F, M, h, w] float32 in (0, 1), 0 at masked patches.

    Args:
      x: [F, h, w, D], zeros at masked patches.
      mask: [F, h, w] bool; to a convolution, masked patches are the border.
    """
    y = jnp.where(mask[..., None], self.norm(x), 0)
    for conv in self.inner:
      y = jnp.where(mask[..., None], jax.nn.gelu(conv(y)), 0)
    maps = jax.nn.sigmoid(self.outer(y).astype(jnp.float32))
    maps = jnp.where(mask[..., None], maps, 0)
    return jnp.moveaxis(maps, -1, 1)
