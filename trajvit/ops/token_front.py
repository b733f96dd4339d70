"""Taking apart the tokens in front of a clip's patches, and what follows."""

import jax
import jax.numpy as jnp

from trajvit.ops.selection import select
from trajvit.ops.token_grid import with_patches
from trajvit.types import Tokens


def cut(tokens: Tokens, count: int) -> tuple[Tokens, Tokens]:
  """Returns the first `count` tokens of every clip, and the others."""
  return (
    jax.tree.map(lambda x: x[:, :count], tokens),
    jax.tree.map(lambda x: x[:, count:], tokens),
  )


def rejoin(front: Tokens, tokens: Tokens, k: int) -> Tokens:
  """Returns k slots: real tokens, those of `front` first, and empty slots.

  Args:
    front: P tokens a clip.
    tokens: at most k - P tokens a clip.
    k: slots afterwards.

  Raises:
    ValueError: there are more than k tokens.
  """
  prefix = front.mask.shape[1]
  count = prefix + tokens.mask.shape[1]
  if count > k:
    raise ValueError(f"at most {k} tokens can have {k} slots, got {count}")

  def pad(x):
    return jnp.pad(x, [(0, 0), (0, k - count)] + [(0, 0)] * (x.ndim - 2))

  joined = jax.tree.map(pad, with_patches(front, prefix, tokens))
  return select(joined, (), k)[0]
