"""A prior of codes: each is guessed from those in front of it."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention_methods.context import Context
from trajvit.layers.block import Block
from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.stack import Stack
from trajvit.ops.attention import from_pattern, sequence
from trajvit.ops.attention.patterns import FrameCausal
from trajvit.ops.unit import unit


class CodePrior(nnx.Module):
  """A causal Transformer that is trained along with the codes it guesses.

  A model of codes is to come after a tokenizer; one that is small and learns at
  the same time makes the tokenizer choose codes that can be guessed. What it
  reads are the codes with the gradient of what was rounded, so that its loss
  reaches the encoder. What it names are codes of the codebook as it stands,
  which gets no gradient.

  Scheduled sampling: in every round but the first a share of the codes that it
  reads are its own guesses of the round before.

  Source: LARP, arXiv:2410.21264. Its share grows in the first third of the
  training, here it is the same from the start; it has dropout, we have none.

  Args:
    dim: width of the codes.
    count: N, the most codes of a clip.
    width: D.
    depth: number of blocks.
    num_heads: K.
    rounds: of guessing, at least 1.
    mix: share of guesses among what a later round reads, in [0, 1].
    temperature: the cosines of a guess with the codes are divided by it.
    block: tokens in a block of the attention's mask.
    remat: what of a block is computed twice, see `layers.remat`.
    dtype: of the products; norms and softmax are float32.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: a number that is out of range.
  """

  def __init__(
    self,
    *,
    dim: int,
    count: int,
    width: int = 384,
    depth: int = 12,
    num_heads: int = 6,
    rounds: int = 2,
    mix: float = 0.5,
    temperature: float = 1.0,
    block: int = 128,
    remat: str | bool = "none",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if rounds < 1:
      raise ValueError(f"rounds must be at least 1, got {rounds}")
    if not 0 <= mix <= 1:
      raise ValueError(f"mix must be in [0, 1], got {mix}")
    if temperature <= 0:
      raise ValueError(f"temperature must be above 0, got {temperature}")
    self.count, self.block = count, block
    self.rounds, self.mix, self.temperature = rounds, mix, temperature
    init = nnx.initializers.truncated_normal(0.02)
    self.start = nnx.Param(init(rngs.params(), (dim,)))
    self.positions = nnx.Param(init(rngs.params(), (count, width)))
    self.inner = Linear(dim, width, dtype=dtype, rngs=rngs)

    def make(rngs):
      return Block(width, num_heads, 4 * width, dtype=dtype, rngs=rngs)

    self.blocks = Stack(make, depth, remat=remat, rngs=rngs)
    self.norm = LayerNorm(width, dtype=dtype)
    self.outer = Linear(width, dim, dtype=dtype, rngs=rngs)

  def __call__(
    self,
    codes: jax.Array,
    indices: jax.Array,
    mask: jax.Array,
    codebook: jax.Array,
    *,
    key: jax.Array,
  ) -> dict:
    """Returns how well codes are guessed, for `objectives.prior`.

    Args:
      codes: [B, N, dim], of a quantizer.
      indices: [B, N] int32 in [0, size), which codes they are.
      mask: [B, N] bool, True = real; others are not read, and those behind the
        last real one change nothing.
      codebook: [size, dim] float32.
      key: of the guesses.

    Returns:
      nll: [B, N] float32 in nats, the mean over the rounds.
      correct: [B, N] bool, whether the likeliest code of round one is the one.
      mask: [B, N].

    Raises:
      ValueError: more codes than have a position.
    """
    if codes.shape[1] > self.count:
      raise ValueError(
        f"at most {self.count} codes have a position, got {codes.shape[1]}"
      )
    codebook = jax.lax.stop_gradient(codebook.astype(jnp.float32))
    codes = jnp.where(mask[..., None], codes.astype(jnp.float32), 0)
    indices = jnp.where(mask, indices, 0)
    read, total, correct = codes, 0.0, None
    for number in range(self.rounds):
      logits = self.logits(read, mask, codebook)
      total += -_log_probability(logits, indices)
      if number == 0:
        correct = logits.argmax(-1) == indices
      if number + 1 < self.rounds:
        key, draw, choose = jax.random.split(key, 3)
        constant = jax.lax.stop_gradient(logits)
        guessed = codebook[jax.random.categorical(draw, constant)]
        swapped = jax.random.bernoulli(choose, self.mix, mask.shape)
        read = jnp.where(swapped[..., None], guessed, codes)
    return {"nll": total / self.rounds, "correct": correct, "mask": mask}

  def logits(
    self, codes: jax.Array, mask: jax.Array, codebook: jax.Array
  ) -> jax.Array:
    """Returns [B, N, size] float32; row i is told by codes 0 to i - 1.

    Args:
      codes: [B, N, dim] float32, finite where masked.
      mask: [B, N] bool.
      codebook: [size, dim] float32.
    """
    first = jnp.broadcast_to(self.start[...], codes[:, :1].shape)
    before = jnp.concatenate([first, codes[:, :-1]], axis=1)
    x = self.inner(before)
    x += self.positions[: codes.shape[1]].astype(x.dtype)
    x, _ = self.blocks(x, Context(mask=self._causal(mask)))
    guess = unit(self.outer(self.norm(x)).astype(jnp.float32))
    return guess @ unit(codebook).T / self.temperature

  def _causal(self, mask):
    """The BlockMask of codes that read themselves and those before."""
    places = sequence(mask.shape[1], mask)
    places = dataclasses.replace(places, t=places.index)
    return from_pattern(
      FrameCausal(), places, block_query=self.block, block_key=self.block
    )


def _log_probability(logits, indices):
  """Of `indices` [B, N] by `logits` [B, N, size], [B, N]."""
  chosen = jnp.take_along_axis(logits, indices[..., None], axis=-1)[..., 0]
  return chosen - jax.nn.logsumexp(logits, axis=-1)
