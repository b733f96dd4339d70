"""What every decoder is."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.patches import patchify, unpatchify
from trajvit.types import Tokens


class Decoder(nnx.Module):
  """Tokens -> frames.

  A subclass is built with `width`, that of the tokens, and `clip_shape`, which
  the model offers, and its own options. Its result has P patches in raster
  order, each of p = pt ph pw C numbers: frame, row, column, channel.

  Args:
    clip_shape: (T, H, W) of what it makes.
    patch: (frames, rows, columns) of a patch; each divides its axis.
    channels: C; 3, or those of a latent that it makes in place of pixels.

  Raises:
    ValueError: patches that do not divide the clip.
  """

  def __init__(
    self,
    *,
    clip_shape: tuple[int, int, int],
    patch: tuple[int, int, int],
    channels: int = 3,
  ):
    clip_shape, patch = tuple(clip_shape), tuple(patch)
    if any(n % size for n, size in zip(clip_shape, patch, strict=True)):
      raise ValueError(
        f"patch {patch} must divide the clip (T, H, W) = {clip_shape}"
      )
    self.clip_shape, self.patch, self.channels = clip_shape, patch, channels
    self.grid = tuple(
      n // size for n, size in zip(clip_shape, patch, strict=True)
    )
    self.num_patches = self.grid[0] * self.grid[1] * self.grid[2]
    self.num_pixels = patch[0] * patch[1] * patch[2] * channels

  def __call__(
    self,
    tokens: Tokens,
    *,
    frames: jax.Array | None = None,
    frame_mask: jax.Array | None = None,
    key: jax.Array | None = None,
  ) -> tuple[jax.Array | None, dict]:
    """Returns frames and aux.

    Args:
      tokens: [B, N, width], not packed; masked ones are never read.
      frames: [B, T, H, W, C], the truth in the model's normalised space. It is
        given in training, and where a loss is to be measured.
      frame_mask: [B, T] bool, False = a frame that is not there; None = all
        are. It is never read, a patch with one is masked, and the result has
        zeros there.
      key: a typed key, or [B] keys, one a clip, so that what is drawn for a
        clip does not depend on its place in the batch. None at inference.

    Returns:
      Frames [B, T, H, W, C] float32 in the model's normalised space, or None if
      not all patches were decoded. With `frames`, aux has what a loss of
      reconstruction compares, whatever that is for the decoder:

      - `predicted`, `target` [B, S, p] float32, for S patches, all P or those
        that were drawn;
      - `mask` [B, S] bool, True = counts in the loss;
      - of a decoder with an `align_block`, `hidden` [B, P, D], the patches
        after this block.

    Raises:
      ValueError: tokens or frames of another shape.
    """
    raise NotImplementedError

  def real_frames(
    self, frames: jax.Array, frame_mask: jax.Array | None
  ) -> jax.Array:
    """Returns [B, T, H, W, C] float32, zeros in frames that are not there.

    Raises:
      ValueError: frames of another shape than (T, H, W, C).
    """
    shape = (*self.clip_shape, self.channels)
    if frames.shape[1:] != shape:
      raise ValueError(f"frames must be [B, {shape}], got {frames.shape}")
    return without_masked_frames(frames.astype(jnp.float32), frame_mask)

  def to_patches(
    self, frames: jax.Array, frame_mask: jax.Array | None = None
  ) -> jax.Array:
    """Returns [B, P, p] float32, zeros in frames that are not there.

    Raises:
      ValueError: frames of another shape than (T, H, W, C).
    """
    x = patchify(self.real_frames(frames, frame_mask), self.patch)
    return x.reshape(x.shape[0], self.num_patches, -1)

  def to_frames(
    self, patches: jax.Array, frame_mask: jax.Array | None = None
  ) -> jax.Array:
    """Returns [B, T, H, W, C] float32, zeros in frames that are not there.

    Args:
      patches: [B, P, p].
      frame_mask: [B, T] bool or None.
    """
    x = patches.astype(jnp.float32).reshape(patches.shape[0], *self.grid, -1)
    return without_masked_frames(unpatchify(x, self.patch), frame_mask)

  def patch_mask(self, frame_mask: jax.Array | None, batch: int) -> jax.Array:
    """Returns [B, P] bool, True = all frames of the patch are there."""
    if frame_mask is None:
      return jnp.ones((batch, self.num_patches), bool)
    steps = frame_mask.reshape(batch, self.grid[0], -1).all(-1)  # [B, t]
    return jnp.repeat(steps, self.grid[1] * self.grid[2], axis=1)


def check_align_block(align_block: int | None, depth: int) -> int | None:
  """Returns the block, from 0, whose patches a decoder is to tell, or None.

  Raises:
    ValueError: there is no such block.
  """
  if align_block is not None and not 0 <= align_block < depth:
    raise ValueError(f"align_block must be in [0, {depth}), got {align_block}")
  return align_block


def clip_keys(key: jax.Array, batch: int, stream: int = 0) -> jax.Array:
  """Returns [B] keys, one a clip.

  Args:
    key: a typed key, which is split, or [B] of them, which are the clips'.
    batch: B.
    stream: tells apart what is drawn for different purposes.

  Raises:
    ValueError: neither one key nor B.
  """
  typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
  if not typed or key.shape not in ((), (batch,)):
    raise ValueError(
      f"key must be a typed key or {batch} of them, got {key.dtype} {key.shape}"
    )
  keys = jax.random.split(key, batch) if key.shape == () else key
  return jax.vmap(lambda key: jax.random.fold_in(key, stream))(keys)


def without_masked_frames(
  frames: jax.Array, frame_mask: jax.Array | None
) -> jax.Array:
  """Returns [B, T, H, W, C] with zeros where `frame_mask` [B, T] is False."""
  if frame_mask is None:
    return frames
  return jnp.where(frame_mask[:, :, None, None, None], frames, 0)
