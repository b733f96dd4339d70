"""Codes of bits: LFQ and BSQ."""

import math

import jax
import jax.numpy as jnp

from trajvit.ops.bit_entropy import bit_entropy, entropy_of_mean
from trajvit.ops.mixed_radix import pack_digits, unpack_digits
from trajvit.ops.shares import even_shares
from trajvit.ops.straight_through import straight_through
from trajvit.ops.unit import unit
from trajvit.quantizers.discrete import DiscreteQuantizer, with_stats
from trajvit.quantizers.quantizer import masked_mean

# The most bits in one index: its usage is counted in an array of 2^18.
INDEX_BITS = 18


class SignQuantizer(DiscreteQuantizer):
  """Keeps the sign of each channel; 0 counts as positive.

  An index is sum_i 2^i bit_i with bit_i = [x_i >= 0], the first channel lowest.
  More than 18 channels are shared out evenly over several indices.

  The loss `entropy` is w (E[H(c | x)] - gamma H(E[p(c | x)])) in nats: each
  token is to be sure of its code, all together are to use every code. Bits of a
  token are independent, so the first term is exact; for the second see
  `ops.bit_entropy`. Both are means over the whole batch, over all devices.

  Metrics, besides those of the base: `bit_bias`, how far the mean of a bit is
  from a half, of the worst bit.

  Args:
    dim: L, bits of a token.
    radius: what a code is made of, +radius and -radius.
    slope: a bit is 1 with the probability sigmoid(slope * x).
    commit_weight: of the mean squared distance to the code; 0 for none.
    entropy_weight: w.
    gamma: as above.
    joint_bits: bits whose joint distribution the second term takes.
    decay: of the usage.
    dead_below: see the base.
  """

  def __init__(
    self,
    *,
    dim: int,
    radius: float,
    slope: float,
    commit_weight: float,
    entropy_weight: float,
    gamma: float,
    joint_bits: int,
    decay: float,
    dead_below: float,
  ):
    self.index_bits = even_shares(dim, -(-dim // INDEX_BITS))
    sizes = tuple(2**bits for bits in self.index_bits)
    super().__init__(dim=dim, sizes=sizes, decay=decay, dead_below=dead_below)
    if joint_bits < 1:
      raise ValueError(f"joint_bits must be at least 1, got {joint_bits}")
    self.radius, self.slope = radius, slope
    self.commit_weight, self.entropy_weight = commit_weight, entropy_weight
    self.gamma, self.joint_bits = gamma, joint_bits

  def __call__(self, z: jax.Array, mask: jax.Array, *, key=None):
    """See the base; nothing is drawn."""
    x = self._place(self._read(z, mask))
    positive = x >= 0
    value = jnp.where(positive, self.radius, -self.radius).astype(jnp.float32)
    codes = straight_through(value, x)
    codes = jnp.where(mask[..., None], codes, 0).astype(z.dtype)
    indices = jnp.where(mask[..., None], self._pack(positive), -1)
    metrics, stats = self._watch(indices, key)
    share = jnp.where(mask[..., None], positive, False)
    share = share.reshape(-1, self.dim).sum(0) / jnp.maximum(mask.sum(), 1)
    bias = jnp.where(mask.any(), jnp.abs(share - 0.5).max(), 0.0)
    losses = self._losses(x, value, mask)
    metrics = metrics | {"bit_bias": bias}
    aux = {"indices": indices, "losses": losses, "metrics": metrics}
    return codes, with_stats(aux, stats)

  def decode_indices(self, indices: jax.Array) -> jax.Array:
    """See the base."""
    self._check_indices(indices)
    bits = [
      unpack_digits(jnp.maximum(indices[..., g], 0), (2,) * count)
      for g, count in enumerate(self.index_bits)
    ]
    bits = jnp.concatenate(bits, axis=-1)
    codes = jnp.where(bits > 0, self.radius, -self.radius)
    some = (indices >= 0).all(-1, keepdims=True)
    return jnp.where(some, codes, 0).astype(jnp.float32)

  def _place(self, x):
    """Where a vector is compared with the codes."""
    return x

  def _pack(self, positive):
    """[..., L] bool to [..., G] int32."""
    found, start = [], 0
    for count in self.index_bits:
      bits = positive[..., start : start + count]
      found.append(pack_digits(bits, (2,) * count))
      start += count
    return jnp.stack(found, axis=-1)

  def _losses(self, x, value, mask):
    logits = self.slope * x
    own = masked_mean(bit_entropy(logits).sum(-1), mask)
    mean = entropy_of_mean(
      logits.reshape(-1, self.dim),
      mask.reshape(-1),
      joint_bits=self.joint_bits,
    )
    losses = {"entropy": self.entropy_weight * (own - self.gamma * mean)}
    if self.commit_weight:
      distance = masked_mean(jnp.square(x - value).mean(-1), mask)
      losses["commit"] = self.commit_weight * distance
    return losses


class LFQ(SignQuantizer):
  """Codes of -1 and 1, the signs of the channels, without a codebook (LFQ).

  p(c | z) is the softmax of -|z - c|^2 / temperature. See the base for indices
  and losses. Source: MAGVIT-v2, arXiv:2310.05737, which starts from a higher
  entropy weight than it ends with: to anneal it, schedule the loss.

  Args:
    temperature: as above.
    commit_weight: of mean (z - sg(code))^2.
    entropy_weight: of the entropy loss.
    gamma: of its second term.
    joint_bits: the second term is exact up to so many channels, and otherwise
      an upper bound over groups of at most so many.
    decay: of the usage.
    dead_below: see the base.
    dim: L.
  """

  def __init__(
    self,
    *,
    temperature: float = 0.01,
    commit_weight: float = 0.25,
    entropy_weight: float = 0.1,
    gamma: float = 1.0,
    joint_bits: int = 14,
    decay: float = 0.99,
    dead_below: float = 1e-3,
    dim: int,
  ):
    if temperature <= 0:
      raise ValueError(f"temperature must be above 0, got {temperature}")
    super().__init__(
      dim=dim,
      radius=1.0,
      slope=4 / temperature,
      commit_weight=commit_weight,
      entropy_weight=entropy_weight,
      gamma=gamma,
      joint_bits=joint_bits,
      decay=decay,
      dead_below=dead_below,
    )


class BSQ(SignQuantizer):
  """Signs of a vector of norm 1, over sqrt(L): codes on the sphere (BSQ).

  u = z / |z| and the code sign(u) / sqrt(L) are both of norm 1, so no loss has
  to hold them together; the mean distance is below sqrt(2 - 2 / sqrt(L)) for
  u spread evenly. p(c | u) is the softmax of sharpness * u c. The gradient of
  a code is that of u. See the base for indices and losses.

  Source: arXiv:2406.07548.

  Args:
    sharpness: as above; 2 is that of the squared distance.
    entropy_weight: of the entropy loss.
    gamma: of its second term.
    joint_bits: the second term is over groups of at most so many channels;
      1 takes them as independent, as the paper does.
    decay: of the usage.
    dead_below: see the base.
    dim: L; 18 and 36 in the paper.
  """

  def __init__(
    self,
    *,
    sharpness: float = 2.0,
    entropy_weight: float = 0.1,
    gamma: float = 1.0,
    joint_bits: int = 1,
    decay: float = 0.99,
    dead_below: float = 1e-3,
    dim: int,
  ):
    if sharpness <= 0:
      raise ValueError(f"sharpness must be above 0, got {sharpness}")
    super().__init__(
      dim=dim,
      radius=1 / math.sqrt(dim),
      slope=2 * sharpness / math.sqrt(dim),
      commit_weight=0.0,
      entropy_weight=entropy_weight,
      gamma=gamma,
      joint_bits=joint_bits,
      decay=decay,
      dead_below=dead_below,
    )

  def _place(self, x):
    return unit(x)
