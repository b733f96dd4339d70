"""Bottlenecks that round nothing: none at all, and a Gaussian one."""

import math

import jax
import jax.numpy as jnp

from trajvit.quantizers.quantizer import Quantizer, masked_mean


class NoQuantizer(Quantizer):
  """Leaves vectors as they are, or normalises each over its channels.

  Source of `norm`: Semanticist, arXiv:2503.08685: minus the mean, over the
  unbiased deviation, without parameters. It has no epsilon; here the variance
  has one of 1e-12, so that equal channels give 0 and a finite gradient.

  Args:
    norm: whether to normalise.
    dim: width, at least 2 to normalise.
  """

  def __init__(self, *, norm: bool = False, dim: int):
    super().__init__(dim=dim)
    if norm and dim < 2:
      raise ValueError(f"norm needs a dim of at least 2, got {dim}")
    self.norm = norm

  def __call__(self, z: jax.Array, mask: jax.Array, *, key=None):
    """See the base; nothing is drawn."""
    del key
    x = self._read(z, mask)
    if self.norm:
      x = x - x.mean(-1, keepdims=True)
      variance = jnp.square(x).sum(-1, keepdims=True) / (self.dim - 1)
      x = x * jax.lax.rsqrt(variance + 1e-12)
    return x.astype(z.dtype), {"losses": {}, "metrics": {}}


class KlQuantizer(Quantizer):
  """A diagonal Gaussian around a mean: the bottleneck of a VAE.

  The first half of the channels is the mean, the second the logarithm of the
  variance, cut off at -30 and 20. Training draws, inference takes the mean.
  The loss is the KL divergence to N(0, 1), summed over the channels and tokens
  of a clip and averaged over clips, as in the VAE variants of TiTok
  (arXiv:2501.07730).

  Metrics: `kl_bits`, the mean divergence of a token in bits.

  Args:
    kl_weight: of the loss.
    dim: width, even; codes are half as wide.
  """

  def __init__(self, *, kl_weight: float = 1e-6, dim: int):
    if dim % 2:
      raise ValueError(
        f"dim must be even, for a mean and a log-variance, got {dim}"
      )
    super().__init__(dim=dim, code_dim=dim // 2)
    self.kl_weight = kl_weight

  def __call__(self, z: jax.Array, mask: jax.Array, *, key=None):
    """See the base; the first axis of `mask` is that of clips.

    Aux: `mean` and `log_variance` [..., code_dim] float32.
    """
    mean, log_variance = jnp.split(self._read(z, mask), 2, axis=-1)
    log_variance = jnp.clip(log_variance, -30.0, 20.0)
    code = mean
    if key is not None:
      noise = jax.random.normal(key, mean.shape)
      code = mean + jnp.exp(log_variance / 2) * noise
    code = jnp.where(mask[..., None], code, 0).astype(z.dtype)
    square = jnp.square(mean) + jnp.exp(log_variance)
    kl = (square - 1 - log_variance).sum(-1) / 2  # [...]
    clips = mask.reshape(mask.shape[:1] + (-1,)).any(-1)
    total = jnp.where(mask, kl, 0).sum() / jnp.maximum(clips.sum(), 1)
    return code, {
      "mean": mean,
      "log_variance": log_variance,
      "losses": {"kl": self.kl_weight * total},
      "metrics": {"kl_bits": masked_mean(kl, mask) / math.log(2)},
    }
