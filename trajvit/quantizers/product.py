"""Channels in groups, each with a quantizer: PQ, CSQ and FQ."""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.quantizers.composite import Composite, joined
from trajvit.quantizers.parts import PARTS
from trajvit.quantizers.quantizer import masked_mean
from trajvit.table import Table

CHANNEL_SPLIT = "fsq", "lfq"


class Product(Composite):
  """Cuts the channels into groups and quantizes each by its own quantizer (PQ).

  Codes are concatenated, a token has the indices of all groups, and the number
  of its codes is the product of theirs.

  Source: Jegou et al., TPAMI 2011; with two groups, ImageFolder,
  arXiv:2410.01756.

  Args:
    groups: G, divides `dim`.
    inner: spec of the quantizer of a group, {"name": ..., **options}, any but
      those of this kind.
    dim: width.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    groups: int = 2,
    inner: dict | None = None,
    dim: int,
    rngs: nnx.Rngs,
  ):
    if groups < 1 or dim % groups:
      raise ValueError(f"groups must divide the dim {dim}, got {groups}")
    table, inner = Table("quantizer of a group", PARTS), inner or {"name": "vq"}
    parts = [
      table.build(inner, dim=dim // groups, rngs=rngs) for _ in range(groups)
    ]
    code_dim = sum(part.code_dim for part in parts)
    super().__init__(dim=dim, code_dim=code_dim, parts=parts)

  def __call__(self, z: jax.Array, mask: jax.Array, *, key=None):
    """See the base; indices [..., G] for one index a group."""
    x = self._read(z, mask).astype(z.dtype)
    groups = jnp.split(x, len(self.parts), axis=-1)
    found = [
      part(group, mask, key=own)
      for part, group, own in zip(
        self.parts, groups, self._keys(key), strict=True
      )
    ]
    codes = jnp.concatenate([codes for codes, _ in found], axis=-1)
    return codes, joined([aux for _, aux in found])

  def decode_indices(self, indices: jax.Array) -> jax.Array:
    """See the base."""
    by_part = self._split_indices(indices)
    codes = [
      part.decode_indices(own)
      for part, own in zip(self.parts, by_part, strict=True)
    ]
    return jnp.concatenate(codes, axis=-1)


class ChannelSplit(Product):
  """Groups of FSQ or LFQ over channels that stand for several places (CSQ).

  The encoder compresses its grid G times further than it would and has G times
  the channels, which are cut here into G groups: with an index for each, there
  are as many indices as before, of fewer and richer places.

  Source: MambaVideo, arXiv:2507.04559.

  Args:
    groups: G, by how much the encoder compressed further; divides `dim`.
    inner: spec of an "fsq" or "lfq" of a group.
    dim: width.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    groups: int = 2,
    inner: dict | None = None,
    dim: int,
    rngs: nnx.Rngs,
  ):
    inner = inner or {"name": "lfq"}
    if inner.get("name") not in CHANNEL_SPLIT:
      raise ValueError(
        f"channel_split has groups of {' or '.join(CHANNEL_SPLIT)}, got {inner}"
      )
    super().__init__(groups=groups, inner=inner, dim=dim, rngs=rngs)


class Factorized(Product):
  """Sub-codebooks that are kept from telling the same (FQ).

  A product of VQ with the loss `disentangle`, w times the mean over tokens and
  pairs of groups of (e_g e_h)^2, which turns the codes that a token chooses
  towards right angles. What else the paper asks of sub-codes, to predict
  features of a vision model each, is for an objective: group g is channels
  g * dim / G and on of the codes.

  Source: FQGAN, arXiv:2411.16681.

  Args:
    groups: G, at least 2, divides `dim`.
    vq: options of each VQ, to replace dict(size=16384, cosine=True); its
      codebook follows gradients.
    disentangle_weight: w.
    dim: width.
    rngs: holds the key of the first codes.
  """

  def __init__(
    self,
    *,
    groups: int = 2,
    vq: dict | None = None,
    disentangle_weight: float = 1.0,
    dim: int,
    rngs: nnx.Rngs,
  ):
    inner = {"name": "vq", "size": 16384, "cosine": True} | (vq or {})
    super().__init__(groups=groups, inner=inner, dim=dim, rngs=rngs)
    if groups < 2:
      raise ValueError(f"groups must be at least 2, got {groups}")
    if self.parts[0].update != "gradient":
      raise ValueError(
        'disentangling needs codes that follow gradients: set update="gradient"'
      )
    self.disentangle_weight = disentangle_weight

  def __call__(self, z: jax.Array, mask: jax.Array, *, key=None):
    """See the base; indices [..., G]."""
    codes, aux = super().__call__(z, mask, key=key)
    by_part = self._split_indices(aux["indices"])
    found = [
      part.lookup(own) for part, own in zip(self.parts, by_part, strict=True)
    ]
    pairs = list(itertools.combinations(found, 2))
    squared = [jnp.square((one * other).sum(-1)) for one, other in pairs]
    loss = masked_mean(sum(squared) / len(pairs), mask)
    losses = aux["losses"] | {"disentangle": self.disentangle_weight * loss}
    return codes, aux | {"losses": losses}
