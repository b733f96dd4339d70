"""Clusters of tokens around some of them: density peaks and k-medoids.

The number of clusters is static, the lowest index wins among equals, masked
tokens belong to no cluster, and no gradient passes.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from trajvit.ops.distances import squared_distances
from trajvit.ops.farthest import farthest_points


class Clusters(NamedTuple):
  """Real tokens, each in one of K clusters around one of them.

  Attributes:
    labels: [..., N] int32 in [0, K), a token's cluster; -1 where masked.
    centers: [..., K] int32 in [0, N), all different: the token at the centre of
      each cluster, any other slot for an empty one.
    sizes: [..., K] int32, tokens in a cluster; 0 = an empty one, which happens
      only where fewer clusters are asked for than K, or fewer tokens are real.
  """

  labels: jax.Array
  centers: jax.Array
  sizes: jax.Array

  @property
  def target(self) -> jax.Array:
    """[..., N] int32 in [0, N), the centre each token joins; any if masked."""
    labels = jnp.maximum(self.labels, 0)
    return jnp.take_along_axis(self.centers, labels, axis=-1)


def density_peaks(
  features: jax.Array,
  mask: jax.Array,
  num_clusters: int,
  *,
  neighbors: int = 7,
  counts: jax.Array | None = None,
) -> Clusters:
  """Returns the clusters around the K tokens of the highest peak scores.

  Source: DPC-kNN (Du et al., 2016), as video token reduction uses it; where
  others break ties by noise, here they go to the lowest index. Every other
  token joins the nearest centre by Euclidean distance.

  Args:
    features: [..., N, D] of any float dtype.
    mask: [..., N] bool, True = real token.
    num_clusters: K, in [1, N].
    neighbors: see `peak_scores`.
    counts: [...] int32, how many of the K clusters to use; None for all. A
      clip with fewer real tokens than that uses as many as it has.

  Returns:
    Clusters, the highest score first.

  Raises:
    ValueError: `num_clusters` is outside [1, N], or `neighbors` below 1.
  """
  _check_num_clusters(num_clusters, mask)
  if counts is None:
    counts = jnp.full(mask.shape[:-1], num_clusters)
  find = jnp.vectorize(
    functools.partial(_density_peaks, num_clusters, neighbors),
    signature="(n,d),(n),()->(n),(k),(k)",
  )
  return Clusters(*find(jax.lax.stop_gradient(features), mask, counts))


def _density_peaks(num_clusters, neighbors, features, mask, count):
  """[N, D], [N] and [] to the fields of Clusters."""
  features = jnp.where(mask[:, None], features, 0)
  squared = squared_distances(features) / features.shape[1]
  score = peak_scores(squared, mask, neighbors=neighbors)
  _, centers = jax.lax.top_k(score, num_clusters)
  used = mask[centers] & (jnp.arange(num_clusters) < count)
  labels, sizes = _join_nearest(squared[:, centers], centers, used, mask)
  return labels, centers, sizes


def peak_scores(
  squared: jax.Array, mask: jax.Array, *, neighbors: int = 7
) -> jax.Array:
  """Returns log(density) + log(distance to a denser token), for every token.

  The density is rho_i = exp(-mean d_ij^2) over the nearest `neighbors` tokens
  j, i itself among them; delta_i is the distance to the nearest denser token,
  or the largest distance of all pairs for the densest one. Of two equally dense
  tokens the one of the lower index counts as denser. Logarithms have the order
  of rho * delta, and do not underflow.

  Args:
    squared: [..., N, N] float32, squared distances d_ij^2; in `density_peaks`
      |x_i - x_j|^2 / D.
    mask: [..., N] bool, True = real token.
    neighbors: k; a clip with fewer real tokens has fewer neighbours.

  Returns:
    [..., N] float32: the least finite number for a real token at the same place
    as a denser one, -inf for a masked one.

  Raises:
    ValueError: `neighbors` is below 1.
  """
  if neighbors < 1:
    raise ValueError(f"neighbors must be at least 1, got {neighbors}")
  slots = jnp.arange(mask.shape[-1])
  pair = mask[..., :, None] & mask[..., None, :]
  far = jnp.where(pair, squared, jnp.inf)
  near = -jax.lax.top_k(-far, min(neighbors, slots.size))[0]
  # [..., N, k], the nearest first; where real tokens are few the rest is inf.
  real = mask.sum(-1)[..., None]
  near = jnp.where(slots[: near.shape[-1]] < real[..., None], near, 0)
  mean = near.sum(-1) / jnp.clip(real, 1, neighbors)
  log_density = jnp.where(mask, -mean, -jnp.inf)

  mine, theirs = log_density[..., :, None], log_density[..., None, :]
  lower = slots[None, :] < slots[:, None]
  denser = pair & ((theirs > mine) | ((theirs == mine) & lower))
  gap = jnp.where(denser, far, jnp.inf).min(-1)
  largest = jnp.where(pair, far, 0).max((-2, -1))[..., None]
  gap = jnp.where(denser.any(-1), gap, largest)
  some = gap > 0
  score = log_density + 0.5 * jnp.log(jnp.where(some, gap, 1))
  score = jnp.where(some, score, jnp.finfo(jnp.float32).min)
  return jnp.where(mask, score, -jnp.inf)


def kmedoids(
  distances: jax.Array,
  mask: jax.Array,
  num_clusters: int,
  first: jax.Array,
  *,
  iterations: int = 20,
) -> Clusters:
  """Returns the clusters around K tokens that lie in the middle of their own.

  Source: CenterCLIP, arXiv:2205.00823. It starts from `farthest_points`, then
  takes turns: tokens join the nearest medoid, and the member with the smallest
  sum of distances to its cluster becomes the medoid. It stands still where it
  has converged, so that a fixed number of turns does no harm.

  Args:
    distances: [..., N, N] float32, symmetric, not negative, of any metric.
    mask: [..., N] bool, True = real token.
    num_clusters: K, in [1, N].
    first: [...] int32, where to start; in the paper the token of the largest
      norm.
    iterations: turns, at least 0.

  Returns:
    Clusters, the centres in ascending order, empty ones last.

  Raises:
    ValueError: `num_clusters` is outside [1, N].
  """
  _check_num_clusters(num_clusters, mask)
  seeds, _ = farthest_points(distances, mask, num_clusters, first)
  find = jnp.vectorize(
    functools.partial(_kmedoids, iterations),
    signature="(n,n),(n),(k)->(n),(k),(k)",
  )
  distances = jax.lax.stop_gradient(distances.astype(jnp.float32))
  return Clusters(*find(distances, mask, seeds))


def _kmedoids(iterations, distances, mask, medoids):
  """[N, N], [N] and [K] to the fields of Clusters."""
  slots = jnp.arange(mask.shape[0])
  clusters = jnp.arange(medoids.shape[0])

  def join(medoids):
    used = mask[medoids]
    return _join_nearest(distances[:, medoids], medoids, used, mask)

  def turn(_, medoids):
    labels, _ = join(medoids)
    together = mask & (labels[:, None] == labels)
    cost = jnp.where(together, distances, 0).sum(1)  # [N]
    member = labels[:, None] == clusters  # [N, K]
    middle = jnp.argmin(jnp.where(member, cost[:, None], jnp.inf), axis=0)
    return jnp.where(mask[medoids], middle.astype(medoids.dtype), medoids)

  medoids = jax.lax.fori_loop(0, iterations, turn, medoids)
  last = jnp.where(mask[medoids], 0, slots.size)
  medoids = medoids[jnp.argsort(medoids + last)]
  labels, sizes = join(medoids)
  return labels, medoids, sizes


def _join_nearest(distance, centers, used, mask):
  """Labels [N] of the nearest centres, each its own, and sizes [K].

  Args:
    distance: [N, K] to the centres.
    centers: [K] their slots.
    used: [K] which of them take tokens.
    mask: [N].
  """
  slots = jnp.arange(mask.shape[0])
  clusters = jnp.arange(centers.shape[0])
  # A centre is nearest to itself, be there others at the same place.
  distance = jnp.where(slots[:, None] == centers, -1, distance)
  labels = jnp.argmin(jnp.where(used, distance, jnp.inf), axis=1)
  labels = jnp.where(mask & used.any(), labels, -1)
  return labels, (labels[:, None] == clusters).sum(0)


def _check_num_clusters(num_clusters, mask):
  if not 1 <= num_clusters <= mask.shape[-1]:
    raise ValueError(
      f"num_clusters must be in [1, {mask.shape[-1]}], the number of slots, "
      f"got {num_clusters}"
    )
