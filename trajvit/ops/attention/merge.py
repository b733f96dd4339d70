"""Passes over disjoint sets of keys, joined exactly by their logsumexp.

The passes may come from different block masks, from different orders of the
tokens, or from different devices (see `ring`). For softmax weights over the
union of sets s, out = sum_s exp(l_s - l) out_s with l = log sum_s exp(l_s).
"""

import jax
import jax.numpy as jnp

from trajvit.ops.attention.sparse import Attended


def merge(*parts: Attended) -> Attended:
  """Returns attention over all keys from passes over disjoint sets of them.

  A query without keys in a pass takes nothing from it and gives it no
  gradient; one without keys in any returns exactly 0, with logsumexp -inf.

  Args:
    *parts: with `out` [..., d] and `logsumexp` [...], equal in shape, computed
      with the same bias and scale. Statistics of tiles are left out.

  Returns:
    `out` in the widest dtype among the parts; arithmetic is float32.

  Raises:
    ValueError: no parts, or parts of different shapes.
  """
  shapes = {(part.out.shape, part.logsumexp.shape) for part in parts}
  if len(shapes) != 1:
    raise ValueError(f"parts must be of one shape, got {sorted(shapes)}")
  each = [part.logsumexp for part in parts]
  largest = jnp.stack(each).max(0)
  # The result does not depend on the shift, so that it needs no gradient.
  shift = jax.lax.stop_gradient(jnp.where(jnp.isneginf(largest), 0, largest))
  mass = [jnp.exp(x - shift) for x in each]
  total = sum(mass)
  seen = total > 0
  total = jnp.where(seen, total, 1)
  out = sum(
    part.out.astype(jnp.float32) * (m / total)[..., None]
    for part, m in zip(parts, mass, strict=True)
  )
  return Attended(
    out=out.astype(jnp.result_type(*(part.out.dtype for part in parts))),
    logsumexp=jnp.where(seen, shift + jnp.log(total), -jnp.inf),
  )
