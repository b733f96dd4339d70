"""Clusters of tokens around their means."""

import functools

import jax
import jax.numpy as jnp

from trajvit.ops.distances import squared_distances


def kmeans(
  features: jax.Array,
  mask: jax.Array,
  seeds: jax.Array,
  *,
  weights: jax.Array | None = None,
  iterations: int = 10,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns the weighted means of K clusters, by Lloyd's algorithm.

  One iteration: tokens join the nearest mean by Euclidean distance, and means
  are taken anew. Of equally near means the first takes the token, and a cluster
  that has lost all its tokens keeps its mean.

  Args:
    features: [..., N, D] of any float dtype.
    mask: [..., N] bool, True = real token.
    seeds: [..., K] int32 in [0, N), the tokens that the means start from; one
      in a masked slot makes a cluster that stays empty.
    weights: [..., N] float32, not negative; None for 1.
    iterations: at least 1.

  Returns:
    centers [..., K, D] float32, the means of the tokens as labelled, through
    which gradients pass; labels [..., N] int32 in [0, K), -1 where masked; and
    sizes [..., K] float32, the sum of the weights, 0 = an empty cluster.

  Raises:
    ValueError: there are no iterations.
  """
  if iterations < 1:
    raise ValueError(f"iterations must be at least 1, got {iterations}")
  if weights is None:
    weights = jnp.ones(mask.shape, jnp.float32)
  find = jnp.vectorize(
    functools.partial(_kmeans, iterations),
    signature="(n,d),(n),(n),(k)->(k,d),(n),(k)",
  )
  return find(features, mask, weights, seeds)


def _kmeans(iterations, features, mask, weights, seeds):
  """[N, D], [N], [N] and [K] to [K, D], [N] and [K]."""
  features = jnp.where(mask[:, None], features, 0).astype(jnp.float32)
  weights = jnp.where(mask, weights, 0).astype(jnp.float32)
  fixed, fixed_weights = jax.lax.stop_gradient((features, weights))
  clusters = jnp.arange(seeds.shape[0])
  used = mask[seeds]

  def join(centers):
    squared = jnp.where(used, squared_distances(fixed, centers), jnp.inf)
    labels = jnp.argmin(squared, axis=1)
    return jnp.where(mask & used.any(), labels, -1)

  def average(features, weights, labels, centers):
    share = jnp.where(labels[:, None] == clusters, weights[:, None], 0)
    size = share.sum(0)
    highest = jax.lax.Precision.HIGHEST
    total = jnp.einsum("nk,nd->kd", share, features, precision=highest)
    some = size > 0
    mean = total / jnp.where(some, size, 1)[:, None]
    return jnp.where(some[:, None], mean, centers), size

  def turn(_, centers):
    return average(fixed, fixed_weights, join(centers), centers)[0]

  centers = jax.lax.fori_loop(0, iterations - 1, turn, fixed[seeds])
  labels = join(centers)
  centers, sizes = average(features, weights, labels, centers)
  return centers, labels, sizes
