"""What the size of a token does: its weight in attention and in means."""

import jax
import jax.numpy as jnp

from trajvit.types import Tokens

# Of a token that is counted by its size. Its logarithm and the gradient of that
# are finite; below lie the numbers that a device may take for 0.
SMALLEST = 1e-6


def log_size(tokens: Tokens) -> jax.Array:
  """Returns the bias of keys that makes attention proportional to size.

  Added to the logits of a key, log(size) counts it as often as there are
  patches in the token: attention to a merged token equals attention to its
  members, had they been equal. Source: ToMe, arXiv:2210.09461.

  Args:
    tokens: N tokens a clip, packed or not.

  Returns:
    [B, N] float32, at least log(1e-6), the `bias` of `ops.attention`. A token
    of size 0, such as a register, stands for no patch and has 0, counting as
    one; so have masked slots, which the mask of the attention leaves out.
  """
  counted = tokens.mask & (tokens.size > 0)
  size = jnp.where(counted, tokens.size.astype(jnp.float32), 1)
  return jnp.log(jnp.maximum(size, SMALLEST))


def mean_by_size(tokens: Tokens) -> jax.Array:
  """Returns a clip's mean [B, D] float32 over patches instead of over tokens.

  What `ops.tokens.masked_mean` was before tokens were merged. It reads real,
  unprotected tokens; a clip whose tokens stand for no patch has the mean 0.

  Args:
    tokens: N tokens a clip, not packed.
  """
  mask = tokens.mask
  if tokens.protected is not None:
    mask = mask & ~tokens.protected
  size = jnp.where(mask, tokens.size, 0).astype(jnp.float32)  # [B, N]
  features = jnp.where(mask[..., None], tokens.features, 0)
  total = size.sum(1, keepdims=True)
  total = jnp.where(total > 0, total, 1)
  return (features.astype(jnp.float32) * size[..., None]).sum(1) / total
