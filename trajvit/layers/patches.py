"""Cutting frames into patches and tubelets, as matrices."""

import jax


def patchify(frames: jax.Array, patch: tuple[int, int, int]) -> jax.Array:
  """Returns the pixels of every space-time patch.

  Args:
    frames: [B, T, H, W, C].
    patch: (frames, rows, columns) of a patch; each divides its axis.

  Returns:
    [B, t, h, w, p], p pixels in the order frame, row, column, channel.

  Raises:
    ValueError: the patch does not divide the clip.
  """
  batch, *clip, channels = frames.shape
  if any(size % step for size, step in zip(clip, patch, strict=True)):
    raise ValueError(
      f"patch {tuple(patch)} must divide the clip (T, H, W) = {tuple(clip)}"
    )
  grid = [size // step for size, step in zip(clip, patch, strict=True)]
  (t, h, w), (pt, ph, pw) = grid, patch
  x = frames.reshape(batch, t, pt, h, ph, w, pw, channels)
  x = x.transpose(0, 1, 3, 5, 2, 4, 6, 7)
  return x.reshape(batch, t, h, w, pt * ph * pw * channels)


def unpatchify(patches: jax.Array, patch: tuple[int, int, int]) -> jax.Array:
  """Returns the frames of patches, the inverse of `patchify`.

  Args:
    patches: [B, t, h, w, p], p pixels in the order frame, row, column, channel.
    patch: (frames, rows, columns) of a patch; their product divides p.

  Returns:
    [B, T, H, W, C].

  Raises:
    ValueError: p pixels do not make a patch.
  """
  batch, t, h, w, pixels = patches.shape
  pt, ph, pw = patch
  channels, rest = divmod(pixels, pt * ph * pw)
  if rest or not channels:
    raise ValueError(
      f"a patch {tuple(patch)} needs a multiple of {pt * ph * pw} numbers, "
      f"got {pixels}"
    )
  x = patches.reshape(batch, t, h, w, pt, ph, pw, channels)
  x = x.transpose(0, 1, 4, 2, 5, 3, 6, 7)
  return x.reshape(batch, t * pt, h * ph, w * pw, channels)
