"""Which trajectory owns each cell of any feature grid."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.models.normalization import known_normalization, normalize
from trajvit.ops.matching import resize_labels
from trajvit.ops.tokens import zero_masked_frames
from trajvit.table import check_arguments
from trajvit.tokenizers.trajtok import Segmenter, build_segmenter
from trajvit.tokenizers.trajtok.segmenter import hard_assignment
from trajvit.types import Clip


class Regions(nnx.Module):
  """Trajectories of a clip, found by a segmenter or given as tracks.

  The grid belongs to another encoder and may be coarser than the clip in time:
  a cell then spans some frames. A segmenter's logits are averaged over its real
  frames and resized bilinearly; of tracks, a cell takes its first frame and its
  top left corner.

  A hard assignment has no gradient: none goes through here but by `queries`.

  Args:
    segmenter: frames -> Segmentation; None takes the clip's tracks.
    num_slots: M.
    normalization: of the frames that the segmenter reads.
    size: rows = columns that its frames are shrunk to, bilinearly and without
      anti-aliasing; None leaves them.
  """

  def __init__(
    self,
    segmenter: Segmenter | None,
    *,
    num_slots: int,
    normalization: str = "symmetric",
    size: int | None = None,
  ):
    self.segmenter, self.num_slots, self.size = segmenter, num_slots, size
    self.normalization = known_normalization(normalization)

  @property
  def needs_tracks(self) -> bool:
    """Whether clips must come with tracks."""
    return self.segmenter is None

  def __call__(
    self, clip: Clip, grid: tuple[int, int, int]
  ) -> tuple[jax.Array, jax.Array | None]:
    """Returns the owner of every cell, and what the segmenter's slots hold.

    Args:
      clip: `frames` uint8 [B, T, H, W, 3], and `tracks` if they are needed.
      grid: (t, h, w); t divides T.

    Returns:
      Owner [B, t, h, w] int32 in [0, M), or -1 in padding and where no track
      is. Queries [B, M, D] of the segmenter, or None.

    Raises:
      ValueError: t does not divide T, or tracks are missing.
    """
    frames = clip.frames.shape[1]
    if frames % grid[0]:
      raise ValueError(
        f"the {grid[0]} steps of the features must divide the {frames} frames"
      )
    if self.segmenter is None:
      return self._given(clip, grid), None
    clip = zero_masked_frames(normalize(clip, self.normalization))
    if self.size is not None:
      batch, frames, *_, channels = clip.frames.shape
      shape = (batch, frames, self.size, self.size, channels)
      clip = dataclasses.replace(clip, frames=_bilinear(clip.frames, shape))
    found = self.segmenter(clip.frames, clip.frame_mask)
    logits, mask = _by_step(found.logits, clip.frame_mask, grid[0])
    shape = (logits.shape[0], *grid, logits.shape[-1])
    return hard_assignment(_bilinear(logits, shape), mask), found.queries

  def _given(self, clip, grid):
    if clip.tracks is None:
      raise ValueError("without a segmenter clip.tracks are needed, got None")
    tracks = zero_masked_frames(clip).tracks
    steps = tracks.shape[1] // grid[0]
    owner = resize_labels(tracks[:, ::steps], grid[1:])
    return jnp.where(owner < self.num_slots, owner, -1)


def build_regions(
  segmenter: dict | None,
  *,
  max_tracks: int,
  normalization: str = "symmetric",
  size: int | None = None,
  dtype=jnp.float32,
  rngs: nnx.Rngs,
) -> Regions:
  """Returns regions from the spec of a segmenter.

  Args:
    segmenter: arguments of `build_segmenter`; None takes the clip's tracks.
    max_tracks: M of given tracks.
    normalization: see `Regions`.
    size: see `Regions`.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """
  count = max_tracks
  if segmenter is not None:
    options = {k: v for k, v in segmenter.items() if k not in ("stem", "width")}
    check_arguments("a segmenter", Segmenter, options)
    segmenter = build_segmenter(**segmenter, dtype=dtype, rngs=rngs)
    count = segmenter.num_slots
  return Regions(
    segmenter, num_slots=count, normalization=normalization, size=size
  )


def _by_step(logits, frame_mask, steps):
  """Means over the real frames of a step, and which steps have any."""
  batch, frames, *rest = logits.shape
  span = frames // steps
  if frame_mask is None:
    return logits.reshape(batch, steps, span, *rest).mean(2), None
  real = frame_mask.reshape(batch, steps, span)
  count = jnp.maximum(real.sum(2), 1)[..., None, None, None]
  logits = jnp.where(frame_mask[..., None, None, None], logits, 0)
  total = logits.reshape(batch, steps, span, *rest).sum(2)
  return total / count, real.any(2)


def _bilinear(x, shape):
  return jax.image.resize(x, shape, "bilinear", antialias=False)
