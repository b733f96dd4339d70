"""FSQ: each channel rounded to a few levels."""

import math

import jax
import jax.numpy as jnp

from trajvit.ops.finite_scalar import (
  from_levels,
  normalize,
  squash,
  to_levels,
)
from trajvit.ops.mixed_radix import pack_digits, unpack_digits
from trajvit.ops.straight_through import straight_through
from trajvit.quantizers.discrete import DiscreteQuantizer, with_stats


class FSQ(DiscreteQuantizer):
  """Rounds every channel to L levels; no codebook to learn, and no loss.

  Codes are q / floor(L/2), of which those of even L are not symmetric: L = 8
  has -1 to 0.75. The index is sum_i (q_i + floor(L_i/2)) L_0 ... L_{i-1}, the
  first channel fastest. The gradient is that of the squashing tanh.

  Source: arXiv:2309.15505, with the two perturbations of FlexTok,
  arXiv:2502.13967, both off by default and in training only.

  Args:
    levels: L of each channel; FlexTok's are 64000 codes.
    drop_quant_p: share of clips whose numbers are not rounded. Their indices
      are those of the rounded numbers all the same.
    corrupt_p: probability that a call replaces codes by random ones, which
      pass no gradient. Indices stay those of the codes that were replaced.
    corrupt_share: the share of tokens it replaces is drawn evenly between
      these two.
    decay: of the usage.
    dead_below: see the base.
    dim: number of channels, that of the levels.
  """

  def __init__(
    self,
    *,
    levels: tuple[int, ...] = (8, 8, 8, 5, 5, 5),
    drop_quant_p: float = 0.0,
    corrupt_p: float = 0.2,
    corrupt_share: tuple[float, float] = (0.0, 0.0),
    decay: float = 0.99,
    dead_below: float = 1e-3,
    dim: int,
  ):
    levels = tuple(levels)
    if len(levels) != dim:
      raise ValueError(f"FSQ needs a level for each of {dim}, got {levels}")
    if min(levels) < 2:
      raise ValueError(f"levels must be at least 2, got {levels}")
    size = math.prod(levels)
    if size >= 2**31:
      raise ValueError(
        f"{levels} are {size} codes, too many for an int32 index; split the "
        "channels with channel_split"
      )
    low, high = corrupt_share
    for name, value in (
      ("drop_quant_p", drop_quant_p),
      ("corrupt_p", corrupt_p),
      ("corrupt_share", low),
      ("corrupt_share", high),
    ):
      if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {value}")
    super().__init__(dim=dim, sizes=(size,), decay=decay, dead_below=dead_below)
    self.levels, self.drop_quant_p = levels, drop_quant_p
    self.corrupt_p, self.corrupt_share = corrupt_p, (low, high)

  def __call__(self, z: jax.Array, mask: jax.Array, *, key=None):
    """See the base; the first axis of `mask` is that of clips."""
    squashed = squash(self._read(z, mask), self.levels)
    digits = to_levels(squashed, self.levels)
    continuous = normalize(squashed, self.levels)
    codes = straight_through(from_levels(digits, self.levels), continuous)
    indices = pack_digits(digits, self.levels)[..., None]
    indices = jnp.where(mask[..., None], indices, -1)
    if key is not None:
      codes = self._perturbed(codes, continuous, key)
    codes = jnp.where(mask[..., None], codes, 0).astype(z.dtype)
    metrics, stats = self._watch(indices, key)
    aux = {"indices": indices, "losses": {}, "metrics": metrics}
    return codes, with_stats(aux, stats)

  def decode_indices(self, indices: jax.Array) -> jax.Array:
    """See the base."""
    self._check_indices(indices)
    digits = unpack_digits(jnp.maximum(indices[..., 0], 0), self.levels)
    return jnp.where(indices >= 0, from_levels(digits, self.levels), 0)

  def _perturbed(self, codes, continuous, key):
    """Some clips without rounding, and some tokens with random codes."""
    drop, active, share, which, random = jax.random.split(key, 5)
    tokens = codes.shape[:-1]
    if self.drop_quant_p:
      clips = tokens[:1] + (1,) * (codes.ndim - 1) if tokens else ()
      dropped = jax.random.bernoulli(drop, self.drop_quant_p, clips)
      codes = jnp.where(dropped, continuous, codes)
    low, high = self.corrupt_share
    if self.corrupt_p and high:
      share = jax.random.uniform(share, minval=low, maxval=high)
      share *= jax.random.bernoulli(active, self.corrupt_p)
      hit = jax.random.uniform(which, tokens) < share
      index = jax.random.randint(random, (*tokens, 1), 0, self.sizes[0])
      codes = jnp.where(hit[..., None], self.decode_indices(index), codes)
    return codes
