"""The two-layer perceptron of a Transformer block."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear

ACTIVATIONS = {
  "gelu": functools.partial(jax.nn.gelu, approximate=False),
  "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
  # A sigmoid in the place of the normal distribution: CLIP's.
  "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
  "relu": jax.nn.relu,
}


class Mlp(nnx.Module):
  """Linear, activation, linear.

  Args:
    width: D, in and out.
    mlp_dim: width of the hidden layer.
    activation: a name in ACTIVATIONS; "gelu" is the exact one.
    init: of the linear maps, see `layers.linear`.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    width: int,
    mlp_dim: int,
    *,
    activation: str = "gelu",
    init: str = "lecun",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.activation = ACTIVATIONS[activation]
    options = dict(init=init, dtype=dtype, rngs=rngs)
    self.inner = Linear(width, mlp_dim, **options)
    self.outer = Linear(mlp_dim, width, **options)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [..., D] to [..., D]."""
    return self.outer(self.activation(self.inner(x)))
