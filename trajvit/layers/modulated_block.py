"""Transformer blocks that a condition scales, shifts and gates: adaLN-zero."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention_methods.context import Context
from trajvit.layers.gated_mlp import GatedMlp, gated_dim
from trajvit.layers.linear import Linear
from trajvit.layers.normed_attention import NormedAttention
from trajvit.ops.sincos import timestep
from trajvit.ops.standardize import standardize


class ModulatedBlock(nnx.Module):
  """A pre-norm block whose branches a condition modulates; at first, nothing.

  Source: DiT (arXiv:2212.09748) with FlexTok's (arXiv:2502.13967) parts: norms
  without parameters, normed attention, a gated perceptron of two thirds of the
  usual hidden width, no biases but those of the modulation, and a modulation of
  its own for each group of tokens. With (gate, shift, scale) for each branch,
  x + gate * branch(norm(x) * (1 + scale) + shift). All three start at zero, and
  the block with them as the identity.

  `modulation` makes for each group, in turn, the gates of attention and
  perceptron, shift and scale of attention, shift and scale of the perceptron.

  Args:
    width: D.
    num_heads: K.
    groups: of tokens that follow each other in the sequence.
    mlp_dim: hidden width of the perceptron; None is `gated_dim`.
    dtype: of the products; norms and softmax are float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    *,
    groups: int = 1,
    mlp_dim: int | None = None,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    mlp_dim = gated_dim(width) if mlp_dim is None else mlp_dim
    options = dict(dtype=dtype, rngs=rngs)
    self.groups = groups
    self.attention = NormedAttention(width, num_heads, **options)
    self.mlp = GatedMlp(width, mlp_dim, width, bias=False, **options)
    self.modulation = Linear(width, groups * 6 * width, init="zeros", **options)

  def __call__(
    self,
    x: jax.Array,
    condition: jax.Array,
    lengths: tuple[int, ...],
    context: Context,
  ) -> tuple[jax.Array, dict]:
    """Maps [B, N, D] to [B, N, D]; aux is {}.

    Args:
      x: [B, N, D].
      condition: [B, D].
      lengths: how many tokens each group has; they sum to N.
      context: mask and bias of the attention.
    """
    m = self.modulation(jax.nn.silu(condition))
    m = m.reshape(m.shape[0], self.groups, 6, x.shape[-1])
    gate_attention, gate_mlp, shift, scale, shift_mlp, scale_mlp = (
      spread(m[:, :, i], lengths) for i in range(6)
    )
    y = self.attention(standardize(x) * (1 + scale) + shift, context)
    x = x + gate_attention * y
    y = self.mlp(standardize(x) * (1 + scale_mlp) + shift_mlp)
    return x + gate_mlp * y, {}


class ModulatedHead(nnx.Module):
  """Norm, scale and shift by a condition, and a linear map that starts at zero.

  Args:
    width: D.
    outputs: width of the result.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self, width: int, outputs: int, *, dtype=jnp.float32, rngs: nnx.Rngs
  ):
    options = dict(init="zeros", dtype=dtype, rngs=rngs)
    self.modulation = Linear(width, 2 * width, **options)
    self.out = Linear(width, outputs, **options)

  def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
    """Maps [B, N, D] and a condition [B, D] to [B, N, outputs]."""
    m = self.modulation(jax.nn.silu(condition))[:, None]  # [B, 1, 2 D]
    shift, scale = jnp.split(m, 2, axis=-1)
    return self.out(standardize(x) * (1 + scale) + shift)


class NoiseLevel(nnx.Module):
  """Embeds a noise level: sines and cosines, and a perceptron.

  Args:
    width: D.
    max_timestep: see `ops.sincos.timestep`.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    width: int,
    *,
    max_timestep: float = 1.0,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.max_timestep = max_timestep
    self.inner = Linear(256, width, dtype=dtype, rngs=rngs)
    self.outer = Linear(width, width, dtype=dtype, rngs=rngs)

  def __call__(self, sigma: jax.Array) -> jax.Array:
    """Maps [B] to [B, D]."""
    x = timestep(sigma, max_timestep=self.max_timestep)
    return self.outer(jax.nn.silu(self.inner(x)))


def spread(groups: jax.Array, lengths: tuple[int, ...]) -> jax.Array:
  """Returns [B, N, D], row i of [B, groups, D] at `lengths[i]` tokens."""
  shape = groups.shape
  rows = [
    jnp.broadcast_to(groups[:, i : i + 1], (shape[0], length, shape[2]))
    for i, length in enumerate(lengths)
  ]
  return jnp.concatenate(rows, axis=1)
