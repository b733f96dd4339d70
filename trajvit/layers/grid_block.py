"""Blocks whose attention knows where on a grid (t, h, w) a token is."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention import SelfAttention
from trajvit.layers.attention_methods.context import Context
from trajvit.layers.block import Block
from trajvit.ops.position import rotary_cells


class GridAttention(SelfAttention):
  """Self-attention whose queries and keys are turned by frame, row and column.

  A third of a head's channels, down to an even number, is turned by each, and
  what is left over by none: see `ops.position.rotary_cells`.

  Args:
    width: D.
    num_heads: K.
    grid: (t, h, w) of the tokens, which are all there, in raster order.
    dtype: of the products; the softmax is float32.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: heads too narrow to turn two channels by each.
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    *,
    grid: tuple[int, int, int],
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    super().__init__(width, num_heads, dtype=dtype, rngs=rngs)
    if width // num_heads < 6:
      raise ValueError(
        "attention on a grid needs heads of at least 6 channels, "
        f"got {width // num_heads}"
      )
    self.grid = tuple(grid)

  def __call__(
    self, x: jax.Array, context: Context | None = None
  ) -> tuple[jax.Array, dict]:
    """Maps [B, t h w, D] to the same; aux is {}."""
    context = Context() if context is None else context
    query, key, value = (self._split(linear(x)) for linear in self._inputs())
    query, key = (rotary_cells(x, self.grid) for x in (query, key))
    out, _ = self.method(query, key, value, context)
    return self.out(out.reshape(x.shape)), {}


class GridBlock(Block):
  """A block with attention on a grid.

  Args:
    width: D.
    num_heads: K.
    mlp_dim: hidden width of the perceptron.
    grid: (t, h, w) of the tokens.
    activation: of the perceptron, see `layers.mlp`.
    epsilon: of the layer norms.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    mlp_dim: int,
    *,
    grid: tuple[int, int, int],
    activation: str = "gelu",
    epsilon: float = 1e-6,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    options = dict(dtype=dtype, rngs=rngs)
    super().__init__(
      width,
      num_heads,
      mlp_dim,
      activation=activation,
      epsilon=epsilon,
      **options,
    )
    self.attention = GridAttention(width, num_heads, grid=grid, **options)
