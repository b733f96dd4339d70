"""Trees of tokens that follow content through the frames of a clip.

Every token may hang on one of the frame before it, at any place, so that trees
have their roots in earlier frames than their leaves. Source: FlashVID,
arXiv:2602.08024.
"""

import jax
import jax.numpy as jnp

from trajvit.ops.change import previous_real
from trajvit.ops.segments import Segments
from trajvit.ops.unit import unit


def nearest_before(
  features: jax.Array, mask: jax.Array, segments: Segments
) -> tuple[jax.Array, jax.Array]:
  """Returns the token of the frame before that each one is most like.

  The frame before is the last real one of the same segment.

  Args:
    features: [B, T, n, D] of any float dtype.
    mask: [B, T, n] bool, the tokens that have and are parents.
    segments: of the T frames.

  Returns:
    similarity [B, T, n] float32, the cosine to the parent, -inf without any;
    and the parent's place [B, T, n] int32 in [0, n), the first of equals. No
    gradient passes.
  """
  features = jax.lax.stop_gradient(features)
  real = segments.ids >= 0
  x = unit(jnp.where(mask[..., None], features, 0))
  before, _ = previous_real(x, real)
  parents, _ = previous_real(mask, real)
  inner = real & ~segments.starts
  pair = mask[..., :, None] & parents.astype(bool)[..., None, :]
  pair = pair & inner[:, :, None, None]
  highest = jax.lax.Precision.HIGHEST
  cosine = jnp.einsum("btid,btjd->btij", x, before, precision=highest)
  cosine = jnp.where(pair, cosine, -jnp.inf)
  return cosine.max(-1), jnp.argmax(cosine, axis=-1).astype(jnp.int32)


def strongest_links(
  similarity: jax.Array, mask: jax.Array, segments: Segments, most: jax.Array
) -> jax.Array:
  """Returns the links of the highest similarity in every segment.

  Args:
    similarity: [B, T, n] float32.
    mask: [B, T, n] bool, tokens that may be linked.
    segments: of the T frames.
    most: [B, T] int32, how many there are at most in the segment of a frame.

  Returns:
    [B, T, n] bool; of equals the first in raster order.
  """
  batch = mask.shape[0]
  ids = segments.ids
  # Sorted by segment and similarity; a segment begins behind the earlier ones.
  flat_mask, flat = (y.reshape(batch, -1) for y in (mask, similarity))
  place = jnp.broadcast_to(ids[..., None], mask.shape).reshape(batch, -1)
  place = jnp.where(flat_mask, place, ids.shape[1])
  order = jnp.lexsort((-jnp.where(flat_mask, flat, 0), place), axis=-1)
  rank = jnp.argsort(order, axis=-1).reshape(mask.shape)
  earlier = ids[:, None] < ids[:, :, None]
  before = jnp.where(earlier, mask.sum(-1)[:, None], 0).sum(-1)  # [B, T]
  return mask & (rank - before[..., None] < most[..., None])


def sum_trees(
  x: jax.Array, parent: jax.Array, linked: jax.Array, frame_mask: jax.Array
) -> jax.Array:
  """Returns the sum over every tree, at its root.

  Args:
    x: [B, T, n, D] float, without NaN anywhere.
    parent: [B, T, n] int32 in [0, n), a place in the last real frame before.
    linked: [B, T, n] bool, the tokens that hang on their parent. Those of the
      first real frame and of masked ones do not.
    frame_mask: [B, T] bool, True = real.

  Returns:
    [B, T, n, D] float32: a root has the sum of its tree, a token that is linked
    has zeros.
  """
  places = jnp.arange(x.shape[2])
  highest = jax.lax.Precision.HIGHEST

  def step(arriving, frame):
    x, parent, linked, real = frame
    total = x + jnp.where(real, arriving, 0)
    edge = linked[..., None] & (parent[..., None] == places)  # [B, child, n]
    leaving = jnp.einsum(
      "bij,bid->bjd", edge.astype(x.dtype), total, precision=highest
    )
    leaving = jnp.where(real, leaving, arriving)
    return leaving, jnp.where(linked[..., None], 0, total)

  real = frame_mask[..., None, None]
  frames = [
    jnp.moveaxis(y, 1, 0) for y in (x.astype(jnp.float32), parent, linked, real)
  ]
  start = jnp.zeros_like(frames[0][0])
  sums = jax.lax.scan(step, start, frames, reverse=True)[1]
  return jnp.moveaxis(sums, 0, 1)
