"""Object tokens: a track's features, averaged over its frames, projected."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.stems import STEMS
from trajvit.ops.pooling import pool_by_track
from trajvit.ops.position import fourier
from trajvit.ops.tracks import track_centers
from trajvit.tokenizers.tracked import track_tokens, tracked_clip
from trajvit.types import Clip, Tokens

# Frequencies of a coordinate: the finest has a period of 1/5.7 clip or frame.
FREQUENCIES = 8


class ObjectTokenizer(nnx.Module):
  """Object tokens (VideoOrion): a mean over each track's frames, projected.

  Source: VideoOrion, arXiv:2411.16156, which detects, segments and tracks with
  expert models, gathers what an object looks like over space and time, and
  gives a language model one token for it beside tokens of the whole scene.
  Next to `trajectory`, which reads a track with resamplers, this is the mean.

  We know the paper's outline and fill in the rest: features are pooled by the
  object's mask in every frame, frames count alike however small the object, and
  the mean over them lies between the two layers of the projector, after a
  nonlinearity, so that what is seen *when* survives it; that the place of the
  object enters beside the time is ours. Tracks are given, the stem is trained
  with the rest, and scene tokens are another tokenizer's matter.

  Args:
    stem: spec of an entry in STEMS.
    stem_width: channels of its features; None is `width`.
    hidden: channels between the projector's two layers; None is `width`.
    max_tracks: M, slots for tracks.
    width: D.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  needs_tracks = True

  def __init__(
    self,
    *,
    stem: dict,
    stem_width: int | None = None,
    hidden: int | None = None,
    max_tracks: int,
    width: int,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    stem_width, hidden = stem_width or width, hidden or width
    self.max_tracks = max_tracks
    options = dict(dtype=dtype, rngs=rngs)
    self.stem = STEMS.build(stem, width=stem_width, **options)
    self.norm = LayerNorm(stem_width, dtype=dtype)
    self.inner = Linear(stem_width, hidden, **options)
    self.place = Linear(6 * FREQUENCIES + 3, hidden, bias=False, **options)
    self.outer = Linear(hidden, width, **options)

  def __call__(self, clip: Clip, *, key=None) -> tuple[Tokens, dict]:
    """Returns N = M tokens, one for every track.

    Args:
      clip: `frames` [B, T, H, W, 3] float; `tracks` [B, T, s h, s w] int32 for
        a whole s >= 1, where h x w is the stem's grid.
      key: unused.

    Returns:
      Tokens; an id not in the clip is a masked slot of zeros. Aux: `area`
      [B, T, M] in cells of the stem.

    Raises:
      ValueError: `tracks` are missing or on another grid.
    """
    del key
    batch, frames, *pixels, _ = clip.frames.shape
    grid = tuple(n // self.stem.stride for n in pixels)
    clip = tracked_clip(clip, grid)
    features = self.stem(clip.frames.reshape(-1, *clip.frames.shape[2:]))
    features = features.reshape(batch, frames, *features.shape[1:])
    pooled, area = pool_by_track(features, clip.tracks, self.max_tracks)

    center = track_centers(clip.tracks, self.max_tracks)  # [B, T, M, 2]
    middle = (jnp.arange(frames) + 0.5) / frames
    time = jnp.broadcast_to(middle[:, None, None], (*area.shape, 1))
    where = fourier(jnp.concatenate([time, center], axis=-1), FREQUENCIES)
    x = jax.nn.gelu(self.inner(self.norm(pooled)) + self.place(where))
    present = (area > 0)[..., None]
    count = jnp.maximum(present.sum(1), 1)
    mean = jnp.where(present, x.astype(jnp.float32), 0).sum(1) / count
    tokens = track_tokens(self.outer(mean), area, clip.tracks)
    return tokens, {"area": area}
