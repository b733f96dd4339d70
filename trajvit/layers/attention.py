"""Multi-head self-attention."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention_methods import ATTENTIONS
from trajvit.layers.attention_methods.context import Context
from trajvit.layers.linear import Linear
from trajvit.layers.statistics import nested
from trajvit.ops.attention import BlockMask


class SelfAttention(nnx.Module):
  """Multi-head self-attention over a sequence.

  Args:
    width: D, divisible by `num_heads`.
    num_heads: K.
    method: spec of an entry in ATTENTIONS; None is full attention.
    init: of the linear maps, see `layers.linear`.
    dtype: of the products; the softmax is float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    *,
    method: dict | None = None,
    init: str = "lecun",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if width % num_heads:
      raise ValueError(
        f"width must be divisible by num_heads, got {width} and {num_heads}"
      )
    self.num_heads = num_heads
    options = dict(init=init, dtype=dtype, rngs=rngs)
    self.query = Linear(width, width, **options)
    self.key = Linear(width, width, **options)
    self.value = Linear(width, width, **options)
    self.out = Linear(width, width, **options)
    self.method = ATTENTIONS.build(
      {"name": "full"} if method is None else method,
      num_heads=num_heads,
      head_dim=width // num_heads,
      rngs=rngs,
    )

  def __call__(
    self, x: jax.Array, context: Context | None = None
  ) -> tuple[jax.Array, dict]:
    """Maps [B, N, D] to [B, N, D]; aux is that of the method."""
    context = Context() if context is None else context
    heads = [self._split(linear(x)) for linear in self._inputs()]
    out, aux = self.method(*heads, context)
    return self.out(out.reshape(x.shape)), nested("method", aux)

  def query_and_key(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the queries and keys of [B, N, D], both [B, N, K, d]."""
    query, key, _ = self._inputs()
    return self._split(query(x)), self._split(key(x))

  def select(self, x: jax.Array, context: Context) -> BlockMask | None:
    """Returns the tiles that a whole stage is to use, where it shares them."""
    if not self.method.shared:
      return None
    return self.method.select(*self.query_and_key(x), context)

  def _inputs(self):
    return self.query, self.key, self.value

  def _split(self, x):
    return x.reshape(*x.shape[:-1], self.num_heads, -1)  # [B, N, K, d]
