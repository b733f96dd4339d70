"""Sums over the group that each token or frame belongs to, where it stands."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from trajvit.ops.clustering import Clusters
from trajvit.ops.segments import Segments


def segment_sums(x: jax.Array, segments: Segments) -> jax.Array:
  """Returns for every frame the sum over the frames of its segment.

  Args:
    x: [B, T, ...] float or int; bool is counted. Masked frames must not hold
      NaN.
    segments: of the T frames of a clip.

  Returns:
    [B, T, ...] float32 or int32, zeros in masked frames.
  """
  ids = segments.ids
  together = (ids[:, :, None] == ids[:, None]) & (ids >= 0)[:, None]
  dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.integer) else jnp.float32
  dtype = jnp.int32 if x.dtype == bool else dtype
  highest = jax.lax.Precision.HIGHEST
  return jnp.einsum(
    "bts,bs...->bt...",
    together.astype(dtype),
    x.astype(dtype),
    precision=highest,
  )


def cluster_sums(x: jax.Array, clusters: Clusters) -> jax.Array:
  """Returns for every token the sum over the tokens of its cluster.

  Args:
    x: [..., N, D] float, without NaN in masked slots.
    clusters: of the N tokens.

  Returns:
    [..., N, D] float32, zeros where masked.
  """
  slots = clusters.centers.shape[-1]
  member = jax.nn.one_hot(clusters.labels, slots, dtype=jnp.float32)
  highest = jax.lax.Precision.HIGHEST
  total = jnp.einsum(
    "...nk,...nd->...kd", member, x.astype(jnp.float32), precision=highest
  )
  return from_clusters(total, clusters)


def group_means(
  x: jax.Array, size: jax.Array, add: Callable
) -> tuple[jax.Array, jax.Array]:
  """Returns the means of features over groups, and the sums of sizes.

  Args:
    x: [..., D] float32, without NaN.
    size: [...] float32.
    add: from [..., E] to the sums over groups of it, where groups are wanted.

  Returns:
    Arrays like `x` and `size`. Where a group is a single token, `x` is itself
    bit for bit; where there is no sum, it is not changed and the size is 0.
  """
  told = jnp.stack([size, jnp.ones_like(size)], axis=-1)
  found = add(jnp.concatenate([x, told], axis=-1))
  total, members = found[..., :-2], found[..., -1:]
  mean = total / jnp.maximum(members, 1)
  return jnp.where(members > 1, mean, x), found[..., -2]


def from_clusters(x: jax.Array, clusters: Clusters) -> jax.Array:
  """Returns for every token what its cluster holds.

  Args:
    x: [..., K, D], or [..., K] of the clusters.
    clusters: of N tokens.

  Returns:
    [..., N, D], or [..., N], zeros where masked.
  """
  labels = clusters.labels
  some = labels >= 0
  at = jnp.maximum(labels, 0)
  if x.ndim > labels.ndim:
    some, at = some[..., None], at[..., None]
  return jnp.where(some, jnp.take_along_axis(x, at, axis=labels.ndim - 1), 0)


def is_center(clusters: Clusters) -> jax.Array:
  """Returns [..., N] bool, the tokens that clusters are around."""
  own = jnp.arange(clusters.labels.shape[-1])
  return (clusters.labels >= 0) & (clusters.target == own)
