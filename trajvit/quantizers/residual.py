"""Residual VQ: a codebook for what the one before left over."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.ops.straight_through import straight_through
from trajvit.quantizers.composite import Composite, joined
from trajvit.quantizers.vq import VQ


class ResidualVQ(Composite):
  """Sums codes of several codebooks, each of what is left of the vector.

  r_0 = z, e_j = VQ_j(r_{j-1}), r_j = r_{j-1} - e_j; the code is the sum of all
  e_j. Index j is that of e_j: leaving out the last ones leaves a coarser code.

  Source: SoundStream, arXiv:2107.03312, and RQ-VAE, arXiv:2203.01941, whose
  depths share a codebook and here do not.

  Args:
    depth: codebooks.
    vq: options of each VQ, such as dict(size=1024, update="ema"); its codes
      have their own lengths, so it cannot be cosine.
    dim: width.
    rngs: holds the key of the first codes.
  """

  def __init__(
    self,
    *,
    depth: int = 4,
    vq: dict | None = None,
    dim: int,
    rngs: nnx.Rngs,
  ):
    if depth < 1:
      raise ValueError(f"depth must be at least 1, got {depth}")
    parts = [VQ(dim=dim, rngs=rngs, **(vq or {})) for _ in range(depth)]
    if parts[0].cosine:
      raise ValueError("codes of norm 1 leave no residual: set cosine=False")
    super().__init__(dim=dim, code_dim=dim, parts=parts)

  def __call__(self, z: jax.Array, mask: jax.Array, *, key=None):
    """See the base; indices [..., depth]."""
    x = left = self._read(z, mask)
    total, auxes = jnp.zeros_like(x), []
    for part, own in zip(self.parts, self._keys(key), strict=True):
      codes, aux = part(left, mask, key=own)
      codes = jax.lax.stop_gradient(codes)
      total, left = total + codes, left - codes
      auxes.append(aux)
    return straight_through(total, x).astype(z.dtype), joined(auxes)

  def decode_indices(self, indices: jax.Array) -> jax.Array:
    """See the base."""
    total = jnp.zeros((*indices.shape[:-1], self.dim))
    by_part = self._split_indices(indices)
    for part, own in zip(self.parts, by_part, strict=True):
      total += part.decode_indices(own)
    return total
