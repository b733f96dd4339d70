"""Normalisation of frames, which is part of the model that reads them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.pixels import NORMALIZATIONS, known_normalization
from trajvit.types import Clip

__all__ = ["NORMALIZATIONS", "known_normalization", "normalize", "renormalize"]


def normalize(clip: Clip, name: str) -> Clip:
  """Returns `clip` with float32 frames of about mean 0 and deviation 1.

  Args:
    clip: `frames` [B, T, H, W, 3] in [0, 255], uint8 from a loader.
    name: in NORMALIZATIONS; "symmetric" gives [-1, 1].
  """
  mean, deviation = np.array(NORMALIZATIONS[name], np.float32)
  frames = (clip.frames.astype(jnp.float32) / 255 - mean) / deviation
  return dataclasses.replace(clip, frames=frames)


def renormalize(frames: jax.Array, given: str, wanted: str) -> jax.Array:
  """Returns normalised frames in another normalisation.

  Args:
    frames: [..., 3] float, normalised as `given` says.
    given: in NORMALIZATIONS.
    wanted: likewise.
  """
  if given == wanted:
    return frames
  mean, deviation = np.array(NORMALIZATIONS[given], np.float32)
  pixels = frames * deviation + mean  # in [0, 1]
  mean, deviation = np.array(NORMALIZATIONS[wanted], np.float32)
  return (pixels - mean) / deviation
