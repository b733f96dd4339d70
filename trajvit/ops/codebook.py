"""Codebooks of vectors: the nearest code, and codebooks that follow the data.

`usage` is [K] float32, a moving average of the share of tokens of each code.
None of these functions passes a gradient, except `affinity`.
"""

import jax
import jax.numpy as jnp

from trajvit.ops.codebook_usage import count_codes


def affinity(x: jax.Array, codebook: jax.Array) -> jax.Array:
  """Returns x e - |e|^2 / 2 for every pair: the highest is the nearest code.

  For codes of norm 1 it is the cosine times |x|, less a half.

  Args:
    x: [N, D] float32.
    codebook: [K, D] float32.

  Returns:
    [N, K] float32.
  """
  highest = jax.lax.Precision.HIGHEST
  products = jnp.einsum("nd,kd->nk", x, codebook, precision=highest)
  return products - jnp.square(codebook).sum(-1) / 2


def nearest_codes(x: jax.Array, codebook: jax.Array) -> jax.Array:
  """Returns [N] int32, the code nearest to each x, the first of equals."""
  x, codebook = jax.lax.stop_gradient((x, codebook))
  return jnp.argmax(affinity(x, codebook), axis=-1).astype(jnp.int32)


def averaged_usage(
  usage: jax.Array, indices: jax.Array, *, decay: float
) -> jax.Array:
  """Returns decay * usage + (1 - decay) * n / sum n, [K].

  Args:
    usage: [K] float32.
    indices: int32 of any shape, in [0, K), -1 = masked. A batch with nothing
      else leaves the usage as it is.
    decay: in [0, 1).
  """
  counts = count_codes(indices, usage.shape[0])
  total = counts.sum()
  share = counts / jnp.maximum(total, 1)
  return jnp.where(total > 0, decay * usage + (1 - decay) * share, usage)


def averaged_codes(
  codebook: jax.Array,
  usage: jax.Array,
  x: jax.Array,
  indices: jax.Array,
  *,
  decay: float,
) -> tuple[jax.Array, jax.Array]:
  """Returns codes as moving averages of their tokens, and the new usage.

  Moving averages of counts and of sums are kept, and a code is their quotient
  (van den Oord et al., 2017, arXiv:1711.00937, appendix). The sum of a code is
  its usage times itself, so only these two are stored:

    e <- e + (1 - decay) share / usage' * (mean - e).

  A code without tokens keeps its place exactly. There is no Laplace smoothing,
  which would pull such a code to zero.

  Args:
    codebook: [K, D] float32.
    usage: [K] float32, not negative.
    x: [N, D] float32, finite.
    indices: [N] int32, the code of each token, -1 = masked.
    decay: of both averages.
  """
  x = jax.lax.stop_gradient(x)
  size = codebook.shape[0]
  counts = count_codes(indices, size)
  moved = averaged_usage(usage, indices, decay=decay)
  slot = jnp.where(indices < 0, size, indices)
  sums = jnp.zeros_like(codebook).at[slot].add(x, mode="drop")
  mean = sums / jnp.maximum(counts, 1)[:, None]
  share = counts / jnp.maximum(counts.sum(), 1)
  some = counts > 0
  weight = jnp.where(some, (1 - decay) * share / jnp.where(some, moved, 1), 0)
  return codebook + weight[:, None] * (mean - codebook), moved


def restarted_codes(
  codebook: jax.Array,
  usage: jax.Array,
  x: jax.Array,
  mask: jax.Array,
  key: jax.Array,
  *,
  threshold: float,
) -> tuple[jax.Array, jax.Array]:
  """Returns the codebook with rare codes put on random tokens, and the usage.

  A code with usage < threshold / K is put on a real token drawn at random,
  different tokens for different codes as long as there are enough; its usage
  becomes 1 / K, which gives it time to find tokens.

  Args:
    codebook: [K, D] float32.
    usage: [K] float32.
    x: [N, D] float32, finite.
    mask: [N] bool; without a real token nothing changes.
    key: for the draw.
    threshold: relative to even usage.
  """
  size = usage.shape[0]
  dead = (usage < threshold / size) & mask.any()
  drawn = jax.random.uniform(key, mask.shape)
  order = jnp.argsort(jnp.where(mask, drawn, 2.0))  # real tokens first
  turn = (jnp.cumsum(dead) - 1) % jnp.maximum(mask.sum(), 1)
  token = jax.lax.stop_gradient(x)[order[turn]]
  codebook = jnp.where(dead[:, None], token, codebook)
  return codebook, jnp.where(dead, 1 / size, usage)


def pulled_codes(
  codebook: jax.Array,
  usage: jax.Array,
  x: jax.Array,
  mask: jax.Array,
  *,
  decay: float,
) -> jax.Array:
  """Returns the codebook, its rare codes drawn to the nearest tokens (CVQ).

    e <- (1 - d) e + d x_near,  d = exp(-10 usage K / (1 - decay) - 10^-3)

  Source: CVQ-VAE, arXiv:2307.15139. With a usage that starts at 0, the codes
  begin on tokens.

  Args:
    codebook: [K, D] float32.
    usage: [K] float32, this batch included.
    x: [N, D] float32, finite.
    mask: [N] bool; without a real token nothing changes.
    decay: of the usage.
  """
  x = jax.lax.stop_gradient(x)
  # Here the nearest token of a code is wanted: |x|^2 counts and |e|^2 does not.
  near = affinity(codebook, x)  # [K, N]
  near = jnp.argmax(jnp.where(mask, near, -jnp.inf), axis=-1)
  size = usage.shape[0]
  pull = jnp.exp(-10 * usage * size / (1 - decay) - 1e-3)
  pull = jnp.where(mask.any(), pull, 0)[:, None]
  return codebook + pull * (x[near] - codebook)
