"""Residual blocks of convolutions with group norms, as in VQGAN and its kin."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.conv import Conv
from trajvit.layers.norm import GroupNorm

SHORTCUTS = ("input", "output")


class GroupResidual(nnx.Module):
  """Group norm, swish and a 3 x 3 convolution, twice, and a residual.

  Where the channels change, so does what is added: a map of what came in (VAEs
  of latent diffusion, arXiv:2112.10752), or of what the convolutions put out,
  y + W y. The latter is what MaskGIT's VQGAN (arXiv:2202.04200) does, whose
  weights need it; nothing of the input is then left.

  Args:
    inputs: channels in.
    outputs: channels out.
    shortcut: what is mapped where the channels change, "input" or "output".
    bias: whether convolutions have one.
    epsilon: of the norms.
    dtype: of the products.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: another shortcut, or channels that are no multiples of 32.
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    *,
    shortcut: str = "input",
    bias: bool = True,
    epsilon: float = 1e-6,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if shortcut not in SHORTCUTS:
      raise ValueError(
        f"shortcut must be one of {', '.join(SHORTCUTS)}, got {shortcut!r}"
      )
    self.of_output = shortcut == "output"
    options = dict(bias=bias, dtype=dtype, rngs=rngs)
    self.norm_first = GroupNorm(inputs, epsilon=epsilon, dtype=dtype)
    self.conv_first = Conv(inputs, outputs, 3, **options)
    self.norm_second = GroupNorm(outputs, epsilon=epsilon, dtype=dtype)
    self.conv_second = Conv(outputs, outputs, 3, **options)
    mapped = outputs if self.of_output else inputs
    self.shortcut = (
      None if inputs == outputs else Conv(mapped, outputs, 1, **options)
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, inputs] to [B, H, W, outputs]."""
    y = self.conv_first(jax.nn.silu(self.norm_first(x)))
    y = self.conv_second(jax.nn.silu(self.norm_second(y)))
    if self.shortcut is None:
      return x + y
    return y + self.shortcut(y if self.of_output else x)


def doubled(x: jax.Array) -> jax.Array:
  """Returns [B, 2 H, 2 W, D], every cell of [B, H, W, D] four times."""
  return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
