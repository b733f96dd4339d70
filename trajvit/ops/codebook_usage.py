"""How much of a codebook is used, from counts of its codes.

Counts are [..., K] in NumPy, which gives float64, or in jax, float32. Leading
axes are codebooks or positions of a token, each with statistics of its own.
Over a whole evaluation, add up the counts and come here once: none of these
is the mean of its values for batches.
"""

import jax
import jax.numpy as jnp
import numpy as np


def count_codes(indices: jax.Array, size: int) -> jax.Array:
  """Returns how often each code occurs.

  Args:
    indices: int32 of any shape, in [0, K), or -1 for what is not counted.
    size: K.

  Returns:
    [K] int32. Under jit with a sharded batch, the counts of all of it.
  """
  flat = indices.reshape(-1)
  # A negative index would count from the end; one that is too large is dropped.
  flat = jnp.where(flat < 0, size, flat)
  return jnp.zeros(size, jnp.int32).at[flat].add(1, mode="drop")


def used_share(counts):
  """Returns [...], the share of the codes that occur at all, in [0, 1]."""
  xp = counts.__array_namespace__()
  return (counts > 0).sum(-1) / xp.asarray(counts.shape[-1])


def entropy_bits(counts):
  """Returns [...], -sum p log2 p in bits of p = n / sum n; 0 without counts."""
  xp = counts.__array_namespace__()
  total = counts.sum(-1, keepdims=True)
  share = counts / xp.where(total > 0, total, 1)
  some = share > 0
  terms = share * xp.log2(xp.where(some, share, 1))
  return xp.where(some, -terms, 0).sum(-1)


def perplexity(counts):
  """Returns [...], 2^entropy in [1, K]: as many codes, evenly used."""
  return 2 ** entropy_bits(counts)


def divergence_from_uniform(counts):
  """Returns [...], the KL divergence to uniform use: log2 K - entropy, bits."""
  return np.log2(counts.shape[-1]) - entropy_bits(counts)


def dead_codes(counts, *, threshold: float = 1e-3):
  """Returns [..., K] bool, n_c < threshold * mean n; none without counts."""
  return counts < threshold * counts.mean(-1, keepdims=True)


def expected_used(draws, size: int):
  """Returns how many codes n uniform draws would use, K (1 - (1 - 1/K)^n).

  What was used is to be compared with this where draws are few.

  Args:
    draws: n, of any shape; NumPy, jax or a number.
    size: K.

  Returns:
    As `draws`, in [0, K].
  """
  xp = jnp if isinstance(draws, jax.Array) else np
  if size == 1:
    return xp.minimum(draws, 1) * 1.0
  return -size * xp.expm1(draws * np.log1p(-1 / size))


def used_of_expected(counts):
  """Returns [...], used codes over those that uniform draws would use.

  About 1 for uniform use however few the draws; 1 where there are none.
  """
  xp = counts.__array_namespace__()
  total = counts.sum(-1)
  expected = expected_used(total * 1.0, counts.shape[-1])
  used = (counts > 0).sum(-1)
  return xp.where(total > 0, used / xp.where(total > 0, expected, 1), 1.0)


def codebook_statistics(counts) -> dict:
  """Returns all of the above as {name: [...]}; what an evaluation reports.

  `usage`, `usage_of_expected`, `entropy_bits`, `perplexity`,
  `kl_to_uniform_bits`, and `dead`, the share of dead codes.
  """
  return {
    "usage": used_share(counts),
    "usage_of_expected": used_of_expected(counts),
    "entropy_bits": entropy_bits(counts),
    "perplexity": perplexity(counts),
    "kl_to_uniform_bits": divergence_from_uniform(counts),
    "dead": dead_codes(counts).mean(-1),
  }
