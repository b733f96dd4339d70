"""Registers that are given out in rounds, by one Transformer run repeatedly."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention_methods.context import Context
from trajvit.layers.block import Block
from trajvit.layers.norm import LayerNorm
from trajvit.layers.stack import Stack
from trajvit.ops.attention import AttentionMask
from trajvit.ops.nested import keep_first
from trajvit.ops.tokens import zero_masked
from trajvit.tokenizers.tubelet import TubeletTokenizer
from trajvit.types import Clip, Tokens


class RecurrentTokenizer(nnx.Module):
  """In every round the same blocks read the patches and a few new registers.

  What a round makes of the patches the next one reads, and so it does with the
  registers of the rounds before, but these stay what they are: the first rounds
  alone give the first tokens, and cost no more. A clip that is simple can stop
  early; `evaluators.adaptive_length` says what that saves.

  Source: ALIT, arXiv:2411.02393, whose later rounds change earlier registers,
  too; it also reads the codes of a frozen VQGAN, and blinds patches that are
  known well enough.

  Attributes:
    num_registers: N, of all rounds.
    steps: 1, a clip has one set of them.

  Args:
    rounds: R.
    num_new: registers a round.
    patch: (frames, rows, columns) of a tubelet; each divides the clip.
    position: of the patches, see `tubelet`.
    depth: number of blocks, which are shared by the rounds.
    mlp_dim: hidden width of their perceptrons; None is 4 D.
    remat: what of a block is computed twice, see `layers.remat`.
    width: D.
    num_heads: K.
    clip_shape: (T, H, W).
    dtype: of the products; norms and softmax are float32.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: less than one round or register.
  """

  def __init__(
    self,
    *,
    rounds: int = 8,
    num_new: int = 32,
    patch: tuple[int, int, int] = (2, 16, 16),
    position: str = "factorized",
    depth: int = 12,
    mlp_dim: int | None = None,
    remat: str | bool = "none",
    width: int,
    num_heads: int,
    clip_shape: tuple[int, int, int],
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if min(rounds, num_new) < 1:
      raise ValueError(
        f"rounds and num_new must be at least 1, got {rounds} and {num_new}"
      )
    self.num_rounds, self.num_new, self.width = rounds, num_new, width
    self.num_registers, self.steps, self.dtype = rounds * num_new, 1, dtype
    self.patches = TubeletTokenizer(
      patch=patch,
      position=position,
      width=width,
      clip_shape=clip_shape,
      dtype=dtype,
      rngs=rngs,
    )
    init = nnx.initializers.truncated_normal(0.02)
    self.registers = nnx.Param(init(rngs.params(), (num_new, width)))
    self.position = nnx.Param(init(rngs.params(), (rounds, 1, width)))

    def make(rngs):
      hidden = 4 * width if mlp_dim is None else mlp_dim
      return Block(width, num_heads, hidden, dtype=dtype, rngs=rngs)

    self.blocks = Stack(make, depth, remat=remat, rngs=rngs)
    self.norm_patches = LayerNorm(width, dtype=dtype)
    self.norm = LayerNorm(width, dtype=dtype)

  def __call__(
    self, clip: Clip, *, key=None, budget: int | None = None
  ) -> tuple[Tokens, dict]:
    """Returns the registers of all rounds, in their order.

    Args:
      clip: `frames` [B, T, H, W, 3] float.
      key: unused.
      budget: how many registers are computed, the first ones, which equal the
        first of all; None is all.

    Returns:
      Tokens in the middle of the clip. Aux is empty.

    Raises:
      ValueError: a budget that is not in [1, N], or a clip of another shape.
    """
    del key
    count = self.num_registers if budget is None else budget
    if not 1 <= count <= self.num_registers:
      raise ValueError(
        f"budget must be in [1, {self.num_registers}], got {budget}"
      )
    patches, _ = self.patches(clip)
    x, done = patches.features, patches.features[:, :0]
    for number in range(-(-count // self.num_new)):
      x, new = self._round(x, done, patches.mask, number)
      done = jnp.concatenate([done, new], axis=1)
    features = self.norm(done[:, :count])
    mask = jnp.broadcast_to(
      patches.mask.any(1, keepdims=True), features.shape[:2]
    )
    tokens = Tokens(
      features=features,
      mask=mask,
      positions=jnp.full((*mask.shape, 3), 0.5),
      size=mask.astype(jnp.float32),
    )
    return zero_masked(tokens), {}

  def keep_first(self, tokens: Tokens, keep: jax.Array | int) -> Tokens:
    """Returns tokens of which the first rounds are left.

    Args:
      tokens: of a call without a budget.
      keep: how many tokens are wanted, [B] int32, or one number for all: as
        many rounds are kept as it takes.
    """
    rounds = -(-jnp.asarray(keep) // self.num_new)
    mask = keep_first(tokens.mask[:, None], rounds * self.num_new)[:, 0]
    return zero_masked(dataclasses.replace(tokens, mask=mask))

  def _round(self, x, done, real, number):
    """Patches [B, P, D] and new registers [B, n, D] after a round.

    Args:
      x: [B, P, D] patches, of which `real` [B, P] are.
      done: [B, M, D] registers of the rounds before.
      real: see above.
      number: of the round, from 0.
    """
    fresh = (self.registers[...] + self.position[number]).astype(self.dtype)
    fresh = jnp.broadcast_to(fresh, (x.shape[0], *fresh.shape))
    both = jnp.concatenate([x, done, fresh], axis=1)
    rest = jnp.ones((x.shape[0], both.shape[1] - real.shape[1]), bool)
    mask = AttentionMask(keys=jnp.concatenate([real, rest], axis=1))
    both, _ = self.blocks(both, Context(mask=mask))
    patches = self.norm_patches(both[:, : x.shape[1]])
    return patches, both[:, -self.num_new :]
