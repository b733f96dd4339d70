"""A stack of equal layers, kept as one set of stacked parameters."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.remat import known_remat, recomputed
from trajvit.layers.statistics import nested
from trajvit.mesh import at_block_edge

# Up to this depth the loop is unrolled: XLA then fuses across layers, and the
# longer compilation does not matter yet.
UNROLL = 4


class Stack(nnx.Module):
  """`depth` equal layers run one after the other by a scan.

  Every parameter has a leading axis of length `depth`: one layer is traced and
  compiled whatever the depth, and one sharding rule covers all layers.

  Args:
    make: `make(rngs)` builds one layer, a module called as
      `layer(x, *args) -> (x, aux)`.
    depth: number of layers, at least 1.
    remat: what of a layer the backward pass computes once more, a name in
      `layers.remat.POLICIES`; True is "full" and False is "none".
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    make: Callable[[nnx.Rngs], nnx.Module],
    depth: int,
    *,
    remat: str | bool = "none",
    rngs: nnx.Rngs,
  ):
    if depth < 1:
      raise ValueError(f"depth must be at least 1, got {depth}")
    self.depth, self.remat = depth, known_remat(remat)

    def state(key):
      return nnx.split(make(nnx.Rngs(params=key)))[1]

    graphdef, _ = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(params=0))))
    keys = jax.random.split(rngs.params(), depth)
    self.layers = nnx.merge(graphdef, jax.vmap(state)(keys))

  def __call__(self, x, *args) -> tuple[jax.Array, dict]:
    """Returns `x` after all layers; `args` go to each of them unchanged.

    In aux every array of a layer's aux has a leading axis of length `depth`.
    """
    x, aux = self._scan(lambda layer, x: layer(x, *args), x)
    return x, aux

  def with_last_input(self, x, *args) -> tuple[jax.Array, dict, jax.Array]:
    """Returns what a call does, and in the end what the last layer read."""

    def run(layer, inputs):
      x, _ = inputs
      y, aux = layer(x, *args)
      return (y, x), aux

    (x, before), aux = self._scan(run, (x, x))
    return x, aux, before

  def with_output_of(
    self, number: int | None, x, *args
  ) -> tuple[jax.Array, dict, jax.Array | None]:
    """Returns what a call does, and what layer `number` put out; None: None."""
    if number is None:
      return *self(x, *args), None

    def run(layer, inputs):
      x, kept, left = inputs
      x, aux = layer(x, *args)
      return (x, jnp.where(left == 0, x, kept), left - 1), aux

    (x, kept, _), aux = self._scan(run, (x, x, number))
    return x, aux, kept

  def last(self) -> nnx.Module:
    """Returns the last layer."""
    return self._layer(-1)

  def first(self) -> nnx.Module:
    """Returns the first layer."""
    return self._layer(0)

  def _layer(self, number):
    graphdef, states = nnx.split(self.layers)
    return nnx.merge(graphdef, jax.tree.map(lambda leaf: leaf[number], states))

  def _scan(self, run, carry):
    """Carries `carry` through `run(layer, carry) -> (carry, aux)`."""
    graphdef, states = nnx.split(self.layers)

    def layer(carry, state):
      carry, aux = run(nnx.merge(graphdef, state), at_block_edge(carry))
      return at_block_edge(carry), aux

    layer = recomputed(layer, self.remat)
    # 0 unrolls all. The depth does not where it is 1: a loop of one turn is
    # left, inside of which XLA's CPU convolutions are 30 times slower.
    unroll = 0 if self.depth <= UNROLL and self.remat == "none" else 1
    carry, aux = jax.lax.scan(layer, carry, states, unroll=unroll)
    return carry, nested("layers", aux)
