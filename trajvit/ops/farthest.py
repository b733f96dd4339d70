"""Greedy choice of tokens that are far from each other."""

import functools

import jax
import jax.numpy as jnp


def farthest_points(
  distances: jax.Array,
  mask: jax.Array,
  count: int,
  first: jax.Array | None = None,
  *,
  score: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Returns `count` tokens, each as far as can be from those before it.

  Each pick is the argmax of score_j + min_{i picked} d_ij over the tokens that
  are left, the lowest index of equals. Without a score it is farthest-first
  traversal (Gonzalez, 1985), also called k-center; with score = a imp and
  d = -(1 - a) cos it is maximal marginal relevance (Carbonell and Goldstein,
  1998). Distances need be neither symmetric nor positive: d_ij is the row of
  the token that is picked.

  Args:
    distances: [..., N, N] float.
    mask: [..., N] bool, True = real token.
    count: K, in [1, N].
    first: [...] int32, the first pick; None for the first real token.
    score: [..., N] float, what a token is worth by itself; None for 0. The
      first pick does not read it.

  Returns:
    indices [..., K] int32, in the order of the picks and all different, and
    [..., K] bool, which of them are real: once no real token is left, the picks
    are masked slots. No gradient passes.

  Raises:
    ValueError: `count` is outside [1, N].
  """
  if not 1 <= count <= mask.shape[-1]:
    raise ValueError(
      f"count must be in [1, {mask.shape[-1]}], the number of slots, got "
      f"{count}"
    )
  if first is None:
    first = jnp.argmax(mask, axis=-1)
  if score is None:
    score = jnp.zeros(mask.shape, jnp.float32)
  pick = jnp.vectorize(
    functools.partial(_farthest_points, count),
    signature="(n,n),(n),(n),()->(k)",
  )
  distances, score = (
    jax.lax.stop_gradient(x.astype(jnp.float32)) for x in (distances, score)
  )
  indices = pick(distances, mask, score, first)
  return indices, jnp.take_along_axis(mask, indices, axis=-1)


def _farthest_points(count, distances, mask, score, first):
  """[N, N], [N], [N] and [] to [K]."""
  slots = jnp.arange(mask.shape[0])

  def step(state, _):
    index, nearest, taken = state
    taken |= slots == index
    row = jnp.where(mask[index], distances[index], jnp.inf)
    nearest = jnp.minimum(nearest, row)
    # Masked slots are worse than any real one, and those taken than all.
    gain = jnp.where(mask, score + nearest, jnp.finfo(jnp.float32).min)
    following = jnp.argmax(jnp.where(taken, -jnp.inf, gain))
    return (following.astype(jnp.int32), nearest, taken), index

  nearest = jnp.full(mask.shape, jnp.inf)
  state = first.astype(jnp.int32), nearest, jnp.zeros_like(mask)
  return jax.lax.scan(step, state, length=count)[1]
