"""Perceiver resampler: a few latents read a sequence of any length."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.mlp import Mlp
from trajvit.layers.norm import LayerNorm
from trajvit.ops.attention import AttentionMask, attention
from trajvit.ops.position import rotary


class Resampler(nnx.Module):
  """Learned latents attend to themselves and to a sequence, `depth` times.

  Source: Flamingo's resampler (arXiv:2204.14198) as TrajViT (arXiv:2505.23617)
  uses it on a track: one latent, rotary phases over the first half of a head,
  no perceptron, a final norm.

  Args:
    width: D of the sequence, the latents and the result.
    num_heads: K.
    depth: number of attention layers.
    num_latents: how many vectors come out.
    use_rotary: turn queries and keys by their index, latents first. Without it
      the sequence is a set, unless the caller adds positions to it.
    mlp_ratio: hidden width of a perceptron after every attention, in widths; 0
      means none.
    latent_scale: standard deviation of the latents at the start. At 1, the
      reference's, what is read is at first small beside them; a short training
      wants less.
    init: of the linear maps, see `layers.linear`; the reference's is "torch".
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    width: int,
    *,
    num_heads: int,
    depth: int = 2,
    num_latents: int = 1,
    use_rotary: bool = True,
    mlp_ratio: int = 0,
    latent_scale: float = 1.0,
    init: str = "torch",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.use_rotary = use_rotary
    latents = jax.random.normal(rngs.params(), (num_latents, width))
    self.latents = nnx.Param(latent_scale * latents)
    options = dict(mlp_ratio=mlp_ratio, init=init, dtype=dtype, rngs=rngs)
    self.layers = nnx.List(
      [ResamplerLayer(width, num_heads, **options) for _ in range(depth)]
    )
    self.norm = LayerNorm(width, epsilon=1e-5, dtype=dtype)

  def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns what the latents have read.

    Args:
      x: [B, T, D].
      mask: [B, T] bool, True = real. A sequence without a real element leaves
        the latents to read themselves: a constant, for the caller to mask.

    Returns:
      [B, num_latents, D].
    """
    x = jnp.where(mask[..., None], x, 0)
    latents = self.latents[...].astype(x.dtype)
    latents = jnp.broadcast_to(latents, (x.shape[0], *latents.shape))
    seen = jnp.ones(latents.shape[:2], bool)
    keys = jnp.concatenate([seen, mask], axis=1)
    for layer in self.layers:
      latents = layer(latents, x, keys, self.use_rotary)
    return self.norm(latents)


class ResamplerLayer(nnx.Module):
  """One cross-attention of a resampler, and a perceptron if it has one."""

  def __init__(self, width, num_heads, *, mlp_ratio, init, dtype, rngs):
    self.num_heads = num_heads
    norm = dict(epsilon=1e-5, dtype=dtype)
    self.norm_sequence = LayerNorm(width, **norm)
    self.norm_latents = LayerNorm(width, **norm)
    options = dict(bias=False, init=init, dtype=dtype, rngs=rngs)
    self.query = Linear(width, width, **options)
    self.key_value = Linear(width, 2 * width, **options)
    self.out = Linear(width, width, **options)
    options = dict(dtype=dtype, rngs=rngs)
    self.norm_mlp = LayerNorm(width, **norm) if mlp_ratio else None
    self.mlp = Mlp(width, mlp_ratio * width, **options) if mlp_ratio else None

  def __call__(self, latents, x, mask, use_rotary):
    """Returns the latents [B, R, D] after reading themselves and x [B, T, D].

    `mask` [B, R + T] tells which of both are real.
    """
    queries = self.norm_latents(latents)
    both = jnp.concatenate([queries, self.norm_sequence(x)], axis=1)
    split = (*both.shape[:-1], self.num_heads, -1)
    key, value = jnp.split(self.key_value(both), 2, axis=-1)
    key, value = key.reshape(split), value.reshape(split)
    query = self.query(queries).reshape(*queries.shape[:-1], self.num_heads, -1)
    if use_rotary:
      dim = query.shape[-1] // 4 * 2  # half of the head, made even
      query = rotary(query, jnp.arange(query.shape[1]), dim)
      key = rotary(key, jnp.arange(key.shape[1]), dim)
    read = attention(query, key, value, mask=AttentionMask(keys=mask))
    latents = latents + self.out(read.reshape(latents.shape))
    if self.mlp is not None:
      latents = latents + self.mlp(self.norm_mlp(latents))
    return latents
