"""Selecting, joining and cleaning sets of tokens, without reading padding."""

import dataclasses

import jax
import jax.numpy as jnp

from trajvit.types import Clip, Tokens


def zero_masked(tokens: Tokens) -> Tokens:
  """Returns `tokens` with zeros in every masked slot.

  Every module that reads tokens calls this first: a NaN in a masked slot would
  otherwise reach real tokens through 0 * NaN, in the values or the gradients.
  """
  real = tokens.mask[..., None]
  return dataclasses.replace(
    tokens,
    features=jnp.where(real, tokens.features, 0),
    positions=jnp.where(real, tokens.positions, 0),
    size=jnp.where(tokens.mask, tokens.size, 0),
  )


def zero_masked_frames(clip: Clip) -> Clip:
  """Returns `clip` with zeros, and no track, in every masked frame.

  Args:
    clip: `frames` [B, T, H, W, 3] float; `frame_mask` [B, T] or None.
  """
  if clip.frame_mask is None:
    return clip
  real = clip.frame_mask[:, :, None, None]
  frames = jnp.where(real[..., None], clip.frames, 0)
  tracks = None if clip.tracks is None else jnp.where(real, clip.tracks, -1)
  return dataclasses.replace(clip, frames=frames, tracks=tracks)


def take(tokens: Tokens, indices: jax.Array) -> Tokens:
  """Returns the tokens at `indices`, in that order.

  Args:
    tokens: N tokens a clip.
    indices: [B, K] int32 slots in [0, N).

  Returns:
    K tokens a clip; a masked slot that is taken stays masked.
  """

  def gather(x):
    if x is None:
      return None
    at = indices.reshape(indices.shape + (1,) * (x.ndim - 2))
    return jnp.take_along_axis(x, at, axis=1)

  return jax.tree.map(gather, tokens)


def prepend(features: jax.Array, tokens: Tokens) -> Tokens:
  """Returns `tokens` with R protected tokens in front of them.

  Args:
    features: [R, D], the same for every clip: class and register tokens. They
      sit at position 0 and stand for no patch.
    tokens: N tokens a clip, not packed.

  Returns:
    R + N tokens; `protected` is True for the first R.

  Raises:
    ValueError: `tokens` are packed: then each clip of a row needs its own.
  """
  if tokens.segments is not None:
    raise ValueError("prepend before packing: packed rows hold several clips")
  batch, count = tokens.mask.shape[0], features.shape[0]

  def join(front, back):
    shape = (batch, count) + back.shape[2:]
    return jnp.concatenate([jnp.broadcast_to(front, shape), back], axis=1)

  protected = tokens.protected
  if protected is None:
    protected = jnp.zeros_like(tokens.mask)
  return Tokens(
    features=join(features.astype(tokens.features.dtype), tokens.features),
    mask=join(True, tokens.mask),
    positions=join(0.0, tokens.positions),
    size=join(0.0, tokens.size),
    protected=join(True, protected),
  )


def masked_mean(tokens: Tokens) -> jax.Array:
  """Returns the mean [B, D] float32 of a clip's real, unprotected tokens.

  A clip without any has the mean 0.
  """
  mask = tokens.mask
  if tokens.protected is not None:
    mask = mask & ~tokens.protected
  features = jnp.where(mask[..., None], tokens.features, 0)
  count = jnp.maximum(mask.sum(-1, keepdims=True), 1)
  return features.astype(jnp.float32).sum(1) / count
