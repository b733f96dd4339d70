"""VQToken: a clip as a few codes, and a map that says which is where."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.reducer import Reducer
from trajvit.layers.resampler import ResamplerLayer
from trajvit.ops.distances import cosine_distances
from trajvit.ops.farthest import farthest_points
from trajvit.ops.kmeans import kmeans
from trajvit.ops.merging import merge, plan_merging, take_slots
from trajvit.ops.position import fourier
from trajvit.ops.tokens import zero_masked
from trajvit.ops.unit import unit
from trajvit.types import Tokens

FREQUENCIES = 8  # of the positions, of which there are 3 and both phases


class VqToken(Reducer):
  """Describes a clip by codes of its own, and where they are (VQToken).

  Tokens of norm 1 are clustered by k-means over the whole clip. The mean of a
  cluster is a code, and the map of code ids keeps where it is. Queries made of
  that map read the codebook in decoder layers, and come out.

  Source: arXiv:2503.16980, with a fixed number of codes. There the ids of a
  frame, as numbers, are mapped to a query, and frames are repeated until there
  are as many queries as codes. Ids are names without an order, so here a query
  is made of the Fourier features of the places that its code has in the map,
  averaged: renaming codes changes nothing. Seeds are the tokens farthest from
  each other instead of draws, so that an evaluation can be repeated.

  Args:
    k: slots, with the protected ones: each of the others is a code.
    depth: decoder layers.
    iterations: of k-means.
    mlp_ratio: hidden width of a layer's perceptron, in widths.
    width: D.
    num_heads: K.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    k: int,
    depth: int = 1,
    iterations: int = 10,
    mlp_ratio: int = 4,
    width: int,
    num_heads: int,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if depth < 1:
      raise ValueError(f"depth must be at least 1, got {depth}")
    self.k, self.iterations = k, iterations
    options = dict(dtype=dtype, rngs=rngs)
    inputs = fourier(jnp.zeros(3), FREQUENCIES).shape[-1]
    self.query = Linear(inputs, width, **options)
    options |= dict(mlp_ratio=mlp_ratio, init="lecun")
    self.layers = nnx.List(
      [ResamplerLayer(width, num_heads, **options) for _ in range(depth)]
    )
    self.norm = LayerNorm(width, dtype=dtype)

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the codes in the order of the first token of each.

    Aux: `codes` [B, N] int32, the map: the slot of each token's code, -1 =
    none; and `codebook` [B, k, D] float32, the means of tokens of norm 1,
    zeros where a slot holds no code.

    Raises:
      ValueError: k is not in [1, N].
    """
    del key
    tokens = zero_masked(tokens)
    held = jnp.zeros_like(tokens.mask)
    if tokens.protected is not None:
      held = tokens.mask & tokens.protected
    direction = unit(tokens.features)
    target, found = self._targets(direction, tokens, held)
    merging = plan_merging(
      target,
      found,
      slots=self.k,
      protected=tokens.protected,
    )
    where = fourier(tokens.positions, FREQUENCIES)
    both = jnp.concatenate([direction, where], axis=-1)
    merged = merge(dataclasses.replace(tokens, features=both), merging)
    width = direction.shape[-1]
    kept = take_slots(held, merging.head) & merging.mask
    code = merging.mask & ~kept
    codebook, place = jnp.split(merged.features, [width], axis=-1)
    codebook = jnp.where(code[..., None], codebook, 0)

    x = self.query(place)  # [B, k, D]
    keys = jnp.concatenate([code, code], axis=1)
    for layer in self.layers:
      x = layer(jnp.where(code[..., None], x, 0), codebook, keys, False)
    own = jnp.take_along_axis(tokens.features, merging.head[..., None], axis=1)
    features = jnp.where(kept[..., None], own, self.norm(x).astype(own.dtype))
    reduced = zero_masked(dataclasses.replace(merged, features=features))
    return reduced, {"codes": merging.owner, "codebook": codebook}

  def _targets(self, direction, tokens, held):
    """The first token of each one's cluster, [B, N] int32, and who has one."""
    free = tokens.mask & ~held
    fixed = jax.lax.stop_gradient(direction)
    seeds, _ = farthest_points(cosine_distances(fixed), free, self.k)
    # Slots that protected tokens take are seeded by one of those, which is not
    # free: such a cluster stays empty.
    codes = self.k - held.sum(1, keepdims=True)
    spare = jnp.argmin(free, axis=1, keepdims=True).astype(seeds.dtype)
    seeds = jnp.where(jnp.arange(self.k) < codes, seeds, spare)
    _, labels, _ = kmeans(
      fixed, free, seeds, weights=tokens.size, iterations=self.iterations
    )
    hot = labels[..., None] == jnp.arange(self.k)  # [B, N, k]
    first = jnp.argmax(hot, axis=1).astype(jnp.int32)  # [B, k]
    own = jnp.arange(free.shape[1], dtype=jnp.int32)
    first = take_slots(first, jnp.maximum(labels, 0))
    return jnp.where(held, own, first), held | (labels >= 0)
