"""PPE: clusters of tokens that remember several places."""

import jax.numpy as jnp

from trajvit.layers.reducer import Reducer
from trajvit.ops.clustering import density_peaks
from trajvit.ops.merged_positions import member_positions
from trajvit.ops.merging import merge, plan_merging
from trajvit.ops.tokens import zero_masked
from trajvit.types import Tokens


class Ppe(Reducer):
  """Merges clusters around density peaks, and keeps places of members (PPE).

  A token that was merged from many is in no single place. Rotary embeddings
  turn each pair of channels by itself, so a token can carry `places` positions,
  each of which turns a share of the pairs: those of its members of most weight,
  in turn where there are fewer. Source: PPE, arXiv:2510.22936, on the
  density-peak clusters of Chat-UniVi, arXiv:2311.08046. The weight of a member
  is its size; the released code drops the weights, as it sorts the coordinates
  each by itself.

  Args:
    k: slots, with the protected ones: each of the others is one cluster.
    places: positions a token, 8 in the paper.
    neighbors: of a density, see `ops.clustering.peak_scores`.
  """

  def __init__(self, *, k: int, places: int = 8, neighbors: int = 7):
    self.k, self.places, self.neighbors = k, places, neighbors

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the clusters in the order of their centres.

    Means of features and positions are weighted by size. Aux: `owner` [B, N]
    int32, the slot that a token went into, -1 = none; `member_positions`
    [B, k, places, 3] float32, by falling weight, zeros in empty slots; a token
    that was not merged has its own position throughout; `overflow` [B] int32,
    tokens that protected ones left no slot for.

    Raises:
      ValueError: k is not in [1, N], or `places` is less than 1.
    """
    del key
    tokens = zero_masked(tokens)
    held = jnp.zeros_like(tokens.mask)
    if tokens.protected is not None:
      held = tokens.mask & tokens.protected
    clusters = density_peaks(
      tokens.features,
      tokens.mask & ~held,
      self.k,
      neighbors=self.neighbors,
      counts=jnp.maximum(self.k - held.sum(1), 0),
    )
    found = held | (clusters.labels >= 0)
    own = jnp.arange(held.shape[1], dtype=jnp.int32)
    merging = plan_merging(
      jnp.where(held, own, clusters.target),
      found,
      slots=self.k,
      protected=tokens.protected,
    )
    places = member_positions(
      tokens.positions, merging, self.places, weight=tokens.size
    )
    aux = {
      "owner": merging.owner,
      "member_positions": places,
      "overflow": (tokens.mask & (merging.owner < 0)).sum(1, dtype=jnp.int32),
    }
    return merge(tokens, merging), aux
