"""How much each place of a clip differs from what was there before.

Before means the last real slot at the same place: masked ones are passed over.
"""

import jax
import jax.numpy as jnp

from trajvit.ops.unit import unit


def previous_real(x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns what the last real slot before each one holds, along time.

  Args:
    x: [B, T, ..., *], of any dtype.
    mask: [B, T, ...] bool, True = real, of the leading axes of `x`.

  Returns:
    Array like `x`, zeros where there is no such slot, and bool [B, T, ...]
    where there is one.
  """
  frame = jnp.arange(mask.shape[1]).reshape((-1,) + (1,) * (mask.ndim - 2))
  last = jax.lax.cummax(jnp.where(mask, frame, -1), axis=1)
  before = jnp.roll(last, 1, axis=1).at[:, 0].set(-1)
  some = before >= 0
  trailing = (1,) * (x.ndim - mask.ndim)
  index = jnp.maximum(before, 0).reshape(mask.shape + trailing)
  held = jnp.take_along_axis(x, index, axis=1)
  return jnp.where(some.reshape(mask.shape + trailing), held, 0), some


def feature_similarity(features: jax.Array, mask: jax.Array) -> jax.Array:
  """Returns the cosine of each feature with the one before it in its place.

  Args:
    features: [B, T, ..., D] of any float dtype: of frames, or of patches.
    mask: [B, T, ...] bool, True = real.

  Returns:
    [B, T, ...] float32 in [-1, 1]; -inf where masked or nothing came before.
  """
  x = unit(jnp.where(mask[..., None], features, 0))
  before, some = previous_real(x, mask)
  return jnp.where(mask & some, (x * before).sum(-1), -jnp.inf)


def tubelet_mask(frame_mask: jax.Array, tubelet: int) -> jax.Array:
  """Returns which tubelets have a real frame.

  Args:
    frame_mask: [B, F] bool, F frames.
    tubelet: frames in a tubelet, a divisor of F.

  Returns:
    [B, F / tubelet] bool.
  """
  return frame_mask.reshape(frame_mask.shape[0], -1, tubelet).any(-1)


def tubelet_ends(
  frames: jax.Array, *, tubelet: int, patch: int
) -> tuple[jax.Array, jax.Array]:
  """Returns the pixels of the first and of the last frame of every tubelet.

  Args:
    frames: [B, F, H, W, C].
    tubelet: frames in a tubelet.
    patch: pixels on a side of a patch.

  Returns:
    Two arrays [B, T, h, w, patch * patch * C]; the same one twice where a
    tubelet has one frame.

  Raises:
    ValueError: tubelets or patches do not divide the clip.
  """
  batch, count, height, width, channels = frames.shape
  if count % tubelet or height % patch or width % patch:
    raise ValueError(
      f"a clip of {count} x {height} x {width} cannot be cut into tubelets of "
      f"{tubelet} x {patch} x {patch}"
    )
  grid = (height // patch, width // patch)

  def cut(x):
    x = x.reshape(batch, -1, grid[0], patch, grid[1], patch, channels)
    x = x.transpose(0, 1, 2, 4, 3, 5, 6)
    return x.reshape(batch, -1, *grid, patch * patch * channels)

  return cut(frames[:, ::tubelet]), cut(frames[:, tubelet - 1 :: tubelet])


def pixel_change(
  frames: jax.Array,
  frame_mask: jax.Array | None = None,
  *,
  tubelet: int,
  patch: int,
) -> jax.Array:
  """Returns how much the pixels of each tubelet differ from those before it.

  The mean absolute difference between the last frame of a tubelet and the first
  frame of the tubelet before it. Source: RLT, arXiv:2411.05222.

  Args:
    frames: [B, F, H, W, C] float, after all augmentation and normalisation.
    frame_mask: [B, F] bool, True = real; None means all are. Real tubelets are
      those of `tubelet_mask`; frames that are not real count as zeros.
    tubelet: frames in a tubelet.
    patch: pixels on a side of a patch.

  Returns:
    [B, T, h, w] float32, not negative; inf where nothing came before, and 0
    where the tubelet is masked.

  Raises:
    ValueError: tubelets or patches do not divide the clip.
  """
  if frame_mask is None:
    frame_mask = jnp.ones(frames.shape[:2], bool)
  frames = jnp.where(frame_mask[:, :, None, None, None], frames, 0)
  first, last = tubelet_ends(frames, tubelet=tubelet, patch=patch)
  mask = tubelet_mask(frame_mask, tubelet)
  before, some = previous_real(first, mask)
  change = mean_absolute_difference(last, before)
  change = jnp.where(some[:, :, None, None], change, jnp.inf)
  return jnp.where(mask[:, :, None, None], change, 0)


def mean_absolute_difference(x: jax.Array, y: jax.Array) -> jax.Array:
  """Returns the mean of |x - y| over the last axis, in float32."""
  difference = x.astype(jnp.float32) - y.astype(jnp.float32)
  return jnp.abs(difference).mean(-1)


def cosine_difference(x: jax.Array, y: jax.Array) -> jax.Array:
  """Returns 1 - cos(x, y) over the last axis, in float32."""
  return 1 - (unit(x) * unit(y)).sum(-1)
