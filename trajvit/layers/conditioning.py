"""Tokens as a decoder reads them: the ones that are missing are one token."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.ops.tokens import zero_masked
from trajvit.types import Tokens

TAILS = ("drop", "mask", "null")


class Conditioning(nnx.Module):
  """Maps tokens to a decoder's width, and stands in for those left out.

  Source: FlexTok, arXiv:2502.13967, for what nested and latent dropout put in
  the place of registers. A register that is left out becomes a learned mask
  token, to which no position is added. All of them are equal on entry, hence
  after every layer of full attention, so that one slot of size M at the end
  does what M of them do: the log of its size is added to its logits as a key,
  see `ops.token_size`. The null token, no condition at all, is in that slot,
  too.

  Semanticist, arXiv:2503.08685, has a null vector for every place instead, as
  wide as the tokens: a token that is left out becomes the one of its place, and
  a clip without a condition all of them. As they differ, no slot stands for
  several.

  Args:
    inputs: width of the tokens.
    width: D, the decoder's.
    num_tokens: slots of a full set: each has a learned position, and those that
      a clip does not fill count as left out even where there is no slot for
      them, so that K slots give what N do of which K are real. None is for
      tokens that are a set: no positions, and what is masked is left out.
    tail: "drop": nothing reads what is left out; "mask": it becomes mask
      tokens; "null": it becomes null vectors, which are then what tells places
      apart: there are no positions.
    null: whether there is a null token. It counts as `num_tokens` with the tail
      "mask", as one with "drop"; with "null" it is all null vectors.
    proportional: whether tokens count by their size instead of as one each.
    init_std: of positions and of all that stands in, before training.
    dtype: of the products.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: an unknown tail, or "null" for tokens that are a set.
  """

  def __init__(
    self,
    inputs: int,
    width: int,
    *,
    num_tokens: int | None = None,
    tail: str = "drop",
    null: bool = False,
    proportional: bool = False,
    init_std: float = 0.02,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if tail not in TAILS:
      raise ValueError(f"tail must be one of {', '.join(TAILS)}, got {tail!r}")
    if tail == "null" and num_tokens is None:
      raise ValueError("tail 'null' needs num_tokens: it has one vector each")
    self.inputs, self.num_tokens, self.tail = inputs, num_tokens, tail
    self.width, self.proportional, self.dtype = width, proportional, dtype
    self.project = Linear(inputs, width, dtype=dtype, rngs=rngs)
    init = nnx.initializers.truncated_normal(init_std)

    def learned(*shape):
      return nnx.Param(init(rngs.params(), shape))

    if tail == "null":
      self.null_vectors = learned(num_tokens, inputs)
      self.positions = self.mask_token = self.null_token = None
      return
    self.null_vectors = None
    self.positions = None if num_tokens is None else learned(num_tokens, width)
    self.mask_token = learned(width) if tail == "mask" else None
    self.null_token = learned(width) if null else None

  def __call__(
    self, tokens: Tokens, *, dropped: jax.Array | None = None
  ) -> Tokens:
    """Returns N tokens of width D, and a slot more if there are learned ones.

    With null vectors it is as many tokens as have a place.

    Args:
      tokens: [B, N, inputs], not packed.
      dropped: [B] bool, clips of which nothing but the null token is seen.

    Raises:
      ValueError: another width, more tokens than positions, packed rows, or
        clips to drop without a null token.
    """
    self._check(tokens)
    tokens = zero_masked(tokens)
    if self.null_vectors is not None:
      return self._with_null_vectors(tokens, dropped)
    x = self.project(tokens.features)
    batch, slots = tokens.mask.shape
    if self.positions is not None:
      x += self.positions[:slots].astype(x.dtype)
    size = tokens.size.astype(jnp.float32)
    size = size if self.proportional else jnp.ones_like(size)
    mask, positions = tokens.mask, tokens.positions
    if self.mask_token is not None or dropped is not None:
      last, last_size = self._last(mask, dropped)
      mask = mask if dropped is None else mask & ~dropped[:, None]
      x = jnp.concatenate([x, last[:, None]], axis=1)
      mask = jnp.concatenate([mask, (last_size > 0)[:, None]], axis=1)
      size = jnp.concatenate([size, last_size[:, None]], axis=1)
      positions = jnp.pad(positions, ((0, 0), (0, 1), (0, 0)))
    return zero_masked(Tokens(x, mask, positions, size))

  def nothing(self, tokens: Tokens) -> Tokens:
    """Returns the one token, or all null vectors, seen where all is dropped.

    Args:
      tokens: [B, N, inputs], of which only the shape is read.

    Raises:
      ValueError: there is no null token.
    """
    self._check(tokens)
    everyone = jnp.ones(tokens.mask.shape[:1], bool)
    if self.null_vectors is not None:
      return self._with_null_vectors(tokens, everyone)
    token, size = self._last(tokens.mask, everyone)
    return Tokens(
      features=token[:, None],
      mask=everyone[:, None],
      positions=jnp.zeros((*everyone.shape, 1, 3), jnp.float32),
      size=size[:, None],
    )

  def _last(self, mask, dropped):
    """What is in the last slot, [B, D], and how many it stands for, [B]."""
    batch, slots = mask.shape
    total = slots if self.num_tokens is None else self.num_tokens
    if self.mask_token is None:
      token, size, of_null = 0.0, jnp.zeros(batch), 1
    else:
      token, size, of_null = self.mask_token[...], total - mask.sum(1), total
    if dropped is not None:
      if self.null_token is None:
        raise ValueError("to drop the condition, a null token is needed")
      token = jnp.where(dropped[:, None], self.null_token[...], token)
      size = jnp.where(dropped, of_null, size)
    token = jnp.broadcast_to(token, (batch, self.width))
    return token.astype(self.dtype), size.astype(jnp.float32)

  def _with_null_vectors(self, tokens, dropped):
    """Null vectors in all places whose token is not there, [B, N, D]."""
    missing = self.num_tokens - tokens.mask.shape[1]

    def fill(x):
      widths = [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2)
      return jnp.pad(x, widths)

    mask = fill(tokens.mask)
    if dropped is not None:
      mask &= ~dropped[:, None]
    features = fill(tokens.features)
    null = self.null_vectors[...].astype(features.dtype)
    size = jnp.ones_like(mask, jnp.float32)
    if self.proportional:
      size = jnp.where(mask, fill(tokens.size.astype(jnp.float32)), 1)
    return Tokens(
      features=self.project(jnp.where(mask[..., None], features, null)),
      mask=jnp.ones_like(mask),
      positions=fill(tokens.positions),
      size=size,
    )

  def _check(self, tokens):
    slots, width = tokens.features.shape[1:]
    if width != self.inputs:
      raise ValueError(f"tokens must be {self.inputs} wide, got {width}")
    if tokens.segments is not None:
      raise ValueError("a decoder reads clips: unpack the rows first")
    if self.num_tokens is not None and slots > self.num_tokens:
      raise ValueError(
        f"at most {self.num_tokens} tokens have a position, got {slots}"
      )
