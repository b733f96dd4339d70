"""Attention inside clusters of queries and keys."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention_methods.context import (
  dense_coordinates,
  refuse_packed,
)
from trajvit.ops.attention.dynamic.routing import (
  balanced_attention,
  moved_centroids,
  routed_attention,
)


class Routing(nnx.Module):
  """A token attends to the tokens that share its centroid.

  Source: Routing Transformer, arXiv:2003.05997; see `dynamic.routing`.

  Args:
    num_heads: K.
    head_dim: d.
    clusters: C, centroids of a head; the paper takes the square root of the
      number of tokens.
    members: w, tokens of a cluster: then clusters are equal in size, and rows
      must be one clip each. None gives each token to its nearest centroid.
    decay: of the centroids' moving average.
    block: tokens in a block.
    rngs: holds the key of the first centroids.
  """

  shared = False

  def __init__(
    self,
    *,
    num_heads: int,
    head_dim: int,
    clusters: int,
    members: int | None = None,
    decay: float = 0.999,
    block: int = 128,
    rngs: nnx.Rngs,
  ):
    if clusters < 1 or (members is not None and members < 1):
      raise ValueError(
        f"clusters and members must be at least 1, got {clusters} and {members}"
      )
    self.members, self.decay, self.block = members, decay, block
    shape = num_heads, clusters, head_dim
    first = jax.random.normal(rngs.params(), shape)
    norm = jnp.linalg.norm(first, axis=-1, keepdims=True)
    self.centroids = nnx.BatchStat(first / norm)

  def __call__(self, query, key, value, context):
    """See the package; in training aux has `batch_stats`: `centroids`."""
    coordinates = dense_coordinates(context, query.shape[1])
    centroids = self.centroids[...]
    arrays = query, key, value, centroids, coordinates
    options = dict(bias=context.bias, block=self.block)
    if self.members is None:
      out = routed_attention(*arrays, **options)
    else:
      refuse_packed(context, "routing")
      out = balanced_attention(*arrays, members=self.members, **options)
    if not context.train:
      return out, {}
    moved = moved_centroids(
      centroids, query, key, coordinates, decay=self.decay
    )
    return out, {"batch_stats": {"centroids": moved}}
