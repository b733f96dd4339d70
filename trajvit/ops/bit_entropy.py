"""Entropies of soft bits, without a table of all their combinations.

L independent bits are a code out of 2^L, and the entropy of the code of one
token is the sum of those of its bits. The entropy of the mean over tokens is
not: there, bits depend on each other, and the sum is an upper bound.
"""

import jax
import jax.numpy as jnp


def bit_entropy(logits: jax.Array) -> jax.Array:
  """Returns the entropy in nats of bits that are 1 with sigmoid(logits).

  Args:
    logits: of any shape, float32.

  Returns:
    Same shape, in [0, log 2]; accurate, with a finite gradient, for any logit.
  """
  size = jnp.abs(logits)
  return jax.nn.softplus(-size) + size * jax.nn.sigmoid(-size)


def entropy_of_mean(
  logits: jax.Array, mask: jax.Array, *, joint_bits: int = 1
) -> jax.Array:
  """Returns the entropy in nats of the mean distribution over tokens.

  Bits are cut into groups of equal size, the last padded with bits that are
  always 0; inside a group it is the entropy of the joint distribution of its
  bits, and the groups are added up. So it is exact with one group, and
  otherwise an upper bound. The mean joint distribution of b bits is a product
  of two matrices, of the tokens' distributions over the halves of a group: the
  largest arrays have N 2^(b/2) and 2^b elements a group, never N 2^b.

  Args:
    logits: [N, L] float32, finite also where masked.
    mask: [N] bool, the tokens to average over: under jit with a sharded batch,
      those of all devices.
    joint_bits: the most bits in a group.

  Returns:
    [] float32, in [0, L log 2]; 0 if no token is real.

  Raises:
    ValueError: `joint_bits` is below 1.
  """
  if joint_bits < 1:
    raise ValueError(f"joint_bits must be at least 1, got {joint_bits}")
  bits = logits.shape[-1]
  groups = -(-bits // joint_bits)
  size = -(-bits // groups)
  share = mask / jnp.maximum(mask.sum(), 1)  # [N]
  padding = (0, 0), (0, groups * size - bits)
  one = jnp.pad(jax.nn.sigmoid(logits), padding)
  zero = jnp.pad(jax.nn.sigmoid(-logits), padding, constant_values=1)
  one, zero = (x.reshape(-1, groups, size) for x in (one, zero))
  half = size // 2
  mean = jnp.einsum(
    "n,nga,ngb->gba",
    share,
    _outcomes(zero[..., :half], one[..., :half]),
    _outcomes(zero[..., half:], one[..., half:]),
    precision=jax.lax.Precision.HIGHEST,
  )
  some = mean > 0
  return -jnp.where(some, mean * jnp.log(jnp.where(some, mean, 1)), 0).sum()


def _outcomes(zero, one):
  """The probabilities [..., 2^b] of all values of b bits [..., b]."""
  found = jnp.ones((*zero.shape[:-1], 1), jnp.float32)
  for i in range(zero.shape[-1]):
    bit = slice(i, i + 1)
    found = jnp.concatenate(
      [found * zero[..., bit], found * one[..., bit]], axis=-1
    )
  return found
