"""Quantizers with indices: they watch how much their codebooks are used."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.ops.codebook import averaged_usage
from trajvit.ops.codebook_usage import (
  count_codes,
  dead_codes,
  perplexity,
  used_of_expected,
  used_share,
)
from trajvit.quantizers.quantizer import Quantizer

# How a metric of several codebooks becomes one number: the worst of them, as a
# mean hides one that has collapsed.
WORST = {
  "usage": jnp.minimum,
  "usage_of_expected": jnp.minimum,
  "perplexity": jnp.minimum,
  "dead": jnp.maximum,
  "bit_bias": jnp.maximum,
  "kl_bits": jnp.maximum,
}


class DiscreteQuantizer(Quantizer):
  """A quantizer with indices, and a moving average of how each code is used.

  Metrics of the worst codebook: `usage`, the share of its codes that occur in
  the batch; `usage_of_expected`, the same over what uniform draws would use,
  which does not depend on the size of the batch; `perplexity`; and `dead`, the
  share of codes whose average is under `dead_below` of the mean.

  Args:
    dim: width of what is quantized.
    sizes: codes of each index.
    decay: of the average.
    dead_below: threshold, relative to the mean.
    prior: the average at first, relative to even usage.
  """

  def __init__(
    self,
    *,
    dim: int,
    sizes: tuple[int, ...],
    decay: float = 0.99,
    dead_below: float = 1e-3,
    prior: float = 1.0,
  ):
    super().__init__(dim=dim, sizes=sizes)
    if min(sizes) < 2:
      raise ValueError(f"a codebook needs at least 2 codes, got {sizes}")
    if not 0 <= decay < 1:
      raise ValueError(f"decay must be in [0, 1), got {decay}")
    self.decay, self.dead_below = decay, dead_below
    self.usage = nnx.List(
      [nnx.BatchStat(jnp.full(size, prior / size)) for size in sizes]
    )

  def _watch(self, indices, key):
    """The metrics of a batch, and the new averages, {} at inference."""
    usage = [each[...] for each in self.usage]
    if key is not None:
      usage = [
        averaged_usage(old, indices[..., g], decay=self.decay)
        for g, old in enumerate(usage)
      ]
    found = []
    for g, average in enumerate(usage):
      counts = count_codes(indices[..., g], self.sizes[g])
      dead = dead_codes(average, threshold=self.dead_below)
      found.append(
        {
          "usage": used_share(counts),
          "usage_of_expected": used_of_expected(counts),
          "perplexity": perplexity(counts),
          "dead": dead.mean(dtype=jnp.float32),
        }
      )
    stats = {} if key is None else {"usage": dict(enumerate(usage))}
    return worst(found), stats


def worst(metrics: list[dict]) -> dict:
  """Returns the metrics of several codebooks as one, see `WORST`."""
  joined = {}
  for one in metrics:
    for name, value in one.items():
      known = joined.get(name, value)
      joined[name] = WORST[name](known, value)
  return joined


def with_stats(aux: dict, stats: dict) -> dict:
  """Returns `aux` with `batch_stats`, if there are any, without gradients."""
  if not stats:
    return aux
  return aux | {"batch_stats": jax.lax.stop_gradient(stats)}
