"""The gated perceptron of newer Transformers and perceivers."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear


def gated_dim(width: int) -> int:
  """Returns two thirds of 4 D: with three maps as many numbers as two of 4 D.

  Rounded down, as in FlexTok, arXiv:2502.13967.
  """
  return 2 * (4 * width) // 3


class GatedMlp(nnx.Module):
  """down(silu(gate(x)) * up(x)).

  Source: SwiGLU, arXiv:2002.05202.

  Args:
    inputs: width in.
    mlp_dim: width of gate and up.
    outputs: width out.
    bias: whether the three maps have one.
    init: of the linear maps, see `layers.linear`.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    inputs: int,
    mlp_dim: int,
    outputs: int,
    *,
    bias: bool = True,
    init: str = "lecun",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    options = dict(bias=bias, init=init, dtype=dtype, rngs=rngs)
    self.gate = Linear(inputs, mlp_dim, **options)
    self.up = Linear(inputs, mlp_dim, **options)
    self.down = Linear(mlp_dim, outputs, **options)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [..., inputs] to [..., outputs]."""
    return self.down(jax.nn.silu(self.gate(x)) * self.up(x))
