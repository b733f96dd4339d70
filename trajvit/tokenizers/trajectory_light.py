"""Trajectory tokens for small machines: linear patches in place of a ResNet."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.patches import patchify
from trajvit.layers.track_reader import TrackReader
from trajvit.ops.pooling import pool_by_track
from trajvit.ops.position import fourier
from trajvit.ops.tracks import track_boxes
from trajvit.tokenizers.tracked import by_track, track_tokens, tracked_clip
from trajvit.types import Clip, Tokens

# Frequencies of a box coordinate: the finest has a period of 1/5.7 frame.
FREQUENCIES = 8


class TrajectoryLightTokenizer(nnx.Module):
  """Trajectory tokens without a ResNet: linear patches, pooled, read over time.

  After TrajViT (arXiv:2505.23617), cut down to what trains in minutes on a CPU:
  one linear layer on patches in place of the ResNet, boxes in place of centres,
  a learned vector a frame in place of rotary phases, resamplers of one layer.

  Args:
    patch: rows = columns of a patch; divides the frame.
    stem_width: channels of a patch.
    max_tracks: M, slots for tracks.
    width: D.
    num_heads: K of the resamplers, the encoder's.
    clip_shape: (T, H, W).
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  needs_tracks = True

  def __init__(
    self,
    *,
    patch: int = 4,
    stem_width: int = 64,
    max_tracks: int,
    width: int,
    num_heads: int,
    clip_shape: tuple[int, int, int],
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    frames, height, columns = clip_shape
    self.patch, self.max_tracks = patch, max_tracks
    self.grid = (height // patch, columns // patch)
    options = dict(dtype=dtype, rngs=rngs)
    self.stem = Linear(3 * patch * patch, stem_width, **options)
    self.norm = LayerNorm(stem_width, dtype=dtype)
    options |= dict(num_heads=num_heads, frames=frames)
    self.appearance = TrackReader(stem_width, width, **options)
    self.position = TrackReader(8 * FREQUENCIES + 4, width, **options)

  def __call__(self, clip: Clip, *, key=None) -> tuple[Tokens, dict]:
    """Returns N = M tokens, one for every track.

    Args:
      clip: `frames` [B, T, H, W, 3] float; `tracks` [B, T, s h, s w] int32 for
        a whole s >= 1, where h = H / patch.
      key: unused.

    Returns:
      Tokens; an id not in the clip is a masked slot of zeros. Aux: `area`
      [B, T, M] in patches.

    Raises:
      ValueError: `tracks` are missing or on another grid.
    """
    del key
    clip = tracked_clip(clip, self.grid)
    x = patchify(clip.frames, (1, self.patch, self.patch))
    x = jax.nn.relu(self.stem(x))  # [B, T, h, w, stem_width]
    pooled, area = pool_by_track(x, clip.tracks, self.max_tracks)
    boxes = track_boxes(clip.tracks, self.max_tracks)  # [B, T, M, 4]

    present = by_track(area > 0)  # [B M, T]
    embedding = self.appearance(by_track(self.norm(pooled)), present)
    embedding += self.position(by_track(fourier(boxes, FREQUENCIES)), present)
    embedding = embedding.reshape(-1, self.max_tracks, embedding.shape[-1])
    return track_tokens(embedding, area, clip.tracks), {"area": area}
