"""Normalisation of frames, which is part of the model that reads them."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from trajvit.types import Clip

# Mean and standard deviation of a channel, for frames in [0, 1].
NORMALIZATIONS = {
  "symmetric": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
  "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def known_normalization(name: str) -> str:
  """Returns `name`.

  Raises:
    ValueError: it is not in NORMALIZATIONS.
  """
  if name not in NORMALIZATIONS:
    raise ValueError(
      f"normalization must be one of {', '.join(NORMALIZATIONS)}, got {name!r}"
    )
  return name


def normalize(clip: Clip, name: str) -> Clip:
  """Returns `clip` with float32 frames of about mean 0 and deviation 1.

  Args:
    clip: `frames` [B, T, H, W, 3] in [0, 255], uint8 from a loader.
    name: in NORMALIZATIONS; "symmetric" gives [-1, 1].
  """
  mean, deviation = np.array(NORMALIZATIONS[name], np.float32)
  frames = (clip.frames.astype(jnp.float32) / 255 - mean) / deviation
  return dataclasses.replace(clip, frames=frames)
