"""VQ: the nearest vector of a codebook, or one drawn by how near it is."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.ops.codebook import (
  affinity,
  averaged_codes,
  nearest_codes,
  pulled_codes,
  restarted_codes,
)
from trajvit.ops.straight_through import straight_through
from trajvit.ops.unit import unit
from trajvit.quantizers.discrete import DiscreteQuantizer, with_stats
from trajvit.quantizers.quantizer import masked_mean

UPDATES = "gradient", "ema"
REVIVALS = None, "restart", "cluster"


class VQ(DiscreteQuantizer):
  """Replaces a vector by the nearest code of a learned codebook.

  Losses, with means over real tokens and channels: `commit`, w |z - sg(e)|^2,
  and `codebook`, w |sg(z) - e|^2, which moves codes that follow gradients.

  Codes that no token chooses never move. `revive` moves them: "restart" puts a
  code whose usage is under `dead_below` of an even share on a random token;
  "cluster" draws every code to its nearest token, the rarer the more (CVQ-VAE,
  arXiv:2307.15139). Both move the codebook outside of the optimizer: what they
  add to it is a running statistic of its own, `offset`.

  Source: van den Oord et al., arXiv:1711.00937, with the moving averages of its
  appendix as `update="ema"`; `cosine` is that of ViT-VQGAN, arXiv:2110.04627,
  and TiTok, arXiv:2406.07550: vectors and codes are scaled to norm 1 first, and
  so are the codes that come out.

  Args:
    size: K.
    cosine: as above.
    update: how codes follow their tokens, "gradient" or "ema".
    commit_weight: of the loss.
    codebook_weight: of the loss.
    revive: as above, None for not at all.
    decay: of the usage, and of the averages of "ema".
    dead_below: see the base, and above.
    dim: width.
    rngs: holds the key of the first codes, uniform in [-1/K, 1/K].
  """

  def __init__(
    self,
    *,
    size: int = 4096,
    cosine: bool = False,
    update: str = "gradient",
    commit_weight: float = 0.25,
    codebook_weight: float = 1.0,
    revive: str | None = None,
    decay: float = 0.99,
    dead_below: float = 1e-3,
    dim: int,
    rngs: nnx.Rngs,
  ):
    if update not in UPDATES:
      raise ValueError(f"update must be one of {UPDATES}, got {update!r}")
    if revive not in REVIVALS:
      raise ValueError(f"revive must be one of {REVIVALS}, got {revive!r}")
    super().__init__(
      dim=dim,
      sizes=(size,),
      decay=decay,
      dead_below=dead_below,
      # CVQ starts its codes on tokens, as unused as can be.
      prior=0.0 if revive == "cluster" else 1.0,
    )
    self.cosine, self.update, self.revive = cosine, update, revive
    self.commit_weight = commit_weight
    self.codebook_weight = codebook_weight
    first = jax.random.uniform(
      rngs.params(), (size, dim), minval=-1 / size, maxval=1 / size
    )
    kind = nnx.Param if update == "gradient" else nnx.BatchStat
    self.codebook = kind(first)
    moves = update == "gradient" and revive is not None
    self.offset = nnx.BatchStat(jnp.zeros_like(first)) if moves else None

  def __call__(self, z: jax.Array, mask: jax.Array, *, key=None):
    """See the base; aux of training has the new codebook or offset."""
    x = self._scaled(self._read(z, mask))
    flat, real = x.reshape(-1, self.dim), mask.reshape(-1)
    codebook = self._codebook()
    draw, restart = (None, None) if key is None else jax.random.split(key)
    chosen = self._choose(flat, self._scaled(codebook), draw)
    indices = jnp.where(real, chosen, -1).reshape(*mask.shape, 1)
    found = self.lookup(indices)
    codes = straight_through(found, x).astype(z.dtype)

    fixed = jax.lax.stop_gradient(found)
    distance = masked_mean(jnp.square(x - fixed).mean(-1), mask)
    losses = {"commit": self.commit_weight * distance}
    if self.update == "gradient":
      moved = jnp.square(found - jax.lax.stop_gradient(x)).mean(-1)
      losses["codebook"] = self.codebook_weight * masked_mean(moved, mask)

    metrics, stats = self._watch(indices, key)
    if key is not None:
      stats |= self._moved(codebook, flat, indices.reshape(-1), restart, stats)
    aux = {"indices": indices, "losses": losses, "metrics": metrics}
    return codes, with_stats(aux, stats)

  def decode_indices(self, indices: jax.Array) -> jax.Array:
    """See the base."""
    return jax.lax.stop_gradient(self.lookup(indices))

  def lookup(self, indices: jax.Array) -> jax.Array:
    """Returns the codes of indices with the gradient of the codebook."""
    self._check_indices(indices)
    rows = self._codebook()[jnp.maximum(indices[..., 0], 0)]
    return jnp.where(indices >= 0, self._scaled(rows), 0)

  def _choose(self, x, codebook, key):
    """The code [N] int32 of each x [N, dim] among [K, dim]."""
    del key
    return nearest_codes(x, codebook)

  def _scaled(self, x):
    return unit(x) if self.cosine else x

  def _codebook(self):
    codebook = self.codebook[...]
    return codebook if self.offset is None else codebook + self.offset[...]

  def _moved(self, codebook, x, indices, key, stats):
    """What of the running statistics changes besides the usage."""
    codebook, x = jax.lax.stop_gradient((codebook, x))
    real = indices >= 0
    new, usage = codebook, stats["usage"][0]
    if self.update == "ema":
      old = self.usage[0][...]
      new, usage = averaged_codes(new, old, x, indices, decay=self.decay)
    if self.revive == "restart":
      new, usage = restarted_codes(
        new, usage, x, real, key, threshold=self.dead_below
      )
    elif self.revive == "cluster":
      new = pulled_codes(new, usage, x, real, decay=self.decay)
    if self.update == "ema":
      return {"usage": {0: usage}, "codebook": new}
    if self.offset is None:
      return {}
    return {"usage": {0: usage}, "offset": self.offset[...] + new - codebook}


class StochasticVQ(VQ):
  """Draws a code by its cosine to the vector; inference takes the nearest.

  A code is drawn with the softmax of cos / temperature. The rest is cosine VQ,
  with the losses weighted by another 0.1 as in the paper.

  Source: LARP, arXiv:2410.21264, which draws at inference too, unless told not
  to.

  Args:
    size: K.
    temperature: of the softmax.
    commit_weight: of |z - sg(e)|^2, here 0.1 * 0.25.
    codebook_weight: of |sg(z) - e|^2, here 0.1.
    revive: see `VQ`.
    decay: of the usage.
    dead_below: see `VQ`.
    dim: width.
    rngs: holds the key of the first codes.
  """

  def __init__(
    self,
    *,
    size: int = 8192,
    temperature: float = 0.03,
    commit_weight: float = 0.025,
    codebook_weight: float = 0.1,
    revive: str | None = None,
    decay: float = 0.99,
    dead_below: float = 1e-3,
    dim: int,
    rngs: nnx.Rngs,
  ):
    if temperature <= 0:
      raise ValueError(f"temperature must be above 0, got {temperature}")
    super().__init__(
      size=size,
      cosine=True,
      commit_weight=commit_weight,
      codebook_weight=codebook_weight,
      revive=revive,
      decay=decay,
      dead_below=dead_below,
      dim=dim,
      rngs=rngs,
    )
    self.temperature = temperature

  def _choose(self, x, codebook, key):
    if key is None:
      return nearest_codes(x, codebook)
    x, codebook = jax.lax.stop_gradient((x, codebook))
    logits = affinity(x, codebook) / self.temperature
    return jax.random.categorical(key, logits).astype(jnp.int32)
