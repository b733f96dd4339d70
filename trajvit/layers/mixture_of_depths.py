"""Mixture of depths: blocks that only some of the tokens go through."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention_methods.context import Context, refuse_packed
from trajvit.layers.block import Block
from trajvit.layers.linear import Linear
from trajvit.ops.attention import AttentionMask, BlockMask
from trajvit.ops.selection import highest


class MixtureOfDepths(nnx.Module):
  """Blocks for all tokens, and then one for the tokens that a router picks.

  Source: arXiv:2404.02258, where every second block is of that kind, with room
  for an eighth of the tokens. The router is a linear map to one number; tokens
  of the highest numbers go through the block, attend to each other only, and
  take its update times the sigmoid of their number, which teaches the router.
  All others stay what they are. In the paper the number itself is the factor,
  and tokens may not look ahead, which does not matter here.

  Args:
    make: `make(rngs)` builds a block, pre-norm and with full attention.
    width: D.
    every: blocks, the last of which is routed; at least 1.
    capacity: share of the tokens that go through it, in (0, 1], rounded up;
      registers, which always do, are not counted.
    registers: how many there are, in front of all other tokens.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: `every` or `capacity` is out of range.
  """

  def __init__(
    self,
    make,
    width: int,
    *,
    every: int = 2,
    capacity: float = 0.125,
    registers: int = 0,
    rngs: nnx.Rngs,
  ):
    if every < 1 or not 0 < capacity <= 1:
      raise ValueError(
        "mixture_of_depths needs every of at least 1 and a capacity in (0, 1], "
        f"got {every} and {capacity}"
      )
    self.blocks = nnx.List([make(rngs) for _ in range(every - 1)])
    self.routed: Block = make(rngs)
    self.router = Linear(width, 1, rngs=rngs)
    self.capacity, self.registers = capacity, registers

  def __call__(self, x: jax.Array, context: Context) -> tuple[jax.Array, dict]:
    """Maps [B, N, D] to [B, N, D]; aux is empty.

    Raises:
      ValueError: rows are packed, or only some tokens may meet.
    """
    refuse_packed(context, "mixture_of_depths")
    if isinstance(context.mask, BlockMask):
      raise ValueError("mixture_of_depths takes no pattern of attention")
    for block in self.blocks:
      x, _ = block(x, context)
    return self._route(x, context), {}

  def _route(self, x, context):
    batch, count, _ = x.shape
    mask = None if context.mask is None else context.mask.keys
    mask = jnp.ones((batch, count), bool) if mask is None else mask
    logits = self.router(x)[..., 0].astype(jnp.float32)
    room = math.ceil(self.capacity * (count - self.registers))
    always = jnp.arange(count) < self.registers
    chosen = highest(
      logits,
      self.registers + room,
      mask=mask,
      protected=jnp.broadcast_to(always, mask.shape),
    )

    def pick(values):
      return jnp.take_along_axis(values, chosen, axis=1)

    taken = jnp.take_along_axis(x, chosen[..., None], axis=1)  # [B, k, D]
    bias = None if context.bias is None else pick(context.bias)
    inside = Context(
      mask=AttentionMask(keys=pick(mask)), bias=bias, train=context.train
    )
    out, _ = self.routed(taken, inside)
    gate = jax.nn.sigmoid(pick(logits))[..., None].astype(x.dtype)
    row = jnp.arange(batch)[:, None]
    return x.at[row, chosen].add(gate * (out - taken))
