"""Normalisation: layer and group norm, and a batch norm that writes nothing."""

import jax
import jax.numpy as jnp
from flax import nnx


class LayerNorm(nnx.Module):
  """Layer norm over the last axis, computed in float32, returned in `dtype`.

  Args:
    width: D.
    epsilon: added to the variance; references differ (1e-5, 1e-6, 1e-12).
    dtype: of the result.
  """

  def __init__(self, width: int, *, epsilon: float = 1e-6, dtype=jnp.float32):
    self.epsilon, self.dtype = epsilon, dtype
    self.scale = nnx.Param(jnp.ones(width))
    self.bias = nnx.Param(jnp.zeros(width))

  def __call__(self, x: jax.Array) -> jax.Array:
    """Normalises [..., D]."""
    x = x.astype(jnp.float32)
    x = x - x.mean(-1, keepdims=True)
    variance = jnp.square(x).mean(-1, keepdims=True)
    x = x * jax.lax.rsqrt(variance + self.epsilon)
    return (x * self.scale[...] + self.bias[...]).astype(self.dtype)


class GroupNorm(nnx.Module):
  """Group norm over places and a group of channels of an image, in float32.

  Source: arXiv:1803.08494.

  Args:
    width: D.
    groups: of neighbouring channels, as wide as each other.
    epsilon: added to the variance.
    dtype: of the result.

  Raises:
    ValueError: the channels cannot be grouped so.
  """

  def __init__(
    self,
    width: int,
    *,
    groups: int = 32,
    epsilon: float = 1e-6,
    dtype=jnp.float32,
  ):
    if width % groups:
      raise ValueError(f"{groups} groups must divide the width, got {width}")
    self.groups, self.epsilon, self.dtype = groups, epsilon, dtype
    self.scale = nnx.Param(jnp.ones(width))
    self.bias = nnx.Param(jnp.zeros(width))

  def __call__(self, x: jax.Array) -> jax.Array:
    """Normalises each image of [B, H, W, D]."""
    shape = x.shape
    x = x.astype(jnp.float32).reshape(*shape[:3], self.groups, -1)
    x = x - x.mean((1, 2, 4), keepdims=True)
    variance = jnp.square(x).mean((1, 2, 4), keepdims=True)
    x = (x * jax.lax.rsqrt(variance + self.epsilon)).reshape(shape)
    return (x * self.scale[...] + self.bias[...]).astype(self.dtype)


class BatchNorm(nnx.Module):
  """Batch norm over all axes but the last; running statistics are returned.

  In training the statistics are those of the whole batch, over all devices; the
  new running values come back beside the result and the training step puts
  them into its state. The running variance is the unbiased one, as PyTorch's.

  Args:
    width: D.
    epsilon: added to the variance.
    momentum: of the running values, new = momentum * old + (1 - momentum) * x.
    dtype: of the result.
  """

  def __init__(
    self,
    width: int,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    dtype=jnp.float32,
  ):
    self.epsilon, self.momentum, self.dtype = epsilon, momentum, dtype
    self.scale = nnx.Param(jnp.ones(width))
    self.bias = nnx.Param(jnp.zeros(width))
    self.mean = nnx.BatchStat(jnp.zeros(width))
    self.variance = nnx.BatchStat(jnp.ones(width))

  def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict]:
    """Normalises [..., D].

    Returns:
      The result, and in training {"mean", "variance"}, the new running values;
      otherwise {}.
    """
    x = x.astype(jnp.float32)
    if not train:
      return self._normalize(x, self.mean[...], self.variance[...]), {}
    axes = tuple(range(x.ndim - 1))
    # A float: the cells of a large batch may be more than int32 can count.
    count = float(x.size // x.shape[-1])
    mean, variance = x.mean(axes), x.var(axes)
    unbiased = variance * count / max(count - 1, 1)
    keep = self.momentum
    running = {
      "mean": keep * self.mean[...] + (1 - keep) * mean,
      "variance": keep * self.variance[...] + (1 - keep) * unbiased,
    }
    running = jax.lax.stop_gradient(running)
    return self._normalize(x, mean, variance), running

  def _normalize(self, x, mean, variance):
    scale = jax.lax.rsqrt(variance + self.epsilon) * self.scale[...]
    return ((x - mean) * scale + self.bias[...]).astype(self.dtype)
