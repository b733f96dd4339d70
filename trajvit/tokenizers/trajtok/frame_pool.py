"""TrajTok's tokens for short training: what and where a slot is, by frame."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.norm import LayerNorm
from trajvit.layers.track_reader import TrackReader
from trajvit.ops.pooling import pool_by_track
from trajvit.ops.position import fourier
from trajvit.ops.tracks import track_boxes
from trajvit.tokenizers.tracked import by_track, track_tokens
from trajvit.tokenizers.trajtok.place import real_time
from trajvit.tokenizers.trajtok.pooling import logits_on_grid
from trajvit.tokenizers.trajtok.segmenter import hard_assignment
from trajvit.types import Array, Tokens

# Frequencies of a coordinate of the place, and of the time.
PLACE_FREQUENCIES, TIME_FREQUENCIES = 8, 5
# Share of a slot's cells that may lie beyond each side of its box.
TRIM = 0.1


class FramePool(nnx.Module):
  """Turns features and a segmentation of them into one token a slot.

  Ours, in place of the perceiver that reads all cells of a slot: as for tracks
  that are given (`trajectory_light`), features are averaged over the cells of a
  slot in every frame, and the averages are read over time. So is where the slot
  is: the box around its cells but for a few, so that a stray one does not move
  it. All of it costs little for each cell, and a slot's path is plain to see.

  Cells are averaged by the hard assignment, which has no gradient. The features
  may borrow that of their average by the softmax of the logits over slots
  (straight-through), which is then all that tells the segmenter what a loss on
  the tokens would rather have. Where tracks teach it, do without: it disturbs
  them. The place never has a gradient.

  Args:
    inputs: D of the features.
    outputs: width of the tokens.
    num_slots: M.
    num_heads: K of the resamplers over time.
    straight_through: whether the logits get a gradient.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    *,
    num_slots: int,
    num_heads: int,
    straight_through: bool = True,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.num_slots, self.straight_through = num_slots, straight_through
    self.norm = LayerNorm(inputs, dtype=dtype)
    options = dict(num_heads=num_heads, dtype=dtype, rngs=rngs)
    time = 2 * TIME_FREQUENCIES + 1
    self.appearance = TrackReader(inputs + time, outputs, **options)
    place = 4 * (2 * PLACE_FREQUENCIES + 1)
    self.position = TrackReader(place + time, outputs, **options)

  def __call__(
    self,
    features: Array,
    logits: Array,
    frame_mask: Array | None = None,
    owner: Array | None = None,
  ) -> tuple[Tokens, Array]:
    """Returns N = M tokens, and which slot owns each cell; see `SegmentPool`.

    Args:
      features: [B, T, h, w, D], any T.
      logits: [B, T, h', w', M], resized bilinearly to (h, w) if need be.
      frame_mask: [B, T] bool, False = padding, never read; None = all real.
      owner: [B, T, h, w] int32 in [0, M), or -1, or None: by the logits.
    """
    logits = logits_on_grid(logits, features, self.num_slots)
    if frame_mask is None:
      frame_mask = jnp.ones(features.shape[:2], bool)
    features = jnp.where(frame_mask[:, :, None, None, None], features, 0)
    if owner is None:
      owner = hard_assignment(logits, frame_mask)

    means, area = pool_by_track(features, owner, self.num_slots)
    if self.straight_through:
      soft = soft_frame_means(features, logits)
      means = soft + jax.lax.stop_gradient(means - soft)
    boxes = track_boxes(owner, self.num_slots, trim=TRIM)

    present = by_track(area > 0)  # [B M, T]
    time = fourier(real_time(frame_mask)[..., None], TIME_FREQUENCIES)
    time = jnp.broadcast_to(time[:, :, None], (*area.shape, time.shape[-1]))

    def over_time(reader, x):
      x = jnp.concatenate([x, time.astype(x.dtype)], axis=-1)
      return reader(by_track(x), present)

    x = over_time(self.appearance, self.norm(means))
    x += over_time(self.position, fourier(boxes, PLACE_FREQUENCIES))
    x = x.reshape(-1, self.num_slots, x.shape[-1])
    return track_tokens(x, area, owner), owner


def soft_frame_means(features: Array, logits: Array) -> Array:
  """Returns [B, T, M, D] float32, a frame's means by the softmax over slots.

  Args:
    features: [B, T, h, w, D].
    logits: [B, T, h, w, M].
  """
  share = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
  total = jnp.einsum(
    "bthwm,bthwd->btmd",
    share.astype(features.dtype),
    features,
    preferred_element_type=jnp.float32,
  )
  return total / (share.sum((2, 3)) + 1e-6)[..., None]
