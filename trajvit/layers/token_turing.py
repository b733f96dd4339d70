"""Token Turing Machine: a memory of tokens that is read and written in turn."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.block import Block
from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.stack import Stack
from trajvit.layers.token_learner import TokenMaps
from trajvit.ops.learned_tokens import average

WRITES = ("summary", "erase")


class TokenTuring(nnx.Module):
  """Reads frame after frame into a memory of m tokens, by one set of weights.

  Source: Token Turing Machines, arXiv:2211.09119. A step mixes memory and frame
  to p tokens, runs blocks on them, and writes. A write of "summary" mixes old
  memory, frame and what the blocks put out to the new memory. "erase" is that
  of a Neural Turing Machine, arXiv:1410.5401: output k takes a share w_k of
  every slot, M' = M prod_k (1 - w_k e_k) + sum_k w_k a_k. All mixing is by maps
  of TokenLearner.

  The memory starts at zero. A learned vector for every slot, and one each for
  frames and outputs, is added where maps are computed, and not to what they
  mix: otherwise all slots of the first memory would be alike.

  Args:
    width: D.
    num_heads: K.
    memory: m.
    read: p.
    depth: number of blocks in a step.
    mlp_dim: hidden width of their perceptrons.
    write: "summary" or "erase".
    dtype: of the products; the memory is float32.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: an unknown write.
  """

  def __init__(
    self,
    width: int,
    *,
    num_heads: int,
    memory: int = 64,
    read: int = 8,
    depth: int = 4,
    mlp_dim: int = 512,
    write: str = "summary",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if write not in WRITES:
      raise ValueError(f"write must be one of {WRITES}, got {write!r}")
    options = dict(dtype=dtype, rngs=rngs)
    init = nnx.initializers.normal(0.02)
    self.slots = nnx.Param(init(rngs.params(), (memory, width)))
    self.kinds = nnx.Param(init(rngs.params(), (2, width)))
    self.read = TokenMaps(width, read, **options)
    self.blocks = Stack(
      lambda rngs: Block(width, num_heads, mlp_dim, dtype=dtype, rngs=rngs),
      depth,
      rngs=rngs,
    )
    self.write = (
      TokenMaps(width, memory, **options)
      if write == "summary"
      else EraseAndAdd(width, memory, **options)
    )

  def __call__(
    self,
    x: jax.Array,
    mask: jax.Array,
    positions: jax.Array,
    *,
    slots: int | None = None,
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns what every step put out, the last memory, and where it is from.

    A frame without a real token is no step: memory passes it unchanged.

    Args:
      x: [B, T, n, D], zeros in masked slots.
      mask: [B, T, n] bool.
      positions: [B, T, n, 3] float32, zeros in masked slots.
      slots: use the first so many slots of the memory; None uses all.

    Returns:
      [B, T, p, D] in the dtype of x, zeros in frames without a token;
      [B, m, D] float32; and [B, m, 3] float32, the mean of the positions that
      each slot was mixed from, zeros if there is none.
    """
    batch, _, _, width = x.shape
    slots = self.slots.shape[0] if slots is None else slots
    # A fourth coordinate tells which share comes from frames at all: the first
    # memory is nowhere.
    place = jnp.concatenate(
      [positions, mask[..., None].astype(positions.dtype)], axis=-1
    )
    empty = jnp.zeros((batch, slots, width)), jnp.zeros((batch, slots, 4))

    def step(memory, frame):
      x, mask, place = frame
      new, out = self._step(memory, x, mask, place)
      real = mask.any(1)[:, None, None]
      new = jax.tree.map(lambda a, b: jnp.where(real, a, b), new, memory)
      return new, jnp.where(real, out, 0)

    frames = jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), (x, mask, place))
    (memory, place), outputs = jax.lax.scan(step, empty, frames)
    share = place[..., 3:]
    place = place[..., :3] / jnp.where(share > 0, share, 1)
    return jnp.moveaxis(outputs, 0, 1).astype(x.dtype), memory, place

  def _step(self, memory, x, mask, place):
    """The memory after a frame, with its places, and the outputs [B, p, D]."""
    memory, memory_place = memory
    slots = memory.shape[1]
    real = jnp.ones(memory.shape[:2], bool)
    own = self.slots[...][:slots] + memory
    values = jnp.concatenate([memory, x.astype(jnp.float32)], axis=1)
    keys = jnp.concatenate([own, x + self.kinds[...][0]], axis=1)
    places = jnp.concatenate([memory_place, place], axis=1)
    mask = jnp.concatenate([real, mask], axis=1)

    maps = self.read(keys, mask)
    out, _ = self.blocks(average(maps, values).astype(x.dtype))
    out = out.astype(jnp.float32)
    out_place = average(maps, places)
    if isinstance(self.write, EraseAndAdd):
      return self.write(out, out_place, memory, memory_place), out
    values = jnp.concatenate([values, out], axis=1)
    keys = jnp.concatenate([keys, out + self.kinds[...][1]], axis=1)
    places = jnp.concatenate([places, out_place], axis=1)
    mask = jnp.pad(mask, ((0, 0), (0, out.shape[1])), constant_values=True)
    maps = self.write(keys, mask)[:, :slots]
    return (average(maps, values), average(maps, places)), out


class EraseAndAdd(nnx.Module):
  """The write of a Neural Turing Machine, with p heads on m slots."""

  def __init__(self, width, memory, *, dtype, rngs):
    options = dict(dtype=dtype, rngs=rngs)
    self.norm = LayerNorm(width, dtype=dtype)
    self.address = Linear(width, memory, **options)
    self.erase = Linear(width, width, **options)
    self.add = Linear(width, width, **options)

  def __call__(self, out, out_place, memory, memory_place):
    """Returns the new memory [B, m, D] and its places [B, m, 4].

    Args:
      out: [B, p, D], the heads, and
      out_place: [B, p, 4], where they are from.
      memory: [B, m, D], and
      memory_place: [B, m, 4], likewise.
    """
    heads = self.norm(out)
    logits = self.address(heads)[..., : memory.shape[1]].astype(jnp.float32)
    weight = jnp.swapaxes(jax.nn.softmax(logits, axis=-1), 1, 2)  # [B, m, p]
    erase = jax.nn.sigmoid(self.erase(heads).astype(jnp.float32))
    kept = 1 - weight[..., None] * erase[:, None]  # [B, m, p, D]
    new = memory * kept.prod(2) + average(weight, self.add(heads))
    # A place has no channels to erase: it fades by the mean of what they keep.
    faded = memory_place * kept.mean(-1).prod(-1)[..., None]
    return new, faded + average(weight, out_place)
